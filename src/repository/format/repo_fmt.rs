//! `repo.fmt`: what makes a place a repository (docs/format.md, "repo.fmt").

use super::error::FormatError;
use super::tlv::Reader;
use crate::base::id::RepoId;
use crate::base::limits::{PACK_BYTES_MAX, PACK_BYTES_MIN, PARITY_PERCENT_MAX};
use crate::codec::chunker::ChunkerParams;
use crate::codec::hash;

const MAGIC: &[u8; 8] = b"LBREPO\0\x01";
const VERSION: u16 = 1;
/// Whoever knows no parity must not open such a repository: its packs would look malformed.
const VERSION_WITH_PARITY: u16 = 2;
const CHUNKER_KEYED_GEAR: u16 = 1;
/// Length of the object.
pub const REPO_FMT_BYTES: usize = 160;
/// No version's is longer.
pub const REPO_FMT_BYTES_MAX: usize = 4096;

/// The fixed facts of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFmt {
    /// Its identity.
    pub repo_id: RepoId,
    /// How files are cut.
    pub chunker: ChunkerParams,
    /// Packs are closed at this size.
    pub pack_bytes: usize,
    /// Vouches for writers; signs plans.
    pub admin_public: [u8; 32],
    /// Packs have parity for so many per cent of them; 0 for none.
    pub parity: u8,
}

impl RepoFmt {
    /// For a new repository with the default chunker.
    pub fn new(repo_id: RepoId, pack_bytes: usize, admin_public: [u8; 32]) -> Self {
        Self { repo_id, chunker: ChunkerParams::default(), pack_bytes, admin_public, parity: 0 }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(REPO_FMT_BYTES);
        out.extend_from_slice(MAGIC);
        let version = if self.parity == 0 { VERSION } else { VERSION_WITH_PARITY };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&CHUNKER_KEYED_GEAR.to_le_bytes());
        out.extend_from_slice(&self.chunker.nominal_bytes().to_le_bytes());
        out.extend_from_slice(self.repo_id.as_bytes());
        out.extend_from_slice(&u64::try_from(self.pack_bytes).unwrap_or(u64::MAX).to_le_bytes());
        out.extend_from_slice(&self.admin_public);
        out.push(self.parity);
        out.resize(REPO_FMT_BYTES - 32, 0);
        let sum = hash::plain(&[&out]);
        out.extend_from_slice(&sum);
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// `TooNew` for a later version, `Malformed` for all else.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let what = "repo.fmt";
        let mut reader = Reader::new(what, bytes);
        if reader.array::<8>()? != *MAGIC {
            return Err(reader.wrong("it does not begin as one"));
        }
        // Every version ends in this hash, whatever its length: damage is told from a newer version.
        let (body, sum) = bytes.split_last_chunk::<32>().ok_or(reader.wrong("it is cut off"))?;
        if bytes.len() > REPO_FMT_BYTES_MAX || hash::plain(&[body]) != *sum {
            return Err(reader.wrong("its checksum does not fit"));
        }
        let version = reader.u16()?;
        if version != VERSION && version != VERSION_WITH_PARITY {
            return Err(FormatError::TooNew { what, version });
        }
        let chunker_id = reader.u16()?;
        if chunker_id != CHUNKER_KEYED_GEAR {
            return Err(FormatError::TooNew { what: "the chunker of repo.fmt", version: chunker_id });
        }
        let chunker =
            ChunkerParams::new(reader.u32()?).map_err(|_| reader.wrong("its chunk size is out of bounds"))?;
        let repo_id = RepoId::new(reader.array()?);
        let pack_bytes = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        if !(PACK_BYTES_MIN..=PACK_BYTES_MAX).contains(&pack_bytes) {
            return Err(reader.wrong("its pack size is out of bounds"));
        }
        let (admin_public, parity) = (reader.array()?, reader.u8()?);
        if parity > PARITY_PERCENT_MAX {
            return Err(FormatError::TooNew { what: "the parity of repo.fmt", version: parity.into() });
        }
        let format = Self { repo_id, chunker, pack_bytes, admin_public, parity };
        if format.encode() == bytes {
            Ok(format)
        } else {
            Err(reader.wrong("bytes that must be zero are not"))
        }
    }
}

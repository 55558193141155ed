//! The first bytes of a pack, and what its footer and key boxes are bound to.

use super::super::error::FormatError;
use super::super::names::PackClass;
use super::super::tlv::Reader;
use super::trail::Trail;
use crate::base::id::{RepoId, WriterId};
use crate::base::limits::PARITY_PERCENT_MAX;
use crate::codec::hash;

const MAGIC: &[u8; 8] = b"LBPACK\0\x01";
const VERSION: u16 = 1;
/// Where the header says how much parity there is.
pub(super) const PARITY_AT: usize = 11;
/// Length of the header in clear.
pub const HEADER_BYTES: usize = 64;
/// The signature's domain.
pub(super) const DOMAIN: &str = "lifeboat v1 pack";
/// Everything in a pack is measured in these.
pub(super) const PAGE: usize = 4096;
/// Role of the key box that opens the footer.
pub(super) const ROLE_FOOT: u8 = 1;
/// Role of a key box that opens blobs.
pub(super) const ROLE_DATA: u8 = 2;
/// The box is sealed under a key of the epoch.
pub(super) const BOX_SEAL: u8 = 1;

/// The box is sealed under a key that only readers can make.
pub(super) const BOX_READERS: u8 = 4;
/// The label of such keys.
pub(super) const READERS: &str = "readers box";

/// Who a box is for: the first bytes of the hash of the readers' key.
pub(super) fn recipient(readers: &[u8; 32]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&hash::plain(&[readers])[..8]);
    out
}

/// Who and what a pack is.
#[derive(Clone, Copy, Debug)]
pub struct PackIdentity {
    /// Data or metadata.
    pub class: PackClass,
    /// Parity for so many per cent of it; 0 for none.
    pub parity: u8,
    /// Epoch of its key boxes.
    pub epoch: u32,
    /// Its repository.
    pub repo: RepoId,
    /// Who signs it.
    pub writer: WriterId,
}

impl PackIdentity {
    /// The first bytes of such a pack.
    pub(super) fn header(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0u8; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10] = self.class as u8;
        out[PARITY_AT] = self.parity;
        out[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..32].copy_from_slice(self.repo.as_bytes());
        out[32..48].copy_from_slice(self.writer.as_bytes());
        out
    }

    /// What a header says of the epoch.
    pub(super) fn epoch_of(header: &[u8; HEADER_BYTES]) -> u32 {
        u32::from_le_bytes([header[12], header[13], header[14], header[15]])
    }

    /// From the last bytes of a pack of this length, whose trailer repeats the header: with one read
    /// of a pack's end its blobs can be listed again.
    ///
    /// # Errors
    /// When they are not those of a pack of this repository.
    pub fn of_tail(tail: &[u8], total: u64, repo: &RepoId) -> Result<Self, FormatError> {
        Self::of_header(&Trail::decode(tail, total)?.header, repo)
    }

    /// From the first bytes of a pack.
    ///
    /// # Errors
    /// When they are not those of a pack of this repository.
    pub fn of_header(header: &[u8], repo: &RepoId) -> Result<Self, FormatError> {
        let what = "a pack's header";
        let mut reader = Reader::new(what, header.get(..HEADER_BYTES).unwrap_or(header));
        if reader.array::<8>()? != *MAGIC {
            return Err(reader.wrong("it does not begin as a pack does"));
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(FormatError::TooNew { what, version });
        }
        let class = PackClass::from_u8(reader.u8()?).ok_or(reader.wrong("its class is unknown"))?;
        let parity = reader.u8()?;
        if parity > PARITY_PERCENT_MAX {
            return Err(FormatError::TooNew { what: "a pack's parity", version: parity.into() });
        }
        let epoch = reader.u32()?;
        let identity = Self {
            class,
            parity,
            epoch,
            repo: RepoId::new(reader.array()?),
            writer: WriterId::new(reader.array()?),
        };
        if identity.repo != *repo {
            return Err(reader.wrong("it belongs to another repository"));
        }
        if identity.header() != header[..header.len().min(HEADER_BYTES)] {
            return Err(reader.wrong("it is not as a writer makes it"));
        }
        Ok(identity)
    }
}

/// What a key box is bound to.
pub(super) fn box_header(repo: &RepoId, role: u8, epoch: u32) -> Vec<u8> {
    [&repo.as_bytes()[..], &[role], &epoch.to_le_bytes()].concat()
}

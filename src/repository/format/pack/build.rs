//! Writing a pack, in one buffer from header to trailer.

use super::super::error::FormatError;
use super::super::index_run::RunEntry;
use super::super::keys::EpochKeys;
use super::super::names::PackClass;
use super::head::{BOX_SEAL, DOMAIN, HEADER_BYTES, PAGE, PackIdentity, ROLE_DATA, ROLE_FOOT, box_header};
use super::row::{BlobRow, Row, foot_bytes};
use super::trail::{SHARD_BYTES, TRAIL_BYTES, Trail, shard_sum};
use crate::base::entropy;
use crate::base::id::{ObjectHash, RepoId};
use crate::base::limits::{BLOB_PLAIN_BYTES_MAX, PACK_BYTES_MAX};
use crate::base::secret::{Key, Secret};
use crate::codec::hash;
use crate::codec::seal;
use crate::codec::sign::Signer;

/// A finished pack.
#[derive(Debug)]
pub struct FinishedPack {
    /// The object.
    pub bytes: Vec<u8>,
    /// Its name.
    pub name: ObjectHash,
    /// Its footer's rows.
    pub rows: Vec<Row>,
    /// Where the footer begins.
    pub foot_offset: u64,
}

impl FinishedPack {
    /// Its blobs as an index run lists them, with 0 as the pack's number.
    pub fn entries(&self) -> Vec<RunEntry> {
        let entry = |(ordinal, row): (usize, &Row)| RunEntry {
            id: row.id,
            pack: 0,
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            stored_bytes: row.stored_bytes,
        };
        self.rows.iter().enumerate().map(entry).collect()
    }
}

/// A pack being filled.
#[derive(Debug)]
pub struct PackBuilder {
    identity: PackIdentity,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    pack_key: Key,
    foot_key: Key,
}

impl PackBuilder {
    /// An empty pack in this buffer.
    pub fn new(identity: PackIdentity, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&identity.header());
        Self {
            identity,
            bytes: buffer,
            rows: Vec::new(),
            pack_key: Secret::new(entropy::random()),
            foot_key: Secret::new(entropy::random()),
        }
    }

    /// Data or metadata.
    pub fn class(&self) -> PackClass {
        self.identity.class
    }

    /// Whether no blob is in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes so far, without footer.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Seals a blob into the pack; gives its row's number.
    ///
    /// # Errors
    /// When it is longer than any blob may be, or of a kind for the other class of packs.
    pub fn push(&mut self, blob: &BlobRow, stored: &[u8]) -> Result<u32, FormatError> {
        let unfit = |why| FormatError::Unfit { what: "a blob", why };
        if blob.kind.class() != self.identity.class {
            return Err(unfit("its kind belongs into another class of pack"));
        }
        let plain_bytes = usize::try_from(blob.plain_bytes).unwrap_or(usize::MAX);
        if plain_bytes.max(stored.len()) > BLOB_PLAIN_BYTES_MAX {
            return Err(unfit("it is too long"));
        }
        let row = Row {
            id: blob.id,
            kind: blob.kind,
            plain_bytes: blob.plain_bytes,
            stored_bytes: u32::try_from(stored.len()).map_err(|_| unfit("it is too long"))?,
            compression: blob.compression,
            level: blob.level,
            key_box: 0,
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(stored);
        let tag = seal::seal_blob(self.pack_key.expose(), &row.sealed_under(), &mut self.bytes[start..]);
        self.bytes.extend_from_slice(&tag);
        self.rows.push(row);
        Ok(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
    }

    /// Closes the pack: padding, footer, key boxes, sums, trailer.
    ///
    /// # Errors
    /// When it would be longer than any object that is read whole.
    pub fn finish(mut self, signer: &Signer, keys: &EpochKeys) -> Result<FinishedPack, FormatError> {
        let repo = self.identity.repo;
        let header = self.identity.header();
        self.pad(&repo);
        let ec_offset = self.bytes.len();
        let foot_offset = ec_offset;
        let mut foot: Vec<u8> = self.rows.iter().flat_map(Row::encode).collect();
        foot.resize(foot_bytes(self.rows.len()), 0);
        self.bytes.extend_from_slice(&seal::seal(self.foot_key.expose(), &repo, "foot", &header, &foot));
        let wrap_offset = self.bytes.len();
        self.bytes.extend_from_slice(&self.wrap(keys));
        let sums_offset = self.bytes.len();
        let sums: Vec<u8> = self.bytes[..foot_offset].chunks(SHARD_BYTES).flat_map(shard_sum).collect();
        self.bytes.extend_from_slice(&sums);
        let total = (self.bytes.len() + TRAIL_BYTES).div_ceil(PAGE) * PAGE;
        if total > PACK_BYTES_MAX {
            return Err(FormatError::Unfit { what: "a pack", why: "it is too long" });
        }
        self.bytes.resize(total - TRAIL_BYTES, 0);
        let digest = hash::plain(&[&header, &self.bytes[foot_offset..sums_offset]]);
        let trail =
            Trail { pack: total, ec: ec_offset, foot: foot_offset, wrap: wrap_offset, sums: sums_offset };
        self.bytes.extend_from_slice(&trail.encode(&header, &signer.sign(DOMAIN, &digest)));
        let name = hash::object(&self.bytes);
        let foot_offset = u64::try_from(foot_offset).unwrap_or(u64::MAX);
        Ok(FinishedPack { name, bytes: self.bytes, rows: self.rows, foot_offset })
    }

    /// Fills the blob area so that its end tells nothing about the blobs' lengths.
    fn pad(&mut self, repo: &RepoId) {
        let blobs = self.bytes.len();
        // u = 2^ceil(log2 blobs) / 16, within 4 to 64 KiB.
        let unit = ((blobs - HEADER_BYTES).next_power_of_two() / 16).clamp(PAGE, SHARD_BYTES);
        let jitter = entropy::below(u32::try_from(unit).unwrap_or(u32::MAX));
        let jitter = usize::try_from(jitter).unwrap_or(0);
        let end = (blobs + jitter).div_ceil(unit) * unit;
        self.bytes.resize(end, 0);
        hash::derive_into("pad", self.foot_key.expose(), repo, &[], &mut self.bytes[blobs..]);
    }

    fn wrap(&self, keys: &EpochKeys) -> Vec<u8> {
        let mut out = 2u16.to_le_bytes().to_vec();
        let boxes =
            [(ROLE_FOOT, keys.meta_box(), &self.foot_key), (ROLE_DATA, keys.data_box(), &self.pack_key)];
        for (role, box_key, key) in boxes {
            let header = box_header(&self.identity.repo, role, self.identity.epoch);
            let sealed = seal::seal(box_key.expose(), &self.identity.repo, "box", &header, key.expose());
            out.extend_from_slice(&[role, BOX_SEAL]);
            out.extend_from_slice(&self.identity.epoch.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&u16::try_from(sealed.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(&sealed);
        }
        out
    }
}

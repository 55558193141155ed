//! Writing a pack, in one buffer from header to trailer.

use super::super::error::FormatError;
use super::super::index_run::RunEntry;
use super::super::keys::EpochKeys;
use super::super::names::PackClass;
use super::head::{
    BOX_READERS, BOX_SEAL, DOMAIN, HEADER_BYTES, PAGE, PackIdentity, READERS, ROLE_DATA, ROLE_FOOT,
    box_header, recipient,
};
use super::row::{BlobRow, Row, foot_bytes};
use super::trail::{SHARD_BYTES, TRAIL_BYTES, Trail, shard_sum};
use crate::base::entropy;
use crate::base::id::{ObjectHash, RepoId};
use crate::base::limits::{BLOB_PLAIN_BYTES_MAX, PACK_BYTES_MAX};
use crate::base::secret::{Key, Secret};
use crate::codec::seal;
use crate::codec::sign::Signer;
use crate::codec::{hash, parity};

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
    /// The keys of its blobs, in the order of their boxes: this pack's own first, if it has one.
    data_keys: Vec<Key>,
    foot_key: Key,
}

/// Key boxes for blobs in one pack: packs are moved into one another again and again, and each
/// brings the keys of its blobs.
const DATA_KEYS_MAX: usize = 1024;

impl PackBuilder {
    /// An empty pack in this buffer.
    pub fn new(identity: PackIdentity, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&identity.header());
        Self {
            identity,
            bytes: buffer,
            rows: Vec::new(),
            data_keys: vec![Secret::new(entropy::random())],
            foot_key: Secret::new(entropy::random()),
        }
    }

    /// An empty pack for blobs that are sealed already, under keys of other packs.
    pub fn moving(identity: PackIdentity, buffer: Vec<u8>) -> Self {
        Self { data_keys: Vec::new(), ..Self::new(identity, buffer) }
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
        let key = self.data_keys.first().ok_or(unfit("the pack takes only what is sealed already"))?;
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
        let tag = seal::seal_blob(key.expose(), &row.sealed_under(), &mut self.bytes[start..]);
        self.bytes.extend_from_slice(&tag);
        self.rows.push(row);
        Ok(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
    }

    /// Whether the key boxes have room for this key.
    pub fn takes_key(&self, key: &Key) -> bool {
        self.data_keys.len() < DATA_KEYS_MAX || self.box_of(key).is_some()
    }

    fn box_of(&self, key: &Key) -> Option<usize> {
        self.data_keys.iter().rposition(|held| held.expose() == key.expose())
    }

    /// Takes a blob over as it is sealed (tag included), with its row and the key that it is
    /// sealed under; gives its row's number. Nothing is opened: only the box's number changes,
    /// which no seal covers. A pack of such blobs is begun with [`PackBuilder::moving`].
    ///
    /// # Errors
    /// When the row is for the other class of packs or another length, or the boxes are full.
    pub fn adopt(&mut self, row: &Row, sealed: &[u8], key: &Key) -> Result<u32, FormatError> {
        let unfit = |why| FormatError::Unfit { what: "a moved blob", why };
        let stored = usize::try_from(row.stored_bytes).unwrap_or(usize::MAX);
        if row.kind.class() != self.identity.class || sealed.len() != stored.saturating_add(seal::TAG_BYTES) {
            return Err(unfit("its row is not that of these bytes, or of this class of pack"));
        }
        let key_box = match self.box_of(key) {
            Some(at) => at,
            None if self.data_keys.len() < DATA_KEYS_MAX => {
                self.data_keys.push(Secret::new(*key.expose()));
                self.data_keys.len() - 1
            }
            None => return Err(unfit("the pack has no room for another key")),
        };
        self.bytes.extend_from_slice(sealed);
        self.rows.push(Row { key_box: u16::try_from(key_box).unwrap_or(u16::MAX), ..*row });
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
        let ec = self.bytes.len();
        let percent = self.identity.parity;
        let mut foot: Vec<u8> = self.rows.iter().flat_map(Row::encode).collect();
        foot.resize(foot_bytes(self.rows.len()), 0);
        let mut end = seal::seal(self.foot_key.expose(), &repo, "foot", &header, &foot);
        let wrap = end.len();
        end.extend_from_slice(&self.wrap(keys)?);
        let sums = end.len();
        let digest = hash::plain(&[&header, &end]);
        end.extend(self.bytes.chunks(SHARD_BYTES).flat_map(shard_sum));
        let parity = self.parity(percent)?;
        end.extend(parity.chunks(SHARD_BYTES).flat_map(shard_sum));
        end.resize((end.len() + TRAIL_BYTES).next_multiple_of(PAGE) - TRAIL_BYTES, 0);
        let end_bytes = end.len() + TRAIL_BYTES;
        // With parity the end stands before it, too: no stretch that it brings back hits both.
        let foot = if percent == 0 { ec } else { ec + end_bytes + parity.len() };
        let pack = foot + end_bytes;
        if pack > PACK_BYTES_MAX {
            return Err(FormatError::Unfit { what: "a pack", why: "it is too long" });
        }
        let trail = Trail { pack, ec, foot, wrap: foot + wrap, sums: foot + sums, percent };
        end.extend_from_slice(&trail.encode(&header, &signer.sign(DOMAIN, &digest)));
        if percent > 0 {
            self.bytes.extend_from_slice(&end);
            self.bytes.extend_from_slice(&parity);
        }
        self.bytes.extend_from_slice(&end);
        let name = hash::object(&self.bytes);
        let foot_offset = u64::try_from(foot).unwrap_or(u64::MAX);
        Ok(FinishedPack { name, bytes: self.bytes, rows: self.rows, foot_offset })
    }

    fn parity(&self, percent: u8) -> Result<Vec<u8>, FormatError> {
        if percent == 0 {
            return Ok(Vec::new());
        }
        let count = parity::count(self.bytes.len().div_ceil(SHARD_BYTES), percent);
        let too_long = FormatError::Unfit { what: "a pack's parity", why: "the pack is too long for it" };
        parity::encode(&self.bytes, SHARD_BYTES, count).map_err(|_| too_long)
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

    fn wrap(&self, keys: &EpochKeys) -> Result<Vec<u8>, FormatError> {
        let count = u16::try_from(self.data_keys.len() + 1).unwrap_or(u16::MAX);
        let mut out = count.to_le_bytes().to_vec();
        let boxes = self.data_keys.iter().map(|key| (ROLE_DATA, key));
        for (role, key) in std::iter::once((ROLE_FOOT, &self.foot_key)).chain(boxes) {
            let header = box_header(&self.identity.repo, role, self.identity.epoch);
            let seal =
                |under: &Key| seal::seal(under.expose(), &self.identity.repo, "box", &header, key.expose());
            let (algorithm, recipient, sealed) = if keys.writes_only() {
                let (once, under) = keys.for_readers(READERS)?;
                (
                    BOX_READERS,
                    recipient(&keys.readers(self.identity.epoch)?),
                    [&once[..], &seal(&under)].concat(),
                )
            } else {
                let under = if role == ROLE_FOOT {
                    keys.meta_box(self.identity.epoch)?
                } else {
                    keys.data_box(self.identity.epoch)?
                };
                (BOX_SEAL, [0; 8], seal(under))
            };
            out.extend_from_slice(&[role, algorithm]);
            out.extend_from_slice(&self.identity.epoch.to_le_bytes());
            out.extend_from_slice(&recipient);
            out.extend_from_slice(&u16::try_from(sealed.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(&sealed);
        }
        Ok(out)
    }
}

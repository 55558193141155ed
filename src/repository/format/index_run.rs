//! Index runs (docs/format.md, "Index runs"): which blob lies in which pack.
//!
//! The body is a pack table, then columns over all blobs sorted by id, each compressed on its own.

use std::collections::HashSet;

use super::error::FormatError;
use super::keys::EpochKeys;
use super::names::PackClass;
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::tlv::{self, Reader, TlvWriter};
use crate::base::id::{BlobId, ObjectHash, RepoId, WriterId};
use crate::base::limits::BLOB_PLAIN_BYTES_MAX;
use crate::codec::compress::{Compression, Compressor, Decompressor};
use crate::codec::sign::Signer;

const WHAT: &str = "an index run";
const TAG_PACKS: u16 = 1;
const TAG_COUNT: u16 = 2;
const TAG_IDS: u16 = 3;
const TAG_PACK_NUMBERS: u16 = 4;
const TAG_ORDINALS: u16 = 5;
const TAG_STORED_BYTES: u16 = 6;
const TAG_MOVED: u16 = 8;
const PACK_ROW_BYTES: usize = 65;
/// Blobs in one run: their ids take 16 MiB.
pub const ENTRIES_MAX: usize = BLOB_PLAIN_BYTES_MAX / 32;
/// Packs in one run.
pub const PACKS_MAX: usize = 65_536;

/// A pack of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPack {
    /// Its name.
    pub hash: ObjectHash,
    /// Data or metadata.
    pub class: PackClass,
    /// Who signed it.
    pub signer: WriterId,
    /// Its length.
    pub bytes: u64,
    /// Where its footer begins.
    pub foot_offset: u64,
}

/// A blob of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunEntry {
    /// Its id.
    pub id: BlobId,
    /// Number of its pack in the run.
    pub pack: u32,
    /// Its row there.
    pub ordinal: u32,
    /// Its length as stored.
    pub stored_bytes: u32,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexRun {
    /// Its packs.
    pub packs: Vec<RunPack>,
    /// Its blobs, sorted by id, pack, ordinal.
    pub entries: Vec<RunEntry>,
    /// Which packs' blobs were moved into which packs of this run, sorted: (old, new).
    pub moved: Vec<(ObjectHash, ObjectHash)>,
}

impl IndexRun {
    /// The same run without these packs.
    #[must_use]
    pub fn without(self, absent: &HashSet<ObjectHash>) -> Self {
        let mut numbers = Vec::with_capacity(self.packs.len());
        let mut packs = Vec::new();
        for pack in self.packs {
            numbers.push(
                (!absent.contains(&pack.hash)).then_some(u32::try_from(packs.len()).unwrap_or(u32::MAX)),
            );
            if numbers.last().is_some_and(Option::is_some) {
                packs.push(pack);
            }
        }
        let new = |entry: RunEntry| {
            let pack = usize::try_from(entry.pack).ok().and_then(|pack| *numbers.get(pack)?)?;
            Some(RunEntry { pack, ..entry })
        };
        let entries = self.entries.into_iter().filter_map(new).collect();
        let moved = self.moved.into_iter().filter(|(_, to)| !absent.contains(to)).collect();
        Self { packs, entries, moved }
    }

    /// The same run of a writer that only adds, which speaks for its own packs alone.
    ///
    /// # Errors
    /// `Malformed` when it speaks for another's pack, says that packs were moved, or places a blob in
    /// a row that its pack cannot have.
    pub fn of_stranger(self, signer: &WriterId) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::Malformed { what: WHAT, why };
        if !self.moved.is_empty() || self.packs.iter().any(|pack| pack.signer != *signer) {
            return Err(wrong("a host that only adds speaks for packs that are not its own"));
        }
        let mut rows = vec![0u32; self.packs.len()];
        let place = |entry: &RunEntry| usize::try_from(entry.pack).unwrap_or(usize::MAX);
        for entry in &self.entries {
            if let Some(count) = rows.get_mut(place(entry)) {
                *count += 1;
            }
        }
        let has_row = |entry: &RunEntry| rows.get(place(entry)).is_some_and(|count| entry.ordinal < *count);
        if self.entries.iter().all(has_row) {
            Ok(self)
        } else {
            Err(wrong("it places a blob in a row that its pack does not have"))
        }
    }

    /// Signs and seals a run whose entries are sorted.
    ///
    /// # Errors
    /// When it holds more than a run may.
    pub fn seal(
        &self,
        repo: &RepoId,
        signer: &Signer,
        keys: &EpochKeys,
    ) -> Result<(Vec<u8>, ObjectHash), FormatError> {
        debug_assert!(self.entries.is_sorted_by(|a, b| a < b), "a run is sorted before it is sealed");
        if self.entries.len() > ENTRIES_MAX || self.packs.len() > PACKS_MAX {
            return Err(FormatError::Unfit { what: WHAT, why: "it has too many entries" });
        }
        let mut packs = Vec::with_capacity(self.packs.len() * PACK_ROW_BYTES);
        for pack in &self.packs {
            packs.extend_from_slice(pack.hash.as_bytes());
            packs.push(pack.class as u8);
            packs.extend_from_slice(pack.signer.as_bytes());
            packs.extend_from_slice(&pack.bytes.to_le_bytes());
            packs.extend_from_slice(&pack.foot_offset.to_le_bytes());
        }
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let ids: Vec<u8> = self.entries.iter().flat_map(|entry| *entry.id.as_bytes()).collect();
        let column = |of: fn(&RunEntry) -> u32| -> Vec<u8> {
            self.entries.iter().flat_map(|entry| of(entry).to_le_bytes()).collect()
        };
        let mut body = TlvWriter::new();
        body.put(TAG_PACKS, &packs).put(TAG_COUNT, &count.to_le_bytes()).put(TAG_IDS, &ids);
        body.put(TAG_PACK_NUMBERS, &squeeze(&column(|entry| entry.pack)));
        body.put(TAG_ORDINALS, &squeeze(&column(|entry| entry.ordinal)));
        body.put(TAG_STORED_BYTES, &squeeze(&column(|entry| entry.stored_bytes)));
        if !self.moved.is_empty() {
            let moved = self.moved.iter().flat_map(|(old, new)| [*old.as_bytes(), *new.as_bytes()]);
            body.put(TAG_MOVED, moved.flatten().collect::<Vec<u8>>().as_slice());
        }
        let header = ObjectHeader {
            kind: ObjectKind::Index,
            sealing: Sealing::Epoch,
            epoch: 0,
            repo: *repo,
            signer: signer.id(),
            number: 0,
        };
        encode(&header, &[], &body.finish(), signer, Some(keys))
    }

    /// Opens a run. Its entries are hints: what they claim is checked where it is used.
    ///
    /// # Errors
    /// When it is malformed or does not open.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &EpochKeys) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::Malformed { what: WHAT, why };
        let object = Object::decode(bytes, repo, Some(keys))?;
        if object.header.kind != ObjectKind::Index {
            return Err(wrong("it is another kind of object"));
        }
        let mut columns: [Option<&[u8]>; 7] = [None; 7];
        let mut moved = Vec::new();
        for (tag, value) in tlv::read_filled(WHAT, &object.body)? {
            match columns.get_mut(usize::from(tag)) {
                Some(column) => *column = Some(value),
                None if tag == TAG_MOVED => moved = read_moved(value)?,
                None => tlv::unknown(WHAT, tag)?,
            }
        }
        let field = |tag: u16| columns[usize::from(tag)].ok_or(wrong("a column is missing"));
        let packs = read_packs(field(TAG_PACKS)?)?;
        let mut count = Reader::new(WHAT, field(TAG_COUNT)?);
        let entries = usize::try_from(count.u32()?).unwrap_or(usize::MAX);
        count.end()?;
        let (ids, slack) = field(TAG_IDS)?.as_chunks::<32>();
        if entries > ENTRIES_MAX || ids.len() != entries || !slack.is_empty() {
            return Err(wrong("its ids do not fit its count"));
        }
        let pack_numbers = unsqueeze(field(TAG_PACK_NUMBERS)?, entries)?;
        let ordinals = unsqueeze(field(TAG_ORDINALS)?, entries)?;
        let stored = unsqueeze(field(TAG_STORED_BYTES)?, entries)?;
        let entries: Vec<RunEntry> = (0..entries)
            .map(|at| RunEntry {
                id: BlobId::new(ids[at]),
                pack: pack_numbers[at],
                ordinal: ordinals[at],
                stored_bytes: stored[at],
            })
            .collect();
        let in_table = |entry: &RunEntry| usize::try_from(entry.pack).is_ok_and(|pack| pack < packs.len());
        let fits = |entry: &RunEntry| {
            usize::try_from(entry.stored_bytes).is_ok_and(|bytes| bytes <= BLOB_PLAIN_BYTES_MAX)
        };
        let good = |entry: &RunEntry| in_table(entry) && fits(entry);
        if !entries.is_sorted_by(|a, b| a < b) || !entries.iter().all(good) {
            return Err(wrong("its blobs are not sorted, too long, or in a pack that it does not list"));
        }
        Ok(Self { packs, entries, moved })
    }
}

fn read_moved(bytes: &[u8]) -> Result<Vec<(ObjectHash, ObjectHash)>, FormatError> {
    let (pairs, slack) = bytes.as_chunks::<64>();
    let half = |bytes: &[u8]| {
        let mut hash = [0; 32];
        hash.copy_from_slice(bytes);
        ObjectHash::new(hash)
    };
    let moved: Vec<_> = pairs.iter().map(|pair| (half(&pair[..32]), half(&pair[32..]))).collect();
    if slack.is_empty() && moved.is_sorted_by(|a, b| a < b) {
        Ok(moved)
    } else {
        Err(FormatError::Malformed { what: WHAT, why: "its list of moved packs is not sorted" })
    }
}

fn read_packs(bytes: &[u8]) -> Result<Vec<RunPack>, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    if !bytes.len().is_multiple_of(PACK_ROW_BYTES) || bytes.len() / PACK_ROW_BYTES > PACKS_MAX {
        return Err(reader.wrong("its pack table has a length that no writer makes"));
    }
    let mut packs = Vec::with_capacity(bytes.len() / PACK_ROW_BYTES);
    while !reader.rest().is_empty() {
        let hash = ObjectHash::new(reader.array()?);
        let class = PackClass::from_u8(reader.u8()?).ok_or(reader.wrong("a pack's class is unknown"))?;
        let signer = WriterId::new(reader.array()?);
        let (bytes, foot_offset) = (reader.u64()?, reader.u64()?);
        if foot_offset >= bytes {
            return Err(reader.wrong("a pack's footer lies outside of it"));
        }
        packs.push(RunPack { hash, class, signer, bytes, foot_offset });
    }
    Ok(packs)
}

/// A column as plain length and zstd frame or raw bytes.
fn squeeze(plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let compression = Compressor::new(1).compress(plain, &mut stored);
    let mut out = vec![compression.number()];
    out.extend_from_slice(&stored);
    out
}

fn unsqueeze(stored: &[u8], entries: usize) -> Result<Vec<u32>, FormatError> {
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let (number, stored) = stored.split_first().ok_or(wrong("a column is empty"))?;
    let compression =
        Compression::from_number(*number).ok_or(wrong("a column is compressed in an unknown way"))?;
    let mut plain = Vec::new();
    Decompressor::new()
        .decompress(compression, stored, entries * 4, &mut plain)
        .map_err(|_| wrong("a column does not decompress to its length"))?;
    Ok(plain.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect())
}

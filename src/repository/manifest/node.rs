//! Inner nodes: rows of (first key, child, totals), in order.

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;

use super::error::ManifestError;
use super::key::Key;
use super::store::NodeKind;
use super::wire::{Fault, Input, ensure, malformed, put_bytes, put_varint, unzigzag, zigzag};
use crate::base::id::BlobId;
use crate::base::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};
use crate::base::metadata::FileTime;

const VERSION: u8 = 1;
/// Rows of a node at most.
pub(super) const NODE_ROWS_MAX: usize = 1024;
/// A node is closed after the row with which its weight reaches this.
const NODE_WEIGHT_BYTES: usize = 1024 * 1024;
/// A node is never longer: its first key, rows up to the weight, one more key of the longest.
const NODE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A tree is never higher: 64 rows a node at least would be 10^28 leaves.
const LEVEL_MAX: u8 = 16;

/// What a node says of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: BlobId,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) max_mtime: FileTime,
}

/// Collects one node after the other, all of one level.
#[derive(Clone, Debug)]
pub(super) struct NodeWriter {
    level: u8,
    body: Vec<u8>,
    rows: usize,
    weight: usize,
    first: Option<(Vec<u8>, Vec<u8>)>,
    dir: Vec<u8>,
    only: Option<BlobId>,
    totals: (u64, u64, FileTime),
}

impl NodeWriter {
    /// `level` counts from 1, the nodes above the leaves.
    pub(super) fn new(level: u8) -> Self {
        Self {
            level,
            body: Vec::new(),
            rows: 0,
            weight: 0,
            first: None,
            dir: Vec::new(),
            only: None,
            totals: (0, 0, FileTime { seconds: i64::MIN, nanos: 0 }),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The child of a node that has only one.
    pub(super) fn only_child(&self) -> Option<BlobId> {
        self.only.filter(|_| self.rows == 1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= NODE_ROWS_MAX || self.weight >= NODE_WEIGHT_BYTES
    }

    pub(super) fn push(&mut self, key: Key<'_>, child: &Child) {
        let same = self.dir.iter().zip(key.dir).take_while(|(a, b)| a == b).count();
        put_varint(&mut self.body, same as u64);
        put_bytes(&mut self.body, &key.dir[same..]);
        put_bytes(&mut self.body, key.name);
        self.body.extend_from_slice(child.id.as_bytes());
        put_varint(&mut self.body, child.entries);
        put_varint(&mut self.body, child.bytes);
        put_varint(&mut self.body, zigzag(child.max_mtime.seconds));
        put_varint(&mut self.body, u64::from(child.max_mtime.nanos));
        if self.rows == 0 {
            self.first = Some((key.dir.to_vec(), key.name.to_vec()));
        } else {
            self.weight += key.dir.len() - same + key.name.len();
        }
        self.weight += 64;
        self.rows += 1;
        self.dir.truncate(same);
        self.dir.extend_from_slice(&key.dir[same..]);
        self.only = Some(child.id);
        let (entries, bytes, mtime) = &mut self.totals;
        *entries = entries.saturating_add(child.entries);
        *bytes = bytes.saturating_add(child.bytes);
        *mtime = child.max_mtime.max(*mtime);
    }

    /// The node's first key, bytes, and what its parent says of it (with an id to be filled in).
    pub(super) fn finish(&mut self) -> Option<Finished> {
        let done = std::mem::replace(self, Self::new(self.level));
        let (dir, name) = done.first?;
        let mut plain = vec![VERSION, done.level];
        put_varint(&mut plain, done.rows as u64);
        plain.extend_from_slice(&done.body);
        let (entries, bytes, max_mtime) = done.totals;
        Some(Finished { dir, name, plain, entries, bytes, max_mtime })
    }
}

/// A node that is ready to be stored.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) dir: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) max_mtime: FileTime,
}

/// A decoded node. Keys stay compressed: a node of a thousand deep paths is not a gigabyte.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) level: u8,
    plain: Bytes,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    same: usize,
    suffix: Range<usize>,
    name: Range<usize>,
    child: Child,
}

impl Node {
    pub(super) fn decode(id: &BlobId, plain: Bytes) -> Result<Self, ManifestError> {
        decode(plain).map_err(|fault| fault.of(NodeKind::Node, id))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn child(&self, row: usize) -> &Child {
        &self.rows[row].child
    }

    /// Entries and bytes of the whole subtree.
    pub(super) fn totals(&self) -> (u64, u64) {
        self.rows.iter().fold((0, 0), |(entries, bytes): (u64, u64), row| {
            (entries.saturating_add(row.child.entries), bytes.saturating_add(row.child.bytes))
        })
    }

    /// Makes the directory of the row before into that of this row; of row 0 into any buffer.
    pub(super) fn enter(&self, row: usize, dir: &mut Vec<u8>) {
        let Row { same, suffix, .. } = &self.rows[row];
        dir.truncate(*same);
        dir.extend_from_slice(&self.plain[suffix.clone()]);
    }

    /// The name of the first key of a row.
    pub(super) fn name(&self, row: usize) -> &[u8] {
        &self.plain[self.rows[row].name.clone()]
    }

    /// The last row from `start` on whose first key is not above `key`, and its directory;
    /// `dir` is that of `start`. Row `start` itself when all are above.
    pub(super) fn find(&self, key: Key<'_>, start: usize, dir: &[u8]) -> (usize, Vec<u8>) {
        let mut found = (start, dir.to_vec());
        let mut dir = dir.to_vec();
        for row in start + 1..self.len() {
            self.enter(row, &mut dir);
            if (Key { dir: &dir, name: self.name(row) }).cmp(&key) == Ordering::Greater {
                break;
            }
            found.0 = row;
            found.1.clone_from(&dir);
        }
        found
    }
}

fn decode(plain: Bytes) -> Result<Node, Fault> {
    ensure(plain.len() <= NODE_BYTES_MAX, "it is too long")?;
    let mut input = Input::new(&plain);
    let version = input.u8()?;
    if version != VERSION {
        return Err(Fault::TooNew(u16::from(version)));
    }
    let level = input.u8()?;
    ensure((1..=LEVEL_MAX).contains(&level), "a level out of range")?;
    let count = input.count(NODE_ROWS_MAX, "it has too many rows")?;
    ensure(count > 0, "it has no row")?;
    let mut rows = Vec::with_capacity(count);
    let mut dir: Vec<u8> = Vec::new();
    let mut before: Option<&[u8]> = None;
    for _ in 0..count {
        let same = input.count(dir.len(), "a directory out of range")?;
        let suffix = input.bytes(PATH_BYTES_MAX - same, "a path is too long")?;
        let next = dir.get(same).copied();
        ensure(suffix.is_empty() || next != suffix.first().copied(), "a key is not at its shortest")?;
        let suffix_end = plain.len() - input.left();
        let name = input.bytes(NAME_BYTES_MAX, "a name is too long")?;
        let name_end = plain.len() - input.left();
        let ascends = match before {
            Some(before) if suffix.is_empty() && same == dir.len() => before < name,
            // What follows the shared part decides, `/` being the least byte.
            Some(_) => suffix.first().map(|byte| rank(*byte)) > next.map(rank),
            None => same == 0,
        };
        ensure(ascends, "its keys are out of order")?;
        dir.truncate(same);
        dir.extend_from_slice(suffix);
        before = Some(name);
        let (id, entries, bytes) = (input.id()?, input.varint()?, input.varint()?);
        ensure(entries > 0, "a child without an entry")?;
        let seconds = unzigzag(input.varint()?);
        let Some(nanos) = u32::try_from(input.varint()?).ok().filter(|nanos| *nanos < 1_000_000_000) else {
            return malformed("nanoseconds out of range");
        };
        rows.push(Row {
            same,
            suffix: suffix_end - suffix.len()..suffix_end,
            name: name_end - name.len()..name_end,
            child: Child { id, entries, bytes, max_mtime: FileTime { seconds, nanos } },
        });
    }
    input.end()?;
    drop(dir);
    Ok(Node { level, plain, rows })
}

fn rank(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

//! The chunks of one file: in its leaf while they are few, else in lists of their own, which
//! are cut by content, so that a change in a large file rewrites a list and not all of them.

use bytes::Bytes;

use super::entry::{ChunkRef, Content};
use super::error::ManifestError;
use super::leaf::ContentView;
use super::store::{BlobSink, BlobSource, NodeKind, get, put};
use super::wire::{Fault, Input, ensure};
use crate::base::id::BlobId;
use crate::base::limits::BLOB_PLAIN_BYTES_MAX;

const VERSION: u8 = 1;
/// A list is cut behind a row whose id's first two bytes have these bits clear (ids are keyed
/// hashes, so that is one in 4,096), once it has [`LIST_ROWS_MIN`] rows.
const LIST_CUT_MASK: u16 = 0x0fff;
const LIST_ROWS_MIN: usize = 1024;
/// Rows of a list at most: 640 KiB.
const LIST_ROWS_MAX: usize = 16_384;
const LIST_BYTES_MAX: usize = 8 + 40 * LIST_ROWS_MAX;
/// Lists of lists of lists: 10^12 chunks.
const LEVEL_MAX: u8 = 2;

/// Collects the chunks of one file in order. Memory: [`Content::CHUNKS_MAX`] references, then
/// one open list a level.
#[derive(Debug, Default)]
pub struct ChunkListBuilder {
    few: Vec<ChunkRef>,
    levels: Vec<List>,
    chunks: u64,
}

/// A list under construction.
#[derive(Debug, Default)]
struct List {
    body: Vec<u8>,
    rows: usize,
    chunks: u64,
    last: BlobId,
}

/// What a list says of a chunk, or of a list below.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: BlobId,
    /// Bytes of a chunk; none of a list.
    len: Option<u32>,
    chunks: u64,
}

impl Row {
    fn of(chunk: ChunkRef) -> Self {
        Self { id: chunk.id, len: Some(chunk.len), chunks: 1 }
    }
}

impl ChunkListBuilder {
    /// No chunk yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk; `sink` takes lists that are full.
    ///
    /// # Errors
    /// When a list can't be stored.
    pub fn push<S: BlobSink>(&mut self, chunk: ChunkRef, sink: &mut S) -> Result<(), ManifestError> {
        self.chunks += 1;
        if self.levels.is_empty() && self.few.len() < Content::CHUNKS_MAX {
            self.few.push(chunk);
            return Ok(());
        }
        for early in std::mem::take(&mut self.few) {
            self.add(0, Row::of(early), sink)?;
        }
        self.add(0, Row::of(chunk), sink)
    }

    /// Where the file's bytes are.
    ///
    /// # Errors
    /// When a list can't be stored.
    pub fn finish<S: BlobSink>(mut self, sink: &mut S) -> Result<Content, ManifestError> {
        if self.chunks == 0 {
            return Ok(Content::None);
        }
        if self.levels.is_empty() {
            return Ok(Content::Chunks(self.few));
        }
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            let list = &self.levels[level];
            if top && level > 0 && list.rows == 1 {
                return Ok(Content::ChunkList { id: list.last, chunks: self.chunks });
            }
            if list.rows > 0 {
                let row = self.close(level, sink)?;
                if top {
                    return Ok(Content::ChunkList { id: row.id, chunks: self.chunks });
                }
                self.add(level + 1, row, sink)?;
            }
            level += 1;
        }
    }

    /// Adds a row to the open list of a level.
    fn add<S: BlobSink>(&mut self, level: usize, row: Row, sink: &mut S) -> Result<(), ManifestError> {
        if self.levels.len() == level {
            self.levels.push(List::default());
        }
        let list = &mut self.levels[level];
        list.body.extend_from_slice(row.id.as_bytes());
        match row.len {
            Some(len) => list.body.extend_from_slice(&len.to_le_bytes()),
            None => list.body.extend_from_slice(&row.chunks.to_le_bytes()),
        }
        list.rows += 1;
        list.chunks += row.chunks;
        list.last = row.id;
        let [low, high, ..] = *row.id.as_bytes();
        let cut = u16::from_le_bytes([low, high]) & LIST_CUT_MASK == 0 && list.rows >= LIST_ROWS_MIN;
        if cut || list.rows == LIST_ROWS_MAX {
            let row = self.close(level, sink)?;
            return self.add(level + 1, row, sink);
        }
        Ok(())
    }

    fn close<S: BlobSink>(&mut self, level: usize, sink: &mut S) -> Result<Row, ManifestError> {
        let list = std::mem::take(&mut self.levels[level]);
        let rows = u32::try_from(list.rows).expect("a list has at most LIST_ROWS_MAX rows");
        let mut plain = vec![VERSION, u8::try_from(level).unwrap_or(u8::MAX), 0, 0];
        plain.extend_from_slice(&rows.to_le_bytes());
        plain.extend_from_slice(&list.body);
        Ok(Row { id: put(sink, NodeKind::ChunkList, &plain)?, len: None, chunks: list.chunks })
    }
}

/// The chunks of one file, in order. Reads a list when it comes to it; ends after an error.
#[derive(Debug)]
pub struct ChunkIter<'a, S> {
    source: &'a S,
    few: std::vec::IntoIter<ChunkRef>,
    top: Option<Listed>,
    /// From the top list down to the one that is being given out.
    lists: Vec<OpenList>,
}

impl<'a, S: BlobSource> ChunkIter<'a, S> {
    /// The chunks of `content`; none of a group.
    pub fn new(content: ContentView<'_>, source: &'a S) -> Self {
        let (few, top) = match content {
            ContentView::Chunks(chunks) => (chunks.to_vec(), None),
            ContentView::ChunkList { id, chunks } => (Vec::new(), Some(Listed { id, above: None, chunks })),
            ContentView::None | ContentView::Group { .. } => (Vec::new(), None),
        };
        Self { source, few: few.into_iter(), top, lists: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<ChunkRef>, ManifestError> {
        if let Some(chunk) = self.few.next() {
            return Ok(Some(chunk));
        }
        if let Some(top) = self.top.take() {
            self.lists.push(OpenList::read(top, self.source)?);
        }
        while let Some(list) = self.lists.last_mut() {
            match list.next_row()? {
                Some(ListRow::Chunk(chunk)) => return Ok(Some(chunk)),
                Some(ListRow::List(below)) => self.lists.push(OpenList::read(below, self.source)?),
                None => {
                    self.lists.pop();
                }
            }
        }
        Ok(None)
    }
}

impl<S: BlobSource> Iterator for ChunkIter<'_, S> {
    type Item = Result<ChunkRef, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.lists.clear();
        }
        step.transpose()
    }
}

/// A list, as what refers to it tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Listed {
    pub(super) id: BlobId,
    /// The level of the list that refers to it; none of a leaf.
    pub(super) above: Option<u8>,
    /// Chunks in it and below.
    pub(super) chunks: u64,
}

/// A row of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum ListRow {
    Chunk(ChunkRef),
    List(Listed),
}

/// A list that is read row by row.
#[derive(Debug)]
pub(super) struct OpenList {
    id: BlobId,
    level: u8,
    plain: Bytes,
    at: usize,
    /// Chunks that the rest of it must have.
    left: u64,
}

impl OpenList {
    pub(super) fn read<S: BlobSource>(listed: Listed, source: &S) -> Result<Self, ManifestError> {
        let plain = get(source, NodeKind::ChunkList, &listed.id)?;
        Self::open(listed, plain).map_err(|fault| fault.of(NodeKind::ChunkList, &listed.id))
    }

    fn open(listed: Listed, plain: Bytes) -> Result<Self, Fault> {
        ensure(plain.len() <= LIST_BYTES_MAX, "it is too long")?;
        let mut input = Input::new(&plain);
        let version = input.u8()?;
        if version != VERSION {
            return Err(Fault::TooNew(u16::from(version)));
        }
        let level = input.u8()?;
        ensure(input.array()? == [0, 0], "its head is not zero where it should be")?;
        let below = listed.above.is_none_or(|above| level.checked_add(1) == Some(above));
        ensure(level <= LEVEL_MAX && below, "a list of the wrong level")?;
        let rows = u32::from_le_bytes(input.array()?) as usize;
        let row_bytes = if level == 0 { 36 } else { 40 };
        let fits = rows > 0 && rows.checked_mul(row_bytes) == Some(input.left());
        ensure(fits, "it has another length than it says")?;
        let at = plain.len() - input.left();
        Ok(Self { id: listed.id, level, plain, at, left: listed.chunks })
    }

    pub(super) fn next_row(&mut self) -> Result<Option<ListRow>, ManifestError> {
        self.row().map_err(|fault| fault.of(NodeKind::ChunkList, &self.id))
    }

    fn row(&mut self) -> Result<Option<ListRow>, Fault> {
        let mut input = Input::new(&self.plain[self.at..]);
        if input.is_empty() {
            ensure(self.left == 0, "it has fewer chunks than is said of it")?;
            return Ok(None);
        }
        let id = input.id()?;
        let (row, chunks) = if self.level == 0 {
            let len = u32::from_le_bytes(input.array()?);
            let possible = (1..=BLOB_PLAIN_BYTES_MAX).contains(&(len as usize));
            ensure(possible, "a chunk of an impossible length")?;
            (ListRow::Chunk(ChunkRef { id, len }), 1)
        } else {
            let chunks = u64::from_le_bytes(input.array()?);
            (ListRow::List(Listed { id, above: Some(self.level), chunks }), chunks)
        };
        let left = self.left.checked_sub(chunks).filter(|_| chunks > 0);
        self.left = left.ok_or(Fault::Malformed("it has more chunks than is said of it"))?;
        self.at = self.plain.len() - input.left();
        Ok(Some(row))
    }
}

//! Finds the chunk that has a byte of a file with chunk lists, in any order of asking.
//!
//! Lists say how many chunks are in them, not how many bytes: what lies before a byte is learnt
//! list by list, once, and only where each list begins is kept.

use super::chunks::{ListRow, Listed, OpenList};
use super::entry::ChunkRef;
use super::error::ManifestError;
use super::store::{BlobSource, NodeKind};
use super::wire::ensure;
use crate::base::id::BlobId;

/// Lists of one file at most: some petabytes of chunks.
const SPANS_MAX: usize = 1 << 20;

/// Where the chunks of one file lie in its data. Memory: 80 bytes a list (of some 4,096 chunks),
/// and the chunks of the list that was used last.
#[derive(Debug)]
pub struct ChunkMap {
    spans: Vec<Span>,
    /// Lists that were not read yet, the next one last.
    unread: Vec<Listed>,
    /// Bytes of data that are known.
    known: u64,
    /// The chunks of one list with the ends of each in the data.
    open: Option<(usize, Vec<(u64, ChunkRef)>)>,
}

/// A list of chunks and its place in the data.
#[derive(Debug)]
struct Span {
    listed: Listed,
    start: u64,
    end: u64,
}

/// What is known of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This chunk has it, and begins there in the data.
    At(u64, ChunkRef),
    /// The data ends before it.
    Behind,
    /// Another list was read, and it is not in it: ask again.
    NotYet,
}

impl ChunkMap {
    /// Of the file whose top list this is; reads nothing.
    pub fn new(id: BlobId, chunks: u64) -> Self {
        let unread = vec![Listed { id, above: None, chunks }];
        Self { spans: Vec::new(), unread, known: 0, open: None }
    }

    /// The chunk with the byte at `offset` of the data. Reads one list at most.
    ///
    /// # Errors
    /// When a list can't be read or is malformed; asking again tries again.
    pub fn find<S: BlobSource>(&mut self, offset: u64, source: &S) -> Result<Found, ManifestError> {
        if offset >= self.known {
            return if self.learn(source)? { Ok(Found::NotYet) } else { Ok(Found::Behind) };
        }
        let number = self.spans.partition_point(|span| span.end <= offset);
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let span = &self.spans[number];
            let (rows, _) = rows_of(span.listed, span.start, source)?;
            self.open = Some((number, rows));
        }
        let rows = self.open.as_ref().map_or(&[][..], |(_, rows)| rows);
        let found = rows.get(rows.partition_point(|(end, _)| *end <= offset));
        Ok(found
            .map_or(Found::Behind, |(end, chunk)| Found::At(end.saturating_sub(chunk.len.into()), *chunk)))
    }

    /// Reads the next list; whether there was one.
    fn learn<S: BlobSource>(&mut self, source: &S) -> Result<bool, ManifestError> {
        let Some(listed) = self.unread.last().copied() else { return Ok(false) };
        ensure(self.spans.len() < SPANS_MAX, "a file with more lists than can be")
            .map_err(|fault| fault.of(NodeKind::ChunkList, &listed.id))?;
        let (rows, mut below) = rows_of(listed, self.known, source)?;
        self.unread.pop();
        below.reverse();
        self.unread.append(&mut below);
        if let Some((end, _)) = rows.last().copied() {
            self.spans.push(Span { listed, start: self.known, end });
            self.known = end;
            self.open = Some((self.spans.len() - 1, rows));
        }
        Ok(true)
    }
}

/// Chunks with their ends in the data, and lists.
type Rows = (Vec<(u64, ChunkRef)>, Vec<Listed>);

fn rows_of<S: BlobSource>(listed: Listed, start: u64, source: &S) -> Result<Rows, ManifestError> {
    let mut list = OpenList::read(listed, source)?;
    let (mut chunks, mut lists, mut end) = (Vec::new(), Vec::new(), start);
    while let Some(row) = list.next_row()? {
        match row {
            ListRow::Chunk(chunk) => {
                end = end.saturating_add(chunk.len.into());
                chunks.push((end, chunk));
            }
            ListRow::List(below) => lists.push(below),
        }
    }
    Ok((chunks, lists))
}

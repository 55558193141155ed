//! Where a file that is changed in place is cut: at the boundaries of its parent's version, and
//! elsewhere at multiples of a block's length. All places are offsets in the file, holes counted,
//! so that a hole that is filled or punched moves nothing.

use crate::base::metadata::Extent;
use crate::codec::blocks::BLOCK_BYTES_MAX;
use crate::engine::manifest_source::Nodes;
use crate::repository::manifest::{ChunkIter, ChunkRef, ContentView};

use super::content::Known;

/// A stretch of the file between two cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Its data lies before this offset.
    pub(super) end: u64,
    /// What the parent's version has there.
    pub(super) expected: Option<ChunkRef>,
}

/// A chunk of the parent's version, and where its data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PastChunk {
    /// The chunk.
    pub(super) chunk: ChunkRef,
    /// Offset of its first byte.
    pub(super) start: u64,
    /// Offset behind its last byte.
    pub(super) end: u64,
}

impl PastChunk {
    /// Whether no hole lies in it.
    pub(super) fn is_in_one_piece(&self) -> bool {
        self.end - self.start == u64::from(self.chunk.len)
    }
}

/// The chunks of the parent's version, in order. Ends where its list can't be read any further.
pub(super) struct PastChunks<'n, 'r, 'a> {
    rows: ChunkIter<'n, Nodes<'r, 'a>>,
    extents: &'n [Extent],
    /// The extent at hand, and how far into it the next byte lies; without extents, into the file.
    current: usize,
    inside: u64,
}

impl<'n, 'r, 'a> PastChunks<'n, 'r, 'a> {
    /// Of what is known of a file.
    pub(super) fn of(known: &'n Known, nodes: &'n Nodes<'r, 'a>) -> Self {
        let rows = ChunkIter::new(ContentView::from(&known.content), nodes);
        Self { rows, extents: known.extents.as_deref().unwrap_or_default(), current: 0, inside: 0 }
    }

    fn place(&mut self, chunk: ChunkRef) -> Option<PastChunk> {
        let mut left = u64::from(chunk.len);
        if self.extents.is_empty() {
            let start = self.inside;
            self.inside = start.checked_add(left)?;
            return Some(PastChunk { chunk, start, end: self.inside });
        }
        let mut start = None;
        loop {
            let extent = self.extents.get(self.current)?;
            let here = extent.len.saturating_sub(self.inside);
            if here == 0 {
                self.current += 1;
                self.inside = 0;
                continue;
            }
            let at = extent.offset.checked_add(self.inside)?;
            let start = *start.get_or_insert(at);
            let taken = here.min(left);
            self.inside += taken;
            left -= taken;
            if left == 0 {
                return Some(PastChunk { chunk, start, end: at.checked_add(taken)? });
            }
        }
    }
}

impl Iterator for PastChunks<'_, '_, '_> {
    type Item = PastChunk;

    fn next(&mut self) -> Option<PastChunk> {
        let chunk = self.rows.next()?.ok()?;
        self.place(chunk)
    }
}

/// Gives the windows of a file one after the other.
pub(super) struct Windows<I: Iterator<Item = PastChunk>> {
    block_bytes: u64,
    past: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = PastChunk>> Windows<I> {
    /// Blocks of this length wherever `past` has nothing.
    pub(super) fn new(block_bytes: u32, past: I) -> Self {
        Self { block_bytes: u64::from(block_bytes.max(1)), past: past.peekable() }
    }

    /// Where the block ends in which this offset lies.
    pub(super) fn block_end(&self, at: u64) -> u64 {
        (at - at % self.block_bytes).saturating_add(self.block_bytes)
    }

    /// The window that begins with the data at this offset. Offsets must ascend.
    pub(super) fn next_at(&mut self, at: u64) -> Window {
        let block_end = self.block_end(at);
        while self.past.next_if(|past| past.end <= at).is_some() {}
        match self.past.peek() {
            None => Window { end: block_end, expected: None },
            Some(past) if past.start == at && past.chunk.len <= BLOCK_BYTES_MAX => {
                Window { end: past.end, expected: Some(past.chunk) }
            }
            Some(past) => {
                let bound = if past.start > at { past.start } else { past.end };
                Window { end: block_end.min(bound), expected: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::BlobId;

    fn past(start: u64, end: u64) -> PastChunk {
        let len = u32::try_from(end - start).expect("short");
        PastChunk { chunk: ChunkRef { id: BlobId::new([1; 32]), len }, start, end }
    }

    fn ends(windows: &mut Windows<std::vec::IntoIter<PastChunk>>, size: u64) -> Vec<(u64, bool)> {
        let (mut at, mut all) = (0, Vec::new());
        while at < size {
            let window = windows.next_at(at);
            assert!(window.end > at, "{window:?} does not go on from {at}");
            at = window.end;
            all.push((at, window.expected.is_some()));
        }
        all
    }

    #[test]
    fn the_parents_boundaries_come_first_and_blocks_fill_the_gaps() {
        let chunks = vec![past(0, 70), past(70, 90), past(130, 150)];
        let mut windows = Windows::new(32, chunks.into_iter());
        let expected =
            [(70, true), (90, true), (96, false), (128, false), (130, false), (150, true), (160, false)];
        assert_eq!(ends(&mut windows, 160), expected);
    }

    #[test]
    fn a_window_that_was_left_early_goes_on_in_blocks() {
        let mut windows = Windows::new(32, vec![past(0, 200), past(200, 210)].into_iter());
        assert_eq!(windows.next_at(0), Window { end: 200, expected: Some(past(0, 200).chunk) });
        // A hole in it was filled: there is more data than the chunk had.
        assert_eq!(windows.next_at(50), Window { end: 64, expected: None });
        assert_eq!(windows.next_at(192), Window { end: 200, expected: None });
        assert_eq!(windows.next_at(200), Window { end: 210, expected: Some(past(200, 210).chunk) });
    }

    #[test]
    fn chunks_longer_than_any_of_ours_are_not_followed() {
        let mut huge = past(0, 100);
        huge.chunk.len = BLOCK_BYTES_MAX + 1;
        let mut windows = Windows::new(64, vec![huge].into_iter());
        assert_eq!(ends(&mut windows, 128), [(64, false), (100, false), (128, false)]);
    }

    #[test]
    fn offsets_at_the_end_of_all_numbers_do_not_overflow() {
        let mut windows = Windows::new(BLOCK_BYTES_MAX, Vec::new().into_iter());
        assert_eq!(windows.next_at(u64::MAX - 1).end, u64::MAX);
    }
}

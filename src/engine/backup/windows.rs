//! Where a file that is changed in place is cut: at the boundaries of its parent's version, and
//! elsewhere at multiples of a block's length. All places are offsets in the file, holes counted,
//! so that a hole that is filled or punched moves nothing.

use crate::codec::blocks::BLOCK_BYTES_MAX;
use crate::engine::cut::PlacedChunk;
use crate::repository::manifest::ChunkRef;

/// A stretch of the file between two cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Its data lies before this offset.
    pub(super) end: u64,
    /// What the parent's version has there.
    pub(super) expected: Option<ChunkRef>,
}

/// Gives the windows of a file one after the other.
pub(super) struct Windows<I: Iterator<Item = PlacedChunk>> {
    block_bytes: u64,
    past: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = PlacedChunk>> Windows<I> {
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

    fn past(start: u64, end: u64) -> PlacedChunk {
        let len = u32::try_from(end - start).expect("short");
        let chunk = ChunkRef { id: BlobId::new([1; 32]), len };
        PlacedChunk { chunk, start, end, begins_data: false, ends_data: false }
    }

    fn ends(windows: &mut Windows<std::vec::IntoIter<PlacedChunk>>, size: u64) -> Vec<(u64, bool)> {
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

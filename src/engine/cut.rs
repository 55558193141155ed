//! How a stored file was cut, read from the lengths of its chunks and where they lie: nothing else
//! records it, and nothing else needs to.

use crate::base::metadata::Extent;
use crate::codec::blocks::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN};
use crate::repository::manifest::{BlobSource, ChunkIter, ChunkRef, ContentView};

/// A file that was cut by content, and in part into blocks later, has at least this many of them.
const BLOCKS_MIN: u64 = 4;
/// Chunks that are looked at to describe a file: a list of a large one is not read to its end.
const CHUNKS_LOOKED_AT: usize = 4096;
/// The powers of two from the shortest block to the longest.
const LENGTHS: usize = (BLOCK_BYTES_MAX.trailing_zeros() - BLOCK_BYTES_MIN.trailing_zeros() + 1) as usize;

/// A chunk and where its data lies in the file, holes counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlacedChunk {
    /// The chunk.
    pub(super) chunk: ChunkRef,
    /// Offset of its first byte.
    pub(super) start: u64,
    /// Offset behind its last byte.
    pub(super) end: u64,
    /// Whether the file begins or a hole ends where it starts.
    pub(super) begins_data: bool,
    /// Whether a hole begins where it ends.
    pub(super) ends_data: bool,
}

impl PlacedChunk {
    /// Whether no hole lies in it.
    pub(super) fn is_in_one_piece(&self) -> bool {
        self.end - self.start == u64::from(self.chunk.len)
    }

    /// Whether it is what blocks of this length leave of the file's data there.
    fn is_block(&self, block_bytes: u32) -> bool {
        let block_bytes = u64::from(block_bytes);
        let last = self.end.saturating_sub(1);
        self.start / block_bytes == last / block_bytes
            && (self.begins_data || self.start.is_multiple_of(block_bytes))
            && (self.ends_data || self.end.is_multiple_of(block_bytes))
    }
}

/// The chunks of a file, in order. Ends where its list can't be read any further.
pub(super) struct PlacedChunks<'n, S> {
    rows: ChunkIter<'n, S>,
    extents: &'n [Extent],
    /// The extent at hand, and how far into it the next byte lies; without extents, into the file.
    current: usize,
    inside: u64,
}

impl<'n, S: BlobSource> PlacedChunks<'n, S> {
    /// Of a content with these extents.
    pub(super) fn new(content: ContentView<'_>, extents: Option<&'n [Extent]>, source: &'n S) -> Self {
        let rows = ChunkIter::new(content, source);
        Self { rows, extents: extents.unwrap_or_default(), current: 0, inside: 0 }
    }

    /// `None` when the chunks are more than the extents.
    fn place(&mut self, chunk: ChunkRef) -> Option<PlacedChunk> {
        let mut left = u64::from(chunk.len);
        if self.extents.is_empty() {
            let start = self.inside;
            self.inside = start.checked_add(left)?;
            let begins_data = start == 0;
            return Some(PlacedChunk { chunk, start, end: self.inside, begins_data, ends_data: false });
        }
        let mut first = None;
        loop {
            let extent = self.extents.get(self.current)?;
            let here = extent.len.saturating_sub(self.inside);
            if here == 0 {
                self.current += 1;
                self.inside = 0;
                continue;
            }
            let at = extent.offset.checked_add(self.inside)?;
            let (start, begins_data) = *first.get_or_insert((at, self.inside == 0));
            let taken = here.min(left);
            self.inside += taken;
            left -= taken;
            if left == 0 {
                let (end, ends_data) = (at.checked_add(taken)?, self.inside == extent.len);
                return Some(PlacedChunk { chunk, start, end, begins_data, ends_data });
            }
        }
    }
}

impl<S: BlobSource> Iterator for PlacedChunks<'_, S> {
    type Item = PlacedChunk;

    fn next(&mut self) -> Option<PlacedChunk> {
        let chunk = self.rows.next()?.ok()?;
        self.place(chunk)
    }
}

/// Counts chunks that lie as blocks do, and their bytes.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    bytes: u64,
    blocks: [Counted; LENGTHS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    chunks: u64,
    bytes: u64,
}

impl Lengths {
    /// Counts a chunk.
    pub(super) fn count(&mut self, placed: &PlacedChunk) {
        let bytes = u64::from(placed.chunk.len);
        self.bytes = self.bytes.saturating_add(bytes);
        for (power, blocks) in (0u32..).zip(&mut self.blocks) {
            if placed.is_block(BLOCK_BYTES_MIN << power) {
                blocks.chunks += 1;
                blocks.bytes = blocks.bytes.saturating_add(bytes);
            }
        }
    }

    /// The length of the file's blocks, when it was cut into some, or parts of it were.
    pub(super) fn block_bytes(&self) -> Option<u32> {
        let (bytes, blocks) = self.most()?;
        let is_half = blocks.chunks > 1 && blocks.bytes >= self.bytes / 2;
        // Chunks of the longest length also come of long stretches of equal bytes.
        let is_part = blocks.chunks >= BLOCKS_MIN && bytes < BLOCK_BYTES_MAX;
        (is_half || is_part).then_some(bytes)
    }

    /// For people and scripts.
    fn describe(&self) -> String {
        match (self.block_bytes(), self.most()) {
            // The end of a file need not fill its block.
            (Some(bytes), Some((_, most))) if most.bytes.saturating_add(u64::from(bytes)) >= self.bytes => {
                format!("blocks of {bytes}")
            }
            (Some(bytes), _) => format!("content, and blocks of {bytes} where it changed"),
            (None, _) => "content".to_owned(),
        }
    }

    /// The length that most of the file lies in, of two that say the same the shorter one.
    fn most(&self) -> Option<(u32, Counted)> {
        let lengths = self.blocks.iter().enumerate().rev();
        lengths
            .map(|(power, blocks)| (BLOCK_BYTES_MIN << power, *blocks))
            .max_by_key(|(_, blocks)| blocks.bytes)
    }
}

/// How a file was cut: `content`, `blocks of N`, or both; none for what has no chunks. Of a large
/// file the start is looked at.
pub fn describe<S: BlobSource>(
    content: ContentView<'_>,
    extents: Option<&[Extent]>,
    source: &S,
) -> Option<String> {
    if !matches!(content, ContentView::Chunks(_) | ContentView::ChunkList { .. }) {
        return None;
    }
    let mut lengths = Lengths::default();
    let placed = PlacedChunks::new(content, extents, source);
    placed.take(CHUNKS_LOOKED_AT).for_each(|placed| lengths.count(&placed));
    Some(lengths.describe())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::BlobId;
    use crate::repository::error::RepositoryError;
    use crate::repository::manifest::{Content, NodeKind};

    struct Nothing;

    impl BlobSource for Nothing {
        type Error = RepositoryError;

        fn get(&self, _: NodeKind, _: &BlobId) -> Result<bytes::Bytes, RepositoryError> {
            Err(RepositoryError::Defect { what: "there are no lists" })
        }
    }

    fn placed(lens: &[u32], extents: Option<&[Extent]>) -> Vec<PlacedChunk> {
        let chunks = lens.iter().map(|len| ChunkRef { id: BlobId::new([0; 32]), len: *len }).collect();
        PlacedChunks::new((&Content::Chunks(chunks)).into(), extents, &Nothing).collect()
    }

    fn described(lens: &[u32], extents: Option<&[Extent]>) -> (Option<u32>, String) {
        let mut lengths = Lengths::default();
        placed(lens, extents).iter().for_each(|placed| lengths.count(placed));
        (lengths.block_bytes(), lengths.describe())
    }

    #[test]
    fn chunks_lie_where_the_extents_say_and_end_with_them() {
        let extents = [
            Extent { offset: 100, len: 30 },
            Extent { offset: 500, len: 0 },
            Extent { offset: 900, len: 20 },
        ];
        let found = placed(&[10, 30, 10, 1, 7], Some(&extents));
        let places: Vec<_> = found.iter().map(|p| (p.start, p.end, p.begins_data, p.ends_data)).collect();
        assert_eq!(places, [(100, 110, true, false), (110, 910, false, false), (910, 920, false, true)]);
        assert!(found[0].is_in_one_piece() && !found[1].is_in_one_piece());
        let absurd = [Extent { offset: u64::MAX - 5, len: 20 }, Extent { offset: 3, len: u64::MAX }];
        assert_eq!(placed(&[10, 10], Some(&absurd)), [], "offsets past the end of all numbers");
        assert_eq!(placed(&[7, 8], None)[1].start, 7);
        let list = Content::ChunkList { id: BlobId::new([9; 32]), chunks: 5000 };
        assert_eq!(
            PlacedChunks::new((&list).into(), None, &Nothing).count(),
            0,
            "an unreadable list ends at once"
        );
    }

    #[test]
    fn blocks_are_recognised_by_length_and_place() {
        let block = BLOCK_BYTES_MIN;
        assert_eq!(described(&[block, block, 77], None), (Some(block), "blocks of 65536".to_owned()));
        assert_eq!(
            described(&[2 * block, 2 * block, 9], None),
            (Some(2 * block), "blocks of 131072".to_owned())
        );
        assert_eq!(described(&[700_000, 900_001, 5], None), (None, "content".to_owned()));
        assert_eq!(described(&[7, block, block, block], None).0, None, "not where blocks are");
        assert_eq!(described(&[], None).1, "content");
        // Data with holes: what is left of a block is one, at any length.
        let extents: Vec<Extent> =
            (0..4).map(|n| Extent { offset: n * 1_000_000 + 5000, len: 4096 }).collect();
        assert_eq!(described(&[4096; 4], Some(&extents)).0, Some(block));
    }

    #[test]
    fn a_file_with_some_blocks_among_its_chunks_says_both_and_zeros_are_none() {
        let block = BLOCK_BYTES_MIN;
        let mut mixed = vec![block; 4];
        mixed.extend([650_001; 20]);
        let both = "content, and blocks of 65536 where it changed".to_owned();
        assert_eq!(described(&mixed, None), (Some(block), both));
        // Zeros in a file that is cut by content come in chunks of the longest length.
        let mut zeros = vec![BLOCK_BYTES_MAX; 5];
        zeros.extend([650_001; 20]);
        assert_eq!(described(&zeros, None).0, None);
    }
}

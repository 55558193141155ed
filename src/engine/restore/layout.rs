//! Where the bytes of a blob go.

use crate::base::metadata::Extent;

/// Which bytes of a blob, and where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A file of a group: first byte in the group's byte area, and length; it is the whole file.
    OfGroup {
        /// First byte.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// A stretch of a chunk.
    OfChunk {
        /// First byte in the chunk.
        from: u32,
        /// Bytes.
        len: u32,
        /// First byte in the file.
        to: u64,
    },
}

/// Maps a file's chunks, which are its data end to end, to places in the file.
pub(super) struct Layout {
    extents: Vec<Extent>,
    current: usize,
    used: u64,
}

impl Layout {
    /// Over the data of a file: its extents, or all of it.
    pub(super) fn new(extents: Option<&[Extent]>, size: u64) -> Self {
        let extents = extents.map_or_else(|| vec![Extent { offset: 0, len: size }], <[Extent]>::to_vec);
        Self { extents, current: 0, used: 0 }
    }

    /// Where the next `len` bytes of data go: stretches of the chunk and their places. `None` when
    /// the chunks hold more data than the file.
    pub(super) fn place(&mut self, len: u32) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut from = 0u32;
        while from < len {
            let extent = self.extents.get(self.current)?;
            let left = extent.len.saturating_sub(self.used);
            if left == 0 {
                self.current += 1;
                self.used = 0;
                continue;
            }
            let take = u32::try_from(left).unwrap_or(u32::MAX).min(len - from);
            parts.push(Part::OfChunk { from, len: take, to: extent.offset + self.used });
            self.used += u64::from(take);
            from += take;
        }
        Some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_laid_over_the_data_between_holes() {
        let extents = [Extent { offset: 4096, len: 10 }, Extent { offset: 9000, len: 5 }];
        let mut layout = Layout::new(Some(&extents), 10_000);
        let chunk = |from, len, to| Part::OfChunk { from, len, to };
        assert_eq!(layout.place(4), Some(vec![chunk(0, 4, 4096)]));
        assert_eq!(layout.place(8), Some(vec![chunk(0, 6, 4100), chunk(6, 2, 9000)]));
        assert_eq!(layout.place(3), Some(vec![chunk(0, 3, 9002)]));
        assert_eq!(layout.place(1), None, "more data than the file has");
    }
}

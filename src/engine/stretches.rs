//! A file as stretches of data and holes.
//!
//! The chunks of a file are its data end to end; where they belong, its extents say.

use crate::base::metadata::Extent;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Zeros that nothing stands for.
    Hole {
        /// Bytes.
        len: u64,
    },
    /// Data.
    Data {
        /// First byte, counted in the file's data alone.
        at: u64,
        /// Bytes.
        len: u64,
    },
}

/// The stretches of the bytes from `offset` up to `end` of a file of `size` bytes, in order;
/// what lies behind its size has none. Whatever the extents are, the lengths add up.
pub(super) fn stretches(extents: Option<&[Extent]>, size: u64, offset: u64, end: u64) -> Vec<Stretch> {
    let end = end.min(size);
    let whole = [Extent { offset: 0, len: size }];
    let mut found = Vec::new();
    let (mut here, mut data) = (offset, 0u64);
    for extent in extents.unwrap_or(&whole) {
        if here >= end || extent.offset >= end {
            break;
        }
        let stop = extent.offset.saturating_add(extent.len).min(end);
        if here < extent.offset {
            found.push(Stretch::Hole { len: extent.offset - here });
            here = extent.offset;
        }
        if here < stop {
            found.push(Stretch::Data { at: data + (here - extent.offset), len: stop - here });
            here = stop;
        }
        data = data.saturating_add(extent.len);
    }
    if here < end {
        found.push(Stretch::Hole { len: end - here });
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte: the place in the data, or none in a hole.
    fn naive(extents: &[Extent], size: u64, offset: u64, end: u64) -> Vec<Option<u64>> {
        let mut places = vec![None; usize::try_from(size).expect("small")];
        let mut data = 0;
        for extent in extents {
            for byte in extent.offset..extent.offset + extent.len {
                if byte < size {
                    places[usize::try_from(byte).expect("small")] = Some(data);
                }
                data += 1;
            }
        }
        (offset..end.min(size)).map(|byte| places[usize::try_from(byte).expect("small")]).collect()
    }

    proptest! {
        #[test]
        fn every_byte_has_its_place(
            gaps in proptest::collection::vec((0u64..9, 1u64..9), 0..6), more in 0u64..9,
            offset in 0u64..60, len in 0u64..60, cut in 0u64..9,
        ) {
            let mut end = 0;
            let extents: Vec<Extent> = gaps.iter().map(|(gap, len)| {
                let extent = Extent { offset: end + gap, len: *len };
                end = extent.offset + len;
                extent
            }).collect();
            let size = (end + more).saturating_sub(cut);
            let mut found = Vec::new();
            for stretch in stretches(Some(&extents), size, offset, offset + len) {
                match stretch {
                    Stretch::Hole { len } => found.extend((0..len).map(|_| None)),
                    Stretch::Data { at, len } => found.extend((at..at + len).map(Some)),
                }
            }
            prop_assert_eq!(found, naive(&extents, size, offset, offset + len));
        }
    }

    #[test]
    fn a_file_without_extents_is_all_data() {
        assert_eq!(stretches(None, 10, 3, 99), [Stretch::Data { at: 3, len: 7 }]);
        assert_eq!(stretches(None, 10, 10, 20), []);
        assert_eq!(stretches(Some(&[]), 10, 0, 10), [Stretch::Hole { len: 10 }]);
    }
}

//! Content-defined cutting: a keyed gear hash with normalised chunking.
//!
//! For each byte `b` of a chunk, `h = (h << 1) + gear[b]` (mod 2^64). The chunk ends after its n-th
//! byte when `n >= nominal / 2` and `h` has only zeros under the mask of n, at the latest when
//! `n = 4 * nominal`. The mask is stricter by one bit below the nominal size and looser by one bit
//! from it on (normalised chunking level 1: Xia et al., FastCDC, USENIX ATC 2016), which narrows
//! the spread of sizes. Masks are runs of ones that end at bit 62, so that the decision rests on
//! the last 63 bytes alone: an insertion moves cut points with it.
//!
//! Two bytes are rolled in one step (FastCDC 2020), but a chunk may end after either, so that an
//! odd insertion heals as quickly as an even one. The first `nominal / 2 - 64` bytes can't
//! influence a decision and are not looked at.
//!
//! The table is keyed, but gear is no PRF: lengths are protected by the pack layout
//! (`docs/format.md`), not by this.

use std::sync::Arc;

/// Bytes that still influence the hash: it shifts by one bit a byte.
const WINDOW_BYTES: usize = 64;
/// Smallest nominal size.
pub const NOMINAL_BYTES_MIN: u32 = 4 * 1024;
/// Largest nominal size; the longest chunk is four times this, the largest blob.
pub const NOMINAL_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Nominal size unless the repository says otherwise. Real chunks average 1.35 to 1.6 times this.
pub const NOMINAL_BYTES_DEFAULT: u32 = 512 * 1024;

/// The 256 random numbers of the gear hash, with their doubles for the two-byte step.
pub struct GearTable {
    one: [u64; 256],
    doubled: [u64; 256],
}

impl GearTable {
    /// From 256 little-endian u64.
    pub fn new(bytes: &[u8; 2048]) -> Self {
        let mut one = [0u64; 256];
        for (number, eight) in one.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*eight);
        }
        Self { one, doubled: one.map(|number| number << 1) }
    }

    /// The number of a byte.
    pub fn number(&self, byte: u8) -> u64 {
        self.one[usize::from(byte)]
    }
}

impl std::fmt::Debug for GearTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GearTable([secret])")
    }
}

/// A nominal size that is no power of two within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{nominal_bytes} is no nominal chunk size: a power of two from {NOMINAL_BYTES_MIN} to {NOMINAL_BYTES_MAX}"
)]
pub struct NotANominalSize {
    nominal_bytes: u32,
}

/// Where chunks may end. Fixed for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerParams {
    nominal_bytes: u32,
}

impl ChunkerParams {
    /// Parameters of a nominal size.
    ///
    /// # Errors
    /// When it is no power of two from [`NOMINAL_BYTES_MIN`] to [`NOMINAL_BYTES_MAX`].
    pub fn new(nominal_bytes: u32) -> Result<Self, NotANominalSize> {
        if nominal_bytes.is_power_of_two() && (NOMINAL_BYTES_MIN..=NOMINAL_BYTES_MAX).contains(&nominal_bytes)
        {
            Ok(Self { nominal_bytes })
        } else {
            Err(NotANominalSize { nominal_bytes })
        }
    }

    /// The size below which the strict mask holds.
    pub fn nominal_bytes(self) -> u32 {
        self.nominal_bytes
    }

    /// No chunk is shorter, but for the last of a file.
    pub fn min_bytes(self) -> usize {
        self.nominal() / 2
    }

    /// No chunk is longer.
    pub fn max_bytes(self) -> usize {
        self.nominal() * 4
    }

    /// The mask below the nominal size: log2(nominal) + 1 ones that end at bit 62.
    pub fn strict_mask(self) -> u64 {
        ones_below_bit_63(self.nominal_bytes.trailing_zeros() + 1)
    }

    /// The mask from the nominal size on: log2(nominal) - 1 ones that end at bit 62.
    pub fn loose_mask(self) -> u64 {
        ones_below_bit_63(self.nominal_bytes.trailing_zeros() - 1)
    }

    fn nominal(self) -> usize {
        usize::try_from(self.nominal_bytes).expect("4 MiB fit every address space we build for")
    }
}

impl Default for ChunkerParams {
    fn default() -> Self {
        Self { nominal_bytes: NOMINAL_BYTES_DEFAULT }
    }
}

fn ones_below_bit_63(count: u32) -> u64 {
    ((1 << count) - 1) << (63 - count)
}

/// Finds the cut points of one stream of bytes that comes in pieces of any length.
#[derive(Clone, Debug)]
pub struct Chunker {
    params: ChunkerParams,
    gear: Arc<GearTable>,
    /// Bytes of the current chunk taken so far.
    taken: usize,
    hash: u64,
}

impl Chunker {
    /// At the start of a stream.
    pub fn new(params: ChunkerParams, gear: Arc<GearTable>) -> Self {
        Self { params, gear, taken: 0, hash: 0 }
    }

    /// Takes the next bytes of the current chunk. `Some(n)`: the chunk ends after the first n of
    /// them, and the next call takes the rest. `None`: all were taken, the chunk goes on.
    pub fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let min = self.params.min_bytes();
        let nominal = self.params.nominal();
        let unseen = (min - WINDOW_BYTES).saturating_sub(self.taken).min(bytes.len());
        let mut at = unseen;
        self.taken += unseen;
        // The byte that makes the chunk `end - 1` long is the last before a change of mask.
        let spans = [
            (min - 1, u64::MAX),
            (nominal - 1, self.params.strict_mask()),
            (self.params.max_bytes() - 1, self.params.loose_mask()),
        ];
        for (end, mask) in spans {
            let take = end.saturating_sub(self.taken).min(bytes.len() - at);
            let span = &bytes[at..at + take];
            if mask == u64::MAX {
                self.hash = span.iter().fold(self.hash, |h, &b| (h << 1).wrapping_add(self.gear.number(b)));
            } else if let Some(n) = self.scan(span, mask) {
                self.start_over();
                return Some(at + n);
            }
            at += take;
            self.taken += take;
        }
        if at == bytes.len() {
            return None;
        }
        self.start_over();
        Some(at + 1)
    }

    /// Forgets the current chunk: a new stream begins.
    pub fn start_over(&mut self) {
        self.taken = 0;
        self.hash = 0;
    }

    fn scan(&mut self, span: &[u8], mask: u64) -> Option<usize> {
        let GearTable { one, doubled } = &*self.gear;
        let doubled_mask = mask << 1;
        let mut hash = self.hash;
        let (pairs, odd) = span.as_chunks::<2>();
        for (n, &[first, second]) in pairs.iter().enumerate() {
            let twice = (hash << 2).wrapping_add(doubled[usize::from(first)]);
            hash = twice.wrapping_add(one[usize::from(second)]);
            if twice & doubled_mask == 0 {
                return Some(2 * n + 1);
            }
            if hash & mask == 0 {
                return Some(2 * n + 2);
            }
        }
        if let [last] = odd {
            hash = (hash << 1).wrapping_add(one[usize::from(*last)]);
            if hash & mask == 0 {
                return Some(span.len());
            }
        }
        self.hash = hash;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hash;
    use proptest::prelude::*;

    fn gear() -> Arc<GearTable> {
        let mut bytes = [0u8; 2048];
        hash::derive_into("gear", &[7; 32], &Default::default(), &[], &mut bytes);
        Arc::new(GearTable::new(&bytes))
    }

    /// The definition, byte by byte: the lengths of all chunks.
    fn reference(params: ChunkerParams, gear: &GearTable, bytes: &[u8]) -> Vec<usize> {
        let (mut lengths, mut n, mut h) = (Vec::new(), 0usize, 0u64);
        for &byte in bytes {
            n += 1;
            h = (h << 1).wrapping_add(gear.number(byte));
            let mask = if n < params.nominal() { params.strict_mask() } else { params.loose_mask() };
            if (n >= params.min_bytes() && h & mask == 0) || n == params.max_bytes() {
                lengths.push(n);
                (n, h) = (0, 0);
            }
        }
        if n > 0 {
            lengths.push(n);
        }
        lengths
    }

    fn in_pieces(params: ChunkerParams, gear: &Arc<GearTable>, bytes: &[u8], pieces: &[usize]) -> Vec<usize> {
        let mut chunker = Chunker::new(params, Arc::clone(gear));
        let (mut lengths, mut length, mut rest, mut next) = (Vec::new(), 0, bytes, 0);
        while !rest.is_empty() {
            let (mut piece, after) = rest.split_at(pieces[next % pieces.len()].clamp(1, rest.len()));
            next += 1;
            rest = after;
            while let Some(n) = chunker.cut(piece) {
                lengths.push(length + n);
                length = 0;
                piece = &piece[n..];
            }
            length += piece.len();
        }
        if length > 0 {
            lengths.push(length);
        }
        lengths
    }

    fn random(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        hash::derive_into("test", &[seed; 32], &Default::default(), &[], &mut bytes);
        bytes
    }

    fn small() -> ChunkerParams {
        ChunkerParams::new(4096).expect("in bounds")
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (any::<u8>(), 0usize..200_000).prop_map(|(seed, len)| random(seed, len)),
            (any::<u8>(), 0usize..60_000).prop_map(|(byte, len)| vec![byte; len]),
            (any::<u8>(), 1usize..5000, 1usize..40)
                .prop_map(|(seed, len, times)| random(seed, len).repeat(times)),
            (0u64..1 << 40, 0u64..20_000).prop_map(|(start, lines)| {
                (start..start + lines)
                    .flat_map(|n| format!("{n},row,value={}\n", n * 7).into_bytes())
                    .collect()
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn cut_points_equal_the_definition_however_reads_are_split(
            bytes in stream(),
            pieces in prop::collection::vec(prop_oneof![1usize..80, 1usize..9000, 60_000usize..90_000], 1..6),
        ) {
            let gear = gear();
            let expected = reference(small(), &gear, &bytes);
            prop_assert_eq!(&in_pieces(small(), &gear, &bytes, &[usize::MAX]), &expected);
            if pieces.iter().any(|&p| p > 8) || bytes.len() < 50_000 {
                prop_assert_eq!(&in_pieces(small(), &gear, &bytes, &pieces), &expected);
            }
        }
    }

    #[test]
    fn cut_points_at_the_default_size_equal_the_definition() {
        let (params, gear, bytes) = (ChunkerParams::default(), gear(), random(1, 12 << 20));
        let expected = reference(params, &gear, &bytes);
        assert!(expected.len() > 10, "random data is cut: {expected:?}");
        assert_eq!(in_pieces(params, &gear, &bytes, &[1 << 20, 131_071]), expected);
    }

    #[test]
    fn an_odd_or_even_insertion_moves_the_cut_points_with_it() {
        let (gear, bytes) = (gear(), random(2, 1 << 20));
        let before = reference(small(), &gear, &bytes);
        for inserted in [1, 2, 33] {
            let mut edited = bytes.clone();
            edited.splice(100_000..100_000, vec![9; inserted]);
            let after = in_pieces(small(), &gear, &edited, &[usize::MAX]);
            let same = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
            assert!(same * 10 > before.len() * 7, "{same} of {} chunks after {inserted}", before.len());
        }
    }

    #[test]
    fn sizes_keep_their_bounds_and_their_mean() {
        let (gear, bytes) = (gear(), random(3, 4 << 20));
        let lengths = in_pieces(small(), &gear, &bytes, &[usize::MAX]);
        let (_, whole) = lengths.split_last().expect("there are chunks");
        assert!(whole.iter().all(|&n| (small().min_bytes()..=small().max_bytes()).contains(&n)));
        let mean = bytes.len() / lengths.len();
        assert!((4096..8192).contains(&mean), "mean {mean}");
    }

    #[test]
    fn only_powers_of_two_in_bounds_are_nominal_sizes() {
        for bad in [0, 1, 2048, 5000, 8 << 20, u32::MAX] {
            assert!(ChunkerParams::new(bad).is_err(), "{bad}");
        }
        assert_eq!(ChunkerParams::default().strict_mask(), 0x7fff_f800_0000_0000);
        assert_eq!(ChunkerParams::default().loose_mask(), 0x7fff_e000_0000_0000);
    }
}

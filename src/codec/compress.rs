//! zstd with contexts that are used again (1.8 times faster on small inputs), and without it
//! where it can't win.
//!
//! Whether a blob is stored raw is decided by a sample of its bytes first, which costs 0.005 CPU
//! seconds a gigabyte and finds random data without trying; then by the result.

use zstd::bulk;
use zstd::zstd_safe;

use crate::base::limits::BLOB_PLAIN_BYTES_MAX;

/// Level unless told otherwise.
pub const LEVEL_DEFAULT: i32 = 1;
/// Lowest and highest level: above, zstd would need windows beyond [`WINDOW_BYTES_MAX`].
pub const LEVELS: std::ops::RangeInclusive<i32> = -7..=19;
/// A frame that asks for more is refused.
pub const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 512;
/// Bits a byte above which compression is not tried.
const ENTROPY_BITS_MAX: f64 = 7.8;

/// Inputs of these lengths are given a larger table at level 1.
const BLOCK_BYTES: std::ops::RangeInclusive<usize> = 32 * 1024..=128 * 1024;
/// log2 of its places.
const BLOCK_HASH_LOG: u32 = 15;

/// How a blob's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    Raw,
    /// One zstd frame that states its content size.
    Zstd,
}

impl Compression {
    /// The number in a footer row.
    pub fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    /// From the number in a footer row.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd].into_iter().find(|c| c.number() == number)
    }
}

/// Compresses one blob after the other.
pub struct Compressor {
    zstd: bulk::Compressor<'static>,
    level: i32,
    /// log2 of the places in the match table; 0 for what the level says.
    hash_log: u32,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor(level {})", self.level)
    }
}

impl Compressor {
    /// A context of about 3 MiB. A level outside [`LEVELS`] becomes the nearest.
    pub fn new(level: i32) -> Self {
        let level = level.clamp(*LEVELS.start(), *LEVELS.end());
        let zstd = bulk::Compressor::new(level).expect("zstd takes every level of the range");
        Self { zstd, level, hash_log: 0 }
    }

    /// The level in use, as a footer row states it.
    pub fn level(&self) -> i8 {
        i8::try_from(self.level).expect("the levels fit one byte")
    }

    /// What a footer row says of a blob that was stored in this way.
    pub fn level_of(&self, compression: Compression) -> i8 {
        match compression {
            Compression::Raw => 0,
            Compression::Zstd => self.level(),
        }
    }

    /// Replaces `out` by the stored form of `plain`: compressed when that saves at least 1/64,
    /// else as it is.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Compression {
        out.clear();
        let enough = plain.len() - plain.len().div_ceil(64);
        if !looks_random(plain) {
            out.reserve(zstd_safe::compress_bound(plain.len()));
            self.fit_table(plain.len());
            if self.zstd.compress_to_buffer(plain, out).is_ok_and(|n| n <= enough) {
                return Compression::Zstd;
            }
            out.clear();
        }
        out.extend_from_slice(plain);
        Compression::Raw
    }
}

impl Compressor {
    /// Level 1 has a table of 8,192 places for inputs of up to 128 KiB, four times as many for longer
    /// ones. With the larger one a block of 64 KiB shrinks as much as a chunk ten times as long: pages
    /// of a database to 52.5 % instead of 53.5 %.
    fn fit_table(&mut self, plain_bytes: usize) {
        let is_block = BLOCK_BYTES.contains(&plain_bytes) && self.level == 1;
        let hash_log = if is_block { BLOCK_HASH_LOG } else { 0 };
        if hash_log != self.hash_log {
            let set = self.zstd.set_parameter(zstd_safe::CParameter::HashLog(hash_log));
            set.expect("zstd takes this table size between frames");
            self.hash_log = hash_log;
        }
    }
}

/// Whether samples of the bytes use all byte values alike.
fn looks_random(plain: &[u8]) -> bool {
    // Below, the samples would overlap, and an estimate from so few bytes says too little.
    if plain.len() < SAMPLES * SAMPLE_BYTES {
        return false;
    }
    let mut counts = [0u32; 256];
    let step = (plain.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        for &byte in &plain[sample * step..sample * step + SAMPLE_BYTES] {
            counts[usize::from(byte)] += 1;
        }
    }
    let total = f64::from(counts.iter().sum::<u32>());
    let bits: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| f64::from(count) / total * (total / f64::from(count)).log2())
        .sum();
    bits > ENTROPY_BITS_MAX
}

/// Stored bytes that don't become the plain bytes their row promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecompressed {
    /// Longer than any blob may be.
    #[error("{plain_bytes} bytes are more than a blob may have")]
    TooLong {
        /// The length promised.
        plain_bytes: usize,
    },
    /// Not one zstd frame, or one without or with another content size.
    #[error("not one zstd frame of the length promised")]
    Frame,
    /// The frame asks for too large a window.
    #[error("the zstd frame asks for a window above {WINDOW_BYTES_MAX} bytes")]
    Window,
    /// The content of the frame is damaged.
    #[error("the zstd frame is damaged")]
    Content,
}

/// Decompresses one blob after the other.
pub struct Decompressor(bulk::Decompressor<'static>);

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// A context of about 150 KiB.
    pub fn new() -> Self {
        Self(bulk::Decompressor::new().expect("a decompression context has no parameter to refuse"))
    }

    /// Replaces `out` by the plain bytes. Reserves no more than `plain_bytes`, and that only after
    /// everything that can be known from the frame's header fits.
    ///
    /// # Errors
    /// When the stored bytes are not exactly one form of `plain_bytes` bytes. `out` is empty then.
    pub fn decompress(
        &mut self,
        compression: Compression,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), NotDecompressed> {
        out.clear();
        if plain_bytes > BLOB_PLAIN_BYTES_MAX {
            return Err(NotDecompressed::TooLong { plain_bytes });
        }
        if compression == Compression::Raw {
            if stored.len() != plain_bytes {
                return Err(NotDecompressed::Frame);
            }
            out.extend_from_slice(stored);
            return Ok(());
        }
        check_frame(stored, plain_bytes)?;
        out.reserve_exact(plain_bytes);
        match self.0.decompress_to_buffer(stored, out) {
            Ok(n) if n == plain_bytes => Ok(()),
            _ => {
                out.clear();
                Err(NotDecompressed::Content)
            }
        }
    }
}

/// One frame, nothing behind it, of the right content size and a modest window (RFC 8878, 3.1.1).
fn check_frame(stored: &[u8], plain_bytes: usize) -> Result<(), NotDecompressed> {
    const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    let content = zstd_safe::get_frame_content_size(stored).ok().flatten();
    if !stored.starts_with(&MAGIC)
        || content.is_none_or(|n| usize::try_from(n) != Ok(plain_bytes))
        || zstd_safe::find_frame_compressed_size(stored) != Ok(stored.len())
    {
        return Err(NotDecompressed::Frame);
    }
    let (Some(descriptor), Some(window)) = (stored.get(4), stored.get(5)) else {
        return Err(NotDecompressed::Frame);
    };
    let single_segment = descriptor & 0x20 != 0;
    let window_bytes = if single_segment {
        content.unwrap_or(u64::MAX)
    } else {
        let base = 1u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    };
    if window_bytes > WINDOW_BYTES_MAX { Err(NotDecompressed::Window) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::entropy::random;
    use proptest::prelude::*;

    fn text(lines: usize) -> Vec<u8> {
        (0..lines).flat_map(|n| format!("{n}: the quick brown fox {}\n", n * n).into_bytes()).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len.div_ceil(32)).flat_map(|_| random::<32>()).take(len).collect()
    }

    #[test]
    fn text_shrinks_and_comes_back() {
        let (mut c, mut d, mut stored, mut plain) =
            (Compressor::new(1), Decompressor::new(), Vec::new(), Vec::new());
        for lines in [1, 100, 20_000] {
            let text = text(lines);
            let form = c.compress(&text, &mut stored);
            assert!(lines == 1 || (form == Compression::Zstd && stored.len() < text.len() / 2));
            d.decompress(form, &stored, text.len(), &mut plain).expect("comes back");
            assert_eq!(plain, text);
        }
    }

    #[test]
    fn random_and_short_bytes_are_stored_raw() {
        let (mut c, mut stored) = (Compressor::new(3), Vec::new());
        for len in [0, 1, 40, 4096, 100_000] {
            let bytes = noise(len);
            assert_eq!(c.compress(&bytes, &mut stored), Compression::Raw, "{len}");
            assert_eq!(stored, bytes);
        }
        assert!(looks_random(&noise(4096)));
        assert!(!looks_random(&text(1000)));
    }

    #[test]
    fn a_frame_must_state_the_length_promised_and_end_where_the_bytes_end() {
        let text = text(100);
        let (mut stored, mut out, mut d) = (Vec::new(), Vec::new(), Decompressor::new());
        assert_eq!(Compressor::new(1).compress(&text, &mut stored), Compression::Zstd);
        let mut try_it = |bytes: &[u8], len| d.decompress(Compression::Zstd, bytes, len, &mut out);
        assert_eq!(try_it(&stored, text.len()), Ok(()));
        assert_eq!(try_it(&stored, text.len() + 1), Err(NotDecompressed::Frame));
        assert_eq!(try_it(&[&stored[..], &[0]].concat(), text.len()), Err(NotDecompressed::Frame));
        let skippable = [&stored[..], &0x184D_2A50_u32.to_le_bytes(), &[0; 4]].concat();
        assert_eq!(try_it(&skippable, text.len()), Err(NotDecompressed::Frame));
        assert_eq!(
            try_it(&stored, BLOB_PLAIN_BYTES_MAX + 1),
            Err(NotDecompressed::TooLong { plain_bytes: BLOB_PLAIN_BYTES_MAX + 1 })
        );
    }

    #[test]
    fn a_frame_without_its_content_size_is_refused() {
        let text = text(100);
        let mut bare = bulk::Compressor::new(1).expect("a context");
        bare.set_parameter(zstd_safe::CParameter::ContentSizeFlag(false)).expect("a parameter");
        let stored = bare.compress(&text).expect("compresses");
        let refused = Decompressor::new().decompress(Compression::Zstd, &stored, text.len(), &mut Vec::new());
        assert_eq!(refused, Err(NotDecompressed::Frame));
    }

    #[test]
    fn a_frame_with_a_huge_window_is_refused() {
        // Magic, descriptor (4-byte content size, not a single segment), window 2^27, size 9, one raw block.
        let mut frame = 0xFD2F_B528_u32.to_le_bytes().to_vec();
        frame.extend_from_slice(&[0x80, 17 << 3, 9, 0, 0, 0]);
        frame.extend_from_slice(&[(9 << 3) | 1, 0, 0]);
        frame.extend_from_slice(b"ninebytes");
        let mut out = Vec::new();
        let mut d = Decompressor::new();
        assert_eq!(d.decompress(Compression::Zstd, &frame, 9, &mut out), Err(NotDecompressed::Window));
        frame[5] = 13 << 3;
        assert_eq!(d.decompress(Compression::Zstd, &frame, 9, &mut out), Ok(()));
        assert_eq!(out, b"ninebytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_give_the_length_promised(
            bytes in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..100_000, flip in any::<u16>(),
        ) {
            let mut out = Vec::new();
            let mut d = Decompressor::new();
            if d.decompress(Compression::Zstd, &bytes, len, &mut out).is_ok() {
                prop_assert_eq!(out.len(), len);
            }
            let text = text(50);
            let mut stored = Vec::new();
            Compressor::new(1).compress(&text, &mut stored);
            let bit = usize::from(flip) % (stored.len() * 8);
            stored[bit / 8] ^= 1 << (bit % 8);
            if d.decompress(Compression::Zstd, &stored, text.len(), &mut out).is_ok() {
                prop_assert_eq!(out.len(), text.len());
            }
            prop_assert!(out.capacity() <= 128 * 1024);
        }
    }
}

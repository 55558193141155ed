//! The end of a pack: where its parts lie, who signed it, and sums that find damage without a key.

use super::super::error::FormatError;
use super::super::tlv::Reader;
use super::head::{HEADER_BYTES, PAGE, PARITY_AT};
use crate::base::limits::PARITY_PERCENT_MAX;
use crate::codec::parity;
use crate::codec::sign::SIGNATURE_BYTES;

const TRAIL_MAGIC: &[u8; 8] = b"LBTRAIL\x01";
/// Where the trailer repeats the pack's header: behind the magic and five offsets.
const HEADER_AT: usize = 8 + 5 * 8;
/// Length of the trailer at the end.
pub const TRAIL_BYTES: usize = 256;
/// Length of a shard, for sums and parity.
pub const SHARD_BYTES: usize = 64 * 1024;
/// One read of this many last bytes gives the footer of most packs.
pub const TAIL_BYTES_FIRST: u64 = 64 * 1024;

/// The sum of a shard: XXH3-64.
pub(super) fn shard_sum(shard: &[u8]) -> [u8; 8] {
    xxhash_rust::xxh3::xxh3_64(shard).to_le_bytes()
}

/// Offsets of a pack's parts, from its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trail {
    pub(super) pack: usize,
    pub(super) ec: usize,
    pub(super) foot: usize,
    pub(super) wrap: usize,
    pub(super) sums: usize,
    /// Parity in per cent: the header says it.
    pub(super) percent: u8,
}

/// What a trailer says.
#[derive(Debug)]
pub(super) struct Trailer {
    pub(super) offsets: Trail,
    /// The pack's first bytes again, so that its last ones alone say what it is.
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) signature: [u8; SIGNATURE_BYTES],
}

impl Trail {
    pub(super) fn encode(
        &self,
        header: &[u8; HEADER_BYTES],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> [u8; TRAIL_BYTES] {
        let mut out = [0u8; TRAIL_BYTES];
        out[..8].copy_from_slice(TRAIL_MAGIC);
        for (number, offset) in [self.pack, self.ec, self.foot, self.wrap, self.sums].into_iter().enumerate()
        {
            let at = 8 + 8 * number;
            out[at..at + 8].copy_from_slice(&u64::try_from(offset).unwrap_or(u64::MAX).to_le_bytes());
        }
        out[HEADER_AT..HEADER_AT + HEADER_BYTES].copy_from_slice(header);
        let sig_at = TRAIL_BYTES - 4 - SIGNATURE_BYTES;
        out[sig_at..TRAIL_BYTES - 4].copy_from_slice(signature);
        let crc = crc32c::crc32c(&out[..TRAIL_BYTES - 4]);
        out[TRAIL_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The trailer at the end of these bytes, of a pack of this length.
    pub(super) fn decode(tail: &[u8], total: u64) -> Result<Trailer, FormatError> {
        let wrong = |why| FormatError::Malformed { what: "a pack's trailer", why };
        let start = tail.len().checked_sub(TRAIL_BYTES).ok_or(wrong("it is cut off"))?;
        let trailer = Self::read(&tail[start..])?;
        if u64::try_from(trailer.offsets.pack) == Ok(total) {
            Ok(trailer)
        } else {
            Err(wrong("its offsets are not those of a pack"))
        }
    }

    /// A trailer, wherever it was found.
    pub(super) fn read(trail: &[u8]) -> Result<Trailer, FormatError> {
        let wrong = |why| FormatError::Malformed { what: "a pack's trailer", why };
        if trail.len() != TRAIL_BYTES {
            return Err(wrong("it is cut off"));
        }
        let (body, crc) = trail.split_last_chunk::<4>().ok_or(wrong("it is cut off"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(wrong("its checksum does not fit"));
        }
        let mut reader = Reader::new("a pack's trailer", body);
        if reader.array::<8>()? != *TRAIL_MAGIC {
            return Err(wrong("it does not begin as a trailer does"));
        }
        let mut offsets = [0usize; 5];
        for offset in &mut offsets {
            *offset = usize::try_from(reader.u64()?).map_err(|_| wrong("an offset is too large"))?;
        }
        let [pack, ec, foot, wrap, sums] = offsets;
        let header: [u8; HEADER_BYTES] = reader.array()?;
        let zeros = reader.slice(body.len() - HEADER_AT - HEADER_BYTES - SIGNATURE_BYTES)?;
        let signature = reader.array()?;
        let offsets = Self { pack, ec, foot, wrap, sums, percent: header[PARITY_AT] };
        if !offsets.is_laid_out() || zeros.iter().any(|b| *b != 0) {
            return Err(wrong("its offsets are not those of a pack"));
        }
        Ok(Trailer { offsets, header, signature })
    }

    /// Whether a writer lays the parts out like this: in order, in whole pages, without slack.
    fn is_laid_out(&self) -> bool {
        let Self { pack, ec, foot, wrap, sums, percent } = *self;
        let behind = if percent == 0 { ec == foot } else { self.parity_from().is_some() };
        let ordered = HEADER_BYTES < ec && behind && foot < wrap && wrap < sums && sums < pack;
        let in_pages = |offset: usize| offset.is_multiple_of(PAGE);
        ordered
            && [ec, foot, wrap].into_iter().all(in_pages)
            && self.sums_end().checked_add(TRAIL_BYTES).map(|end| end.next_multiple_of(PAGE)) == Some(pack)
    }

    /// Where the sums end and the zeros before the trailer begin.
    pub(super) fn sums_end(&self) -> usize {
        self.sums.saturating_add(self.data_shards().saturating_add(self.parity_shards()).saturating_mul(8))
    }

    /// Shards of the header and the blobs.
    pub(super) fn data_shards(&self) -> usize {
        self.ec.div_ceil(SHARD_BYTES)
    }

    /// Shards of parity over them.
    pub(super) fn parity_shards(&self) -> usize {
        if self.percent > PARITY_PERCENT_MAX { 0 } else { parity::count(self.data_shards(), self.percent) }
    }

    /// Where the copy of the end and where the parity begins: between blobs and footer lie both, and
    /// nothing else. None for a pack without parity, or with other offsets.
    pub(super) fn parity_from(&self) -> Option<(usize, usize)> {
        let end_bytes = self.pack.checked_sub(self.foot)?;
        let parity_bytes = self.parity_shards().checked_mul(SHARD_BYTES)?;
        let parity_at = self.ec.checked_add(end_bytes)?;
        let fits = parity_bytes > 0 && parity_at.checked_add(parity_bytes)? == self.foot;
        fits.then_some((self.ec, parity_at))
    }
}

/// Where the footer of a pack of this length begins, from its last bytes.
///
/// # Errors
/// When the trailer cannot be read.
pub fn foot_offset(tail: &[u8], total: u64) -> Result<u64, FormatError> {
    Ok(u64::try_from(Trail::decode(tail, total)?.offsets.foot).unwrap_or(u64::MAX))
}

/// The shards of a pack whose sums do not fit, those of parity after those of the blobs: where damage
/// lies, found without a key.
///
/// # Errors
/// When the trailer cannot be read.
pub fn hurt_shards(pack: &[u8]) -> Result<Vec<usize>, FormatError> {
    let trail = Trail::decode(pack, u64::try_from(pack.len()).unwrap_or(u64::MAX))?.offsets;
    let sums = &pack[trail.sums..trail.sums_end()];
    let parity = trail.parity_from().map_or(&[][..], |(_, at)| &pack[at..trail.foot]);
    let shards = pack[..trail.ec].chunks(SHARD_BYTES).chain(parity.chunks(SHARD_BYTES));
    let shards = shards.zip(sums.chunks(8)).enumerate();
    Ok(shards.filter(|(_, (shard, sum))| shard_sum(shard) != **sum).map(|(number, _)| number).collect())
}

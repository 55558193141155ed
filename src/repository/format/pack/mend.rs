//! A damaged pack out of its own parity, without any key (docs/format.md, "Parity").
//!
//! The end of a pack (footer, key boxes, sums, trailer) stands twice, before the parity and behind
//! it, so that no stretch that the parity can bring back hits both. Sums say which stretches are
//! bad. Whatever comes out counts only when it has the hash that is the pack's name, so nothing here
//! has to be believed.

use std::collections::HashSet;

use super::head::PAGE;
use super::trail::{SHARD_BYTES, TRAIL_BYTES, Trail, Trailer, shard_sum};
use crate::base::id::ObjectHash;
use crate::base::limits::PACK_BYTES_MAX;
use crate::codec::{hash, parity};

/// Ends that are tried: a pack has two.
const ENDS_MAX: usize = 16;

/// The pack of this name, out of what is left of it: damaged, cut off at its end or followed by
/// other bytes. None when it has no parity, or too much is lost.
pub fn mend(left: &[u8], name: &ObjectHash) -> Option<Vec<u8>> {
    if left.len() > PACK_BYTES_MAX {
        return None;
    }
    ends(left).find_map(|(at, end)| out_of(left, at, &end, name))
}

/// The trailers that are whole, the last one first, and where each ends.
fn ends(left: &[u8]) -> impl Iterator<Item = (usize, Trailer)> + '_ {
    let pages = (1..=left.len() / PAGE).rev().map(|page| page * PAGE);
    let whole = pages.filter_map(|end| Some((end, Trail::read(left.get(end - TRAIL_BYTES..end)?).ok()?)));
    whole.take(ENDS_MAX)
}

fn out_of(left: &[u8], at: usize, trailer: &Trailer, name: &ObjectHash) -> Option<Vec<u8>> {
    let trail = trailer.offsets;
    let (copy, parity_at) = trail.parity_from().filter(|_| trail.pack <= PACK_BYTES_MAX)?;
    let end_bytes = trail.pack - trail.foot;
    let end = left.get(at.checked_sub(end_bytes)?..at)?;
    let mut pack = vec![0; trail.pack];
    let held = left.len().min(trail.pack);
    pack[..held].copy_from_slice(&left[..held]);
    let sums = end.get(trail.sums - trail.foot..trail.sums_end() - trail.foot)?;
    let (data_sums, parity_sums) = sums.split_at(8 * trail.data_shards());
    let bad = bad_shards(&pack[..trail.ec], data_sums);
    let bad_parity = bad_shards(&pack[parity_at..trail.foot], parity_sums);
    let (data, rest) = pack.split_at_mut(trail.ec);
    let old = &rest[parity_at - trail.ec..trail.foot - trail.ec];
    parity::recover(data, SHARD_BYTES, &bad, old, &bad_parity).ok()?;
    let made = parity::encode(data, SHARD_BYTES, trail.parity_shards()).ok()?;
    rest[parity_at - trail.ec..trail.foot - trail.ec].copy_from_slice(&made);
    pack[copy..copy + end_bytes].copy_from_slice(end);
    pack[trail.foot..].copy_from_slice(end);
    (hash::object(&pack) == *name).then_some(pack)
}

fn bad_shards(bytes: &[u8], sums: &[u8]) -> HashSet<usize> {
    let all = bytes.chunks(SHARD_BYTES).zip(sums.chunks(8)).enumerate();
    all.filter(|(_, (shard, sum))| shard_sum(shard) != **sum).map(|(number, _)| number).collect()
}

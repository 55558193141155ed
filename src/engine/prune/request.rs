//! What a prune goes by.

use std::collections::HashSet;
use std::time::Duration;

use crate::base::id::ObjectHash;

/// What a prune goes by.
#[derive(Clone, Debug)]
pub struct PruneRequest {
    /// The machine that signs packs of moved blobs.
    pub host: String,
    /// Only look and show.
    pub dry_run: bool,
    /// With that: as if these snapshots had been forgotten.
    pub without: HashSet<ObjectHash>,
    /// How long a pack is left alone, and then a plan stays visible before it is carried out, by
    /// the target's clock. It spares others work; safety rests on none of it.
    pub grace: Duration,
    /// Proposals that nobody confirmed for this long are removed.
    pub stale: Duration,
    /// The share of a pack that may be unused, in per cent.
    pub max_unused_percent: u8,
    /// Bytes to be moved at most.
    pub max_move_bytes: Option<u64>,
    /// So many index runs of one size are joined.
    pub join_runs_at: usize,
    /// That more than half of all bytes go is meant.
    pub accept_more_than_half: bool,
    /// That the clock is right is known.
    pub accept_clock: bool,
}

impl PruneRequest {
    /// Default grace.
    pub const GRACE: Duration = Duration::from_hours(72);
    /// Default age of proposals that are removed.
    pub const STALE: Duration = Duration::from_hours(14 * 24);
    /// Default share of a pack that may be unused, in per cent.
    pub const MAX_UNUSED_PERCENT: u8 = 15;

    /// Default count of index runs of one size that are joined.
    pub const JOIN_RUNS_AT: usize = 8;

    /// With every default.
    pub fn new(host: String) -> Self {
        Self {
            host,
            dry_run: false,
            without: HashSet::new(),
            grace: Self::GRACE,
            stale: Self::STALE,
            max_unused_percent: Self::MAX_UNUSED_PERCENT,
            max_move_bytes: None,
            join_runs_at: Self::JOIN_RUNS_AT,
            accept_more_than_half: false,
            accept_clock: false,
        }
    }
}

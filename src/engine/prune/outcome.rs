//! What a prune planned and did.

use serde::Serialize;

use crate::repository::sweep::{Choice, Draft, Kept, Report};

/// What a prune planned and did, target by target.
#[derive(Clone, Debug, Serialize)]
pub struct PruneOutcome {
    /// Whether it only looked.
    pub dry_run: bool,
    /// Each target.
    pub targets: Vec<TargetPrune>,
}

/// One target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetPrune {
    /// Its name.
    pub target: String,
    /// What was planned now; none when the look failed.
    pub plan: Option<PlanView>,
    /// What was carried out now.
    pub done: Report,
    /// Why it did not come to an end.
    pub failed: Option<String>,
}

/// A plan as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct PlanView {
    /// Packs that it condemns.
    pub condemned: Vec<Choice>,
    /// Proposals that it condemns.
    pub proposals: Vec<String>,
    /// Checkpoints of runs that ended since: they are forgotten.
    pub checkpoints: u64,
    /// Bytes that go for good.
    pub freed_bytes: u64,
    /// Bytes that have to be moved for it.
    pub moved_bytes: u64,
    /// What stays.
    pub kept: Kept,
    /// All packs of the target.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots that count.
    pub snapshots: u64,
}

impl PlanView {
    /// Of a draft.
    pub(super) fn of(draft: &Draft) -> Self {
        Self {
            condemned: draft.choices.clone(),
            proposals: draft.proposals.clone(),
            checkpoints: u64::try_from(draft.checkpoints.len()).unwrap_or(u64::MAX),
            freed_bytes: draft.freed_bytes(),
            moved_bytes: draft.moved_bytes(),
            kept: draft.kept,
            packs: draft.packs,
            bytes: draft.bytes,
            snapshots: draft.snapshots,
        }
    }
}

impl PruneOutcome {
    /// Whether every target was done and nothing was refused.
    pub fn is_whole(&self) -> bool {
        self.targets.iter().all(|target| target.failed.is_none() && target.done.refused.is_empty())
    }
}

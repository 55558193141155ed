//! Checkpoints that nobody will go on from: they are forgotten, as any snapshot is, so that what
//! only they need can go.

use std::collections::HashSet;

use super::SweepError;
use super::steps::Sweeping;
use crate::base::clock::Timestamp;
use crate::repository::format::names::SnapshotName;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::snapshots::{self, Snapshot};

/// The checkpoints after which the same writer finished a snapshot of the same path, or made a
/// later checkpoint in the same run, and those of this age.
///
/// # Errors
/// Whatever the target says.
pub(super) fn stale(
    cx: &Sweeping<'_>,
    now: Timestamp,
    age: std::time::Duration,
) -> Result<Vec<SnapshotName>, SweepError> {
    let (all, _) = snapshots::load_with_checkpoints(cx.repository, cx.target)?;
    let is_over = |checkpoint: &Snapshot| {
        checkpoint.body.captured_at.plus(age) <= now
            || all.iter().any(|later| is_superseded(checkpoint, later))
    };
    let checkpoints = all.iter().filter(|snapshot| snapshot.body.kind == SnapshotKind::Checkpoint);
    let ids: HashSet<_> =
        checkpoints.filter(|snapshot| is_over(snapshot)).map(|snapshot| snapshot.id).collect();
    // Under all their names.
    let listed = snapshots::list(cx.target, Some(cx.repository.format()))?;
    let names = listed.valid.into_iter().chain(listed.pending);
    Ok(names.filter(|name| ids.contains(&name.id)).collect())
}

fn is_superseded(checkpoint: &Snapshot, later: &Snapshot) -> bool {
    let first = |snapshot: &Snapshot| snapshot.body.roots.first().map(|root| root.path.clone());
    later.writer == checkpoint.writer
        && later.number > checkpoint.number
        && first(later) == first(checkpoint)
        && (later.body.kind != SnapshotKind::Checkpoint
            || later.body.captured_at == checkpoint.body.captured_at)
}

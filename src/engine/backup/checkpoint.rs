//! Checkpoints: what a long run has done so far, made durable, so that an interruption costs at
//! most one interval.
//!
//! A checkpoint is a snapshot of its own type over the first part of the tree, committed on every
//! target that still takes part, by the same steps as any other. Nobody lists it and nobody
//! restores it; the next run of the same host, roots and kind takes over what it says without
//! reading it again, after the usual look at size, times and inode. A checkpoint that can't be
//! made is only a longer way back.

use std::collections::HashSet;

use super::collect::Collector;
use super::finish;
use super::pass::Pass;
use super::publish::Stored;
use super::snapshot::{Tree, excludes_hash, snapshot_root};
use crate::base::clock::Timestamp;
use crate::base::error::Chain as ErrorChain;
use crate::base::id::WriterId;
use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;
use crate::repository::fan_out::FanOut;
use crate::repository::format::snapshot::{SnapshotKind, SnapshotRoot};
use crate::repository::pack_pool::PackPool;
use crate::repository::snapshots::Snapshot;

use super::request::BackupRequest;

/// A full that was not scheduled goes on from a checkpoint of at most this age: what a full says
/// is that all was read, and that has to be recent.
const FULL_AGE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What a checkpoint is made of.
pub(super) struct SoFar<'a, 's, 'f> {
    pub(super) pool: &'a PackPool<'s>,
    pub(super) fan_out: &'a FanOut<'f>,
    /// Roots that are finished.
    pub(super) roots: &'a [SnapshotRoot],
    /// The one at work.
    pub(super) path: &'a [u8],
}

impl Pass<'_> {
    /// Commits the tree so far on every target that takes part.
    pub(super) fn checkpoint(
        &self,
        so_far: &SoFar<'_, '_, '_>,
        collector: &mut Collector<'_, '_>,
        stored: &mut Stored,
    ) -> Result<(), EngineError> {
        let (root, used) = collector.so_far()?;
        let Some(root) = root else { return Ok(()) };
        let (needed, pack_set) = self.close(so_far.pool, so_far.fan_out, &used, stored)?;
        let mut roots = so_far.roots.to_vec();
        roots.push(snapshot_root(so_far.path, &root));
        let tree = Tree { collected: collector.collected(), roots, needed, pack_set };
        let (body, proposal) = self.proposal(SnapshotKind::Checkpoint, tree, &stored.chain)?;
        // Nobody reads a checkpoint back, so what its parent needed makes no difference.
        let parent_packs = HashSet::new();
        let known = stored.known(self);
        let ready = self.ready(&proposal, &known, &parent_packs);
        let mut anywhere = false;
        for (lane, has_all) in so_far.fan_out.drain().into_iter().enumerate() {
            let Some(target) = self.start.targets.get(lane).filter(|_| has_all) else { continue };
            match finish::commit_on(&ready, target, self.cx) {
                Ok(_) => anywhere = true,
                Err(RepositoryError::Cancelled) => return Err(EngineError::Cancelled),
                Err(error) => {
                    let reason = ErrorChain(&error).to_string();
                    self.cx.progress.warn(format!("{}: no checkpoint was made: {reason}", target.name));
                }
            }
        }
        if anywhere {
            self.keep(&body, &proposal, &stored.chain);
            stored.chain.advance();
        }
        stored.checkpoint_done(self, so_far.pool);
        Ok(())
    }
}

/// The checkpoint of an interrupted run that this one goes on from: of the same writer, roots,
/// rules, kind and parent, the one that holds most.
pub(super) fn choose<'a>(
    request: &BackupRequest,
    roots: &[Vec<u8>],
    snapshots: &'a [Snapshot],
    parent: Option<&Snapshot>,
    me: WriterId,
    now: Timestamp,
) -> Option<&'a Snapshot> {
    let excludes = excludes_hash(&request.walk);
    let fits = |snapshot: &&Snapshot| {
        let body = &snapshot.body;
        let age_ms = now.unix_ms().saturating_sub(body.captured_at.unix_ms());
        let recent = match request.kind {
            SnapshotKind::Full | SnapshotKind::FullIndependent => {
                body.occurrence == request.occurrence
                    && (request.occurrence.is_some() || age_ms <= FULL_AGE_MS_MAX)
            }
            _ => true,
        };
        body.kind == SnapshotKind::Checkpoint
            && snapshot.signed
            && snapshot.writer == me
            && body.host == request.host
            && body.asked == request.kind
            && body.parent == parent.map(|parent| parent.id)
            && body.excludes_hash == excludes
            && age_ms >= 0
            && recent
            && body.roots.len() <= roots.len()
            && body.roots.iter().zip(roots).all(|(have, want)| have.path == *want)
    };
    let entries = |snapshot: &&Snapshot| snapshot.body.roots.iter().map(|root| root.entries).sum::<u64>();
    snapshots.iter().filter(fits).max_by_key(entries)
}

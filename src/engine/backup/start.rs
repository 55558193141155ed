//! What a backup finds before it reads the source: which targets answer, what they hold, and the
//! snapshot it compares itself with.
//!
//! The order of the listings is part of the commit protocol: plans first, then snapshots, then
//! index runs.

use std::collections::HashSet;

use super::checkpoint;
use super::request::{BackupRequest, ParentChoice};
use crate::base::error::{Class, Classified};
use crate::base::id::{ObjectHash, WriterId};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::{Repository, Target};
use crate::repository::commit::plans;
use crate::repository::error::RepositoryError;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::load::{self, Loaded};
use crate::repository::snapshots::{self, Snapshot};

/// A target that takes no part, and why.
#[derive(Debug)]
pub(super) struct Absent {
    /// Its name.
    pub(super) name: String,
    /// What it said.
    pub(super) reason: String,
    /// The class of that.
    pub(super) class: Class,
}

/// The state that a pass begins from.
pub(super) struct Start {
    /// Targets that answered.
    pub(super) targets: Vec<Target>,
    /// Those that did not.
    pub(super) absent: Vec<Absent>,
    /// The index of those that answered, without what any plan condemns.
    pub(super) loaded: Loaded,
    /// The snapshot to compare with.
    pub(super) parent: Option<Snapshot>,
    /// The newest full of the same host and roots.
    pub(super) base_full: Option<ObjectHash>,
    /// The checkpoint of an interrupted run that this one goes on from.
    pub(super) resume: Option<Snapshot>,
    /// Where the new snapshot stands.
    pub(super) chain: Chain,
}

/// A snapshot's place in its writer's chain.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// One more than the highest number this writer used.
    pub(super) number: u64,
    /// All own newest.
    own: Vec<ObjectHash>,
    /// The newest verified of others.
    others: Vec<ObjectHash>,
}

impl Chain {
    /// What a snapshot at this place links to: what makes a roll-back visible.
    pub(super) fn links(&self) -> Vec<ObjectHash> {
        let mut links: Vec<ObjectHash> = self.own.iter().chain(&self.others).copied().collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    /// The place after a snapshot that was made at this one.
    pub(super) fn advance(&mut self, id: ObjectHash) {
        self.number = self.number.saturating_add(1);
        self.own = vec![id];
    }
}

/// Links to snapshots of other writers are at most this many.
const LINKS_TO_OTHERS_MAX: usize = 15;

impl Start {
    pub(super) fn read(
        repository: &Repository,
        request: &BackupRequest,
        roots: &[Vec<u8>],
        cx: &Context,
    ) -> Result<Self, EngineError> {
        let mut targets = Vec::new();
        let mut absent = Vec::new();
        let mut condemned = HashSet::new();
        let mut lists = Vec::new();
        for target in repository.targets() {
            match look_at(repository, target) {
                Ok((plans, found)) => {
                    condemned.extend(plans);
                    lists.push(found);
                    targets.push(target.clone());
                }
                Err(error) => {
                    let reason = crate::base::error::Chain(&error).to_string();
                    cx.progress.warn(format!("{} takes no part in this run: {reason}", target.name));
                    absent.push(Absent { name: target.name.clone(), reason, class: error.class() });
                    if absent.len() == repository.targets().len() {
                        return Err(error.into());
                    }
                }
            }
        }
        let mut loaded = load::load(repository, &targets)?;
        for (id, error) in &loaded.damaged {
            cx.progress
                .warn(format!("index run {} cannot be read and counts as absent: {error}", id.short()));
        }
        loaded.index.drop_packs(&condemned);
        let snapshots = merge(lists);
        let me = repository.signer(&request.host)?.id();
        let own: Vec<&Snapshot> = snapshots.iter().filter(|s| s.writer == me).collect();
        let parent = choose_parent(request, roots, &snapshots, cx)?.cloned();
        let resume =
            checkpoint::choose(request, roots, &snapshots, parent.as_ref(), me, cx.clock.now()).cloned();
        let base_full =
            snapshots::newest_for(&snapshots, &request.host, roots, cx.clock.now(), true).map(|s| s.id);
        Ok(Self { targets, absent, loaded, parent, base_full, resume, chain: chain(&snapshots, &own, me) })
    }
}

fn look_at(
    repository: &Repository,
    target: &Target,
) -> Result<(Vec<ObjectHash>, Vec<Snapshot>), RepositoryError> {
    let plans = plans(repository, target)?;
    let condemned = plans.iter().flat_map(|plan| plan.packs()).collect();
    let (snapshots, _damaged) = snapshots::load_with_checkpoints(repository, target)?;
    Ok((condemned, snapshots))
}

/// One list over all targets, each snapshot once, oldest first.
fn merge(lists: Vec<Vec<Snapshot>>) -> Vec<Snapshot> {
    let mut all: Vec<Snapshot> = lists.into_iter().flatten().collect();
    all.sort_by_key(|s| (s.body.captured_at, s.number, s.id));
    all.dedup_by_key(|s| s.id);
    all
}

fn choose_parent<'a>(
    request: &BackupRequest,
    roots: &[Vec<u8>],
    snapshots: &'a [Snapshot],
    cx: &Context,
) -> Result<Option<&'a Snapshot>, EngineError> {
    let full_only = request.kind == SnapshotKind::Differential;
    match &request.parent {
        ParentChoice::Newest => {
            Ok(snapshots::newest_for(snapshots, &request.host, roots, cx.clock.now(), full_only))
        }
        ParentChoice::Named(digits) => {
            let found: Vec<&Snapshot> =
                snapshots.iter().filter(|s| s.id.to_hex().starts_with(digits)).collect();
            match found.as_slice() {
                [one] => Ok(Some(one)),
                [] => Err(RepositoryError::NoSnapshot {
                    wanted: digits.clone(),
                    place: "the targets".to_owned(),
                }
                .into()),
                many => Err(RepositoryError::Ambiguous { wanted: digits.clone(), count: many.len() }.into()),
            }
        }
    }
}

fn chain(snapshots: &[Snapshot], own: &[&Snapshot], me: WriterId) -> Chain {
    let newest = own.iter().map(|s| s.number).max().unwrap_or(0);
    let mut seen = HashSet::new();
    let others = snapshots.iter().rev().filter(|s| s.writer != me && s.signed && seen.insert(s.writer));
    Chain {
        number: newest.saturating_add(1),
        own: own.iter().filter(|s| s.number == newest).map(|s| s.id).collect(),
        others: others.map(|s| s.id).take(LINKS_TO_OTHERS_MAX).collect(),
    }
}

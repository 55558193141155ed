//! What a backup finds before it reads the source: which targets answer, what they hold, and the
//! snapshot it compares itself with.
//!
//! The order of the listings is part of the commit protocol: plans first, then snapshots, then
//! index runs.

use std::collections::{HashMap, HashSet};

use super::checkpoint;
use super::request::{BackupRequest, ParentChoice};
use crate::base::error::{Class, Classified};
use crate::base::id::{ObjectHash, WriterId};
use crate::codec::sign::Signer;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::history::{self, Here, History, Sight};
use crate::repository::access::{Repository, Target};
use crate::repository::commit::plans;
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{PackClass, SnapshotName};
use crate::repository::format::plan::PlanBody;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::kept::Kept;
use crate::repository::load::{self, Loaded};
use crate::repository::presence;
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
    /// Whether a further pass can store anew what turns out to be gone.
    pub(super) another_round: bool,
    /// What of the past does not add up.
    pub(super) history: History,
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

    /// The same, knowing of own snapshots that could not be opened.
    fn with_unopened(mut self, own: &[(ObjectHash, u64)]) -> Self {
        let Some(newest) = own.iter().map(|(_, number)| *number).max() else { return self };
        self.number = self.number.max(newest.saturating_add(1));
        if self.own.is_empty() {
            self.own = own.iter().filter(|(_, number)| *number == newest).map(|(id, _)| *id).collect();
        }
        self
    }

    /// The place after a checkpoint that was made at this one. Nothing links to a checkpoint: it
    /// goes when the run is over.
    pub(super) fn advance(&mut self) {
        self.number = self.number.saturating_add(1);
    }
}

/// What earlier passes of this run found out.
pub(super) struct Doubt<'a> {
    /// Packs that are gone or damaged: they count as absent.
    pub(super) lost: &'a HashSet<ObjectHash>,
    /// Whether a further pass may follow this one.
    pub(super) another_round: bool,
}

/// Links to snapshots of other writers are at most this many.
const LINKS_TO_OTHERS_MAX: usize = 15;

/// Whose past is looked for.
pub(super) struct Past<'a> {
    pub(super) repository: &'a Repository,
    pub(super) request: &'a BackupRequest,
    pub(super) roots: &'a [Vec<u8>],
    pub(super) signer: &'a Signer,
    /// What a host that only adds keeps of its own.
    pub(super) kept: Option<&'a Kept>,
}

impl Past<'_> {
    /// What a target says.
    fn look_at(&self, target: &Target) -> Result<LookedAt, RepositoryError> {
        let plans = plans(self.repository, target)?;
        if !self.repository.keys().writes_only() {
            let (found, unread) = snapshots::load_with_checkpoints(self.repository, target)?;
            return Ok(LookedAt { plans, found, unread, own: Vec::new() });
        }
        // Nothing there opens: what was kept counts as far as it stands there.
        let me = self.signer.id();
        let valid = snapshots::list(target, Some(self.repository.format()))?.valid;
        let mut found = self.kept.map(|kept| kept.snapshots(&me)).unwrap_or_default();
        found.retain_mut(|snapshot| match valid.iter().find(|name| name.id == snapshot.id) {
            Some(name) => {
                snapshot.name = name.clone();
                true
            }
            None => false,
        });
        let own = snapshots::newest_own(self.repository, target, &me, self.signer.public())?;
        Ok(LookedAt { plans, found, unread: Vec::new(), own })
    }
}

struct LookedAt {
    plans: Vec<PlanBody>,
    found: Vec<Snapshot>,
    unread: Vec<(SnapshotName, RepositoryError)>,
    /// Own snapshots that are not opened, with their numbers.
    own: Vec<(ObjectHash, u64)>,
}

impl Start {
    pub(super) fn read(past: &Past<'_>, doubt: &Doubt<'_>, cx: &Context) -> Result<Self, EngineError> {
        let Past { repository, request, roots, .. } = *past;
        let mut targets = Vec::new();
        let mut absent = Vec::new();
        let mut condemned = doubt.lost.clone();
        let mut doomed = HashSet::new();
        let mut lists = Vec::new();
        let (mut here, mut unopened) = (Vec::new(), Vec::new());
        let seen = history::recall(repository, cx);
        for target in repository.targets() {
            match past.look_at(target) {
                Ok(LookedAt { plans, found, unread, own }) => {
                    unopened.extend(own);
                    let unread = unread.into_iter().map(|(name, _)| name.id);
                    here.push(Here::new(target.storage.label(), &found, unread));
                    condemned.extend(plans.iter().flat_map(PlanBody::packs));
                    let named = |s: &&Snapshot| plans.iter().any(|plan| plan.names_proposal(&s.name));
                    doomed.extend(found.iter().filter(named).map(|s| s.id));
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
        repository.refuse_old_epoch(loaded.epoch)?;
        for (id, error) in &loaded.damaged {
            cx.progress
                .warn(format!("index run {} cannot be read and counts as absent: {error}", id.short()));
        }
        condemned.extend(lost_packs(&loaded, &targets, !doubt.lost.is_empty())?);
        loaded.index.drop_packs(&condemned)?;
        let me = past.signer.id();
        // Only what readers stored, and what is one's own, is what it says it is.
        loaded.index.drop_strangers_but(&me)?;
        let snapshots = merge(lists);
        let number = seen.newest_number(&me);
        let sight = if absent.is_empty() { request.sight } else { Sight::Part };
        let history = if repository.keys().writes_only() {
            // Who reads nothing judges nothing; every reader does.
            History::default()
        } else {
            history::judge(repository, here, seen, sight)?
        };
        let own: Vec<&Snapshot> = snapshots.iter().filter(|s| s.writer == me).collect();
        // A snapshot that a plan names protects nothing.
        let standing: Vec<Snapshot> = snapshots.iter().filter(|s| !doomed.contains(&s.id)).cloned().collect();
        let now = cx.clock.now();
        let parent = choose_parent(request, roots, &standing, cx)?.cloned();
        let resume = checkpoint::choose(request, roots, &standing, parent.as_ref(), me, now).cloned();
        let base_full = snapshots::newest_for(&snapshots, &request.host, roots, now, true).map(|s| s.id);
        Ok(Self {
            targets,
            absent,
            loaded,
            parent,
            base_full,
            resume,
            chain: chain(&snapshots, &own, number, me).with_unopened(&unopened),
            another_round: doubt.another_round,
            history,
        })
    }
}

/// Packs of the index that are not where a run says they are.
///
/// Once a pack was found gone (`all`), every pack is looked for, and one that no target has is
/// lost. Before that only packs that hold the same blob as another pack are: there are few, and a
/// blob is doubled when what a lost pack held was stored anew. The lost one must not be chosen again.
fn lost_packs(loaded: &Loaded, targets: &[Target], all: bool) -> Result<HashSet<ObjectHash>, EngineError> {
    let index = &loaded.index;
    let doubled = index.doubled()?;
    let mut suspects = Vec::new();
    if all {
        for pack in index.packs() {
            let (number, pack) = pack?;
            suspects.push(Suspect {
                name: (pack.class, pack.hash),
                doubled: doubled.binary_search(&number).is_ok(),
            });
        }
    } else {
        for number in doubled {
            let pack = index.pack(number)?;
            suspects.extend(pack.map(|pack| Suspect { name: (pack.class, pack.hash), doubled: true }));
        }
    }
    let names: Vec<(PackClass, ObjectHash)> = suspects.iter().map(|suspect| suspect.name).collect();
    let mut misses: HashMap<ObjectHash, usize> = HashMap::new();
    let mut lost = HashSet::new();
    for (target, listed) in targets.iter().zip(&loaded.listed) {
        let missing = presence::missing(target, &names)?;
        for suspect in suspects.iter().filter(|suspect| missing.contains(&suspect.name.1)) {
            let hash = suspect.name.1;
            let count = misses.entry(hash).or_default();
            *count += 1;
            let is_promised = || -> Result<bool, EngineError> {
                Ok(index.runs_with(&hash)?.iter().any(|run| listed.binary_search(run).is_ok()))
            };
            if *count == targets.len() || (suspect.doubled && is_promised()?) {
                lost.insert(hash);
            }
        }
    }
    Ok(lost)
}

/// A pack that may not be where it is said to be.
struct Suspect {
    name: (PackClass, ObjectHash),
    /// Whether it holds a blob of another pack.
    doubled: bool,
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

/// The place after everything that is there, and that was seen before: `remembered` is the highest
/// number of this writer that this machine knows of.
fn chain(snapshots: &[Snapshot], own: &[&Snapshot], remembered: u64, me: WriterId) -> Chain {
    let is_lasting = |snapshot: &Snapshot| snapshot.body.kind != SnapshotKind::Checkpoint;
    let lasting = || own.iter().filter(|snapshot| is_lasting(snapshot));
    let highest = own.iter().map(|s| s.number).max().unwrap_or(0).max(remembered);
    let newest = lasting().map(|s| s.number).max().unwrap_or(0);
    let mut seen = HashSet::new();
    let others = snapshots
        .iter()
        .rev()
        .filter(|s| s.writer != me && s.signed && is_lasting(s) && seen.insert(s.writer));
    Chain {
        number: highest.saturating_add(1),
        own: lasting().filter(|s| s.number == newest).map(|s| s.id).collect(),
        others: others.map(|s| s.id).take(LINKS_TO_OTHERS_MAX).collect(),
    }
}

//! Forgetting snapshots: by rules, or by their ids.
//!
//! The plan is made once, over what all places hold together, and carried out at each of them, so
//! that copies stay equal. Everything that can stop it stops it before the first deletion. What the
//! snapshots held stays where it is until a prune finds that nothing else needs it.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::context::Context;
use super::error::EngineError;
use crate::base::clock::Timestamp;
use crate::base::error::{Chain, Class};
use crate::base::id::{ObjectHash, WriterId};
use crate::policy::retention::{self, Candidate, Decision, Reason, Rules, Set, Zone};
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::removals::RemovalsBody;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::snapshot;
use crate::repository::snapshots::{self, Snapshot};
use crate::repository::sweep::SweepError;
use crate::storage::contract::StorageError;

/// What to forget.
#[derive(Clone, Debug)]
pub enum Selection {
    /// Those that begin with these digits, at least 8 of each.
    Ids(Vec<String>),
    /// Those that no rule keeps.
    Rules {
        /// What to keep.
        rules: Rules,
        /// Whose calendar.
        zone: Zone,
        /// Only snapshots of this machine.
        host: Option<String>,
        /// Only snapshots of this policy.
        policy: Option<String>,
    },
}

/// What a forget goes by.
#[derive(Clone, Debug)]
pub struct ForgetRequest {
    /// What to forget.
    pub selection: Selection,
    /// Snapshots that no rule removes, because they are the last that are known to be right somewhere.
    pub read_back: HashSet<ObjectHash>,
    /// Only plan and show.
    pub dry_run: bool,
    /// That more than half of a set goes is meant.
    pub accept_more_than_half: bool,
    /// That the clock is right is known.
    pub accept_clock: bool,
}

/// What was planned and done.
#[derive(Clone, Debug, Serialize)]
pub struct ForgetOutcome {
    /// Whether it only looked.
    pub dry_run: bool,
    /// Each snapshot, the oldest first; of ids, those alone.
    pub plan: Vec<Planned>,
    /// Each place.
    pub targets: Vec<TargetForget>,
    /// Snapshots that could not be read, with the reason: no rule removes them.
    pub damaged: Vec<String>,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// Its id.
    pub id: ObjectHash,
    /// Whether it stays.
    pub keep: bool,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// When it was taken; unknown of one that can't be read.
    pub captured_at: Option<Timestamp>,
    /// What it is.
    pub kind: Option<SnapshotKind>,
    /// What it was compared with.
    pub set: Option<Set>,
    /// Who signed it.
    pub signer: Option<WriterId>,
}

/// What was done at one place.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TargetForget {
    /// Its name.
    pub target: String,
    /// Snapshots removed here.
    pub gone: Vec<ObjectHash>,
    /// What the place keeps, with its words.
    pub refused: Vec<String>,
    /// Why it did not come to an end.
    pub failed: Option<String>,
}

/// What all places hold.
#[derive(Default)]
struct Found {
    snapshots: BTreeMap<ObjectHash, (Snapshot, Vec<usize>)>,
    damaged: BTreeMap<ObjectHash, RepositoryError>,
}

/// Plans, and unless it only looks, removes at every target of the repository.
///
/// # Errors
/// `ClockUnfit`, `MostForgotten`, `NoSnapshot`, `Ambiguous`, before anything is removed; whatever a
/// target says to the look; what the first said when none could remove anything.
pub fn forget(
    repository: &Repository,
    request: &ForgetRequest,
    cx: &Context,
) -> Result<ForgetOutcome, EngineError> {
    if !request.dry_run && repository.admin().is_err() {
        return Err(SweepError::NotAdmin.into());
    }
    let found = look(repository)?;
    let decisions = match &request.selection {
        Selection::Ids(wanted) => named(repository, &found, wanted)?,
        Selection::Rules { rules, zone, host, policy } => {
            let covers = |set: &Set| {
                host.as_ref().is_none_or(|host| *host == set.host)
                    && policy.as_ref().is_none_or(|policy| set.policy.as_ref() == Some(policy))
            };
            ruled(&found, rules, *zone, &covers, request, cx.clock.now())?
        }
    };
    let ids: HashSet<ObjectHash> =
        decisions.iter().filter(|decision| !decision.keep).map(|decision| decision.id).collect();
    let mut outcome = ForgetOutcome {
        dry_run: request.dry_run,
        plan: decisions.into_iter().map(|decision| planned(&found, decision)).collect(),
        targets: Vec::new(),
        damaged: found.damaged.iter().map(|(id, error)| format!("{}: {error}", id.short())).collect(),
    };
    if request.dry_run || ids.is_empty() {
        return Ok(outcome);
    }
    let body = removals(&found, &ids, cx.clock.now());
    let mut first = None;
    for target in repository.targets() {
        let (done, error) = at_target(repository, target, &ids, &body, cx);
        outcome.targets.push(done);
        first = first.or(error);
        if cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
    }
    match first {
        Some(error) if outcome.targets.iter().all(|target| target.failed.is_some()) => Err(error.into()),
        _ => Ok(outcome),
    }
}

fn look(repository: &Repository) -> Result<Found, EngineError> {
    let mut found = Found::default();
    for (place, target) in repository.targets().iter().enumerate() {
        let (snapshots, damaged) = snapshots::load_with_checkpoints(repository, target)?;
        for snapshot in snapshots {
            let entry = found.snapshots.entry(snapshot.id);
            entry.or_insert_with(|| (snapshot, Vec::new())).1.push(place);
        }
        found.damaged.extend(damaged.into_iter().map(|(name, error)| (name.id, error)));
    }
    found.damaged.retain(|id, _| !found.snapshots.contains_key(id));
    Ok(found)
}

/// The snapshots that a person means.
fn named(repository: &Repository, found: &Found, wanted: &[String]) -> Result<Vec<Decision>, EngineError> {
    let mut decisions: Vec<Decision> = Vec::new();
    for text in wanted {
        let digits = text.to_ascii_lowercase();
        let good = digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let all = found.snapshots.keys().chain(found.damaged.keys());
        let matching: Vec<ObjectHash> =
            all.filter(|id| good && id.to_hex().starts_with(&digits)).copied().collect();
        let id = match matching[..] {
            [id] => id,
            [] => {
                let labels = repository.targets().iter().map(|target| target.storage.label().to_owned());
                let place = labels.collect::<Vec<_>>().join(", ");
                return Err(RepositoryError::NoSnapshot { wanted: text.clone(), place }.into());
            }
            _ => {
                return Err(RepositoryError::Ambiguous { wanted: text.clone(), count: matching.len() }.into());
            }
        };
        if decisions.iter().all(|decision| decision.id != id) {
            decisions.push(Decision { id, keep: false, reasons: vec![Reason::Named] });
        }
    }
    Ok(decisions)
}

/// What the rules say, unless a guard stops them.
fn ruled(
    found: &Found,
    rules: &Rules,
    zone: Zone,
    covers: &dyn Fn(&Set) -> bool,
    request: &ForgetRequest,
    now: Timestamp,
) -> Result<Vec<Decision>, EngineError> {
    let candidates: Vec<Candidate> = found.snapshots.values().map(candidate).collect();
    let newest = candidates.iter().filter(|snapshot| snapshot.signed).map(|snapshot| snapshot.captured_at);
    if let Some(newest) = newest.max()
        && !request.accept_clock
        && !retention::clock_fits(now, newest)
    {
        return Err(EngineError::ClockUnfit { now: now.readable(), newest: newest.readable() });
    }
    let plan = retention::plan(now, zone, rules, &candidates);
    let halved: Vec<String> = plan.halved.iter().filter(|set| covers(set)).map(Set::to_string).collect();
    // Who only looks is shown what would be refused.
    if !halved.is_empty() && !request.accept_more_than_half && !request.dry_run {
        return Err(EngineError::MostForgotten { sets: halved.join("; ") });
    }
    let sets: BTreeMap<ObjectHash, &Set> = candidates.iter().map(|one| (one.id, &one.set)).collect();
    let spared = |decision: Decision| match !decision.keep && request.read_back.contains(&decision.id) {
        true => Decision { keep: true, reasons: vec![Reason::ReadBack], ..decision },
        false => decision,
    };
    let is_covered = |decision: &Decision| sets.get(&decision.id).is_some_and(|set| covers(set));
    Ok(plan.decisions.into_iter().filter(is_covered).map(spared).collect())
}

fn candidate((snapshot, places): &(Snapshot, Vec<usize>)) -> Candidate {
    let body = &snapshot.body;
    Candidate {
        id: snapshot.id,
        set: set(snapshot),
        signer: snapshot.writer,
        signed: snapshot.signed,
        number: snapshot.number,
        captured_at: body.captured_at,
        ended_at: body.ended_at,
        is_checkpoint: body.kind == SnapshotKind::Checkpoint,
        is_full: matches!(body.kind, SnapshotKind::Full | SnapshotKind::FullIndependent),
        is_whole: body.unread.count == 0,
        tags: body.tags.clone(),
        places: places.clone(),
    }
}

fn set(snapshot: &Snapshot) -> Set {
    let body = &snapshot.body;
    let mut roots: Vec<Vec<u8>> = body.roots.iter().map(|root| root.path.clone()).collect();
    roots.sort_unstable();
    Set { host: body.host.clone(), policy: body.policy.clone(), roots }
}

fn planned(found: &Found, decision: Decision) -> Planned {
    let snapshot = found.snapshots.get(&decision.id).map(|(snapshot, _)| snapshot);
    Planned {
        id: decision.id,
        keep: decision.keep,
        reasons: decision.reasons.iter().map(Reason::to_string).collect(),
        captured_at: snapshot.map(|snapshot| snapshot.body.captured_at),
        kind: snapshot.map(|snapshot| snapshot.body.kind),
        set: snapshot.map(set),
        signer: snapshot.map(|snapshot| snapshot.writer),
    }
}

/// What goes on record: not the checkpoints, which nobody misses.
fn removals(found: &Found, ids: &HashSet<ObjectHash>, at: Timestamp) -> RemovalsBody {
    let is_checkpoint = |id: &ObjectHash| {
        found.snapshots.get(id).is_some_and(|(snapshot, _)| snapshot.body.kind == SnapshotKind::Checkpoint)
    };
    let forgotten = ids.iter().filter(|id| !is_checkpoint(id)).copied().collect();
    RemovalsBody { forgotten, at, ..RemovalsBody::default() }
}

/// First the record, then the removal: stopped in between, nothing that went is unexplained.
fn at_target(
    repository: &Repository,
    target: &Target,
    ids: &HashSet<ObjectHash>,
    body: &RemovalsBody,
    cx: &Context,
) -> (TargetForget, Option<RepositoryError>) {
    let mut done = TargetForget { target: target.name.clone(), ..TargetForget::default() };
    let removed = snapshot::record(repository, target, body)
        .and_then(|()| Ok(snapshot::forget(target, ids, &cx.cancel)?));
    match removed {
        Ok(forgotten) => {
            done.gone = forgotten.gone;
            let words = |(id, error): &(ObjectHash, StorageError)| format!("{}: {error}", id.short());
            done.refused = forgotten.refused.iter().map(words).collect();
            (done, None)
        }
        Err(error) => {
            done.failed = Some(Chain(&error).to_string());
            (done, Some(error))
        }
    }
}

impl ForgetOutcome {
    /// The kind of failure that it ended with, if any.
    pub fn class(&self) -> Option<Class> {
        if self.targets.iter().any(|target| target.failed.is_some()) {
            Some(Class::Partial)
        } else if self.targets.iter().any(|target| !target.refused.is_empty()) {
            Some(Class::Refused)
        } else {
            (!self.damaged.is_empty()).then_some(Class::Damage)
        }
    }
}

#[cfg(test)]
mod tests;

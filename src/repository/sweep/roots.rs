//! Which snapshots count: everything under `s/`, valid or pending, but what is to be forgotten.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

use super::SweepError;
use super::plans::Standing;
use super::steps::Sweeping;
use crate::base::clock::Timestamp;
use crate::base::id::ObjectHash;
use crate::repository::format::names::{SnapshotEntry, SnapshotName, parse_snapshot_name};
use crate::repository::snapshots;
use crate::storage::contract::ObjectName;

/// What `s/` and `f/` list.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    /// Snapshot objects, and when the target took them.
    proposals: BTreeMap<SnapshotName, Timestamp>,
    /// Confirmations.
    confirmed: BTreeSet<SnapshotName>,
    /// Ids to be forgotten.
    forgotten: HashSet<ObjectHash>,
}

/// What two looks saw together.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots {
    /// One name of each valid snapshot that counts.
    pub(super) valid: Vec<SnapshotName>,
    /// Proposals of other snapshots; they count as well.
    pub(super) pending: Vec<SnapshotName>,
    /// Snapshot objects that count for nothing, each with whether it has a confirmation.
    pub(super) doomed: Vec<(SnapshotName, bool)>,
    /// All proposals without a confirmation, and when the target took them.
    pub(super) unconfirmed: Vec<(SnapshotName, Timestamp)>,
}

impl Roots {
    /// As if these had been forgotten already.
    pub(super) fn forget(&mut self, names: &[SnapshotName]) {
        let ids: HashSet<ObjectHash> = names.iter().map(|name| name.id).collect();
        self.valid.retain(|name| !ids.contains(&name.id));
        self.pending.retain(|name| !ids.contains(&name.id));
        self.unconfirmed.retain(|(name, _)| !ids.contains(&name.id));
    }
}

fn look_once(cx: &Sweeping<'_>) -> Result<Listed, SweepError> {
    let mut listed = Listed::default();
    cx.target.storage.list("s/", &mut |stat| {
        match parse_snapshot_name(&stat.name) {
            Some(SnapshotEntry::Proposal(name)) => drop(listed.proposals.insert(name, stat.modified)),
            Some(SnapshotEntry::Confirmation(name)) => drop(listed.confirmed.insert(name)),
            None => {}
        }
        ControlFlow::Continue(())
    })?;
    let ids = listed.proposals.keys().chain(&listed.confirmed).map(|name| name.id).collect();
    listed.forgotten = snapshots::forgotten(cx.target, Some(cx.repository.format()), &ids)?;
    Ok(listed)
}

/// Two looks at `s/` and `f/`, and what both saw together. `plans` are those about to be carried
/// out: what they name and nobody confirmed counts for nothing. `spared` are names that could not
/// be deleted and so count again.
///
/// # Errors
/// `ShortList` when the second look, or either, lacks what is there; `Headless`.
pub(super) fn look(
    cx: &Sweeping<'_>,
    plans: &[&Standing],
    all_plans: &[Standing],
    spared: &HashSet<SnapshotName>,
) -> Result<Roots, SweepError> {
    let first = look_once(cx)?;
    wait(cx)?;
    let mut seen = look_once(cx)?;
    let exists = |name: &ObjectName| Ok::<_, SweepError>(cx.target.storage.head(name)?.is_some());
    let short = |object: String| SweepError::ShortList { place: cx.place(), object };
    for (name, at) in &first.proposals {
        if !seen.proposals.contains_key(name) {
            if exists(&name.proposal())? {
                return Err(short(name.proposal().to_string()));
            }
            seen.proposals.insert(name.clone(), *at);
        }
    }
    // What a plan's mark walked was there when it was made.
    for name in plans.iter().flat_map(|plan| plan.body.walked()) {
        let Some(SnapshotEntry::Proposal(walked)) =
            ObjectName::new(name.as_str()).ok().as_ref().and_then(parse_snapshot_name)
        else {
            continue;
        };
        if !seen.proposals.contains_key(&walked) && exists(&walked.proposal())? {
            return Err(short(name.clone()));
        }
    }
    seen.confirmed.extend(first.confirmed);
    seen.forgotten.extend(first.forgotten);
    settle_headless(cx, &mut seen, all_plans)?;
    Ok(sort(seen, plans, spared))
}

/// What to say when something below these snapshots is nowhere: damage, if they are all still
/// there. One that is gone was forgotten and swept since it was looked at, and what it needed went
/// with it, so the look is made again.
///
/// # Errors
/// Whatever the target says.
pub(super) fn lost(
    cx: &Sweeping<'_>,
    mut walked: impl Iterator<Item = ObjectName>,
    what: String,
) -> Result<SweepError, SweepError> {
    let place = cx.place();
    let is_gone = |name: ObjectName| Ok::<_, SweepError>(cx.target.storage.head(&name)?.is_none());
    let any_gone = walked.try_fold(false, |gone, name| Ok::<_, SweepError>(gone || is_gone(name)?))?;
    Ok(if any_gone { SweepError::Again { place } } else { SweepError::Hurt { place, what } })
}

fn wait(cx: &Sweeping<'_>) -> Result<(), SweepError> {
    let until = cx.clock.monotonic() + cx.apart();
    while cx.clock.monotonic() < until {
        cx.check()?;
        let left = until.saturating_sub(cx.clock.monotonic());
        cx.clock.sleep(left.min(std::time::Duration::from_millis(200)));
    }
    Ok(())
}

/// A confirmation without its object: the object came while the list was read, the snapshot is
/// there under another nonce, somebody forgets it, or a sweep took the proposal before its writer
/// confirmed it. Otherwise somebody removed a backup.
fn settle_headless(cx: &Sweeping<'_>, seen: &mut Listed, plans: &[Standing]) -> Result<(), SweepError> {
    let valid: HashSet<ObjectHash> =
        seen.confirmed.iter().filter(|name| seen.proposals.contains_key(*name)).map(|name| name.id).collect();
    let headless: Vec<SnapshotName> =
        seen.confirmed.iter().filter(|name| !seen.proposals.contains_key(*name)).cloned().collect();
    for name in headless {
        if let Some(stat) = cx.target.storage.head(&name.proposal())? {
            seen.proposals.insert(name, stat.modified);
            continue;
        }
        let explained = valid.contains(&name.id)
            || seen.forgotten.contains(&name.id)
            || plans.iter().any(|plan| plan.body.names_proposal(&name))
            || cx.target.storage.head(&name.confirmation())?.is_none();
        if !explained {
            return Err(SweepError::Headless { place: cx.place(), snapshot: name.id.short() });
        }
        seen.confirmed.remove(&name);
    }
    Ok(())
}

fn sort(seen: Listed, plans: &[&Standing], spared: &HashSet<SnapshotName>) -> Roots {
    let mut roots = Roots::default();
    let mut valid = HashSet::new();
    let mut pending = Vec::new();
    for (name, at) in seen.proposals {
        let is_confirmed = seen.confirmed.contains(&name);
        if !is_confirmed {
            roots.unconfirmed.push((name.clone(), at));
        }
        let is_condemned = !is_confirmed && plans.iter().any(|plan| plan.body.names_proposal(&name));
        if (is_condemned || seen.forgotten.contains(&name.id)) && !spared.contains(&name) {
            roots.doomed.push((name, is_confirmed));
        } else if is_confirmed && !seen.forgotten.contains(&name.id) {
            if valid.insert(name.id) {
                roots.valid.push(name);
            }
        } else {
            pending.push(name);
        }
    }
    // A snapshot that is valid under another nonce needs no second walk.
    let mut once = valid;
    roots.pending.extend(pending.into_iter().filter(|name| once.insert(name.id)));
    roots
}

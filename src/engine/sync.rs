//! Completing one place from another: object copy, no key needed to move bytes, the key to know
//! which.
//!
//! With the key, what the valid snapshots of the source need is copied, never whatever merely
//! differs, so that nothing comes back that was removed on purpose. The proposal goes first: from
//! then on it protects what follows. Without the key everything is copied that the source lists,
//! and a snapshot is confirmed only where no sweep is under way.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use serde::Serialize;

use super::context::Context;
use super::error::EngineError;
use crate::base::error::Chain;
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::repository::access::{Repository, Target};
use crate::repository::commit::{self, Along, NeededPack, Proposal, Surroundings};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{PackClass, REPO_FMT, SnapshotName, content_hash, pack_name};
use crate::repository::format::repo_fmt::RepoFmt;
use crate::repository::format::snapshot::{PackSetRef, confirmation_body};
use crate::repository::index::Index;
use crate::repository::load;
use crate::repository::needs;
use crate::repository::snapshot::{self, removals};
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::{ObjectName, Read, Span, StorageError, list_all};

/// What a sync did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SyncOutcome {
    /// Snapshots that are valid at the destination now and were not before.
    pub snapshots_copied: u64,
    /// Snapshots that were there already.
    pub snapshots_present: u64,
    /// Snapshots that were forgotten at one of the two places, and are not brought back.
    pub snapshots_forgotten: u64,
    /// Snapshots that could not be completed, each with its reason.
    pub failed: Vec<String>,
    /// Objects copied.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Brings the repository itself to a place that has none: key objects first, `repo.fmt` last.
///
/// # Errors
/// `NoRepository` at the source; `Different` when another repository stands at the destination.
pub fn establish(from: &Target, to: &Target) -> Result<(), EngineError> {
    let format = match from.storage.get(&REPO_FMT, Span::Whole, Read::Quick) {
        Ok(bytes) => bytes,
        Err(StorageError::NotFound { .. } | StorageError::NoPlace { what: "folder", .. }) => {
            return Err(RepositoryError::NoRepository { place: from.storage.label().to_owned() }.into());
        }
        Err(error) => return Err(error.into()),
    };
    // What would make the copy of a repository unreadable is not copied.
    RepoFmt::decode(&format).map_err(RepositoryError::from)?;
    match to.storage.get(&REPO_FMT, Span::Whole, Read::Quick) {
        Ok(there) if there == format => {}
        Ok(_) => {
            return Err(RepositoryError::Different {
                first: from.storage.label().to_owned(),
                second: to.storage.label().to_owned(),
            }
            .into());
        }
        Err(StorageError::NotFound { .. }) => {
            copy_listed(from, to, "keys/", &mut SyncOutcome::default())?;
            to.storage.sync()?;
            to.storage.put_new(&REPO_FMT, format)?;
            to.storage.sync()?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    copy_listed(from, to, "keys/", &mut SyncOutcome::default())?;
    to.storage.sync()?;
    Ok(())
}

/// Makes every valid snapshot of `from` valid at `to`.
///
/// # Errors
/// Whatever the places say to the listings; a single snapshot that fails is in the outcome.
pub fn sync(
    repository: &Repository,
    from: &Target,
    to: &Target,
    cx: &Context,
) -> Result<SyncOutcome, EngineError> {
    establish(from, to)?;
    let (snapshots, damaged) = snapshots::load_all(repository, from)?;
    // Once more: a machine whose first backup came since has put its certificate before its snapshot.
    copy_listed(from, to, "keys/", &mut SyncOutcome::default())?;
    to.storage.sync()?;
    let mut outcome = SyncOutcome::default();
    outcome.failed.extend(damaged.iter().map(|(_, error)| Chain(error).to_string()));
    let (removed_here, removed_there) = (removals(repository, from)?, removals(repository, to)?);
    snapshot::copy(&removed_here, &removed_there, to)?;
    let there: HashSet<ObjectHash> = {
        let format = Some(repository.format());
        let here: HashSet<ObjectHash> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        let forgotten = snapshots::forgotten(to, format, &here)?;
        let valid = snapshots::list(to, format)?.valid;
        valid.iter().map(|name| name.id).chain(forgotten).collect()
    };
    let loaded = load::load(repository, std::slice::from_ref(from))?;
    let both = Both {
        source: &loaded.index,
        from: needs::listed(from)?,
        there: load::load(repository, std::slice::from_ref(to))?.index,
        to: needs::listed(to)?,
    };
    cx.progress.phase(&format!("sync to {}", to.name), None, None);
    let sources = [from.clone()];
    let around = Surroundings {
        repository,
        sources: &sources,
        runs: &loaded.index,
        progress: cx.progress.as_ref(),
        cancel: &cx.cancel,
    };
    for snapshot in &snapshots {
        if there.contains(&snapshot.id) {
            outcome.snapshots_present += 1;
            continue;
        }
        if [&removed_here, &removed_there].iter().any(|removed| removed.forgotten.contains(&snapshot.id)) {
            outcome.snapshots_forgotten += 1;
            continue;
        }
        match sync_one(&around, &both, to, snapshot) {
            Ok(bytes) => {
                outcome.snapshots_copied += 1;
                outcome.bytes += bytes;
            }
            Err(RepositoryError::Cancelled) => return Err(EngineError::Cancelled),
            Err(error) => outcome.failed.push(format!("snapshot {}: {}", snapshot.id.short(), Chain(&error))),
        }
    }
    cx.progress.phase_finished("sync");
    Ok(outcome)
}

/// What both places hold, for choosing packs.
struct Both<'b> {
    /// The index of the source.
    source: &'b Index,
    /// Packs that the source lists.
    from: HashSet<ObjectHash>,
    /// The index of the destination.
    there: Index,
    /// Packs that the destination lists.
    to: HashSet<ObjectHash>,
}

fn sync_one(
    around: &Surroundings<'_>,
    both: &Both<'_>,
    to: &Target,
    snapshot: &Snapshot,
) -> Result<u64, RepositoryError> {
    let source = around.sources.first().ok_or(RepositoryError::Defect { what: "the source of a sync" })?;
    let condemned: HashSet<ObjectHash> = commit::plans(around.repository, to)?
        .iter()
        .flat_map(|plan| plan.packs().collect::<Vec<_>>())
        .collect();
    let needed = needed(around, source, both, &condemned, snapshot)?;
    let mut runs = BTreeSet::new();
    for (class, hash) in &needed {
        // What the destination's index lists needs no other run there.
        if both.there.number_of(hash)?.is_none() {
            let run = both.source.runs_with(hash)?.into_iter().next();
            // Where it lies nobody would find it.
            runs.insert(run.ok_or_else(|| RepositoryError::Damage {
                place: source.storage.label().to_owned(),
                object: pack_name(*class, hash).to_string(),
                what: "is in no index run".to_owned(),
            })?);
        }
    }
    let packs: Vec<NeededPack> =
        needed.into_iter().map(|(class, hash)| NeededPack { class, hash, covered: false }).collect();
    let proposal = Proposal {
        bytes: snapshot.bytes.clone(),
        id: snapshot.id,
        at: snapshot.body.captured_at,
        writer: snapshot.writer,
        parent: None,
        runs: runs.into_iter().collect(),
        packs,
    };
    let name = commit::propose(to, &proposal)?;
    let copied = commit::complete(around, to, &proposal, Along::Nothing)?;
    commit::confirm(around, to, &proposal, name)?;
    Ok(copied)
}

/// The packs that the destination needs for a snapshot: its pack set, while the source has all of
/// it; after a prune, those that hold its blobs now, best those that the destination has. Never one
/// that a plan there names.
fn needed(
    around: &Surroundings<'_>,
    source: &Target,
    both: &Both<'_>,
    condemned: &HashSet<ObjectHash>,
    snapshot: &Snapshot,
) -> Result<BTreeSet<(PackClass, ObjectHash)>, RepositoryError> {
    let is_good = |hash: &ObjectHash| both.from.contains(hash) && !condemned.contains(hash);
    if let Ok(mut set) = needs::packs_of(around.repository, source, both.source, snapshot)
        && set.iter().all(|(_, hash)| is_good(hash))
    {
        // A long pack set lies in a pack that it cannot name.
        if let PackSetRef::Blob(id) = &snapshot.body.pack_set {
            for at in both.source.locations(id)? {
                set.extend(both.source.pack(at.pack)?.map(|pack| (pack.class, pack.hash)));
            }
        }
        set.retain(|(_, hash)| is_good(hash));
        return Ok(set);
    }
    let of = |held: &HashSet<ObjectHash>, hash: &ObjectHash| held.contains(hash) && !condemned.contains(hash);
    needs::packs_now(around.repository, source, both.source, snapshot, &|id| {
        // What was moved at the destination has a home there that the source doesn't know.
        match needs::lowest(&both.there, &snapshot.writer, &|hash| of(&both.to, hash), id)? {
            Some(home) => Ok(Some(home)),
            None => needs::lowest(both.source, &snapshot.writer, &|hash| of(&both.from, hash), id),
        }
    })
    .map_err(|error| match error {
        RepositoryError::MissingBlob { .. } if !condemned.is_empty() => RepositoryError::Busy {
            place: source.storage.label().to_owned(),
            what: "a sweep at the destination removes what the snapshot needs".to_owned(),
        },
        error => error,
    })
}

/// Makes one snapshot valid at `to`, which has the repository, from a place where it is valid.
///
/// # Errors
/// `NoSnapshot` when it is not valid at `from`; whatever the places say.
pub(crate) fn sync_snapshot(
    repository: &Repository,
    from: &Target,
    to: &Target,
    id: &ObjectHash,
    cx: &Context,
) -> Result<(), EngineError> {
    let place = || from.storage.label().to_owned();
    let listed = snapshots::list(from, Some(repository.format()))?;
    let name = listed.valid.into_iter().find(|name| name.id == *id);
    let name = name.ok_or_else(|| RepositoryError::NoSnapshot { wanted: id.short(), place: place() })?;
    let snapshot = snapshots::load(repository, from, &repository.writers(from)?, &name)?;
    let loaded = load::load(repository, std::slice::from_ref(from))?;
    let sources = [from.clone()];
    let around = Surroundings {
        repository,
        sources: &sources,
        runs: &loaded.index,
        progress: cx.progress.as_ref(),
        cancel: &cx.cancel,
    };
    let both = Both {
        source: &loaded.index,
        from: needs::listed(from)?,
        there: load::load(repository, std::slice::from_ref(to))?.index,
        to: needs::listed(to)?,
    };
    sync_one(&around, &both, to, &snapshot)?;
    Ok(())
}

/// Copies everything that the source lists, without a key.
///
/// # Errors
/// Whatever the places say.
pub fn sync_keyless(from: &Target, to: &Target, cx: &Context) -> Result<SyncOutcome, EngineError> {
    establish(from, to)?;
    let mut outcome = SyncOutcome::default();
    let there: HashSet<ObjectHash> = snapshots::list(to, None)?.valid.iter().map(|name| name.id).collect();
    let mut proposals: Vec<SnapshotName> = Vec::new();
    for name in snapshots::list(from, None)?.valid {
        if there.contains(&name.id) {
            outcome.snapshots_present += 1;
            continue;
        }
        let bytes = commit::fetch_checked(std::slice::from_ref(from), &name.proposal(), &name.id)?;
        let mut fresh = name;
        commit::put_proposal(to, &mut fresh, bytes)?;
        proposals.push(fresh);
    }
    to.storage.sync()?;
    cx.progress.phase(&format!("sync to {}", to.name), None, None);
    for prefix in ["m/", "p/", "i/"] {
        if cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        copy_listed(from, to, prefix, &mut outcome)?;
        to.storage.sync()?;
    }
    cx.progress.phase_finished("sync");
    let disturbed = |name: &SnapshotName| {
        format!(
            "snapshot {}: a sweep is under way at {}; run sync again with the password file or the key file",
            name.id.short(),
            to.storage.label()
        )
    };
    // The proposals were visible before this look; what it does not show has not removed anything
    // that the listings after it still show.
    let mut vanished = SyncOutcome::default();
    let quiet = list_all(to.storage.as_ref(), "g/")?.is_empty() && {
        for prefix in ["m/", "p/", "i/"] {
            copy_listed(from, to, prefix, &mut vanished)?;
        }
        vanished.objects == 0
    };
    for name in proposals {
        if !quiet {
            outcome.failed.push(disturbed(&name));
            continue;
        }
        to.storage.put_new(&name.confirmation(), Bytes::copy_from_slice(&confirmation_body(&name.id)))?;
        to.storage.sync()?;
        // Without the key nobody knows what a plan names: any plan may name the proposal.
        if list_all(to.storage.as_ref(), "g/")?.is_empty() && to.storage.head(&name.proposal())?.is_some() {
            outcome.snapshots_copied += 1;
        } else {
            outcome.failed.push(disturbed(&name));
        }
    }
    Ok(outcome)
}

/// Copies every object under a prefix that the destination lacks, each checked against its name.
fn copy_listed(
    from: &Target,
    to: &Target,
    prefix: &str,
    outcome: &mut SyncOutcome,
) -> Result<(), EngineError> {
    let mut there: HashSet<ObjectName> = HashSet::new();
    to.storage.list(prefix, &mut |stat| {
        there.insert(stat.name);
        ControlFlow::Continue(())
    })?;
    for stat in list_all(from.storage.as_ref(), prefix)? {
        if there.contains(&stat.name) {
            continue;
        }
        let bytes = from.storage.get(&stat.name, Span::Whole, Read::Quick)?;
        if content_hash(&stat.name).is_some_and(|expected| hash::object(&bytes) != expected) {
            return Err(RepositoryError::Damage {
                place: from.storage.label().to_owned(),
                object: stat.name.to_string(),
                what: "is not what its name says".to_owned(),
            }
            .into());
        }
        to.storage.put_new(&stat.name, bytes)?;
        outcome.objects += 1;
        outcome.bytes += stat.bytes;
    }
    Ok(())
}

//! How a snapshot becomes valid on one target: announce, then look (docs/format.md, "Commit").
//!
//! 1. [`complete`]: every pack and index run that the snapshot needs is durable there;
//! 2. [`propose`]: the snapshot object, under a fresh nonce;
//! 3. to 8. [`confirm`]: no plan names anything relied on, every pack relied on exists, the parent
//!    still stands; then the confirmation, and two last looks. Only then is it a backup.
//!
//! The order is the safety; nothing here may be reordered or answered from a cache. A proposal
//! that is not confirmed is abandoned, never deleted: it is no backup to anybody.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::index_run::RunPack;
use super::format::names::{PackClass, SnapshotName, index_name, pack_name, parse_index_name};
use super::format::plan::PlanBody;
use super::format::snapshot::confirmation_body;
use super::snapshots;
use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::entropy;
use crate::base::id::{ObjectHash, WriterId};
use crate::base::progress::Progress;
use crate::codec::hash;
use crate::storage::contract::{ObjectName, Read, Span, StorageError, list_all};

/// How often an unknown or disturbed outcome is tried again under a new nonce.
const ROUNDS_MAX: usize = 3;

/// A snapshot on its way to a target.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// The signed, sealed object: equal bytes everywhere.
    pub(crate) bytes: Bytes,
    /// Its hash.
    pub(crate) id: ObjectHash,
    /// The time in its name; for sorting only.
    pub(crate) at: Timestamp,
    /// Its writer.
    pub(crate) writer: WriterId,
    /// The snapshot whose blobs were taken over without looking where they lie.
    pub(crate) parent: Option<ObjectHash>,
    /// The index runs that list its packs.
    pub(crate) runs: Vec<ObjectHash>,
    /// Every pack that holds a blob of it.
    pub(crate) packs: Vec<NeededPack>,
}

/// A pack that a snapshot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NeededPack {
    /// Data or metadata.
    pub(crate) class: PackClass,
    /// Its name.
    pub(crate) hash: ObjectHash,
    /// Whether the parent holds all that is used of it: then its fate is the parent's.
    pub(crate) covered: bool,
}

/// What a commit is carried out with.
pub(crate) struct Surroundings<'a> {
    /// The opened repository.
    pub(crate) repository: &'a Repository,
    /// Where missing objects may be copied from.
    pub(crate) sources: &'a [Target],
    /// The index runs known, by id.
    pub(crate) runs: &'a HashMap<ObjectHash, Vec<RunPack>>,
    /// Who listens.
    pub(crate) progress: &'a dyn Progress,
    /// Raised when the work should stop.
    pub(crate) cancel: &'a Cancel,
}

/// The parent's name on this target when it stands there, so that what it covers needs no look.
fn standing_parent(
    target: &Target,
    parent: Option<&ObjectHash>,
) -> Result<Option<SnapshotName>, RepositoryError> {
    let Some(parent) = parent else { return Ok(None) };
    Ok(snapshots::list(target)?.valid.into_iter().find(|name| name.id == *parent))
}

/// Step 1: copies what the target lacks from the other targets, packs first, then the runs that
/// list them. Returns how many bytes were copied.
pub(crate) fn complete(
    around: &Surroundings<'_>,
    target: &Target,
    proposal: &Proposal,
) -> Result<u64, RepositoryError> {
    let storage = target.storage.as_ref();
    let mut listed = HashSet::new();
    storage.list("i/", &mut |stat| {
        listed.extend(parse_index_name(&stat.name).map(|(_, id)| id));
        ControlFlow::Continue(())
    })?;
    let mut copied = 0;
    for id in proposal.runs.iter().filter(|id| !listed.contains(*id)) {
        let Some(run) = around.runs.get(id) else {
            return Err(RepositoryError::Defect { what: "the list of index runs" });
        };
        for pack in run {
            copied += copy_missing(around, target, &pack_name(pack.class, &pack.hash), &pack.hash)?;
        }
        storage.sync()?;
        copied += copy_missing(around, target, &index_name(0, id), id)?;
    }
    storage.sync()?;
    Ok(copied)
}

/// Copies one object unless it is there. Returns the bytes copied.
fn copy_missing(
    around: &Surroundings<'_>,
    target: &Target,
    name: &ObjectName,
    expected: &ObjectHash,
) -> Result<u64, RepositoryError> {
    if around.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled);
    }
    if target.storage.head(name)?.is_some() {
        return Ok(0);
    }
    let bytes = fetch_checked(around.sources, name, expected)?;
    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    target.storage.put_new(name, bytes)?;
    around.progress.advance(1, count);
    Ok(count)
}

/// An object from the first source whose bytes have the right hash.
pub(crate) fn fetch_checked(
    sources: &[Target],
    name: &ObjectName,
    expected: &ObjectHash,
) -> Result<Bytes, RepositoryError> {
    let mut last = None;
    for source in sources {
        let place = || source.storage.label().to_owned();
        match source.storage.get(name, Span::Whole, Read::Quick) {
            Ok(bytes) if hash::object(&bytes) == *expected => return Ok(bytes),
            Ok(_) => {
                let what = "is not what its name says".to_owned();
                last = Some(RepositoryError::Damage { place: place(), object: name.to_string(), what });
            }
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => last = Some(error.into()),
        }
    }
    Err(last.unwrap_or_else(|| RepositoryError::Damage {
        place: sources.iter().map(|source| source.storage.label()).collect::<Vec<_>>().join(", "),
        object: name.to_string(),
        what: "is missing".to_owned(),
    }))
}

/// Step 2: puts the snapshot object under a fresh nonce.
pub(crate) fn propose(target: &Target, proposal: &Proposal) -> Result<SnapshotName, RepositoryError> {
    let name = SnapshotName::new(proposal.at, &proposal.writer, proposal.id, entropy::random());
    target.storage.put_new(&name.proposal(), proposal.bytes.clone())?;
    target.storage.sync()?;
    Ok(name)
}

/// Steps 3 to 8. When it returns, the snapshot is valid on the target.
pub(crate) fn confirm(
    around: &Surroundings<'_>,
    target: &Target,
    proposal: &Proposal,
    mut name: SnapshotName,
) -> Result<SnapshotName, RepositoryError> {
    let place = || target.storage.label().to_owned();
    for _ in 0..ROUNDS_MAX {
        look(around, target, proposal, &name)?;
        let body = Bytes::copy_from_slice(&confirmation_body(&proposal.id));
        target.storage.put_new(&name.confirmation(), body)?;
        target.storage.sync()?;
        let condemned = plans(around.repository, target)?.iter().any(|plan| plan.names_proposal(&name));
        if !condemned && target.storage.head(&name.proposal())?.is_some() {
            return Ok(name);
        }
        // The outcome is unknown: a sweeper saw the proposal without its confirmation.
        name = propose(target, proposal)?;
    }
    Err(RepositoryError::Busy { place: place(), what: "sweeps kept condemning the proposal".to_owned() })
}

/// Steps 3 to 5.
fn look(
    around: &Surroundings<'_>,
    target: &Target,
    proposal: &Proposal,
    name: &SnapshotName,
) -> Result<(), RepositoryError> {
    let busy = |what: String| RepositoryError::Busy { place: target.storage.label().to_owned(), what };
    let plans = plans(around.repository, target)?;
    let parent = standing_parent(target, proposal.parent.as_ref())?;
    let stands = parent.is_some();
    let relied: Vec<&NeededPack> = proposal.packs.iter().filter(|pack| !(stands && pack.covered)).collect();
    for plan in &plans {
        if let Some(pack) = relied.iter().find(|pack| plan.names_pack(&pack.hash)) {
            return Err(busy(format!("a sweep removes pack {}", pack.hash.short())));
        }
        if plan.names_proposal(name) {
            return Err(busy("a sweep removes the proposal".to_owned()));
        }
        if parent.as_ref().is_some_and(|parent| plan.names_proposal(parent)) {
            return Err(busy("a sweep removes the snapshot it builds on".to_owned()));
        }
    }
    for pack in relied {
        if around.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        let object = pack_name(pack.class, &pack.hash);
        if target.storage.head(&object)?.is_none() {
            copy_missing(around, target, &object, &pack.hash)?;
            target.storage.sync()?;
            // A copied-back pack must not be one that a plan made since names: look again.
            if self::plans(around.repository, target)?.iter().any(|plan| plan.names_pack(&pack.hash)) {
                return Err(busy(format!("a sweep removes pack {}", pack.hash.short())));
            }
        }
    }
    if stands && standing_parent(target, proposal.parent.as_ref())?.is_none() {
        return Err(busy("the snapshot it builds on was forgotten meanwhile".to_owned()));
    }
    Ok(())
}

/// The sweep plans of a target. Objects under `g/` that the administrator did not sign count for nothing.
pub(crate) fn plans(repository: &Repository, target: &Target) -> Result<Vec<PlanBody>, RepositoryError> {
    let mut plans = Vec::new();
    for stat in list_all(target.storage.as_ref(), "g/")? {
        if stat.name.as_str().contains(".done-") {
            continue;
        }
        match target.storage.get(&stat.name, Span::Whole, Read::Quick) {
            Ok(bytes) => {
                plans.extend(
                    PlanBody::open(
                        &bytes,
                        &repository.id(),
                        &repository.format().admin_public,
                        repository.keys(),
                    )
                    .ok(),
                );
            }
            // Ended since it was listed: its packs are gone, and the look at each pack sees that.
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(plans)
}

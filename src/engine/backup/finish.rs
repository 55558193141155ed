//! From a finished manifest to a confirmed snapshot on each target.

use std::collections::HashSet;

use bytes::Bytes;

use super::outcome::TargetOutcome;
use super::publish::Known;
use super::start::Start;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::ObjectHash;
use crate::codec::sign::Signer;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::{Repository, Target};
use crate::repository::commit::{self, Along, NeededPack, Proposal, Surroundings};
use crate::repository::error::RepositoryError;
use crate::repository::fan_out::{Lag, LaneOutcome};
use crate::repository::format::names::{index_name, pack_name};
use crate::repository::format::object::{ObjectHeader, ObjectKind, Sealing, encode};
use crate::repository::format::snapshot::SnapshotBody;
use crate::storage::contract::ObjectName;

/// Signs and seals a snapshot.
pub(super) fn seal(
    repository: &Repository,
    signer: &Signer,
    chain: &super::start::Chain,
    body: &SnapshotBody,
) -> Result<(Bytes, ObjectHash), EngineError> {
    let header = ObjectHeader {
        kind: ObjectKind::Snapshot,
        sealing: if repository.keys().writes_only() { Sealing::Readers } else { Sealing::Epoch },
        epoch: repository.keys().epoch(),
        repo: repository.id(),
        signer: signer.id(),
        number: chain.number,
    };
    let (bytes, id) = encode(&header, &chain.links(), &body.encode(), signer, Some(repository.keys()))
        .map_err(RepositoryError::from)?;
    Ok((Bytes::from(bytes), id))
}

/// What the commit on every target needs to know.
pub(super) struct Ready<'a> {
    pub(super) repository: &'a Repository,
    pub(super) signer: &'a Signer,
    pub(super) host: &'a str,
    pub(super) start: &'a Start,
    pub(super) proposal: &'a Proposal,
    pub(super) runs: &'a Known<'a>,
    /// Packs that the parent needs, too.
    pub(super) parent_packs: &'a HashSet<ObjectHash>,
}

/// Commits on every target in turn, those that took everything first, so that they can complete
/// the ones that lag. A target that fails doesn't stop the others.
///
/// # Errors
/// `Gone` when a further pass can store anew what a target needs and nobody has, even when other
/// targets have this snapshot; `Busy` when sweeps kept every target from it; `Cancelled`.
pub(super) fn commit_everywhere(
    ready: &Ready<'_>,
    lanes: Vec<LaneOutcome>,
    cx: &Context,
) -> Result<Vec<TargetOutcome>, EngineError> {
    let new_objects = new_objects(ready)?;
    let mut order: Vec<(usize, LaneOutcome)> = lanes.into_iter().enumerate().collect();
    order.sort_by_key(|(number, lane)| (lane.lag.is_some(), *number));
    let mut outcomes: Vec<(usize, TargetOutcome)> = Vec::new();
    let mut busy = None;
    let mut gone: Option<RepositoryError> = None;
    for (number, lane) in order {
        let target = &ready.start.targets[number];
        let result = match lane.lag {
            Some(Lag::Failed(error)) => Err(error.into()),
            Some(Lag::Slow) | None => {
                commit_on(ready, target, cx).map_err(|error| swept(ready, target, error))
            }
        };
        let stored_bytes = lane.stored_bytes;
        match result {
            Ok(copied) => outcomes.push((number, complete(&new_objects, target, stored_bytes + copied))),
            Err(RepositoryError::Cancelled) => return Err(EngineError::Cancelled),
            Err(RepositoryError::Gone { place, what, packs }) if ready.start.another_round => {
                gone = Some(match gone {
                    Some(RepositoryError::Gone { place, what, packs: mut others }) => {
                        others.extend(packs);
                        others.sort_unstable();
                        others.dedup();
                        RepositoryError::Gone { place, what, packs: others }
                    }
                    _ => RepositoryError::Gone { place, what, packs },
                });
            }
            Err(error) => {
                outcomes.push((number, lagging(&target.name, &error, stored_bytes)));
                busy = busy.or(matches!(error, RepositoryError::Busy { .. }).then_some(error));
            }
        }
    }
    if let Some(error) = gone {
        return Err(error.into());
    }
    if let (Some(error), true) = (busy, outcomes.iter().all(|(_, outcome)| !outcome.complete)) {
        return Err(error.into());
    }
    outcomes.sort_by_key(|(number, _)| *number);
    let absent = ready.start.absent.iter().map(|absent| TargetOutcome {
        target: absent.name.clone(),
        complete: false,
        reason: Some(absent.reason.clone()),
        class: Some(absent.class),
        stored_bytes: 0,
        new_objects: Vec::new(),
    });
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).chain(absent).collect())
}

/// What a prune removed is not lost: its plan says so, and the next pass relies on something else.
fn swept(ready: &Ready<'_>, target: &Target, error: RepositoryError) -> RepositoryError {
    let RepositoryError::Gone { place, what, packs } = error else { return error };
    let plans = commit::plans(ready.repository, target).unwrap_or_default();
    let is_named = |pack: &ObjectHash| plans.iter().any(|plan| plan.names_pack(pack));
    if packs.iter().all(is_named) {
        RepositoryError::Busy { place, what: format!("a prune removed what the backup relied on: {what}") }
    } else {
        RepositoryError::Gone { place, what, packs }
    }
}

pub(super) fn commit_on(ready: &Ready<'_>, target: &Target, cx: &Context) -> Result<u64, RepositoryError> {
    let sources: Vec<Target> =
        ready.start.targets.iter().filter(|other| other.name != target.name).cloned().collect();
    let around = Surroundings {
        repository: ready.repository,
        sources: &sources,
        runs: ready.runs,
        progress: cx.progress.as_ref(),
        cancel: &cx.cancel,
    };
    ready.repository.certify(target, ready.host, ready.signer)?;
    let copied = commit::complete(&around, target, ready.proposal, Along::WholeRuns)?;
    let name = commit::propose(target, ready.proposal)?;
    commit::confirm(&around, target, ready.proposal, name)?;
    Ok(copied)
}

fn complete(new_objects: &[ObjectName], target: &Target, stored_bytes: u64) -> TargetOutcome {
    TargetOutcome {
        target: target.name.clone(),
        complete: true,
        reason: None,
        class: None,
        stored_bytes,
        new_objects: new_objects.to_vec(),
    }
}

/// Packs that the parent did not need, and the runs that list them.
fn new_objects(ready: &Ready<'_>) -> Result<Vec<ObjectName>, EngineError> {
    let fresh: Vec<&NeededPack> =
        ready.proposal.packs.iter().filter(|pack| !ready.parent_packs.contains(&pack.hash)).collect();
    let hashes: HashSet<ObjectHash> = fresh.iter().map(|pack| pack.hash).collect();
    let mut names: Vec<ObjectName> = fresh.iter().map(|pack| pack_name(pack.class, &pack.hash)).collect();
    let runs = ready.runs.runs_with(&hashes)?;
    names.extend(ready.proposal.runs.iter().filter(|id| runs.contains(*id)).map(|id| index_name(0, id)));
    Ok(names)
}

fn lagging(name: &str, error: &RepositoryError, stored_bytes: u64) -> TargetOutcome {
    TargetOutcome {
        target: name.to_owned(),
        complete: false,
        reason: Some(Chain(error).to_string()),
        class: Some(error.class()),
        stored_bytes,
        new_objects: Vec::new(),
    }
}

/// When no target has the snapshot, the run failed: with every reason, and the class of the first.
pub(super) fn nowhere(outcomes: &[TargetOutcome]) -> EngineError {
    let reasons: Vec<String> = outcomes
        .iter()
        .map(|outcome| {
            format!("{}: {}", outcome.target, outcome.reason.as_deref().unwrap_or("no reason given"))
        })
        .collect();
    let class = outcomes.iter().find_map(|outcome| outcome.class).unwrap_or(Class::Failed);
    RepositoryError::NoTarget { reasons: reasons.join("; "), class }.into()
}

//! Reading a policy's targets back as a whole, and what that says of each copy.

use std::collections::BTreeSet;

use serde_json::json;

use super::error::AppError;
use super::holds::from_evidence;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::copies::{CopyKey, Snapshot as Recorded};
use crate::catalog::runs::{Failure as RunFailure, RunEnd, RunId};
use crate::catalog::targets::Verification;
use crate::catalog::words::{Job, Level, RunState, VerifyScope};
use crate::engine::history::{self, Finding, Sight};
use crate::engine::verify::{Depth, VerifyOutcome, verify};
use crate::policy::model::Policy;
use crate::repository::access::Repository;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::place::Access;

use super::run::{Occasion, backup_kind, begin, end_failed, record_point};

/// What verifying a policy found, target by target.
pub struct PolicyVerify {
    /// Each target that answered.
    pub outcomes: Vec<VerifyOutcome>,
    /// Each target that did not, and why.
    pub unreached: Vec<(String, Failure)>,
    /// What of the past does not add up, over all targets that answered.
    pub history: Vec<Finding>,
}

impl PolicyVerify {
    /// Whether every target answered and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.unreached.is_empty()
            && self.outcomes.iter().all(VerifyOutcome::is_clean)
            && !self.history.iter().any(Finding::is_rollback)
    }
}

/// Reads every object of a policy's targets, or of one of them.
///
/// # Errors
/// When the target named does not exist, or the state cannot be written.
pub fn verify_policy(
    site: &Site,
    policy: &Policy,
    only: Option<&str>,
    depth: Depth,
    occasion: Occasion,
) -> Result<PolicyVerify, Failure> {
    let names: Vec<&str> = policy.targets.iter().map(|t| t.name.as_str()).collect();
    if let Some(name) = only.filter(|name| !names.contains(name)) {
        let known = names.join(", ");
        return Err(AppError::Unknown { what: "target", name: name.to_owned(), known }.into());
    }
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    catalogue.record_policy(policy.id.as_str(), &policy.version.sha256, now)?;
    catalogue.mark_interrupted(now)?;
    let run = begin(&catalogue, policy, Job::Verify, occasion, now)?;
    let mut result = PolicyVerify { outcomes: Vec::new(), unreached: Vec::new(), history: Vec::new() };
    let before = read_before(&catalogue, policy, &run)?;
    let wanted = |name: &str| only.is_none_or(|only| name == only) && !before.contains(name);
    for planned in policy.targets.iter().filter(|t| wanted(t.name.as_str())) {
        let one = site.repository_at(planned).and_then(|repository| {
            let outcome = verify_target(site, policy, &repository, depth, &catalogue)?;
            Ok(outcome)
        });
        match one {
            Ok(outcome) => result.outcomes.push(outcome),
            Err(failure) => result.unreached.push((planned.name.as_str().to_owned(), failure)),
        }
    }
    let answered = !result.outcomes.is_empty() || !before.is_empty();
    result.history = history_of(site, policy, &catalogue, &result)?;
    let read = Read {
        job: Job::Verify,
        targets: result.outcomes.len(),
        answered,
        is_clean: result.is_clean(),
        unreached: &result.unreached,
    };
    record_end(site, &catalogue, &run, &read)?;
    record_evidence(site, policy, &result)?;
    Ok(result)
}

/// Compares what the targets that answered hold with one another and with what was seen there
/// before. A copy that went is a problem of that copy from now on.
fn history_of(
    site: &Site,
    policy: &Policy,
    catalogue: &Catalog,
    result: &PolicyVerify,
) -> Result<Vec<Finding>, Failure> {
    let answered = |name: &str| result.outcomes.iter().any(|outcome| outcome.target == name);
    let planned = policy.targets.iter().filter(|planned| answered(planned.name.as_str()));
    let targets = planned.map(|planned| site.target(planned, Access::Read)).collect::<Result<Vec<_>, _>>()?;
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let sight = if targets.len() == policy.targets.len() { Sight::All } else { Sight::Part };
    let repository = Repository::open(targets, &site.secret()?)?.with_memory(Some(site.state.seen()));
    let findings = history::look(&repository, sight, &site.cx)?.findings;
    for finding in &findings {
        let Finding::Gone { snapshot, from, .. } = finding else { continue };
        let id = snapshot.to_hex();
        for target in repository.targets().iter().filter(|t| from.iter().any(|f| f == t.storage.label())) {
            let copy = CopyKey { snapshot: &id, target: &target.name };
            if catalogue.copies(&id)?.iter().any(|known| known.target == target.name) {
                catalogue.record_problem(copy, &finding.to_string(), site.cx.clock.now())?;
            }
        }
    }
    Ok(findings)
}

/// The targets that earlier attempts of this run read back and found clean: a target that was away
/// for a while is no reason to read the others twice.
fn read_before(catalogue: &Catalog, policy: &Policy, run: &RunId) -> Result<BTreeSet<String>, Failure> {
    let run = catalogue.run(run)?;
    if run.attempt == 1 {
        return Ok(BTreeSet::new());
    }
    let known = catalogue.last_verifications(policy.id.as_str())?;
    let read = known.into_iter().filter(|v| v.started_at >= run.started_at && v.damaged == 0);
    Ok(read.map(|v| v.target).collect())
}

/// How a reading of a policy's targets ended.
pub(super) struct Read<'a> {
    /// What it was.
    pub(super) job: Job,
    /// Targets that were read.
    pub(super) targets: usize,
    /// Whether any target was read, now or by an earlier attempt.
    pub(super) answered: bool,
    /// Whether nothing was wrong.
    pub(super) is_clean: bool,
    /// Targets that did not answer, and why.
    pub(super) unreached: &'a [(String, Failure)],
}

/// Records it. One that lacks a target whose reason passes is tried again when the schedule asked: until
/// the next one, a month later, that copy would expire.
///
/// # Errors
/// When the catalogue cannot be written.
pub(super) fn record_end(
    site: &Site,
    catalogue: &Catalog,
    run: &RunId,
    read: &Read<'_>,
) -> Result<(), Failure> {
    let unreached = read.unreached.iter().map(|(_, failure)| failure);
    let worst = unreached.clone().find(|failure| failure.class().is_transient());
    let failure = worst.or_else(|| unreached.clone().next());
    let state = match failure {
        _ if site.cx.cancel.is_cancelled() => RunState::Cancelled,
        Some(_) if !read.answered => RunState::Failed,
        None if read.is_clean => RunState::Succeeded,
        _ => RunState::Partial,
    };
    let end = RunEnd {
        state,
        at: site.cx.clock.now(),
        job_done: Some(read.job.clone()),
        snapshot: None,
        stats: json!({ "targets": read.targets, "unreached": read.unreached.len() }),
        failure: failure.map(|f| RunFailure { code: f.code().to_owned(), message: f.message() }),
    };
    match failure {
        Some(failure) => drop(end_failed(site, catalogue, run, failure, end)?),
        None => catalogue.end_run(run, &end)?,
    }
    Ok(())
}

fn verify_target(
    site: &Site,
    policy: &Policy,
    repository: &Repository,
    depth: Depth,
    catalogue: &Catalog,
) -> Result<VerifyOutcome, Failure> {
    let target = &repository.targets()[0];
    let started_at = site.cx.clock.now();
    let outcome = verify(target, Some(repository), depth, &site.cx)?;
    let ended_at = site.cx.clock.now();
    catalogue.record_verification(&Verification {
        policy: policy.id.as_str().to_owned(),
        target: target.name.clone(),
        scope: if depth == Depth::Blobs { VerifyScope::Deep } else { VerifyScope::All },
        started_at,
        ended_at,
        objects: outcome.objects,
        bytes: outcome.bytes,
        damaged: outcome.problem_count,
    })?;
    let (found, _) = snapshots::load_all(repository, target)?;
    import(catalogue, policy, repository, &target.name, &found, started_at)?;
    for id in &outcome.whole {
        let id = id.to_hex();
        let copy = CopyKey { snapshot: &id, target: &target.name };
        catalogue.raise_copy(copy, Level::ReadBack, started_at)?;
        record_point(catalogue, site, policy, copy, ended_at)?;
    }
    for hurt in &outcome.hurt {
        let id = hurt.snapshot.to_hex();
        if catalogue.snapshot(&id)?.is_some() {
            let copy = CopyKey { snapshot: &id, target: &target.name };
            let problem = format!("{} paths cannot be restored from {}", hurt.paths, target.name);
            catalogue.import_copy(copy, started_at)?;
            catalogue.record_problem(copy, &problem, ended_at)?;
        }
    }
    Ok(outcome)
}

/// Makes the catalogue know what a target holds.
pub(super) fn import(
    catalogue: &Catalog,
    policy: &Policy,
    repository: &Repository,
    target: &str,
    found: &[Snapshot],
    at: Timestamp,
) -> Result<(), Failure> {
    for snapshot in found {
        let body = &snapshot.body;
        let id = snapshot.id.to_hex();
        catalogue.import_snapshot(&Recorded {
            id: id.clone(),
            policy: policy.id.as_str().to_owned(),
            repo: repository.id(),
            kind: backup_kind(body.kind),
            captured_at: body.captured_at,
            parent: body.parent.map(|parent| parent.to_hex()),
            files: body.stats.files,
            bytes: body.roots.iter().map(|root| root.bytes).sum(),
            manifest_root: body.roots.first().map(|root| root.node.to_hex()).unwrap_or_default(),
            unread: Some(body.unread.count),
        })?;
        catalogue.import_copy(CopyKey { snapshot: &id, target }, at)?;
    }
    Ok(())
}

fn record_evidence(site: &Site, policy: &Policy, result: &PolicyVerify) -> Result<(), Failure> {
    let log = site.evidence()?;
    for outcome in &result.outcomes {
        log.append(
            "verify.ended",
            json!({
                "policy": policy.id.as_str(),
                "target": outcome.target,
                "depth": outcome.depth,
                "objects": outcome.objects,
                "bytes": outcome.bytes,
                "problems": outcome.problem_count,
                "snapshots_whole": outcome.whole.len(),
                "snapshots_hurt": outcome.hurt.len(),
            }),
        )?;
    }
    if !result.history.is_empty() {
        log.append(
            "history.differs",
            json!({
                "policy": policy.id.as_str(),
                "gone": result.history.iter().filter_map(Finding::gone).collect::<Vec<_>>(),
                "findings": result.history.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }),
        )?;
    }
    for (target, failure) in &result.unreached {
        log.append(
            "verify.failed",
            json!({ "policy": policy.id.as_str(), "target": target, "error_code": failure.code() }),
        )?;
    }
    log.sign_head(&[])?;
    Ok(())
}

/// Fills the catalogue from what the targets of a policy hold: snapshots and copies, at the level
/// *written*. What they are worth beyond that must be shown again. Returns snapshots and copies.
///
/// # Errors
/// When no target answers.
pub fn rebuild_catalogue(site: &Site, policy: &Policy) -> Result<(u64, u64), Failure> {
    let catalogue = site.catalogue()?;
    catalogue.record_policy(policy.id.as_str(), &policy.version.sha256, site.cx.clock.now())?;
    from_evidence(site, &catalogue, policy)?;
    let mut ids = BTreeSet::new();
    let (mut copies, mut answered, mut last) = (0, false, None);
    for planned in &policy.targets {
        let found = site.repository_at(planned).and_then(|repository| {
            let (found, _) = snapshots::load_all(&repository, &repository.targets()[0])?;
            import(&catalogue, policy, &repository, planned.name.as_str(), &found, site.cx.clock.now())?;
            Ok(found)
        });
        match found {
            Ok(found) => {
                answered = true;
                copies += u64::try_from(found.len()).unwrap_or(u64::MAX);
                ids.extend(found.iter().map(|snapshot| snapshot.id));
            }
            Err(failure) => {
                site.cx.progress.warn(format!("{}: {}", planned.name.as_str(), failure.message()));
                last = Some(failure);
            }
        }
    }
    match last {
        Some(failure) if !answered => Err(failure),
        _ => Ok((u64::try_from(ids.len()).unwrap_or(u64::MAX), copies)),
    }
}

//! Reading a policy's targets back as a whole, and what that says of each copy.

use serde_json::json;

use super::error::AppError;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::copies::{CopyKey, Snapshot as Recorded};
use crate::catalog::runs::{Failure as RunFailure, RunEnd};
use crate::catalog::targets::Verification;
use crate::catalog::words::{Job, Level, RunState, VerifyScope};
use crate::engine::verify::{Depth, VerifyOutcome, verify};
use crate::policy::model::Policy;
use crate::repository::access::Repository;
use crate::repository::snapshots::{self, Snapshot};

use super::run::{Occasion, backup_kind, begin};

/// What verifying a policy found, target by target.
pub struct PolicyVerify {
    /// Each target that answered.
    pub outcomes: Vec<VerifyOutcome>,
    /// Each target that did not, and why.
    pub unreached: Vec<(String, Failure)>,
}

impl PolicyVerify {
    /// Whether every target answered and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.unreached.is_empty() && self.outcomes.iter().all(VerifyOutcome::is_clean)
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
    let mut result = PolicyVerify { outcomes: Vec::new(), unreached: Vec::new() };
    for planned in policy.targets.iter().filter(|t| only.is_none_or(|name| t.name.as_str() == name)) {
        let one = site.repository_at(planned).and_then(|repository| {
            let outcome = verify_target(site, policy, &repository, depth, &catalogue)?;
            Ok(outcome)
        });
        match one {
            Ok(outcome) => result.outcomes.push(outcome),
            Err(failure) => result.unreached.push((planned.name.as_str().to_owned(), failure)),
        }
    }
    let failure = result
        .unreached
        .first()
        .map(|(_, failure)| RunFailure { code: failure.code().to_owned(), message: failure.message() });
    let state = match (&failure, result.outcomes.is_empty()) {
        (Some(_), true) => RunState::Failed,
        _ if result.is_clean() => RunState::Succeeded,
        _ => RunState::Partial,
    };
    catalogue.end_run(
        &run,
        &RunEnd {
            state,
            at: site.cx.clock.now(),
            job_done: Some(Job::Verify),
            snapshot: None,
            stats: json!({ "targets": result.outcomes.len(), "unreached": result.unreached.len() }),
            failure,
        },
    )?;
    record_evidence(site, policy, &result)?;
    Ok(result)
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
        catalogue.raise_copy(CopyKey { snapshot: &id, target: &target.name }, Level::ReadBack, started_at)?;
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
    let mut ids = std::collections::BTreeSet::new();
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

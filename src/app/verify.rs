//! Reading a policy's targets back as a whole, and what that says of each copy.

use std::collections::BTreeSet;

use serde_json::json;

use super::error::AppError;
use super::holds::from_evidence;
use super::reading::{Asked, Read, record_end};
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::copies::{CopyKey, Snapshot as Recorded};
use crate::catalog::outbox::OutboxLine;
use crate::catalog::runs::RunId;
use crate::catalog::targets::Verification;
use crate::catalog::words::{Job, Level, VerifyScope};
use crate::engine::history::{self, Finding, Sight};
use crate::engine::verify::{Depth, VerifyOutcome, verify};
use crate::policy::model::Policy;
use crate::repository::access::Repository;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::place::Access;

use super::run::{Occasion, backup_kind, begin, record_point};

/// What verifying a policy found, target by target.
pub struct PolicyVerify {
    /// Each target that answered.
    pub outcomes: Vec<VerifyOutcome>,
    /// Targets that are kept apart, and were not here: no failure, but nothing is known of them either.
    pub away: Vec<String>,
    /// Each target that did not answer and should have, and why.
    pub unreached: Vec<(String, Failure)>,
    /// What of the past does not add up, over all targets that answered.
    pub history: Vec<Finding>,
}

impl PolicyVerify {
    /// Whether a target answered, all that should have did, and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.unreached.is_empty()
            && !self.outcomes.is_empty()
            && self.outcomes.iter().all(VerifyOutcome::is_clean)
            && !self.history.iter().any(Finding::is_rollback)
    }
}

/// Of what the history shows, so much is named in the evidence log.
const NAMED_MAX: usize = 100;

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
    let before = read_before(&catalogue, policy, &run)?;
    let wanted = |name: &str| only.is_none_or(|only| name == only) && !before.contains(name);
    let planned = policy.targets.iter().filter(|t| wanted(t.name.as_str()));
    let asked = Asked::each(site, planned, |planned| {
        verify_target(site, policy, &site.repository_at(planned)?, depth, &catalogue)
    });
    let answered: Vec<&str> = asked.found.iter().map(|(name, _)| name.as_str()).collect();
    let history = history_of(site, policy, &catalogue, &answered)?;
    let told = lines(policy, &asked, &history);
    let mut read = Read::of(Job::Verify, &asked, told);
    read.answered |= !before.is_empty();
    let is_clean = asked.found.iter().all(|(_, outcome)| outcome.is_clean());
    read.is_clean =
        (read.is_clean || !before.is_empty()) && is_clean && !history.iter().any(Finding::is_rollback);
    record_end(site, &catalogue, &run, read)?;
    site.evidence()?.sign_head(&[])?;
    let outcomes = asked.found.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(PolicyVerify { outcomes, away: asked.away, unreached: asked.unreached, history })
}

/// Compares what the targets that answered hold with one another and with what was seen there
/// before. A copy that went is a problem of that copy from now on.
fn history_of(
    site: &Site,
    policy: &Policy,
    catalogue: &Catalog,
    answered: &[&str],
) -> Result<Vec<Finding>, Failure> {
    let planned = policy.targets.iter().filter(|planned| answered.contains(&planned.name.as_str()));
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

/// What the evidence log is to have of it.
fn lines(policy: &Policy, asked: &Asked<VerifyOutcome>, history: &[Finding]) -> Vec<OutboxLine> {
    let ended = asked.found.iter().map(|(_, outcome)| {
        OutboxLine::new(
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
        )
    });
    let differs = (!history.is_empty()).then(|| {
        let gone = history.iter().filter_map(Finding::gone);
        OutboxLine::new(
            "history.differs",
            json!({
                "policy": policy.id.as_str(),
                "count": history.len(),
                "gone": gone.take(NAMED_MAX).collect::<Vec<_>>(),
                "findings": history.iter().take(NAMED_MAX).map(ToString::to_string).collect::<Vec<_>>(),
            }),
        )
    });
    ended.chain(differs).chain(asked.unreached_lines("verify.failed", policy.id.as_str())).collect()
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

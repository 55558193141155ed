//! What becomes of a policy's old snapshots: forgotten by its `[retention]`, then pruned.
//!
//! Nothing is removed of a policy that says nothing of it. Whatever the rules say, the newest snapshots
//! that were read back at each target stay, by what the catalogue recorded and not by what is promised;
//! and nothing goes while something of the past is missing.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::change;
use super::error::AppError;
use super::holds::refuse_removal;
use super::outbox::tell;
use super::own::NAME;
use super::plumbing::host_name;
use super::run::{Occasion, begin, end_failed};
use super::site::Site;
use crate::base::error::{Class, Failure};
use crate::base::id::ObjectHash;
use crate::catalog::Catalog;
use crate::catalog::copies::CopyKey;
use crate::catalog::outbox::OutboxLine;
use crate::catalog::runs::{Failure as RunFailure, RunEnd, RunId};
use crate::catalog::words::{Job, Level, RunState};
use crate::engine::forget::{ForgetOutcome, ForgetRequest, Planned, Selection, forget};
use crate::engine::history::{self, Sight};
use crate::engine::prune::{PruneOutcome, PruneRequest, prune};
use crate::evidence::sha256;
use crate::policy::model::{Policy, Retention};
use crate::policy::retention::Rules;
use crate::repository::access::Repository;
use crate::storage::place::Access;

/// Snapshots that the evidence log names one by one, with their reasons; of the others it has the hash.
const NAMED_MAX: usize = 1000;

/// What a person may add to what the policy says.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetainRequest {
    /// Only look and show.
    pub dry_run: bool,
    /// That more than half goes is meant.
    pub accept_more_than_half: bool,
    /// That the clock is right is known.
    pub accept_clock: bool,
}

/// What became of a policy's old snapshots.
#[derive(Debug, Serialize)]
pub struct PolicyRetain {
    /// What was planned to be forgotten, and was.
    pub forget: ForgetOutcome,
    /// What was freed; none when that failed everywhere.
    pub prune: Option<PruneOutcome>,
    /// Why not.
    pub failed: Option<String>,
    /// Targets that took no part, and why.
    pub unreached: Vec<(String, String)>,
    /// How it ended, when not well.
    #[serde(skip)]
    pub class: Option<Class>,
}

/// Forgets by the policy's rules at every target that answers, and prunes there.
///
/// # Errors
/// When the policy has no `[retention]`, no target answers, something of the past is missing, a guard
/// stops it, or the state cannot be written.
pub fn retain_policy(
    site: &Site,
    policy: &Policy,
    request: RetainRequest,
    occasion: Occasion,
) -> Result<PolicyRetain, Failure> {
    let Some(retention) = &policy.retention else {
        return Err(AppError::Nothing {
            what: format!("policy {} removes nothing: it has no [retention]", policy.id.as_str()),
            hint: "say what to keep, such as `daily = 14` in a [retention] table".to_owned(),
        }
        .into());
    };
    let catalogue = site.catalogue()?;
    if request.dry_run {
        return carry_out(site, policy, retention, request, &catalogue);
    }
    let now = site.cx.clock.now();
    catalogue.record_policy(policy.id.as_str(), &policy.version.sha256, now)?;
    catalogue.mark_interrupted(now)?;
    change::follow_policy(&catalogue, policy, now)?;
    tell(&catalogue, &site.evidence()?)??;
    refuse_removal(&catalogue, policy)?;
    let run = begin(&catalogue, policy, Job::Prune, occasion, now)?;
    match carry_out(site, policy, retention, request, &catalogue) {
        Ok(done) => {
            record_end(site, &catalogue, policy, &run, &done)?;
            Ok(done)
        }
        Err(failure) => {
            let state = if site.cx.cancel.is_cancelled() { RunState::Cancelled } else { RunState::Failed };
            let line = OutboxLine::new(
                "prune.failed",
                json!({ "policy": policy.id.as_str(), "run": run.as_str(), "error_code": failure.code() }),
            );
            let end = RunEnd {
                state,
                at: site.cx.clock.now(),
                job_done: None,
                snapshot: None,
                stats: json!({}),
                failure: Some(RunFailure { code: failure.code().to_owned(), message: failure.message() }),
                lines: vec![line],
            };
            end_failed(site, &catalogue, &run, &failure, end)?;
            tell(&catalogue, &site.evidence()?)??;
            Err(failure)
        }
    }
}

fn carry_out(
    site: &Site,
    policy: &Policy,
    retention: &Retention,
    request: RetainRequest,
    catalogue: &Catalog,
) -> Result<PolicyRetain, Failure> {
    let access = if request.dry_run { Access::Read } else { Access::Write };
    let (repository, unreached) = open(site, policy, access)?;
    let sight = if unreached.is_empty() { Sight::All } else { Sight::Part };
    // What is left when something was taken away must not be thinned out as if it were all.
    history::look(&repository, sight, &site.cx)?.refuse()?;
    let forgotten = forget(
        &repository,
        &ForgetRequest {
            selection: Selection::Rules {
                rules: rules_of(policy, retention),
                zone: policy.schedule.timezone,
                host: None,
                policy: Some(policy.id.as_str().to_owned()),
            },
            read_back: read_back(catalogue, policy, retention)?,
            dry_run: request.dry_run,
            accept_more_than_half: request.accept_more_than_half,
            accept_clock: request.accept_clock,
        },
        &site.cx,
    )?;
    let own = forget_own(site, policy, &repository, retention, request)?;
    for target in &forgotten.targets {
        for id in &target.gone {
            let id = id.to_hex();
            catalogue.remove_copy(CopyKey { snapshot: &id, target: &target.target })?;
        }
    }
    let removed = forgotten.plan.iter().chain(&own).filter(|planned| !planned.keep).map(|planned| planned.id);
    let asked = PruneRequest {
        dry_run: request.dry_run,
        without: removed.collect(),
        grace: retention.grace,
        accept_more_than_half: request.accept_more_than_half,
        accept_clock: request.accept_clock,
        ..PruneRequest::new(host_name())
    };
    let mut class = forgotten.class();
    let (pruned, failed) = match prune(&repository, &asked, &site.cx).map_err(Failure::from) {
        Ok(pruned) => (Some(pruned), None),
        Err(failure) if failure.class() == Class::Cancelled => return Err(failure),
        Err(failure) => {
            class = class.or(Some(failure.class()));
            (None, Some(failure.message()))
        }
    };
    let targets = || pruned.iter().flat_map(|pruned| &pruned.targets);
    if !unreached.is_empty() || targets().any(|target| target.failed.is_some()) {
        class = class.or(Some(Class::Partial));
    }
    if targets().any(|target| !target.done.refused.is_empty()) {
        class = class.or(Some(Class::Refused));
    }
    Ok(PolicyRetain { forget: forgotten, prune: pruned, failed, unreached, class })
}

/// The rules, with what no rule may remove.
fn rules_of(policy: &Policy, retention: &Retention) -> Rules {
    Rules { holds: policy.legal_hold.clone(), ..retention.rules.clone() }
}

/// The records of this host that lie beside the policy's backups, by the same rules.
fn forget_own(
    site: &Site,
    policy: &Policy,
    repository: &Repository,
    retention: &Retention,
    request: RetainRequest,
) -> Result<Vec<Planned>, Failure> {
    if site.configuration.site.self_backup.as_deref() != Some(policy.id.as_str()) {
        return Ok(Vec::new());
    }
    let forgotten = forget(
        repository,
        &ForgetRequest {
            selection: Selection::Rules {
                rules: rules_of(policy, retention),
                zone: policy.schedule.timezone,
                host: None,
                policy: Some(NAME.to_owned()),
            },
            read_back: HashSet::new(),
            dry_run: request.dry_run,
            accept_more_than_half: request.accept_more_than_half,
            accept_clock: request.accept_clock,
        },
        &site.cx,
    )?;
    Ok(forgotten.plan)
}

/// The repository at every target that answers, and the others with their reasons.
fn open(
    site: &Site,
    policy: &Policy,
    access: Access,
) -> Result<(Repository, Vec<(String, String)>), Failure> {
    let secret = site.secret()?;
    let (mut holding, mut unreached, mut first) = (Vec::new(), Vec::new(), None);
    for planned in &policy.targets {
        let found = site.target(planned, access).and_then(|target| {
            Repository::open(vec![target.clone()], &secret)?;
            Ok(target)
        });
        match found {
            Ok(target) => holding.push(target),
            Err(failure) => {
                site.cx.progress.warn(format!(
                    "{} takes no part in this run: {}",
                    planned.name.as_str(),
                    failure.message()
                ));
                unreached.push((planned.name.as_str().to_owned(), failure.message()));
                first = first.or(Some(failure));
            }
        }
    }
    match first {
        Some(failure) if holding.is_empty() => Err(failure),
        _ => {
            let repository = Repository::open(holding, &secret)?;
            let memory = site.state.seen();
            Ok((repository.with_cache(Some(site.state.cache())).with_memory(Some(memory)), unreached))
        }
    }
}

/// The newest snapshots at each target that were read back there and have no known problem: as many as
/// are always to stay, and at least one.
fn read_back(
    catalogue: &Catalog,
    policy: &Policy,
    retention: &Retention,
) -> Result<HashSet<ObjectHash>, Failure> {
    let wanted = usize::try_from(retention.rules.min_keep.max(1)).unwrap_or(usize::MAX);
    let mut left: BTreeMap<&str, usize> =
        policy.targets.iter().map(|target| (target.name.as_str(), wanted)).collect();
    let mut known = catalogue.snapshots(policy.id.as_str())?;
    known.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.captured_at));
    let mut kept = HashSet::new();
    for snapshot in known {
        if left.values().all(|count| *count == 0) {
            break;
        }
        for copy in catalogue.copies(&snapshot.id)? {
            let Some(count) = left.get_mut(copy.target.as_str()).filter(|count| **count > 0) else {
                continue;
            };
            if copy.level() >= Level::ReadBack && copy.problem.is_none() {
                *count -= 1;
                kept.extend(snapshot.id.parse::<ObjectHash>());
            }
        }
    }
    Ok(kept)
}

fn record_end(
    site: &Site,
    catalogue: &Catalog,
    policy: &Policy,
    run: &RunId,
    done: &PolicyRetain,
) -> Result<(), Failure> {
    let removed: Vec<_> = done.forget.plan.iter().filter(|planned| !planned.keep).collect();
    let ids: Vec<u8> = removed.iter().flat_map(|planned| *planned.id.as_bytes()).collect();
    let targets = done.prune.iter().flat_map(|pruned| &pruned.targets);
    let line = OutboxLine::new(
        "prune.ended",
        json!({
            "policy": policy.id.as_str(),
            "run": run.as_str(),
            "kept": done.forget.plan.len() - removed.len(),
            "removed": removed.len(),
            "removed_sha256": sha256::hex(&ids),
            "named": removed.iter().take(NAMED_MAX).map(|planned| json!({
                "snapshot": planned.id.to_hex(), "captured_at": planned.captured_at, "reasons": planned.reasons,
            })).collect::<Vec<_>>(),
            "targets": done.forget.targets.iter().map(|target| json!({
                "target": target.target, "removed": target.gone.len(), "refused": target.refused.len(),
                "failed": target.failed.is_some(),
            })).collect::<Vec<_>>(),
            "pruned": targets.map(|target| json!({
                "target": target.target, "packs_deleted": target.done.packs_deleted,
                "bytes_deleted": target.done.bytes_deleted, "blobs_moved": target.done.blobs_moved,
                "failed": target.failed.is_some(),
            })).collect::<Vec<_>>(),
            "unreached": done.unreached.iter().map(|(target, _)| target).collect::<Vec<_>>(),
        }),
    );
    let end = RunEnd {
        state: if done.class.is_none() { RunState::Succeeded } else { RunState::Partial },
        at: site.cx.clock.now(),
        job_done: Some(Job::Prune),
        snapshot: None,
        stats: json!({ "removed": removed.len(), "unreached": done.unreached.len() }),
        failure: None,
        lines: vec![line],
    };
    catalogue.end_run(run, &end)?;
    let log = site.evidence()?;
    tell(catalogue, &log)??;
    site.sign_head(&log, &[])
}

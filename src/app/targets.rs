//! Targets of a policy: what they can do, and locks that must not end.

use serde::Serialize;
use serde_json::json;

use super::error::AppError;
use super::facts::note;
use super::run::{Occasion, begin};
use super::site::Site;
use super::verify::{Read, record_end};
use crate::base::error::{Class, Failure};
use crate::catalog::words::Job;
use crate::engine::locks::{LockOutcome, extend_locks as extend};
use crate::evidence::EvidenceLog;
use crate::policy::model::{Policy, Target as Planned};
use crate::repository::access::Repository;
use crate::storage::capabilities::{self, Capabilities};
use crate::storage::place::Access;

/// Tries the targets of a policy out, and records what was found. A target that is kept apart and is
/// not here now is passed over.
///
/// # Errors
/// When a name is wrong; what the first target said that can't be reached or lacks something, after the
/// others were tried; of the state folder.
pub fn probe(
    site: &Site,
    policy: &Policy,
    target: Option<&str>,
    occasion: Occasion,
) -> Result<Vec<(String, Capabilities)>, Failure> {
    let planned = named(policy, target)?;
    let (found, unreached) = as_run(site, policy, Job::Probe, occasion, &planned, |planned| {
        let open = site.target(planned, Access::Write)?;
        Ok(capabilities::probe(open.storage.as_ref(), site.cx.clock.as_ref())?)
    })?;
    site.record_targets(policy, &found)?;
    let log = site.evidence()?;
    for (name, found) in &found {
        log.append(
            "probe.ended",
            json!({ "policy": policy.id.as_str(), "target": name, "found": found, "danger": found.danger() }),
        )?;
    }
    prove_unreached(&log, "probe.failed", policy, &unreached)?;
    first_failure(unreached).map_or(Ok(found), Err)
}

/// Extends the locks of the targets that have a lock rule.
///
/// # Errors
/// When a name is wrong or no target has a rule; what the first target said that can't be read, after
/// the others were done; of the state folder.
pub fn extend_locks(
    site: &Site,
    policy: &Policy,
    target: Option<&str>,
    occasion: Occasion,
) -> Result<Vec<LockOutcome>, Failure> {
    let locked: Vec<&Planned> =
        named(policy, target)?.into_iter().filter(|one| one.immutable.is_some()).collect();
    if locked.is_empty() {
        return Err(AppError::Nothing {
            what: format!("no target of {} is immutable", policy.id.as_str()),
            hint: "add `immutable = { mode = \"governance\", days = 30 }` to one on S3".to_owned(),
        }
        .into());
    }
    let (outcomes, unreached) = as_run(site, policy, Job::Locks, occasion, &locked, |planned| {
        let open = site.target(planned, Access::Write)?;
        let repository = Repository::open(vec![open.clone()], &site.secret()?)?
            .with_cache(Some(site.state.cache()))
            .with_memory(Some(site.state.seen()));
        Ok(extend(&repository, &open, &site.cx)?)
    })?;
    let catalogue = site.catalogue()?;
    let log = site.evidence()?;
    for (name, outcome) in &outcomes {
        let until = outcome.locked_until.filter(|_| outcome.failed == 0);
        if let Some(planned) = locked.iter().find(|one| one.name.as_str() == name) {
            note(&catalogue, policy, planned, "locked_until", json!(until))?;
        }
        log.append(
            "locks.extended",
            json!({
                "policy": policy.id.as_str(), "target": name, "objects": outcome.objects,
                "extended": outcome.extended, "failed": outcome.failed, "locked_until": until,
            }),
        )?;
    }
    prove_unreached(&log, "locks.failed", policy, &unreached)?;
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    first_failure(unreached).map_or(Ok(outcomes), Err)
}

/// How a target fared that was tried out.
#[derive(Clone, Debug, Serialize)]
pub struct TriedTarget {
    /// Whose.
    pub policy: String,
    /// Its name.
    pub target: String,
    /// What was found, in words.
    pub seen: String,
    /// Why it is not fit.
    pub failure: Option<String>,
}

impl TriedTarget {
    /// Whether backups can go there.
    pub fn is_fit(&self) -> bool {
        self.failure.is_none()
    }
}

/// Tries every target of every policy out: writing, reading, listing, deleting, locks and the clock,
/// with objects that are removed again. Records nothing.
///
/// # Errors
/// None but those of the configuration; what a target says is in the answer.
pub fn try_targets(site: &Site) -> Result<Vec<TriedTarget>, Failure> {
    let mut tried = Vec::new();
    for policy in &site.configuration.policies {
        for planned in &policy.targets {
            let probed = site
                .target(planned, Access::Create)
                .and_then(|open| Ok(capabilities::probe(open.storage.as_ref(), site.cx.clock.as_ref())?));
            let (seen, failure) = match probed {
                Ok(found) => {
                    let lock = match found.lock_holds {
                        Some(true) => ", locks hold",
                        Some(false) => ", LOCKS DO NOT HOLD",
                        None => "",
                    };
                    let deletes = if found.can_delete { "may delete" } else { "may not delete" };
                    let skew = found.clock_skew_seconds;
                    (format!("writes, reads, lists; {deletes}{lock}; clock {skew:+} s"), None)
                }
                Err(failure) if is_away(planned, &failure) => {
                    ("kept apart, and not here now".to_owned(), None)
                }
                Err(failure) => (String::new(), Some(failure.message())),
            };
            let (policy, target) = (policy.id.as_str().to_owned(), planned.name.as_str().to_owned());
            tried.push(TriedTarget { policy, target, seen, failure });
        }
    }
    Ok(tried)
}

/// What was found at each target, and which could not be asked.
type Asked<T> = (Vec<(String, T)>, Vec<(String, Failure)>);

/// Asks each target, as a run of the policy that the catalogue knows.
fn as_run<T>(
    site: &Site,
    policy: &Policy,
    job: Job,
    occasion: Occasion,
    planned: &[&Planned],
    ask: impl Fn(&Planned) -> Result<T, Failure>,
) -> Result<Asked<T>, Failure> {
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    catalogue.mark_interrupted(now)?;
    let run = begin(&catalogue, policy, job.clone(), occasion, now)?;
    let (mut found, mut unreached) = (Vec::new(), Vec::new());
    for planned in planned {
        let name = planned.name.as_str().to_owned();
        match ask(planned) {
            Ok(answer) => found.push((name, answer)),
            Err(failure) if is_away(planned, &failure) => {}
            Err(failure) => unreached.push((name, failure)),
        }
    }
    let read = Read {
        job,
        targets: found.len(),
        answered: !found.is_empty() || unreached.is_empty(),
        // Where nothing was asked, nothing is known.
        is_clean: !found.is_empty(),
        unreached: &unreached,
    };
    record_end(site, &catalogue, &run, &read)?;
    Ok((found, unreached))
}

/// Whether a target that is kept apart is simply not here.
pub(super) fn is_away(planned: &Planned, failure: &Failure) -> bool {
    let gone = [Class::NotFound, Class::NoRepository];
    planned.offline && (gone.contains(&failure.class()) || failure.class().is_transient())
}

fn prove_unreached(
    log: &EvidenceLog,
    kind: &str,
    policy: &Policy,
    unreached: &[(String, Failure)],
) -> Result<(), Failure> {
    for (target, failure) in unreached {
        let policy = policy.id.as_str();
        log.append(kind, json!({ "policy": policy, "target": target, "error_code": failure.code() }))?;
    }
    Ok(())
}

fn first_failure(unreached: Vec<(String, Failure)>) -> Option<Failure> {
    unreached.into_iter().map(|(_, failure)| failure).next()
}

pub(super) fn named<'a>(policy: &'a Policy, target: Option<&str>) -> Result<Vec<&'a Planned>, Failure> {
    let is_meant = |one: &&Planned| target.is_none_or(|target| one.name.as_str() == target);
    let targets: Vec<&Planned> = policy.targets.iter().filter(is_meant).collect();
    if targets.is_empty() {
        return Err(AppError::Usage {
            what: format!("policy {} has no target {}", policy.id.as_str(), target.unwrap_or_default()),
            hint: "`lifeboat status` names its targets".to_owned(),
        }
        .into());
    }
    Ok(targets)
}

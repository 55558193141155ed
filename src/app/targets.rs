//! Targets of a policy: what they can do, and locks that must not end.

use serde::Serialize;
use serde_json::json;

use super::error::AppError;
use super::facts::note;
use super::reading::{Asked, Read, is_away, record_end};
use super::run::{Occasion, begin};
use super::site::Site;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::outbox::OutboxLine;
use crate::catalog::runs::RunId;
use crate::catalog::words::Job;
use crate::engine::locks::{LockOutcome, extend_locks as extend};
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
    let begun = begin_asking(site, policy, Job::Probe, occasion)?;
    let asked = Asked::each(site, planned, |planned| {
        let open = site.target(planned, Access::Write)?;
        Ok(capabilities::probe(open.storage.as_ref(), site.cx.clock.as_ref())?)
    });
    site.record_targets(policy, &asked.found)?;
    let id = policy.id.as_str();
    let lines = asked.found.iter().map(|(name, found)| {
        OutboxLine::new(
            "probe.ended",
            json!({ "policy": id, "target": name, "found": found, "danger": found.danger() }),
        )
    });
    let lines = lines.chain(asked.unreached_lines("probe.failed", id)).collect();
    begun.end(site, Read::of(Job::Probe, &asked, lines))?;
    first_failure(asked.unreached).map_or(Ok(asked.found), Err)
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
    let begun = begin_asking(site, policy, Job::Locks, occasion)?;
    let asked = Asked::each(site, locked, |planned| {
        let open = site.target(planned, Access::Write)?;
        let repository = Repository::open(vec![open.clone()], &site.secret()?)?
            .with_cache(Some(site.state.cache()))
            .with_memory(Some(site.state.seen()));
        let outcome = extend(&repository, &open, &site.cx)?;
        let until = outcome.locked_until.filter(|_| outcome.failed == 0);
        note(&begun.catalogue, policy, planned, "locked_until", json!(until))?;
        Ok((outcome, until))
    });
    let id = policy.id.as_str();
    let lines = asked.found.iter().map(|(name, (outcome, until))| {
        OutboxLine::new(
            "locks.extended",
            json!({
                "policy": id, "target": name, "objects": outcome.objects,
                "extended": outcome.extended, "failed": outcome.failed, "locked_until": until,
            }),
        )
    });
    let lines = lines.chain(asked.unreached_lines("locks.failed", id)).collect();
    begun.end(site, Read::of(Job::Locks, &asked, lines))?;
    let outcomes = asked.found.into_iter().map(|(_, (outcome, _))| outcome).collect();
    first_failure(asked.unreached).map_or(Ok(outcomes), Err)
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

/// A run that asks the targets of a policy, going on.
struct Asking {
    catalogue: Catalog,
    run: RunId,
}

fn begin_asking(site: &Site, policy: &Policy, job: Job, occasion: Occasion) -> Result<Asking, Failure> {
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    catalogue.mark_interrupted(now)?;
    let run = begin(&catalogue, policy, job, occasion, now)?;
    Ok(Asking { catalogue, run })
}

impl Asking {
    fn end(&self, site: &Site, read: Read<'_>) -> Result<(), Failure> {
        record_end(site, &self.catalogue, &self.run, read)
    }
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

//! Scrubbing the targets of a policy, and what that says of each copy.

use serde_json::json;

use super::plumbing::{Plumbing, repair_at};
use super::repair::{PolicyRepair, repair_policy};
use super::run::{Occasion, begin, record_point};
use super::site::Site;
use super::targets::named;
use crate::base::error::Failure;
use crate::catalog::copies::CopyKey;
use crate::catalog::words::{Job, Level};
use crate::engine;
use crate::engine::repair::RepairOutcome;
use crate::engine::scrub::{ScrubOutcome, ScrubRequest};
use crate::policy::model::Policy;
use crate::repository::access::Repository;
use crate::repository::format::slot::SlotSecret;
use crate::repository::snapshots;
use crate::storage::place::Access;

use super::verify::{Read, import, record_end};

impl Plumbing {
    /// Reads a share of a place.
    ///
    /// # Errors
    /// As [`engine::scrub::scrub`].
    pub fn scrub(
        &self,
        url: &str,
        secret: &SlotSecret,
        request: &ScrubRequest,
    ) -> Result<ScrubOutcome, Failure> {
        let target = self.target(url, Access::Read)?;
        // No cache: what a scrub says must rest on what the place holds.
        let repository = Repository::open(vec![target.clone()], secret)?;
        let memory = self.scrubbed.clone();
        Ok(engine::scrub::scrub(&repository, &target, &memory, request, &self.cx)?)
    }

    /// Mends a place after a scrub found something.
    ///
    /// # Errors
    /// As [`engine::repair::repair`].
    pub fn mend(&self, url: &str, from: &[String], secret: &SlotSecret) -> Result<RepairOutcome, Failure> {
        let target = self.target(url, Access::Write)?;
        let sources = from.iter().map(|url| self.target(url, Access::Read)).collect::<Result<Vec<_>, _>>()?;
        repair_at(&target, &sources, secret, false, &self.cx)
    }
}

/// What scrubbing a policy came to.
pub struct PolicyScrub {
    /// Each target that answered.
    pub outcomes: Vec<ScrubOutcome>,
    /// Each target that did not, and why.
    pub unreached: Vec<(String, Failure)>,
    /// What was mended, when that was asked for and something was damaged.
    pub repair: Option<PolicyRepair>,
}

/// Reads a share of each of a policy's targets, or of one of them. A copy whose every object was
/// read and right counts as read back since the oldest of these reads; one that is hurt stands no
/// more.
///
/// # Errors
/// When the target named does not exist, or the state cannot be written.
pub fn scrub_policy(
    site: &Site,
    policy: &Policy,
    only: Option<&str>,
    request: &ScrubRequest,
    mend: bool,
    occasion: Occasion,
) -> Result<PolicyScrub, Failure> {
    let catalogue = site.catalogue()?;
    let planned = named(policy, only)?;
    let now = site.cx.clock.now();
    catalogue.record_policy(policy.id.as_str(), &policy.version.sha256, now)?;
    catalogue.mark_interrupted(now)?;
    let run = begin(&catalogue, policy, Job::Scrub, occasion, now)?;
    let mut result = PolicyScrub { outcomes: Vec::new(), unreached: Vec::new(), repair: None };
    for planned in planned {
        let one = site.target(planned, Access::Read).and_then(|target| {
            let repository = Repository::open(vec![target.clone()], &site.secret()?)?;
            let began = site.cx.clock.now();
            let outcome =
                engine::scrub::scrub(&repository, &target, &site.state.scrubbed(), request, &site.cx)?;
            let (found, _) = snapshots::load_all(&repository, &target)?;
            import(&catalogue, policy, &repository, &target.name, &found, began)?;
            for proven in &outcome.proven {
                let id = proven.snapshot.to_hex();
                let copy = CopyKey { snapshot: &id, target: &target.name };
                catalogue.raise_copy(copy, Level::ReadBack, proven.since)?;
                record_point(&catalogue, site, policy, copy, site.cx.clock.now())?;
            }
            for hurt in &outcome.hurt {
                let id = hurt.snapshot.to_hex();
                if catalogue.snapshot(&id)?.is_some() {
                    let copy = CopyKey { snapshot: &id, target: &target.name };
                    let problem = format!("{} paths cannot be restored from {}", hurt.paths, target.name);
                    catalogue.record_problem(copy, &problem, site.cx.clock.now())?;
                }
            }
            Ok(outcome)
        });
        match one {
            Ok(outcome) => result.outcomes.push(outcome),
            Err(failure) => result.unreached.push((planned.name.as_str().to_owned(), failure)),
        }
    }
    let read = Read {
        job: Job::Scrub,
        targets: result.outcomes.len(),
        answered: !result.outcomes.is_empty(),
        is_clean: result.outcomes.iter().all(ScrubOutcome::is_clean),
        unreached: &result.unreached,
    };
    record_end(site, &catalogue, &run, &read)?;
    record(site, policy, &result)?;
    if mend && result.outcomes.iter().any(|outcome| !outcome.is_clean()) {
        result.repair = Some(repair_policy(site, policy, only, false)?);
    }
    Ok(result)
}

fn record(site: &Site, policy: &Policy, result: &PolicyScrub) -> Result<(), Failure> {
    let log = site.evidence()?;
    for outcome in &result.outcomes {
        log.append(
            "scrub.ended",
            json!({
                "policy": policy.id.as_str(),
                "target": outcome.target,
                "objects": outcome.objects,
                "read": outcome.read,
                "read_bytes": outcome.read_bytes,
                "overdue": outcome.overdue,
                "since": outcome.since,
                "damaged": outcome.damaged,
                "snapshots_proven": outcome.proven.len(),
                "snapshots_hurt": outcome.hurt.len(),
            }),
        )?;
    }
    for (target, failure) in &result.unreached {
        log.append(
            "scrub.failed",
            json!({ "policy": policy.id.as_str(), "target": target, "error_code": failure.code() }),
        )?;
    }
    log.sign_head(&[])?;
    Ok(())
}

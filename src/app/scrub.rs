//! Scrubbing the targets of a policy, and what that says of each copy.

use serde_json::json;

use super::plumbing::{Plumbing, repair_at};
use super::reading::{Asked, Read, record_end};
use super::repair::{PolicyRepair, repair_policy};
use super::run::{Occasion, begin, record_point};
use super::site::Site;
use super::targets::named;
use crate::base::error::Failure;
use crate::catalog::copies::CopyKey;
use crate::catalog::outbox::OutboxLine;
use crate::catalog::words::{Job, Level};
use crate::engine;
use crate::engine::repair::RepairOutcome;
use crate::engine::scrub::{ScrubOutcome, ScrubRequest};
use crate::policy::model::Policy;
use crate::repository::access::Repository;
use crate::repository::format::slot::SlotSecret;
use crate::repository::snapshots;
use crate::storage::place::Access;

use super::verify::import;

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
    /// Targets that are kept apart, and were not here: no failure, but nothing is known of them either.
    pub away: Vec<String>,
    /// Each target that did not answer and should have, and why.
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
    let asked = Asked::each(site, planned, |planned| {
        let target = site.target(planned, Access::Read)?;
        {
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
        }
    });
    let mut read = Read::of(Job::Scrub, &asked, lines(policy, &asked));
    let is_clean = asked.found.iter().all(|(_, outcome)| outcome.is_clean());
    read.is_clean &= is_clean;
    record_end(site, &catalogue, &run, read)?;
    site.evidence()?.sign_head(&[])?;
    let Asked { found, away, unreached } = asked;
    let outcomes = found.into_iter().map(|(_, outcome)| outcome).collect();
    let mut result = PolicyScrub { outcomes, away, unreached, repair: None };
    if mend && !is_clean {
        result.repair = Some(repair_policy(site, policy, only, false)?);
    }
    Ok(result)
}

/// What the evidence log is to have of it.
fn lines(policy: &Policy, asked: &Asked<ScrubOutcome>) -> Vec<OutboxLine> {
    let ended = asked.found.iter().map(|(_, outcome)| {
        OutboxLine::new(
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
        )
    });
    ended.chain(asked.unreached_lines("scrub.failed", policy.id.as_str())).collect()
}

//! Mending the targets of a policy, each with what the others have.

use serde_json::json;

use super::error::AppError;
use super::plumbing::repair_at;
use super::site::Site;
use crate::base::error::Failure;
use crate::engine::repair::RepairOutcome;
use crate::policy::model::Policy;
use crate::storage::place::Access;

/// What mending a policy's targets came to.
pub struct PolicyRepair {
    /// Each target that answered.
    pub outcomes: Vec<RepairOutcome>,
    /// Each target that did not, and why.
    pub unreached: Vec<(String, Failure)>,
}

/// Finds what is hurt at a policy's targets, or at one of them, and mends it from the others. What
/// was done stands in the evidence log. A target that doesn't answer mends nobody and is named.
///
/// # Errors
/// When the target named does not exist, or the evidence cannot be written.
pub fn repair_policy(
    site: &Site,
    policy: &Policy,
    only: Option<&str>,
    dry_run: bool,
) -> Result<PolicyRepair, Failure> {
    let names: Vec<&str> = policy.targets.iter().map(|t| t.name.as_str()).collect();
    if let Some(name) = only.filter(|name| !names.contains(name)) {
        let known = names.join(", ");
        return Err(AppError::Unknown { what: "target", name: name.to_owned(), known }.into());
    }
    let secret = site.secret()?;
    let mut result = PolicyRepair { outcomes: Vec::new(), unreached: Vec::new() };
    for planned in policy.targets.iter().filter(|t| only.is_none_or(|only| only == t.name.as_str())) {
        let access = if dry_run { Access::Read } else { Access::Write };
        let others = policy.targets.iter().filter(|other| other.name != planned.name);
        let mut sources = Vec::new();
        for other in others {
            // One that is away, or holds nothing yet, has nothing to give.
            let opened = site.target(other, Access::Read).and_then(|target| {
                target.storage.head(&crate::repository::format::names::REPO_FMT)?;
                Ok(target)
            });
            match opened {
                Ok(target) => sources.push(target),
                Err(failure) => site.cx.progress.warn(format!(
                    "{} can mend nothing now: {}",
                    other.name.as_str(),
                    failure.message()
                )),
            }
        }
        let one = site
            .target(planned, access)
            .and_then(|target| repair_at(&target, &sources, &secret, dry_run, &site.cx));
        match one {
            Ok(outcome) => result.outcomes.push(outcome),
            Err(failure) => result.unreached.push((planned.name.as_str().to_owned(), failure)),
        }
    }
    if !dry_run {
        record(site, policy, &result)?;
    }
    Ok(result)
}

fn record(site: &Site, policy: &Policy, result: &PolicyRepair) -> Result<(), Failure> {
    let log = site.evidence()?;
    for outcome in &result.outcomes {
        log.append(
            "repair.ended",
            json!({
                "policy": policy.id.as_str(),
                "target": outcome.target,
                "objects": outcome.objects,
                "hurt": outcome.steps.len(),
                "mended": outcome.mended(),
                "problems": outcome.remaining_count,
                "snapshots_whole_again": outcome.whole_again.len(),
                "snapshots_hurt": outcome.still_hurt.len(),
            }),
        )?;
    }
    log.sign_head(&[])?;
    Ok(())
}

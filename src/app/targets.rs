//! Targets of a policy: what they can do, and locks that must not end.

use super::error::AppError;
use super::site::Site;
use crate::base::error::Failure;
use crate::engine::locks::{LockOutcome, extend_locks as extend};
use crate::policy::model::{Policy, Target as Planned};
use crate::repository::access::Repository;
use crate::storage::capabilities::{self, Capabilities};
use crate::storage::place::Access;

/// Tries the targets of a policy out, and records what was found.
///
/// # Errors
/// When a name is wrong, a target can't be reached or lacks something; of the catalogue.
pub fn probe(
    site: &Site,
    policy: &str,
    target: Option<&str>,
) -> Result<Vec<(String, Capabilities)>, Failure> {
    let policy = site.policy(policy)?;
    let mut found = Vec::new();
    for planned in named(policy, target)? {
        let open = site.target(planned, Access::Write)?;
        let probed = capabilities::probe(open.storage.as_ref(), site.cx.clock.as_ref())?;
        found.push((planned.name.as_str().to_owned(), probed));
    }
    site.record_targets(policy, &found)?;
    Ok(found)
}

/// Extends the locks of the targets that have a lock rule.
///
/// # Errors
/// When a name is wrong, no target has a rule, or one can't be read.
pub fn extend_locks(site: &Site, policy: &str, target: Option<&str>) -> Result<Vec<LockOutcome>, Failure> {
    let policy = site.policy(policy)?;
    let locked: Vec<&Planned> =
        named(policy, target)?.into_iter().filter(|one| one.immutable.is_some()).collect();
    if locked.is_empty() {
        return Err(AppError::Nothing {
            what: format!("no target of {} is immutable", policy.id.as_str()),
            hint: "add `immutable = { mode = \"governance\", days = 30 }` to one on S3".to_owned(),
        }
        .into());
    }
    let mut outcomes = Vec::new();
    for planned in locked {
        let open = site.target(planned, Access::Write)?;
        let repository = Repository::open(vec![open.clone()], &site.secret()?)?
            .with_cache(Some(site.state.cache()))
            .with_memory(Some(site.state.seen()));
        outcomes.push(extend(&repository, &open, &site.cx)?);
    }
    Ok(outcomes)
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

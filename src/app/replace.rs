//! Filling a target from the best copy there is: a new medium in the place of an old one, or one that
//! lags behind.

use serde_json::json;

use super::error::AppError;
use super::site::Site;
use super::targets::named;
use super::verify::import;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::copies::CopyKey;
use crate::engine::sync::{SyncOutcome, sync};
use crate::policy::model::{Policy, Target as Planned};
use crate::repository::access::{Repository, Target};
use crate::repository::format::names::REPO_FMT;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::StorageError;
use crate::storage::place::Access;

/// What was filled.
pub struct Filled {
    /// From which target.
    pub from: String,
    /// Whether nothing was there before: what was known of the target's copies counts no more.
    pub is_new: bool,
    /// What was copied.
    pub outcome: SyncOutcome,
}

/// Copies every snapshot of a policy that the target lacks from another target: from the one named, or
/// else from the one with the most copies that were read back and are right. What stands there then
/// counts as written; only reading it back makes it a copy again.
///
/// # Errors
/// When there is no such target or no other one that answers; what either says.
pub fn replace(site: &Site, policy: &Policy, target: &str, from: Option<&str>) -> Result<Filled, Failure> {
    let planned = named(policy, Some(target))?[0];
    let catalogue = site.catalogue()?;
    let to = site.target(planned, Access::Create)?;
    let is_new = match to.storage.head(&REPO_FMT) {
        Ok(stat) => stat.is_none(),
        Err(StorageError::NoPlace { what: "folder", .. }) => true,
        Err(error) => return Err(error.into()),
    };
    let (source, repository) = best(site, policy, planned, from, &catalogue)?;
    if is_new {
        // Before anything is there: cut off later, what was read of the old medium would pass for this one.
        remove_copies(&catalogue, policy, target, &[])?;
    }
    let began = site.cx.clock.now();
    let outcome = sync(&repository, &source, &to, &site.cx)?;
    let (found, _) = snapshots::load_all(&repository, &to)?;
    remove_copies(&catalogue, policy, target, &found)?;
    import(&catalogue, policy, &repository, target, &found, began)?;
    let log = site.evidence()?;
    log.append(
        "target.filled",
        json!({
            "policy": policy.id.as_str(), "target": target, "from": source.name, "new": is_new,
            "snapshots": outcome.snapshots_copied, "present": outcome.snapshots_present,
            "bytes": outcome.bytes, "failed": outcome.failed.len(),
        }),
    )?;
    log.sign_head(&[])?;
    Ok(Filled { from: source.name.clone(), is_new, outcome })
}

/// Takes the copies at a target back, but for those of snapshots that are there.
fn remove_copies(
    catalogue: &Catalog,
    policy: &Policy,
    target: &str,
    there: &[Snapshot],
) -> Result<(), Failure> {
    for known in catalogue.snapshots(policy.id.as_str())? {
        if !there.iter().any(|one| one.id.to_hex() == known.id) {
            catalogue.remove_copy(CopyKey { snapshot: &known.id, target })?;
        }
    }
    Ok(())
}

/// The source: the best known first, until one answers.
fn best(
    site: &Site,
    policy: &Policy,
    to: &Planned,
    from: Option<&str>,
    catalogue: &Catalog,
) -> Result<(Target, Repository), Failure> {
    let mut others: Vec<(usize, &Planned)> = Vec::new();
    for planned in named(policy, from)?.into_iter().filter(|one| one.name != to.name) {
        let mut whole = 0;
        for snapshot in catalogue.recent_snapshots(policy.id.as_str(), u32::MAX)? {
            let copies = catalogue.copies(&snapshot.id)?;
            let copy = copies.iter().find(|copy| copy.target == planned.name.as_str());
            whole +=
                usize::from(copy.is_some_and(|copy| copy.read_back_at.is_some() && copy.problem.is_none()));
        }
        others.push((whole, planned));
    }
    others.sort_by_key(|(whole, _)| std::cmp::Reverse(*whole));
    let mut first = None;
    for (_, planned) in others {
        let opened = site.repository_at(planned);
        match opened {
            Ok(repository) => return Ok((repository.targets()[0].clone(), repository)),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    Err(first.unwrap_or_else(|| {
        AppError::Nothing {
            what: format!("policy {} has no other target to fill {} from", policy.id, to.name),
            hint: "`lifeboat run` fills a target by a new backup".to_owned(),
        }
        .into()
    }))
}

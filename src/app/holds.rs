//! Holds: stopping all removal of a policy's snapshots, and letting it go on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use super::change;
use super::error::AppError;
use super::outbox::tell;
use super::run::Occasion;
use super::site::Site;
use super::targets::extend_locks;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::holds::{Hold, NewHold};
use crate::catalog::words::{Cause, HoldKind};
use crate::evidence::line::Line;
use crate::policy::model::Policy;

/// Holds shown at most.
pub const SHOWN_MAX: u32 = 1000;

/// Freezes a policy, or all: nothing of it is removed until somebody unfreezes it. Locks of immutable
/// targets are made to last longer at once, as far as they can be reached.
///
/// # Errors
/// When the policy does not exist, or the state cannot be written.
pub fn freeze(site: &Site, policy: Option<&str>, reason: &str, by: &str) -> Result<Vec<Hold>, Failure> {
    let catalogue = site.catalogue()?;
    let mut placed = Vec::new();
    for policy in site.policies(policy)? {
        let new = NewHold { policy: policy.id.as_str(), kind: HoldKind::Freeze, reason, by };
        placed.push(place(site, &catalogue, &new)?);
        if policy.targets.iter().any(|target| target.immutable.is_some()) {
            let occasion = Occasion { scheduled_at: None, cause: Cause::Person };
            if let Err(failure) = extend_locks(site, policy, None, occasion) {
                let id = policy.id.as_str();
                site.cx
                    .progress
                    .warn(format!("the locks of {id} could not be extended: {}", failure.message()));
            }
        }
    }
    Ok(placed)
}

/// Ends the freezes of a policy, or of all. Holds that a run placed stay.
///
/// # Errors
/// When nothing is frozen, or the state cannot be written.
pub fn unfreeze(site: &Site, policy: Option<&str>, reason: &str, by: &str) -> Result<Vec<Hold>, Failure> {
    let catalogue = site.catalogue()?;
    let mut released = Vec::new();
    for hold in catalogue.standing_holds(policy)? {
        if hold.kind == HoldKind::Freeze {
            released.push(release(site, &catalogue, &hold.id, reason, by)?);
        }
    }
    if released.is_empty() {
        return Err(AppError::Nothing {
            what: "nothing is frozen".to_owned(),
            hint: "`lifeboat hold list` shows what stands in the way of removal".to_owned(),
        }
        .into());
    }
    Ok(released)
}

/// Releases one hold.
///
/// # Errors
/// When there is none of this id or it was released before; when the state cannot be written.
pub fn release_one(site: &Site, id: &str, reason: &str, by: &str) -> Result<Hold, Failure> {
    release(site, &site.catalogue()?, id, reason, by)
}

/// The holds of a policy, or of all; released ones only when asked for.
///
/// # Errors
/// Of the catalogue.
pub fn list(site: &Site, policy: Option<&str>, all: bool) -> Result<Vec<Hold>, Failure> {
    let catalogue = site.catalogue()?;
    Ok(if all { catalogue.holds(policy, SHOWN_MAX)? } else { catalogue.standing_holds(policy)? })
}

/// Stops whatever would remove something of a policy.
///
/// # Errors
/// Held, naming the first hold.
pub(super) fn refuse_removal(catalogue: &Catalog, policy: &Policy) -> Result<(), Failure> {
    let standing = catalogue.standing_holds(Some(policy.id.as_str()))?;
    match standing.first() {
        None => Ok(()),
        Some(hold) => Err(AppError::Held {
            policy: hold.policy.clone(),
            id: hold.id.clone(),
            kind: hold.kind,
            reason: hold.reason.clone(),
        }
        .into()),
    }
}

/// Fills the holds of a policy in again from the evidence log, after the catalogue was lost: a freeze must
/// not end because a disk did.
///
/// # Errors
/// When the log cannot be read, or the catalogue not be written.
pub(super) fn from_evidence(site: &Site, catalogue: &Catalog, policy: &Policy) -> Result<(), Failure> {
    let folder = site.state.evidence().join("log");
    let unreadable = |source| AppError::Unreadable { what: "the evidence log", path: folder.clone(), source };
    if !folder.exists() {
        return Ok(());
    }
    let mut months: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(unreadable)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .collect();
    months.sort();
    let mut known: BTreeMap<String, Hold> = BTreeMap::new();
    for month in months {
        for bytes in BufReader::new(File::open(&month).map_err(unreadable)?).split(b'\n') {
            let Ok(line) = Line::decode(&bytes.map_err(unreadable)?) else { continue };
            if !line.kind.starts_with("hold.") {
                continue;
            }
            if let Ok(hold) = serde_json::from_value::<Hold>(line.data) {
                known.insert(hold.id.clone(), hold);
            }
        }
    }
    for hold in known.values().filter(|hold| hold.policy == policy.id.as_str()) {
        catalogue.import_hold(hold)?;
    }
    Ok(())
}

/// Places a hold, with a line in the evidence log.
pub(super) fn place(site: &Site, catalogue: &Catalog, new: &NewHold<'_>) -> Result<Hold, Failure> {
    let hold = catalogue.place_hold(new, site.cx.clock.now())?;
    prove(site, catalogue)?;
    Ok(hold)
}

fn release(site: &Site, catalogue: &Catalog, id: &str, reason: &str, by: &str) -> Result<Hold, Failure> {
    let hold = catalogue.release_hold(id, by, reason, site.cx.clock.now())?;
    change::released(site, catalogue, &hold)?;
    prove(site, catalogue)?;
    Ok(hold)
}

fn prove(site: &Site, catalogue: &Catalog) -> Result<(), Failure> {
    let log = site.evidence()?;
    tell(catalogue, &log)??;
    site.sign_head(&log, &[])
}

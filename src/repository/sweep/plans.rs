//! The objects under `g/`: plans, and the marks that they were carried out.

use std::collections::{BTreeMap, HashSet};

use crate::base::clock::Timestamp;
use crate::base::id::ObjectHash;
use crate::repository::commit::plans_among;
use crate::repository::format::names::plan_of_done;
use crate::repository::format::plan::PlanBody;
use crate::repository::sweep::{SweepError, Sweeping};
use crate::storage::contract::{ObjectName, list_all};

/// A plan that stands on the target.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Its name.
    pub(super) name: ObjectName,
    /// When the target took it.
    pub(super) seen: Timestamp,
    /// What it names.
    pub(super) body: PlanBody,
    /// Its marks of having been carried out, and when the target took them.
    pub(super) done: Vec<(ObjectName, Timestamp)>,
}

/// Lists `g/`: the plans that the administrator signed, with their marks.
///
/// # Errors
/// Whatever the target says; a plan that cannot be read.
pub(super) fn list(cx: &Sweeping<'_>) -> Result<Vec<Standing>, SweepError> {
    let listed = list_all(cx.target.storage.as_ref(), "g/")?;
    let mut done: BTreeMap<ObjectName, Vec<(ObjectName, Timestamp)>> = BTreeMap::new();
    for stat in &listed {
        if let Some(plan) = plan_of_done(&stat.name) {
            done.entry(plan).or_default().push((stat.name.clone(), stat.modified));
        }
    }
    let standing = plans_among(cx.repository, cx.target, listed)?.into_iter().map(|(stat, body)| Standing {
        done: done.remove(&stat.name).unwrap_or_default(),
        name: stat.name,
        seen: stat.modified,
        body,
    });
    Ok(standing.collect())
}

/// The names that `g/` lists now, nothing read.
///
/// # Errors
/// Whatever the target says.
pub(super) fn names(cx: &Sweeping<'_>) -> Result<HashSet<ObjectName>, SweepError> {
    Ok(list_all(cx.target.storage.as_ref(), "g/")?.into_iter().map(|stat| stat.name).collect())
}

/// The packs that plans name which were not there before.
///
/// # Errors
/// As [`list`].
pub(super) fn condemned_since(
    cx: &Sweeping<'_>,
    before: &HashSet<ObjectName>,
) -> Result<HashSet<ObjectHash>, SweepError> {
    let mut listed = list_all(cx.target.storage.as_ref(), "g/")?;
    listed.retain(|stat| !before.contains(&stat.name));
    let plans = plans_among(cx.repository, cx.target, listed)?;
    Ok(plans.into_iter().flat_map(|(_, body)| body.packs().collect::<Vec<_>>()).collect())
}

/// All packs that these plans name.
pub(super) fn condemned<'p>(plans: impl IntoIterator<Item = &'p Standing>) -> HashSet<ObjectHash> {
    plans.into_iter().flat_map(|plan| plan.body.packs()).collect()
}

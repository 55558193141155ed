//! The two verbs: mend a target, and list its packs anew.

use std::collections::HashSet;

use super::execute::{execute, signer, still_bad};
use super::outcome::RepairOutcome;
use super::survey::{Ground, Survey};
use crate::base::id::ObjectHash;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::hurt;
use crate::engine::verify::{HurtSnapshot, examine_again};
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{PackClass, content_hash};
use crate::repository::load;
use crate::repository::rebuild::{self, Rebuilt, Tools};
use crate::repository::snapshots;

/// What is to be mended, and with what.
pub struct RepairRequest<'a> {
    /// The place that is hurt.
    pub target: &'a Target,
    /// Places that may have what it lacks.
    pub sources: &'a [Target],
    /// Whose key signs what has to be made anew.
    pub host: &'a str,
    /// Only find and plan.
    pub dry_run: bool,
}

/// Finds what is hurt at a target and mends it.
///
/// # Errors
/// When the target cannot be listed or stops answering, or the work is cancelled; what cannot be
/// mended is no error but in the outcome.
pub fn repair(
    repository: &Repository,
    request: &RepairRequest<'_>,
    cx: &Context,
) -> Result<RepairOutcome, EngineError> {
    let ground =
        Ground { repository, target: request.target, sources: request.sources, host: request.host, cx };
    let mut survey = Survey::make(&ground)?;
    let before = survey.examined.outcome.clone();
    let mut outcome = RepairOutcome {
        target: request.target.name.clone(),
        dry_run: request.dry_run,
        objects: before.objects,
        bytes: before.bytes,
        steps: Vec::new(),
        hurt: before.hurt,
        whole_again: Vec::new(),
        still_hurt: Vec::new(),
        remaining_count: before.problem_count,
        remaining: before.problems,
    };
    if !request.dry_run {
        // What the survey found whole may be the work of a repair that died before it was durable.
        request.target.storage.sync().map_err(RepositoryError::from)?;
    }
    if request.dry_run || survey.steps.is_empty() {
        outcome.still_hurt.clone_from(&outcome.hurt);
        outcome.steps = survey.steps;
        return Ok(outcome);
    }
    execute(&ground, &mut survey)?;
    let damaged = still_bad(&survey, &survey.steps);
    let after = examine_again(request.target, repository, &damaged, cx)?.outcome;
    // So may what a step put whose own sync failed: it is there, and whole, and not durable.
    request.target.storage.sync().map_err(RepositoryError::from)?;
    let hurt_now: HashSet<_> = after.hurt.iter().map(|hurt: &HurtSnapshot| hurt.snapshot).collect();
    outcome.whole_again =
        outcome.hurt.iter().map(|hurt| hurt.snapshot).filter(|id| !hurt_now.contains(id)).collect();
    name_paths(&ground, &survey, &mut outcome)?;
    outcome.still_hurt = after.hurt;
    outcome.remaining_count = after.problem_count;
    outcome.remaining = after.problems;
    outcome.steps = survey.steps;
    Ok(outcome)
}

/// Says of the snapshots that are whole again which paths were hurt: while their listings could not be
/// read nobody knew.
fn name_paths(ground: &Ground<'_>, survey: &Survey, outcome: &mut RepairOutcome) -> Result<(), EngineError> {
    let objects = survey.examined.bad.iter().chain(survey.steps.iter().map(|step| &step.object));
    let were_lost: HashSet<ObjectHash> =
        objects.filter(|name| PackClass::of_name(name).is_some()).filter_map(content_hash).collect();
    let (snapshots, _) = snapshots::load_all(ground.repository, ground.target)?;
    let index = load::load(ground.repository, std::slice::from_ref(ground.target))?.index;
    for hurt in outcome.hurt.iter_mut().filter(|hurt| outcome.whole_again.contains(&hurt.snapshot)) {
        let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.id == hurt.snapshot) else { continue };
        let found = hurt::paths(ground.repository, ground.target, &index, snapshot, &were_lost, ground.cx)?;
        if let Some(found) = found {
            (hurt.paths, hurt.named) = (found.count, found.named);
        }
    }
    Ok(())
}

/// Lists every pack of a target that no readable index run lists, from the packs' own ends.
///
/// # Errors
/// Whatever the target says; single packs that cannot be listed are in the outcome.
pub fn rebuild_index(
    repository: &Repository,
    target: &Target,
    host: &str,
    cx: &Context,
) -> Result<Rebuilt, EngineError> {
    let ground = Ground { repository, target, sources: &[], host, cx };
    let signer = signer(&ground)?;
    let tools = Tools {
        signer: &signer,
        threads: cx.workers.max(target.in_flight).min(8),
        progress: cx.progress.as_ref(),
        cancel: &cx.cancel,
    };
    Ok(rebuild::rebuild(repository, target, &HashSet::new(), &tools)?)
}

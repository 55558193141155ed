//! Carrying a plan out, one object after the other.

use std::collections::HashSet;

use bytes::Bytes;

use super::outcome::{Means, Step, StepEnd};
use super::survey::{Ground, Survey};
use crate::base::error::{Chain, Class, Classified};
use crate::codec::sign::Signer;
use crate::engine::error::EngineError;
use crate::engine::sync::sync_snapshot;
use crate::repository::access::Repository;
use crate::repository::commit::fetch_checked;
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{
    PackClass, SnapshotEntry, content_hash, parse_index_name, parse_snapshot_name,
};
use crate::repository::load;
use crate::repository::mend;
use crate::repository::rebuild::{self, Tools};
use crate::repository::salvage::{Salvaged, salvage};
use crate::storage::contract::ObjectName;

/// Executes every step in its order; each notes how it ended. One that fails stops no other.
///
/// # Errors
/// `Cancelled`; what was mended by then is mended.
pub(super) fn execute(ground: &Ground<'_>, survey: &mut Survey) -> Result<(), EngineError> {
    let mut steps = std::mem::take(&mut survey.steps);
    let cx = ground.cx;
    let total = u64::try_from(steps.len()).ok();
    cx.progress.phase(&format!("mend {}", ground.target.name), total, None);
    let mut rebuilt = None;
    for step in &mut steps {
        if cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let done = match &step.means {
            Means::Rebuild => {
                let first = rebuilt.get_or_insert_with(|| rebuild_runs(ground, survey).map_err(|e| said(&e)));
                match first.clone() {
                    Ok(()) => clear_run(ground, step),
                    Err(why) => Ok(StepEnd::Failed { why }),
                }
            }
            _ => one(ground, survey, step),
        };
        step.end = match done {
            Ok(end) => end,
            Err(error) if error.class() == Class::Cancelled => return Err(error),
            Err(error) => StepEnd::Failed { why: said(&error) },
        };
        cx.progress.advance(1, 0);
    }
    cx.progress.phase_finished("mend");
    survey.steps = steps;
    Ok(())
}

fn said(error: &EngineError) -> String {
    Chain(error).to_string()
}

fn one(ground: &Ground<'_>, survey: &Survey, step: &Step) -> Result<StepEnd, EngineError> {
    let name = &step.object;
    match &step.means {
        Means::Known => {
            let bytes = survey.known.get(name).ok_or(EngineError::Defect { what: "what is known" })?;
            mend::put_known(ground.target, name, bytes.clone())?;
        }
        Means::Parity => {
            let expected = content_hash(name).ok_or(EngineError::Defect { what: "the name of a pack" })?;
            let bytes = mend::from_parity(ground.target, name, &expected)?;
            let bytes = bytes.ok_or(EngineError::Defect { what: "the parity of a pack" })?;
            mend::put_hashed(ground.repository, ground.target, name, bytes)?;
        }
        Means::Copy { from } => {
            let bytes = fetch(ground, survey, name, from)?;
            mend::put_hashed(ground.repository, ground.target, name, bytes)?;
        }
        Means::Commit { from } => {
            let source = ground.sources.iter().find(|source| source.name == *from);
            let (Some(source), Some(SnapshotEntry::Proposal(snapshot))) = (source, parse_snapshot_name(name))
            else {
                return Err(EngineError::Defect { what: "the source of a snapshot" });
            };
            sync_snapshot(ground.repository, source, ground.target, &snapshot.id, ground.cx)?;
        }
        Means::SetAside => return aside(ground, survey, name),
        Means::Rebuild => return Err(EngineError::Defect { what: "the order of a repair" }),
        Means::Nothing { why } => return Ok(StepEnd::Failed { why: why.clone() }),
    }
    Ok(StepEnd::Mended)
}

fn fetch(ground: &Ground<'_>, survey: &Survey, name: &ObjectName, from: &str) -> Result<Bytes, EngineError> {
    let expected = content_hash(name).ok_or(EngineError::Defect { what: "the name of a copy" })?;
    let mut last = RepositoryError::Defect { what: "the source of a copy" };
    for (number, source) in ground.sources.iter().enumerate().filter(|(_, source)| source.name == from) {
        for there in survey.names_at(number, name) {
            match fetch_checked(std::slice::from_ref(source), &there, &expected) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => last = error,
            }
        }
    }
    Err(last.into())
}

/// The key that signs what is made anew here, with its certificate in place.
pub(super) fn signer(ground: &Ground<'_>) -> Result<Signer, EngineError> {
    let signer = ground.repository.signer(ground.host)?;
    ground.repository.certify(ground.target, ground.host, &signer)?;
    Ok(signer)
}

/// Objects that are still damaged: what was mended so far is not.
pub(super) fn still_bad(survey: &Survey, steps: &[Step]) -> HashSet<ObjectName> {
    let mended = |step: &&Step| matches!(step.end, StepEnd::Mended | StepEnd::Aside { .. });
    let mended: HashSet<&ObjectName> = steps.iter().filter(mended).map(|step| &step.object).collect();
    survey.examined.bad.iter().filter(|name| !mended.contains(name)).cloned().collect()
}

fn rebuild_runs(ground: &Ground<'_>, survey: &Survey) -> Result<(), EngineError> {
    let signer = signer(ground)?;
    let cx = ground.cx;
    let tools = Tools {
        signer: &signer,
        threads: cx.workers.max(ground.target.in_flight).min(8),
        progress: cx.progress.as_ref(),
        cancel: &cx.cancel,
    };
    // Packs that were mended a moment ago are read again by their hash here; others stay out.
    let mut skip = HashSet::new();
    for name in survey.examined.bad.iter().filter(|name| PackClass::of_name(name).is_some()) {
        let expected = content_hash(name).ok_or(EngineError::Defect { what: "the name of a pack" })?;
        if fetch_checked(std::slice::from_ref(ground.target), name, &expected).is_err() {
            skip.insert(name.clone());
        }
    }
    let rebuilt = rebuild::rebuild(ground.repository, ground.target, &skip, &tools)?;
    for (name, why) in &rebuilt.unlisted {
        cx.progress.warn(format!("{name} is in no index run and cannot be listed: {why}"));
    }
    Ok(())
}

/// After its packs are listed anew, a damaged run goes out of the way; a missing one was never in it.
fn clear_run(ground: &Ground<'_>, step: &Step) -> Result<StepEnd, EngineError> {
    if parse_index_name(&step.object).is_some() {
        mend::set_aside(ground.target, &step.object)?;
    }
    Ok(StepEnd::Mended)
}

fn aside(ground: &Ground<'_>, survey: &Survey, name: &ObjectName) -> Result<StepEnd, EngineError> {
    let mut saved = Salvaged::default();
    if PackClass::of_name(name).is_some() {
        saved = save(ground.repository, ground, survey, name)?;
    }
    Ok(match mend::set_aside(ground.target, name)? {
        Some(at) => StepEnd::Aside { at: at.to_string(), saved: saved.moved, lost: saved.lost },
        // It was mended by somebody else meanwhile, or removed.
        None => StepEnd::Mended,
    })
}

fn save(
    repository: &Repository,
    ground: &Ground<'_>,
    survey: &Survey,
    name: &ObjectName,
) -> Result<Salvaged, EngineError> {
    let signer = signer(ground)?;
    let index = load::load(repository, std::slice::from_ref(ground.target))?.index;
    Ok(salvage(repository, ground.target, name, &index, &survey.examined.bad, &signer)?)
}

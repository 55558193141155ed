//! Is what the places hold still everything that was there? A snapshot that was deleted behind our
//! back, or a whole place that was put back to yesterday, is whole in itself: no hash and no
//! signature is wrong. It shows in what is missing: snapshots link to those before them, other
//! places have them, and this machine remembers what it saw (`check`).
//!
//! Whatever is found is looked at twice, because a listing is only an opinion, and the records of
//! what was removed on purpose are read after the listing: a removal is on record before it begins.

use std::collections::HashSet;

use super::context::Context;
use super::error::EngineError;
use crate::base::id::ObjectHash;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::removals::RemovalsBody;
use crate::repository::seen::{Mark, Memory, Seen};
use crate::repository::snapshot::{record, removals};
use crate::repository::snapshots;

mod check;
#[cfg(test)]
mod tests;

pub use check::{Finding, Here, Known, Scene, Sight};

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What does not add up.
    pub findings: Vec<Finding>,
}

impl History {
    /// What was taken away.
    pub fn rollbacks(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_rollback())
    }

    /// That nothing was taken away.
    ///
    /// # Errors
    /// `RolledBack`.
    pub fn refuse(&self) -> Result<(), EngineError> {
        let mut found = self.rollbacks();
        match found.next() {
            None => Ok(()),
            Some(first) => Err(EngineError::RolledBack { first: first.to_string(), more: found.count() }),
        }
    }
}

/// Looks at all places that the repository is open at, and remembers what is there.
///
/// # Errors
/// Whatever a place says to the listings.
pub fn look(repository: &Repository, sight: Sight, cx: &Context) -> Result<History, EngineError> {
    let seen = recall(repository, cx);
    let here = list(repository)?;
    judge(repository, here, seen, sight)
}

/// As [`look`], over what was listed after `seen` was recalled.
///
/// # Errors
/// Whatever a place says.
pub(crate) fn judge(
    repository: &Repository,
    mut here: Vec<Here>,
    seen: Seen,
    sight: Sight,
) -> Result<History, EngineError> {
    let mut findings = scene(&here, &seen, sight).findings(&|_| false);
    if findings.iter().any(Finding::is_rollback) {
        here = list_at(repository, repository.targets().iter().filter(|t| is_among(t, &here)))?;
    }
    if !findings.is_empty() {
        let explained = explained(repository, &here, &findings)?;
        findings = scene(&here, &seen, sight).findings(&|id| explained.contains(id));
    }
    remember(repository, &scene(&here, &seen, sight).memory(&findings));
    Ok(History { findings })
}

fn is_among(target: &Target, here: &[Here]) -> bool {
    here.iter().any(|here| here.place == target.storage.label())
}

fn scene<'a>(here: &'a [Here], seen: &'a Seen, sight: Sight) -> Scene<'a> {
    Scene { here, seen, sight }
}

/// What this machine saw before. A memory that cannot be read is told once; the next look writes it
/// anew.
pub(crate) fn recall(repository: &Repository, cx: &Context) -> Seen {
    let Some(dir) = repository.memory() else { return Seen::default() };
    match Seen::load(dir, &repository.id()) {
        Memory::Known(seen) => seen,
        Memory::None => Seen::default(),
        Memory::Lost => {
            cx.progress.warn(
                "what was seen of this repository before cannot be read: a roll-back shows only in links and by comparison"
                    .to_owned(),
            );
            Seen::default()
        }
    }
}

/// A state folder that cannot be written is no obstacle to a backup or a restore.
fn remember(repository: &Repository, seen: &Seen) {
    if let Some(dir) = repository.memory() {
        drop(seen.save(dir, &repository.id()));
    }
}

/// Remembers a snapshot that has just been confirmed at these places.
pub(crate) fn note(repository: &Repository, places: &[&str], id: ObjectHash, mark: Mark) {
    let Some(dir) = repository.memory() else { return };
    let mut seen = match Seen::load(dir, &repository.id()) {
        Memory::Known(seen) => seen,
        Memory::None | Memory::Lost => Seen::default(),
    };
    for place in places {
        seen.places.entry((*place).to_owned()).or_default().insert(id, mark);
    }
    remember(repository, &seen);
}

fn list(repository: &Repository) -> Result<Vec<Here>, EngineError> {
    list_at(repository, repository.targets().iter())
}

fn list_at<'t>(
    repository: &Repository,
    targets: impl Iterator<Item = &'t Target>,
) -> Result<Vec<Here>, EngineError> {
    let one = |target: &Target| {
        let (found, unread) = snapshots::load_with_checkpoints(repository, target)?;
        let unread = unread.into_iter().map(|(name, _)| name.id);
        Ok::<_, RepositoryError>(Here::new(target.storage.label(), &found, unread))
    };
    Ok(targets.map(one).collect::<Result<_, _>>()?)
}

/// Everything that the administrator removed, or asked to, by what these places say.
fn explained(
    repository: &Repository,
    here: &[Here],
    findings: &[Finding],
) -> Result<HashSet<ObjectHash>, EngineError> {
    let gone = findings.iter().filter_map(Finding::gone);
    let ids = here.iter().flat_map(Here::ids).chain(gone).collect();
    let mut explained = HashSet::new();
    for target in repository.targets().iter().filter(|target| is_among(target, here)) {
        let known = removals(repository, target)?;
        explained.extend(known.forgotten);
        explained.extend(known.accepted);
        explained.extend(snapshots::forgotten(target, Some(repository.format()), &ids)?);
    }
    Ok(explained)
}

/// Puts on record at every place that what is gone now is known to be gone, and why.
///
/// # Errors
/// When this key grants no administrator's; whatever a place says.
pub fn accept(
    repository: &Repository,
    reason: &str,
    dry_run: bool,
    cx: &Context,
) -> Result<Vec<Finding>, EngineError> {
    let history = look(repository, Sight::All, cx)?;
    let gone: Vec<Finding> = history.rollbacks().cloned().collect();
    if dry_run || gone.is_empty() {
        return Ok(gone);
    }
    let body = RemovalsBody {
        accepted: gone.iter().filter_map(Finding::gone).collect(),
        at: cx.clock.now(),
        reason: reason.to_owned(),
        ..RemovalsBody::default()
    };
    for target in repository.targets() {
        record(repository, target, &body)?;
    }
    look(repository, Sight::All, cx)?.refuse()?;
    Ok(gone)
}

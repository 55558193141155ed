//! The parts in the folder of the local cache: which of them serve, and which go.
//!
//! Files are made under a name that says that they are not finished, and renamed; a name is never
//! used twice. Two processes may do this at once: they see each other's parts at the next load,
//! use the larger of two that cover one run, and remove what is covered. Whoever has a file open
//! keeps it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::build::{Builder, Wanted, Workshop};
use super::lookup::RunSource;
use super::page::is_hurt;
use super::part::{Head, Part};
use super::spool::Spool;
use crate::base::durable;
use crate::base::error::{Class, Classified};
use crate::base::id::ObjectHash;
use crate::repository::error::RepositoryError;

/// Parts opened of one folder; there are about ten.
const PARTS_READ_MAX: usize = 256;
/// How often a folder is listed again when a file went while it was read.
const LISTINGS_MAX: usize = 4;

/// A part with the runs of it that are wanted; all of them when there is no list.
pub(super) type Chosen = (Arc<Part>, Option<Wanted>);

/// Runs that could not be read anywhere, with the reason.
pub(super) type Damaged = Vec<(ObjectHash, RepositoryError)>;

/// Why parts could not be put together.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A file of the index.
    File(io::Error),
    /// A run.
    Run(RepositoryError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Parts that cover these runs (sorted) once each, the largest first; what no part in the folder
/// covers is built from the runs.
///
/// # Errors
/// A run that cannot be read now; a file that is hurt, or for which there is no room.
pub(super) fn assemble(
    workshop: &Workshop,
    source: &dyn RunSource,
    runs: &[ObjectHash],
) -> Result<(Vec<Chosen>, Damaged), Trouble> {
    let mut is_covered = vec![false; runs.len()];
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut useless = Vec::new();
    for part in read(workshop) {
        let places: Vec<Option<usize>> =
            part.runs().iter().map(|run| runs.binary_search(&run.id).ok()).collect();
        let mut wanted = places.iter().flatten().peekable();
        if wanted.peek().is_none() {
            useless.push(part);
        } else if wanted.clone().all(|place| is_covered[*place]) {
            remove(workshop, &part);
        } else if !wanted.clone().any(|place| is_covered[*place]) {
            wanted.for_each(|place| is_covered[*place] = true);
            chosen.push((part, wanted_of(&places)));
        }
    }
    let missing = runs.iter().zip(&is_covered).filter(|(_, covered)| !**covered).map(|(id, _)| id);
    let (fresh, damaged) = build(workshop, source, missing)?;
    let is_kept = fresh.as_ref().is_some_and(|part| part.name.is_some());
    chosen.extend(fresh.map(|part| (part, None)));
    chosen.sort_by_key(|(part, _)| std::cmp::Reverse(part.rows()));
    // Only where a file was just kept: a folder that takes nothing is left alone.
    if is_kept {
        useless.iter().for_each(|part| remove(workshop, part));
        if chosen.len() > workshop.tuning.parts_max {
            let rows: Vec<u64> = chosen.iter().map(|(part, _)| part.rows()).collect();
            let merged = merge(workshop, &chosen.split_off(merge_from(&rows)))?;
            let places: Vec<Option<usize>> =
                merged.runs().iter().map(|run| runs.binary_search(&run.id).ok()).collect();
            chosen.push((Arc::new(merged), wanted_of(&places)));
        }
    }
    Ok((chosen, damaged))
}

fn wanted_of(places: &[Option<usize>]) -> Option<Wanted> {
    places.iter().any(Option::is_none).then(|| places.iter().map(Option::is_some).collect())
}

fn build<'r>(
    workshop: &Workshop,
    source: &dyn RunSource,
    runs: impl Iterator<Item = &'r ObjectHash>,
) -> Result<(Option<Arc<Part>>, Damaged), Trouble> {
    let mut builder = Builder::new(workshop)?;
    let mut damaged = Vec::new();
    for id in runs {
        match source.run(id) {
            Ok(run) => builder.add(id, &run)?,
            Err(error) if error.class() == Class::Damage => damaged.push((*id, error)),
            Err(error) => return Err(Trouble::Run(error)),
        }
    }
    if builder.runs() == 0 {
        return Ok((None, damaged));
    }
    let is_small = builder.runs() <= workshop.tuning.memory_runs;
    let (spool, head) = builder.finish()?;
    let part = if is_small && spool.is_in_memory() {
        Part::open(spool, &workshop.key, None)?
    } else {
        keep(workshop, spool, &head)?
    };
    Ok((Some(Arc::new(part)), damaged))
}

/// Which of these sizes (largest first) to merge: the last ones, and those before them that are
/// less than four times as large as all of them together. So a blob is written again only when its
/// part has grown fivefold.
pub(super) fn merge_from(rows: &[u64]) -> usize {
    let mut from = rows.len().saturating_sub(2);
    let mut sum: u64 = rows[from..].iter().sum();
    while from > 0 && rows[from - 1] < sum.saturating_mul(4) {
        from -= 1;
        sum = sum.saturating_add(rows[from]);
    }
    from
}

/// One part instead of several, whose files go when it has a name.
fn merge(workshop: &Workshop, parts: &[Chosen]) -> io::Result<Part> {
    let mut builder = Builder::new(workshop)?;
    for (part, wanted) in parts {
        builder.carry(part, wanted.clone())?;
    }
    let (spool, head) = builder.finish()?;
    let merged = keep(workshop, spool, &head)?;
    if merged.name.is_some() {
        parts.iter().for_each(|(part, _)| remove(workshop, part));
    }
    Ok(merged)
}

/// Gives a finished part its name in the folder; without a folder that takes it, it serves this
/// process alone.
///
/// # Errors
/// When what was written cannot be read back.
pub(super) fn keep(workshop: &Workshop, mut spool: Spool, head: &Head) -> io::Result<Part> {
    let name = hex::encode(head.nonce);
    spool.leave_memory();
    let kept = spool.keep_as(&name);
    Part::open(spool, &workshop.key, kept.then_some(name))
}

/// Removes a part's file. One that cannot be removed is covered twice, which is only slow.
pub(super) fn remove(workshop: &Workshop, part: &Part) {
    if let Some(path) = path_of(workshop, part) {
        drop(std::fs::remove_file(path));
    }
}

/// Removes every part in the folder that is not what was written.
pub(super) fn remove_hurt(workshop: &Workshop) {
    for part in read(workshop) {
        if part.check().is_err() {
            remove(workshop, &part);
        }
    }
}

fn path_of(workshop: &Workshop, part: &Part) -> Option<PathBuf> {
    Some(workshop.ground.folder()?.join(part.name.as_ref()?))
}

/// The parts in the folder that open, the largest first.
fn read(workshop: &Workshop) -> Vec<Arc<Part>> {
    let mut parts = Vec::new();
    for _ in 0..LISTINGS_MAX {
        match read_once(workshop) {
            Ok(read) => {
                parts = read;
                break;
            }
            // Another process merged it away: what replaces it is in the next listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => break,
        }
    }
    parts.sort_by_key(|part: &Arc<Part>| (std::cmp::Reverse(part.rows()), part.name.clone()));
    parts
}

fn read_once(workshop: &Workshop) -> io::Result<Vec<Arc<Part>>> {
    let mut parts = Vec::new();
    let Some(folder) = workshop.ground.folder().filter(|folder| folder.is_dir()) else { return Ok(parts) };
    for entry in std::fs::read_dir(folder)?.take(PARTS_READ_MAX) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if name.starts_with(durable::TEMP_PREFIX) {
            // Whoever still writes it has the lock.
            if let Ok(Some(_alone)) = durable::try_lock(&path) {
                drop(std::fs::remove_file(&path));
            }
            continue;
        }
        match Spool::open(&path).and_then(|spool| Part::open(spool, &workshop.key, Some(name))) {
            Ok(part) => parts.push(Arc::new(part)),
            Err(error) if is_hurt(&error) => drop(std::fs::remove_file(&path)),
            Err(error) => return Err(error),
        }
    }
    Ok(parts)
}

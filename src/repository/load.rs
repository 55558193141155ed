//! Loading the index: every run that any target lists, from the local cache where it is there.
//!
//! The cache holds the sealed runs as they are stored, under their names, which are their hashes:
//! it can be deleted, truncated or lied in at any time and is only ever slow.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::access::{Repository, Target};
use super::commit::fetch_checked;
use super::error::RepositoryError;
use super::format::index_run::{IndexRun, RunPack};
use super::format::names::{index_name, parse_index_name};
use super::index::Index;
use crate::base::durable;
use crate::base::id::ObjectHash;
use crate::codec::hash;

/// The index, and what it was made of.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Where every blob is said to lie.
    pub index: Index,
    /// The packs of each run.
    pub runs: HashMap<ObjectHash, Vec<RunPack>>,
    /// The runs that each target lists, in the order of the targets.
    pub listed: Vec<HashSet<ObjectHash>>,
    /// Runs that could not be read anywhere, with the reason.
    pub damaged: Vec<(ObjectHash, RepositoryError)>,
}

/// The index runs that a target lists.
///
/// # Errors
/// Whatever the target says.
pub fn list_runs(target: &Target) -> Result<HashSet<ObjectHash>, RepositoryError> {
    let mut runs = HashSet::new();
    target.storage.list("i/", &mut |stat| {
        runs.extend(parse_index_name(&stat.name).map(|(_, id)| id));
        ControlFlow::Continue(())
    })?;
    Ok(runs)
}

/// Loads the union of the runs of these targets (at most 64). A run that is damaged everywhere is
/// passed over and named: its blobs count as absent to a writer, and `verify` says so.
///
/// # Errors
/// Whatever a target says to the listing; a run that is there but cannot be fetched now.
pub fn load(repository: &Repository, targets: &[Target]) -> Result<Loaded, RepositoryError> {
    let listed = targets.iter().map(list_runs).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<ObjectHash> = listed.iter().flatten().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut loaded = Loaded { listed, ..Loaded::default() };
    let cache = repository.cache().map(|dir| dir.join(repository.id().to_hex()).join("i"));
    for id in ids {
        let on = loaded.listed.iter().zip(0u32..64).filter(|(runs, _)| runs.contains(&id));
        let on = on.fold(0u64, |bits, (_, bit)| bits | 1 << bit);
        match fetch_run(repository, targets, cache.as_deref(), &id) {
            Ok(run) => {
                loaded.index.add(&id, &run, on);
                loaded.runs.insert(id, run.packs);
            }
            Err(error) if is_damage(&error) => loaded.damaged.push((id, error)),
            Err(error) => return Err(error),
        }
    }
    loaded.index.sort();
    Ok(loaded)
}

fn is_damage(error: &RepositoryError) -> bool {
    use crate::base::error::{Class, Classified};
    error.class() == Class::Damage
}

fn fetch_run(
    repository: &Repository,
    targets: &[Target],
    cache: Option<&Path>,
    id: &ObjectHash,
) -> Result<IndexRun, RepositoryError> {
    let path = cache.map(|dir| dir.join(id.to_hex()));
    let bytes = match path.as_deref().and_then(|path| cached(path, id)) {
        Some(bytes) => bytes,
        None => {
            let bytes = fetch_checked(targets, &index_name(0, id), id)?;
            remember(path, &bytes);
            bytes
        }
    };
    Ok(IndexRun::open(&bytes, &repository.id(), repository.keys())?)
}

fn cached(path: &Path, id: &ObjectHash) -> Option<Bytes> {
    let bytes = std::fs::read(path).ok()?;
    (hash::object(&bytes) == *id).then(|| Bytes::from(bytes))
}

/// A cache that cannot be written is no fault: the next load fetches again.
fn remember(path: Option<PathBuf>, bytes: &[u8]) {
    if let Some(path) = path
        && let Some(parent) = path.parent()
        && durable::create_dir_all(parent).is_ok()
    {
        drop(durable::replace(&path, bytes));
    }
}

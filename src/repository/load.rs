//! Loading the index: every run that any target lists, from the local cache where it is there.
//!
//! The cache holds the sealed runs as they are stored, under their names, which are their hashes:
//! it can be deleted, truncated or lied in at any time and is only ever slow.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::access::{Repository, Target};
use super::commit::fetch_checked;
use super::error::RepositoryError;
use super::format::index_run::IndexRun;
use super::format::keys::EpochKeys;
use super::format::names::{index_name, parse_index_name};
use super::index::{Ground, Index, RunSource};
use crate::base::durable;
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::hash;

/// How often is listed again when runs are joined meanwhile.
const LOOKS_MAX: usize = 5;

/// The index, and what it was made of.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Where every blob is said to lie.
    pub index: Index,
    /// The runs that each target lists, sorted, in the order of the targets.
    pub listed: Vec<Vec<ObjectHash>>,
    /// Runs that could not be read anywhere, with the reason. One that the local index covers is
    /// not read.
    pub damaged: Vec<(ObjectHash, RepositoryError)>,
}

/// The index runs that a target lists, sorted.
///
/// # Errors
/// Whatever the target says.
pub fn list_runs(target: &Target) -> Result<Vec<ObjectHash>, RepositoryError> {
    let mut runs = Vec::new();
    target.storage.list("i/", &mut |stat| {
        runs.extend(parse_index_name(&stat.name).map(|(_, id)| id));
        ControlFlow::Continue(())
    })?;
    runs.sort_unstable();
    runs.dedup();
    Ok(runs)
}

/// Loads the union of the runs of these targets. A run that is damaged everywhere is passed over
/// and named: its blobs count as absent to a writer, and `verify` says so.
///
/// # Errors
/// Whatever a target says to the listing; a run that is there but cannot be fetched now;
/// `LocalIndex` when the index finds no room anywhere.
pub fn load(repository: &Repository, targets: &[Target]) -> Result<Loaded, RepositoryError> {
    let mut looks = 0;
    loop {
        looks += 1;
        let loaded = load_once(repository, targets)?;
        if loaded.damaged.is_empty() || looks == LOOKS_MAX {
            return Ok(loaded);
        }
        // A run that went since it was listed was joined into another one, which is there.
        let mut there = HashSet::new();
        for target in targets {
            there.extend(list_runs(target)?);
        }
        if loaded.damaged.iter().all(|(id, _)| there.contains(id)) {
            return Ok(loaded);
        }
    }
}

fn load_once(repository: &Repository, targets: &[Target]) -> Result<Loaded, RepositoryError> {
    let listed = targets.iter().map(list_runs).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<ObjectHash> = listed.iter().flatten().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let cache = repository.cache().map(|dir| dir.join(repository.id().to_hex()));
    let source = Source {
        repo: repository.id(),
        keys: repository.keys().clone(),
        targets: targets.to_vec(),
        cache: cache.as_ref().map(|dir| dir.join("i")),
    };
    let ground = Ground::new(cache.map(|dir| dir.join("t")));
    let (index, damaged) = Index::open(ground, repository.keys(), &repository.id(), Arc::new(source), &ids)?;
    Ok(Loaded { index, listed, damaged })
}

/// Runs from the local cache, else from the first target that has them.
struct Source {
    repo: RepoId,
    keys: EpochKeys,
    targets: Vec<Target>,
    cache: Option<PathBuf>,
}

impl RunSource for Source {
    fn run(&self, id: &ObjectHash) -> Result<IndexRun, RepositoryError> {
        let path = self.cache.as_ref().map(|dir| dir.join(id.to_hex()));
        let bytes = match path.as_deref().and_then(|path| cached(path, id)) {
            Some(bytes) => bytes,
            None => {
                let bytes = fetch_checked(&self.targets, &index_name(0, id), id)?;
                remember(path, &bytes);
                bytes
            }
        };
        Ok(IndexRun::open(&bytes, &self.repo, &self.keys)?)
    }
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

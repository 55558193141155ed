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
use super::format::error::FormatError;
use super::format::index_run::IndexRun;
use super::format::keys::EpochKeys;
use super::format::names::{index_name, parse_index_name};
use super::format::object::Closed;
use super::index::{Ground, Index, RunSource};
use super::writers::Writers;
use crate::base::durable;
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::{hash, sign};

/// How often is listed again when runs are joined meanwhile.
const LOOKS_MAX: usize = 5;

/// The index, and what it was made of.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Where every blob is said to lie.
    pub index: Index,
    /// The runs that each target lists, sorted, in the order of the targets.
    pub listed: Vec<Vec<ObjectHash>>,
    /// The newest epoch that a target announces.
    pub epoch: u32,
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
    // After the runs: whoever only adds has a certificate before it has a key.
    let writers = repository.writers_of(targets)?;
    let (strangers, epoch) = (writers.write_only(), writers.epoch());
    let cache = repository.cache().map(|dir| dir.join(repository.id().to_hex()));
    let source = Source {
        repo: repository.id(),
        keys: repository.keys().clone(),
        targets: targets.to_vec(),
        cache: cache.as_ref().map(|dir| dir.join("i")),
        admin: repository.format().admin_public,
        writers: (!strangers.is_empty()).then_some(writers),
    };
    let ground = Ground::new(cache.map(|dir| dir.join("t")));
    let (mut index, damaged) =
        Index::open(ground, repository.keys(), &repository.id(), Arc::new(source), &ids)?;
    index.set_strangers(&strangers)?;
    Ok(Loaded { index, listed, epoch, damaged })
}

/// Runs from the local cache, else from the first target that has them.
struct Source {
    repo: RepoId,
    keys: EpochKeys,
    targets: Vec<Target>,
    cache: Option<PathBuf>,
    admin: [u8; 32],
    /// Where there are writers that only add: then it matters who says what.
    writers: Option<Writers>,
}

impl Source {
    /// A run as far as its writer may be believed.
    ///
    /// # Errors
    /// Of class `Damage` when nobody vouches for it.
    fn believed(&self, bytes: &[u8], run: IndexRun) -> Result<IndexRun, RepositoryError> {
        let Some(writers) = &self.writers else { return Ok(run) };
        let closed = Closed::decode(bytes, &self.repo)?;
        let signer = closed.header.signer;
        let public =
            if signer == sign::writer_id(&self.admin) { Some(&self.admin) } else { writers.public(&signer) };
        closed.verify(public.ok_or(FormatError::NotSigned { what: "an index run" })?)?;
        let is_strange = writers.only_host(&signer).is_some();
        Ok(if is_strange { run.of_stranger(&signer)? } else { run })
    }
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
        self.believed(&bytes, IndexRun::open(&bytes, &self.repo, &self.keys)?)
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

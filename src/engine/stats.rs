//! What a place holds: objects and bytes by kind, snapshots, and with the key the blobs.

use std::ops::ControlFlow;

use serde::Serialize;

use super::error::EngineError;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::REPO_FMT;
use crate::repository::load;
use crate::repository::snapshots;

/// Objects of one kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Objects {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a place holds.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Where.
    pub target: String,
    /// Data packs.
    pub data_packs: Objects,
    /// Packs of manifest nodes.
    pub metadata_packs: Objects,
    /// Index runs.
    pub index_runs: Objects,
    /// Key slots and certificates.
    pub keys: Objects,
    /// All of it.
    pub total: Objects,
    /// Valid snapshots.
    pub snapshots: u64,
    /// Proposals that were never confirmed; no backups.
    pub pending: u64,
    /// Blobs in the index; known only with the key.
    pub blobs: Option<u64>,
    /// Bytes of the newest snapshot's files; known only with the key.
    pub newest_source_bytes: Option<u64>,
    /// Parity of packs in per cent; known only with the key.
    pub parity_percent: Option<u8>,
}

/// Counts what a target holds.
///
/// # Errors
/// `NoRepository`; whatever the target says.
pub fn stats(target: &Target, keyed: Option<&Repository>) -> Result<Stats, EngineError> {
    if target.storage.head(&REPO_FMT)?.is_none() {
        return Err(RepositoryError::NoRepository { place: target.storage.label().to_owned() }.into());
    }
    let mut total = Objects::default();
    let mut of = |prefix: &str| -> Result<Objects, EngineError> {
        let mut sum = Objects::default();
        target.storage.list(prefix, &mut |stat| {
            sum.objects += 1;
            sum.bytes += stat.bytes;
            ControlFlow::Continue(())
        })?;
        total.objects += sum.objects;
        total.bytes += sum.bytes;
        Ok(sum)
    };
    let (data_packs, metadata_packs) = (of("p/")?, of("m/")?);
    let (index_runs, keys) = (of("i/")?, of("keys/")?);
    for prefix in ["s/", "g/", "f/", "repo.fmt"] {
        of(prefix)?;
    }
    let list = snapshots::list(target, keyed.map(Repository::format))?;
    let (mut blobs, mut newest_source_bytes) = (None, None);
    if let Some(repository) = keyed {
        let loaded = load::load(repository, std::slice::from_ref(target))?;
        blobs = Some(loaded.index.blobs());
        let (snapshots, _) = snapshots::load_all(repository, target)?;
        newest_source_bytes = snapshots.last().map(|s| s.body.roots.iter().map(|root| root.bytes).sum());
    }
    let counted = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    Ok(Stats {
        target: target.name.clone(),
        data_packs,
        metadata_packs,
        index_runs,
        keys,
        total,
        snapshots: counted(list.valid.len()),
        pending: counted(list.pending.len()),
        blobs,
        newest_source_bytes,
        parity_percent: keyed.map(|repository| repository.format().parity),
    })
}

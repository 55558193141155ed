//! Index runs made anew from packs alone: one read of each pack's end says which blobs it holds.
//!
//! Runs that can be read stay as they are; only packs that none of them lists are read. What a
//! footer says is sealed and signed, so nothing else of a pack is needed. A pack whose signature no
//! certificate vouches for is left out and named: entries of an index are hints that backups rely on.
//! Packs are taken in batches, and a run is written when it is large enough: memory does not grow
//! with the repository.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Serialize;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::index_run::{RunEntry, RunPack};
use super::format::names::{PackClass, content_hash, index_name, pack_name};
use super::format::pack::{PackDirectory, PackIdentity, TAIL_BYTES_FIRST, foot_offset};
use super::load;
use super::pack_pool::{OwnPack, groups, run_of};
use super::writers::Writers;
use crate::base::cancel::Cancel;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::ObjectHash;
use crate::base::progress::Progress;
use crate::codec::sign::Signer;
use crate::storage::contract::{ObjectName, Read, Span, Stat};

/// Packs whose ends are read before their entries are gathered.
const BATCH_PACKS: usize = 64;
/// A run is written when it holds this many blobs: 6 MiB of entries.
const RUN_BLOBS: usize = 131_072;
/// An end that does not open is read again this often before it is called damage.
const READS_MAX: usize = 3;

/// What a rebuild did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rebuilt {
    /// Packs that stood in no index run that can be read.
    pub packs: u64,
    /// Blobs in them.
    pub blobs: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// The runs that were written.
    pub runs: Vec<ObjectHash>,
    /// Packs that no run lists and that cannot be listed: each with its reason.
    pub unlisted: Vec<(String, String)>,
}

/// With what a rebuild is done.
pub(crate) struct Tools<'a> {
    /// Signs the runs; must have a certificate on the target.
    pub(crate) signer: &'a Signer,
    /// Threads that read.
    pub(crate) threads: usize,
    /// Who listens.
    pub(crate) progress: &'a dyn Progress,
    /// Raised when the work should stop.
    pub(crate) cancel: &'a Cancel,
}

/// Lists every pack of a target that no readable run lists, but those in `skip`, in new runs.
///
/// # Errors
/// Whatever the target says; a single pack that cannot be listed is in the outcome.
pub(crate) fn rebuild(
    repository: &Repository,
    target: &Target,
    skip: &HashSet<ObjectName>,
    tools: &Tools<'_>,
) -> Result<Rebuilt, RepositoryError> {
    let wanted = unlisted(repository, target, skip)?;
    let writers = repository.writers(target)?;
    let mut out = Rebuilt::default();
    let mut gathered: Vec<OwnPack> = Vec::new();
    let mut blobs = 0;
    let total = u64::try_from(wanted.len()).ok();
    tools.progress.phase(&format!("read the ends of packs at {}", target.name), total, None);
    for batch in wanted.chunks(BATCH_PACKS) {
        for (stat, read) in read_batch(repository, target, &writers, batch, tools)? {
            match read {
                Ok((pack, bytes)) => {
                    out.bytes_read += bytes;
                    blobs += pack.entries.len();
                    gathered.push(pack);
                }
                Err(error) => out.unlisted.push((stat.name.to_string(), Chain(&error).to_string())),
            }
        }
        if blobs >= RUN_BLOBS {
            write(repository, target, &std::mem::take(&mut gathered), tools, &mut out)?;
            blobs = 0;
        }
    }
    write(repository, target, &gathered, tools, &mut out)?;
    tools.progress.phase_finished("read the ends of packs");
    Ok(out)
}

/// Packs that no readable run of the target lists.
fn unlisted(
    repository: &Repository,
    target: &Target,
    skip: &HashSet<ObjectName>,
) -> Result<Vec<Stat>, RepositoryError> {
    let index = load::load(repository, std::slice::from_ref(target))?.index;
    let mut found = Vec::new();
    for (class, prefix) in [(PackClass::Meta, "m/"), (PackClass::Data, "p/")] {
        let mut stats = Vec::new();
        target.storage.list(prefix, &mut |stat| {
            let is_pack = content_hash(&stat.name).is_some_and(|hash| pack_name(class, &hash) == stat.name);
            if is_pack && !skip.contains(&stat.name) {
                stats.push(stat);
            }
            ControlFlow::Continue(())
        })?;
        for stat in stats {
            if let Some(hash) = content_hash(&stat.name)
                && index.number_of(&hash)?.is_none()
            {
                found.push(stat);
            }
        }
    }
    Ok(found)
}

type ReadPack = Result<(OwnPack, u64), RepositoryError>;

/// Reads the ends of some packs at once. Damage is an answer, anything else ends the work.
fn read_batch<'b>(
    repository: &Repository,
    target: &Target,
    writers: &Writers,
    batch: &'b [Stat],
    tools: &Tools<'_>,
) -> Result<Vec<(&'b Stat, ReadPack)>, RepositoryError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(batch.len()));
    std::thread::scope(|scope| {
        for _ in 0..tools.threads.clamp(1, 16).min(batch.len()) {
            scope.spawn(|| {
                while let Some(stat) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if tools.cancel.is_cancelled() {
                        return;
                    }
                    let read = read_pack(repository, target, writers, stat);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((stat, read));
                    tools.progress.advance(1, 0);
                }
            });
        }
    });
    if tools.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled);
    }
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let is_damage =
        |error: &RepositoryError| matches!(error.class(), Class::Damage | Class::NotFound | Class::Usage);
    match done.iter().position(|(_, read)| read.as_ref().is_err_and(|error| !is_damage(error))) {
        Some(at) => match done.swap_remove(at).1 {
            Err(error) => Err(error),
            Ok(_) => Err(RepositoryError::Defect { what: "the list of packs" }),
        },
        None => Ok(done),
    }
}

fn read_pack(repository: &Repository, target: &Target, writers: &Writers, stat: &Stat) -> ReadPack {
    let mut last = None;
    for _ in 0..READS_MAX {
        match list_pack(repository, target, writers, stat) {
            Ok(pack) => return Ok(pack),
            Err(error) if error.class() == Class::Damage => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(RepositoryError::Defect { what: "the end of a pack" }))
}

fn list_pack(repository: &Repository, target: &Target, writers: &Writers, stat: &Stat) -> ReadPack {
    let hash = content_hash(&stat.name).ok_or(RepositoryError::Defect { what: "the name of a pack" })?;
    let get = |len: u64| target.storage.get(&stat.name, Span::Last { len: len.min(stat.bytes) }, Read::Quick);
    let mut tail: Bytes = get(TAIL_BYTES_FIRST)?;
    let mut read = tail.len();
    let needed = stat.bytes.saturating_sub(foot_offset(&tail, stat.bytes)?);
    if needed > TAIL_BYTES_FIRST {
        tail = get(needed)?;
        read += tail.len();
    }
    let identity = PackIdentity::of_tail(&tail, stat.bytes, &repository.id())?;
    if PackClass::of_name(&stat.name) != Some(identity.class) {
        return Err(RepositoryError::Damage {
            place: target.storage.label().to_owned(),
            object: stat.name.to_string(),
            what: "is of another class than its name says".to_owned(),
        });
    }
    let directory = PackDirectory::open(&tail, stat.bytes, &identity, repository.keys())?;
    let public = writers.public(&identity.writer).ok_or_else(|| RepositoryError::Damage {
        place: target.storage.label().to_owned(),
        object: stat.name.to_string(),
        what: format!("is signed by writer {}, for whom no certificate vouches there", identity.writer),
    })?;
    directory.verify(&identity, public)?;
    let pack = RunPack {
        hash,
        class: identity.class,
        signer: identity.writer,
        bytes: stat.bytes,
        foot_offset: directory.foot_offset(),
    };
    let entry = |ordinal: u32| {
        let row = directory.row(ordinal)?;
        Some(RunEntry { id: row.id, pack: 0, ordinal, stored_bytes: row.stored_bytes })
    };
    let entries = (0..directory.len()).filter_map(entry).collect();
    Ok((OwnPack { number: 0, pack, entries }, u64::try_from(read).unwrap_or(u64::MAX)))
}

fn write(
    repository: &Repository,
    target: &Target,
    packs: &[OwnPack],
    tools: &Tools<'_>,
    out: &mut Rebuilt,
) -> Result<(), RepositoryError> {
    for group in groups(packs) {
        out.packs += u64::try_from(group.len()).unwrap_or(u64::MAX);
        out.blobs += group.iter().map(|pack| u64::try_from(pack.entries.len()).unwrap_or(0)).sum::<u64>();
        out.runs.push(put_run(repository, target, group, tools.signer)?);
    }
    Ok(())
}

/// Puts the run over these packs, which are made durable before.
///
/// # Errors
/// Whatever the target says.
pub(crate) fn put_run(
    repository: &Repository,
    target: &Target,
    packs: &[OwnPack],
    signer: &Signer,
) -> Result<ObjectHash, RepositoryError> {
    // A run may be seen only after its packs are durable, whoever put them.
    target.storage.sync()?;
    let (bytes, id) = run_of(packs).seal(&repository.id(), signer, repository.keys())?;
    target.storage.put_new(&index_name(0, &id), Bytes::from(bytes))?;
    target.storage.sync()?;
    Ok(id)
}

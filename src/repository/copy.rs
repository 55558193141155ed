//! Step 1 of a commit, for a target that lacks something: objects from the other targets, packs
//! first, then the index runs that list them. A copy is made of bytes with the right hash only.

use std::collections::HashSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::access::Target;
use super::commit::{Proposal, Surroundings};
use super::error::RepositoryError;
use super::format::names::{PackClass, index_name, pack_name, parse_index_name};
use super::index::Index;
use super::load;
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::storage::contract::{ObjectName, Read, Span, StorageError};

/// An object whose bytes don't fit its name is read again this often before it is called damaged.
const READS_MAX: usize = 3;

/// Packs that nobody can give: absent or damaged wherever they were looked for.
#[derive(Default)]
pub(super) struct Gone {
    packs: HashSet<ObjectHash>,
    first: Option<String>,
}

impl Gone {
    /// Takes the outcome of copying something that these packs stand or fall with. Damage is noted;
    /// what is a matter of the network or the target comes back as the error it is.
    pub(super) fn note<T: Default>(
        &mut self,
        packs: impl IntoIterator<Item = ObjectHash>,
        outcome: Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        match outcome {
            Err(RepositoryError::Damage { place, object, what }) => {
                self.packs.extend(packs);
                self.first.get_or_insert_with(|| format!("{object} {what} (looked for at {place})"));
                Ok(T::default())
            }
            other => other,
        }
    }

    /// An error when anything is gone.
    pub(super) fn finish(self, target: &Target) -> Result<(), RepositoryError> {
        let Some(what) = self.first else { return Ok(()) };
        let mut packs: Vec<ObjectHash> = self.packs.into_iter().collect();
        packs.sort_unstable();
        Err(RepositoryError::Gone { place: target.storage.label().to_owned(), what, packs })
    }
}

/// What goes along with the packs that a snapshot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    /// The other packs of the same runs that somebody has: older snapshots need them, mostly.
    WholeRuns,
    /// Nothing: what was pruned there must not come back.
    Nothing,
}

/// Step 1: copies what the target lacks from the other targets. Returns how many bytes were copied.
///
/// # Errors
/// `Gone` with every pack that nobody can give; whatever the target or a source says.
pub(crate) fn complete(
    around: &Surroundings<'_>,
    target: &Target,
    proposal: &Proposal,
    along: Along,
) -> Result<u64, RepositoryError> {
    let storage = target.storage.as_ref();
    let mut listed = HashSet::new();
    storage.list("i/", &mut |stat| {
        listed.extend(parse_index_name(&stat.name).map(|(_, id)| id));
        ControlFlow::Continue(())
    })?;
    let needed: HashSet<ObjectHash> = proposal.packs.iter().map(|pack| pack.hash).collect();
    let mut copied = 0;
    let mut gone = Gone::default();
    let mut now = None;
    for id in proposal.runs.iter().filter(|id| !listed.contains(*id)) {
        let Some(run) = around.runs.packs_of(id)? else {
            return Err(RepositoryError::Defect { what: "the list of index runs" });
        };
        let index = match &now {
            Some(index) => index,
            None => now.insert(load::load(around.repository, std::slice::from_ref(target))?.index),
        };
        if says_all(index, &run, &needed)? {
            continue;
        }
        // A run may not stand here without all its packs: one that is gone takes the run along,
        // and with it every pack that only the run would lead to. A pack that the snapshot does
        // not need and nobody has was pruned: then a run is made of the others.
        let all = || run.iter().map(|(_, hash)| *hash).filter(|hash| needed.contains(hash));
        let before = gone.packs.len();
        let mut absent = HashSet::new();
        for (class, hash) in &run {
            let name = pack_name(*class, hash);
            if needed.contains(hash) {
                copied += gone.note(all(), copy_missing(around, target, &name, hash))?;
                continue;
            }
            let outcome = match along {
                Along::WholeRuns => copy_missing(around, target, &name, hash).map(Some),
                Along::Nothing => storage.head(&name).map(|found| found.map(|_| 0)).map_err(Into::into),
            };
            match outcome {
                Ok(Some(bytes)) => copied += bytes,
                Ok(None) | Err(RepositoryError::Damage { .. }) => drop(absent.insert(*hash)),
                Err(error) => return Err(error),
            }
        }
        if gone.packs.len() > before {
            continue;
        }
        storage.sync()?;
        copied += if absent.is_empty() {
            gone.note(all(), copy_missing(around, target, &index_name(0, id), id))?
        } else {
            put_part_of_run(around, target, id, &absent)?
        };
    }
    storage.sync()?;
    gone.finish(target)?;
    Ok(copied)
}

/// Whether the runs that stand here list every pack that is needed of a run: then it was joined into
/// another one, and is not missed.
fn says_all(
    index: &Index,
    run: &[(PackClass, ObjectHash)],
    needed: &HashSet<ObjectHash>,
) -> Result<bool, RepositoryError> {
    for (_, hash) in run.iter().filter(|(_, hash)| needed.contains(hash)) {
        if index.number_of(hash)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts an index run over the packs of another one, without these. Returns its bytes.
fn put_part_of_run(
    around: &Surroundings<'_>,
    target: &Target,
    id: &ObjectHash,
    absent: &HashSet<ObjectHash>,
) -> Result<u64, RepositoryError> {
    let unknown = RepositoryError::Defect { what: "the list of index runs" };
    let part = around.runs.run(id)?.ok_or(unknown)?.without(absent);
    if part.packs.is_empty() {
        return Ok(0);
    }
    let signer = around.repository.index_signer()?;
    let (bytes, id) = part.seal(&around.repository.id(), &signer, around.repository.keys())?;
    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    target.storage.put_new(&index_name(0, &id), Bytes::from(bytes))?;
    Ok(count)
}

/// Copies one object unless it is there. Returns the bytes copied.
///
/// # Errors
/// `Damage` when no source has it with the right bytes; whatever the target or a source says.
pub(super) fn copy_missing(
    around: &Surroundings<'_>,
    target: &Target,
    name: &ObjectName,
    expected: &ObjectHash,
) -> Result<u64, RepositoryError> {
    if around.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled);
    }
    if target.storage.head(name)?.is_some() {
        return Ok(0);
    }
    if around.sources.is_empty() {
        return Err(RepositoryError::Damage {
            place: target.storage.label().to_owned(),
            object: name.to_string(),
            what: "is missing".to_owned(),
        });
    }
    let bytes = fetch_checked(around.sources, name, expected)?;
    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    target.storage.put_new(name, bytes)?;
    around.progress.advance(1, count);
    Ok(count)
}

/// An object from the first source whose bytes have the right hash.
///
/// # Errors
/// `Damage` when every source that answers lacks it or has other bytes; else what a source said
/// that might have it.
pub(crate) fn fetch_checked(
    sources: &[Target],
    name: &ObjectName,
    expected: &ObjectHash,
) -> Result<Bytes, RepositoryError> {
    let mut damaged = None;
    let mut unknown = None;
    for source in sources {
        match read_checked(source, name, expected) {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => {}
            Err(error @ RepositoryError::Damage { .. }) => damaged = Some(error),
            Err(error) => unknown = Some(error),
        }
    }
    // Where one source could not be asked, nobody knows that the object is lost.
    Err(unknown.or(damaged).unwrap_or_else(|| RepositoryError::Damage {
        place: sources.iter().map(|source| source.storage.label()).collect::<Vec<_>>().join(", "),
        object: name.to_string(),
        what: "is missing".to_owned(),
    }))
}

/// The object of one source; `None` when it has none.
fn read_checked(
    source: &Target,
    name: &ObjectName,
    expected: &ObjectHash,
) -> Result<Option<Bytes>, RepositoryError> {
    let mut what = "is not what its name says".to_owned();
    for _ in 0..READS_MAX {
        match source.storage.get(name, Span::Whole, Read::Quick) {
            Ok(bytes) if hash::object(&bytes) == *expected => return Ok(Some(bytes)),
            Ok(_) => {}
            Err(StorageError::NotFound { .. }) => return Ok(None),
            // A medium that doesn't give the bytes back has lost them.
            Err(StorageError::Io { source, .. }) => what = format!("cannot be read: {source}"),
            Err(error) => return Err(error.into()),
        }
    }
    Err(RepositoryError::Damage { place: source.storage.label().to_owned(), object: name.to_string(), what })
}

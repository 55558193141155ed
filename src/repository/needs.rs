//! What a snapshot needs: its pack set, and where the blobs are that its manifests name.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::keys::BlobKind;
use super::format::names::{PackClass, content_hash, pack_name};
use super::format::pack_set::PackSet;
use super::format::snapshot::PackSetRef;
use super::index::Index;
use super::manifest::{BlobRef, Visit, visit_blobs};
use super::manifest_source::Nodes;
use super::reader::BlobReader;
use super::snapshots::Snapshot;
use crate::base::id::{BlobId, ObjectHash, WriterId};
use crate::storage::contract::Read;

/// The packs of a snapshot's pack set.
///
/// # Errors
/// When the pack set lies in a blob that cannot be read.
pub fn packs_of(
    repository: &Repository,
    target: &Target,
    index: &Index,
    snapshot: &Snapshot,
) -> Result<BTreeSet<(PackClass, ObjectHash)>, RepositoryError> {
    packs_through(&BlobReader::new(repository, index, vec![target], Read::Quick), snapshot)
}

/// As [`packs_of`], by a reader that is there.
///
/// # Errors
/// As [`packs_of`].
pub(crate) fn packs_through(
    reader: &BlobReader<'_>,
    snapshot: &Snapshot,
) -> Result<BTreeSet<(PackClass, ObjectHash)>, RepositoryError> {
    match &snapshot.body.pack_set {
        PackSetRef::Inline(packs) => Ok(packs.iter().copied().collect()),
        PackSetRef::Blob(id) => {
            let bytes = reader.get(BlobKind::PackSet, id)?;
            Ok(PackSet::decode(&bytes)?.packs.into_iter().collect())
        }
    }
}

/// The packs that a place lists.
///
/// # Errors
/// Whatever the target says.
pub fn listed(target: &Target) -> Result<HashSet<ObjectHash>, RepositoryError> {
    let mut listed = HashSet::new();
    for (class, prefix) in [(PackClass::Data, "p/"), (PackClass::Meta, "m/")] {
        target.storage.list(prefix, &mut |stat| {
            let hash = content_hash(&stat.name).filter(|hash| pack_name(class, hash) == stat.name);
            listed.extend(hash);
            ControlFlow::Continue(())
        })?;
    }
    Ok(listed)
}

/// The pack that a blob is to be taken from, if any.
pub type Home = Result<Option<(PackClass, ObjectHash)>, RepositoryError>;

/// Of the packs that an index lists for a blob of a snapshot by `writer`, the lowest-named one that is
/// good. Packs of writers that only add count for their own snapshots alone.
///
/// # Errors
/// Of the local index.
pub fn lowest(index: &Index, writer: &WriterId, is_good: &dyn Fn(&ObjectHash) -> bool, id: &BlobId) -> Home {
    let mut lowest = None;
    for at in index.locations(id)? {
        let is_strange = index.is_strange(at.pack);
        let pack = index.pack(at.pack)?.filter(|pack| is_good(&pack.hash));
        let pack = pack.filter(|pack| !is_strange || pack.signer == *writer);
        let home = pack.map(|pack| (is_strange, pack.class, pack.hash));
        lowest = lowest.into_iter().chain(home).min();
    }
    Ok(lowest.map(|(_, class, hash)| (class, hash)))
}

/// The packs that hold what a snapshot needs now, by a walk over its manifests: its pack set may
/// name packs that were swept since. `home` says for each blob in which pack it is to be taken from.
///
/// # Errors
/// `MissingBlob` when a blob has no home; what cannot be read.
pub fn packs_now(
    repository: &Repository,
    target: &Target,
    index: &Index,
    snapshot: &Snapshot,
    home: &dyn Fn(&BlobId) -> Home,
) -> Result<BTreeSet<(PackClass, ObjectHash)>, RepositoryError> {
    let reader = BlobReader::new(repository, index, vec![target], Read::Quick);
    let found = RefCell::new((BTreeSet::new(), HashSet::new()));
    let place = |id: &BlobId| -> Result<(), RepositoryError> {
        let missing = || RepositoryError::MissingBlob { id: *id, place: target.storage.label().to_owned() };
        found.borrow_mut().0.insert(home(id)?.ok_or_else(missing)?);
        Ok(())
    };
    if let PackSetRef::Blob(id) = &snapshot.body.pack_set {
        place(id)?;
    }
    for root in &snapshot.body.roots {
        let mut trouble = None;
        visit_blobs(&root.node, &Nodes(&reader), &mut |blob| {
            let (id, is_manifest) = match blob {
                BlobRef::Manifest(_, id) => (id, true),
                BlobRef::Chunk(id) | BlobRef::Group(id) => (id, false),
            };
            if trouble.is_some() || (is_manifest && !found.borrow_mut().1.insert(id)) {
                return Visit::Skip;
            }
            match place(&id) {
                Ok(()) => Visit::Enter,
                Err(error) => {
                    trouble = Some(error);
                    Visit::Skip
                }
            }
        })?;
        if let Some(error) = trouble {
            return Err(error);
        }
    }
    Ok(found.into_inner().0)
}

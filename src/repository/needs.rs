//! What a snapshot needs: its pack set, and the blobs its manifests name.

use std::collections::BTreeSet;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::names::PackClass;
use super::format::pack_set::PackSet;
use super::format::snapshot::PackSetRef;
use super::index::Index;
use super::reader::BlobReader;
use super::snapshots::Snapshot;
use crate::base::id::ObjectHash;
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
    match &snapshot.body.pack_set {
        PackSetRef::Inline(packs) => Ok(packs.iter().copied().collect()),
        PackSetRef::Blob(id) => {
            let reader = BlobReader::new(repository, index, vec![target], Read::Quick);
            let bytes = reader.get(super::format::keys::BlobKind::PackSet, id)?;
            Ok(PackSet::decode(&bytes)?.packs.into_iter().collect())
        }
    }
}

//! What is still whole in a damaged pack that nobody can mend: opened, checked against its id, and
//! moved into a new pack, so that setting the damaged one aside loses nothing that could be read.

use std::collections::HashSet;

use bytes::Bytes;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::index_run::RunPack;
use super::format::names::pack_name;
use super::format::pack::{BlobOpener, PackBuilder, PackDirectory, PackIdentity};
use super::index::Index;
use super::pack_pool::OwnPack;
use super::rebuild::put_run;
use crate::base::id::BlobId;
use crate::codec::sign::Signer;
use crate::storage::contract::{ObjectName, Read, Span};

/// What was found in a damaged pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salvaged {
    /// Blobs that were moved into a new pack.
    pub(crate) moved: u64,
    /// Blobs that stand in another pack of the target.
    pub(crate) elsewhere: u64,
    /// Blobs that do not open any more.
    pub(crate) lost: u64,
}

/// Moves what is whole in a damaged pack into a new pack, with an index run of its own.
///
/// # Errors
/// Whatever the target says. A pack whose footer does not open has nothing to give: that is no error.
pub(crate) fn salvage(
    repository: &Repository,
    target: &Target,
    name: &ObjectName,
    index: &Index,
    gone: &HashSet<ObjectName>,
    signer: &Signer,
) -> Result<Salvaged, RepositoryError> {
    let mut out = Salvaged::default();
    let storage = target.storage.as_ref();
    let bytes = storage.get(name, Span::Whole, Read::Medium)?;
    let total = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let opened = PackIdentity::of_tail(&bytes, total, &repository.id()).and_then(|identity| {
        let directory = PackDirectory::open(&bytes, total, &identity, repository.keys())?;
        Ok((identity.class, directory))
    });
    let Ok((class, directory)) = opened else { return Ok(out) };
    let identity = repository.pack_identity(class, signer.id());
    let mut builder = PackBuilder::new(identity, Vec::new());
    let (mut opener, mut stored) = (BlobOpener::default(), Vec::new());
    let mut taken = HashSet::new();
    for ordinal in 0..directory.len() {
        let (Some(row), Some(range)) = (directory.row(ordinal), directory.sealed_range(ordinal)) else {
            continue;
        };
        if stands(target, index, &row.id, gone)? || !taken.insert(row.id) {
            out.elsewhere += 1;
            continue;
        }
        let (start, end) = (usize::try_from(range.start).ok(), usize::try_from(range.end).ok());
        let sealed = start.zip(end).and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default();
        let whole = directory.open_blob(ordinal, sealed, repository.keys().ids(), &mut opener).is_ok();
        match directory.stored_blob(ordinal, sealed, &mut stored).ok().filter(|_| whole) {
            Some(row) => {
                builder.push(&row, &stored)?;
                out.moved += 1;
            }
            None => {
                taken.remove(&row.id);
                out.lost += 1;
            }
        }
    }
    if builder.is_empty() {
        return Ok(out);
    }
    let finished = builder.finish(signer, repository.keys())?;
    let pack = RunPack {
        hash: finished.name,
        class,
        signer: signer.id(),
        bytes: u64::try_from(finished.bytes.len()).unwrap_or(u64::MAX),
        foot_offset: finished.foot_offset,
    };
    let own = OwnPack { number: 0, pack, entries: finished.entries() };
    storage.put_new(&pack_name(class, &finished.name), Bytes::from(finished.bytes))?;
    put_run(repository, target, &[own], signer)?;
    Ok(out)
}

/// Whether a blob lies in a pack of the target that is not gone.
fn stands(
    target: &Target,
    index: &Index,
    id: &BlobId,
    gone: &HashSet<ObjectName>,
) -> Result<bool, RepositoryError> {
    for at in index.locations(id)? {
        if let Some(pack) = index.pack(at.pack)? {
            let name = pack_name(pack.class, &pack.hash);
            if !gone.contains(&name) && target.storage.head(&name)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

//! Which paths of a snapshot are hurt by lost packs.

use std::collections::HashSet;

use super::context::Context;
use super::error::EngineError;
use crate::base::display;
use crate::base::error::{Class, Classified};
use crate::base::id::{BlobId, ObjectHash};
use crate::base::metadata::Extent;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::index::Index;
use crate::repository::manifest::{Content, Entry, ListSums, ManifestError, ManifestReader};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;
use crate::storage::contract::Read;

/// At most this many paths are named for each snapshot.
const PATHS_NAMED_MAX: usize = 100;

/// What of a snapshot is hurt.
#[derive(Debug, Default)]
pub(super) struct Hurt {
    /// How many paths.
    pub(super) count: u64,
    /// The first of them.
    pub(super) named: Vec<String>,
    /// The packs that hold what is missed.
    pub(super) packs: HashSet<ObjectHash>,
}

/// How many paths of a snapshot cannot be restored when these packs are lost, and the first of
/// them; `None` when every blob it names is in the index and in a pack that is left.
///
/// # Errors
/// When the target stops answering.
pub(super) fn paths(
    repository: &Repository,
    target: &Target,
    index: &Index,
    snapshot: &Snapshot,
    lost: &HashSet<ObjectHash>,
    cx: &Context,
) -> Result<Option<Hurt>, EngineError> {
    let reader = BlobReader::new(repository, index, vec![target], Read::Quick);
    let mut found = Hurt::default();
    for root in &snapshot.body.roots {
        let shown = display::path(&root.path);
        match walk(&reader, &root.node, &shown, lost, &mut found, cx) {
            Ok(()) => {}
            Err(error) if error.class() == Class::Damage => {
                found.push(format!("{shown}: a part of its listing cannot be read"));
                if let EngineError::Repository(RepositoryError::Manifest(ManifestError::Get { id, .. })) =
                    &error
                {
                    found.packs.extend(packs_of(index, id)?);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok((found.count > 0).then_some(found))
}

/// The packs that a blob is said to be in.
pub(super) fn packs_of(index: &Index, id: &BlobId) -> Result<Vec<ObjectHash>, EngineError> {
    let mut packs = Vec::new();
    for at in index.locations(id)? {
        packs.extend(index.pack(at.pack)?.map(|pack| pack.hash));
    }
    Ok(packs)
}

impl Hurt {
    fn push(&mut self, path: String) {
        self.count += 1;
        if self.named.len() < PATHS_NAMED_MAX {
            self.named.push(path);
        }
    }
}

fn walk(
    reader: &BlobReader<'_>,
    root: &BlobId,
    shown: &str,
    lost: &HashSet<ObjectHash>,
    found: &mut Hurt,
    cx: &Context,
) -> Result<(), EngineError> {
    let mut last = (BlobId::default(), true);
    let mut missed = HashSet::new();
    let mut stands = |id: &BlobId| -> Result<bool, EngineError> {
        // Neighbours share their group: one look-up serves them all.
        if last.0 != *id {
            let packs = packs_of(reader.index(), id)?;
            let whole = packs.iter().any(|pack| !lost.contains(pack));
            if !whole {
                missed.extend(packs);
            }
            last = (*id, whole);
        }
        Ok(last.1)
    };
    let mut entries = ManifestReader::open(root, Nodes(reader))?;
    let mut sums = ListSums::default();
    while let Some(entry) = entries.next_entry()? {
        let mut whole = true;
        let mut stand = |id: &BlobId| {
            if cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            whole &= stands(id)?;
            Ok(())
        };
        let bytes = match &entry.content {
            Content::None => None,
            Content::Group { blob, .. } => {
                stand(blob)?;
                None
            }
            Content::Chunks(chunks) => {
                chunks.iter().try_for_each(|chunk| stand(&chunk.id))?;
                Some(chunks.iter().map(|chunk| u64::from(chunk.len)).sum())
            }
            Content::ChunkList { id, chunks } => {
                Some(sums.bytes((*id, *chunks), entries.source(), &mut stand)?)
            }
        };
        if !whole {
            // What is missed counts for every file that needs it.
            sums.clear();
        }
        if !whole || bytes.is_some_and(|bytes| bytes != data_bytes(&entry)) {
            found.push(format!("{shown}/{}", display::path(&entry.path())));
        }
    }
    found.packs.extend(missed);
    Ok(())
}

/// The bytes that the chunks of a file must have together.
fn data_bytes(entry: &Entry) -> u64 {
    let sum = |extents: &Vec<Extent>| extents.iter().map(|extent| extent.len).fold(0, u64::saturating_add);
    entry.extents.as_ref().map_or(entry.meta.size, sum)
}

//! Groups of which the parent uses less than half: a full writes what is left of them anew, so
//! that small files which come and go don't leave their groups behind for ever.
//!
//! Only a full does: it has every byte in its hands. The look costs one walk over the parent's
//! manifest and the footers of packs that hold suspects.

use std::collections::{HashMap, HashSet};

use crate::base::id::BlobId;
use crate::engine::error::EngineError;
use crate::repository::manifest::{ContentView, ManifestReader};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;

/// A group with this much in use can't be less than half in use: groups are at most twice as long.
const SUSPECT_BYTES: u64 = 512 * 1024;
/// Groups that are looked at; those of a larger snapshot are regrouped in part (about 64 MiB).
const GROUPS_MAX: usize = 1 << 20;

/// The groups of a tree of which less than half is in use there.
///
/// # Errors
/// When the tree or a footer cannot be read.
pub(super) fn sparse_groups(root: &BlobId, blobs: &BlobReader<'_>) -> Result<HashSet<BlobId>, EngineError> {
    let mut in_use: HashMap<BlobId, u64> = HashMap::new();
    let mut last = None;
    let mut reader = ManifestReader::open(root, Nodes(blobs))?;
    loop {
        let content = match reader.peek()? {
            None => break,
            Some(view) => match view.content() {
                ContentView::Group { blob, offset, len } => Some((blob, offset, len)),
                _ => None,
            },
        };
        reader.skip_entry()?;
        // Names of one inode that follow each other count once.
        let Some((blob, _, len)) = content.filter(|content| last != Some(*content)) else { continue };
        last = content;
        let room = in_use.len() < GROUPS_MAX;
        if let Some(bytes) = in_use.get_mut(&blob) {
            *bytes += u64::from(len);
        } else if room {
            in_use.insert(blob, u64::from(len));
        }
    }
    let mut sparse = HashSet::new();
    for (blob, bytes) in in_use {
        if bytes < SUSPECT_BYTES && is_sparse(&blob, bytes, blobs)? {
            sparse.insert(blob);
        }
    }
    Ok(sparse)
}

fn is_sparse(blob: &BlobId, in_use: u64, blobs: &BlobReader<'_>) -> Result<bool, EngineError> {
    let Some(at) = blobs.index().first(blob)? else { return Ok(false) };
    let directory = blobs.directory(at.pack)?;
    Ok(directory.row(at.ordinal).is_some_and(|row| u64::from(row.plain_bytes) > 2 * in_use))
}

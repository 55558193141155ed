//! What became of one file, on its way from a worker to the manifest.

use std::sync::Arc;

use super::chunk_run::ChunkRun;
use super::file::Fault;
use super::used::Use;
use crate::base::id::BlobId;
use crate::base::metadata::{Extent, Metadata};
use crate::engine::error::EngineError;
use crate::repository::format::keys::IdKeys;
use crate::repository::manifest::Content;
use crate::source::files::FilesError;

/// What the parent snapshot knows of a file.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its length then.
    pub(super) size: u64,
    /// The hash of its content then.
    pub(super) hash16: [u8; 16],
    /// Where its content is.
    pub(super) content: Content,
    /// Its holes.
    pub(super) extents: Option<Vec<Extent>>,
    /// Whether every blob of it is in the index: else it has to be stored again.
    pub(super) is_whole: bool,
    /// Whether it lies in a group of which little else is in use, and is better stored anew.
    pub(super) is_scattered: bool,
    /// The packs of a list that is whole, and of its chunks.
    pub(super) uses: Vec<Use>,
}

impl Known {
    /// Whether a file of this length and hash needs no new place.
    pub(super) fn holds(&self, size: u64, hash16: &[u8; 16]) -> bool {
        self.is_whole && !self.is_scattered && self.size == size && self.hash16 == *hash16
    }
}

/// Where a file's bytes went.
#[derive(Clone, Debug)]
pub(super) enum FileContent {
    /// It has none.
    None,
    /// The same as in the parent.
    Known(Content),
    /// Into a group that is not closed yet.
    Waiting {
        /// First byte in the group's byte area.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// Into a group.
    Group {
        /// Which.
        blob: BlobId,
        /// First byte in its byte area.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// Into chunks.
    Chunks(Arc<ChunkRun>),
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct ReadFile {
    /// Its metadata when it was opened, with the length that was read.
    pub(super) meta: Metadata,
    /// Where its bytes went.
    pub(super) content: FileContent,
    /// For comparisons with later versions.
    pub(super) hash16: [u8; 16],
    /// Its holes.
    pub(super) extents: Option<Vec<Extent>>,
    /// Whether it changed while it was read, twice.
    pub(super) changed: bool,
    /// What of its metadata could not be read.
    pub(super) issues: Vec<String>,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub(super) enum FileResult {
    /// It was read.
    Read(Box<ReadFile>),
    /// It was gone.
    Vanished,
    /// It is there but could not be read.
    Unread(String),
}

impl FileResult {
    /// What a failed call on a file of the source means for it.
    pub(super) fn from_error(error: &FilesError) -> Self {
        match Fault::of(error) {
            Fault::Vanished => Self::Vanished,
            Fault::Unread(reason) => Self::Unread(reason),
        }
    }
}

/// The hash that compares chunked files: over the length, the data extents and the chunks
/// (docs/format.md, "Manifest"). Holes are never hashed.
///
/// # Errors
/// `LocalIndex` when the chunks can't be read back.
pub(super) fn list_hash(
    ids: &IdKeys,
    size: u64,
    extents: Option<&[Extent]>,
    chunks: &ChunkRun,
) -> Result<[u8; 16], EngineError> {
    let mut hasher = ids.list_hasher();
    hasher.update(&size.to_le_bytes());
    let extents = extents.unwrap_or_default();
    hasher.update(&u64::try_from(extents.len()).unwrap_or(u64::MAX).to_le_bytes());
    for extent in extents {
        hasher.update(&extent.offset.to_le_bytes()).update(&extent.len.to_le_bytes());
    }
    chunks.visit(&mut |placed| {
        hasher.update(placed.chunk.id.as_bytes()).update(&placed.chunk.len.to_le_bytes());
        Ok(())
    })?;
    let mut hash16 = [0u8; 16];
    hash16.copy_from_slice(&hasher.finish()[..16]);
    Ok(hash16)
}

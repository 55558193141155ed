//! Reads a tree.
use std::sync::Arc;

use super::chunks::ChunkIter;
use super::entry::{Content, Entry};
use super::error::ManifestError;
use super::key::Key;
use super::leaf::{EntryView, Leaf};
use super::store::{BlobSource, NodeKind};
use crate::base::id::BlobId;

/// A stored tree, and a place in it.
#[derive(Debug)]
pub struct ManifestReader<S> {
    source: S,
}

impl<S: BlobSource> ManifestReader<S> {
    /// Opens the tree and stands before its first entry.
    ///
    /// # Errors
    /// When the root node can't be read or is malformed.
    pub fn open(root: &BlobId, source: S) -> Result<Self, ManifestError> {
        let _ = root;
        Ok(Self { source })
    }
    /// Entries in the tree.
    pub fn entries(&self) -> u64 {
        unimplemented!()
    }
    /// Sum of sizes.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
    /// Where it stands: the entry that [`Self::next_entry`] would return.
    ///
    /// # Errors
    /// Read or decode.
    pub fn peek(&mut self) -> Result<Option<EntryView<'_>>, ManifestError> {
        unimplemented!()
    }
    /// The directory of the entry that `peek` shows.
    pub fn dir(&self) -> &[u8] {
        unimplemented!()
    }
    /// The leaf it stands in, for [`super::ManifestBuilder::keep`] with `peek`'s row.
    pub fn leaf(&self) -> Option<&Arc<Leaf>> {
        unimplemented!()
    }
    /// Steps over one entry.
    ///
    /// # Errors
    /// Read or decode.
    pub fn skip_entry(&mut self) -> Result<(), ManifestError> {
        unimplemented!()
    }
    /// The next entry, owned, with xattrs and extents.
    ///
    /// # Errors
    /// Read or decode.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ManifestError> {
        unimplemented!()
    }
    /// The entry it stands at, owned.
    ///
    /// # Errors
    /// Read or decode.
    pub fn entry(&mut self) -> Result<Option<Entry>, ManifestError> {
        unimplemented!()
    }
    /// Goes to the first entry whose key is not below `key`, from anywhere, in `height + 1` reads.
    ///
    /// # Errors
    /// Read or decode.
    pub fn seek(&mut self, key: Key<'_>) -> Result<(), ManifestError> {
        let _ = key;
        unimplemented!()
    }
    /// Goes forward to `key`, and shows its entry if there is one. Keys must ascend from call to call.
    ///
    /// # Errors
    /// Read or decode.
    pub fn advance_to(&mut self, key: Key<'_>) -> Result<Option<EntryView<'_>>, ManifestError> {
        let _ = key;
        unimplemented!()
    }
    /// The entry of one path, or none.
    ///
    /// # Errors
    /// Read or decode.
    pub fn lookup(&mut self, path: &[u8]) -> Result<Option<Entry>, ManifestError> {
        let _ = path;
        unimplemented!()
    }
    /// The entries of one directory, without its own.
    ///
    /// # Errors
    /// Read or decode.
    pub fn list_dir(
        &mut self,
        dir: &[u8],
    ) -> Result<impl Iterator<Item = Result<Entry, ManifestError>>, ManifestError> {
        let _ = dir;
        Ok(std::iter::empty())
    }
    /// A path's own entry, then everything below it in order. Empty when there is no such path.
    ///
    /// # Errors
    /// Read or decode.
    pub fn subtree(
        &mut self,
        path: &[u8],
    ) -> Result<impl Iterator<Item = Result<Entry, ManifestError>>, ManifestError> {
        let _ = path;
        Ok(std::iter::empty())
    }
    /// The chunks of a content, read list by list.
    pub fn chunks(&self, content: &Content) -> ChunkIter<'_, S> {
        ChunkIter::new(content, &self.source)
    }
}

impl<S: BlobSource> Iterator for ManifestReader<S> {
    type Item = Result<Entry, ManifestError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// A blob that a tree needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobRef {
    /// A part of the manifest itself.
    Manifest(NodeKind, BlobId),
    /// A chunk (kind 1).
    Chunk(BlobId),
    /// A small-file group (kind 2).
    Group(BlobId),
}

/// Names every blob that the tree needs, parents before children. `visit` returns whether to go into it
/// (`false`: seen before; ignored for chunks and groups).
///
/// # Errors
/// Read or decode.
pub fn visit_blobs<S: BlobSource>(
    root: &BlobId,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> bool,
) -> Result<(), ManifestError> {
    let _ = (root, source, visit);
    unimplemented!()
}

//! Where the manifest's blobs go to and come from. The engine implements both over packs.

use std::fmt;

use bytes::Bytes;

use super::error::{ManifestError, StoreError};
use crate::base::error::Classified;
use crate::base::id::BlobId;

/// The kinds of blobs that a manifest is made of; the numbers are those of pack rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NodeKind {
    /// A column hunk of entries.
    Leaf = 3,
    /// An inner node.
    Node = 4,
    /// Chunk references of a file that has more than fit a leaf.
    ChunkList = 5,
    /// Extended attributes, or extents, of an entry.
    Attr = 6,
}

/// Takes blobs. Storing equal bytes twice is fine and gives the same id.
pub trait BlobSink {
    /// What can go wrong below.
    type Error: Classified + Send + Sync + 'static;

    /// Stores a plaintext under the keyed id of its kind.
    ///
    /// # Errors
    /// When it can't be taken; the tree under construction is then useless.
    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, Self::Error>;

    /// Told of a leaf of another tree that this tree takes over by its id, without a put.
    fn keep(&mut self, kind: NodeKind, id: &BlobId) {
        let _ = (kind, id);
    }
}

/// Gives blobs back, checked against their id.
pub trait BlobSource {
    /// What can go wrong below.
    type Error: Classified + Send + Sync + 'static;

    /// The plaintext of a blob.
    ///
    /// # Errors
    /// When it is missing, damaged or unreachable.
    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, Self::Error>;
}

impl<T: BlobSink + ?Sized> BlobSink for &mut T {
    type Error = T::Error;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, Self::Error> {
        (**self).put(kind, plain)
    }

    fn keep(&mut self, kind: NodeKind, id: &BlobId) {
        (**self).keep(kind, id);
    }
}

impl<T: BlobSource + ?Sized> BlobSource for &T {
    type Error = T::Error;

    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, Self::Error> {
        (**self).get(kind, id)
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaf => "leaf",
            Self::Node => "node",
            Self::ChunkList => "chunk list",
            Self::Attr => "attribute blob",
        })
    }
}

/// Stores a blob; says what it was when that fails.
pub(super) fn put<S: BlobSink>(sink: &mut S, kind: NodeKind, plain: &[u8]) -> Result<BlobId, ManifestError> {
    sink.put(kind, plain).map_err(|error| ManifestError::Put { kind, source: StoreError::new(error) })
}

/// Reads a blob; says which it was when that fails.
pub(super) fn get<S: BlobSource>(source: &S, kind: NodeKind, id: &BlobId) -> Result<Bytes, ManifestError> {
    source.get(kind, id).map_err(|error| ManifestError::Get { kind, id: *id, source: StoreError::new(error) })
}

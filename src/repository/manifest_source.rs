//! The manifest's blobs, read through the repository's reader.

use bytes::Bytes;

use super::error::RepositoryError;
use super::format::keys::BlobKind;
use super::manifest::{BlobSource, NodeKind};
use super::reader::BlobReader;
use crate::base::id::BlobId;

/// Gives manifest nodes out of packs.
pub(crate) struct Nodes<'r, 'a>(pub(crate) &'a BlobReader<'r>);

impl BlobSource for Nodes<'_, '_> {
    type Error = RepositoryError;

    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        self.0.get(blob_kind(kind), id)
    }
}

/// The pack row's kind of a manifest node.
pub(crate) fn blob_kind(kind: NodeKind) -> BlobKind {
    match kind {
        NodeKind::Leaf => BlobKind::Leaf,
        NodeKind::Node => BlobKind::Node,
        NodeKind::ChunkList => BlobKind::ChunkList,
        NodeKind::Attr => BlobKind::Attr,
    }
}

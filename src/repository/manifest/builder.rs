//! Writes a tree.
use std::sync::Arc;

use super::entry::Entry;
use super::error::ManifestError;
use super::key::Key;
use super::leaf::Leaf;
use super::store::BlobSink;
use crate::base::id::BlobId;

/// A finished tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its root node.
    pub id: BlobId,
    /// Entries in it.
    pub entries: u64,
    /// Sum of the sizes of its entries.
    pub bytes: u64,
    /// Levels of inner nodes: one path is found in `height + 1` reads.
    pub height: u32,
}

/// Writes a tree from entries in ascending order.
#[derive(Debug)]
pub struct ManifestBuilder<S> {
    sink: S,
}

impl<S: BlobSink> ManifestBuilder<S> {
    /// An empty tree whose cuts are keyed by `cut_key` (K_cut).
    pub fn new(cut_key: [u8; 32], sink: S) -> Self {
        let _ = cut_key;
        Self { sink }
    }
    /// The sink.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }
    /// Adds an entry.
    ///
    /// # Errors
    /// Out of order, unfit, or not stored.
    pub fn push(&mut self, entry: Entry) -> Result<(), ManifestError> {
        let _ = entry;
        unimplemented!()
    }
    /// Adds the entry at `row` of another tree's leaf, unchanged; whole leaves are taken over by id.
    ///
    /// # Errors
    /// As for [`Self::push`].
    pub fn keep(&mut self, leaf: &Arc<Leaf>, row: usize) -> Result<(), ManifestError> {
        let _ = (leaf, row, Key::ROOT);
        unimplemented!()
    }
    /// Stores what is open and returns the root.
    ///
    /// # Errors
    /// When nothing was added, or something could not be stored.
    pub fn finish(self) -> Result<(Root, S), ManifestError> {
        unimplemented!()
    }
}

//! Names every blob that a tree needs: for verify, sync and sweep.

use std::collections::HashMap;

use super::chunks::{ListRow, Listed, OpenList};
use super::error::ManifestError;
use super::leaf::{End, Leaf};
use super::reader::get_node;
use super::store::{BlobSource, NodeKind, get};
use super::wire::ensure;
use crate::base::id::BlobId;

/// A blob that a tree needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobRef {
    /// A part of the manifest itself.
    Manifest(NodeKind, BlobId),
    /// A chunk (blob kind 1).
    Chunk(BlobId),
    /// A small-file group (blob kind 2).
    Group(BlobId),
}

/// Whether to go on below a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Read it, and name what it needs.
    Enter,
    /// It was seen before, with all that it needs.
    Skip,
}

/// Tells `visit` of every blob that the tree needs, parents before children. What it answers
/// counts for leaves, nodes and chunk lists, which are read only when it says [`Visit::Enter`].
/// A blob is named once for each leaf or list that refers to it: `visit` remembers. Memory: a
/// node a level, a leaf.
///
/// # Errors
/// As for [`super::ManifestReader::open`].
pub fn visit_blobs<S: BlobSource>(
    root: &BlobId,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> Visit,
) -> Result<(), ManifestError> {
    visit_blobs_past(root, source, visit, &mut Err)
}

/// As [`visit_blobs`], but a part that cannot be read or is malformed is given to `fault`, which
/// may say to go on beside it.
///
/// # Errors
/// Whatever `fault` gives back.
pub fn visit_blobs_past<S: BlobSource>(
    root: &BlobId,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> Visit,
    fault: &mut dyn FnMut(ManifestError) -> Result<(), ManifestError>,
) -> Result<(), ManifestError> {
    if visit(BlobRef::Manifest(NodeKind::Node, *root)) == Visit::Skip {
        return Ok(());
    }
    Walk { source, visit, fault }.past_node(root, None)
}

/// Tells `visit` of a chunk list and everything below it, as [`visit_blobs`] does.
///
/// # Errors
/// When a list can't be read or is malformed.
pub fn visit_list<S: BlobSource>(
    id: &BlobId,
    chunks: u64,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> Visit,
) -> Result<(), ManifestError> {
    Walk { source, visit, fault: &mut Err }.past_list(Listed { id: *id, above: None, chunks })
}

/// Chunk lists that were walked already, with the bytes of their chunks: lists name the same list
/// again and again when a file repeats itself, and three levels of them can say 10^12 chunks.
#[derive(Debug, Default)]
pub struct ListSums(HashMap<Listed, u64>);

impl ListSums {
    /// The bytes of all chunks of a list, and below it. Each list that these sums don't know yet is
    /// read, and its chunks told to `visit`, once. Memory: some 64 bytes a list.
    ///
    /// # Errors
    /// Those of `visit`; when a list can't be read or is malformed.
    pub fn bytes<S: BlobSource, E: From<ManifestError>>(
        &mut self,
        (id, chunks): (BlobId, u64),
        source: &S,
        visit: &mut dyn FnMut(&BlobId) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.below(Listed { id, above: None, chunks }, source, visit)
    }

    /// Forgets all lists: their chunks are told of again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Calls itself at most as deep as levels can be, since they fall.
    fn below<S: BlobSource, E: From<ManifestError>>(
        &mut self,
        listed: Listed,
        source: &S,
        visit: &mut dyn FnMut(&BlobId) -> Result<(), E>,
    ) -> Result<u64, E> {
        if let Some(bytes) = self.0.get(&listed) {
            return Ok(*bytes);
        }
        let mut list = OpenList::read(listed, source)?;
        let mut bytes = 0u64;
        while let Some(row) = list.next_row()? {
            bytes = bytes.saturating_add(match row {
                ListRow::Chunk(chunk) => {
                    visit(&chunk.id)?;
                    u64::from(chunk.len)
                }
                ListRow::List(below) => self.below(below, source, visit)?,
            });
        }
        self.0.insert(listed, bytes);
        Ok(bytes)
    }
}

struct Walk<'w, S> {
    source: &'w S,
    visit: &'w mut dyn FnMut(BlobRef) -> Visit,
    fault: &'w mut dyn FnMut(ManifestError) -> Result<(), ManifestError>,
}

impl<S: BlobSource> Walk<'_, S> {
    /// Everything below a node that was entered; `above` is the level of its parent. Calls itself
    /// at most as deep as levels can be, since they fall.
    fn past_node(&mut self, id: &BlobId, above: Option<u8>) -> Result<(), ManifestError> {
        let read = get_node(self.source, id).and_then(|node| {
            ensure(above.is_none_or(|above| node.level + 1 == above), "a node of the wrong level")
                .map_err(|fault| fault.of(NodeKind::Node, id))?;
            Ok(node)
        });
        let node = match read {
            Ok(node) => node,
            Err(error) => return (self.fault)(error),
        };
        for row in 0..node.len() {
            let child = node.child(row).id;
            let kind = if node.level == 1 { NodeKind::Leaf } else { NodeKind::Node };
            if (self.visit)(BlobRef::Manifest(kind, child)) == Visit::Skip {
                continue;
            }
            if kind == NodeKind::Leaf {
                self.past_leaf(&child)?;
            } else {
                self.past_node(&child, Some(node.level))?;
            }
        }
        Ok(())
    }

    fn past_leaf(&mut self, id: &BlobId) -> Result<(), ManifestError> {
        let read = get(self.source, NodeKind::Leaf, id).and_then(|plain| Leaf::decode(id, &plain, End::Cut));
        let leaf = match read {
            Ok(leaf) => leaf,
            Err(error) => return (self.fault)(error),
        };
        let references = leaf.references();
        for attr in references.attributes.into_iter().flatten() {
            (self.visit)(BlobRef::Manifest(NodeKind::Attr, *attr));
        }
        for group in references.groups {
            (self.visit)(BlobRef::Group(*group));
        }
        for chunk in references.chunks {
            (self.visit)(BlobRef::Chunk(*chunk));
        }
        for (list, chunks) in references.lists {
            self.past_list(Listed { id: *list, above: None, chunks: *chunks })?;
        }
        Ok(())
    }

    fn past_list(&mut self, listed: Listed) -> Result<(), ManifestError> {
        if (self.visit)(BlobRef::Manifest(NodeKind::ChunkList, listed.id)) == Visit::Skip {
            return Ok(());
        }
        let mut list = match OpenList::read(listed, self.source) {
            Ok(list) => list,
            Err(error) => return (self.fault)(error),
        };
        loop {
            match list.next_row() {
                Ok(None) => return Ok(()),
                Ok(Some(ListRow::Chunk(chunk))) => {
                    (self.visit)(BlobRef::Chunk(chunk.id));
                }
                Ok(Some(ListRow::List(below))) => self.past_list(below)?,
                Err(error) => return (self.fault)(error),
            }
        }
    }
}

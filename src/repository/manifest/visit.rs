//! Names every blob that a tree needs: for verify, sync and sweep.

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
    if visit(BlobRef::Manifest(NodeKind::Node, *root)) == Visit::Skip {
        return Ok(());
    }
    below_node(root, None, source, visit)
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
    below_list(Listed { id: *id, above: None, chunks }, source, visit)
}

/// Everything below a node that was entered; `above` is the level of its parent. Calls itself
/// at most as deep as levels can be, since they fall.
fn below_node<S: BlobSource>(
    id: &BlobId,
    above: Option<u8>,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> Visit,
) -> Result<(), ManifestError> {
    let node = get_node(source, id)?;
    ensure(above.is_none_or(|above| node.level + 1 == above), "a node of the wrong level")
        .map_err(|fault| fault.of(NodeKind::Node, id))?;
    for row in 0..node.len() {
        let child = node.child(row).id;
        let kind = if node.level == 1 { NodeKind::Leaf } else { NodeKind::Node };
        if visit(BlobRef::Manifest(kind, child)) == Visit::Skip {
            continue;
        }
        if kind == NodeKind::Leaf {
            below_leaf(&child, source, visit)?;
        } else {
            below_node(&child, Some(node.level), source, visit)?;
        }
    }
    Ok(())
}

fn below_leaf<S: BlobSource>(
    id: &BlobId,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> Visit,
) -> Result<(), ManifestError> {
    let plain = get(source, NodeKind::Leaf, id)?;
    let leaf = Leaf::decode(id, &plain, End::Cut)?;
    let references = leaf.references();
    for attr in references.attributes.into_iter().flatten() {
        visit(BlobRef::Manifest(NodeKind::Attr, *attr));
    }
    for group in references.groups {
        visit(BlobRef::Group(*group));
    }
    for chunk in references.chunks {
        visit(BlobRef::Chunk(*chunk));
    }
    for (list, chunks) in references.lists {
        below_list(Listed { id: *list, above: None, chunks: *chunks }, source, visit)?;
    }
    Ok(())
}

fn below_list<S: BlobSource>(
    listed: Listed,
    source: &S,
    visit: &mut dyn FnMut(BlobRef) -> Visit,
) -> Result<(), ManifestError> {
    if visit(BlobRef::Manifest(NodeKind::ChunkList, listed.id)) == Visit::Skip {
        return Ok(());
    }
    let mut list = OpenList::read(listed, source)?;
    while let Some(row) = list.next_row()? {
        match row {
            ListRow::Chunk(chunk) => {
                visit(BlobRef::Chunk(chunk.id));
            }
            ListRow::List(below) => below_list(below, source, visit)?,
        }
    }
    Ok(())
}

//! Goes through a tree by its parts: what comes next is known (its first key, its id, how many
//! entries it has) before it is read, so that equal parts of two trees are passed unread and
//! leaves can be read by several threads.
//!
//! It never looks into a leaf itself: [`TreeCursor::take_leaf`] says which comes next, and
//! [`LeafRef::load`] reads and checks it, wherever the caller wants that done. Order is checked
//! on both sides of each leaf, so that entries come in ascending order or as an error.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::error::ManifestError;
use super::key::Key;
use super::leaf::{End, Leaf};
use super::node::Node;
use super::reader::{NodeAt, agrees, get_node};
use super::store::{BlobSource, NodeKind, get};
use super::wire::ensure;
use crate::base::id::BlobId;

/// Nodes kept decoded: one has at most 1,024 rows of some 100 bytes.
const NODES_KEPT: NonZeroUsize = NonZeroUsize::new(64).expect("it is not 0");

/// Decoded nodes that several cursors share: trees that differ little have most nodes in common.
pub struct NodeShelf(Mutex<LruCache<BlobId, Arc<Node>>>);

impl NodeShelf {
    /// Nothing kept yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(LruCache::new(NODES_KEPT))))
    }

    fn get<S: BlobSource>(&self, source: &S, id: &BlobId) -> Result<Arc<Node>, ManifestError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(node) = kept {
            return Ok(node);
        }
        let node = Arc::new(get_node(source, id)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(*id, Arc::clone(&node));
        Ok(node)
    }
}

impl fmt::Debug for NodeShelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeShelf")
    }
}

/// A part of a tree that comes next and was not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its first key.
    pub key: Key<'a>,
    /// The blob: equal ids have equal entries.
    pub id: BlobId,
    /// 0 for a leaf, else the level of an inner node.
    pub level: u8,
    /// Entries in it.
    pub entries: u64,
}

/// A place between the parts of a tree. Memory: a node a level.
#[derive(Debug)]
pub struct TreeCursor<S> {
    source: S,
    shelf: Arc<NodeShelf>,
    root: Arc<Node>,
    /// From the root down, each with the row that comes next. Empty behind the last.
    nodes: Vec<NodeAt>,
}

impl<S: BlobSource> TreeCursor<S> {
    /// Opens a tree and stands before its first part. One read.
    ///
    /// # Errors
    /// As for [`super::ManifestReader::open`], here and in all that follows.
    pub fn open(root: &BlobId, source: S, shelf: Arc<NodeShelf>) -> Result<Self, ManifestError> {
        let node = shelf.get(&source, root)?;
        let at = NodeAt::first(node);
        ensure(
            Key { dir: &at.dir, name: at.node.name(0) } == Key::ROOT,
            "the tree lacks the entry of its root",
        )
        .map_err(|fault| fault.of(NodeKind::Node, root))?;
        Ok(Self { source, shelf, root: Arc::clone(&at.node), nodes: vec![at] })
    }

    /// Entries in the tree, by its root's word.
    pub fn entries(&self) -> u64 {
        self.root.totals().0
    }

    /// Where the blobs come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// What comes next; `None` behind the last part.
    pub fn part(&self) -> Option<Part<'_>> {
        let at = self.nodes.last()?;
        let child = at.node.child(at.row);
        let key = Key { dir: &at.dir, name: at.node.name(at.row) };
        Some(Part { key, id: child.id, level: at.node.level - 1, entries: child.entries })
    }

    /// How many entries of the tree lie before what comes next.
    pub fn ordinal(&self) -> u64 {
        let before = |at: &NodeAt| (0..at.row).map(|row| at.node.child(row).entries).sum::<u64>();
        self.nodes.iter().map(before).fold(0, u64::saturating_add)
    }

    /// Goes on behind what comes next, unread.
    pub fn pass(&mut self) {
        while let Some(lowest) = self.nodes.last_mut() {
            if lowest.row + 1 < lowest.node.len() {
                lowest.row += 1;
                lowest.node.enter(lowest.row, &mut lowest.dir);
                return;
            }
            self.nodes.pop();
        }
    }

    /// Reads the node that comes next: its first part comes next then. Does nothing before a
    /// leaf or behind the last part.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn enter(&mut self) -> Result<(), ManifestError> {
        let Some(above) = self.nodes.last().filter(|at| at.node.level > 1) else { return Ok(()) };
        let child = *above.node.child(above.row);
        let below = NodeAt::first(self.shelf.get(&self.source, &child.id)?);
        let here = Key { dir: &above.dir, name: above.node.name(above.row) };
        let same = here == (Key { dir: &below.dir, name: below.node.name(0) });
        agrees(same && below.node.level + 1 == above.node.level, child.entries == below.node.totals().0)
            .map_err(|fault| fault.of(NodeKind::Node, &child.id))?;
        self.nodes.push(below);
        Ok(())
    }

    /// Goes to the leaf that holds `key`, or would, from wherever it stands.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn seek(&mut self, key: Key<'_>) -> Result<(), ManifestError> {
        self.descend(|at| at.skip_to(key))
    }

    /// Goes to the leaf that holds the entry with `ordinal` entries before it; behind the last
    /// part when there are fewer.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn seek_ordinal(&mut self, ordinal: u64) -> Result<(), ManifestError> {
        if ordinal >= self.entries() {
            self.nodes.clear();
            return Ok(());
        }
        let mut left = ordinal;
        self.descend(|at| {
            while at.row + 1 < at.node.len() && at.node.child(at.row).entries <= left {
                left -= at.node.child(at.row).entries;
                at.row += 1;
                at.node.enter(at.row, &mut at.dir);
            }
            true
        })
    }

    fn descend(&mut self, mut choose: impl FnMut(&mut NodeAt) -> bool) -> Result<(), ManifestError> {
        self.nodes = vec![NodeAt::first(Arc::clone(&self.root))];
        while let Some(lowest) = self.nodes.last_mut() {
            choose(lowest);
            if lowest.node.level == 1 {
                break;
            }
            self.enter()?;
        }
        Ok(())
    }

    /// The next leaf, entering nodes on the way, and goes on behind it.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn take_leaf(&mut self) -> Result<Option<LeafRef>, ManifestError> {
        while self.part().is_some_and(|part| part.level > 0) {
            self.enter()?;
        }
        let Some(part) = self.part() else { return Ok(None) };
        let (id, entries) = (part.id, part.entries);
        let first = owned(part.key);
        self.pass();
        Ok(Some(LeafRef { id, entries, first, next: self.part().map(|part| owned(part.key)) }))
    }
}

fn owned(key: Key<'_>) -> (Vec<u8>, Vec<u8>) {
    (key.dir.to_vec(), key.name.to_vec())
}

/// A leaf that was not read yet, and what its tree says of it.
#[derive(Clone, Debug)]
pub struct LeafRef {
    /// The blob.
    pub id: BlobId,
    /// Entries in it.
    pub entries: u64,
    /// Directory and name of its first entry.
    first: (Vec<u8>, Vec<u8>),
    /// Those of the first entry behind it; none behind the last leaf.
    next: Option<(Vec<u8>, Vec<u8>)>,
}

impl LeafRef {
    /// The key of its first entry.
    pub fn key(&self) -> Key<'_> {
        Key { dir: &self.first.0, name: &self.first.1 }
    }

    /// Reads it.
    ///
    /// # Errors
    /// As for [`super::ManifestReader::open`].
    pub fn load<S: BlobSource>(&self, source: &S) -> Result<Leaf, ManifestError> {
        let plain = get(source, NodeKind::Leaf, &self.id)?;
        let end = if self.next.is_some() { End::Cut } else { End::Tree };
        let leaf = Leaf::decode(&self.id, &plain, end)?;
        let fault = |fault: super::wire::Fault| fault.of(NodeKind::Leaf, &self.id);
        let mut dir = Vec::new();
        leaf.enter(0, &mut dir);
        let first = Key { dir: &dir, name: leaf.row(0).name() };
        agrees(self.key() == first, self.entries == leaf.len() as u64).map_err(fault)?;
        if let Some((next_dir, next_name)) = &self.next {
            let last = leaf.row(leaf.len() - 1);
            let dir = last.dir();
            let below = (Key { dir: &dir, name: last.name() }) < (Key { dir: next_dir, name: next_name });
            ensure(below, "it ends behind where its neighbour begins").map_err(fault)?;
        }
        Ok(leaf)
    }
}

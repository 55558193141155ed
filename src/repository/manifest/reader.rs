//! Reads a tree: streams it in order, finds a path, stands beside a walk as its parent.

use std::sync::Arc;

use super::attr::{decode_extents, decode_xattrs};
use super::chunks::ChunkIter;
use super::entry::Entry;
use super::error::ManifestError;
use super::key::Key;
use super::leaf::{ContentView, End, EntryView, Leaf};
use super::node::Node;
use super::store::{BlobSource, NodeKind, get};
use super::wire::{Fault, ensure};
use crate::base::id::BlobId;
use crate::base::metadata::{Extent, Metadata, Xattr};

/// Attribute blobs that are kept decoded: neighbours often share them.
const ATTRS_REMEMBERED: usize = 16;

/// A stored tree and a place in it. Memory: a leaf, and a node a level.
///
/// After an error it stands where it stood, so the call may be repeated; nothing is passed over,
/// and a failure never looks like the end. As an iterator it ends after an error.
#[derive(Debug)]
pub struct ManifestReader<S> {
    source: S,
    root: Arc<Node>,
    /// From the root down, each with the row that leads to the leaf. Empty before the first use.
    nodes: Vec<NodeAt>,
    /// None until it is needed, so that stepping on never reads and never fails.
    leaf: Option<LeafAt>,
    /// Directory and name of the last entry of the leaf before.
    passed: Option<(Vec<u8>, Vec<u8>)>,
    ended: bool,
    failed: bool,
    xattrs: Recent<Vec<Xattr>>,
    extents: Recent<Vec<Extent>>,
}

#[derive(Debug)]
pub(super) struct NodeAt {
    pub(super) node: Arc<Node>,
    pub(super) row: usize,
    /// Directory of the row's first key.
    pub(super) dir: Vec<u8>,
}

impl NodeAt {
    /// At the first row.
    pub(super) fn first(node: Arc<Node>) -> Self {
        let mut dir = Vec::new();
        node.enter(0, &mut dir);
        Self { node, row: 0, dir }
    }

    /// Goes forward to the child that may hold `key`; says whether it moved.
    pub(super) fn skip_to(&mut self, key: Key<'_>) -> bool {
        let (row, dir) = self.node.find(key, self.row, &self.dir);
        let moved = row != self.row;
        (self.row, self.dir) = (row, dir);
        moved
    }
}

#[derive(Debug)]
struct LeafAt {
    leaf: Arc<Leaf>,
    row: usize,
    /// Directory of the row.
    dir: Vec<u8>,
}

impl LeafAt {
    fn view(&self) -> EntryView<'_> {
        self.leaf.row(self.row)
    }

    fn key(&self) -> Key<'_> {
        Key { dir: &self.dir, name: self.view().name() }
    }

    /// Steps within the leaf.
    fn step(&mut self) -> bool {
        if self.row + 1 == self.leaf.len() {
            return false;
        }
        self.row += 1;
        self.leaf.enter(self.row, &mut self.dir);
        true
    }
}

impl<S: BlobSource> ManifestReader<S> {
    /// Opens the tree and stands at its first entry. One read.
    ///
    /// # Errors
    /// [`ManifestError::Get`], [`ManifestError::Malformed`], [`ManifestError::TooNew`], here and
    /// in all that follows.
    pub fn open(root: &BlobId, source: S) -> Result<Self, ManifestError> {
        let node = get_node(&source, root)?;
        let mut dir = Vec::new();
        node.enter(0, &mut dir);
        ensure(Key { dir: &dir, name: node.name(0) } == Key::ROOT, "the tree lacks the entry of its root")
            .map_err(|fault| fault.of(NodeKind::Node, root))?;
        Ok(Self {
            source,
            root: Arc::new(node),
            nodes: Vec::new(),
            leaf: None,
            passed: None,
            ended: false,
            failed: false,
            xattrs: Recent(Vec::new()),
            extents: Recent(Vec::new()),
        })
    }

    /// Entries in the tree, by its root's word.
    pub fn entries(&self) -> u64 {
        self.root.totals().0
    }

    /// Sum of the sizes of its entries, by its root's word.
    pub fn bytes(&self) -> u64 {
        self.root.totals().1
    }

    /// Levels of inner nodes.
    pub fn height(&self) -> u32 {
        u32::from(self.root.level)
    }

    /// The entry it stands at; `None` behind the last.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn peek(&mut self) -> Result<Option<EntryView<'_>>, ManifestError> {
        self.load()?;
        Ok(self.leaf.as_ref().map(LeafAt::view))
    }

    /// The directory of the entry that [`Self::peek`] or [`Self::advance_to`] showed.
    pub fn dir(&self) -> &[u8] {
        self.leaf.as_ref().map_or(b"", |at| &at.dir)
    }

    /// The leaf of the entry shown, for [`super::ManifestBuilder::keep`].
    pub fn leaf(&self) -> Option<&Arc<Leaf>> {
        self.leaf.as_ref().map(|at| &at.leaf)
    }

    /// The entry it stands at with its attributes and extents; it stays there.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn entry(&mut self) -> Result<Option<Entry>, ManifestError> {
        self.load()?;
        let Some(at) = &self.leaf else { return Ok(None) };
        let (view, source) = (at.view(), &self.source);
        let get = |id: &BlobId| get(source, NodeKind::Attr, id);
        let xattrs = match view.xattrs_id() {
            Some(id) => self.xattrs.get(&id, || decode_xattrs(&id, &get(&id)?))?,
            None => Vec::new(),
        };
        let extents = match view.extents_id() {
            Some(id) => Some(self.extents.get(&id, || decode_extents(&id, &get(&id)?))?),
            None => None,
        };
        Ok(Some(owned(&view, at.dir.clone(), xattrs, extents)))
    }

    /// The entry it stands at; steps over it.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ManifestError> {
        let entry = self.entry()?;
        self.skip_entry()?;
        Ok(entry)
    }

    /// Steps over the entry it stands at.
    ///
    /// # Errors
    /// As for [`Self::open`], when it had not been read yet.
    pub fn skip_entry(&mut self) -> Result<(), ManifestError> {
        self.load()?;
        if !self.leaf.as_mut().is_none_or(LeafAt::step) {
            self.next_leaf();
        }
        Ok(())
    }

    /// Goes to the first entry whose key is not below `key`, from wherever it stands, in
    /// at most `height + 1` reads.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn seek(&mut self, key: Key<'_>) -> Result<(), ManifestError> {
        (self.leaf, self.passed) = (None, None);
        (self.ended, self.failed) = (false, false);
        self.nodes.clear();
        let mut dir = Vec::new();
        self.root.enter(0, &mut dir);
        let (row, dir) = self.root.find(key, 0, &dir);
        self.nodes.push(NodeAt { node: Arc::clone(&self.root), row, dir });
        self.descend(key)?;
        self.forward(key)
    }

    /// Goes forward to `key` and shows its entry, or `None` when there is none. Keys ascend from
    /// call to call; what lies between them is passed, whole leaves of it mostly unread.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn advance_to(&mut self, key: Key<'_>) -> Result<Option<EntryView<'_>>, ManifestError> {
        self.load()?;
        self.forward(key)?;
        Ok(self.leaf.as_ref().filter(|at| at.key() == key).map(LeafAt::view))
    }

    /// The entry of one path, in at most `height + 1` reads and those of its attributes.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn lookup(&mut self, path: &[u8]) -> Result<Option<Entry>, ManifestError> {
        let key = Key::of_path(path);
        if key.check().is_err() {
            return Ok(None);
        }
        self.seek(key)?;
        if self.leaf.as_ref().is_some_and(|at| at.key() == key) { self.entry() } else { Ok(None) }
    }

    /// The entries of one directory, without its own.
    ///
    /// # Errors
    /// As for [`Self::open`]; the iterator ends after an error.
    pub fn list_dir<'a>(&'a mut self, dir: &'a [u8]) -> Result<Below<'a, S>, ManifestError> {
        self.seek(Key { dir, name: b"" })?;
        if dir.is_empty() {
            self.skip_entry()?;
        }
        Ok(Below { reader: self, own: None, dir, deep: false, ended: false })
    }

    /// The entry of a path, then everything below it, in order. Nothing if there is no such path.
    ///
    /// # Errors
    /// As for [`Self::open`]; the iterator ends after an error.
    pub fn subtree<'a>(&'a mut self, path: &'a [u8]) -> Result<Below<'a, S>, ManifestError> {
        let own = self.lookup(path)?;
        if path.is_empty() {
            self.skip_entry()?;
        } else {
            self.seek(Key { dir: path, name: b"" })?;
        }
        Ok(Below { reader: self, own, dir: path, deep: true, ended: false })
    }

    /// The chunks of a content (of an [`Entry`]'s by `ContentView::from`), read list by list.
    pub fn chunks(&self, content: ContentView<'_>) -> ChunkIter<'_, S> {
        ChunkIter::new(content, &self.source)
    }

    /// Where the blobs come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Makes sure that the entry it stands at has been read, if there is one.
    fn load(&mut self) -> Result<(), ManifestError> {
        if self.leaf.is_some() || self.ended {
            return Ok(());
        }
        if self.nodes.is_empty() {
            return self.seek(Key::ROOT);
        }
        self.descend(Key::ROOT)?;
        if let (Some((dir, name)), Some(at)) = (self.passed.take(), &self.leaf)
            && (Key { dir: &dir, name: &name }) >= at.key()
        {
            let id = *at.leaf.id();
            self.leaf = None;
            self.passed = Some((dir, name));
            return Err(Fault::Malformed("it begins before its neighbour ends").of(NodeKind::Leaf, &id));
        }
        Ok(())
    }

    /// Steps on while the entry it stands at is below `key`.
    fn forward(&mut self, key: Key<'_>) -> Result<(), ManifestError> {
        loop {
            self.load()?;
            let Some(at) = &mut self.leaf else { return Ok(()) };
            if at.key() >= key {
                return Ok(());
            }
            if at.step() {
                continue;
            }
            let skipped = self.nodes.last_mut().is_some_and(|lowest| lowest.skip_to(key));
            if skipped {
                self.leaf = None;
            } else {
                self.next_leaf();
            }
        }
    }

    /// Stands at the first entry of the next leaf, or behind the last. Reads nothing.
    fn next_leaf(&mut self) {
        self.passed = self.leaf.take().map(|at| (at.dir.clone(), at.view().name().to_vec()));
        while let Some(lowest) = self.nodes.last_mut() {
            if lowest.row + 1 < lowest.node.len() {
                lowest.row += 1;
                lowest.node.enter(lowest.row, &mut lowest.dir);
                return;
            }
            self.nodes.pop();
        }
        self.ended = true;
    }

    /// Reads from the lowest node down to a leaf, each time the last child that may hold `key`
    /// (the first child for the root's key), and stands at the leaf's first entry.
    fn descend(&mut self, key: Key<'_>) -> Result<(), ManifestError> {
        while let Some(above) = self.nodes.last() {
            let child = *above.node.child(above.row);
            let first = Key { dir: &above.dir, name: above.node.name(above.row) };
            if above.node.level == 1 {
                let is_last = self.nodes.iter().all(|at| at.row + 1 == at.node.len());
                let end = if is_last { End::Tree } else { End::Cut };
                let plain = get(&self.source, NodeKind::Leaf, &child.id)?;
                let leaf = Leaf::decode(&child.id, &plain, end)?;
                let mut dir = Vec::new();
                leaf.enter(0, &mut dir);
                let name = leaf.row(0).name();
                agrees(first == Key { dir: &dir, name }, child.entries == leaf.len() as u64)
                    .map_err(|fault| fault.of(NodeKind::Leaf, &child.id))?;
                self.leaf = Some(LeafAt { leaf: Arc::new(leaf), row: 0, dir });
                return Ok(());
            }
            let node = get_node(&self.source, &child.id)?;
            let mut dir = Vec::new();
            node.enter(0, &mut dir);
            let same = first == Key { dir: &dir, name: node.name(0) };
            agrees(same && node.level + 1 == above.node.level, child.entries == node.totals().0)
                .map_err(|fault| fault.of(NodeKind::Node, &child.id))?;
            let (row, dir) = node.find(key, 0, &dir);
            self.nodes.push(NodeAt { node: Arc::new(node), row, dir });
        }
        Ok(())
    }
}

/// Refuses a child that is not what its parent says.
pub(super) fn agrees(place: bool, entries: bool) -> Result<(), Fault> {
    ensure(place, "it begins elsewhere than its parent says")?;
    ensure(entries, "it has another number of entries than its parent says")
}

impl<S: BlobSource> Iterator for ManifestReader<S> {
    type Item = Result<Entry, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_entry();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// The entries of a directory, or of everything below a path.
#[derive(Debug)]
pub struct Below<'a, S> {
    reader: &'a mut ManifestReader<S>,
    own: Option<Entry>,
    dir: &'a [u8],
    deep: bool,
    ended: bool,
}

impl<S: BlobSource> Iterator for Below<'_, S> {
    type Item = Result<Entry, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(own) = self.own.take() {
            return Some(Ok(own));
        }
        if self.ended {
            return None;
        }
        if let Err(error) = self.reader.load() {
            self.ended = true;
            return Some(Err(error));
        }
        let here = self.reader.dir();
        let inside = match here.strip_prefix(self.dir) {
            Some([]) => true,
            Some(rest) => self.deep && (self.dir.is_empty() || rest.starts_with(b"/")),
            None => false,
        };
        self.ended = !inside;
        let next = if inside { self.reader.next_entry() } else { Ok(None) };
        self.ended |= next.is_err();
        next.transpose()
    }
}

/// The last few things that were decoded.
#[derive(Debug)]
struct Recent<T>(Vec<(BlobId, T)>);

impl<T: Clone> Recent<T> {
    fn get(
        &mut self,
        id: &BlobId,
        read: impl FnOnce() -> Result<T, ManifestError>,
    ) -> Result<T, ManifestError> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| known == id) {
            return Ok(known.clone());
        }
        let value = read()?;
        if self.0.len() == ATTRS_REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((*id, value.clone()));
        Ok(value)
    }
}

/// Reads a node.
pub(super) fn get_node<S: BlobSource>(source: &S, id: &BlobId) -> Result<Node, ManifestError> {
    Node::decode(id, get(source, NodeKind::Node, id)?)
}

fn owned(view: &EntryView<'_>, dir: Vec<u8>, xattrs: Vec<Xattr>, extents: Option<Vec<Extent>>) -> Entry {
    Entry {
        dir,
        name: view.name().to_vec(),
        meta: Metadata {
            kind: view.kind(),
            mode: view.mode(),
            uid: view.uid(),
            gid: view.gid(),
            owner: view.user_name().to_vec(),
            group: view.group_name().to_vec(),
            size: view.size(),
            mtime: view.mtime(),
            ctime: view.ctime(),
            btime: view.btime(),
            dev: view.dev(),
            ino: view.ino(),
            rdev: view.rdev(),
            hard_link_group: view.hard_link_group(),
            link_target: view.link_target().to_vec(),
            flags: view.flags(),
            xattrs,
        },
        content: view.content().to_content(),
        hash16: view.hash16(),
        extents,
        state: view.state(),
    }
}

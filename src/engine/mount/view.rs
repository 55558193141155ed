//! What lies where in a mount: its own folders above the trees, and the entries of the trees.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::Cache;
use super::file::{Blobs, File};
use super::place::{self, Place};
use crate::base::display;
use crate::base::error::{Class, Classified};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};
use crate::engine::error::EngineError;
use crate::engine::ls::full_path;
use crate::engine::roots::prefix;
use crate::repository::manifest::{EntryView, Key, Leaf, LeafRef, NodeShelf, TreeCursor, extents_of};
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

/// Decoded leaves are kept up to this.
const LEAVES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Layouts of files in use are kept up to this.
const FILES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One snapshot: what was backed up lies at the top.
    One,
    /// A folder for each snapshot, `latest` pointing to the newest.
    Folders,
}

/// One root of one snapshot.
struct Tree {
    root: BlobId,
    /// Number of its snapshot: hard links hold within one.
    snapshot: usize,
    /// For messages.
    shown: String,
}

/// What only the mount has.
pub(super) enum Own {
    /// A folder.
    Folder {
        /// What is in it, by name.
        names: BTreeMap<Vec<u8>, Child>,
        /// When its snapshot was taken.
        time: FileTime,
    },
    /// A symbolic link.
    Link(Vec<u8>),
}

/// What a name in a folder of the mount stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// A folder or link of the mount.
    Own(usize),
    /// The root of a tree.
    Tree(usize),
}

/// An entry, in the leaf that has it.
pub(super) struct Entry {
    tree: usize,
    ordinal: u64,
    leaf: Arc<Leaf>,
    row: usize,
}

impl Entry {
    pub(super) fn view(&self) -> EntryView<'_> {
        self.leaf.row(self.row)
    }

    /// Its path in its tree.
    pub(super) fn path(&self) -> Vec<u8> {
        Key { dir: &self.view().dir(), name: self.view().name() }.path()
    }
}

/// Something with an inode number.
pub(super) enum Node {
    /// Number of a folder or link of the mount.
    Own(usize),
    /// An entry of a tree.
    Entry(Entry),
}

/// An inode with several names, as long as the kernel knows it.
struct Linked {
    tree: usize,
    ordinal: u64,
    lookups: u64,
}

/// All of a mount.
pub(super) struct View<'a> {
    trees: Vec<Tree>,
    pub(super) own: Vec<Own>,
    /// The tree whose root is the top of the mount.
    top: Option<usize>,
    /// By tree: the paths in it where other trees are shown.
    laid: HashMap<usize, BTreeMap<Vec<u8>, usize>>,
    pub(super) blobs: Blobs<'a>,
    shelf: Arc<NodeShelf>,
    leaves: Cache<BlobId, Arc<Leaf>>,
    files: Cache<u64, Arc<File>>,
    linked: Mutex<HashMap<u64, Linked>>,
    /// Entries and bytes of all snapshots, by their word.
    pub(super) totals: (u64, u64),
}

impl<'a> View<'a> {
    /// Over snapshots, oldest first; with what could not be given a place, for people.
    pub(super) fn new(
        reader: &'a BlobReader<'a>,
        snapshots: &[Snapshot],
        shape: Shape,
    ) -> Result<(Self, Vec<String>), EngineError> {
        let mut view = Self {
            trees: Vec::new(),
            own: vec![folder(snapshots.last())],
            top: None,
            laid: HashMap::new(),
            blobs: Blobs::new(reader),
            shelf: NodeShelf::new(),
            leaves: Cache::new(LEAVES_BYTES_MAX),
            files: Cache::new(FILES_BYTES_MAX),
            linked: Mutex::default(),
            totals: (0, 0),
        };
        let mut left_out = Vec::new();
        for (number, snapshot) in snapshots.iter().enumerate() {
            let name = match shape {
                Shape::One => Vec::new(),
                Shape::Folders => name_of(snapshot),
            };
            let mut places = Vec::new();
            for (at, root) in snapshot.body.roots.iter().enumerate() {
                view.totals.0 = view.totals.0.saturating_add(root.entries);
                view.totals.1 = view.totals.1.saturating_add(root.bytes);
                let shown = format!("{} in snapshot {}", display::path(&root.path), snapshot.id.short());
                view.trees.push(Tree { root: root.node, snapshot: number, shown });
                let below = match prefix(snapshot, at, &view.blobs) {
                    // It is shown, and an I/O error to who looks into it.
                    Err(error) if shape == Shape::Folders && error.class() == Class::Damage => Vec::new(),
                    below => below?,
                };
                places.push((full_path(&name, &below), view.trees.len() - 1));
            }
            // A root before those inside it, whatever their order.
            places.sort_unstable();
            for (place, tree) in places {
                let parts: Vec<&[u8]> =
                    place.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
                if !view.hang(&parts, tree, snapshot)? {
                    left_out.push(view.trees[tree].shown.clone());
                }
            }
        }
        if shape == Shape::Folders
            && let Some(newest) = snapshots.last()
        {
            view.own.push(Own::Link(name_of(newest)));
            let link = Child::Own(view.own.len() - 1);
            if let Some(Own::Folder { names, .. }) = view.own.first_mut() {
                names.insert(b"latest".to_vec(), link);
            }
        }
        if let Some(tree) = view.top {
            view.root(tree)?;
        }
        Ok((view, left_out))
    }

    /// Gives a tree its place below the top; false when something is there, or it is no path.
    fn hang(&mut self, parts: &[&[u8]], tree: usize, snapshot: &Snapshot) -> Result<bool, EngineError> {
        if let Some(outer) = self.top {
            return self.lay(outer, parts, tree);
        }
        let Some((last, above)) = parts.split_last() else {
            let free = matches!(self.own.first(), Some(Own::Folder { names, .. }) if names.is_empty());
            self.top = free.then_some(tree);
            return Ok(free);
        };
        if !parts.iter().all(|part| is_name(part)) {
            return Ok(false);
        }
        let mut at = 0;
        for (depth, part) in above.iter().enumerate() {
            let next = self.own.len();
            let Some(Own::Folder { names, .. }) = self.own.get_mut(at) else { return Ok(false) };
            at = match names.get(*part) {
                Some(Child::Own(number)) => *number,
                Some(Child::Tree(outer)) => {
                    let outer = *outer;
                    return self.lay(outer, &parts[depth + 1..], tree);
                }
                None => {
                    names.insert(part.to_vec(), Child::Own(next));
                    self.own.push(folder(Some(snapshot)));
                    next
                }
            };
        }
        let Some(Own::Folder { names, .. }) = self.own.get_mut(at) else { return Ok(false) };
        let free = !names.contains_key(*last);
        if free {
            names.insert(last.to_vec(), Child::Tree(tree));
        }
        Ok(free)
    }

    /// Lays a tree over what another one has in its place: an empty folder. False when it has
    /// nothing there that could be listed.
    fn lay(&mut self, outer: usize, parts: &[&[u8]], tree: usize) -> Result<bool, EngineError> {
        let (mut outer, mut rest) = (outer, parts.join(&b'/'));
        while let Some((inner, deeper)) = self.laid.get(&outer).and_then(|laid| {
            laid.iter().find_map(|(place, inner)| {
                rest.strip_prefix(&**place)?.strip_prefix(b"/").map(|deeper| (*inner, deeper.to_vec()))
            })
        }) {
            (outer, rest) = (inner, deeper);
        }
        match self.at(outer, Key::of_path(&rest)) {
            Ok(None) => return Ok(false),
            Err(error) if error.class() != Class::Damage => return Err(error),
            Ok(Some(_)) | Err(_) => {}
        }
        let laid = self.laid.entry(outer).or_default();
        Ok(!rest.is_empty() && laid.insert(rest, tree).is_none())
    }

    /// The tree that is shown in the place of an entry, when another root stands there.
    pub(super) fn laid_over(&self, tree: usize, path: &[u8]) -> Option<usize> {
        self.laid.get(&tree)?.get(path).copied()
    }

    /// What an inode number stands for.
    pub(super) fn node(&self, ino: u64) -> Result<Option<Node>, EngineError> {
        let (tree, ordinal) = match place::place(ino) {
            Some(Place::Own(0)) => match self.top {
                Some(tree) => (tree, 0),
                None => return Ok(Some(Node::Own(0))),
            },
            Some(Place::Own(number)) => {
                return Ok((number < self.own.len()).then_some(Node::Own(number)));
            }
            Some(Place::Entry(tree, ordinal)) => (tree, ordinal),
            Some(Place::Linked) => match self.lock_linked().get(&ino) {
                Some(linked) => (linked.tree, linked.ordinal),
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        Ok(self.entry(tree, ordinal)?.map(Node::Entry))
    }

    /// The number of an entry; `None` beyond what numbers can tell.
    pub(super) fn ino(&self, entry: &Entry) -> Option<u64> {
        let view = entry.view();
        if view.hard_link_group() != 0 && view.kind() != FileKind::Directory {
            return Some(place::linked(self.trees[entry.tree].snapshot, view.hard_link_group()));
        }
        if self.top == Some(entry.tree) && entry.ordinal == 0 {
            return Some(place::TOP);
        }
        place::entry(entry.tree, entry.ordinal)
    }

    /// The kernel was given an entry under a number, once more.
    pub(super) fn given(&self, ino: u64, entry: &Entry) {
        if place::place(ino) == Some(Place::Linked) {
            let fresh = Linked { tree: entry.tree, ordinal: entry.ordinal, lookups: 0 };
            self.lock_linked().entry(ino).or_insert(fresh).lookups += 1;
        }
    }

    /// The kernel forgets a number as often as it was given.
    pub(super) fn forget(&self, ino: u64, count: u64) {
        let mut linked = self.lock_linked();
        if let Some(found) = linked.get_mut(&ino) {
            found.lookups = found.lookups.saturating_sub(count);
            if found.lookups == 0 {
                linked.remove(&ino);
            }
        }
    }

    fn lock_linked(&self) -> MutexGuard<'_, HashMap<u64, Linked>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cursor(&self, tree: usize) -> Result<Option<TreeCursor<&Blobs<'a>>>, EngineError> {
        let Some(tree) = self.trees.get(tree) else { return Ok(None) };
        Ok(Some(TreeCursor::open(&tree.root, &self.blobs, Arc::clone(&self.shelf))?))
    }

    fn leaf(&self, leaf: &LeafRef) -> Result<Arc<Leaf>, EngineError> {
        let loaded = self.leaves.get(leaf.id, || {
            let loaded = leaf.load(&&self.blobs)?;
            let bytes = loaded.memory_bytes();
            Ok::<_, EngineError>((Arc::new(loaded), bytes))
        })?;
        Ok(loaded)
    }

    /// The entry of a tree with so many before it.
    pub(super) fn entry(&self, tree: usize, ordinal: u64) -> Result<Option<Entry>, EngineError> {
        let Some(mut cursor) = self.cursor(tree)? else { return Ok(None) };
        cursor.seek_ordinal(ordinal)?;
        let before = cursor.ordinal();
        let Some(leaf) = cursor.take_leaf()? else { return Ok(None) };
        let leaf = self.leaf(&leaf)?;
        let row = usize::try_from(ordinal.saturating_sub(before)).unwrap_or(usize::MAX);
        // Another tree may have said how many entries this leaf has.
        Ok((row < leaf.len()).then_some(Entry { tree, ordinal, leaf, row }))
    }

    /// The root of a tree.
    pub(super) fn root(&self, tree: usize) -> Result<Option<Entry>, EngineError> {
        self.entry(tree, 0)
    }

    /// An entry of a folder, by its name.
    pub(super) fn child(&self, folder: &Entry, name: &[u8]) -> Result<Option<Entry>, EngineError> {
        let path = folder.path();
        match self.laid_over(folder.tree, &full_path(&path, name)) {
            Some(inner) => self.root(inner),
            None => self.at(folder.tree, Key { dir: &path, name }),
        }
    }

    fn at(&self, tree: usize, key: Key<'_>) -> Result<Option<Entry>, EngineError> {
        if key.check().is_err() {
            return Ok(None);
        }
        let Some(mut cursor) = self.cursor(tree)? else { return Ok(None) };
        cursor.seek(key)?;
        let before = cursor.ordinal();
        let Some(leaf) = cursor.take_leaf()? else { return Ok(None) };
        let leaf = self.leaf(&leaf)?;
        Ok(leaf.find(key).ok().map(|row| Entry {
            tree,
            ordinal: before.saturating_add(row as u64),
            leaf,
            row,
        }))
    }

    /// Gives the entries of a folder from an ordinal on, or from its first, until `visit` says
    /// that it is enough.
    pub(super) fn list(
        &self,
        folder: &Entry,
        from: Option<u64>,
        visit: &mut dyn FnMut(Entry) -> Result<bool, EngineError>,
    ) -> Result<(), EngineError> {
        let path = folder.path();
        let Some(mut cursor) = self.cursor(folder.tree)? else { return Ok(()) };
        match from {
            Some(ordinal) => cursor.seek_ordinal(ordinal)?,
            None => cursor.seek(Key { dir: &path, name: b"" })?,
        }
        let mut before = cursor.ordinal();
        while let Some(part) = cursor.part() {
            if (Key { dir: part.key.dir, name: b"" }) > (Key { dir: &path, name: b"" }) {
                return Ok(());
            }
            let Some(leaf) = cursor.take_leaf()? else { return Ok(()) };
            let leaf = self.leaf(&leaf)?;
            let begin = match from {
                Some(ordinal) => usize::try_from(ordinal.saturating_sub(before)).unwrap_or(usize::MAX),
                None => leaf.find(Key { dir: &path, name: b"" }).unwrap_or_else(|row| row),
            };
            let mut dir = Vec::new();
            for row in 0..leaf.len() {
                leaf.enter(row, &mut dir);
                // The root stands in its own folder, without a name.
                if row < begin || leaf.row(row).name().is_empty() {
                    continue;
                }
                if dir != path {
                    return Ok(());
                }
                let ordinal = before.saturating_add(row as u64);
                if !visit(Entry { tree: folder.tree, ordinal, leaf: Arc::clone(&leaf), row })? {
                    return Ok(());
                }
            }
            before = before.saturating_add(leaf.len() as u64);
        }
        Ok(())
    }

    /// Where the bytes of a regular file are.
    pub(super) fn file(&self, ino: u64, entry: &Entry) -> Result<Arc<File>, EngineError> {
        self.files.get(ino, || {
            let view = entry.view();
            let extents = view.extents_id().map(|id| extents_of(&&self.blobs, &id)).transpose()?;
            let file = File::new(&view, extents);
            let bytes = file.bytes();
            Ok((Arc::new(file), bytes))
        })
    }

    /// The tree of an inode for people, when it is one's.
    pub(super) fn shown_tree(&self, ino: u64) -> Option<&str> {
        match place::place(ino)? {
            Place::Entry(tree, _) => self.trees.get(tree).map(|tree| tree.shown.as_str()),
            Place::Own(_) | Place::Linked => None,
        }
    }

    /// An entry for people.
    pub(super) fn shown(&self, entry: &Entry) -> String {
        format!("{} of {}", display::path(&entry.path()), self.trees[entry.tree].shown)
    }
}

impl Entry {
    /// Number of its tree.
    pub(super) fn tree(&self) -> usize {
        self.tree
    }

    /// How many entries of its tree lie before it.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }
}

fn folder(snapshot: Option<&Snapshot>) -> Own {
    let ms = snapshot.map_or(0, |snapshot| snapshot.body.captured_at.unix_ms());
    let nanos = u32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    Own::Folder { names: BTreeMap::new(), time: FileTime { seconds: ms.div_euclid(1000), nanos } }
}

/// `20261124T015302Z_7f3a0c11`: sorts by time.
fn name_of(snapshot: &Snapshot) -> Vec<u8> {
    format!("{}_{}", snapshot.body.captured_at.compact(), snapshot.id.short()).into_bytes()
}

/// Whether a folder can have something of this name.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && Key { dir: b"", name }.check().is_ok()
}

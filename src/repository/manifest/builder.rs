//! Writes a tree: entries in ascending order go in, leaves and nodes come out, cut by content.

use std::sync::Arc;

use super::attr::{encode_extents, encode_xattrs};
use super::entry::{Content, Entry};
use super::error::ManifestError;
use super::key::Key;
use super::leaf::{ContentView, EntryView, LINK_TARGET_BYTES_MAX, Leaf, LeafWriter, Owner, Record};
use super::node::{Child, NodeWriter};
use super::store::{BlobSink, NodeKind, put};
use crate::base::id::BlobId;
use crate::base::limits::{BLOB_PLAIN_BYTES_MAX, NAME_BYTES_MAX};
use crate::base::metadata::{FileKind, FileTime};
use crate::codec::hash;

/// Entries of a leaf, and rows of a node, before a cut by content (docs/format.md, "Where blobs are cut").
const LEAF_CUT_MIN: usize = 256;
const LEAF_CUT_MASK: u64 = 1023;
const NODE_CUT_MIN: usize = 64;
const NODE_CUT_MASK: u64 = 255;
/// Attribute blobs whose ids are remembered: neighbours often share them.
const ATTRS_REMEMBERED: usize = 16;

/// A finished tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its root node (kind 4).
    pub id: BlobId,
    /// Entries in it.
    pub entries: u64,
    /// Sum of the sizes of its entries.
    pub bytes: u64,
    /// Levels of inner nodes: one path is found in `height + 1` reads.
    pub height: u32,
}

/// Writes a tree from entries in ascending order of their keys.
///
/// The same entries give the same root, whether they are [pushed](Self::push) or
/// [kept](Self::keep). Memory: an open leaf, and an open node a level.
#[derive(Debug)]
pub struct ManifestBuilder<S> {
    sink: S,
    cut_key: [u8; 32],
    leaf: LeafWriter,
    /// First key of the open leaf.
    first: (Vec<u8>, Vec<u8>),
    totals: (u64, FileTime),
    levels: Vec<NodeWriter>,
    /// Directory and name of the newest entry.
    last: Option<(Vec<u8>, Vec<u8>)>,
    kept: Option<Kept>,
    attrs: Vec<(Vec<u8>, BlobId)>,
}

/// The first rows of another tree's leaf, kept while this tree stands at a leaf's start. When it
/// turns out to be the whole leaf, nothing needs to be written.
#[derive(Clone, Debug)]
struct Kept {
    leaf: Arc<Leaf>,
    rows: usize,
}

impl<S: BlobSink> ManifestBuilder<S> {
    /// An empty tree; `cut_key` is K_cut of the repository.
    pub fn new(cut_key: [u8; 32], sink: S) -> Self {
        Self {
            sink,
            cut_key,
            leaf: LeafWriter::default(),
            first: (Vec::new(), Vec::new()),
            totals: (0, OLDEST),
            levels: Vec::new(),
            last: None,
            kept: None,
            attrs: Vec::new(),
        }
    }

    /// Where the blobs go, for [`super::ChunkListBuilder`].
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Adds an entry. About 0.3 µs, and a put for each leaf.
    ///
    /// # Errors
    /// [`ManifestError::OutOfOrder`], [`ManifestError::Path`] and [`ManifestError::Entry`] leave
    /// the builder as it was; after [`ManifestError::Put`] it is of no use.
    pub fn push(&mut self, entry: &Entry) -> Result<(), ManifestError> {
        check(entry)?;
        let unfit = |what| ManifestError::Entry { path: entry.path(), what };
        let xattrs = match entry.meta.xattrs.as_slice() {
            [] => None,
            xattrs => Some(encode_xattrs(xattrs).map_err(unfit)?),
        };
        let extents = entry.extents.as_deref().map(encode_extents).transpose().map_err(unfit)?;
        self.write_kept()?;
        self.check_order(entry.key())?;
        let xattrs = xattrs.map(|plain| self.put_attr(plain)).transpose()?;
        let extents = extents.map(|plain| self.put_attr(plain)).transpose()?;
        let meta = &entry.meta;
        self.add(&Record {
            key: entry.key(),
            kind: meta.kind,
            mode: meta.mode,
            owner: Owner { uid: meta.uid, gid: meta.gid, user: &meta.owner, group: &meta.group },
            size: meta.size,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
            dev: meta.dev,
            ino: meta.ino,
            rdev: meta.rdev,
            hard_link_group: meta.hard_link_group,
            link_target: &meta.link_target,
            flags: meta.flags,
            xattrs,
            extents,
            content: ContentView::from(&entry.content),
            hash16: entry.hash16,
            state: entry.state,
        })
    }

    /// Adds the entry at `row` of a leaf of another tree of this repository, as it is. When all
    /// rows of a leaf are kept one after the other, and this tree has a leaf starting there, the
    /// leaf is taken over by its id: a few nanoseconds an entry, and no put.
    ///
    /// # Errors
    /// As for [`Self::push`].
    pub fn keep(&mut self, leaf: &Arc<Leaf>, row: usize) -> Result<(), ManifestError> {
        if let Some(kept) = &mut self.kept
            && kept.rows == row
            && Arc::ptr_eq(&kept.leaf, leaf)
        {
            kept.rows += 1;
            return if kept.rows == leaf.len() { self.take_over() } else { Ok(()) };
        }
        let view = leaf.row(row);
        let dir = view.dir();
        self.write_kept()?;
        self.check_order(Key { dir: &dir, name: view.name() })?;
        if row > 0 || self.leaf.entries() > 0 {
            return self.add(&view.record(&dir));
        }
        self.last = Some((dir, view.name().to_vec()));
        self.kept = Some(Kept { leaf: Arc::clone(leaf), rows: 1 });
        if leaf.len() == 1 { self.take_over() } else { Ok(()) }
    }

    /// [Keeps](Self::keep) all entries of a leaf.
    ///
    /// # Errors
    /// As for [`Self::push`].
    pub fn keep_leaf(&mut self, leaf: &Arc<Leaf>) -> Result<(), ManifestError> {
        (0..leaf.len()).try_for_each(|row| self.keep(leaf, row))
    }

    /// The tree of the entries so far, finished and stored as if nothing followed; the builder
    /// goes on as it was. `None` while there is no entry. Costs the open leaf and nodes.
    ///
    /// # Errors
    /// [`ManifestError::Put`]; the builder is of no use then.
    pub fn so_far(&mut self) -> Result<Option<Root>, ManifestError> {
        if self.last.is_none() {
            return Ok(None);
        }
        let copy = ManifestBuilder {
            sink: &mut self.sink,
            cut_key: self.cut_key,
            leaf: self.leaf.clone(),
            first: self.first.clone(),
            totals: self.totals,
            levels: self.levels.clone(),
            last: self.last.clone(),
            kept: self.kept.clone(),
            attrs: Vec::new(),
        };
        copy.finish().map(|(root, _)| Some(root))
    }

    /// Stores what is open. Gives the sink back with the root.
    ///
    /// # Errors
    /// [`ManifestError::Empty`] when nothing was added; [`ManifestError::Put`].
    pub fn finish(mut self) -> Result<(Root, S), ManifestError> {
        self.write_kept()?;
        if self.leaf.entries() > 0 {
            self.close_leaf()?;
        }
        let mut level = 0;
        loop {
            let Some(node) = self.levels.get(level) else { return Err(ManifestError::Empty) };
            let top = level + 1 == self.levels.len();
            if top {
                return self.finish_root(level);
            }
            if node.rows() > 0 {
                self.close_node(level)?;
            }
            level += 1;
        }
    }

    /// The top node is the root, or its only child is.
    fn finish_root(mut self, level: usize) -> Result<(Root, S), ManifestError> {
        let node = &mut self.levels[level];
        let only = node.only_child().filter(|_| level > 0);
        let done = node.finish().expect("a level is made for its first row");
        let height = u32::try_from(level).expect("a tree has few levels");
        let (id, height) = match only {
            Some(child) => (child, height),
            None => (put(&mut self.sink, NodeKind::Node, &done.plain)?, height + 1),
        };
        Ok((Root { id, entries: done.entries, bytes: done.bytes, height }, self.sink))
    }

    fn check_order(&self, key: Key<'_>) -> Result<(), ManifestError> {
        match &self.last {
            None if key == Key::ROOT => Ok(()),
            None => Err(ManifestError::Entry { path: key.path(), what: "the root's own entry comes first" }),
            Some((dir, name)) if Key { dir, name } < key => Ok(()),
            Some((dir, name)) => {
                Err(ManifestError::OutOfOrder { path: key.path(), after: Key { dir, name }.path() })
            }
        }
    }

    /// Adds a record, and closes the leaf if it ends here.
    fn add(&mut self, record: &Record<'_>) -> Result<(), ManifestError> {
        if self.leaf.entries() == 0 {
            copy(&mut self.first, record.key);
        }
        copy(self.last.get_or_insert_default(), record.key);
        self.leaf.push(record);
        let (bytes, mtime) = &mut self.totals;
        *bytes = bytes.saturating_add(record.size);
        *mtime = record.mtime.max(*mtime);
        let cut = self.leaf.entries() >= LEAF_CUT_MIN
            && key_hash(&self.cut_key, record.key)[0] & LEAF_CUT_MASK == 0;
        if cut || self.leaf.is_full() { self.close_leaf() } else { Ok(()) }
    }

    /// Writes the rows kept so far, since they are not a whole leaf here.
    fn write_kept(&mut self) -> Result<(), ManifestError> {
        let Some(Kept { leaf, rows }) = self.kept.take() else { return Ok(()) };
        let mut dir = Vec::new();
        for row in 0..rows {
            leaf.enter(row, &mut dir);
            self.add(&leaf.row(row).record(&dir))?;
        }
        Ok(())
    }

    /// All rows of a leaf were kept. A leaf that ends only because its tree did is written: here
    /// it may go on.
    fn take_over(&mut self) -> Result<(), ManifestError> {
        let Some(Kept { leaf, .. }) = self.kept.take_if(|kept| kept.leaf.is_cut()) else {
            return self.write_kept();
        };
        let (first, last) = (leaf.row(0), leaf.row(leaf.len() - 1));
        let (bytes, max_mtime) = leaf.totals();
        self.sink.keep(NodeKind::Leaf, leaf.id());
        let child = Child { id: *leaf.id(), entries: leaf.len() as u64, bytes, max_mtime };
        let place = |view: EntryView<'_>| (view.dir(), view.name().to_vec());
        self.last = Some(place(last));
        let (dir, name) = place(first);
        self.add_child(0, Key { dir: &dir, name: &name }, &child)
    }

    fn close_leaf(&mut self) -> Result<(), ManifestError> {
        let entries = self.leaf.entries() as u64;
        let plain = self.leaf.finish();
        let id = put(&mut self.sink, NodeKind::Leaf, &plain)?;
        let (bytes, max_mtime) = std::mem::replace(&mut self.totals, (0, OLDEST));
        let (dir, name) = std::mem::take(&mut self.first);
        self.add_child(0, Key { dir: &dir, name: &name }, &Child { id, entries, bytes, max_mtime })
    }

    /// Adds a row to the open node of a level (0 is the one above the leaves).
    fn add_child(&mut self, level: usize, key: Key<'_>, child: &Child) -> Result<(), ManifestError> {
        if self.levels.len() == level {
            let number = u8::try_from(level + 1).expect("a tree has few levels");
            self.levels.push(NodeWriter::new(number));
        }
        let node = &mut self.levels[level];
        node.push(key, child);
        let cut = node.rows() >= NODE_CUT_MIN && key_hash(&self.cut_key, key)[1] & NODE_CUT_MASK == 0;
        if cut || node.is_full() { self.close_node(level) } else { Ok(()) }
    }

    fn close_node(&mut self, level: usize) -> Result<(), ManifestError> {
        let Some(done) = self.levels[level].finish() else { return Ok(()) };
        let id = put(&mut self.sink, NodeKind::Node, &done.plain)?;
        let child = Child { id, entries: done.entries, bytes: done.bytes, max_mtime: done.max_mtime };
        self.add_child(level + 1, Key { dir: &done.dir, name: &done.name }, &child)
    }

    fn put_attr(&mut self, plain: Vec<u8>) -> Result<BlobId, ManifestError> {
        if let Some((_, id)) = self.attrs.iter().find(|(known, _)| *known == plain) {
            return Ok(*id);
        }
        let id = put(&mut self.sink, NodeKind::Attr, &plain)?;
        if self.attrs.len() == ATTRS_REMEMBERED {
            self.attrs.remove(0);
        }
        self.attrs.push((plain, id));
        Ok(id)
    }
}

/// Before every time: what the newest of no entries would be.
const OLDEST: FileTime = FileTime { seconds: i64::MIN, nanos: 0 };

fn copy(to: &mut (Vec<u8>, Vec<u8>), key: Key<'_>) {
    to.0.clear();
    to.0.extend_from_slice(key.dir);
    to.1.clear();
    to.1.extend_from_slice(key.name);
}

/// The two numbers that decide cuts: the first of leaves, the second of nodes.
fn key_hash(cut_key: &[u8; 32], key: Key<'_>) -> [u64; 2] {
    let len = u32::try_from(key.dir.len()).expect("a path's length is bounded");
    let hash = hash::keyed(cut_key, &[&len.to_le_bytes(), key.dir, key.name]);
    let mut words = hash.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    [words.next().unwrap_or_default(), words.next().unwrap_or_default()]
}

/// Refuses what a leaf can't hold or a reader would refuse.
fn check(entry: &Entry) -> Result<(), ManifestError> {
    entry.key().check().map_err(|fault| ManifestError::Path { path: entry.path(), fault })?;
    let meta = &entry.meta;
    let is_file = meta.kind == FileKind::File;
    let content = ContentView::from(&entry.content);
    let times = [Some(meta.mtime), Some(meta.ctime), meta.btime];
    let in_blob = |start: u32, len: u32| u64::from(start) + u64::from(len) <= BLOB_PLAIN_BYTES_MAX as u64;
    let fits = match content {
        ContentView::None => true,
        ContentView::Group { offset, len, .. } => in_blob(offset, len),
        ContentView::Chunks(chunks) => {
            chunks.len() <= Content::CHUNKS_MAX
                && chunks.iter().all(|chunk| chunk.len > 0 && in_blob(0, chunk.len))
        }
        ContentView::ChunkList { chunks, .. } => chunks > Content::CHUNKS_MAX as u64,
    };
    let what = if meta.mode > 0o7777 {
        "its permission bits are out of range"
    } else if times.into_iter().flatten().any(|time| time.nanos >= 1_000_000_000) {
        "one of its times has more than a second of nanoseconds"
    } else if meta.owner.len() > NAME_BYTES_MAX || meta.group.len() > NAME_BYTES_MAX {
        "the name of its owner or group is too long"
    } else if meta.link_target.len() > LINK_TARGET_BYTES_MAX {
        "its link target is too long"
    } else if meta.kind != FileKind::Symlink && !meta.link_target.is_empty() {
        "it has a link target and is no symbolic link"
    } else if !is_file && (content != ContentView::None || entry.hash16 != [0; 16] || entry.extents.is_some())
    {
        "it has content and is no regular file"
    } else if !fits {
        "its content refers to more chunks, or longer ones, than can be"
    } else {
        return Ok(());
    };
    Err(ManifestError::Entry { path: entry.path(), what })
}

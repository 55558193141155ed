//! Trees in memory, whose reads are counted and whose bytes may be changed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::error::{Class, Classified};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime, Metadata};
use crate::codec::hash;
use crate::repository::manifest::{
    BlobSink, BlobSource, Content, Entry, Key, ManifestBuilder, NodeKind, NodeShelf, State, TreeCursor,
};

/// What a test says of a file: its content's number and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) content: u8,
    pub(super) time: i64,
}

/// Files by path; folders are made as they need them.
pub(super) type Tree = BTreeMap<String, File>;

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) blobs: RefCell<HashMap<BlobId, Bytes>>,
    pub(super) gets: Cell<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error("it is not there")]
pub(super) struct Missing;

impl Classified for Missing {
    fn class(&self) -> Class {
        Class::Damage
    }

    fn code(&self) -> &'static str {
        "E9999"
    }
}

impl BlobSink for &Memory {
    type Error = Missing;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, Missing> {
        let id = BlobId::new(hash::keyed(&[kind as u8; 32], &[plain]));
        self.blobs.borrow_mut().insert(id, Bytes::copy_from_slice(plain));
        Ok(id)
    }
}

impl BlobSource for Memory {
    type Error = Missing;

    fn get(&self, _: NodeKind, id: &BlobId) -> Result<Bytes, Missing> {
        self.gets.set(self.gets.get() + 1);
        self.blobs.borrow().get(id).cloned().ok_or(Missing)
    }
}

impl Memory {
    /// Stores a tree.
    pub(super) fn write(&self, tree: &Tree) -> BlobId {
        let mut all: Vec<Entry> = Vec::new();
        let mut folders = std::collections::BTreeSet::from([String::new()]);
        for (path, file) in tree {
            all.push(entry(path, FileKind::File, *file));
            for (at, _) in path.match_indices('/') {
                folders.insert(path[..at].to_owned());
            }
        }
        let plain = File { content: 0, time: 0 };
        all.extend(folders.iter().map(|path| entry(path, FileKind::Directory, plain)));
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        let mut builder = ManifestBuilder::new([9; 32], self);
        for entry in &all {
            builder.push(entry).expect("entries are in order");
        }
        builder.finish().expect("a root is there").0.id
    }

    pub(super) fn cursor(&self, root: &BlobId) -> TreeCursor<&Self> {
        TreeCursor::open(root, self, NodeShelf::new()).expect("a tree")
    }
}

/// A cursor that shares its nodes with others.
pub(super) fn shared<'m>(
    memory: &'m Memory,
    root: &BlobId,
    shelf: &Arc<NodeShelf>,
) -> Option<TreeCursor<&'m Memory>> {
    TreeCursor::open(root, memory, Arc::clone(shelf)).ok()
}

fn entry(path: &str, kind: FileKind, file: File) -> Entry {
    let key = Key::of_path(path.as_bytes());
    let time = FileTime { seconds: file.time, nanos: 0 };
    let is_file = kind == FileKind::File;
    Entry {
        dir: key.dir.to_vec(),
        name: key.name.to_vec(),
        meta: Metadata {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            owner: Vec::new(),
            group: Vec::new(),
            size: if is_file { 100 + u64::from(file.content) } else { 0 },
            mtime: time,
            ctime: time,
            btime: None,
            dev: 1,
            ino: 1,
            rdev: 0,
            hard_link_group: 0,
            link_target: Vec::new(),
            flags: 0,
            xattrs: Vec::new(),
        },
        content: Content::None,
        hash16: if is_file { [file.content.max(1); 16] } else { [0; 16] },
        extents: None,
        state: State::Ok,
    }
}

//! A store in memory, and trees as file systems have them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::super::*;
use crate::base::error::{Class, Classified};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime, Metadata};
use crate::codec::hash;

pub(super) const CUT: [u8; 32] = [9; 32];

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) blobs: RefCell<HashMap<(NodeKind, BlobId), Bytes>>,
    pub(super) puts: Cell<usize>,
    pub(super) gets: Cell<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error("blob {0} is not there")]
pub(super) struct Missing(pub(super) BlobId);

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
        self.puts.set(self.puts.get() + 1);
        let id = BlobId::new(hash::keyed(&[kind as u8; 32], &[plain]));
        self.blobs.borrow_mut().insert((kind, id), Bytes::copy_from_slice(plain));
        Ok(id)
    }
}

impl BlobSource for Memory {
    type Error = Missing;

    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, Missing> {
        self.gets.set(self.gets.get() + 1);
        self.blobs.borrow().get(&(kind, *id)).cloned().ok_or(Missing(*id))
    }
}

impl Memory {
    /// How many reads `work` makes.
    pub(super) fn reads<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let before = self.gets.get();
        let done = work();
        (done, self.gets.get() - before)
    }
}

pub(super) fn id(number: u64) -> BlobId {
    BlobId::new(hash::plain(&[&number.to_le_bytes()]))
}

pub(super) fn entry(path: &str, kind: FileKind) -> Entry {
    let key = Key::of_path(path.as_bytes());
    let time = FileTime { seconds: 1_700_000_000, nanos: 0 };
    let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
    Entry {
        dir: key.dir.to_vec(),
        name: key.name.to_vec(),
        meta: Metadata {
            kind,
            mode,
            uid: 1000,
            gid: 1000,
            owner: b"ada".to_vec(),
            group: b"users".to_vec(),
            size: 0,
            mtime: time,
            ctime: time,
            btime: None,
            dev: 2049,
            ino: 1,
            rdev: 0,
            hard_link_group: 0,
            link_target: Vec::new(),
            flags: 0,
            xattrs: Vec::new(),
        },
        content: Content::None,
        hash16: [0; 16],
        extents: None,
        state: State::Ok,
    }
}

/// A tree of small grouped files, as `mixed` trees have, in order.
pub(super) fn files(count: u64) -> Vec<Entry> {
    let mut all = BTreeMap::new();
    let mut add = |path: String, kind| {
        let made = entry(&path, kind);
        all.insert((made.dir.clone(), made.name.clone()), made);
    };
    add(String::new(), FileKind::Directory);
    for number in 0..count {
        let (top, sub) = (number / 4000, number / 40);
        add(format!("project-{top:03}"), FileKind::Directory);
        add(format!("project-{top:03}/module-{sub:05}"), FileKind::Directory);
        add(format!("project-{top:03}/module-{sub:05}/source-{number:06}.rs"), FileKind::File);
    }
    let mut all: Vec<Entry> = all.into_values().collect();
    all.sort_by(|a, b| a.key().cmp(&b.key()));
    let mut offset = 0;
    let mut group = 0;
    for (number, made) in (0u64..).zip(&mut all) {
        made.meta.ino = 500_000 + number;
        let random =
            u64::from_le_bytes(*hash::plain(&[&number.to_le_bytes()]).first_chunk().expect("32 bytes"));
        if made.meta.kind == FileKind::File {
            let size = random % 16_000;
            made.meta.size = size;
            made.meta.mtime.seconds += i64::try_from(random % 1_000_000).expect("small");
            made.meta.mtime.nanos = u32::try_from(random % 1_000_000_000).expect("small");
            made.meta.ctime = made.meta.mtime;
            made.hash16 = *hash::plain(&[b"h", &number.to_le_bytes()]).first_chunk().expect("32 bytes");
            let len = u32::try_from(size).expect("small");
            made.content = Content::Group { blob: id(group), offset, len };
            offset += len;
            if offset > 700_000 {
                (offset, group) = (0, group + 1);
            }
        }
    }
    all
}

pub(super) fn write(entries: &[Entry], memory: &Memory) -> Root {
    let mut builder = ManifestBuilder::new(CUT, memory);
    for entry in entries {
        builder.push(entry).expect("entries are in order and fit");
    }
    builder.finish().expect("a root is there").0
}

pub(super) fn read(root: &Root, memory: &Memory) -> Vec<Entry> {
    let reader = ManifestReader::open(&root.id, memory).expect("it was just written");
    reader.map(|entry| entry.expect("it was just written")).collect()
}

/// Walks `now` beside the tree `parent` as a backup does: what is equal is kept.
pub(super) fn rewrite(now: &[Entry], parent: &Root, memory: &Memory) -> Root {
    let mut old = ManifestReader::open(&parent.id, memory).expect("it was just written");
    let mut builder = ManifestBuilder::new(CUT, memory);
    for entry in now {
        let same = old.advance_to(entry.key()).expect("it can be read").map(|view| view.row());
        let same = same.filter(|_| old.entry().expect("it can be read").as_ref() == Some(entry));
        match (same, old.leaf().map(Arc::clone)) {
            (Some(row), Some(leaf)) => builder.keep(&leaf, row).expect("it is in order"),
            _ => builder.push(entry).expect("it is in order"),
        }
    }
    builder.finish().expect("a root is there").0
}

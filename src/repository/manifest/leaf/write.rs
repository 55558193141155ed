//! Writes a leaf: takes records in order, keeps columns.

use std::collections::HashMap;

use super::super::entry::State;
use super::super::key::Key;
use super::super::wire::{delta, zigzag};
use super::columns::{Column as C, ColumnsWriter};
use super::view::ContentView;
use super::{LEAF_ENTRIES_MAX, LEAF_WEIGHT_BYTES};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};

/// An entry as a leaf stores it: attributes and extents are blobs already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) owner: Owner<'a>,
    pub(crate) size: u64,
    pub(crate) mtime: FileTime,
    pub(crate) ctime: FileTime,
    pub(crate) btime: Option<FileTime>,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) rdev: u64,
    pub(crate) hard_link_group: u64,
    pub(crate) link_target: &'a [u8],
    pub(crate) flags: u32,
    pub(crate) xattrs: Option<BlobId>,
    pub(crate) extents: Option<BlobId>,
    pub(crate) content: ContentView<'a>,
    pub(crate) hash16: [u8; 16],
    pub(crate) state: State,
}

/// A row of the owners' dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) user: &'a [u8],
    pub(crate) group: &'a [u8],
}

/// A dictionary of ids in the order of their first use. A reference is written as 0 for the next
/// new id, and k for the one that was new k ids ago: no id can stand there twice or unused.
#[derive(Clone, Debug, Default)]
struct Ids(HashMap<BlobId, usize>);

impl Ids {
    fn code(&mut self, id: BlobId) -> u64 {
        let next = self.0.len();
        let at = *self.0.entry(id).or_insert(next);
        (next - at) as u64
    }
}

/// Collects one leaf after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeafWriter {
    columns: ColumnsWriter,
    entries: usize,
    weight: usize,
    dirs: usize,
    dir: Vec<u8>,
    name: Vec<u8>,
    owners: HashMap<OwnedOwner, usize>,
    owner: Option<(OwnedOwner, usize)>,
    before: Before,
    xattrs: Ids,
    extents: Ids,
    groups: Ids,
    chunks: Ids,
    lists: Ids,
}

type OwnedOwner = (u32, u32, Vec<u8>, Vec<u8>);

/// What the deltas of the next row are counted from.
#[derive(Clone, Debug, Default)]
struct Before {
    mode: u64,
    mtime_seconds: u64,
    dev: u64,
    ino: u64,
    group: Option<BlobId>,
    group_end: u64,
}

impl LeafWriter {
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Whether the leaf must be closed now, whatever the last key's hash.
    pub(crate) fn is_full(&self) -> bool {
        self.entries >= LEAF_ENTRIES_MAX || self.weight >= LEAF_WEIGHT_BYTES
    }

    /// Adds a record whose key and fields have been checked.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        self.weight += 64 + record.key.name.len() + record.link_target.len();
        self.put_dir(record.key.dir);
        self.put_name(record.key.name);
        self.put_inode(record);
        self.put_times(record);
        self.put_refs(record);
        self.put_content(record);
        self.entries += 1;
    }

    /// The bytes of the leaf; the writer is ready for the next.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let columns = std::mem::take(&mut self.columns);
        let (entries, dirs) = (self.entries, self.dirs);
        *self = Self { columns, ..Self::default() };
        self.columns.finish(entries, dirs)
    }

    /// Directories are rows of (how many levels up from the row before, component), so the
    /// directory of an entry is always the newest row: what is written is how many are new.
    fn put_dir(&mut self, dir: &[u8]) {
        if self.dir == dir {
            self.columns.int(C::Dir, 0);
            return;
        }
        let (same, up) = {
            let mut old = components(&self.dir);
            let mut new = components(dir);
            let mut same = 0;
            let left = loop {
                match (old.next(), new.next()) {
                    (Some(a), Some(b)) if a == b => same += 1,
                    (Some(_), _) => break 1 + old.count(),
                    (None, _) => break 0,
                }
            };
            (same, left)
        };
        let first = self.entries == 0;
        let mut up = up as u64;
        let mut added = 0;
        for component in components(dir).skip(same) {
            self.columns.int(C::DirUp, up);
            self.columns.string(C::DirLen, C::DirBytes, component);
            up = 0;
            added += 1;
            if !first {
                self.weight += 8 + component.len();
            }
        }
        self.dirs += added;
        self.columns.int(C::Dir, added as u64);
        self.dir.clear();
        self.dir.extend_from_slice(dir);
    }

    fn put_name(&mut self, name: &[u8]) {
        let same = self.name.iter().zip(name).take_while(|(a, b)| a == b).count();
        self.columns.int(C::NamePrefix, same as u64);
        self.columns.string(C::NameLen, C::NameBytes, &name[same..]);
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    fn put_inode(&mut self, record: &Record<'_>) {
        let columns = &mut self.columns;
        let mode = u64::from(record.mode);
        columns.int(C::Kind, record.kind as u64 - 1);
        columns.int(C::Mode, mode ^ self.before.mode);
        columns.int(C::Size, record.size);
        columns.int(C::Dev, delta(record.dev, self.before.dev));
        columns.int(C::Ino, delta(record.ino, self.before.ino));
        columns.int(C::Rdev, record.rdev);
        columns.int(C::HardLinkGroup, record.hard_link_group);
        columns.string(C::TargetLen, C::TargetBytes, record.link_target);
        columns.int(C::Flags, u64::from(record.flags));
        columns.int(C::State, record.state as u64);
        (self.before.mode, self.before.dev, self.before.ino) = (mode, record.dev, record.ino);
        let owner = self.owner_code(&record.owner);
        self.columns.int(C::Owner, owner);
    }

    fn owner_code(&mut self, owner: &Owner<'_>) -> u64 {
        if let Some(((uid, gid, user, group), code)) = &self.owner
            && (Owner { uid: *uid, gid: *gid, user, group }) == *owner
        {
            return *code as u64;
        }
        let owned: OwnedOwner = (owner.uid, owner.gid, owner.user.to_vec(), owner.group.to_vec());
        let next = self.owners.len();
        let code = *self.owners.entry(owned.clone()).or_insert(next);
        if code == next {
            self.weight += owner.user.len() + owner.group.len();
            self.columns.int(C::OwnerUid, u64::from(owner.uid));
            self.columns.int(C::OwnerGid, u64::from(owner.gid));
            self.columns.string(C::OwnerNameLen, C::OwnerNameBytes, owner.user);
            self.columns.string(C::GroupNameLen, C::GroupNameBytes, owner.group);
        }
        self.owner = Some((owned, code));
        code as u64
    }

    fn put_times(&mut self, record: &Record<'_>) {
        let columns = &mut self.columns;
        let seconds = |time: FileTime| time.seconds.cast_unsigned();
        let nanos_since = |time: FileTime| zigzag(i64::from(time.nanos) - i64::from(record.mtime.nanos));
        let mtime = seconds(record.mtime);
        columns.int(C::MtimeSeconds, delta(mtime, self.before.mtime_seconds));
        columns.int(C::MtimeNanos, u64::from(record.mtime.nanos));
        columns.int(C::CtimeSeconds, delta(seconds(record.ctime), mtime));
        columns.int(C::CtimeNanos, nanos_since(record.ctime));
        columns.int(C::BtimeSeconds, record.btime.map_or(0, |btime| delta(seconds(btime), mtime)));
        columns.int(C::BtimeNanos, record.btime.map_or(0, |btime| 1 + nanos_since(btime)));
        self.before.mtime_seconds = mtime;
    }

    fn put_refs(&mut self, record: &Record<'_>) {
        let columns = &mut self.columns;
        let mut put = |id: Option<BlobId>, ids: &mut Ids, (column, dictionary): (C, C)| {
            let code = id.map_or(0, |id| 1 + reference(columns, ids, dictionary, id));
            columns.int(column, code);
        };
        put(record.xattrs, &mut self.xattrs, (C::Xattrs, C::XattrsIds));
        put(record.extents, &mut self.extents, (C::Extents, C::ExtentsIds));
    }

    fn put_content(&mut self, record: &Record<'_>) {
        let columns = &mut self.columns;
        if record.kind == FileKind::File {
            columns.bytes(C::Hash, &record.hash16);
        }
        columns.int(C::Content, record.content.number());
        match record.content {
            ContentView::None => {}
            ContentView::Group { blob, offset, len } => {
                let (offset, len) = (u64::from(offset), u64::from(len));
                let expected = if self.before.group == Some(blob) { self.before.group_end } else { 0 };
                let code = reference(columns, &mut self.groups, C::GroupIds, blob);
                columns.int(C::Group, code);
                columns.int(C::GroupOffset, delta(offset, expected));
                columns.int(C::GroupLen, delta(len, record.size));
                (self.before.group, self.before.group_end) = (Some(blob), offset + len);
            }
            ContentView::Chunks(chunks) => {
                self.weight += 36 * chunks.len();
                columns.int(C::Chunks, chunks.len() as u64);
                for chunk in chunks {
                    let code = reference(columns, &mut self.chunks, C::ChunkIds, chunk.id);
                    columns.int(C::Chunk, code);
                    columns.int(C::ChunkLen, u64::from(chunk.len));
                }
            }
            ContentView::ChunkList { id, chunks } => {
                let code = reference(columns, &mut self.lists, C::ListIds, id);
                columns.int(C::List, code);
                columns.int(C::ListChunks, chunks);
            }
        }
    }
}

/// The code of an id, which goes into its dictionary when it is new.
fn reference(columns: &mut ColumnsWriter, ids: &mut Ids, dictionary: C, id: BlobId) -> u64 {
    let code = ids.code(id);
    if code == 0 {
        columns.bytes(dictionary, id.as_bytes());
    }
    code
}

/// The components of a directory; none for the root.
pub(super) fn components(dir: &[u8]) -> impl Iterator<Item = &[u8]> {
    dir.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

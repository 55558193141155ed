//! A decoded leaf, and entries borrowed from it: what a merge-join compares without an
//! allocation for each entry.

use std::cmp::Ordering;

use super::super::entry::{ChunkRef, Content, State};
use super::super::key::{Key, cmp_dirs};
use super::super::wire::{undelta, unzigzag};
use super::columns::Ints;
use super::decode::End;
use super::write::{Owner, Record};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};

/// A decoded column hunk: at least one entry, all checked.
#[derive(Debug)]
pub struct Leaf {
    pub(super) id: BlobId,
    pub(super) end: End,
    /// Row 0 is the root; the others as stored.
    pub(super) dirs: Vec<DirRow>,
    pub(super) dir_bytes: Vec<u8>,
    /// Directory of each entry: a row of `dirs`, never descending.
    pub(super) dir: Vec<u32>,
    pub(super) names: Vec<u8>,
    pub(super) name_ends: Vec<usize>,
    pub(super) kind: Ints,
    pub(super) mode: Ints,
    pub(super) owner: Ints,
    pub(super) owners: Vec<OwnerRow>,
    pub(super) size: Ints,
    pub(super) mtime: Times,
    pub(super) ctime: Times,
    pub(super) btime: Times,
    pub(super) dev: Ints,
    pub(super) ino: Ints,
    pub(super) rdev: Ints,
    pub(super) hard_link_group: Ints,
    /// Ends of the targets; empty when no entry has one.
    pub(super) target_ends: Vec<usize>,
    pub(super) targets: Vec<u8>,
    pub(super) flags: Ints,
    pub(super) xattrs: Refs,
    pub(super) extents: Refs,
    /// Empty when no entry has content.
    pub(super) content: Vec<ContentSlot>,
    pub(super) groups: Vec<GroupPart>,
    pub(super) group_ids: Vec<BlobId>,
    pub(super) chunks: Vec<ChunkRef>,
    pub(super) chunk_ids: Vec<BlobId>,
    pub(super) lists: Vec<(BlobId, u64)>,
    /// Empty when all are zero.
    pub(super) hashes: Vec<[u8; 16]>,
    pub(super) state: Ints,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DirRow {
    pub(super) parent: u32,
    /// Bytes of the whole path.
    pub(super) path_len: usize,
    /// The component in `dir_bytes`.
    pub(super) start: usize,
    pub(super) len: usize,
}

#[derive(Debug)]
pub(super) struct OwnerRow {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) user: Vec<u8>,
    pub(super) group: Vec<u8>,
}

/// Seconds and nanoseconds; of `ctime` and `btime` as codes relative to `mtime`.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) seconds: Ints,
    pub(super) nanos: Ints,
}

/// References into a dictionary, for entries that have one.
#[derive(Debug, Default)]
pub(super) struct Refs {
    /// One for each entry, or empty when none has one.
    pub(super) at: Vec<Option<u32>>,
    pub(super) ids: Vec<BlobId>,
}

impl Refs {
    fn get(&self, row: usize) -> Option<BlobId> {
        let at = self.at.get(row).copied().flatten()?;
        Some(self.ids[at as usize])
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ContentSlot {
    None,
    Group(u32),
    Chunks { start: u32, len: u32 },
    List(u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct GroupPart {
    pub(super) blob: BlobId,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// [`Content`], borrowed from a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentView<'a> {
    /// No bytes.
    None,
    /// A part of a small-file group.
    Group {
        /// The group.
        blob: BlobId,
        /// First byte, counted from the start of the group's byte area.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// Chunks.
    Chunks(&'a [ChunkRef]),
    /// Chunks in lists of their own.
    ChunkList {
        /// The top list.
        id: BlobId,
        /// Chunks in all.
        chunks: u64,
    },
}

impl ContentView<'_> {
    /// Its number in the content column.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Group { .. } => 1,
            Self::Chunks(_) => 2,
            Self::ChunkList { .. } => 3,
        }
    }

    /// Its own copy.
    pub fn to_content(&self) -> Content {
        match *self {
            Self::None => Content::None,
            Self::Group { blob, offset, len } => Content::Group { blob, offset, len },
            Self::Chunks(chunks) => Content::Chunks(chunks.to_vec()),
            Self::ChunkList { id, chunks } => Content::ChunkList { id, chunks },
        }
    }
}

impl<'a> From<&'a Content> for ContentView<'a> {
    fn from(content: &'a Content) -> Self {
        match content {
            Content::None => Self::None,
            Content::Group { blob, offset, len } => Self::Group { blob: *blob, offset: *offset, len: *len },
            // A list without a chunk and no content are one thing, so they are written as one.
            Content::Chunks(chunks) if chunks.is_empty() => Self::None,
            Content::Chunks(chunks) => Self::Chunks(chunks),
            Content::ChunkList { id, chunks } => Self::ChunkList { id: *id, chunks: *chunks },
        }
    }
}

impl Leaf {
    /// The blob it came from.
    pub fn id(&self) -> &BlobId {
        &self.id
    }

    /// Entries in it.
    #[expect(clippy::len_without_is_empty, reason = "it has at least one entry")]
    pub fn len(&self) -> usize {
        self.dir.len()
    }

    /// The entry at `row`, which must be below [`Self::len`].
    pub fn row(&self, row: usize) -> EntryView<'_> {
        assert!(row < self.len(), "a leaf of {} has no row {row}", self.len());
        EntryView { leaf: self, row }
    }

    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        // Twenty columns of numbers, a content and a hash for each entry at most.
        256 * self.len()
            + self.names.len()
            + self.targets.len()
            + self.dir_bytes.len()
            + 32 * self.dirs.len()
            + 36 * (self.chunks.len() + self.groups.len())
            + 32 * (self.chunk_ids.len()
                + self.group_ids.len()
                + self.xattrs.ids.len()
                + self.extents.ids.len())
    }

    /// The row of the entry with this key; else the row before which it would stand.
    ///
    /// # Errors
    /// Where it would stand: at most [`Self::len`].
    pub fn find(&self, key: Key<'_>) -> Result<usize, usize> {
        let mut path = Vec::new();
        let mut row = 0;
        while let Some(dir) = self.dir.get(row) {
            // Entering one row of each directory passes over the others, which change nothing.
            self.enter(row, &mut path);
            let end = row + self.dir[row..].partition_point(|other| other == dir);
            match cmp_dirs(&path, key.dir) {
                Ordering::Less => row = end,
                Ordering::Greater => break,
                Ordering::Equal => {
                    let (mut low, mut high) = (row, end);
                    while low < high {
                        let middle = low.midpoint(high);
                        match self.row(middle).name().cmp(key.name) {
                            Ordering::Less => low = middle + 1,
                            Ordering::Equal => return Ok(middle),
                            Ordering::Greater => high = middle,
                        }
                    }
                    return Err(low);
                }
            }
        }
        Err(row)
    }

    /// Whether the leaf ends by the rule of cuts, not because the tree ended there.
    pub(in super::super) fn is_cut(&self) -> bool {
        self.end == End::Cut
    }

    /// Sum of the sizes, and the newest change of content.
    pub(in super::super) fn totals(&self) -> (u64, FileTime) {
        let rows = || (0..self.len()).map(|row| self.row(row));
        let bytes = rows().fold(0u64, |sum, entry| sum.saturating_add(entry.size()));
        (bytes, rows().map(|entry| entry.mtime()).max().unwrap_or_default())
    }

    /// Makes the path of the directory of the row before into that of this row's; of row 0 into
    /// whatever buffer. Costs what changes.
    pub fn enter(&self, row: usize, path: &mut Vec<u8>) {
        let before = if row == 0 {
            path.clear();
            0
        } else {
            self.dir[row - 1]
        };
        for dir in before + 1..=self.dir[row] {
            let DirRow { parent, start, len, .. } = self.dirs[dir as usize];
            path.truncate(self.dirs[parent as usize].path_len);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&self.dir_bytes[start..start + len]);
        }
    }

    /// Every chunk, group, list and attribute blob that it names, each once.
    pub(in super::super) fn references(&self) -> References<'_> {
        References {
            groups: &self.group_ids,
            chunks: &self.chunk_ids,
            lists: &self.lists,
            attributes: [&self.xattrs.ids, &self.extents.ids],
        }
    }
}

/// What a leaf names outside itself.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct References<'a> {
    pub(in super::super) groups: &'a [BlobId],
    pub(in super::super) chunks: &'a [BlobId],
    pub(in super::super) lists: &'a [(BlobId, u64)],
    pub(in super::super) attributes: [&'a [BlobId]; 2],
}

/// An entry inside a decoded leaf. Everything but attributes and extents is at hand.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    leaf: &'a Leaf,
    row: usize,
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).expect("its column was checked when the leaf was decoded")
}

impl<'a> EntryView<'a> {
    /// Its row in the leaf.
    pub fn row(&self) -> usize {
        self.row
    }

    /// Its leaf.
    pub fn leaf(&self) -> &'a Leaf {
        self.leaf
    }

    /// Its name; empty for the root of the tree.
    pub fn name(&self) -> &'a [u8] {
        let start = if self.row == 0 { 0 } else { self.leaf.name_ends[self.row - 1] };
        &self.leaf.names[start..self.leaf.name_ends[self.row]]
    }

    /// Its directory, put together anew; a reader that stands here has it at hand.
    pub fn dir(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut dir = self.leaf.dir[self.row];
        while dir != 0 {
            let DirRow { parent, start, len, .. } = self.leaf.dirs[dir as usize];
            parts.push(&self.leaf.dir_bytes[start..start + len]);
            dir = parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Its type.
    pub fn kind(&self) -> FileKind {
        let number = self.leaf.kind.get(self.row) + 1;
        u8::try_from(number).ok().and_then(FileKind::from_u8).expect("checked when the leaf was decoded")
    }

    /// Permission bits, set-uid, set-gid and sticky.
    pub fn mode(&self) -> u32 {
        narrow(self.leaf.mode.get(self.row))
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.owner().uid
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.owner().gid
    }

    /// The owner's name; empty when it had none.
    pub fn user_name(&self) -> &'a [u8] {
        self.owner().user
    }

    /// The group's name; empty when it had none.
    pub fn group_name(&self) -> &'a [u8] {
        self.owner().group
    }

    fn owner(&self) -> Owner<'a> {
        let at = self.leaf.owner.get(self.row);
        let row = &self.leaf.owners[narrow(at) as usize];
        Owner { uid: row.uid, gid: row.gid, user: &row.user, group: &row.group }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.leaf.size.get(self.row)
    }

    /// Last change of the content.
    pub fn mtime(&self) -> FileTime {
        let Times { seconds, nanos } = &self.leaf.mtime;
        FileTime { seconds: seconds.get(self.row).cast_signed(), nanos: narrow(nanos.get(self.row)) }
    }

    fn since_mtime(&self, seconds: u64, nanos: u64) -> FileTime {
        let mtime = self.mtime();
        let nanos = i64::from(mtime.nanos) + unzigzag(nanos);
        FileTime {
            seconds: undelta(seconds, mtime.seconds.cast_unsigned()).cast_signed(),
            nanos: u32::try_from(nanos).expect("checked when the leaf was decoded"),
        }
    }

    /// Last change of the inode.
    pub fn ctime(&self) -> FileTime {
        let Times { seconds, nanos } = &self.leaf.ctime;
        self.since_mtime(seconds.get(self.row), nanos.get(self.row))
    }

    /// Birth, where the file system told.
    pub fn btime(&self) -> Option<FileTime> {
        let Times { seconds, nanos } = &self.leaf.btime;
        let nanos = nanos.get(self.row).checked_sub(1)?;
        Some(self.since_mtime(seconds.get(self.row), nanos))
    }

    /// Device number of its file system.
    pub fn dev(&self) -> u64 {
        self.leaf.dev.get(self.row)
    }

    /// Inode number.
    pub fn ino(&self) -> u64 {
        self.leaf.ino.get(self.row)
    }

    /// Device number that a device entry stands for.
    pub fn rdev(&self) -> u64 {
        self.leaf.rdev.get(self.row)
    }

    /// 0, or what all names of its inode share.
    pub fn hard_link_group(&self) -> u64 {
        self.leaf.hard_link_group.get(self.row)
    }

    /// What a symbolic link says.
    pub fn link_target(&self) -> &'a [u8] {
        let ends = &self.leaf.target_ends;
        let Some(end) = ends.get(self.row) else { return b"" };
        let start = if self.row == 0 { 0 } else { ends[self.row - 1] };
        &self.leaf.targets[start..*end]
    }

    /// Inode flags.
    pub fn flags(&self) -> u32 {
        narrow(self.leaf.flags.get(self.row))
    }

    /// The blob of its extended attributes. Equal ids mean equal attributes.
    pub fn xattrs_id(&self) -> Option<BlobId> {
        self.leaf.xattrs.get(self.row)
    }

    /// The blob of its extents; none when it has no holes.
    pub fn extents_id(&self) -> Option<BlobId> {
        self.leaf.extents.get(self.row)
    }

    /// Where its bytes are.
    pub fn content(&self) -> ContentView<'a> {
        match self.leaf.content.get(self.row) {
            None | Some(ContentSlot::None) => ContentView::None,
            Some(ContentSlot::Group(at)) => {
                let GroupPart { blob, offset, len } = self.leaf.groups[*at as usize];
                ContentView::Group { blob, offset, len }
            }
            Some(ContentSlot::Chunks { start, len }) => {
                ContentView::Chunks(&self.leaf.chunks[*start as usize..][..*len as usize])
            }
            Some(ContentSlot::List(at)) => {
                let (id, chunks) = self.leaf.lists[*at as usize];
                ContentView::ChunkList { id, chunks }
            }
        }
    }

    /// Compares contents.
    pub fn hash16(&self) -> [u8; 16] {
        self.leaf.hashes.get(self.row).copied().unwrap_or_default()
    }

    /// Whether it was read.
    pub fn state(&self) -> State {
        State::from_u64(self.leaf.state.get(self.row)).expect("checked when the leaf was decoded")
    }

    /// As [`super::super::Entry::is_missing`].
    pub fn is_missing(&self) -> bool {
        self.state() == State::Unread
            && match self.kind() {
                FileKind::File => matches!(self.content(), ContentView::None) && self.extents_id().is_none(),
                FileKind::Symlink => self.link_target().is_empty(),
                _ => false,
            }
    }

    /// All of it, as it goes into another leaf.
    pub(in super::super) fn record(&self, dir: &'a [u8]) -> Record<'a> {
        Record {
            key: Key { dir, name: self.name() },
            kind: self.kind(),
            mode: self.mode(),
            owner: self.owner(),
            size: self.size(),
            mtime: self.mtime(),
            ctime: self.ctime(),
            btime: self.btime(),
            dev: self.dev(),
            ino: self.ino(),
            rdev: self.rdev(),
            hard_link_group: self.hard_link_group(),
            link_target: self.link_target(),
            flags: self.flags(),
            xattrs: self.xattrs_id(),
            extents: self.extents_id(),
            content: self.content(),
            hash16: self.hash16(),
            state: self.state(),
        }
    }
}

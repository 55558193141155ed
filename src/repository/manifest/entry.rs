//! One entry of a manifest, owned. Readers that only compare use [`super::EntryView`] instead.

use super::key::Key;
use crate::base::id::BlobId;
use crate::base::metadata::{Extent, FileKind, Metadata};

/// Whether the entry is what was there when the snapshot was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Read without a change under our hands.
    #[default]
    Ok = 0,
    /// It changed while it was read: the content may be of two moments.
    ChangedWhileRead = 1,
    /// It could not be read: the content is the parent's, or there is none.
    Unread = 2,
}

impl State {
    /// The word in views.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ChangedWhileRead => "changed_while_read",
            Self::Unread => "unread",
        }
    }

    pub(super) fn from_u64(number: u64) -> Option<Self> {
        [Self::Ok, Self::ChangedWhileRead, Self::Unread].into_iter().find(|s| *s as u64 == number)
    }
}

/// A chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// The blob (kind 1).
    pub id: BlobId,
    /// Its plaintext bytes, at least 1, at most 16 MiB.
    pub len: u32,
}

/// Where the bytes of a regular file are. Holes have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// No bytes: not a regular file, an empty one, one that is all hole, or unread.
    #[default]
    None,
    /// A part of a small-file group (blob kind 2).
    Group {
        /// The group.
        blob: BlobId,
        /// First byte, counted from the start of the group's byte area (after its length table).
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// At most [`Content::CHUNKS_MAX`] chunks, in the order of the file's data.
    Chunks(Vec<ChunkRef>),
    /// More chunks than that: read them with [`super::ManifestReader::chunks`], made by
    /// [`super::ChunkListBuilder`].
    ChunkList {
        /// The top list (blob kind 5).
        id: BlobId,
        /// Chunks in all.
        chunks: u64,
    },
}

impl Content {
    /// More chunks than this go to lists of their own (docs/format.md, "Chunk list").
    pub const CHUNKS_MAX: usize = 4096;
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Components of its directory joined by `/`; empty for the root.
    pub dir: Vec<u8>,
    /// Its name there; empty for the root's own entry.
    pub name: Vec<u8>,
    /// What the file system says of it.
    pub meta: Metadata,
    /// Where its bytes are.
    pub content: Content,
    /// Compares contents, never deduplicates: the first 16 bytes of the keyed hash of a small
    /// file, or of a chunked file's (size, data extents, chunks). Zero for all but regular files.
    pub hash16: [u8; 16],
    /// Where its data lies, ascending, none empty, none overlapping; `None`: no holes.
    /// The chunks are those of the data alone.
    pub extents: Option<Vec<Extent>>,
    /// Whether it was read.
    pub state: State,
}

impl Entry {
    /// Its place in the order.
    pub fn key(&self) -> Key<'_> {
        Key { dir: &self.dir, name: &self.name }
    }

    /// Its path relative to the root.
    pub fn path(&self) -> Vec<u8> {
        self.key().path()
    }

    /// Whether nothing is stored of what it holds: it was not read, and nothing older stands for
    /// it. Its length is then only what the file system said, and no bytes may be made up for it.
    pub fn is_missing(&self) -> bool {
        self.state == State::Unread
            && match self.meta.kind {
                FileKind::File => self.content == Content::None && self.extents.is_none(),
                FileKind::Symlink => self.meta.link_target.is_empty(),
                _ => false,
            }
    }
}

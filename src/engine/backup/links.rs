//! Further names of inodes that this run has read: each is read once, whatever its names.
//!
//! Bounded: what doesn't fit is read again under its next name, which costs time and nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::content::{FileContent, ReadFile};
use crate::base::metadata::{Extent, FileTime};
use crate::repository::manifest::{ChunkRef, Content};
use crate::source::files::{Inode, Stat};

/// Memory for remembered inodes.
const ROOM_BYTES: usize = 32 * 1024 * 1024;
/// What a list of chunks on disk counts: descriptors are scarce, too.
const OPEN_FILE_BYTES: usize = 1024 * 1024;
/// What one takes besides its chunks.
const EACH_BYTES: usize = 160;

/// What was read under an inode's first name.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    /// Where its bytes went: a group, chunks, or nothing.
    pub(super) content: FileContent,
    /// Their hash.
    pub(super) hash16: [u8; 16],
    /// Its holes.
    pub(super) extents: Option<Vec<Extent>>,
}

/// The inodes with several names, of which some are still to come.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    inodes: HashMap<Inode, Read>,
    bytes: usize,
}

#[derive(Debug)]
struct Read {
    size: u64,
    times: (FileTime, FileTime),
    left: u32,
    bytes: usize,
    twin: Twin,
}

impl Links {
    /// What was read under another name of this inode, if nothing of it changed since.
    pub(super) fn find(&self, stat: &Stat) -> Option<Twin> {
        if stat.nlink < 2 {
            return None;
        }
        let inode = Inode { dev: stat.dev, ino: stat.ino };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = seen.inodes.get_mut(&inode)?;
        if (read.size, read.times) != (stat.size, (stat.mtime, stat.ctime)) {
            return None;
        }
        let twin = read.twin.clone();
        read.left = read.left.saturating_sub(1);
        if read.left == 0
            && let Some(done) = seen.inodes.remove(&inode)
        {
            seen.bytes = seen.bytes.saturating_sub(done.bytes);
        }
        Some(twin)
    }

    /// Remembers a file that was read whole and held still, while there is room.
    pub(super) fn remember(&self, stat: &Stat, file: &ReadFile) {
        if stat.nlink < 2 || file.changed || file.meta.size != stat.size {
            return;
        }
        // A group that was taken over from the parent is relied on under its further names; chunks
        // are covered by the parent under every name.
        // The name may have been another file's when it was opened: that says nothing of this inode.
        let read = (file.meta.dev, file.meta.ino, file.meta.mtime, file.meta.ctime);
        if read != (stat.dev, stat.ino, stat.mtime, stat.ctime) {
            return;
        }
        let content = match &file.content {
            FileContent::Group { .. } | FileContent::Chunks(_) | FileContent::None => file.content.clone(),
            FileContent::Known(Content::Group { blob, offset, len }) => {
                FileContent::Group { blob: *blob, offset: *offset, len: *len }
            }
            FileContent::Known(Content::Chunks(_)) => file.content.clone(),
            FileContent::Known(_) | FileContent::Waiting { .. } => return,
        };
        let chunks = match &content {
            FileContent::Chunks(chunks) if chunks.is_on_disk() => OPEN_FILE_BYTES,
            FileContent::Chunks(chunks) => chunks.memory_bytes(),
            FileContent::Known(Content::Chunks(chunks)) => chunks.len() * size_of::<ChunkRef>(),
            _ => 0,
        };
        let extents = file.extents.as_ref().map_or(0, Vec::len);
        let bytes = EACH_BYTES + chunks + extents * size_of::<Extent>();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.bytes + bytes > ROOM_BYTES {
            return;
        }
        let read = Read {
            size: stat.size,
            times: (stat.mtime, stat.ctime),
            left: stat.nlink - 1,
            bytes,
            twin: Twin { content, hash16: file.hash16, extents: file.extents.clone() },
        };
        seen.bytes += bytes;
        if let Some(old) = seen.inodes.insert(Inode { dev: stat.dev, ino: stat.ino }, read) {
            seen.bytes = seen.bytes.saturating_sub(old.bytes);
        }
    }
}

//! Reading what the walk found: content, holes, links, attributes, owners' names.
//!
//! Only regular files are opened, never through a link, never blocking; what is opened must be the
//! inode that was found. Lengths are those read, not those announced.

use std::collections::HashMap;
use std::io;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::stat::Stat;
use super::walk::Found;
use super::xattr;
use crate::base::metadata::{Extent, FileKind, Metadata};

/// `/etc/passwd` and `/etc/group` are read up to this length.
const NAMES_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A sparse map longer than this is not kept: the file is read as if it had no holes.
const EXTENTS_MAX: usize = 100_000;

/// Why a file could not be read. No error of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// It is gone, or something else has its name now.
    Vanished,
    /// It is there, but cannot be read: the reason for people.
    Unread(String),
}

impl ReadFault {
    fn of(errno: Errno) -> Self {
        match errno {
            // ELOOP: a link has its name now. ENXIO: a pipe has.
            Errno::NOENT | Errno::STALE | Errno::LOOP | Errno::NXIO | Errno::NOTDIR => Self::Vanished,
            other => Self::Unread(io::Error::from(other).to_string()),
        }
    }
}

/// A small file that was read as a whole.
#[derive(Debug)]
pub struct SmallRead {
    /// Everything about it.
    pub meta: Metadata,
    /// Whether it changed meanwhile, or is longer than what was read.
    pub changed: bool,
}

/// Reads files and completes metadata. Shared between threads.
#[derive(Debug)]
pub struct Reader {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Reads the machine's list of owners once.
    pub fn new() -> Self {
        Self { users: names_in("/etc/passwd"), groups: names_in("/etc/group") }
    }

    /// Everything about an entry that is not opened for its content: link target, attributes, names.
    ///
    /// # Errors
    /// When it vanished or cannot be looked at more closely.
    pub fn metadata(&self, found: &Found) -> Result<Metadata, ReadFault> {
        let mut meta = self.named(&found.stat);
        let fd = found.folder.fd().map_err(ReadFault::of)?;
        if meta.kind == FileKind::Symlink {
            let target =
                rustix::fs::readlinkat(&fd, &found.open_name[..], Vec::new()).map_err(ReadFault::of)?;
            meta.link_target = target.into_bytes();
        }
        meta.xattrs = if found.open_name.is_empty() {
            xattr::of_fd(&fd)
        } else {
            xattr::of_name(fd.as_raw_fd(), &found.open_name)
        }
        .map_err(ReadFault::of)?;
        Ok(meta)
    }

    fn named(&self, stat: &Stat) -> Metadata {
        let mut meta = stat.metadata();
        meta.owner = self.users.get(&meta.uid).cloned().unwrap_or_default();
        meta.group = self.groups.get(&meta.gid).cloned().unwrap_or_default();
        meta
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it vanished, was replaced, or cannot be read.
    pub fn open(&self, found: &Found) -> Result<OpenFile, ReadFault> {
        let folder = found.folder.fd().map_err(ReadFault::of)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let name = &found.open_name[..];
        let fd = match rustix::fs::openat(&folder, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => rustix::fs::openat(&folder, name, flags, Mode::empty()),
            other => other,
        }
        .map_err(ReadFault::of)?;
        let before = Stat::at(&fd, b"").map_err(ReadFault::of)?;
        if !before.is_same_inode(&found.stat) {
            return Err(ReadFault::Vanished);
        }
        let mut meta = self.named(&before);
        meta.xattrs = xattr::of_fd(&fd).map_err(ReadFault::of)?;
        Ok(OpenFile { fd, before, meta })
    }

    /// Reads a file into `content`, at most `bytes_max` of it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn read_small(
        &self,
        found: &Found,
        bytes_max: usize,
        content: &mut Vec<u8>,
    ) -> Result<SmallRead, ReadFault> {
        content.clear();
        let mut open = self.open(found)?;
        let expected = usize::try_from(open.before.size).unwrap_or(usize::MAX).min(bytes_max);
        let mut offset = 0u64;
        loop {
            let room = bytes_max - content.len();
            if room == 0 {
                break;
            }
            // One byte more than expected shows the end of a file that did not grow.
            let want = (expected + 1).saturating_sub(content.len()).clamp(4096, 1024 * 1024).min(room);
            match open.read_at(offset, want, content) {
                Ok(0) => break,
                Ok(got) => offset += u64::try_from(got).unwrap_or(0),
                Err(error) => return Err(ReadFault::Unread(error.to_string())),
            }
            if content.len() == expected && content.len() == bytes_max {
                break;
            }
        }
        let (meta, changed) = open.finish(Some(offset))?;
        Ok(SmallRead { meta, changed })
    }
}

/// A regular file that is being read.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    before: Stat,
    meta: Metadata,
}

impl OpenFile {
    /// Where its data lies; `None` when it has no holes (or so many that they are read).
    ///
    /// # Errors
    /// When the file cannot be examined.
    pub fn extents(&self) -> io::Result<Option<Vec<Extent>>> {
        if self.before.blocks.saturating_mul(512) >= self.before.size {
            return Ok(None);
        }
        let size = self.before.size;
        let mut extents = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(&self.fd, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            let end = rustix::fs::seek(&self.fd, SeekFrom::Hole(start))?.min(size);
            if start >= size || end <= start {
                break;
            }
            extents.push(Extent { offset: start, len: end - start });
            if extents.len() > EXTENTS_MAX {
                return Ok(None);
            }
            at = end;
        }
        let whole = [Extent { offset: 0, len: size }];
        Ok(if extents == whole { None } else { Some(extents) })
    }

    /// Appends up to `want` bytes from `offset` to a buffer; 0 at the end of the file.
    ///
    /// # Errors
    /// Whatever the medium says.
    pub fn read_at(&mut self, offset: u64, want: usize, into: &mut Vec<u8>) -> io::Result<usize> {
        into.reserve(want);
        let start = into.len();
        into.resize(start + want, 0);
        let got = rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut into[start..], offset));
        into.truncate(start + *got.as_ref().unwrap_or(&0));
        Ok(got?)
    }

    /// Looks again: everything about the file, and whether it changed while it was read.
    /// `read_bytes` is what was read up to its end, when all of it was read.
    ///
    /// # Errors
    /// When it cannot be looked at any more.
    pub fn finish(self, read_bytes: Option<u64>) -> Result<(Metadata, bool), ReadFault> {
        let after = Stat::at(&self.fd, b"").map_err(ReadFault::of)?;
        let moved = (after.size, after.mtime, after.ctime)
            != (self.before.size, self.before.mtime, self.before.ctime);
        let changed = moved || read_bytes.is_some_and(|bytes| bytes != after.size);
        let mut meta = self.meta;
        if let Some(bytes) = read_bytes {
            meta.size = bytes;
        }
        Ok((meta, changed))
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Names by number out of a file of `name:x:number:...` lines. Unreadable files give no names.
fn names_in(path: &str) -> HashMap<u32, Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(NAMES_BYTES_MAX).read_to_end(&mut text));
    if opened.is_err() {
        return HashMap::new();
    }
    let mut names = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if let Some(number) = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()) {
            names.entry(number).or_insert_with(|| name.to_vec());
        }
    }
    names
}

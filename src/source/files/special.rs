//! Roots whose bytes are recorded as one regular file, though they are none: a stream, and the
//! content of a block device.
//!
//! Nothing that a walk meets becomes one of these: only a root that a person names. A stream is
//! read once. Of a device stretches of zeros are recorded as holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags};

use super::dir::{Dir, lock};
use super::error::{FilesError, shown};
use super::read::{OpenFile, READ};
use super::rules::{Rules, WalkOptions};
use super::stat::Stat;
use super::walk::{Found, Walk};
use crate::base::limits::EXTENTS_MAX;
use crate::base::metadata::{Extent, FileKind, FileTime};
use crate::source::stream::Stream;

/// Stretches of zeros of this length and place become holes: as long as the shortest fixed block,
/// so that what stays in place is found again.
const BLOCK_BYTES: usize = 64 * 1024;

/// What a root that is no regular file reads.
#[derive(Debug)]
pub(super) enum Special {
    /// Taken by whoever opens it first.
    Stream(Mutex<Option<Stream>>),
    /// The device with this number.
    Device(u64),
}

impl Walk {
    /// A walk over one file that the stream fills: mode 0600, this user's.
    ///
    /// # Errors
    /// None in practice: the root folder opens.
    pub fn stream(stream: Stream, at: FileTime) -> Result<Self, FilesError> {
        let failed = |errno: rustix::io::Errno| FilesError::read("open", b"/", errno);
        let fd =
            rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
        let special = Special::Stream(Mutex::new(Some(stream)));
        let dir =
            Dir::special(fd, Vec::new(), special).map_err(|error| FilesError::read("open", b"/", error))?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self::over_one(dir, Stat { mode: 0o600, uid, gid, ..file_of(0, at) })
    }

    /// A walk over one file: the content of the block device that the path leads to.
    ///
    /// # Errors
    /// When there is none, or it can't be opened.
    pub fn device(root: &Path, at: FileTime) -> Result<Self, FilesError> {
        use std::os::unix::ffi::OsStrExt;
        let open = || -> io::Result<(Arc<Dir>, Stat)> {
            let real = root.canonicalize()?;
            let none = || io::Error::other("it is no block device");
            let (parent, name) = real.parent().zip(real.file_name()).ok_or_else(none)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
            let node = Stat::of(&fd, name.as_bytes())?;
            if node.kind != FileKind::BlockDevice {
                return Err(none());
            }
            let size = open_device(&fd, name.as_bytes(), node.rdev)?.1;
            let stat = Stat { mode: node.mode, uid: node.uid, gid: node.gid, ..file_of(size, at) };
            Ok((Dir::special(fd, name.as_bytes().to_vec(), Special::Device(node.rdev))?, stat))
        };
        let (dir, stat) = open()
            .map_err(|source| FilesError::OpenRoot { path: shown(root.as_os_str().as_bytes()), source })?;
        Self::over_one(dir, stat)
    }

    fn over_one(dir: Arc<Dir>, stat: Stat) -> Result<Self, FilesError> {
        let rules = Rules::new(WalkOptions::default())?;
        Ok(Self::begin(&rules, Found { dir, name: Box::default(), stat, is_closed: false }))
    }
}

impl Found {
    /// Whether its bytes come from a stream or a device: it has no size before it is read, and
    /// its times say nothing about its content.
    pub fn is_special(&self) -> bool {
        self.dir.special_root().is_some()
    }
}

/// A regular file as far as anybody can tell beforehand.
fn file_of(size: u64, at: FileTime) -> Stat {
    Stat {
        kind: FileKind::File,
        mode: 0o600,
        uid: 0,
        gid: 0,
        size,
        allocated_bytes: size,
        mtime: at,
        ctime: at,
        btime: None,
        dev: 0,
        ino: 0,
        rdev: 0,
        nlink: 1,
        flags: 0,
    }
}

/// Opens a root that is a stream or a device.
pub(super) fn open(found: &Found, special: &Special) -> Result<OpenFile, FilesError> {
    let failed = |source: io::Error| FilesError::read("open", &found.path(), source);
    let dir = found.dir.open().map_err(failed)?;
    match special {
        Special::Stream(stream) => {
            let once = || failed(io::Error::other("a stream can be read only once: start again"));
            let stream = lock(stream).take().ok_or_else(once)?;
            let nowhere = File::from(dir.try_clone().map_err(failed)?);
            Ok(OpenFile::of_stream(nowhere, found.stat, stream))
        }
        Special::Device(rdev) => {
            let (file, size) = open_device(&*dir, found.dir.real_name(b""), *rdev).map_err(failed)?;
            OpenFile::of_device(file, Stat { size, allocated_bytes: size, ..found.stat })
        }
    }
}

/// The device of this number and its size in bytes.
fn open_device(dir: impl AsFd, name: &[u8], rdev: u64) -> io::Result<(File, u64)> {
    let file = File::from(rustix::fs::openat(&dir, name, READ, Mode::empty())?);
    let stat = Stat::of_open(&file)?;
    if stat.kind != FileKind::BlockDevice || stat.rdev != rdev {
        return Err(io::Error::other("another device has its name now"));
    }
    let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
    Ok((file, size))
}

/// Finds the next data of a device while it is read.
#[derive(Debug)]
pub(super) struct Zeros {
    size: u64,
    /// Up to here it is known to be data.
    data_end: u64,
    block: Vec<u8>,
}

impl Zeros {
    pub(super) fn new(size: u64) -> Self {
        Self { size, data_end: 0, block: vec![0; BLOCK_BYTES] }
    }

    /// The next byte of data at or behind a place, and how many follow it for certain; noted in
    /// the extents. None at the end.
    pub(super) fn next(
        &mut self,
        file: &File,
        mut place: u64,
        extents: &mut Vec<Extent>,
    ) -> io::Result<Option<(u64, u64)>> {
        while place < self.size {
            if place < self.data_end {
                return Ok(Some((place, self.data_end - place)));
            }
            let len = usize::try_from(self.size - place).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            file.read_exact_at(&mut self.block[..len], place)?;
            let end = place + len as u64;
            let is_full = extents.len() == EXTENTS_MAX;
            if self.block[..len].iter().any(|byte| *byte != 0) || is_full && is_end(extents, place) {
                match extents.last_mut() {
                    Some(last) if last.offset + last.len == place => last.len += len as u64,
                    _ => extents.push(Extent { offset: place, len: len as u64 }),
                }
                self.data_end = end;
            } else {
                place = end;
            }
        }
        Ok(None)
    }
}

/// Whether the last of as many stretches as can be kept ends here: then all else is data.
fn is_end(extents: &[Extent], place: u64) -> bool {
    extents.last().is_some_and(|last| last.offset + last.len == place)
}

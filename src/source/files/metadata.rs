//! The rest of an entry's metadata: what costs more than the walk's one look.
//!
//! Only new and changed entries need it; the engine compares [`Found::stat`] with the parent
//! snapshot first.

use std::io;
use std::sync::Arc;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir::with_noatime;
use super::error::FilesError;
use super::owners::Owners;
use super::read::OpenFile;
use super::stat::Stat;
use super::walk::Found;
use crate::base::limits::XATTR_BYTES_MAX;
use crate::base::metadata::{FileKind, Metadata, Xattr};

/// Inode flags that mean something on another machine: those that `chattr` can set. The rest
/// say how this file system stores the inode.
pub(super) const FLAGS_KEPT: u32 = 0x4 // compressed
    | 0x8 // synchronous
    | FLAGS_LOCKING
    | 0x40 // no dump
    | 0x80 // no atime
    | 0x4000 // journal data
    | 0x8000 // no tail
    | 0x1_0000 // directory synchronous
    | 0x2_0000 // top of a directory hierarchy
    | 0x80_0000 // no copy on write
    | 0x2000_0000; // project inherit

/// Immutable and append-only: nothing can be changed any more, no link be made.
pub(super) const FLAGS_LOCKING: u32 = 0x10 | 0x20;

/// An entry's metadata, and what of it could not be read.
#[derive(Debug)]
pub struct Completed {
    /// As complete as could be.
    pub metadata: Metadata,
    /// Attributes that could not be read; the rest is right. The entry counts as unread in part.
    pub issues: Vec<FilesError>,
}

/// Adds names of owners, attributes, flags and what a symbolic link says to what the walk saw.
/// Give the file when it is open anyway: the numbers are then those of the open file, and all
/// inode flags are known, not only those that `statx` tells.
///
/// # Errors
/// When the entry is gone, or a symbolic link can't be read.
pub fn complete(found: &Found, opened: Option<&OpenFile>, owners: &Owners) -> Result<Completed, FilesError> {
    if found.is_special() {
        let stat = opened.map_or(&found.stat, OpenFile::stat);
        return Ok(Completed { metadata: from_stat(stat, owners), issues: Vec::new() });
    }
    let dir =
        found.dir.open().map_err(|source| FilesError::read("open the folder of", &found.path(), source))?;
    let stat = opened.map_or(&found.stat, OpenFile::stat);
    let real_name = found.dir.real_name(&found.name);
    let recorded = Stat { dev: found.dir.recorded_dev(stat.dev), ..*stat };
    let mut metadata = from_stat(&recorded, owners);
    let mut issues = Vec::new();
    if stat.kind == FileKind::Symlink {
        metadata.link_target = rustix::fs::readlinkat(&dir, real_name, Vec::new())
            .map_err(|errno| match errno {
                Errno::INVAL => FilesError::Replaced { path: super::error::shown(&found.path()) },
                errno => FilesError::read("read the link", &found.path(), errno),
            })?
            .into_bytes();
    }
    metadata.flags = flags(stat, opened, &dir, real_name);
    match xattrs(&Place { dir: &dir, name: real_name, opened }) {
        Ok(xattrs) => metadata.xattrs = xattrs,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(FilesError::read("read attributes of", &found.path(), source));
        }
        Err(source) => issues.push(FilesError::read("read attributes of", &found.path(), source)),
    }
    Ok(Completed { metadata, issues })
}

/// Metadata as far as the walk knows it.
fn from_stat(stat: &Stat, owners: &Owners) -> Metadata {
    Metadata {
        kind: stat.kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        owner: owners.user(stat.uid).to_vec(),
        group: owners.group(stat.gid).to_vec(),
        size: stat.size,
        mtime: stat.mtime,
        ctime: stat.ctime,
        btime: stat.btime,
        dev: stat.dev,
        ino: stat.ino,
        rdev: stat.rdev,
        hard_link_group: hard_link_group(stat),
        link_target: Vec::new(),
        flags: stat.flags,
        xattrs: Vec::new(),
    }
}

/// The number that all names of an inode share; 0 when there is but one.
pub fn hard_link_group(stat: &Stat) -> u64 {
    if stat.nlink < 2 || stat.kind == FileKind::Directory {
        return 0;
    }
    let hash = crate::codec::hash::plain(&[&stat.dev.to_le_bytes(), &stat.ino.to_le_bytes()]);
    let first = hash.first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first).max(1)
}

fn flags(stat: &Stat, opened: Option<&OpenFile>, dir: &Arc<OwnedFd>, real_name: &[u8]) -> u32 {
    let all = match (stat.kind, opened) {
        (FileKind::File, Some(file)) => rustix::fs::ioctl_getflags(file.fd()).ok(),
        (FileKind::Directory, _) => directory_flags(dir, real_name),
        _ => None,
    };
    all.map_or(stat.flags, |flags| flags.bits()) & FLAGS_KEPT
}

fn directory_flags(dir: &OwnedFd, real_name: &[u8]) -> Option<rustix::fs::IFlags> {
    if real_name.is_empty() {
        return rustix::fs::ioctl_getflags(dir).ok();
    }
    let list = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = |more| rustix::fs::openat(dir, real_name, list | more, Mode::empty());
    rustix::fs::ioctl_getflags(with_noatime(open).ok()?).ok()
}

/// Where attributes are read from.
struct Place<'a> {
    dir: &'a OwnedFd,
    name: &'a [u8],
    opened: Option<&'a OpenFile>,
}

impl Place<'_> {
    /// A path that names this very entry, itself if it is a link: there is no `lgetxattrat` before Linux 6.13.
    fn path(&self) -> Vec<u8> {
        let name = if self.name.is_empty() { b".".as_slice() } else { self.name };
        [format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).as_bytes(), name].concat()
    }
}

/// All attributes that this user may see, sorted by name.
fn xattrs(place: &Place<'_>) -> io::Result<Vec<Xattr>> {
    let path = place.path();
    let names = attribute_names(|buffer| match place.opened {
        Some(file) => rustix::fs::flistxattr(file.fd(), buffer),
        None => rustix::fs::llistxattr(&path, buffer),
    })?;
    let mut xattrs = Vec::new();
    let mut bytes = 0;
    for name in names {
        let value = grow(|buffer: &mut [u8]| match place.opened {
            Some(file) => rustix::fs::fgetxattr(file.fd(), &name[..], buffer),
            None => rustix::fs::lgetxattr(&path, &name[..], buffer),
        });
        let value = match value {
            // Taken away between the two calls, or listed without being readable by anybody.
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            value => value?,
        };
        bytes += name.len() + value.len();
        if bytes > XATTR_BYTES_MAX {
            return Err(io::Error::other("its attributes are longer than 1 MiB together"));
        }
        xattrs.push(Xattr { name, value });
    }
    xattrs.sort_unstable();
    xattrs.dedup_by(|a, b| a.name == b.name);
    Ok(xattrs)
}

/// Names of an entry's attributes; none where the file system knows none.
pub(super) fn attribute_names(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Vec<u8>>, Errno> {
    match grow(list) {
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        names => Ok(names?.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()),
    }
}

/// Calls with a small buffer on the stack first, then with the largest that the kernel can fill
/// (XATTR_SIZE_MAX and XATTR_LIST_MAX: 64 KiB).
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(len) => Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 64 * 1024];
            let len = call(&mut large)?;
            large.truncate(len);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}

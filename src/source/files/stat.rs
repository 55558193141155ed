//! What one `statx` says of an entry.

use std::io;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, StatxFlags, StatxTimestamp};

use crate::base::metadata::{FileKind, FileTime};

/// What the walk knows of an entry without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: FileKind,
    /// Permission bits with set-uid, set-gid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of a regular file in bytes, holes included; 0 for all else.
    pub size: u64,
    /// Bytes that the file system has allocated; below `size` there may be holes.
    pub allocated_bytes: u64,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of the inode.
    pub ctime: FileTime,
    /// Birth, where the file system knows it.
    pub btime: Option<FileTime>,
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Device number that a device entry stands for; 0 for all else.
    pub rdev: u64,
    /// Names of the inode.
    pub nlink: u32,
    /// Those inode flags that `statx` tells (immutable, append-only, no-dump, compressed), as of `chattr`.
    pub flags: u32,
}

/// The identity of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// `STATX_ATTR_{COMPRESSED, IMMUTABLE, APPEND, NODUMP}`: the same bits as their `FS_*_FL` twins (statx(2)).
const FLAGS_OF_STATX: u64 = 0x4 | 0x10 | 0x20 | 0x40;

impl Stat {
    /// Of the entry `name` in `dir`, never following a symbolic link; the directory itself for an empty name.
    pub(super) fn of(dir: impl AsFd, name: &[u8]) -> io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let x = rustix::fs::statx(dir, name, flags, mask)?;
        let kind = kind_of(x.stx_mode).ok_or_else(|| io::Error::other("a type of file that is not known"))?;
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let with_btime = x.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(Self {
            kind,
            mode: u32::from(x.stx_mode) & 0o7777,
            uid: x.stx_uid,
            gid: x.stx_gid,
            size: if kind == FileKind::File { x.stx_size } else { 0 },
            allocated_bytes: x.stx_blocks.saturating_mul(512),
            mtime: time(&x.stx_mtime),
            ctime: time(&x.stx_ctime),
            btime: with_btime.then(|| time(&x.stx_btime)),
            dev: rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor),
            ino: x.stx_ino,
            rdev: if is_device { rustix::fs::makedev(x.stx_rdev_major, x.stx_rdev_minor) } else { 0 },
            nlink: x.stx_nlink,
            flags: u32::try_from(x.stx_attributes.bits() & FLAGS_OF_STATX).unwrap_or(0),
        })
    }

    /// Of an open file or directory.
    pub(super) fn of_open(fd: impl AsFd) -> io::Result<Self> {
        Self::of(fd, b"")
    }

    /// Which inode this is.
    pub fn inode(&self) -> Inode {
        Inode { dev: self.dev, ino: self.ino }
    }

    /// Whether it is still the same inode of the same type.
    pub(super) fn is_same_entry(&self, other: &Self) -> bool {
        self.inode() == other.inode() && self.kind == other.kind
    }

    /// Whether nothing wrote to the file between the two looks.
    pub(super) fn is_same_content(&self, other: &Self) -> bool {
        self.size == other.size && self.mtime == other.mtime && self.ctime == other.ctime
    }
}

fn kind_of(mode: u16) -> Option<FileKind> {
    use rustix::fs::FileType as T;
    Some(match T::from_raw_mode(u32::from(mode)) {
        T::RegularFile => FileKind::File,
        T::Directory => FileKind::Directory,
        T::Symlink => FileKind::Symlink,
        T::Fifo => FileKind::Fifo,
        T::Socket => FileKind::Socket,
        T::CharacterDevice => FileKind::CharDevice,
        T::BlockDevice => FileKind::BlockDevice,
        T::Unknown => return None,
    })
}

fn time(t: &StatxTimestamp) -> FileTime {
    FileTime { seconds: t.tv_sec, nanos: t.tv_nsec }
}

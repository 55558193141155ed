//! What one `statx` says of an entry.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use crate::base::metadata::{FileKind, FileTime, Metadata};
use crate::codec::hash;

/// Inode flags that `statx` reports and `chattr` sets: immutable, append-only, no-dump.
const FLAGS_KEPT: u64 = 0x70;

/// What the file system says of an entry without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks in use.
    pub blocks: u64,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of the inode.
    pub ctime: FileTime,
    /// Birth.
    pub btime: Option<FileTime>,
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Device that a device entry stands for.
    pub rdev: u64,
    /// Names of the inode.
    pub nlink: u32,
    /// Inode flags.
    pub flags: u32,
}

impl Stat {
    /// Looks at a name in a folder, or with an empty name at the descriptor itself. Symbolic links
    /// are not followed, automounts not triggered.
    pub(super) fn at(dir: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        if name.is_empty() {
            flags |= AtFlags::EMPTY_PATH;
        }
        let found = rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
        Self::from_statx(&found)
    }

    fn from_statx(found: &Statx) -> Result<Self, Errno> {
        let raw_mode = u32::from(found.stx_mode);
        let kind = match FileType::from_raw_mode(raw_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::CharacterDevice => FileKind::CharDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Unknown => return Err(Errno::INVAL),
        };
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let has_btime = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        Ok(Self {
            kind,
            mode: raw_mode & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            size: if kind == FileKind::File { found.stx_size } else { 0 },
            blocks: found.stx_blocks,
            mtime: time(&found.stx_mtime),
            ctime: time(&found.stx_ctime),
            btime: has_btime.then(|| time(&found.stx_btime)),
            dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            ino: found.stx_ino,
            rdev: if is_device { rustix::fs::makedev(found.stx_rdev_major, found.stx_rdev_minor) } else { 0 },
            nlink: found.stx_nlink,
            flags: u32::try_from(found.stx_attributes.bits() & FLAGS_KEPT).unwrap_or(0),
        })
    }

    /// Whether both are the same inode and type.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.kind) == (other.dev, other.ino, other.kind)
    }

    /// The number that all names of this inode share; 0 when it has one name. Folders have many
    /// links and one name.
    pub fn hard_link_group(&self) -> u64 {
        if self.nlink < 2 || self.kind == FileKind::Directory {
            return 0;
        }
        let digest = hash::plain(&[&self.dev.to_le_bytes(), &self.ino.to_le_bytes()]);
        let mut first = [0u8; 8];
        first.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(first).max(1)
    }

    /// The metadata that needs no more than this look.
    pub fn metadata(&self) -> Metadata {
        Metadata {
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            owner: Vec::new(),
            group: Vec::new(),
            size: self.size,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
            dev: self.dev,
            ino: self.ino,
            rdev: self.rdev,
            hard_link_group: self.hard_link_group(),
            link_target: Vec::new(),
            flags: self.flags,
            xattrs: Vec::new(),
        }
    }
}

fn time(at: &StatxTimestamp) -> FileTime {
    FileTime { seconds: at.tv_sec, nanos: at.tv_nsec.min(999_999_999) }
}

//! What a file system says of one entry, as bytes: names need not be text, times need not be
//! after 1970. Shared by the source, which reads and writes it, and the manifest, which stores it.

use serde::Serialize;

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FileKind {
    /// A regular file.
    File = 1,
    /// A folder.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe. Never opened.
    Fifo = 4,
    /// A socket. Recorded; never made again.
    Socket = 5,
    /// A character device. Never opened.
    CharDevice = 6,
    /// A block device. Never opened.
    BlockDevice = 7,
}

impl FileKind {
    /// From the stored number.
    pub fn from_u8(number: u8) -> Option<Self> {
        [
            Self::File,
            Self::Directory,
            Self::Symlink,
            Self::Fifo,
            Self::Socket,
            Self::CharDevice,
            Self::BlockDevice,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// A file's time: seconds since 1970, which may be negative, and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FileTime {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Nanoseconds after that second, 0 to 999,999,999.
    pub nanos: u32,
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name with its name space: `user.comment`, `system.posix_acl_access`.
    pub name: Vec<u8>,
    /// Value; may be empty.
    pub value: Vec<u8>,
}

/// A stretch of a file that holds data; what lies between two extents is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes of data.
    pub len: u64,
}

/// Everything about an entry but its path and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its type.
    pub kind: FileKind,
    /// Permission bits with set-uid, set-gid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name on the source machine; empty when it has none there.
    pub owner: Vec<u8>,
    /// The group's name on the source machine; empty when it has none there.
    pub group: Vec<u8>,
    /// Length of a regular file in bytes, holes included; 0 for all else.
    pub size: u64,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of the inode. Cannot be restored; tells that something changed.
    pub ctime: FileTime,
    /// Birth, where the file system knows it. Cannot be restored.
    pub btime: Option<FileTime>,
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Device number that a device entry stands for; 0 for all else.
    pub rdev: u64,
    /// 0 when the inode has one name; else a number that all its names share within a snapshot
    /// (the first 8 bytes of blake3 of dev and ino as u64 little-endian, never 0). Any type.
    pub hard_link_group: u64,
    /// What a symbolic link says; empty for all else.
    pub link_target: Vec<u8>,
    /// Inode flags as of `chattr` (FS_IOC_GETFLAGS); 0 where there are none.
    pub flags: u32,
    /// Extended attributes, ACLs and capabilities among them, sorted by name, names unique.
    pub xattrs: Vec<Xattr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_numbers() {
        for number in 0..=255u8 {
            match FileKind::from_u8(number) {
                Some(kind) => assert_eq!(kind as u8, number),
                None => assert!(number == 0 || number > 7),
            }
        }
    }
}

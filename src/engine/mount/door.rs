//! Takes requests from the kernel and hands them on, each with its answer's way back.
//!
//! The mount is read-only to the kernel: it refuses every change itself (EROFS), and asks for none.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use crossbeam_channel::Sender;
use fuser::{
    Errno, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request,
};

/// What the kernel asks.
pub(super) enum Ask {
    Lookup(u64, Vec<u8>, ReplyEntry),
    Forget(u64, u64),
    Attributes(u64, ReplyAttr),
    Target(u64, ReplyData),
    Read { ino: u64, offset: u64, len: u32, reply: ReplyData },
    List(u64, u64, ReplyDirectory),
    ListWithAttributes(u64, u64, ReplyDirectoryPlus),
    Xattr { ino: u64, name: Vec<u8>, room: u32, reply: ReplyXattr },
    Xattrs { ino: u64, room: u32, reply: ReplyXattr },
    Space(ReplyStatfs),
    Seek { ino: u64, offset: i64, whence: i32, reply: ReplyLseek },
    Flags(u64, ReplyIoctl),
}

/// The kernel's side of a mount.
pub(super) struct Door {
    pub(super) asks: Sender<Ask>,
}

/// `FS_IOC_GETFLAGS`: what `lsattr` asks.
const GET_FLAGS: u32 = 0x8008_6601;

impl Door {
    /// Waits while many are being answered. Without anybody who answers, the reply is dropped,
    /// which is an I/O error for whoever asked.
    fn hand(&self, ask: Ask) {
        drop(self.asks.send(ask));
    }
}

impl Filesystem for Door {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an older kernel lacks makes it slower, not wrong.
        // Attributes come with every listing: they cost nothing here, and whoever lists a folder mostly
        // wants them (a million files: 24 of them a request instead of one).
        for wanted in
            [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_CACHE_SYMLINKS]
        {
            let _ = config.add_capabilities(wanted);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.hand(Ask::Lookup(parent.0, name.as_bytes().to_vec(), reply));
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.hand(Ask::Forget(ino.0, count));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.hand(Ask::Attributes(ino.0, reply));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.hand(Ask::Target(ino.0, reply));
    }

    /// Nothing is kept for an open file: the kernel needn't ask again, and may keep what it read.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.hand(Ask::Read { ino: ino.0, offset, len, reply });
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.hand(Ask::List(ino.0, offset, reply));
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.hand(Ask::ListWithAttributes(ino.0, offset, reply));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.hand(Ask::Space(reply));
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        self.hand(Ask::Xattr { ino: ino.0, name: name.as_bytes().to_vec(), room, reply });
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, room: u32, reply: ReplyXattr) {
        self.hand(Ask::Xattrs { ino: ino.0, room, reply });
    }

    fn ioctl(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        command: u32,
        _: &[u8],
        room: u32,
        reply: ReplyIoctl,
    ) {
        if command == GET_FLAGS && room >= 4 {
            self.hand(Ask::Flags(ino.0, reply));
        } else {
            reply.error(Errno::ENOTTY);
        }
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.hand(Ask::Seek { ino: ino.0, offset, whence, reply });
    }
}

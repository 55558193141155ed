//! Metadata onto an entry that is written.
//!
//! Order: plain attributes while the entry is still open to us, owner (which takes away set-uid
//! and capabilities), mode, ACLs, capabilities and labels, times, inode flags. Until then the
//! entry is private to whoever restores.
//!
//! File systems that can't keep a value often take it and keep another one: a time is cut, an
//! owner is ignored. So the entry is looked at once more in the end.

use std::ffi::CString;
use std::os::fd::AsRawFd;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, IFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::issues::{Aspect, IssueLog, Reason};
use super::metadata::{FLAGS_KEPT, FLAGS_LOCKING, attribute_names};
use super::stat::Stat;
use crate::base::display;
use crate::base::metadata::{FileKind, FileTime, Metadata, Xattr};

/// Whether owners are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// As recorded, by number.
    Restore,
    /// Whoever restores owns what is restored.
    Keep,
}

/// How far inode flags are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// All of them: nothing will be done to the entry any more.
    All,
    /// Not immutable and append-only: links to the entry are still to be made.
    Unlocked,
}

/// An entry to be completed.
pub(super) struct Target<'a> {
    fd: BorrowedFd<'a>,
    /// For a descriptor that only names the entry: the path by which calls reach it.
    via: Option<CString>,
    path: &'a [u8],
    issues: &'a IssueLog,
}

impl<'a> Target<'a> {
    /// An open file or directory.
    pub(super) fn open(fd: BorrowedFd<'a>, path: &'a [u8], issues: &'a IssueLog) -> Self {
        Self { fd, via: None, path, issues }
    }

    /// An entry that must not be opened, named by an `O_PATH` descriptor.
    pub(super) fn named(fd: BorrowedFd<'a>, path: &'a [u8], issues: &'a IssueLog) -> Self {
        let via = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("digits hold no NUL");
        Self { fd, via: Some(via), path, issues }
    }

    /// Sets all that the metadata says. What fails is an issue.
    pub(super) fn apply(&self, metadata: &Metadata, owner: Owner, flags: Flags) {
        let (late, early): (Vec<&Xattr>, Vec<&Xattr>) =
            metadata.xattrs.iter().partition(|x| is_late(&x.name));
        self.remove_strangers(metadata);
        self.set_xattrs(&early);
        let is_owned = self.set_owner(metadata, owner);
        let mut mode = None;
        if metadata.kind != FileKind::Symlink {
            mode = self.set_mode(metadata, is_owned);
        }
        let lost = self.set_xattrs(&late);
        if let (Some(full), Some(acl)) = (mode, lost.iter().find(|x| x.name == ACCESS_LIST)) {
            mode = self.set_mode_bits(without_list(full, &acl.value));
        }
        let is_timed = self.set_times(metadata.mtime);
        self.look_back(metadata, &Taken { owner: is_owned, mode, time: is_timed });
        self.set_flags(metadata.flags, flags);
    }

    /// Whether the entry has all of it already.
    pub(super) fn is_as_recorded(&self, stat: &Stat, metadata: &Metadata, owner: Owner) -> bool {
        let is_owned = owner == Owner::Keep || (stat.uid, stat.gid) == (metadata.uid, metadata.gid);
        let is_moded = stat.mode == metadata.mode || metadata.kind == FileKind::Symlink;
        let has_flags = || {
            let wanted = metadata.flags & FLAGS_KEPT;
            if self.via.is_some() || wanted == 0 {
                return stat.flags & FLAGS_LOCKING == 0 || self.via.is_some();
            }
            rustix::fs::ioctl_getflags(self.fd).is_ok_and(|now| now.bits() & FLAGS_KEPT == wanted)
        };
        is_owned && is_moded && stat.mtime == metadata.mtime && has_flags() && self.has_xattrs(metadata)
    }

    /// Whether its attributes are those recorded, but for labels of the system.
    fn has_xattrs(&self, metadata: &Metadata) -> bool {
        let names = attribute_names(|buffer| match &self.via {
            None => rustix::fs::flistxattr(self.fd, buffer),
            Some(via) => rustix::fs::listxattr(via, buffer),
        });
        let is_known = |name: &Vec<u8>| {
            name.starts_with(b"security.") || metadata.xattrs.iter().any(|xattr| xattr.name == *name)
        };
        names.is_ok_and(|names| names.iter().all(is_known))
            && metadata.xattrs.iter().all(|Xattr { name, value }| {
                // One more byte shows a longer value; none would ask for the length alone.
                let mut now = vec![0; value.len() + 1];
                let got = match &self.via {
                    None => rustix::fs::fgetxattr(self.fd, &name[..], &mut now[..]),
                    Some(via) => rustix::fs::getxattr(via, &name[..], &mut now[..]),
                };
                got.is_ok_and(|len| now[..len] == value[..])
            })
    }

    /// What the file system took and did not keep; what it refused has been told.
    fn look_back(&self, metadata: &Metadata, taken: &Taken) {
        let Ok(now) = Stat::of_open(self.fd) else { return };
        let tell = |aspect, kept: String, recorded: String| {
            let why = format!("the file system keeps {kept} instead of {recorded}");
            self.issues.add(self.path, (aspect, Reason::NotKept), why);
        };
        if taken.owner && (now.uid, now.gid) != (metadata.uid, metadata.gid) {
            let owner = |uid: u32, gid: u32| format!("{uid}:{gid}");
            tell(Aspect::Owner, owner(now.uid, now.gid), owner(metadata.uid, metadata.gid));
        }
        if let Some(mode) = taken.mode.filter(|mode| now.mode != *mode) {
            tell(Aspect::Mode, format!("{:04o}", now.mode), format!("{mode:04o}"));
        }
        if taken.time && now.mtime != metadata.mtime {
            let time = |time: FileTime| format!("{}.{:09}", time.seconds, time.nanos);
            tell(Aspect::Times, time(now.mtime), time(metadata.mtime));
        }
    }

    /// An entry inherits ACLs from its directory, and an older one has its own attributes: what
    /// is not recorded goes. Labels of the system (`security.`) stay as it set them.
    fn remove_strangers(&self, metadata: &Metadata) {
        let names = attribute_names(|buffer| match &self.via {
            None => rustix::fs::flistxattr(self.fd, buffer),
            Some(via) => rustix::fs::listxattr(via, buffer),
        });
        for name in names.unwrap_or_default() {
            let is_wanted = metadata.xattrs.iter().any(|x| x.name == name);
            if is_wanted || name.starts_with(b"security.") {
                continue;
            }
            let removed = match &self.via {
                None => rustix::fs::fremovexattr(self.fd, &name[..]),
                Some(via) => rustix::fs::removexattr(via, &name[..]),
            };
            self.note_attribute(&name, removed);
        }
    }

    /// Gives those that could not be set.
    fn set_xattrs<'x>(&self, xattrs: &[&'x Xattr]) -> Vec<&'x Xattr> {
        let mut lost = Vec::new();
        for xattr in xattrs {
            let (name, value) = (&xattr.name[..], &xattr.value[..]);
            let set = match &self.via {
                None => rustix::fs::fsetxattr(self.fd, name, value, XattrFlags::empty()),
                Some(via) => rustix::fs::setxattr(via, name, value, XattrFlags::empty()),
            };
            if set.is_err() {
                lost.push(*xattr);
            }
            self.note_attribute(name, set);
        }
        lost
    }

    fn note_attribute(&self, name: &[u8], done: Result<(), Errno>) {
        if done.is_err() {
            self.issues.note_named(self.path, Aspect::of_attribute(name), &display::path(name), done);
        }
    }

    /// Whether the entry has its recorded owner and group afterwards.
    fn set_owner(&self, metadata: &Metadata, owner: Owner) -> bool {
        let is_now =
            || Stat::of_open(self.fd).map(|s| (s.uid, s.gid)).ok() == Some((metadata.uid, metadata.gid));
        if owner == Owner::Keep {
            return is_now();
        }
        // chown(2) takes the highest number for "leave it".
        if metadata.uid == u32::MAX || metadata.gid == u32::MAX {
            self.issues.add(self.path, (Aspect::Owner, Reason::Unfit), "the number stands for nobody");
            return false;
        }
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        let chown = |uid| rustix::fs::chownat(self.fd, c"", uid, Some(gid), AtFlags::EMPTY_PATH);
        match chown(Some(uid)) {
            Ok(()) => true,
            Err(errno) => {
                // A user may still give a file to another of the own groups.
                let group = chown(None);
                if group.is_ok() && is_now() {
                    return true;
                }
                self.issues.note(self.path, Aspect::Owner, Err(errno));
                false
            }
        }
    }

    /// Set-uid and set-gid would lend the rights of the wrong user: they need the right owner.
    /// Gives the bits that were set.
    fn set_mode(&self, metadata: &Metadata, is_owned: bool) -> Option<u32> {
        let lent = metadata.mode & 0o6000;
        let mode = if is_owned { metadata.mode } else { metadata.mode & !0o6000 };
        if !is_owned && lent != 0 && metadata.kind == FileKind::File {
            let why = "set-uid and set-gid left out: the owner is another";
            self.issues.add(self.path, (Aspect::Mode, Reason::OtherOwner), why);
        }
        self.set_mode_bits(mode)
    }

    /// Gives the bits that were set; none when the kernel refused.
    pub(super) fn set_mode_bits(&self, mode: u32) -> Option<u32> {
        let bits = Mode::from_raw_mode(mode & 0o7777);
        let set = match &self.via {
            None => rustix::fs::fchmod(self.fd, bits),
            Some(via) => rustix::fs::chmodat(CWD, via, bits, AtFlags::empty()),
        };
        self.issues.note(self.path, Aspect::Mode, set);
        set.is_ok().then_some(mode & 0o7777)
    }

    /// Whether the kernel took the time.
    fn set_times(&self, mtime: FileTime) -> bool {
        if mtime.nanos >= 1_000_000_000 {
            self.issues.add(self.path, (Aspect::Times, Reason::Unfit), "the recorded time is none");
            return false;
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) },
        };
        let set = match &self.via {
            None => rustix::fs::futimens(self.fd, &times),
            Some(via) => rustix::fs::utimensat(CWD, via, &times, AtFlags::empty()),
        };
        self.issues.note(self.path, Aspect::Times, set);
        set.is_ok()
    }

    /// Flags need a descriptor that is really open; entries that may not be opened have none.
    pub(super) fn set_flags(&self, flags: u32, how: Flags) {
        let allowed = if how == Flags::All { FLAGS_KEPT } else { FLAGS_KEPT & !FLAGS_LOCKING };
        let wanted = flags & allowed;
        if wanted == 0 {
            return;
        }
        if self.via.is_some() {
            let why = "an entry that is not opened takes no flags";
            return self.issues.add(self.path, (Aspect::Flags, Reason::NotSupported), why);
        }
        let set = |taken: u32, wanted: u32| {
            let now = rustix::fs::ioctl_getflags(self.fd)?.bits();
            rustix::fs::ioctl_setflags(self.fd, IFlags::from_bits_retain(now & !taken | wanted))
        };
        if set(allowed, wanted).is_ok() {
            return;
        }
        // One flag that this file system doesn't know must not cost the others; those after which
        // nothing can be set come last.
        for locking in [false, true] {
            let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| wanted & bit != 0);
            for bit in bits.filter(|bit| (bit & FLAGS_LOCKING != 0) == locking) {
                self.issues.note_named(self.path, Aspect::Flags, flag_word(bit), set(0, bit));
            }
        }
    }
}

/// What the kernel took without an error.
struct Taken {
    owner: bool,
    mode: Option<u32>,
    time: bool,
}

const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// The mode of an entry that loses its access list. The group's bits were the mask, the most that
/// anybody on the list may; alone they would be the rights of the owning group, which has an entry
/// of its own on the list. In doubt it gets none.
fn without_list(mode: u32, list: &[u8]) -> u32 {
    const GROUP: u16 = 4;
    const MASK: u16 = 0x10;
    // A version in four bytes, then entries of {tag u16, rights u16, id u32}.
    let entries = list.get(4..).unwrap_or_default().chunks_exact(8);
    let rights = |wanted: u16| {
        let mut found = entries.clone().filter(|e| u16::from_le_bytes([e[0], e[1]]) == wanted);
        found.next().map(|e| u32::from(u16::from_le_bytes([e[2], e[3]])) & 7)
    };
    let group = rights(GROUP).unwrap_or(0) & rights(MASK).unwrap_or(7);
    mode & !0o070 | (group << 3) & mode
}

/// A flag as `chattr` calls it.
fn flag_word(bit: u32) -> &'static str {
    match bit {
        0x4 => "compressed (c)",
        0x8 => "synchronous (S)",
        0x10 => "immutable (i)",
        0x20 => "append-only (a)",
        0x40 => "no dump (d)",
        0x80 => "no atime (A)",
        0x4000 => "journal data (j)",
        0x8000 => "no tail (t)",
        0x1_0000 => "synchronous folder (D)",
        0x2_0000 => "top of a hierarchy (T)",
        0x80_0000 => "no copy on write (C)",
        0x2000_0000 => "project inherit (P)",
        _ => "a flag without a name",
    }
}

/// Takes immutable and append-only away from a file or directory that may be replaced.
pub(super) fn unlock(dir: impl AsFd, name: &[u8], stat: &Stat) -> Result<(), Errno> {
    if stat.flags & FLAGS_LOCKING == 0 || !matches!(stat.kind, FileKind::File | FileKind::Directory) {
        return Ok(());
    }
    let name = if name.is_empty() { b".".as_slice() } else { name };
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, open, Mode::empty())?;
    let now = rustix::fs::ioctl_getflags(&fd)?.bits();
    rustix::fs::ioctl_setflags(&fd, IFlags::from_bits_retain(now & !FLAGS_LOCKING))
}

/// ACLs change the mode and the mode changes them; capabilities are lost by a change of owner.
fn is_late(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_") || name.starts_with(b"security.")
}

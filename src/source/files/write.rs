//! A folder that is restored into.
//!
//! Every path is opened from the destination's own descriptor without following any link, so
//! that neither a hostile repository nor somebody who plants links meanwhile can have a byte
//! written outside. What is in the way is never opened: it is refused, or replaced when the
//! operator said so. New entries are private (0600, folders 0700) until their metadata is set.
//!
//! The order of a restore is the caller's: folders, then files and nodes, then hard links, then
//! [`Destination::lock_flags`] for linked files, then [`Destination::apply_directory`] from the
//! deepest folder up, then [`Destination::sync`].

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Advice, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::apply::{Flags, Owner, Target, unlock};
use super::beneath;
use super::error::{FilesError, shown};
use super::issues::{Aspect, IssueLog, Issues, Reason};
use super::safe_path::SafePath;
use super::stat::Stat;
use super::unfinished::GoingOn;
use crate::base::durable::{self, Names};
use crate::base::metadata::{FileKind, Metadata};

/// What happens to entries that stand where others are to be restored. Folders that are folders
/// in the snapshot too are used as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and the entry is not restored.
    Refuse,
    /// They are replaced; but a folder that is not empty is refused.
    Overwrite,
    /// They are replaced, whole folders too.
    Mirror,
}

/// How a destination is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What happens to entries in the way.
    pub existing: Existing,
    /// Whether owners are set.
    pub owner: Owner,
}

/// Whether an entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is new.
    New,
    /// It was there and was left as it is (folders).
    Existing,
    /// It cannot be made here (sockets; devices without root's rights): an issue says so.
    No,
}

/// A hard link to be made.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The new name.
    pub path: &'a SafePath,
    /// A name of the inode that was restored before. Of any type but a folder.
    pub first: &'a SafePath,
}

/// An open folder to restore into.
#[derive(Debug)]
pub struct Destination {
    pub(super) root: OwnedFd,
    pub(super) options: RestoreOptions,
    pub(super) issues: IssueLog,
    /// What is restored into it: names of unfinished files are derived from it.
    pub(super) snapshot: [u8; 32],
    /// What is known when a restore goes on with an interrupted one.
    pub(super) going_on: GoingOn,
}

pub(super) const NAMED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
pub(super) const LISTED: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl Destination {
    /// What happens to things in the way.
    pub fn existing(&self) -> Existing {
        self.options.existing
    }

    /// Opens the folder, after making it (and those above it) where it isn't there, private.
    /// A symbolic link is followed here, as a person named it, and never below.
    ///
    /// # Errors
    /// When it is no folder or can't be made.
    pub fn open(dir: &Path, options: RestoreOptions) -> Result<Self, FilesError> {
        let error = |source| FilesError::OpenDestination { path: shown(dir.as_os_str().as_bytes()), source };
        durable::create_dir_all(dir).map_err(error)?;
        let root =
            rustix::fs::openat(CWD, dir, LISTED, Mode::empty()).map_err(|errno| error(errno.into()))?;
        let is_root = rustix::process::geteuid().is_root();
        Ok(Self {
            root,
            options,
            issues: IssueLog::new(is_root),
            snapshot: [0; 32],
            going_on: GoingOn::default(),
        })
    }

    /// The same folder, to restore this snapshot into.
    pub fn of_snapshot(mut self, id: &[u8; 32]) -> Self {
        self.snapshot = *id;
        self
    }

    /// Bytes that can still be written here; `None` where the file system does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.root).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What stands at a path now; none when nothing does.
    ///
    /// # Errors
    /// When a part of the path is no folder, or the file system says no.
    pub fn stat(&self, path: &SafePath) -> Result<Option<Stat>, FilesError> {
        let (dir, name) = path.split().unwrap_or_default();
        match self.folder(dir).map_err(Into::into).and_then(|dir| Stat::of(dir, name)) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FilesError::write("look at", path.as_bytes(), error)),
        }
    }

    /// Makes a folder, private, and those above it that are missing; its metadata comes last, by
    /// [`Destination::apply_directory`].
    ///
    /// # Errors
    /// Class `Refused` when something else stands there and may not be replaced.
    pub fn create_directory(&self, path: &SafePath) -> Result<Made, FilesError> {
        let Some((dir, name)) = path.split() else { return Ok(Made::Existing) };
        let error = |errno: Errno| FilesError::write("create the folder", path.as_bytes(), errno);
        let parent = self.parent(dir).map_err(error)?;
        let make = || rustix::fs::mkdirat(&parent, name, Mode::RWXU);
        match make() {
            Ok(()) => return Ok(Made::New),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(error(errno)),
        }
        let stat = Stat::of(&parent, name).map_err(|e| FilesError::write("look at", path.as_bytes(), e))?;
        if stat.kind == FileKind::Directory {
            if self.options.existing != Existing::Refuse || self.is_going_on() {
                self.issues.note(path.as_bytes(), Aspect::Flags, unlock(&parent, name, &stat));
                self.let_ourselves_in(path, &parent, &stat)?;
            }
            return Ok(Made::Existing);
        }
        self.clear(path, &parent, &stat)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map_err(error)?;
        make().map_err(error)?;
        Ok(Made::New)
    }

    /// Makes a symbolic link with its owner, time and attributes.
    ///
    /// # Errors
    /// Class `Refused` when something stands there and may not be replaced.
    pub fn create_symlink(&self, path: &SafePath, metadata: &Metadata) -> Result<(), FilesError> {
        let make =
            |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::symlinkat(&metadata.link_target[..], dir, name);
        let dir = self.place(path, make)?;
        self.apply_named(path, dir.as_fd(), metadata)
    }

    /// Makes a named pipe or a device with its metadata. Sockets belong to a running process and
    /// are only recorded.
    ///
    /// # Errors
    /// Class `Refused` when something stands there and may not be replaced.
    pub fn create_node(&self, path: &SafePath, metadata: &Metadata) -> Result<Made, FilesError> {
        use rustix::fs::FileType as T;
        let file_type = match metadata.kind {
            FileKind::Fifo => T::Fifo,
            FileKind::CharDevice => T::CharacterDevice,
            FileKind::BlockDevice => T::BlockDevice,
            FileKind::Socket | FileKind::File | FileKind::Directory | FileKind::Symlink => {
                let why = "only a running process makes its socket";
                self.issues.add(path.as_bytes(), (Aspect::Socket, Reason::NotSupported), why);
                return Ok(Made::No);
            }
        };
        let private = Mode::RUSR | Mode::WUSR;
        let make = |dir: BorrowedFd<'_>, name: &[u8]| {
            rustix::fs::mknodat(dir, name, file_type, private, metadata.rdev)
        };
        match self.place(path, make) {
            Ok(dir) => self.apply_named(path, dir.as_fd(), metadata).map(|()| Made::New),
            Err(FilesError::Write { source, .. })
                if file_type != T::Fifo && source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                self.issues.note(path.as_bytes(), Aspect::Device, Err(source));
                Ok(Made::No)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives an inode that was restored before another name.
    ///
    /// # Errors
    /// Class `Refused` when something stands there and may not be replaced.
    pub fn create_link(&self, link: Link<'_>) -> Result<(), FilesError> {
        let error = |errno: Errno| FilesError::write("link to", link.first.as_bytes(), errno);
        let (dir, first) = link.first.split().ok_or_else(|| error(Errno::ISDIR))?;
        let from = self.folder(dir).map_err(error)?;
        let ours =
            Stat::of(&from, first).map_err(|e| FilesError::write("link to", link.first.as_bytes(), e))?;
        if self.stat(link.path)?.is_some_and(|there| there.inode() == ours.inode()) {
            return Ok(());
        }
        let make =
            |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::linkat(&from, first, dir, name, AtFlags::empty());
        self.place(link.path, make).map(drop)
    }

    /// Sets immutable and append-only on a file with several names, after the last one was made.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn lock_flags(&self, path: &SafePath, metadata: &Metadata) -> Result<(), FilesError> {
        let file = self.read_regular(path).map_err(|e| FilesError::write("open", path.as_bytes(), e))?;
        Target::open(file.as_fd(), path.as_bytes(), &self.issues).set_flags(metadata.flags, Flags::All);
        Ok(())
    }

    /// Sets a folder's metadata, after the last entry was made in it: making one changes its time,
    /// and its mode may forbid more.
    ///
    /// # Errors
    /// When no folder stands there any more.
    pub fn apply_directory(&self, path: &SafePath, metadata: &Metadata) -> Result<(), FilesError> {
        let bytes = path.as_bytes();
        let open = |flags| beneath::open(self.root.as_fd(), bytes, flags);
        let named;
        let opened = open(LISTED);
        let target = match &opened {
            Ok(fd) => Target::open(fd.as_fd(), bytes, &self.issues),
            Err(_) => {
                named = open(FOLDER).map_err(|e| FilesError::write("open the folder", bytes, e))?;
                Target::named(named.as_fd(), bytes, &self.issues)
            }
        };
        target.apply(metadata, self.options.owner, Flags::All);
        if bytes.is_empty() {
            self.forget_top_mode();
        }
        Ok(())
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// Whatever the file system says; nothing that was restored may be relied on then.
    pub fn sync(&self) -> Result<(), FilesError> {
        durable::sync_file_system(self.root.as_fd())
            .map_err(|source| FilesError::write("make durable", b"", source))
    }

    /// Makes the destination itself durable: its entries and its metadata.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn sync_top(&self) -> Result<(), FilesError> {
        self.close_up();
        let sync = || durable::sync_file(&File::from(self.root.try_clone()?));
        sync().map_err(|source| FilesError::write("make durable", b"", source))
    }

    /// Opens a restored file to compare it with what it should be. After [`Destination::sync`]
    /// the bytes come from the medium: what the page cache holds proves nothing.
    ///
    /// # Errors
    /// When no regular file stands there.
    pub fn read_back(&self, path: &SafePath) -> Result<File, FilesError> {
        let file = self.read_regular(path).map_err(|e| FilesError::write("read back", path.as_bytes(), e))?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).ok();
        Ok(file)
    }

    /// What could not be set so far.
    pub fn issues(&self) -> Issues {
        self.issues.all()
    }

    pub(super) fn read_regular(&self, path: &SafePath) -> std::io::Result<File> {
        let read = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        // First by name alone: a pipe or a device must not even be opened.
        let (dir, name) = path.split().unwrap_or_default();
        if Stat::of(self.folder(dir)?, name)?.kind != FileKind::File {
            return Err(std::io::Error::other("it is no regular file any more"));
        }
        let file = File::from(beneath::open(self.root.as_fd(), path.as_bytes(), read)?);
        if Stat::of_open(&file)?.kind != FileKind::File {
            return Err(std::io::Error::other("it is no regular file any more"));
        }
        Ok(file)
    }

    /// A folder that must be there.
    pub(super) fn folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        beneath::open(self.root.as_fd(), path, FOLDER)
    }

    /// A folder; missing ones on the way are made, private. When part of a tree is restored,
    /// nobody else makes those above it.
    pub(super) fn parent(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        match self.folder(path) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        let mut reached = beneath::open(self.root.as_fd(), b"", FOLDER)?;
        for name in path.split(|b| *b == b'/') {
            match rustix::fs::mkdirat(&reached, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            reached = beneath::open(reached.as_fd(), name, FOLDER)?;
        }
        Ok(reached)
    }

    /// A folder of our own may forbid us to write in it, as it does when it is restored a second
    /// time; its metadata comes last anyway. Root needs no such leave.
    fn let_ourselves_in(&self, path: &SafePath, parent: &OwnedFd, stat: &Stat) -> Result<(), FilesError> {
        let us = rustix::process::geteuid();
        if us.is_root() || stat.uid != us.as_raw() || stat.mode & 0o700 == 0o700 {
            return Ok(());
        }
        let (_, name) = path.split().unwrap_or_default();
        let fd = rustix::fs::openat(parent, name, NAMED | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| FilesError::write("open the folder", path.as_bytes(), errno))?;
        Target::named(fd.as_fd(), path.as_bytes(), &self.issues).set_mode_bits(0o700);
        Ok(())
    }

    /// Makes an entry at its name; where something stands that may be replaced, beside it first
    /// and then over it. Gives the folder it is in.
    fn place(
        &self,
        path: &SafePath,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<OwnedFd, FilesError> {
        let error = |errno: Errno| FilesError::write("create", path.as_bytes(), errno);
        let (dir, name) = path.split().ok_or_else(|| error(Errno::ISDIR))?;
        let parent = self.parent(dir).map_err(error)?;
        match make(parent.as_fd(), name) {
            Ok(()) => return Ok(parent),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(error(errno)),
        }
        let stat = Stat::of(&parent, name).map_err(|e| FilesError::write("look at", path.as_bytes(), e))?;
        self.clear(path, &parent, &stat)?;
        let temp = durable::temp_name();
        make(parent.as_fd(), temp.as_bytes()).map_err(error)?;
        let renamed = durable::rename_in(parent.as_fd(), Names { from: temp.as_bytes(), to: name });
        // Renaming one link over another of the same inode leaves both (rename(2)).
        match rustix::fs::unlinkat(&parent, temp.as_bytes(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(error(errno)),
        }
        renamed.map_err(|source| FilesError::write("replace", path.as_bytes(), source))?;
        Ok(parent)
    }

    /// Sees to it that what stands at a path can be renamed over, or refuses.
    pub(super) fn clear(&self, path: &SafePath, parent: &OwnedFd, stat: &Stat) -> Result<(), FilesError> {
        let occupied = || self.occupied(path, stat.kind);
        let (_, name) = path.split().ok_or_else(occupied)?;
        if self.options.existing == Existing::Refuse && !self.may_replace(path, stat) {
            return Err(occupied());
        }
        let error = |errno: Errno| FilesError::write("remove", path.as_bytes(), errno);
        unlock(parent, name, stat).map_err(error)?;
        if stat.kind != FileKind::Directory {
            return Ok(());
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.options.existing == Existing::Mirror => {
                self.remove(path).map(drop)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(occupied()),
            Err(errno) => Err(error(errno)),
        }
    }

    /// Something is in the way, and stays.
    pub fn occupied(&self, path: &SafePath, found: FileKind) -> FilesError {
        FilesError::Occupied { path: shown(path.as_bytes()), found }
    }

    pub(super) fn apply_named(
        &self,
        path: &SafePath,
        dir: BorrowedFd<'_>,
        metadata: &Metadata,
    ) -> Result<(), FilesError> {
        let error = |source: std::io::Error| FilesError::write("complete", path.as_bytes(), source);
        let (_, name) = path.split().ok_or_else(|| error(Errno::ISDIR.into()))?;
        let fd = rustix::fs::openat(dir, name, NAMED, Mode::empty()).map_err(|errno| error(errno.into()))?;
        if Stat::of_open(&fd).map_err(error)?.kind != metadata.kind {
            return Err(error(std::io::Error::other("something else has its name now")));
        }
        Target::named(fd.as_fd(), path.as_bytes(), &self.issues).apply(
            metadata,
            self.options.owner,
            Flags::All,
        );
        Ok(())
    }
}

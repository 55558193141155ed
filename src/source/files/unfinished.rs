//! What an interrupted restore leaves, and how the next one goes on with it.
//!
//! A file that is written in parts has a name of its own until it is whole, derived from snapshot
//! and path, so that the next restore finds it. A mark at the top of the destination says which
//! restore has not ended. Neither is trusted: what is gone on with must be a plain file of ours
//! alone, and whoever goes on compares its bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::apply::Target;
use super::beneath;
use super::error::FilesError;
use super::safe_path::SafePath;
use super::stat::{Inode, Stat};
use super::write::Destination;
use super::writer::{FileWriter, Shape};
use crate::base::durable;
use crate::base::metadata::FileKind;

/// What marks begin with.
const MARK_PREFIX: &str = ".lifeboat-restore-";
/// A mark is never longer.
const MARK_BYTES_MAX: u64 = 16 * 1024;

/// What happens to the unfinished file of an earlier restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// It is gone on with; the caller finds out what of it is right.
    GoOn,
    /// It is removed.
    Remove,
}

/// What restores into a folder that have not ended said when they began.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Restores of the same snapshot.
    pub own: Option<Vec<u8>>,
    /// Whether restores of the same snapshot were begun by somebody else, or can't be read of.
    pub is_foreign: bool,
    /// Restores of other snapshots, by the names of their marks; empty where they can't be read
    /// or are somebody else's.
    pub others: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What is known when a restore goes on with an interrupted one.
#[derive(Debug, Default)]
pub(super) struct GoingOn {
    is: AtomicBool,
    /// What the interrupted one left and may be replaced, as it was when it was looked at.
    left: Mutex<HashMap<Vec<u8>, Stat>>,
    /// How many names of one group of hard links lead to an inode.
    names: Mutex<HashMap<(u64, Inode), u32>>,
    /// The mode of the destination, when it was opened up.
    top_mode: Mutex<Option<u32>>,
}

impl Destination {
    /// Sees to it that no other restore writes into this folder while it is open.
    ///
    /// # Errors
    /// [`FilesError::Busy`] when one does.
    pub fn be_alone(&self) -> Result<(), FilesError> {
        match durable::try_lock_open(self.root.as_fd()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(FilesError::Busy),
            Err(source) => Err(FilesError::write("lock", b"", source)),
        }
    }

    /// This restore goes on with an interrupted one: folders of our own are opened up again.
    pub fn go_on(&self) {
        self.going_on.is.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_going_on(&self) -> bool {
        self.going_on.is.load(Ordering::Relaxed)
    }

    /// A destination of our own may forbid us to write in it, as it does when it is restored a
    /// second time. [`Destination::sync_top`] gives it its mode back where nothing else sets it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open_up(&self) -> Result<(), FilesError> {
        let us = rustix::process::geteuid();
        let stat = Stat::of_open(&self.root).map_err(|source| FilesError::write("look at", b"", source))?;
        if !us.is_root() && stat.uid == us.as_raw() && stat.mode & 0o700 != 0o700 {
            Target::open(self.root.as_fd(), b"", &self.issues).set_mode_bits(0o700);
            *lock(&self.going_on.top_mode) = Some(stat.mode);
        }
        Ok(())
    }

    /// Gives the destination the mode that it had before it was opened up.
    pub(super) fn close_up(&self) {
        if let Some(mode) = self.forget_top_mode() {
            Target::open(self.root.as_fd(), b"", &self.issues).set_mode_bits(mode);
        }
    }

    pub(super) fn forget_top_mode(&self) -> Option<u32> {
        lock(&self.going_on.top_mode).take()
    }

    /// What the interrupted restore left here may be replaced, by a whole file and as long as
    /// nobody touches it.
    pub fn replace_left(&self, path: &SafePath, stat: &Stat) {
        lock(&self.going_on.left).insert(path.as_bytes().to_vec(), *stat);
    }

    /// Whether what stands there is what was said to be left by the interrupted restore.
    pub(super) fn may_replace(&self, path: &SafePath, now: &Stat) -> bool {
        let is_left = |left: &Stat| left.is_same_entry(now) && left.is_same_content(now);
        self.is_going_on() && lock(&self.going_on.left).get(path.as_bytes()).is_some_and(is_left)
    }

    /// A name of a group of hard links leads to this inode.
    pub fn note_name(&self, group: u64, stat: &Stat) {
        *lock(&self.going_on.names).entry((group, stat.inode())).or_default() += 1;
    }

    /// Whether all names of an inode belong to this group of hard links.
    pub fn has_all_names(&self, group: u64, stat: &Stat) -> bool {
        lock(&self.going_on.names).get(&(group, stat.inode())) == Some(&stat.nlink)
    }

    /// Begins a file that is written in parts, beside its name; [`FileWriter::finish`] gives it
    /// its name. Dropped before that, it stays for [`Leftover::GoOn`].
    ///
    /// # Errors
    /// As [`Destination::create_file`].
    pub fn begin_file(
        &self,
        path: &SafePath,
        size: u64,
        shape: Shape,
        leftover: Leftover,
    ) -> Result<FileWriter<'_>, FilesError> {
        let error = |errno: Errno| FilesError::write("create", path.as_bytes(), errno);
        let (dir, name) = path.split().ok_or_else(|| error(Errno::ISDIR))?;
        let parent = self.parent(dir).map_err(error)?;
        match Stat::of(&parent, name) {
            Ok(stat) => self.clear(path, &parent, &stat)?,
            Err(found) if found.kind() == io::ErrorKind::NotFound => {}
            Err(found) => return Err(FilesError::write("look at", path.as_bytes(), found)),
        }
        let temp = self.unfinished_name(path);
        let left = if leftover == Leftover::GoOn { reopen(&parent, &temp) } else { None };
        let left = left.filter(|file| file.metadata().is_ok_and(|found| found.len() <= size));
        let file = match left {
            Some(file) => file,
            None => File::from(self.make_temp(path, &parent, &temp)?),
        };
        self.in_parts(file, path, temp, size, shape)
    }

    /// Whether an interrupted restore left an unfinished file for this path.
    pub fn has_unfinished(&self, path: &SafePath) -> bool {
        let (dir, _) = path.split().unwrap_or_default();
        self.folder(dir)
            .map_err(io::Error::from)
            .and_then(|dir| Stat::of(dir, self.unfinished_name(path).as_bytes()))
            .is_ok_and(|stat| stat.kind == FileKind::File)
    }

    /// The name of the mark of this snapshot's restore.
    pub(super) fn mark_name(&self) -> String {
        format!("{MARK_PREFIX}{}", hex::encode(&self.snapshot[..16]))
    }

    /// The marks of all restores into this folder that have not ended.
    ///
    /// # Errors
    /// When the folder can't be listed.
    pub fn marks(&self) -> Result<Marks, FilesError> {
        let names = super::remove::list(&self.listed()?, |name| name.starts_with(MARK_PREFIX.as_bytes()))
            .map_err(|errno| FilesError::write("list", b"", errno))?;
        let own = self.mark_name().into_bytes();
        let (own, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| *name == own);
        let is_there = !own.is_empty();
        let own = own.first().and_then(|name| self.read_mark(name));
        let is_foreign = is_there && own.is_none();
        let read = |name: Vec<u8>| (self.read_mark(&name).unwrap_or_default(), name);
        let others = others.into_iter().map(read).map(|(text, name)| (name, text)).collect();
        Ok(Marks { own, is_foreign, others })
    }

    /// Says durably what restores of this snapshot have not ended: afterwards the mark is the old
    /// or the new one.
    ///
    /// # Errors
    /// When it can't be written; class `Refused` when a folder has its name.
    pub fn mark(&self, text: &[u8]) -> Result<(), FilesError> {
        let name = self.mark_name();
        // Always the same, so that what an interruption leaves of it goes with the next one.
        let temp = format!("{}{}", durable::TEMP_PREFIX, &name[1..]);
        for name in [&name, &temp] {
            if Stat::of(&self.root, name.as_bytes()).is_ok_and(|found| found.kind == FileKind::Directory) {
                return Err(FilesError::Reserved { path: name.clone() });
            }
        }
        let write = || -> io::Result<()> {
            let mut file = File::from(super::writer::make_anew(&self.root, temp.as_bytes())?);
            file.write_all(text)?;
            durable::sync_file(&file)?;
            let names = durable::Names { from: temp.as_bytes(), to: name.as_bytes() };
            durable::rename_in(self.root.as_fd(), names)?;
            durable::sync_file(&File::from(self.root.try_clone()?))
        };
        write().map_err(|source| FilesError::write("write", name.as_bytes(), source))
    }

    /// The restore has ended. Do this after [`Destination::sync`], and before the last change of
    /// the folder's own time.
    ///
    /// # Errors
    /// When the mark can't be removed.
    pub fn unmark(&self) -> Result<(), FilesError> {
        let name = self.mark_name();
        match rustix::fs::unlinkat(&self.root, name.as_bytes(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(FilesError::write("remove", name.as_bytes(), errno)),
        }
    }

    /// Removes the mark of another snapshot's restore, which was given up. Whether it did.
    pub fn unmark_other(&self, name: &[u8]) -> bool {
        name.starts_with(MARK_PREFIX.as_bytes())
            && open_own(&self.root, name, OFlags::RDONLY).is_some()
            && rustix::fs::unlinkat(&self.root, name, AtFlags::empty()).is_ok()
    }

    /// Removes the unfinished file that a given up restore of this snapshot left of a path.
    /// Whether there was one.
    pub fn remove_unfinished_of(&self, snapshot: &[u8; 32], path: &SafePath) -> bool {
        let (dir, _) = path.split().unwrap_or_default();
        let name = super::writer::unfinished_name(snapshot, path);
        let Ok(dir) = self.folder(dir) else { return false };
        open_own(&dir, name.as_bytes(), OFlags::RDONLY).is_some()
            && rustix::fs::unlinkat(&dir, name.as_bytes(), AtFlags::empty()).is_ok()
    }

    /// Takes the mark back when nothing else is there.
    pub fn unmark_if_alone(&self) {
        let mark = self.mark_name().into_bytes();
        let others = self.listed().ok().and_then(|fd| super::remove::list(&fd, |name| name != mark).ok());
        if others.is_some_and(|others| others.is_empty()) {
            // One that stays is only a file too many.
            self.unmark().ok();
        }
    }

    fn read_mark(&self, name: &[u8]) -> Option<Vec<u8>> {
        let file = open_own(&self.root, name, OFlags::RDONLY)?;
        let mut text = Vec::new();
        file.take(MARK_BYTES_MAX).read_to_end(&mut text).ok()?;
        Some(text)
    }

    fn listed(&self) -> Result<OwnedFd, FilesError> {
        beneath::open(self.root.as_fd(), b"", super::write::LISTED)
            .map_err(|errno| FilesError::write("list", b"", errno))
    }
}

impl FileWriter<'_> {
    /// Reads what stands at an offset of the unfinished file; whether it has so many bytes.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.file.read_exact_at(buffer, offset).is_ok()
    }

    /// Makes a hole of what an earlier restore may have left there.
    ///
    /// # Errors
    /// When the file system can't.
    pub fn make_hole(&self, offset: u64, len: u64) -> Result<(), FilesError> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, punch, offset, len)
            .map_err(|errno| self.error("make a hole in", errno.into()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An unfinished file of ours, private again and open for more.
fn reopen(parent: &OwnedFd, temp: &str) -> Option<File> {
    let file = open_own(parent, temp.as_bytes(), OFlags::RDWR)?;
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).ok()?;
    Some(file)
}

/// A plain file with one name that is our own, so that nobody else can change it under our hands.
fn open_own(dir: &OwnedFd, name: &[u8], access: OFlags) -> Option<File> {
    let us = rustix::process::geteuid().as_raw();
    let is_ours = |stat: &Stat| stat.kind == FileKind::File && stat.nlink == 1 && stat.uid == us;
    // First by name alone: a pipe or a device must not even be opened.
    let named = Stat::of(dir, name).ok().filter(is_ours)?;
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?);
    let opened = Stat::of_open(&file).ok().filter(is_ours)?;
    (opened.inode() == named.inode()).then_some(file)
}

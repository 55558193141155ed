//! Folders of the source, held by descriptors and opened step by step from their root.
//!
//! A folder is never opened by a path: each step is one name, never through a link, and what is
//! found must be the inode that the walk saw. So nothing that is swapped in meanwhile leads out of
//! the source, and paths may be longer than any system call takes. Only [`OPEN_MAX`] descriptors
//! are kept; others are opened again when they are needed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::stat::Stat;

/// Descriptors of folders that are kept open.
const OPEN_MAX: usize = 256;

/// A folder of the source.
#[derive(Debug)]
pub struct Folder {
    parent: Option<Arc<Folder>>,
    name: Vec<u8>,
    /// Path below the root, components joined by `/`; empty for the root.
    path: Vec<u8>,
    depth: usize,
    stat: Stat,
    open: Mutex<Option<Arc<OwnedFd>>>,
    kept: Arc<Kept>,
}

/// Folders whose descriptors are open, oldest first. Roots are not among them: they stay open.
#[derive(Debug, Default)]
struct Kept(Mutex<VecDeque<Weak<Folder>>>);

impl Folder {
    /// The root of a walk, already opened.
    pub(super) fn root(fd: OwnedFd, stat: Stat) -> Arc<Self> {
        Arc::new(Self {
            parent: None,
            name: Vec::new(),
            path: Vec::new(),
            depth: 0,
            stat,
            open: Mutex::new(Some(Arc::new(fd))),
            kept: Arc::default(),
        })
    }

    /// A folder in this one, as the walk saw it. Nothing is opened yet.
    pub(super) fn child(self: &Arc<Self>, name: &[u8], stat: Stat) -> Arc<Self> {
        let path = if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() };
        Arc::new(Self {
            parent: Some(Arc::clone(self)),
            name: name.to_vec(),
            path,
            depth: self.depth + 1,
            stat,
            open: Mutex::new(None),
            kept: Arc::clone(&self.kept),
        })
    }

    /// Its path below the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many steps it is below the root.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Its descriptor, opened if it is not.
    pub(super) fn fd(self: &Arc<Self>) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(fd) = self.opened() {
            return Ok(fd);
        }
        let mut missing = vec![Arc::clone(self)];
        let mut from = None;
        let mut above = self.parent.clone();
        while let Some(folder) = above {
            if let Some(fd) = folder.opened() {
                from = Some(fd);
                break;
            }
            above = folder.parent.clone();
            missing.push(folder);
        }
        let mut fd = from.ok_or(Errno::BADF)?;
        while let Some(folder) = missing.pop() {
            fd = folder.open_in(&fd)?;
        }
        Ok(fd)
    }

    fn opened(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.open).clone()
    }

    fn open_in(self: &Arc<Self>, parent: &OwnedFd) -> Result<Arc<OwnedFd>, Errno> {
        let fd = open_folder(parent, &self.name)?;
        if !Stat::at(&fd, b"")?.is_same_inode(&self.stat) {
            return Err(Errno::STALE);
        }
        let fd = Arc::new(fd);
        *lock(&self.open) = Some(Arc::clone(&fd));
        let mut kept = lock(&self.kept.0);
        kept.push_back(Arc::downgrade(self));
        while kept.len() > OPEN_MAX {
            if let Some(oldest) = kept.pop_front().and_then(|weak| weak.upgrade()) {
                *lock(&oldest.open) = None;
            }
        }
        Ok(fd)
    }
}

/// Opens a folder by one name, without following a link and, where allowed, without touching its
/// access time.
fn open_folder(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(parent, name, flags, Mode::empty()),
        other => other,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

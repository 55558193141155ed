//! A directory of a walk, shared by the walker and whoever reads its files later.
//!
//! Only so many directories stay open ([`OPEN_DIRECTORIES_MAX`]). One that was closed is opened
//! again from the root without following a link, and counts only if it is still the same inode:
//! a path can be longer than the kernel takes, and `..` could lead out of a tree that is moved.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::beneath;
use super::special::Special;
use super::stat::{Inode, Stat};
use crate::base::limits::OPEN_DIRECTORIES_MAX;
use crate::source::frozen::btrfs::Devices;

const LIST: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// A directory by its place below the root. Keeps its parents alive, not their descriptors.
#[derive(Debug)]
pub struct Dir {
    parent: Option<Arc<Dir>>,
    name: Box<[u8]>,
    depth: usize,
    path_bytes: usize,
    inode: Inode,
    tree: Arc<Tree>,
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

/// What all directories of one walk share.
#[derive(Debug)]
struct Tree {
    root: Arc<OwnedFd>,
    /// For a root that is no directory: its real name, in its parent.
    file_name: Option<Vec<u8>>,
    open: Mutex<VecDeque<Weak<Dir>>>,
    /// For a root whose bytes come from elsewhere.
    special: Option<Special>,
    /// For a view: what its device number stands for.
    devices: Option<Devices>,
}

impl Dir {
    /// The root of a tree. With a `file_name`, the root is that entry and `fd` its parent.
    pub(super) fn root(fd: OwnedFd, file_name: Option<Vec<u8>>) -> io::Result<Arc<Self>> {
        Self::with(fd, file_name, None, None)
    }

    /// The parent of a root whose bytes come from elsewhere.
    pub(super) fn special(fd: OwnedFd, file_name: Vec<u8>, special: Special) -> io::Result<Arc<Self>> {
        Self::with(fd, Some(file_name), Some(special), None)
    }

    /// The root of a tree in a view.
    pub(super) fn in_view(
        fd: OwnedFd,
        file_name: Option<Vec<u8>>,
        devices: Devices,
    ) -> io::Result<Arc<Self>> {
        Self::with(fd, file_name, None, Some(devices))
    }

    /// The device number to record for this one: that of a view is another one each time.
    pub(super) fn recorded_dev(&self, dev: u64) -> u64 {
        self.tree.devices.filter(|devices| devices.view == dev).map_or(dev, |devices| devices.live)
    }

    /// Where the bytes of this root come from, when not from a regular file.
    pub(super) fn special_root(&self) -> Option<&Special> {
        self.tree.special.as_ref()
    }

    fn with(
        fd: OwnedFd,
        file_name: Option<Vec<u8>>,
        special: Option<Special>,
        devices: Option<Devices>,
    ) -> io::Result<Arc<Self>> {
        let inode = Stat::of_open(&fd)?.inode();
        let root = Arc::new(fd);
        let tree =
            Arc::new(Tree { root: Arc::clone(&root), file_name, open: Mutex::default(), special, devices });
        let fd = Mutex::new(Some(root));
        Ok(Arc::new(Self { parent: None, name: Box::default(), depth: 0, path_bytes: 0, inode, tree, fd }))
    }

    /// Opens a sub-directory that the walk has looked at. An error of the kind `NotFound` says
    /// that this very directory is gone, whatever has its name now.
    pub(super) fn enter(self: &Arc<Self>, name: &[u8], inode: Inode) -> io::Result<Arc<Self>> {
        let parent = self.open()?;
        let fd = match with_noatime(|more| rustix::fs::openat(&parent, name, LIST | more, Mode::empty())) {
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(Errno::NOENT.into()),
            opened => opened?,
        };
        if Stat::of_open(&fd)?.inode() != inode {
            return Err(Errno::NOENT.into());
        }
        let dir = Arc::new(Self {
            parent: Some(Arc::clone(self)),
            name: name.into(),
            depth: self.depth + 1,
            path_bytes: self.path_bytes + name.len() + usize::from(self.depth > 0),
            inode,
            tree: Arc::clone(&self.tree),
            fd: Mutex::new(Some(Arc::new(fd))),
        });
        dir.close_another();
        Ok(dir)
    }

    /// Its descriptor, opened again when it was closed.
    pub(super) fn open(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        let mut slot = lock(&self.fd);
        if let Some(fd) = &*slot {
            return Ok(Arc::clone(fd));
        }
        let root = self.tree.root.as_fd();
        let path = self.path();
        let fd = match with_noatime(|more| beneath::open(root, &path, LIST | more)) {
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(Errno::NOENT.into()),
            opened => Arc::new(opened?),
        };
        if Stat::of_open(&fd)?.inode() != self.inode {
            return Err(Errno::NOENT.into());
        }
        *slot = Some(Arc::clone(&fd));
        drop(slot);
        self.close_another();
        Ok(fd)
    }

    /// Counts this directory as open, and closes the one that has been open for longest when
    /// there are too many. Somebody who uses that one right now keeps it until done.
    fn close_another(self: &Arc<Self>) {
        let oldest = {
            let mut open = lock(&self.tree.open);
            open.push_back(Arc::downgrade(self));
            if open.len() > OPEN_DIRECTORIES_MAX { open.pop_front() } else { None }
        };
        if let Some(dir) = oldest.and_then(|weak| weak.upgrade()) {
            *lock(&dir.fd) = None;
        }
    }

    /// The name by which the file system knows an entry of this directory: a root's own name is empty.
    pub(super) fn real_name<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        match &self.tree.file_name {
            Some(file_name) if name.is_empty() => file_name,
            _ => name,
        }
    }

    /// Names from the root down to this directory, joined by `/`; empty for the root.
    pub fn path(&self) -> Vec<u8> {
        let mut path = vec![0; self.path_bytes];
        let mut end = self.path_bytes;
        let mut dir = self;
        while let Some(parent) = &dir.parent {
            let start = end - dir.name.len();
            path[start..end].copy_from_slice(&dir.name);
            if start > 0 {
                path[start - 1] = b'/';
            }
            end = start.saturating_sub(1);
            dir = parent;
        }
        path
    }

    /// The path of an entry in this directory.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path();
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// The directory above; none for the root.
    pub fn parent(&self) -> Option<&Arc<Dir>> {
        self.parent.as_ref()
    }

    /// Its own name; empty for the root.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Directories above it: 0 for the root.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Length of [`Dir::path`].
    pub fn path_bytes(&self) -> usize {
        self.path_bytes
    }

    /// Which inode it is.
    pub fn inode(&self) -> Inode {
        self.inode
    }
}

impl Drop for Dir {
    /// A chain of thousands of parents is dropped in a loop: by recursion it could overflow the stack.
    fn drop(&mut self) {
        let mut above = self.parent.take();
        while let Some(mut dir) = above.and_then(Arc::into_inner) {
            above = dir.parent.take();
        }
    }
}

/// Tries without touching the time of access first; that is allowed to owners and root only.
pub(super) fn with_noatime<T>(open: impl Fn(OFlags) -> Result<T, Errno>) -> Result<T, Errno> {
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        opened => opened,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

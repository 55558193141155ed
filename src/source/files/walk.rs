//! Every entry of one root, in the order of a manifest.
//!
//! First the root (with an empty name), then all entries of the root directory sorted by name,
//! then the contents of its sub-directories in the same order, each in the same way: keys
//! (directory, name) ascend, directories compared name by name. Works by descriptors of
//! directories and looks at each entry once; a link is never followed below the root, so the
//! walk cannot leave its source however the tree changes meanwhile. The stack is on the heap.
//!
//! It doesn't open files and doesn't read attributes: [`super::metadata`] and [`super::read`] do,
//! for those entries that need it. The names of a very wide directory are sorted by runs in files.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, RawDir};

use super::dir::{Dir, with_noatime};
use super::error::{FilesError, shown};
use super::filter::{self, Filter};
use super::names::{Names, Sorted};
use super::stat::{Inode, Stat};
use crate::base::limits::{DIRECTORY_ENTRIES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use crate::base::metadata::FileKind;

/// The fewest system calls for wide directories; measured on 1 M entries.
const LIST_BUFFER_BYTES: usize = 256 * 1024;

/// What a walk leaves out.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// Record mount points below the root as empty directories.
    pub one_file_system: bool,
    /// Patterns with the syntax of a `.gitignore` file in the root.
    pub excludes: Vec<String>,
    /// Record directories with a valid `CACHEDIR.TAG` as empty ones. The root itself is walked
    /// in any case: who names it wants it.
    pub exclude_caches: bool,
}

/// What a walk has left out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that were listed, and gone when looked at.
    pub vanished: u64,
    /// Entries that a pattern excludes; what lies below an excluded directory is not counted.
    pub excluded: u64,
    /// Directories recorded as empty because they are caches.
    pub caches: u64,
    /// Directories recorded as empty because another file system is mounted there.
    pub mounts: u64,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Item {
    /// An entry.
    Found(Found),
    /// Something that should be in the backup, and can't be looked at. The walk goes on.
    Unreadable(Unreadable),
}

/// An entry, as it was when the walk came by.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its directory; of the root entry, the root.
    pub dir: Arc<Dir>,
    /// Its name; empty for the root.
    pub name: Box<[u8]>,
    /// What the file system said.
    pub stat: Stat,
}

impl Found {
    /// Its path below the root; empty for the root.
    pub fn path(&self) -> Vec<u8> {
        self.dir.path_of(&self.name)
    }

    /// Looks again: the same name, as it is now.
    ///
    /// # Errors
    /// [`FilesError::is_vanished`] when it is gone.
    pub fn refresh(&self) -> Result<Self, FilesError> {
        let look = || Stat::of(self.dir.open()?, self.dir.real_name(&self.name));
        let stat = look().map_err(|source| FilesError::read("look at", &self.path(), source))?;
        Ok(Self { dir: Arc::clone(&self.dir), name: self.name.clone(), stat })
    }
}

/// Something that can't be looked at.
#[derive(Debug)]
pub struct Unreadable {
    /// The directory it is in.
    pub dir: Arc<Dir>,
    /// Its name; empty for the root.
    pub name: Box<[u8]>,
    /// How much is missing.
    pub scope: Scope,
    /// Why.
    pub error: FilesError,
}

/// How much is missing because of an [`Unreadable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The entry itself: it has not been yielded.
    Entry,
    /// All of what this directory holds; its own entry has been yielded before.
    Contents,
    /// Some of what this directory holds: its listing broke off. What was listed follows.
    Rest,
}

/// The walk over one root. An iterator that never ends early: what fails is an item.
#[derive(Debug)]
pub struct Walk {
    options: WalkOptions,
    filter: Filter,
    first: VecDeque<Item>,
    stack: Vec<Frame>,
    counts: Counts,
    root_dev: u64,
    /// Always empty: its spare room is where directories are listed into.
    buffer: Vec<u8>,
}

/// A directory on the way: first its entries are yielded, then its sub-directories are entered.
#[derive(Debug)]
struct Frame {
    dir: Arc<Dir>,
    /// Path of the directory, only kept when patterns must be asked.
    path: Vec<u8>,
    names: Sorted,
    subdirs: VecDeque<(Box<[u8]>, Inode)>,
}

impl Walk {
    /// Opens a root as a person names it: it may be a symbolic link, which is followed, and of any type.
    ///
    /// # Errors
    /// When the root cannot be opened or a pattern is wrong.
    pub fn open(root: &Path, options: WalkOptions) -> Result<Self, FilesError> {
        let filter = Filter::new(&options.excludes)?;
        let (dir, stat) = open_root(root)
            .map_err(|source| FilesError::OpenRoot { path: shown(root.as_os_str().as_bytes()), source })?;
        let mut walk = Self {
            options,
            filter,
            first: VecDeque::new(),
            stack: Vec::new(),
            counts: Counts::default(),
            root_dev: stat.dev,
            buffer: Vec::with_capacity(LIST_BUFFER_BYTES),
        };
        let found = Found { dir: Arc::clone(&dir), name: Box::default(), stat };
        walk.first.push_back(Item::Found(found));
        if stat.kind == FileKind::Directory {
            // A root that cannot be listed is an error at once, not an empty backup.
            let incomplete = walk.list(&dir).map_err(|source| FilesError::OpenRoot {
                path: shown(root.as_os_str().as_bytes()),
                source,
            })?;
            walk.first.extend(incomplete.map(|error| {
                Item::Unreadable(Unreadable { dir, name: Box::default(), scope: Scope::Rest, error })
            }));
        }
        Ok(walk)
    }

    /// What has been left out so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Looks at one name of the directory on top of the stack.
    fn look(&mut self, name: Box<[u8]>) -> Option<Item> {
        let frame = self.stack.last_mut()?;
        let dir = Arc::clone(&frame.dir);
        let stat = match dir.open().and_then(|fd| Stat::of(fd, &name)) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.counts.vanished += 1;
                return None;
            }
            Err(error) => {
                let error = FilesError::read("look at", &dir.path_of(&name), error);
                return Some(Item::Unreadable(Unreadable { dir, name, scope: Scope::Entry, error }));
            }
        };
        if !self.filter.is_empty() && self.filter.excludes(&joined(&frame.path, &name), stat.kind) {
            self.counts.excluded += 1;
            return None;
        }
        if dir.path_bytes() + 1 + name.len() > PATH_BYTES_MAX {
            let error = FilesError::limit(&dir.path_of(&name), "paths are at most 1 MiB long");
            return Some(Item::Unreadable(Unreadable { dir, name, scope: Scope::Entry, error }));
        }
        if stat.kind == FileKind::Directory {
            if self.options.one_file_system && stat.dev != self.root_dev {
                self.counts.mounts += 1;
            } else {
                frame.subdirs.push_back((name.clone(), stat.inode()));
            }
        }
        Some(Item::Found(Found { dir, name, stat }))
    }

    /// Goes down into a sub-directory of the one on top of the stack.
    fn enter(&mut self, parent: &Arc<Dir>, name: Box<[u8]>, inode: Inode) -> Option<Item> {
        let problem = |scope, error| {
            Item::Unreadable(Unreadable { dir: Arc::clone(parent), name: name.clone(), scope, error })
        };
        if parent.depth() + 1 >= PATH_DEPTH_MAX {
            return Some(problem(
                Scope::Contents,
                FilesError::limit(&parent.path_of(&name), "trees are at most 4096 deep"),
            ));
        }
        let entered = parent.enter(&name, inode).and_then(|dir| self.list(&dir));
        match entered {
            Ok(None) => None,
            Ok(Some(error)) => Some(problem(Scope::Rest, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.counts.vanished += 1;
                None
            }
            Err(error) => {
                Some(problem(Scope::Contents, FilesError::read("list", &parent.path_of(&name), error)))
            }
        }
    }

    /// Puts a directory on the stack with its names sorted. The error inside says that some are missing.
    fn list(&mut self, dir: &Arc<Dir>) -> io::Result<Option<FilesError>> {
        let fd = dir.open()?;
        let mut names = Names::new();
        let mut incomplete = None;
        let mut is_tagged = false;
        let mut list = RawDir::new(&*fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = list.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) if names.is_empty() => return Err(errno.into()),
                // The directory itself was removed meanwhile, and with it whatever was still to come.
                Err(rustix::io::Errno::NOENT) => break,
                Err(errno) => {
                    incomplete = Some(FilesError::read("list all of", &dir.path(), errno));
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == DIRECTORY_ENTRIES_MAX {
                incomplete =
                    Some(FilesError::limit(&dir.path(), "directories have at most 16 million entries"));
                break;
            }
            is_tagged |= name == filter::CACHE_TAG_NAME;
            names.push(name)?;
        }
        if self.options.exclude_caches && is_tagged && dir.depth() > 0 && filter::is_cache(&*fd) {
            self.counts.caches += 1;
            return Ok(None);
        }
        let path = if self.filter.is_empty() { Vec::new() } else { dir.path() };
        let names = names.sorted();
        self.stack.push(Frame { dir: Arc::clone(dir), path, names, subdirs: VecDeque::new() });
        Ok(incomplete)
    }
}

impl Iterator for Walk {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if let Some(item) = self.first.pop_front() {
            return Some(item);
        }
        loop {
            let frame = self.stack.last_mut()?;
            let item = if let Some(name) = frame.names.next() {
                match name {
                    Ok(name) => self.look(name),
                    Err(error) => {
                        let dir = Arc::clone(&frame.dir);
                        let error = FilesError::read("sort the names of", &dir.path(), error);
                        Some(Item::Unreadable(Unreadable {
                            dir,
                            name: Box::default(),
                            scope: Scope::Rest,
                            error,
                        }))
                    }
                }
            } else if let Some((name, inode)) = frame.subdirs.pop_front() {
                let parent = Arc::clone(&frame.dir);
                self.enter(&parent, name, inode)
            } else {
                self.stack.pop();
                None
            };
            if item.is_some() {
                return item;
            }
        }
    }
}

/// The directory, or the parent of a root that is none, with what the root itself is.
fn open_root(root: &Path) -> io::Result<(Arc<Dir>, Stat)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = |path: &Path| with_noatime(|more| rustix::fs::openat(CWD, path, flags | more, Mode::empty()));
    match open(root) {
        Ok(fd) => {
            let stat = Stat::of_open(&fd)?;
            Ok((Dir::root(fd, None)?, stat))
        }
        Err(rustix::io::Errno::NOTDIR) => {
            let real = std::fs::canonicalize(root)?;
            let parent = real.parent().ok_or(rustix::io::Errno::NOTDIR)?;
            let name = real.file_name().map(OsStr::as_bytes).unwrap_or_default().to_vec();
            let fd = open(parent)?;
            let stat = Stat::of(&fd, &name)?;
            Ok((Dir::root(fd, Some(name))?, stat))
        }
        Err(errno) => Err(errno.into()),
    }
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

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

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::beneath;
use super::dir::{Dir, with_noatime};
use super::error::{FilesError, shown};
use super::filter::{self, Filter, Verdict};
use super::lead::Known;
use super::names::{Names, Sorted};
use super::rules::{Rules, WalkOptions};
use super::stat::{Inode, Stat};
use crate::base::limits::{DIRECTORY_ENTRIES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use crate::base::metadata::FileKind;
use crate::source::frozen::btrfs::Devices;
use crate::source::frozen::{View, is_view_name};

/// The fewest system calls for wide directories; measured on 1 M entries.
const LIST_BUFFER_BYTES: usize = 256 * 1024;

/// What a walk has left out so far. Nothing below a directory that is left out is counted: it is
/// not entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that were listed, and gone when looked at.
    pub vanished: u64,
    /// Entries that patterns leave out, directories among them.
    pub excluded: u64,
    /// Directories among those.
    pub excluded_directories: u64,
    /// Regular files that are too long.
    pub larger: u64,
    /// Bytes of the regular files that patterns and the bound on length leave out.
    pub bytes: u64,
    /// Directories recorded as empty because they are caches.
    pub caches: u64,
    /// Directories recorded as empty because they hold an entry that says so.
    pub marked: u64,
    /// Directories recorded as empty because another file system is mounted there.
    pub mounts: u64,
}

/// Why a walk does not go into a directory or take an entry that has its place below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is a root of its own: what it holds is recorded there.
    OtherRoot,
    /// Something else is mounted there, which is not in the view that is walked.
    NotInView,
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
    /// Whether it is a directory of which is known already that it can't be looked into. What it
    /// holds is told of as [`Scope::Contents`] when its turn comes.
    pub is_closed: bool,
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
        Ok(Self { dir: Arc::clone(&self.dir), name: self.name.clone(), stat, is_closed: self.is_closed })
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
    pub(super) options: WalkOptions,
    pub(super) filter: Filter,
    first: VecDeque<Item>,
    stack: Vec<Frame>,
    counts: Counts,
    pub(super) root_dev: u64,
    /// Always empty: its spare room is where directories are listed into.
    pub(super) buffer: Vec<u8>,
    /// Directories that were looked through ahead of the walk.
    pub(super) known: Known,
    /// Places below the root, joined by `/`, where it stops.
    stops: HashMap<Vec<u8>, Stop>,
    /// Whether a snapshot of btrfs is walked.
    is_view: bool,
}

/// A directory on the way: first its entries are yielded, then its sub-directories are entered.
#[derive(Debug)]
struct Frame {
    dir: Arc<Dir>,
    /// Path of the directory, only kept when patterns must be asked.
    path: Vec<u8>,
    names: Sorted,
    subdirs: VecDeque<Subdir>,
    /// Whether what it holds is kept, unless a pattern says otherwise.
    is_kept: bool,
}

/// A sub-directory that is still to be entered.
#[derive(Debug)]
struct Subdir {
    name: Box<[u8]>,
    inode: Inode,
    is_kept: bool,
    closed: Option<Closed>,
}

/// Why a sub-directory is not entered.
#[derive(Clone, Copy, Debug)]
enum Closed {
    /// Something else begins there, which is not in the view that is walked.
    NotInView,
    /// It may not be listed, or what is in it may not be looked at.
    Denied,
}

impl Walk {
    /// Opens a root as a person names it: it may be a symbolic link, which is followed, and of any type.
    ///
    /// # Errors
    /// When the root cannot be opened or a pattern is wrong.
    pub fn open(root: &Path, options: WalkOptions) -> Result<Self, FilesError> {
        Self::open_by(root, &Rules::new(options)?)
    }

    /// The same by rules that are ready.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub fn open_by(root: &Path, rules: &Rules) -> Result<Self, FilesError> {
        let (dir, stat) = open_root(root)
            .map_err(|source| FilesError::OpenRoot { path: shown(root.as_os_str().as_bytes()), source })?;
        Self::over_root(dir, stat, rules)
            .map_err(|source| FilesError::OpenRoot { path: shown(root.as_os_str().as_bytes()), source })
    }

    /// A root that cannot be listed is an error at once, not an empty backup.
    fn over_root(dir: Arc<Dir>, stat: Stat, rules: &Rules) -> io::Result<Self> {
        let root = Found { dir: Arc::clone(&dir), name: Box::default(), stat, is_closed: false };
        let mut walk = Self::begin(rules, root);
        if stat.kind == FileKind::Directory {
            let is_kept = !walk.filter.has_includes();
            let incomplete = walk.list(&dir, is_kept)?;
            walk.first.extend(incomplete.map(|error| {
                Item::Unreadable(Unreadable { dir, name: Box::default(), scope: Scope::Rest, error })
            }));
        }
        Ok(walk)
    }

    /// A walk that yields its root and nothing else yet.
    pub(super) fn begin(rules: &Rules, root: Found) -> Self {
        let Rules { options, filter } = rules.clone();
        Self {
            options,
            filter,
            root_dev: root.stat.dev,
            first: VecDeque::from([Item::Found(root)]),
            stack: Vec::new(),
            counts: Counts::default(),
            buffer: Vec::with_capacity(LIST_BUFFER_BYTES),
            known: Known::default(),
            stops: HashMap::new(),
            is_view: false,
        }
    }

    /// Walks a tree in a view. No link is followed on the way there.
    ///
    /// # Errors
    /// When it is not there, or can't be opened.
    pub fn frozen(view: &View, below: &Path, rules: &Rules) -> Result<Self, FilesError> {
        let failed =
            |source: io::Error| FilesError::OpenRoot { path: shown(below.as_os_str().as_bytes()), source };
        let (dir, stat) = open_in_view(view, below).map_err(failed)?;
        let mut walk = Self::over_root(dir, stat, rules).map_err(failed)?;
        walk.is_view = true;
        Ok(walk)
    }

    /// Walks a view that stands somewhere else in the file system. `live_dev` is the device number that
    /// is recorded for it: the view's own may be another one each time.
    ///
    /// # Errors
    /// When it is not there, or can't be opened.
    pub fn elsewhere(view: &Path, live_dev: u64, rules: &Rules) -> Result<Self, FilesError> {
        let failed =
            |source: io::Error| FilesError::OpenRoot { path: shown(view.as_os_str().as_bytes()), source };
        let (dir, stat) = open_elsewhere(view, live_dev).map_err(failed)?;
        Self::over_root(dir, stat, rules).map_err(failed)
    }

    /// What has been left out so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Patterns that decided nothing so far: `exclude` or `include`, and the pattern.
    pub fn idle_patterns(&self) -> Vec<(&'static str, String)> {
        self.filter.idle()
    }

    /// Stops at a place below the root, names joined by `/`. To be said before the first step.
    pub fn stop_at(&mut self, place: Vec<u8>, stop: Stop) {
        self.stops.insert(place, stop);
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
        let in_kept = frame.is_kept;
        let needs_path = !self.filter.is_empty() || !self.stops.is_empty();
        let path = if needs_path { joined(&frame.path, &name) } else { Vec::new() };
        let verdict = self.judge(&dir, &name, &path, &stat, in_kept)?;
        if dir.path_bytes() + 1 + name.len() > PATH_BYTES_MAX {
            let error = FilesError::limit(&dir.path_of(&name), "paths are at most 1 MiB long");
            return Some(Item::Unreadable(Unreadable { dir, name, scope: Scope::Entry, error }));
        }
        let mut is_closed = false;
        if stat.kind == FileKind::Directory && self.stops.get(&path) != Some(&Stop::OtherRoot) {
            let is_hollow = self.is_hollow(&path, &stat);
            if self.options.one_file_system && (is_hollow || stat.dev != self.root_dev) {
                self.counts.mounts += 1;
            } else {
                let is_denied = !is_hollow && is_denied(&dir, &name, &stat);
                let denied = is_denied.then_some(Closed::Denied);
                let closed = if is_hollow { Some(Closed::NotInView) } else { denied };
                is_closed = closed.is_some() || dir.depth() + 1 >= PATH_DEPTH_MAX;
                let is_kept = verdict == Verdict::Keep;
                let subdir = Subdir { name: name.clone(), inode: stat.inode(), is_kept, closed };
                self.stack.last_mut()?.subdirs.push_back(subdir);
            }
        }
        Some(Item::Found(Found { dir, name, stat, is_closed }))
    }

    /// Whether a directory is an empty place in a view where something else begins: a subvolume
    /// (number 2, which no other directory of btrfs has) or a mount.
    fn is_hollow(&self, path: &[u8], stat: &Stat) -> bool {
        (self.is_view && stat.ino == 2) || self.stops.get(path) == Some(&Stop::NotInView)
    }

    /// What the rules say of an entry; none, and counted, when it is left out.
    fn judge(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        in_kept: bool,
    ) -> Option<Verdict> {
        let is_file = stat.kind == FileKind::File;
        if stat.kind == FileKind::Directory && matches!(stat.ino, 2 | 256) && is_view_name(name) {
            // A view of the very files that are walked, or its empty place in another one.
            return None;
        }
        if !self.stops.is_empty() && self.stops.get(path) == Some(&Stop::OtherRoot) {
            // Of a root of its own that is no directory nothing is to be said twice.
            return (stat.kind == FileKind::Directory).then_some(Verdict::Keep);
        }
        let verdict = match self.filter.is_empty() {
            true => Verdict::Keep,
            false => self.filter.judge(path, stat.kind, in_kept),
        };
        let leads = verdict != Verdict::Way || self.leads(dir, name, path.to_vec(), stat.inode());
        if verdict == Verdict::Leave || !leads {
            self.counts.excluded += 1;
            self.counts.excluded_directories += u64::from(stat.kind == FileKind::Directory);
        } else if is_file && self.options.larger_than.is_some_and(|most| stat.size > most) {
            self.counts.larger += 1;
        } else {
            return Some(verdict);
        }
        self.counts.bytes = self.counts.bytes.saturating_add(stat.size);
        None
    }

    /// Goes down into a sub-directory of the one on top of the stack.
    fn enter(&mut self, parent: &Arc<Dir>, subdir: Subdir) -> Option<Item> {
        let Subdir { name, inode, is_kept, closed } = subdir;
        let problem = |scope, error| {
            Item::Unreadable(Unreadable { dir: Arc::clone(parent), name: name.clone(), scope, error })
        };
        if parent.depth() + 1 >= PATH_DEPTH_MAX {
            return Some(problem(
                Scope::Contents,
                FilesError::limit(&parent.path_of(&name), "trees are at most 4096 deep"),
            ));
        }
        if let Some(closed) = closed {
            let path = parent.path_of(&name);
            let error = match closed {
                Closed::NotInView => FilesError::NotInView { path: shown(&path) },
                Closed::Denied => FilesError::read("list", &path, Errno::ACCESS),
            };
            return Some(problem(Scope::Contents, error));
        }
        let entered = parent.enter(&name, inode).and_then(|dir| self.list(&dir, is_kept));
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
    fn list(&mut self, dir: &Arc<Dir>, is_kept: bool) -> io::Result<Option<FilesError>> {
        let fd = dir.open()?;
        let mut names = Names::new();
        let mut incomplete = None;
        let (mut is_tagged, mut is_marked) = (false, false);
        let mut list = RawDir::new(&*fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = list.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) if names.is_empty() => return Err(errno.into()),
                // The directory itself was removed meanwhile, and with it whatever was still to come.
                Err(Errno::NOENT) => break,
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
            is_marked |= self.options.if_present.iter().any(|mark| mark.as_bytes() == name);
            names.push(name)?;
        }
        if self.options.exclude_caches && is_tagged && dir.depth() > 0 && filter::is_cache(&*fd) {
            self.counts.caches += 1;
            return Ok(None);
        }
        if is_marked && dir.depth() > 0 {
            self.counts.marked += 1;
            return Ok(None);
        }
        let needs_path = !self.filter.is_empty() || !self.stops.is_empty();
        let path = if needs_path { dir.path() } else { Vec::new() };
        let names = names.sorted();
        self.stack.push(Frame { dir: Arc::clone(dir), path, names, subdirs: VecDeque::new(), is_kept });
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
            } else if let Some(subdir) = frame.subdirs.pop_front() {
                let parent = Arc::clone(&frame.dir);
                self.enter(&parent, subdir)
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

/// Whether a directory may not be listed or searched by whoever runs this. Asked before its entry
/// is told of: a manifest has the entry long before what is in it. Nothing is asked where the mode
/// answers it.
fn is_denied(dir: &Arc<Dir>, name: &[u8], stat: &Stat) -> bool {
    let me = rustix::process::geteuid();
    let owns = stat.uid == me.as_raw() && stat.mode & 0o500 == 0o500;
    if owns || (me.is_root() && stat.mode & 0o005 == 0o005) {
        return false;
    }
    let asked = || -> io::Result<()> {
        let fd = dir.open()?;
        Ok(rustix::fs::accessat(&*fd, name, Access::READ_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
    };
    asked().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

const ROOT: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The directory, or the parent of a root that is none, with what the root itself is.
fn open_root(root: &Path) -> io::Result<(Arc<Dir>, Stat)> {
    let open = |path: &Path, flags| rustix::fs::openat(CWD, path, flags, Mode::empty());
    match with_noatime(|more| open(root, ROOT | more)) {
        // The name of a link is not the name of what it leads to.
        Err(Errno::NOTDIR) => open_file_root(&std::fs::canonicalize(root)?, open, Dir::root),
        opened => open_dir_root(opened, Dir::root),
    }
}

/// The same in a view, where no link is followed.
fn open_in_view(view: &View, below: &Path) -> io::Result<(Arc<Dir>, Stat)> {
    let open = |path: &Path, flags| beneath::open(view.folder(), path.as_os_str().as_bytes(), flags);
    let make = |fd, name| Dir::in_view(fd, name, view.devices());
    match with_noatime(|more| open(below, ROOT | more)) {
        Err(Errno::NOTDIR) => open_file_root(below, open, make),
        opened => open_dir_root(opened, make),
    }
}

/// The same in a view that stands elsewhere.
fn open_elsewhere(view: &Path, live_dev: u64) -> io::Result<(Arc<Dir>, Stat)> {
    let real = std::fs::canonicalize(view)?;
    let open = |path: &Path, flags| rustix::fs::openat(CWD, path, flags, Mode::empty());
    let make = |fd: OwnedFd, name| {
        let devices = Devices { view: rustix::fs::fstat(&fd)?.st_dev, live: live_dev };
        Dir::in_view(fd, name, devices)
    };
    match with_noatime(|more| open(&real, ROOT | more)) {
        Err(Errno::NOTDIR) => open_file_root(&real, open, make),
        opened => open_dir_root(opened, make),
    }
}

fn open_dir_root(
    opened: Result<OwnedFd, Errno>,
    make: impl Fn(OwnedFd, Option<Vec<u8>>) -> io::Result<Arc<Dir>>,
) -> io::Result<(Arc<Dir>, Stat)> {
    let fd = opened?;
    let stat = Stat::of_open(&fd)?;
    Ok((make(fd, None)?, stat))
}

fn open_file_root(
    path: &Path,
    open: impl Fn(&Path, OFlags) -> Result<OwnedFd, Errno>,
    make: impl Fn(OwnedFd, Option<Vec<u8>>) -> io::Result<Arc<Dir>>,
) -> io::Result<(Arc<Dir>, Stat)> {
    let parent = path.parent().ok_or(Errno::NOTDIR)?;
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default().to_vec();
    let fd = with_noatime(|more| open(parent, ROOT | more))?;
    let stat = Stat::of(&fd, &name)?;
    Ok((make(fd, Some(name))?, stat))
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

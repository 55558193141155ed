//! The walk over one root, in the order of a manifest: all entries of a folder sorted by name,
//! then the contents of its sub-folders.
//!
//! One `statx` an entry and nothing opened but folders. What cannot be looked at is an item of its
//! own and the walk goes on; what vanishes is counted.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::SourceError;
use super::filter::{CACHE_TAG, CACHE_TAG_NAME, Filter};
use super::folder::Folder;
use super::stat::Stat;
use crate::base::display;
use crate::base::limits::{PATH_BYTES_MAX, PATH_DEPTH_MAX};
use crate::base::metadata::FileKind;

/// What to leave out.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// Rules in gitignore's syntax, over paths below the root.
    pub excludes: Vec<String>,
    /// Whether to stay on the root's file system: mount points are recorded as empty folders.
    pub one_file_system: bool,
}

/// An entry that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The folder that holds it.
    pub(super) folder: Arc<Folder>,
    /// The name to open it by in that folder; empty for a root that is a folder.
    pub(super) open_name: Vec<u8>,
    /// Its name in the manifest; empty for the root.
    pub name: Vec<u8>,
    /// What the file system said.
    pub stat: Stat,
}

impl Found {
    /// Path of its folder below the root, components joined by `/`.
    pub fn dir(&self) -> &[u8] {
        self.folder.path()
    }

    /// Its path below the root; empty for the root itself.
    pub fn path(&self) -> Vec<u8> {
        join(self.folder.path(), &self.name)
    }
}

/// One step of the walk.
#[derive(Debug)]
pub enum Walked {
    /// An entry.
    Entry(Found),
    /// Something is there that could not be looked at.
    Unreadable {
        /// Its path below the root.
        path: Vec<u8>,
        /// Why, for people.
        reason: String,
    },
}

/// A walk over one root.
#[derive(Debug)]
pub struct Walk {
    filter: Filter,
    one_file_system: bool,
    root_dev: u64,
    /// What is to be given out next, in reverse order.
    ready: Vec<Walked>,
    /// Folders to enter, the next one last.
    folders: Vec<Arc<Folder>>,
    vanished: u64,
    excluded: u64,
    names: Vec<u8>,
}

impl Walk {
    /// Opens a root, which may be reached through links; below it none is followed.
    ///
    /// # Errors
    /// When the root cannot be opened or looked at, or a rule is no rule.
    pub fn open(root: &Path, options: &WalkOptions) -> Result<Self, SourceError> {
        let wrong = |errno: Errno| SourceError::Root {
            path: display::path(root.as_os_str().as_bytes()),
            source: errno.into(),
        };
        let real = std::fs::canonicalize(root).map_err(|source| SourceError::Root {
            path: display::path(root.as_os_str().as_bytes()),
            source,
        })?;
        let stat = Stat::at(CWD, real.as_os_str().as_bytes()).map_err(wrong)?;
        let is_folder = stat.kind == FileKind::Directory;
        let (held, open_name) = if is_folder {
            (real.as_path(), Vec::new())
        } else {
            let name = real.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
            (real.parent().unwrap_or(Path::new("/")), name)
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(held, flags, Mode::empty()).map_err(wrong)?;
        let folder_stat = Stat::at(&fd, b"").map_err(wrong)?;
        let folder = Folder::root(fd, folder_stat);
        let entry = Found { folder: Arc::clone(&folder), open_name, name: Vec::new(), stat };
        Ok(Self {
            filter: Filter::new(&options.excludes)?,
            one_file_system: options.one_file_system,
            root_dev: stat.dev,
            ready: vec![Walked::Entry(entry)],
            folders: if is_folder { vec![folder] } else { Vec::new() },
            vanished: 0,
            excluded: 0,
            names: Vec::new(),
        })
    }

    /// Items that vanished between the listing and the look.
    pub fn vanished(&self) -> u64 {
        self.vanished
    }

    /// Items left out by rules, cache tags and file-system bounds.
    pub fn excluded(&self) -> u64 {
        self.excluded
    }

    fn enter(&mut self, folder: &Arc<Folder>) {
        let names = match folder.fd().and_then(|fd| self.list(&fd).map(|names| (fd, names))) {
            Ok(listed) => Some(listed),
            Err(Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::LOOP) => {
                self.vanished += 1;
                None
            }
            Err(errno) => {
                self.unreadable(folder.path().to_vec(), format!("the folder cannot be read: {errno}"));
                None
            }
        };
        let Some((fd, spans)) = names else { return };
        if is_cache(&fd, &spans, &self.names) {
            self.excluded += u64::try_from(spans.len()).unwrap_or(u64::MAX);
            return;
        }
        let names = std::mem::take(&mut self.names);
        let first_folder = self.folders.len();
        let first_ready = self.ready.len();
        for span in spans {
            self.look(folder, &fd, &names[span]);
        }
        self.names = names;
        // Both are taken from the end: the first of them has to be the last.
        self.folders[first_folder..].reverse();
        self.ready[first_ready..].reverse();
    }

    /// The names of a folder, sorted, as stretches of `self.names`.
    fn list(&mut self, fd: &OwnedFd) -> Result<Vec<std::ops::Range<usize>>, Errno> {
        self.names.clear();
        let mut spans = Vec::new();
        // The descriptor may have been read before: start at the beginning.
        rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); 256 * 1024];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let name: &CStr = match &entry {
                Ok(entry) => entry.file_name(),
                Err(errno) => return Err(*errno),
            };
            let name = name.to_bytes();
            if name != b"." && name != b".." {
                let start = self.names.len();
                self.names.extend_from_slice(name);
                spans.push(start..self.names.len());
            }
        }
        spans.sort_unstable_by(|a, b| self.names[a.clone()].cmp(&self.names[b.clone()]));
        Ok(spans)
    }

    fn look(&mut self, folder: &Arc<Folder>, fd: &OwnedFd, name: &[u8]) {
        let stat = match Stat::at(fd, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.vanished += 1;
                return;
            }
            Err(errno) => {
                self.unreadable(join(folder.path(), name), format!("it cannot be looked at: {errno}"));
                return;
            }
        };
        let is_folder = stat.kind == FileKind::Directory;
        let path_bytes = folder.path().len() + 1 + name.len();
        if folder.depth() + 1 > PATH_DEPTH_MAX || path_bytes > PATH_BYTES_MAX {
            self.unreadable(
                join(folder.path(), name),
                "its path is longer than a backup can hold".to_owned(),
            );
            return;
        }
        if self.filter.excludes(&join(folder.path(), name), is_folder) {
            self.excluded += 1;
            return;
        }
        if is_folder {
            if self.one_file_system && stat.dev != self.root_dev {
                self.excluded += 1;
            } else {
                self.folders.push(folder.child(name, stat));
            }
        }
        let name = name.to_vec();
        self.ready.push(Walked::Entry(Found {
            folder: Arc::clone(folder),
            open_name: name.clone(),
            name,
            stat,
        }));
    }

    fn unreadable(&mut self, path: Vec<u8>, reason: String) {
        self.ready.push(Walked::Unreadable { path, reason });
    }
}

impl Iterator for Walk {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        loop {
            if let Some(item) = self.ready.pop() {
                return Some(item);
            }
            let folder = self.folders.pop()?;
            self.enter(&folder);
        }
    }
}

/// A path below the root.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// Whether a folder says that its content need not be kept.
fn is_cache(fd: &OwnedFd, spans: &[std::ops::Range<usize>], names: &[u8]) -> bool {
    if !spans.iter().any(|span| &names[span.clone()] == CACHE_TAG_NAME) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(tag) = rustix::fs::openat(fd, CACHE_TAG_NAME, flags, Mode::empty()) else { return false };
    let mut head = [0u8; 43];
    let is_file = Stat::at(&tag, b"").is_ok_and(|stat| stat.kind == FileKind::File);
    is_file && rustix::io::pread(&tag, &mut head, 0).is_ok_and(|got| &head[..got] == CACHE_TAG)
}

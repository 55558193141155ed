//! Taking away what is not in the snapshot, by descriptors, following nothing.

use std::os::fd::AsFd;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, RawDir};
use rustix::io::Errno;

use super::apply::unlock;
use super::beneath;
use super::error::FilesError;
use super::issues::{Aspect, Reason};
use super::safe_path::SafePath;
use super::stat::Stat;
use super::write::{Destination, LISTED};
use crate::base::limits::DIRECTORY_ENTRIES_MAX;
use crate::base::metadata::FileKind;

const LIST_BUFFER_BYTES: usize = 32 * 1024;

/// A folder that is being emptied.
struct Frame {
    path: Vec<u8>,
    subdirs: Vec<Vec<u8>>,
}

impl Destination {
    /// Removes every entry of a folder whose name `keep` doesn't want, with all below. What
    /// can't be removed is an issue. Gives the number of entries removed.
    ///
    /// # Errors
    /// When the folder itself can't be listed.
    pub fn remove_others(&self, dir: &SafePath, keep: impl Fn(&[u8]) -> bool) -> Result<u64, FilesError> {
        let error = |errno: Errno| FilesError::write("list", dir.as_bytes(), errno);
        let fd = beneath::open(self.root.as_fd(), dir.as_bytes(), LISTED).map_err(error)?;
        // The mark goes when the restore has ended.
        let mark = dir.as_bytes().is_empty().then(|| self.mark_name());
        let is_mark = |name: &[u8]| mark.as_ref().is_some_and(|mark| mark.as_bytes() == name);
        let names = list(&fd, |name| !is_mark(name) && !keep(name)).map_err(error)?;
        let mut removed = 0;
        for name in names {
            let path = dir.join(&name)?;
            match self.remove(&path) {
                Ok(count) => removed += count,
                Err(error) => self.issues.add(
                    path.as_bytes(),
                    (Aspect::Removal, Reason::Failed),
                    crate::base::error::Chain(&error),
                ),
            }
        }
        Ok(removed)
    }

    /// Removes an entry with all below it, and never goes over to another file system.
    pub(super) fn remove(&self, path: &SafePath) -> Result<u64, FilesError> {
        let error = |errno: std::io::Error| FilesError::write("remove", path.as_bytes(), errno);
        let (dir, name) = path.split().ok_or_else(|| error(Errno::BUSY.into()))?;
        let parent = self.folder(dir).map_err(|errno| error(errno.into()))?;
        let stat = Stat::of(&parent, name).map_err(error)?;
        if stat.kind != FileKind::Directory {
            unlink(&parent, name, &stat).map_err(|errno| error(errno.into()))?;
            return Ok(1);
        }
        if stat.dev != Stat::of_open(&parent).map_err(error)?.dev {
            return Err(error(Errno::XDEV.into()));
        }
        self.remove_tree(path.as_bytes(), stat.dev).map_err(error)
    }

    /// The stack holds paths and not descriptors: a tree can be deeper than descriptors go.
    fn remove_tree(&self, top: &[u8], dev: u64) -> std::io::Result<u64> {
        let mut removed = 0;
        let mut stack = vec![self.empty(top.to_vec(), dev, &mut removed)?];
        while let Some(frame) = stack.last_mut() {
            if let Some(name) = frame.subdirs.pop() {
                let path = [&frame.path[..], b"/", &name].concat();
                stack.push(self.empty(path, dev, &mut removed)?);
                continue;
            }
            let (dir, name) = match frame.path.iter().rposition(|b| *b == b'/') {
                Some(slash) => (&frame.path[..slash], &frame.path[slash + 1..]),
                None => (&b""[..], &frame.path[..]),
            };
            rustix::fs::unlinkat(self.folder(dir)?, name, AtFlags::REMOVEDIR)?;
            removed += 1;
            stack.pop();
        }
        Ok(removed)
    }

    /// Removes what a folder holds but its sub-folders.
    fn empty(&self, path: Vec<u8>, dev: u64, removed: &mut u64) -> std::io::Result<Frame> {
        let fd = beneath::open(self.root.as_fd(), &path, LISTED)?;
        let own = Stat::of_open(&fd)?;
        if own.dev != dev {
            return Err(Errno::XDEV.into());
        }
        unlock(&fd, b"", &own)?;
        let mut subdirs = Vec::new();
        for name in list(&fd, |_| true)? {
            let stat = Stat::of(&fd, &name)?;
            if stat.kind == FileKind::Directory {
                subdirs.push(name);
            } else {
                unlink(&fd, &name, &stat)?;
                *removed += 1;
            }
        }
        Ok(Frame { path, subdirs })
    }
}

fn unlink(dir: &OwnedFd, name: &[u8], stat: &Stat) -> Result<(), Errno> {
    unlock(dir, name, stat)?;
    rustix::fs::unlinkat(dir, name, AtFlags::empty())
}

/// Names of a folder's entries.
pub(super) fn list(fd: &OwnedFd, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = Vec::with_capacity(LIST_BUFFER_BYTES);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && wanted(name) {
            if names.len() == DIRECTORY_ENTRIES_MAX {
                return Err(Errno::TOOBIG);
            }
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

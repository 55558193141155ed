//! What stands already where something is to be restored: looked at, and kept when it is right.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::apply::{Flags, Target, unlock};
use super::error::FilesError;
use super::safe_path::SafePath;
use super::stat::Stat;
use super::write::{Destination, NAMED};
use crate::base::metadata::{FileKind, Metadata};

/// A regular file that stands at a path, open for reading.
#[derive(Debug)]
pub struct Standing {
    /// Its bytes.
    pub file: File,
    /// What the file system says of it.
    pub stat: Stat,
}

impl Destination {
    /// The regular file at a path; `None` when there is nothing, something else, or a file that
    /// may not be read.
    ///
    /// # Errors
    /// When a part of the path is no folder, or the file system says no.
    pub fn standing(&self, path: &SafePath) -> Result<Option<Standing>, FilesError> {
        let Some(named) = self.stat(path)? else { return Ok(None) };
        if named.kind != FileKind::File {
            return Ok(None);
        }
        let Ok(file) = self.read_regular(path).or_else(|_| self.read_own(path, &named)) else {
            return Ok(None);
        };
        let stat = Stat::of_open(&file).map_err(|e| FilesError::write("look at", path.as_bytes(), e))?;
        Ok(Some(Standing { file, stat }))
    }

    /// Opens a file of our own that forbids even us to read it, as it is when its mode was
    /// recorded so. It has its mode back before anybody can see it with another one for long.
    fn read_own(&self, path: &SafePath, named: &Stat) -> std::io::Result<File> {
        let us = rustix::process::geteuid();
        if us.is_root() || named.uid != us.as_raw() || named.nlink != 1 || named.mode & 0o400 != 0 {
            return Err(Errno::ACCESS.into());
        }
        let (dir, name) = path.split().unwrap_or_default();
        let fd = rustix::fs::openat(self.folder(dir)?, name, NAMED, Mode::empty())?;
        if !Stat::of_open(&fd)?.is_same_entry(named) {
            return Err(Errno::ACCESS.into());
        }
        let target = Target::named(fd.as_fd(), path.as_bytes(), &self.issues);
        target.set_mode_bits(0o400);
        let opened = self.read_regular(path);
        target.set_mode_bits(named.mode);
        opened
    }

    /// Whether a regular file has all of its recorded metadata.
    pub fn is_complete(&self, path: &SafePath, standing: &Standing, metadata: &Metadata) -> bool {
        let target = Target::open(standing.file.as_fd(), path.as_bytes(), &self.issues);
        target.is_as_recorded(&standing.stat, metadata, self.options.owner)
    }

    /// Gives a regular file that is kept the metadata it lacks. It must have one name: others may
    /// lie outside.
    ///
    /// # Errors
    /// When it is locked and can't be unlocked.
    pub fn complete(
        &self,
        path: &SafePath,
        standing: &Standing,
        metadata: &Metadata,
    ) -> Result<(), FilesError> {
        if self.is_complete(path, standing, metadata) {
            return Ok(());
        }
        let error = |errno| FilesError::write("complete", path.as_bytes(), errno);
        let (dir, name) = path.split().unwrap_or_default();
        let dir = self.folder(dir).map_err(error)?;
        unlock(&dir, name, &standing.stat).map_err(error)?;
        let flags = if metadata.hard_link_group == 0 { Flags::All } else { Flags::Unlocked };
        let target = Target::open(standing.file.as_fd(), path.as_bytes(), &self.issues);
        target.apply(metadata, self.options.owner, flags);
        Ok(())
    }

    /// Keeps a symbolic link, pipe or device that says what is recorded, and completes its
    /// metadata. Whether it did. One with several names is kept when all of them belong to its
    /// group of hard links.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn keep_node(&self, path: &SafePath, metadata: &Metadata) -> Result<bool, FilesError> {
        if !self.is_node(path, metadata)? {
            return Ok(false);
        }
        let Some(stat) = self.stat(path)? else { return Ok(false) };
        let error = |errno| FilesError::write("look at", path.as_bytes(), errno);
        let (dir, name) = path.split().unwrap_or_default();
        let dir = self.folder(dir).map_err(error)?;
        let fd = rustix::fs::openat(&dir, name, NAMED | OFlags::NOFOLLOW, Mode::empty()).map_err(error)?;
        let target = Target::named(fd.as_fd(), path.as_bytes(), &self.issues);
        if !target.is_as_recorded(&stat, metadata, self.options.owner) {
            self.apply_named(path, dir.as_fd(), metadata)?;
        }
        Ok(true)
    }

    /// Whether a symbolic link, pipe or device that may be kept stands there; nothing is touched.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn is_node(&self, path: &SafePath, metadata: &Metadata) -> Result<bool, FilesError> {
        let Some(stat) = self.stat(path)? else { return Ok(false) };
        let is_alone = stat.nlink == 1 || self.has_all_names(metadata.hard_link_group, &stat);
        if (stat.kind, stat.rdev) != (metadata.kind, metadata.rdev) || !is_alone {
            return Ok(false);
        }
        let error = |errno| FilesError::write("look at", path.as_bytes(), errno);
        let (dir, name) = path.split().unwrap_or_default();
        let dir = self.folder(dir).map_err(error)?;
        if stat.kind == FileKind::Symlink {
            let says = rustix::fs::readlinkat(&dir, name, Vec::new()).map_err(error)?;
            if says.as_bytes() != metadata.link_target {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where data begins at or behind an offset; `None` when only a hole follows. The offset itself
/// where the file system can't tell.
///
/// # Errors
/// Whatever the file system says.
pub fn next_data(file: &File, from: u64) -> std::io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(Some(from)),
        Err(errno) => Err(errno.into()),
    }
}

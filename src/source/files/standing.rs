//! What stands already where something is to be restored: looked at, and kept when it is right.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom};
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
        let Ok(file) = self.read_regular(path) else { return Ok(None) };
        let stat = Stat::of_open(&file).map_err(|e| FilesError::write("look at", path.as_bytes(), e))?;
        Ok(Some(Standing { file, stat }))
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
    /// metadata. Whether it did.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn keep_node(&self, path: &SafePath, metadata: &Metadata) -> Result<bool, FilesError> {
        let Some(stat) = self.stat(path)? else { return Ok(false) };
        if (stat.kind, stat.rdev, stat.nlink) != (metadata.kind, metadata.rdev, 1) {
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
        let fd = rustix::fs::openat(&dir, name, NAMED | OFlags::NOFOLLOW, Mode::empty()).map_err(error)?;
        let target = Target::named(fd.as_fd(), path.as_bytes(), &self.issues);
        if !target.is_as_recorded(&stat, metadata, self.options.owner) {
            self.apply_named(path, dir.as_fd(), metadata)?;
        }
        Ok(true)
    }

    /// Removes a file that an interrupted restore left, if nobody touched it since the look.
    ///
    /// # Errors
    /// Class `Refused` when it is another one by now.
    pub fn remove_leftover(&self, path: &SafePath, standing: &Standing) -> Result<(), FilesError> {
        let error = |source: std::io::Error| FilesError::write("remove", path.as_bytes(), source);
        let (dir, name) = path.split().unwrap_or_default();
        let dir = self.folder(dir).map_err(|errno| error(errno.into()))?;
        let now = Stat::of(&dir, name).map_err(error)?;
        if !now.is_same_entry(&standing.stat) || !now.is_same_content(&standing.stat) {
            return Err(self.occupied(path, now.kind));
        }
        rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(|errno| error(errno.into()))
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

//! Local files that are there after a power cut: temp, fsync, rename, fsync of the folder.
//!
//! The one room that renames or fsyncs. Everything made here is private (0600, folders 0700).
//! Nothing is overwritten unless the function's name says so.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, CWD, FallocateFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;

use super::{direct, entropy};

/// Whether [`create_new`] made the file or found one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The file was made and its bytes are durable (its folder isn't until [`sync_dir`]).
    New,
    /// A file of this name was there; it was not touched.
    Existing,
}

/// Prefix of files that are not finished. Readers skip them; owners may remove them.
pub const TEMP_PREFIX: &str = ".tmp-";

/// Makes a folder and its parents, private, and their entries durable. Existing ones are left as they are.
///
/// # Errors
/// Whatever the file system says.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_dir(parent_of(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a file that must not exist yet: its bytes are durable before the name appears, and
/// whoever loses a race leaves the winner's file untouched. Call [`sync_dir`] before relying
/// on the name itself.
///
/// # Errors
/// Whatever the file system says; nothing is left behind but, after a crash, a [`TEMP_PREFIX`] file.
pub fn create_new(path: &Path, bytes: &[u8]) -> io::Result<Created> {
    let temp = write_temp(path, bytes)?;
    let renamed = rename_new(&temp, path);
    if !matches!(renamed, Ok(Created::New)) {
        // The temp file is ours alone; failing to remove it changes nothing for anybody.
        drop(std::fs::remove_file(&temp));
    }
    renamed
}

/// As [`create_new`], for large bytes that nobody reads soon: they go to the medium past the page
/// cache where the file system can (`O_DIRECT`), and are dropped from it where it can't.
///
/// # Errors
/// As [`create_new`].
pub fn create_new_cold(path: &Path, bytes: &[u8]) -> io::Result<Created> {
    let temp = temp_path(path);
    let named = write_cold(&temp, bytes).and_then(|()| rename_new(&temp, path));
    if !matches!(named, Ok(Created::New)) {
        drop(std::fs::remove_file(&temp));
    }
    named
}

/// Replaces a file as a whole: afterwards it has the old bytes or the new ones, durably.
///
/// # Errors
/// Whatever the file system says; the old file is untouched then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = write_temp(path, bytes)?;
    #[expect(clippy::disallowed_methods, reason = "the room that renames")]
    let renamed = std::fs::rename(&temp, path);
    if renamed.is_err() {
        drop(std::fs::remove_file(&temp));
    }
    renamed?;
    sync_dir(parent_of(path))
}

/// Gives a finished temp file its name, only if nothing has that name yet.
///
/// # Errors
/// Whatever the file system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<Created> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Existing),
        // File systems without RENAME_NOREPLACE: a hard link is create-only as well.
        Err(Errno::INVAL | Errno::NOSYS) => match std::fs::hard_link(from, to) {
            Ok(()) => {
                std::fs::remove_file(from)?;
                Ok(Created::New)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Existing),
            Err(error) => Err(error),
        },
        Err(errno) => Err(errno.into()),
    }
}

/// Renames over whatever is there and makes both names durable.
///
/// # Errors
/// Whatever the file system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the room that renames")]
    std::fs::rename(from, to)?;
    sync_dir(parent_of(to))
}

/// Makes the entries of a folder durable.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    sync_file(&File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?)
}

/// Makes a file's bytes and size durable.
///
/// # Errors
/// Whatever the file system says. After an error the file must be written anew under another
/// name: a second fsync may succeed although the data is gone.
pub fn sync_file(file: &File) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the room that fsyncs")]
    file.sync_all()
}

/// A fresh name beside `path` for a file that isn't finished.
pub fn temp_path(path: &Path) -> PathBuf {
    parent_of(path).join(temp_name())
}

/// A fresh name for a file that isn't finished.
pub fn temp_name() -> String {
    format!("{TEMP_PREFIX}{}", hex::encode(entropy::random::<8>()))
}

/// Two names in one folder.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// What there is.
    pub from: &'a [u8],
    /// What it shall be called.
    pub to: &'a [u8],
}

/// Renames within an open folder, over whatever is there. Not durable before a sync.
///
/// # Errors
/// Whatever the file system says.
pub fn rename_in(dir: BorrowedFd<'_>, names: Names<'_>) -> io::Result<()> {
    Ok(rustix::fs::renameat(dir, names.from, dir, names.to)?)
}

/// Renames within an open folder, only if nothing has that name yet. Not durable before a sync.
///
/// # Errors
/// Whatever the file system says.
pub fn rename_in_new(dir: BorrowedFd<'_>, names: Names<'_>) -> io::Result<Created> {
    match rustix::fs::renameat_with(dir, names.from, dir, names.to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Existing),
        // File systems without RENAME_NOREPLACE: a hard link is create-only as well.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::linkat(dir, names.from, dir, names.to, AtFlags::empty()) {
                Ok(()) => rustix::fs::unlinkat(dir, names.from, AtFlags::empty())?,
                Err(Errno::EXIST) => return Ok(Created::Existing),
                Err(errno) => return Err(errno.into()),
            }
            Ok(Created::New)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Makes everything durable that was written to the file system that holds `file`.
///
/// # Errors
/// Whatever the file system says, also of writes by others.
pub fn sync_file_system(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// An exclusive advisory lock on a file, held until dropped or until the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// The locked file. The lock holds until every duplicate of it is closed, also by other processes.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Lets others share the lock from now on; nobody can have it alone while this one is held.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn share(self) -> io::Result<Self> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.file, FlockOperation::LockShared))?;
        Ok(self)
    }
}

/// Takes the lock at once, or says `None` when another process has it.
///
/// # Errors
/// When the lock file cannot be made or opened.
pub fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = open_lock(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the lock of an open file or folder at once, for as long as it stays open; whether nobody
/// else has it. File systems that know no such locks say yes to all.
///
/// # Errors
/// Whatever the file system says.
pub fn try_lock_open(open: BorrowedFd<'_>) -> io::Result<bool> {
    match rustix::fs::flock(open, FlockOperation::NonBlockingLockExclusive) {
        // Over NFS a folder can't be locked: locks there need leave to write.
        Ok(()) | Err(Errno::BADF | Errno::NOLCK | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until nobody has the lock alone, then shares it.
///
/// # Errors
/// When the lock file cannot be made or opened.
pub fn lock_shared(path: &Path) -> io::Result<Lock> {
    Lock { file: open_lock(path)? }.share()
}

/// Waits for the lock.
///
/// # Errors
/// When the lock file cannot be made or opened.
pub fn lock(path: &Path) -> io::Result<Lock> {
    let file = open_lock(path)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
    Ok(Lock { file })
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn write_temp(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let temp = temp_path(path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temp)?;
    let written = file.write_all(bytes).and_then(|()| sync_file(&file));
    match written {
        Ok(()) => Ok(temp),
        Err(error) => {
            drop(std::fs::remove_file(&temp));
            Err(error)
        }
    }
}

fn write_cold(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let len = u64::try_from(bytes.len()).map_err(io::Error::other)?;
    // Finds out about a full medium before writing, and keeps the file in one piece. Not every
    // file system can; then the writes find out.
    let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len);
    if let Err(errno @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
        return Err(errno.into());
    }
    let written = direct::write(&file, bytes)?;
    file.write_all_at(&bytes[written..], u64::try_from(written).map_err(io::Error::other)?)?;
    #[expect(clippy::disallowed_methods, reason = "the room that fsyncs")]
    file.sync_data()?;
    drop_cached(&file, 0, len);
    Ok(())
}

/// Asks the system to forget what it caches of a file whose bytes are durable. Advice: what
/// others use at the moment may stay.
pub fn drop_cached(file: &File, offset: u64, len: u64) {
    // Failing (a file system without a page cache) means that there is nothing to drop.
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(len), Advice::DontNeed);
}

/// Writes out what is still only in memory of a file, so that [`drop_cached`] reaches all of it.
///
/// # Errors
/// Whatever the file system says.
pub fn flush_data(file: &File) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the room that fsyncs")]
    file.sync_data()
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_new_never_touches_what_is_there() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a");
        assert_eq!(create_new(&path, b"one").expect("made"), Created::New);
        assert_eq!(create_new(&path, b"two").expect("found"), Created::Existing);
        assert_eq!(std::fs::read(&path).expect("readable"), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 1, "no temp file is left");
    }

    #[test]
    fn cold_files_have_their_bytes_at_every_length_and_alignment() {
        const STEP: usize = 1024 * 1024;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let source: Vec<u8> = (0..3 * STEP + 9000).map(|i| (i % 251).to_le_bytes()[0]).collect();
        for (case, (from, to)) in
            [(0, 0), (0, 1), (1, 4097), (0, STEP), (3, 2 * STEP + 5000), (7, 3 * 4096 + 7)]
                .into_iter()
                .enumerate()
        {
            let path = dir.path().join(case.to_string());
            assert_eq!(create_new_cold(&path, &source[from..to]).expect("made"), Created::New);
            assert!(std::fs::read(&path).expect("readable") == source[from..to], "case {case}");
            assert_eq!(create_new_cold(&path, b"other").expect("found"), Created::Existing);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 6, "no temp file is left");
    }

    #[test]
    fn a_shared_lock_keeps_everybody_from_having_it_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lock");
        let first = try_lock(&path).expect("lock file").expect("free").share().expect("shared");
        let second = lock_shared(&path).expect("shared");
        drop(first);
        assert!(try_lock(&path).expect("lock file").is_none());
        drop(second);
        assert!(try_lock(&path).expect("lock file").is_some());
    }

    #[test]
    fn a_lock_has_one_owner() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lock");
        let held = try_lock(&path).expect("lock file");
        assert!(held.is_some());
        assert!(try_lock(&path).expect("lock file").is_none());
        drop(held);
        assert!(try_lock(&path).expect("lock file").is_some());
    }
}

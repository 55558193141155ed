//! A folder on a file system of this machine: names are paths below it, one to one.
//!
//! An object is written to a temp file beside its final place, made durable, and then given its
//! name with a rename that replaces nothing. Folders are made on demand, but never the base
//! folder: when a disk was unmounted, its mount point must not fill up instead. `sync` makes the
//! names durable, each touched folder once.
//!
//! No name may be a folder of another name (`a` and `a/b`); the layout of a repository has none.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::contract::{Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError, could_begin_a_name};
use crate::base::clock::Timestamp;
use crate::base::direct;
use crate::base::durable::{self, Created};
use crate::base::entropy;
use crate::base::limits::PACK_BYTES_MAX;

/// From this size on objects are written past the page cache.
const COLD_BYTES_MIN: usize = 1024 * 1024;
/// From this length on spans are read past the page cache.
const DIRECT_BYTES_MIN: usize = 128 * 1024;
/// Buffers that are kept for the next read, and how large one may be.
const READ_BUFFERS_MAX: usize = 4;
const READ_BUFFER_BYTES_MAX: usize = 18 * 1024 * 1024;

/// What is kept for a full disk: no object, since its name begins with a dot.
const RESERVE: &str = ".reserve";
const RESERVE_BYTES: usize = 1024 * 1024;

/// Objects as files below one folder.
#[derive(Debug)]
pub struct LocalStorage {
    base: PathBuf,
    label: String,
    /// Folders whose entries are not durable yet.
    touched: Mutex<BTreeSet<PathBuf>>,
    /// Held while folders are made durable, so that nobody's `sync` answers before the one that
    /// took their folder has finished.
    syncing: Mutex<()>,
    /// For reads past the page cache.
    buffers: Arc<ReadBuffers>,
}

impl LocalStorage {
    /// Makes the folder, private, where it doesn't exist, and opens it.
    ///
    /// # Errors
    /// `Denied`, `NoSpace`, `Io`.
    pub fn create(base: &Path) -> Result<Self, StorageError> {
        let storage = Self::at(base)?;
        durable::create_dir_all(&storage.base).map_err(|error| storage.failed("making the folder", error))?;
        Self::open(base)
    }

    /// Opens a folder that exists.
    ///
    /// # Errors
    /// `NoPlace` when it doesn't or is no folder; `Denied`, `Io`.
    pub fn open(base: &Path) -> Result<Self, StorageError> {
        let storage = Self::at(base)?;
        match std::fs::metadata(&storage.base) {
            Ok(found) if found.is_dir() => Ok(storage),
            Ok(_) => Err(storage.no_place()),
            Err(error) if is_absent(&error) => Err(storage.no_place()),
            Err(error) => Err(storage.failed("opening the folder", error)),
        }
    }

    /// The folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    fn at(base: &Path) -> Result<Self, StorageError> {
        // Absolute, so that a later change of the working folder doesn't move the place.
        let base = std::path::absolute(base).map_err(|_| StorageError::BadUrl {
            url: base.display().to_string(),
            reason: "the path is empty, or the working folder is gone".to_owned(),
        })?;
        let label = format!("file://{}", base.display());
        Ok(Self {
            base,
            label,
            touched: Mutex::default(),
            syncing: Mutex::default(),
            buffers: Arc::default(),
        })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.base.join(name.as_str())
    }

    fn touched(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the folders from an object's up to the base. All of them, because another
    /// process may have made the upper ones and not have got to its `sync`.
    fn touch(&self, path: &Path) {
        let mut touched = self.touched();
        for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.base)) {
            if !touched.contains(folder) {
                touched.insert(folder.to_owned());
            }
        }
    }

    fn make_folders(&self, path: &Path) -> io::Result<()> {
        let folders: Vec<&Path> = path.ancestors().skip(1).take_while(|f| *f != self.base).collect();
        for folder in folders.into_iter().rev() {
            match std::fs::DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<Created> {
        let write = if bytes.len() < COLD_BYTES_MIN { durable::create_new } else { durable::create_new_cold };
        match write(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folders(path)?;
                write(path, bytes)
            }
            written => written,
        }
    }

    fn no_place(&self) -> StorageError {
        StorageError::NoPlace { place: self.label.clone(), what: "folder" }
    }

    /// Whether the base folder is gone; asked only after something else was not found.
    fn place_is_gone(&self) -> bool {
        !self.base.is_dir()
    }

    fn absent(&self, name: &ObjectName) -> StorageError {
        if self.place_is_gone() {
            return self.no_place();
        }
        StorageError::NotFound { place: self.label.clone(), name: name.clone() }
    }

    fn failed(&self, action: impl Into<String>, error: io::Error) -> StorageError {
        let place = self.label.clone();
        let action = action.into();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StorageError::Denied { place, action, reason: error.to_string() }
            }
            io::ErrorKind::NotFound if self.place_is_gone() => self.no_place(),
            _ => StorageError::Io { place, action, source: error },
        }
    }

    fn not_written(&self, name: &ObjectName, error: io::Error) -> StorageError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StorageError::NoSpace { place: self.label.clone(), name: name.clone() }
            }
            _ => self.failed(format!("writing {name}"), error),
        }
    }

    /// Large spans are read past the page cache, unless it has them and may answer.
    fn read_span(
        &self,
        name: &ObjectName,
        file: File,
        span: Range<u64>,
        read: Read,
    ) -> io::Result<Option<Bytes>> {
        let Some(len) = usize::try_from(span.end - span.start).ok().filter(|len| *len <= PACK_BYTES_MAX)
        else {
            return Ok(None);
        };
        let is_cold = read == Read::Medium || !direct::is_cached(&file, span.start);
        let direct = if len >= DIRECT_BYTES_MIN && is_cold {
            self.buffers.read(&file, span.start, len)?
        } else {
            None
        };
        let bytes = match direct {
            Some(bytes) => bytes,
            None => read_cached(file, span, len, read)?,
        };
        if bytes.len() < len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} became shorter")));
        }
        Ok(Some(bytes))
    }

    /// The entries of a folder in the order of the full names below it: a folder sorts as its
    /// name with `/`, so that `a-b` comes before `a/b`.
    fn entries(&self, folder: &str) -> Result<Vec<(String, Metadata)>, StorageError> {
        let failed = |error| self.failed(format!("listing {folder}"), error);
        let path = self.base.join(folder);
        let read = match std::fs::read_dir(&path) {
            Ok(read) => read,
            Err(error) if is_absent(&error) && !self.place_is_gone() => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut entries = Vec::new();
        for entry in read {
            let entry = entry.map_err(failed)?;
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            name.insert_str(0, folder);
            if ObjectName::new(name.as_str()).is_err() {
                continue;
            }
            match std::fs::metadata(entry.path()) {
                Ok(found) if found.is_dir() => entries.push((name + "/", found)),
                Ok(found) if found.is_file() => entries.push((name, found)),
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn list_folder(
        &self,
        folder: &str,
        wanted: Wanted<'_>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StorageError> {
        let mut touched = false;
        for (path, found) in self.entries(folder)? {
            if path.ends_with('/') {
                if wanted.folder(&path) && self.list_folder(&path, wanted, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            } else if wanted.object(&path) {
                let Ok(name) = ObjectName::new(path) else { continue };
                if !std::mem::replace(&mut touched, true) {
                    self.touch(&self.path(&name));
                }
                if visit(stat(name, &found)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Through the page cache; for the medium's answer it is emptied first.
fn read_cached(mut file: File, span: Range<u64>, len: usize, read: Read) -> io::Result<Bytes> {
    if read == Read::Medium {
        durable::flush_data(&file)?;
        durable::drop_cached(&file, span.start, span.end - span.start);
    }
    let mut bytes = Vec::with_capacity(len);
    file.seek(SeekFrom::Start(span.start))?;
    file.take(span.end - span.start).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Buffers for reads past the page cache, used again: touching fresh memory costs more than such a
/// read does.
#[derive(Debug, Default)]
struct ReadBuffers(Mutex<Vec<Vec<u8>>>);

impl ReadBuffers {
    /// `None` where the file system refuses.
    fn read(self: &Arc<Self>, file: &File, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lent = Lent { buffer: free.unwrap_or_default(), range: 0..0, home: Arc::clone(self) };
        let Some(range) = direct::read(file, offset, len, &mut lent.buffer)? else { return Ok(None) };
        lent.range = range;
        Ok(Some(Bytes::from_owner(lent)))
    }
}

/// A buffer in use; it goes home when its last reader drops it.
struct Lent {
    buffer: Vec<u8>,
    range: Range<usize>,
    home: Arc<ReadBuffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < READ_BUFFERS_MAX && self.buffer.capacity() <= READ_BUFFER_BYTES_MAX {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Which names a listing wants.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
}

impl Wanted<'_> {
    fn object(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && self.after.is_none_or(|after| name > after)
    }

    /// `path` ends with `/`.
    fn folder(&self, path: &str) -> bool {
        let may_hold_prefix = path.starts_with(self.prefix) || self.prefix.starts_with(path);
        may_hold_prefix && self.after.is_none_or(|after| path > after || after.starts_with(path))
    }
}

fn stat(name: ObjectName, found: &Metadata) -> Stat {
    let modified = found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000);
    Stat { name, bytes: found.len(), modified: Timestamp::from_unix_ms(modified) }
}

/// `a/b` is absent also where `a` is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl Storage for LocalStorage {
    fn label(&self) -> &str {
        &self.label
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        let path = self.path(name);
        // Saves writing what is there; the rename decides all the same.
        let created = match std::fs::symlink_metadata(&path) {
            Ok(_) => Created::Existing,
            Err(_) => self.write(&path, &bytes).map_err(|error| self.not_written(name, error))?,
        };
        if created == Created::Existing && path.is_dir() {
            let error = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(self.failed(format!("writing {name}"), error));
        }
        // Also for one that existed: its writer may not have got to its `sync`.
        self.touch(&path);
        Ok(match created {
            Created::New => Put::Created,
            Created::Existing => Put::Existing,
        })
    }

    /// A new file gets the name: what lies on a bad spot of the medium is not written over.
    fn replace(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StorageError> {
        let path = self.path(name);
        let written = match durable::replace(&path, &bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folders(&path).and_then(|()| durable::replace(&path, &bytes))
            }
            written => written,
        };
        written.map_err(|error| self.not_written(name, error))?;
        self.touch(&path);
        Ok(())
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        let failed = |error| self.failed(format!("reading {name}"), error);
        let opened = File::open(self.path(name)).and_then(|file| Ok((file.metadata()?, file)));
        let (found, file) = match opened {
            Ok((found, file)) if found.is_file() => (found, file),
            Ok(_) => return Err(self.absent(name)),
            Err(error) if is_absent(&error) => return Err(self.absent(name)),
            Err(error) => return Err(failed(error)),
        };
        let (offset, len) = span.within(found.len());
        let bytes = self.read_span(name, file, offset..offset + len, read).map_err(failed)?;
        bytes.ok_or_else(|| StorageError::TooLong {
            place: self.label.clone(),
            name: name.clone(),
            bytes: len,
        })
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        match std::fs::metadata(self.path(name)) {
            Ok(found) if found.is_file() => {
                // Its writer may not have got to its `sync`.
                self.touch(&self.path(name));
                Ok(Some(stat(name.clone(), &found)))
            }
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) && !self.place_is_gone() => Ok(None),
            Err(error) => Err(self.failed(format!("looking at {name}"), error)),
        }
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.list_after(prefix, None, visit)
    }

    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        if !could_begin_a_name(prefix) {
            return Ok(());
        }
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        let wanted = Wanted { prefix, after: after.map(ObjectName::as_str) };
        self.list_folder(folder, wanted, visit).map(|_| ())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {
                self.touch(&path);
                Ok(())
            }
            Err(error) if is_absent(&error) && !self.place_is_gone() => Ok(()),
            Err(error) => Err(self.failed(format!("deleting {name}"), error)),
        }
    }

    fn keep_room(&self) -> Result<(), StorageError> {
        let path = self.base.join(RESERVE);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() >= RESERVE_BYTES as u64) {
            return Ok(());
        }
        // Noise: zeros take no room on a file system that compresses.
        let noise: Vec<u8> =
            std::iter::repeat_with(entropy::random::<32>).take(RESERVE_BYTES / 32).flatten().collect();
        match durable::create_new(&path, &noise) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("keeping room", error)),
        }
    }

    fn give_room(&self) -> Result<bool, StorageError> {
        match std::fs::remove_file(self.base.join(RESERVE)) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(self.failed("giving room", error)),
        }
    }

    fn sync(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = std::mem::take(&mut *self.touched());
        for folder in &folders {
            if let Err(error) = durable::sync_dir(folder) {
                self.touched().extend(folders.iter().cloned());
                return Err(self.failed(format!("making {} durable", folder.display()), error));
            }
        }
        Ok(())
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        Ok(Facts { versioning: Some(false), object_lock: Some(false), ..Facts::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::storage::contract::list_all;

    fn name(text: &str) -> ObjectName {
        text.parse().expect("a name")
    }

    #[test]
    fn everything_made_is_private() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = LocalStorage::create(&dir.path().join("a/b")).expect("made");
        for (text, bytes) in [("p/ab/small", vec![1; 10]), ("p/ab/large", vec![1; COLD_BYTES_MIN + 5])] {
            storage.put_new(&name(text), bytes.into()).expect("put");
            let mode = std::fs::metadata(storage.path(&name(text))).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for folder in ["", "p", "p/ab"] {
            let mode = std::fs::metadata(storage.base.join(folder)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{folder}");
        }
    }

    #[test]
    fn a_place_that_vanished_is_never_made_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let base = dir.path().join("mount");
        let storage = LocalStorage::create(&base).expect("made");
        std::fs::remove_dir_all(&base).expect("unmounted");
        let a = name("p/ab/a");
        let is_no_place =
            |error: &StorageError| matches!(error, StorageError::NoPlace { what: "folder", .. });
        assert!(storage.put_new(&a, Bytes::new()).is_err_and(|e| is_no_place(&e)));
        assert!(storage.get(&a, Span::Whole, Read::Quick).is_err_and(|e| is_no_place(&e)));
        assert!(storage.head(&a).is_err_and(|e| is_no_place(&e)));
        assert!(storage.delete(&a).is_err_and(|e| is_no_place(&e)));
        assert!(list_all(&storage, "p/").is_err_and(|e| is_no_place(&e)));
        assert!(LocalStorage::open(&base).is_err_and(|e| is_no_place(&e)));
        assert!(!base.exists());
    }

    #[test]
    fn strangers_files_and_unfinished_ones_are_not_listed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = LocalStorage::create(dir.path()).expect("made");
        for stray in ["README.TXT", ".tmp-0011", ".hidden", "a b"] {
            std::fs::write(dir.path().join(stray), "x").expect("written");
        }
        std::fs::create_dir(dir.path().join("lost+found")).expect("made");
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), 0o600.into()).expect("made");
        storage.put_new(&name("repo.fmt"), Bytes::from_static(b"x")).expect("put");
        let names: Vec<String> =
            list_all(&storage, "").expect("listed").iter().map(|s| s.name.to_string()).collect();
        assert_eq!(names, ["repo.fmt"]);
    }

    #[test]
    fn what_another_process_left_is_made_durable_before_it_is_relied_on() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let other = LocalStorage::create(dir.path()).expect("made");
        for object in ["p/ab/1", "i/0/run", "s/far"] {
            other.put_new(&name(object), Bytes::new()).expect("put");
        }
        // The other process dies here, before its sync.
        let storage = LocalStorage::open(dir.path()).expect("opened");
        assert!(storage.touched().is_empty());
        storage.head(&name("p/ab/1")).expect("looked").expect("there");
        assert_eq!(list_all(&storage, "i/").expect("listed").len(), 1);
        assert_eq!(storage.head(&name("s/other")).expect("looked"), None);
        let expected: BTreeSet<PathBuf> = ["", "p", "p/ab", "i", "i/0"]
            .iter()
            .map(|f| storage.base.join(f).components().collect())
            .collect();
        assert_eq!(*storage.touched(), expected);
        storage.sync().expect("synced");
        assert!(storage.touched().is_empty());
    }

    #[test]
    fn each_touched_folder_is_synced_once_and_again_after_an_error() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = LocalStorage::create(dir.path()).expect("made");
        for object in ["p/ab/1", "p/ab/2", "p/cd/3"] {
            storage.put_new(&name(object), Bytes::new()).expect("put");
        }
        let expected: BTreeSet<PathBuf> = ["", "p", "p/ab", "p/cd"]
            .iter()
            .map(|f| storage.base.join(f))
            .map(|p| p.components().collect())
            .collect();
        assert_eq!(*storage.touched(), expected);
        std::fs::remove_dir_all(storage.base.join("p/cd")).expect("removed");
        assert!(storage.sync().is_err());
        assert_eq!(*storage.touched(), expected, "a failed sync forgets nothing");
        std::fs::create_dir(storage.base.join("p/cd")).expect("made");
        storage.sync().expect("synced");
        assert!(storage.touched().is_empty());
    }
}

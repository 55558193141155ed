//! One regular file being restored, in any order of its bytes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::apply::{Flags, Target};
use super::beneath;
use super::error::{FilesError, shown};
use super::safe_path::SafePath;
use super::stat::{Inode, Stat};
use super::write::{Destination, Existing};
use crate::base::durable::{self, Created, Names};
use crate::base::metadata::{FileKind, Metadata};
use crate::codec::hash;

/// Smaller files get their room as they are written: one call less for each.
const PREALLOCATED_BYTES_MIN: u64 = 1024 * 1024;
/// Files kept open between two writes, at most.
const OPEN_FILES_MAX: usize = 512;
/// Descriptors that everything else may need: connections, packs, folders on the way, the index.
const OTHER_DESCRIPTORS: usize = 64;

/// Whether a file has holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Every byte will be written: room for all is made at once.
    Dense,
    /// What is never written stays a hole.
    Sparse,
}

/// A file that is being written. Dropped without [`FileWriter::finish`], it is removed again.
#[derive(Debug)]
pub struct FileWriter<'d> {
    destination: &'d Destination,
    pub(super) file: File,
    /// Behind the last byte that was written or made room for.
    reached: AtomicU64,
    place: Option<Place>,
}

/// An unfinished file without its descriptor, for when too many are open.
#[derive(Debug)]
pub struct ParkedFile {
    place: Place,
    inode: Inode,
}

/// What an unfinished file is called, and will be.
#[derive(Debug)]
struct Place {
    path: SafePath,
    /// Its name until it is finished; none when it has its own name already.
    temp: Option<String>,
    size: u64,
    /// Whether it stays when it is not finished, for a later restore to go on with.
    stays: bool,
}

impl Destination {
    /// Makes a file of `size` bytes, private, at its own name; or beside a file that it will
    /// replace when it is finished.
    ///
    /// # Errors
    /// Class `Refused` when something stands there and may not be replaced, `NoSpace` when there
    /// is no room.
    pub fn create_file(
        &self,
        path: &SafePath,
        size: u64,
        shape: Shape,
    ) -> Result<FileWriter<'_>, FilesError> {
        let error = |errno: Errno| FilesError::write("create", path.as_bytes(), errno);
        let (dir, name) = path.split().ok_or_else(|| error(Errno::ISDIR))?;
        let parent = self.parent(dir).map_err(error)?;
        let (fd, temp) = match make(&parent, name) {
            Err(Errno::EXIST) => {
                let stat =
                    Stat::of(&parent, name).map_err(|e| FilesError::write("look at", path.as_bytes(), e))?;
                self.clear(path, &parent, &stat)?;
                let temp = self.unfinished_name(path);
                (self.make_temp(path, &parent, &temp)?, Some(temp))
            }
            made => (made.map_err(error)?, None),
        };
        let place = Some(Place { path: path.clone(), temp, size, stays: false });
        let writer =
            FileWriter { destination: self, file: File::from(fd), reached: AtomicU64::new(0), place };
        writer.make_room(shape)?;
        Ok(writer)
    }

    /// A private file under a name of our own, beside a path.
    pub(super) fn make_temp(
        &self,
        path: &SafePath,
        parent: &OwnedFd,
        temp: &str,
    ) -> Result<OwnedFd, FilesError> {
        make_anew(parent, temp.as_bytes()).map_err(|errno| match errno {
            Errno::ISDIR => FilesError::Reserved { path: shown(&beside(path, temp)) },
            errno => FilesError::write("create", path.as_bytes(), errno),
        })
    }

    /// A file that has a name of its own until it is whole.
    pub(super) fn in_parts(
        &self,
        file: File,
        path: &SafePath,
        temp: String,
        size: u64,
        shape: Shape,
    ) -> Result<FileWriter<'_>, FilesError> {
        let place = Some(Place { path: path.clone(), temp: Some(temp), size, stays: true });
        let writer = FileWriter { destination: self, file, reached: AtomicU64::new(0), place };
        writer.make_room(shape)?;
        Ok(writer)
    }

    /// Removes a parked file that will never be whole.
    pub fn discard(&self, parked: ParkedFile) {
        if let Ok(writer) = self.resume(parked) {
            writer.discard();
        }
    }

    /// The name of a file until it is finished, when its own is taken: always the same for one
    /// path of one snapshot.
    pub fn unfinished_name(&self, path: &SafePath) -> String {
        unfinished_name(&self.snapshot, path)
    }

    /// How many files may be kept open for writing, by what the system grants this process.
    pub fn open_files_max(&self) -> usize {
        let granted = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let granted = granted.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        (granted.saturating_sub(OTHER_DESCRIPTORS) / 2).clamp(1, OPEN_FILES_MAX)
    }

    /// Opens a parked file again.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn resume(&self, parked: ParkedFile) -> Result<FileWriter<'_>, FilesError> {
        let open = || -> io::Result<File> {
            let path = parked.place.current_path();
            let file = File::from(beneath::open(self.root.as_fd(), &path, OFlags::RDWR | OFlags::NONBLOCK)?);
            let stat = Stat::of_open(&file)?;
            if stat.kind == FileKind::File && stat.inode() == parked.inode {
                Ok(file)
            } else {
                Err(io::Error::other("something else has its name now"))
            }
        };
        let error = |e| FilesError::write("go on writing", parked.place.path.as_bytes(), e);
        let file = open().map_err(error)?;
        let reached = AtomicU64::new(file.metadata().map_err(error)?.len());
        Ok(FileWriter { destination: self, file, reached, place: Some(parked.place) })
    }
}

impl FileWriter<'_> {
    /// Writes at an offset. From any thread, in any order.
    ///
    /// # Errors
    /// When the bytes lie outside the file's size, or the file system says no.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FilesError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.place().size);
        let Some(end) = end else {
            return Err(self.error("write", io::Error::other("the bytes lie behind the end of the file")));
        };
        self.file.write_all_at(bytes, offset).map_err(|e| self.error("write", e))?;
        self.reached.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the file: it will never be whole.
    pub fn discard(mut self) {
        if let Some(place) = &mut self.place {
            place.stays = false;
        }
    }

    /// Closes the descriptor for now.
    ///
    /// # Errors
    /// When the file can't be looked at; it is removed then.
    pub fn park(mut self) -> Result<ParkedFile, FilesError> {
        let stat = Stat::of_open(&self.file).map_err(|e| self.error("look at", e))?;
        let place = self.place.take().expect("only finish, park and drop take it, and each ends the writer");
        Ok(ParkedFile { place, inode: stat.inode() })
    }

    /// Sets the metadata and gives the file its name. Immutable and append-only wait for
    /// [`Destination::lock_flags`] when the file has more names. Durable after
    /// [`Destination::sync`].
    ///
    /// # Errors
    /// When the file can't be completed; it is removed then.
    pub fn finish(mut self, metadata: &Metadata) -> Result<(), FilesError> {
        let place = self.place();
        if self.reached.load(Ordering::Relaxed) != place.size {
            self.file.set_len(place.size).map_err(|e| self.error("set the size of", e))?;
        }
        let target = Target::open(self.file.as_fd(), place.path.as_bytes(), &self.destination.issues);
        target.apply(metadata, self.destination.options.owner, Flags::Unlocked);
        if let (Some(temp), Some((dir, name))) = (&place.temp, place.path.split()) {
            let dir = self.destination.folder(dir).map_err(|e| self.error("open the folder of", e.into()))?;
            let names = Names { from: temp.as_bytes(), to: name };
            let is_ours = Stat::of(&dir, names.from)
                .and_then(|named| Ok(named.inode() == Stat::of_open(&self.file)?.inode()))
                .map_err(|e| self.error("look at", e))?;
            if !is_ours {
                let found = "something else has the name of the unfinished file now";
                return Err(self.error("name", io::Error::other(found)));
            }
            let may_replace = self.destination.options.existing != Existing::Refuse
                || Stat::of(&dir, name).is_ok_and(|there| self.destination.may_replace(&place.path, &there));
            if !may_replace {
                match durable::rename_in_new(dir.as_fd(), names).map_err(|e| self.error("name", e))? {
                    Created::New => {}
                    Created::Existing => return Err(self.destination.occupied(&place.path, FileKind::File)),
                }
            } else {
                durable::rename_in(dir.as_fd(), names).map_err(|e| self.error("replace", e))?;
            }
        }
        if metadata.hard_link_group == 0 {
            target.set_flags(metadata.flags, Flags::All);
        }
        self.place = None;
        Ok(())
    }

    /// Room for a dense file at once, so that a full disk shows early and the file lies in one
    /// piece; only the length for one with holes.
    fn make_room(&self, shape: Shape) -> Result<(), FilesError> {
        let size = self.place().size;
        if shape == Shape::Dense && size < PREALLOCATED_BYTES_MIN {
            return Ok(());
        }
        let made = match shape {
            Shape::Dense => rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size),
            Shape::Sparse => Err(Errno::NOTSUP),
        };
        self.reached.store(size, Ordering::Relaxed);
        match made {
            Ok(()) => Ok(()),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                self.file.set_len(size).map_err(|e| self.error("set the size of", e))
            }
            Err(errno) => Err(self.error("make room for", errno.into())),
        }
    }

    fn place(&self) -> &Place {
        self.place.as_ref().expect("it is there until the writer ends")
    }

    pub(super) fn error(&self, action: &'static str, source: io::Error) -> FilesError {
        FilesError::write(action, self.place().path.as_bytes(), source)
    }
}

impl Place {
    /// Where the unfinished file is now.
    fn current_path(&self) -> Vec<u8> {
        match &self.temp {
            Some(temp) => beside(&self.path, temp),
            None => self.path.as_bytes().to_vec(),
        }
    }
}

/// The name of an unfinished file of a snapshot.
pub(super) fn unfinished_name(snapshot: &[u8; 32], path: &SafePath) -> String {
    let digest = hash::plain(&[snapshot, path.as_bytes()]);
    format!("{}{}", durable::TEMP_PREFIX, hex::encode(&digest[..16]))
}

/// Another name in the folder of a path.
fn beside(path: &SafePath, name: &str) -> Vec<u8> {
    match path.split() {
        None | Some((b"", _)) => name.as_bytes().to_vec(),
        Some((dir, _)) => [dir, b"/", name.as_bytes()].concat(),
    }
}

impl Drop for FileWriter<'_> {
    /// Half a file must not look like a whole one: it goes, unless its name says that it is
    /// unfinished. After a crash it stays, private, with the time of the restore.
    fn drop(&mut self) {
        let Some(place) = self.place.as_ref().filter(|place| !place.stays) else { return };
        let Some((dir, name)) = place.path.split() else { return };
        let name = place.temp.as_ref().map_or(name, |temp| temp.as_bytes());
        let (Ok(dir), Ok(ours)) = (self.destination.folder(dir), Stat::of_open(&self.file)) else { return };
        if Stat::of(&dir, name).is_ok_and(|stat| stat.inode() == ours.inode()) {
            rustix::fs::unlinkat(&dir, name, AtFlags::empty()).ok();
        }
    }
}

/// Makes a private file that must not be there.
fn make(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, create, Mode::RUSR | Mode::WUSR)
}

/// The same under a name of our own, which an interrupted restore may have left.
pub(super) fn make_anew(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    match make(dir, name) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            make(dir, name)
        }
        made => made,
    }
}

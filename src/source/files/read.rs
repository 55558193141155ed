//! The bytes of one regular file, and whether they held still while they were read.
//!
//! Pipes, sockets and devices are never opened, unless they are a root that a person names
//! (`special`); what was a file when the walk came by and is
//! none now doesn't block us either. Holes are never read.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::dir::with_noatime;
use super::error::{FilesError, shown};
use super::special::{self, Zeros};
use super::stat::Stat;
use super::walk::Found;
use crate::base::limits::EXTENTS_MAX;
use crate::base::metadata::{Extent, FileKind};
use crate::source::stream::Stream;

pub(super) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Below this size reading ahead is not worth a call.
const SEQUENTIAL_BYTES_MIN: u64 = 1024 * 1024;
/// From this size on a file that was not in the page cache is not left there.
const UNCACHED_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// How much is read before it is dropped from the page cache.
const DROP_BEHIND_BYTES: u64 = 8 * 1024 * 1024;

/// A regular file being read from its start to its end.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    path: String,
    stat: Stat,
    /// Stretches of data; for a file without holes, one to the most that will be read.
    extents: Vec<Extent>,
    has_holes: bool,
    current: usize,
    position: u64,
    is_truncated: bool,
    /// Where dropping from the page cache has come to; none when the file is to stay there.
    dropped: Option<u64>,
    /// The bytes come from here; the file is only a place.
    stream: Option<Stream>,
    /// The file is a device: its stretches of data are found while it is read.
    zeros: Option<Zeros>,
}

/// What a finished read was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Length of the file with holes, in accord with what was read.
    pub size: u64,
    /// Where the bytes that were read belong; none when they are the whole file.
    pub extents: Option<Vec<Extent>>,
    /// Whether size, mtime or ctime moved meanwhile: what was read may never have been in the
    /// file at one moment. [`OpenFile::restart`] once, then keep it with this flag.
    pub changed: bool,
}

/// Opens a file that the walk found, and makes sure that it is that one.
///
/// # Errors
/// [`FilesError::is_vanished`], [`FilesError::is_replaced`], or what the file system says.
pub fn open_regular(found: &Found) -> Result<OpenFile, FilesError> {
    if let Some(special) = found.dir.special_root() {
        return special::open(found, special);
    }
    let path = found.path();
    let replaced = || FilesError::Replaced { path: shown(&path) };
    if found.stat.kind != FileKind::File {
        return Err(replaced());
    }
    let dir = found.dir.open().map_err(|source| FilesError::read("open the folder of", &path, source))?;
    let name = found.dir.real_name(&found.name);
    let fd = match with_noatime(|more| rustix::fs::openat(&dir, name, READ | more, Mode::empty())) {
        // A link, a socket, or a device without a driver has the name now.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(replaced()),
        opened => opened.map_err(|source| FilesError::read("open", &path, source))?,
    };
    let stat = Stat::of_open(&fd).map_err(|source| FilesError::read("look at", &path, source))?;
    if !stat.is_same_entry(&found.stat) {
        return Err(replaced());
    }
    let mut file = OpenFile::new(File::from(fd), shown(&path), stat);
    file.advise();
    file.begin()?;
    Ok(file)
}

impl OpenFile {
    fn new(file: File, path: String, stat: Stat) -> Self {
        Self {
            file,
            path,
            stat,
            extents: Vec::new(),
            has_holes: false,
            current: 0,
            position: 0,
            is_truncated: false,
            dropped: None,
            stream: None,
            zeros: None,
        }
    }

    /// A stream that is read to its end, whatever its length.
    pub(super) fn of_stream(nowhere: File, stat: Stat, stream: Stream) -> Self {
        let extents = vec![Extent { offset: 0, len: u64::MAX }];
        Self { extents, stream: Some(stream), ..Self::new(nowhere, "the stream".to_owned(), stat) }
    }

    /// A device from its start to its size.
    pub(super) fn of_device(file: File, stat: Stat) -> Result<Self, FilesError> {
        let mut device =
            Self { zeros: Some(Zeros::new(stat.size)), ..Self::new(file, "the device".to_owned(), stat) };
        device.advise();
        device.begin()?;
        Ok(device)
    }

    /// What the open file was when reading began. Its size is the one to plan with.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Stretches of data, when the file has holes. What [`OpenFile::read`] gives are these, end to end.
    pub fn extents(&self) -> Option<&[Extent]> {
        self.has_holes.then_some(&self.extents)
    }

    /// Where the next byte of data lies in the file, and for how many bytes there is no hole behind
    /// it (in a file without holes that may be more than there are); none at the end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn place(&mut self) -> Result<Option<(u64, u64)>, FilesError> {
        let left = self.left_in_extent()?;
        Ok(left.map(|left| (self.position, left)))
    }

    /// Looks at bytes anywhere, without moving; fewer than asked for at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn peek(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FilesError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error("read", error)),
            }
        }
        Ok(filled)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Fills the buffer with the next bytes of data, holes left out; fewer only at the end.
    ///
    /// # Errors
    /// What the file system says; the bytes before are right.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FilesError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(left) = self.left_in_extent()? else { break };
            let room = buffer.len() - filled;
            let wanted = usize::try_from(left).map_or(room, |left| left.min(room));
            let room = &mut buffer[filled..filled + wanted];
            let got = match &mut self.stream {
                Some(stream) => stream.read(room),
                None => self.file.read(room),
            };
            match got {
                Ok(0) if self.zeros.is_some() => {
                    return Err(self.error("read", io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(0) => self.cut_short(),
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                    if self.is_at_recorded_end() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error("read", error)),
            }
        }
        self.drop_behind();
        Ok(filled)
    }

    /// Looks whether the file held still. Call it after [`OpenFile::read`] came to the end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(&self) -> Result<Content, FilesError> {
        if self.stream.is_some() {
            return Ok(Content { size: self.position, extents: None, changed: false });
        }
        if self.zeros.is_some() {
            let size = self.stat.size;
            let whole = [Extent { offset: 0, len: size }];
            let extents = (size > 0 && self.extents != whole).then(|| self.extents.clone());
            return Ok(Content { size, extents, changed: false });
        }
        let now = Stat::of_open(&self.file).map_err(|error| self.error("look at", error))?;
        let changed = self.is_truncated || !now.is_same_content(&self.stat);
        if !self.has_holes {
            let changed = changed || self.position != self.stat.size;
            return Ok(Content { size: self.position, extents: None, changed });
        }
        let size = if self.is_truncated { self.extents.last().map_or(0, end) } else { self.stat.size };
        Ok(Content { size, extents: Some(self.extents.clone()), changed })
    }

    /// Reads from the start again, with the size that the file has now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn restart(&mut self) -> Result<(), FilesError> {
        self.stat = Stat::of_open(&self.file).map_err(|error| self.error("look at", error))?;
        self.begin()
    }

    fn begin(&mut self) -> Result<(), FilesError> {
        if self.zeros.is_some() {
            return self.seek(0);
        }
        let holes = self.map_holes().map_err(|error| self.error("map the holes of", error))?;
        self.has_holes = holes.is_some();
        // Read to the end and not to the size, for files that grow or that have no size (as in
        // /proc); but a file that grows as fast as we read must end somewhere.
        let most = self.stat.size.saturating_mul(2).saturating_add(64 * 1024 * 1024);
        self.extents = holes.unwrap_or_else(|| vec![Extent { offset: 0, len: most }]);
        self.current = 0;
        self.is_truncated = false;
        self.dropped = self.dropped.map(|_| 0);
        let start = self.extents.first().map_or(0, |extent| extent.offset);
        if start == 0 && self.position == 0 && !self.may_have_holes() {
            // Just opened, and nobody has looked for holes by moving about in it.
            return Ok(());
        }
        self.seek(start)
    }

    /// Whether the file is read as far as it was long when it was opened: one that has grown since
    /// is found by [`OpenFile::finish`], and by the next read.
    fn is_at_recorded_end(&self) -> bool {
        self.stream.is_none() && !self.has_holes && self.zeros.is_none() && self.position == self.stat.size
    }

    fn seek(&mut self, to: u64) -> Result<(), FilesError> {
        self.file.seek(SeekFrom::Start(to)).map_err(|error| self.error("read", error))?;
        self.position = to;
        Ok(())
    }

    /// Bytes of data left in the extent at hand, after moving to the next one where this is
    /// done; none at the end.
    fn left_in_extent(&mut self) -> Result<Option<u64>, FilesError> {
        if let Some(zeros) = &mut self.zeros {
            let next = zeros.next(&self.file, self.position, &mut self.extents);
            let Some((place, left)) = next.map_err(|error| self.error("read", error))? else {
                return Ok(None);
            };
            if place != self.position {
                self.seek(place)?;
            }
            return Ok(Some(left));
        }
        let Some(extent) = self.extents.get(self.current) else { return Ok(None) };
        let left = end(extent).saturating_sub(self.position);
        if left > 0 {
            return Ok(Some(left));
        }
        self.current += 1;
        let Some(next) = self.extents.get(self.current).copied() else { return Ok(None) };
        self.seek(next.offset)?;
        Ok(Some(next.len))
    }

    /// The file ended here. Without holes that is how it ends; with holes, it was cut.
    fn cut_short(&mut self) {
        if self.has_holes {
            self.is_truncated = true;
            self.extents.truncate(self.current + 1);
            if let Some(last) = self.extents.last_mut() {
                last.len = self.position.saturating_sub(last.offset);
            }
            if self.extents.last().is_some_and(|last| last.len == 0) {
                self.extents.pop();
            }
        }
        self.current = self.extents.len().max(1);
    }

    /// Stretches of data; none when there is no hole. A file system that allocates as much as
    /// the size says is not asked.
    fn may_have_holes(&self) -> bool {
        self.stat.allocated_bytes < self.stat.size
    }

    fn map_holes(&self) -> io::Result<Option<Vec<Extent>>> {
        let size = self.stat.size;
        if !self.may_have_holes() {
            return Ok(None);
        }
        let mut extents = Vec::new();
        let mut from = 0;
        while from < size {
            let data = match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(from)) {
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
                data => data?,
            };
            if data >= size {
                break;
            }
            if extents.len() + 1 == EXTENTS_MAX {
                extents.push(Extent { offset: data, len: size - data });
                break;
            }
            let hole = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(data))?.min(size);
            if hole <= data {
                break;
            }
            extents.push(Extent { offset: data, len: hole - data });
            from = hole;
        }
        let whole = Extent { offset: 0, len: size };
        Ok(if extents == [whole] { None } else { Some(extents) })
    }

    /// Tells the kernel how the file is read, and remembers not to fill the page cache with it.
    /// Advice only: no answer changes what is read.
    fn advise(&mut self) {
        if self.stat.size >= SEQUENTIAL_BYTES_MIN {
            rustix::fs::fadvise(&self.file, 0, None, Advice::Sequential).ok();
        }
        if self.stat.size >= UNCACHED_BYTES_MIN {
            let mut byte = [0];
            let mut buffers = [IoSliceMut::new(&mut byte)];
            let probe =
                rustix::io::preadv2(&self.file, &mut buffers, self.stat.size / 2, ReadWriteFlags::NOWAIT);
            self.dropped = (probe == Err(Errno::AGAIN)).then_some(0);
        }
    }

    fn drop_behind(&mut self) {
        let Some(dropped) = self.dropped else { return };
        let done = self.position.saturating_sub(dropped);
        if let Some(len) = std::num::NonZeroU64::new(done).filter(|len| len.get() >= DROP_BEHIND_BYTES) {
            rustix::fs::fadvise(&self.file, dropped, Some(len), Advice::DontNeed).ok();
            self.dropped = Some(self.position);
        }
    }

    fn error(&self, action: &'static str, source: io::Error) -> FilesError {
        FilesError::Read { action, path: self.path.clone(), source }
    }
}

fn end(extent: &Extent) -> u64 {
    extent.offset.saturating_add(extent.len)
}

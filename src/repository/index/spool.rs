//! Bytes that are appended once and read at any place, with room wherever there is some: first in
//! memory, then in a file, in the next folder when one is full or read-only, and in the end in
//! memory again, up to a bound.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::durable::{self, Lock};

/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes of one step when a spool moves.
const COPY_BYTES: usize = 256 * 1024;
/// What may stay in memory when no folder takes it: about 1.3 million blobs.
const REFUGE_BYTES: usize = 64 * 1024 * 1024;

/// Where the index may put its files.
#[derive(Clone, Debug)]
pub struct Ground {
    folder: Option<PathBuf>,
    temp: PathBuf,
}

impl Ground {
    /// This folder, which need not exist and may be read-only or full, then the system's folder
    /// for temporary files.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, temp: std::env::temp_dir() }
    }

    /// The folder whose files outlive the process.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    #[cfg(test)]
    pub(super) fn with_temp(folder: Option<PathBuf>, temp: PathBuf) -> Self {
        Self { folder, temp }
    }

    /// For bytes that nobody needs after this process.
    pub(crate) fn passing(&self, memory_bytes: usize) -> Spool {
        let rooms = self.folder.iter().chain([&self.temp]).cloned().map(Room::Unnamed);
        Spool::new(rooms.collect(), memory_bytes)
    }

    /// For bytes that may be given a name in the folder in the end.
    pub(super) fn lasting(&self, memory_bytes: usize) -> Spool {
        let named = self.folder.iter().cloned().map(Room::Named);
        Spool::new(named.chain([Room::Unnamed(self.temp.clone())]).collect(), memory_bytes)
    }
}

#[derive(Debug)]
enum Room {
    Named(PathBuf),
    Unnamed(PathBuf),
}

/// A named file that is not finished: it goes when this is dropped. The lock tells the living
/// from what a killed process left behind.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    _lock: Lock,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed by now, or of no use: nobody misses it.
        drop(std::fs::remove_file(&self.path));
    }
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    File(File, Option<Unfinished>),
}

/// The bytes.
#[derive(Debug)]
pub(crate) struct Spool {
    held: Held,
    len: u64,
    pending: Vec<u8>,
    rooms: VecDeque<Room>,
    memory_bytes: usize,
}

impl Spool {
    fn new(rooms: VecDeque<Room>, memory_bytes: usize) -> Self {
        Self { held: Held::Memory(Vec::new()), len: 0, pending: Vec::new(), rooms, memory_bytes }
    }

    /// Bytes appended so far.
    pub(crate) fn len(&self) -> u64 {
        self.len + u64::try_from(self.pending.len()).unwrap_or(0)
    }

    /// Whether all of it is in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.held, Held::Memory(_))
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When there is no room left anywhere: what the last place said.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Brings what was appended to where it can be read, and gives the memory for it back.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        loop {
            let written = match &mut self.held {
                Held::Memory(bytes) if bytes.len() + pending.len() <= self.memory_bytes => {
                    bytes.extend_from_slice(&pending);
                    Ok(())
                }
                Held::Memory(_) => Err(io::ErrorKind::OutOfMemory.into()),
                Held::File(file, _) => file.write_all_at(&pending, self.len),
            };
            match written {
                Ok(()) => break,
                Err(error) => self.move_on(error, pending.len())?,
            }
        }
        self.len += u64::try_from(pending.len()).unwrap_or(0);
        Ok(())
    }

    /// Reads exactly these bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when they are not there; whatever the file system says.
    pub(crate) fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.held {
            Held::File(file, _) => file.read_exact_at(to, offset),
            Held::Memory(bytes) => {
                let found = usize::try_from(offset).ok().and_then(|start| bytes.get(start..start + to.len()));
                to.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// Writes over bytes that were appended and flushed before.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &mut self.held {
            Held::File(file, _) => file.write_all_at(bytes, offset),
            Held::Memory(held) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let there = held.get_mut(start..start + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                there.copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Opens a file of the folder.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            held: Held::File(file, None),
            len,
            pending: Vec::new(),
            rooms: VecDeque::new(),
            memory_bytes: 0,
        })
    }

    /// Moves flushed bytes out of memory when a folder takes them. A refusal changes nothing.
    pub(super) fn leave_memory(&mut self) {
        while self.is_in_memory() {
            let Some(room) = self.rooms.pop_front() else { return };
            if let Ok(held) = self.moved_to(room) {
                self.held = held;
            }
        }
    }

    /// Gives the file a name in its folder, durably. `false` where it has none to be renamed
    /// from, or the folder refuses: it is as good as before, for this process.
    pub(super) fn keep_as(&mut self, name: &str) -> bool {
        let Held::File(file, unfinished) = &mut self.held else { return false };
        let Some(temp) = unfinished.take() else { return false };
        let path = temp.path.with_file_name(name);
        durable::sync_file(file).and_then(|()| durable::rename(&temp.path, &path)).is_ok()
    }

    /// Goes to the next room that takes what is there and `more` bytes besides.
    fn move_on(&mut self, why: io::Error, more: usize) -> io::Result<()> {
        let mut refused = why;
        while let Some(room) = self.rooms.pop_front() {
            match self.moved_to(room) {
                Ok(held) => {
                    self.held = held;
                    return Ok(());
                }
                Err(error) => refused = error,
            }
        }
        let all = usize::try_from(self.len).unwrap_or(usize::MAX).saturating_add(more);
        if all > REFUGE_BYTES || self.memory_bytes >= REFUGE_BYTES {
            return Err(refused);
        }
        self.memory_bytes = REFUGE_BYTES;
        if let Held::File(..) = self.held {
            let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
            self.read_at(&mut bytes, 0)?;
            self.held = Held::Memory(bytes);
        }
        Ok(())
    }

    fn moved_to(&self, room: Room) -> io::Result<Held> {
        let (file, unfinished) = match room {
            Room::Unnamed(dir) => {
                durable::create_dir_all(&dir)?;
                (tempfile::tempfile_in(dir)?, None)
            }
            Room::Named(dir) => {
                durable::create_dir_all(&dir)?;
                let path = dir.join(durable::temp_name());
                let lock = durable::try_lock(&path)?.ok_or(io::ErrorKind::WouldBlock)?;
                let unfinished = Unfinished { path, _lock: lock };
                let file = File::options().read(true).write(true).mode(0o600).open(&unfinished.path)?;
                (file, Some(unfinished))
            }
        };
        let mut step = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < self.len {
            let rest = usize::try_from(self.len - at).unwrap_or(usize::MAX);
            let step = &mut step[..rest.min(COPY_BYTES)];
            self.read_at(step, at)?;
            file.write_all_at(step, at)?;
            at += u64::try_from(step.len()).unwrap_or(0);
        }
        Ok(Held::File(file, unfinished))
    }
}

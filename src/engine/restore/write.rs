//! Fetches a window: each pack's wanted blobs in order, opened once, written to every file that
//! uses them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::run::ends_all;
use super::window::{File, Part, Piece, Window};
use crate::base::error::{Chain, Class, Classified};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;
use crate::repository::format::group;
use crate::repository::format::pack::BlobOpener;
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, Existing, FileWriter, FilesError, ParkedFile, Shape};
use crate::storage::contract::Span;

/// Blobs of a pack that lie this close are fetched together.
const GAP_BYTES: u64 = 256 * 1024;
/// One fetch is at most this long.
const FETCH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Where files are written, and what went wrong with each.
pub(super) struct Writer<'a> {
    pub(super) blobs: &'a BlobReader<'a>,
    pub(super) destination: &'a Destination,
    pub(super) existing: Existing,
    pub(super) cx: &'a Context,
    pub(super) failures: &'a Mutex<Vec<(Vec<u8>, EngineError)>>,
}

/// A file of several pieces while it is being written.
enum Progressing<'d> {
    NotYet(Option<ParkedFile>),
    Open(FileWriter<'d>),
    Ended,
}

struct Slot<'d> {
    writer: Mutex<(Progressing<'d>, u64)>,
}

/// The pieces of one pack, by the ordinal of their blob.
type ByOrdinal = BTreeMap<u32, Vec<Piece>>;

impl<'a> Writer<'a> {
    /// Writes all files of a window. A file that goes on in later windows is handed in and out as
    /// `parked`.
    pub(super) fn write(
        &self,
        window: Window,
        parked: Option<ParkedFile>,
    ) -> Result<Option<ParkedFile>, EngineError> {
        let mut parked = parked;
        let slots: Vec<Slot<'a>> = window
            .files
            .iter()
            .map(|file| Slot { writer: Mutex::new((Progressing::NotYet(parked.take()), file.pieces)) })
            .collect();
        let mut packs: BTreeMap<u32, ByOrdinal> = BTreeMap::new();
        for piece in &window.pieces {
            match self.blobs.index().first(&piece.blob)? {
                Some(at) => {
                    packs.entry(at.pack).or_default().entry(at.ordinal).or_default().push(*piece);
                }
                None => {
                    let error =
                        RepositoryError::MissingBlob { id: piece.blob, place: "this target".to_owned() };
                    self.fail(&window, &slots, piece.file, error.into())?;
                }
            }
        }
        let packs: Vec<(u32, ByOrdinal)> = packs.into_iter().collect();
        let next = AtomicUsize::new(0);
        let fatal: Mutex<Option<EngineError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.cx.workers.min(packs.len()).max(1) {
                scope.spawn(|| {
                    let mut opener = BlobOpener::default();
                    while let Some((pack, wanted)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.cx.cancel.is_cancelled() || lock(&fatal).is_some() {
                            return;
                        }
                        if let Err(error) = self.pack(&window, &slots, *pack, wanted, &mut opener) {
                            lock(&fatal).get_or_insert(error);
                        }
                    }
                });
            }
        });
        if self.cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if let Some(error) = fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        self.end(&window, slots)
    }

    /// Ends files without pieces; parks the one that goes on.
    fn end(&self, window: &Window, slots: Vec<Slot<'a>>) -> Result<Option<ParkedFile>, EngineError> {
        let mut parked = None;
        for (file, slot) in window.files.iter().zip(slots) {
            let (state, _) = slot.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
            match state {
                Progressing::Ended => {}
                Progressing::Open(writer) if file.goes_on => parked = Some(writer.park()),
                Progressing::Open(writer) => self.note(file, writer.finish(&file.meta))?,
                Progressing::NotYet(kept) if file.goes_on => parked = kept,
                Progressing::NotYet(kept) => {
                    let finished = self.open(file, kept).and_then(|writer| writer.finish(&file.meta));
                    self.note(file, finished)?;
                }
            }
        }
        Ok(parked)
    }

    fn open(&self, file: &File, parked: Option<ParkedFile>) -> Result<FileWriter<'a>, FilesError> {
        match parked {
            Some(parked) => self.destination.resume(parked),
            None => {
                let shape = if file.has_holes { Shape::Sparse } else { Shape::Dense };
                self.destination.create_file(&file.path, file.meta.size, shape)
            }
        }
    }

    /// Fetches and writes what is wanted of one pack. Damage hurts the files concerned and no others.
    fn pack(
        &self,
        window: &Window,
        slots: &[Slot<'a>],
        pack: u32,
        wanted: &ByOrdinal,
        opener: &mut BlobOpener,
    ) -> Result<(), EngineError> {
        let directory = match self.blobs.directory(pack) {
            Ok(directory) => directory,
            Err(_) => return self.one_by_one(window, slots, wanted, wanted.keys().copied()),
        };
        for run in runs(&directory, wanted) {
            let fetched = self
                .blobs
                .fetch(pack, Span::Range { offset: run.range.start, len: run.range.end - run.range.start });
            let Ok(bytes) = fetched else {
                self.one_by_one(window, slots, wanted, run.ordinals.iter().copied())?;
                continue;
            };
            for ordinal in &run.ordinals {
                let Some(range) = directory.sealed_range(*ordinal) else { continue };
                let start = usize::try_from(range.start - run.range.start).unwrap_or(usize::MAX);
                let end = usize::try_from(range.end - run.range.start).unwrap_or(usize::MAX);
                let sealed = bytes.get(start..end).unwrap_or_default();
                let opened = directory.open_blob(*ordinal, sealed, self.blobs.ids(), opener);
                let pieces = wanted.get(ordinal).map(Vec::as_slice).unwrap_or_default();
                let is_right = pieces
                    .first()
                    .is_none_or(|piece| directory.row(*ordinal).is_some_and(|row| row.id == piece.blob));
                let Some(plain) = opened.ok().filter(|_| is_right) else {
                    self.one_by_one(window, slots, wanted, [*ordinal])?;
                    continue;
                };
                for piece in pieces {
                    self.piece(window, slots, piece, plain)?;
                }
            }
        }
        Ok(())
    }

    /// The slow way, through every place and target that may have a blob, when the quick one failed.
    fn one_by_one(
        &self,
        window: &Window,
        slots: &[Slot<'a>],
        wanted: &ByOrdinal,
        ordinals: impl IntoIterator<Item = u32>,
    ) -> Result<(), EngineError> {
        for ordinal in ordinals {
            let pieces = wanted.get(&ordinal).map(Vec::as_slice).unwrap_or_default();
            let Some(first) = pieces.first() else { continue };
            match self.blobs.get(first.kind(), &first.blob) {
                Ok(plain) => {
                    for piece in pieces {
                        self.piece(window, slots, piece, &plain)?;
                    }
                }
                Err(error) => {
                    let message = Chain(&error).to_string();
                    if error.class() != Class::Damage && error.class() != Class::NotFound {
                        return Err(error.into());
                    }
                    for piece in pieces {
                        let error = EngineError::Unrestorable { reason: message.clone() };
                        self.fail(window, slots, piece.file, error)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes one piece; ends the file with its last one.
    fn piece(
        &self,
        window: &Window,
        slots: &[Slot<'a>],
        piece: &Piece,
        plain: &[u8],
    ) -> Result<(), EngineError> {
        let file = &window.files[piece.file];
        let Some((to, bytes)) = piece.bytes(plain) else {
            let reason = "its manifest names bytes that its blob does not have".to_owned();
            return self.fail(window, slots, piece.file, EngineError::Unrestorable { reason });
        };
        let mut slot = lock(&slots[piece.file].writer);
        let (state, left) = &mut *slot;
        let written = match std::mem::replace(state, Progressing::Ended) {
            Progressing::Ended => return Ok(()),
            Progressing::NotYet(parked) => self.open(file, parked),
            Progressing::Open(writer) => Ok(writer),
        }
        .and_then(|writer| writer.write_at(to, bytes).map(|()| writer));
        self.cx.progress.advance(0, u64::try_from(bytes.len()).unwrap_or(0));
        *left -= 1;
        let finished = match written {
            Ok(writer) if *left == 0 && !file.goes_on => writer.finish(&file.meta),
            Ok(writer) => {
                *state = Progressing::Open(writer);
                return Ok(());
            }
            Err(error) => Err(error),
        };
        drop(slot);
        self.note(file, finished)
    }

    /// A file that cannot be restored is removed and named; the others go on.
    fn fail(
        &self,
        window: &Window,
        slots: &[Slot<'a>],
        file: usize,
        error: EngineError,
    ) -> Result<(), EngineError> {
        let mut slot = lock(&slots[file].writer);
        if matches!(slot.0, Progressing::Ended) {
            return Ok(());
        }
        slot.0 = Progressing::Ended;
        drop(slot);
        lock(self.failures).push((window.files[file].path.as_bytes().to_vec(), error));
        Ok(())
    }

    /// What ends the whole restore does; anything else about one file is noted.
    fn note(&self, file: &File, result: Result<(), FilesError>) -> Result<(), EngineError> {
        match result {
            Ok(()) => {
                self.cx.progress.advance(1, 0);
                Ok(())
            }
            Err(error) if ends_all(&error, self.existing) => Err(error.into()),
            Err(error) => {
                lock(self.failures).push((file.path.as_bytes().to_vec(), error.into()));
                Ok(())
            }
        }
    }
}

impl Piece {
    fn kind(&self) -> crate::repository::format::keys::BlobKind {
        match self.part {
            Part::OfGroup { .. } => crate::repository::format::keys::BlobKind::Group,
            Part::OfChunk { .. } => crate::repository::format::keys::BlobKind::Chunk,
        }
    }

    /// The bytes of a blob that this piece writes, and where to.
    fn bytes<'p>(&self, plain: &'p [u8]) -> Option<(u64, &'p [u8])> {
        let (start, len, to) = match self.part {
            Part::OfGroup { offset, len } => {
                let count = u32::from_le_bytes(*plain.first_chunk::<4>()?);
                let start = group::bytes_start(usize::try_from(count).ok()?);
                (start.checked_add(usize::try_from(offset).ok()?)?, len, 0)
            }
            Part::OfChunk { from, len, to } => (usize::try_from(from).ok()?, len, to),
        };
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        Some((to, plain.get(start..end)?))
    }
}

/// Blobs of a pack that are fetched together.
struct Fetch {
    range: Range<u64>,
    ordinals: Vec<u32>,
}

fn runs(directory: &crate::repository::format::pack::PackDirectory, wanted: &ByOrdinal) -> Vec<Fetch> {
    let mut runs: Vec<Fetch> = Vec::new();
    for ordinal in wanted.keys() {
        // A row that isn't there is found out where the blob is opened.
        let range = directory.sealed_range(*ordinal).unwrap_or(0..0);
        match runs.last_mut() {
            Some(run)
                if range.start >= run.range.end
                    && range.start - run.range.end <= GAP_BYTES
                    && range.end - run.range.start <= FETCH_BYTES_MAX =>
            {
                run.range.end = range.end;
                run.ordinals.push(*ordinal);
            }
            _ => runs.push(Fetch { range, ordinals: vec![*ordinal] }),
        }
    }
    runs
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Opens what was fetched, and writes it to every file that uses it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::entries::ends_all;
use super::queue::{Located, Run};
use super::slot::{Making, Slot, State, Writing};
use crate::base::error::{Chain, Class, Classified};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::format::pack::BlobOpener;
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, FileWriter, FilesError, Leftover};

/// Where files are written, and what went wrong with each.
pub(super) struct Writer<'a> {
    pub(super) blobs: &'a BlobReader<'a>,
    pub(super) destination: &'a Destination,
    pub(super) cx: &'a Context,
    /// Bytes written so far.
    pub(super) written: AtomicU64,
    /// Files kept open between two pieces.
    open: AtomicUsize,
    open_max: usize,
    failures: Mutex<Vec<(Vec<u8>, EngineError)>>,
}

impl<'a> Writer<'a> {
    /// Nothing written yet.
    pub(super) fn new(blobs: &'a BlobReader<'a>, destination: &'a Destination, cx: &'a Context) -> Self {
        Self {
            blobs,
            destination,
            cx,
            written: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            open_max: destination.open_files_max(),
            failures: Mutex::default(),
        }
    }

    /// Files that could not be restored, and why.
    pub(super) fn failures(&self) -> Vec<(Vec<u8>, EngineError)> {
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what a stretch of a pack holds. Damage hurts the files concerned and no others.
    pub(super) fn run(
        &self,
        run: &Run<'a>,
        bytes: &[u8],
        opener: &mut BlobOpener,
    ) -> Result<(), EngineError> {
        for located in run.pieces.chunk_by(|one, next| one.ordinal == next.ordinal) {
            let Some(plain) = self.opened(run, located, bytes, opener) else {
                self.one_by_one(located)?;
                continue;
            };
            for Located { piece, .. } in located {
                self.piece(piece, plain)?;
            }
        }
        Ok(())
    }

    /// The blob that these pieces share, if it opens and is the right one.
    fn opened<'o>(
        &self,
        run: &Run<'a>,
        located: &[Located<'a>],
        bytes: &[u8],
        opener: &'o mut BlobOpener,
    ) -> Option<&'o [u8]> {
        let Located { ordinal, piece } = located.first()?;
        let Range { start, end } = run.directory.sealed_range(*ordinal)?;
        let within = |at: u64| usize::try_from(at.checked_sub(run.range.start)?).ok();
        let sealed = bytes.get(within(start)?..within(end)?)?;
        let plain = run.directory.open_blob(*ordinal, sealed, self.blobs.ids(), opener).ok()?;
        run.directory.row(*ordinal).is_some_and(|row| row.id == piece.blob).then_some(plain)
    }

    /// The slow way, through every place and target that may have a blob, when the quick one failed.
    pub(super) fn one_by_one(&self, located: &[Located<'a>]) -> Result<(), EngineError> {
        for same in located.chunk_by(|one, next| one.ordinal == next.ordinal) {
            let Some(Located { piece: first, .. }) = same.first() else { continue };
            match self.blobs.get(first.kind(), &first.blob) {
                Ok(plain) => same.iter().try_for_each(|Located { piece, .. }| self.piece(piece, &plain))?,
                Err(error) if !matches!(error.class(), Class::Damage | Class::NotFound) => {
                    return Err(error.into());
                }
                Err(error) => {
                    for Located { piece, .. } in same {
                        let reason = Chain(&error).to_string();
                        self.fail(&piece.slot, EngineError::Unrestorable { reason });
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes one piece; ends the file with its last one.
    fn piece(&self, piece: &super::slot::Piece<'a>, plain: &[u8]) -> Result<(), EngineError> {
        let slot = &piece.slot;
        let Some((to, bytes)) = piece.bytes(plain) else {
            let reason = "its manifest names bytes that its blob does not have".to_owned();
            self.fail(slot, EngineError::Unrestorable { reason });
            return Ok(());
        };
        let mut state = slot.lock();
        if matches!(state.writing, Writing::Ended) {
            return Ok(());
        }
        let written = self.open(slot, &mut state).and_then(|file| put(file, to, bytes));
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        self.written.fetch_add(len, Ordering::Relaxed);
        self.cx.progress.advance(0, len);
        state.told = state.told.saturating_add(len);
        state.left = state.left.saturating_sub(1);
        match written {
            Ok(file) if state.left == 0 && state.is_planned => self.finish(slot, state, file),
            Ok(file) => match self.keep(&mut state, file) {
                Ok(()) => Ok(()),
                Err(error) => self.settle(slot, &mut state, Err(error)),
            },
            Err(error) => self.settle(slot, &mut state, Err(error)),
        }
    }

    /// The last piece of a file was planned: it ends here when all of them are written.
    pub(super) fn all_planned(&self, slot: &Slot<'a>) -> Result<(), EngineError> {
        let mut state = slot.lock();
        state.is_planned = true;
        if state.left > 0 || matches!(state.writing, Writing::Ended) {
            return Ok(());
        }
        match self.open(slot, &mut state) {
            Ok(file) => self.finish(slot, state, file),
            Err(error) => self.settle(slot, &mut state, Err(error)),
        }
    }

    fn open(&self, slot: &Slot<'a>, state: &mut State<'a>) -> Result<FileWriter<'a>, FilesError> {
        match std::mem::replace(&mut state.writing, Writing::Ended) {
            Writing::Open(file) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                Ok(file)
            }
            Writing::Parked(parked) => self.destination.resume(parked),
            Writing::NotYet | Writing::Ended if slot.making == Making::AtOnce => {
                self.destination.create_file(&slot.path, slot.meta.size, slot.shape)
            }
            Writing::NotYet | Writing::Ended => {
                self.destination.begin_file(&slot.path, slot.meta.size, slot.shape, Leftover::Remove)
            }
        }
    }

    /// Begins a file of which some may be here already: what an interrupted restore left of it.
    pub(super) fn begin(&self, slot: &Slot<'a>) -> Result<(), FilesError> {
        let file = self.destination.begin_file(&slot.path, slot.meta.size, slot.shape, Leftover::GoOn)?;
        self.keep(&mut slot.lock(), file)
    }

    /// Does something with a file that has begun, as the planner does between its pieces. `None`
    /// when it has failed meanwhile.
    pub(super) fn with_begun<T>(
        &self,
        slot: &Slot<'a>,
        act: impl FnOnce(FileWriter<'a>) -> Result<(FileWriter<'a>, T), FilesError>,
    ) -> Result<Option<T>, EngineError> {
        let mut state = slot.lock();
        if matches!(state.writing, Writing::Ended) {
            return Ok(None);
        }
        let done = self.open(slot, &mut state).and_then(act);
        match done.and_then(|(file, done)| self.keep(&mut state, file).map(|()| done)) {
            Ok(done) => Ok(Some(done)),
            Err(error) => self.settle(slot, &mut state, Err(error)).map(|()| None),
        }
    }

    /// Bytes of a file that were here already.
    pub(super) fn reused(&self, slot: &Slot<'a>, bytes: u64) {
        let mut state = slot.lock();
        state.told = state.told.saturating_add(bytes);
        self.cx.progress.advance(0, bytes);
    }

    /// Between two pieces a file stays open, unless many are.
    fn keep(&self, state: &mut State<'a>, file: FileWriter<'a>) -> Result<(), FilesError> {
        let may = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < self.open_max).then_some(open + 1)
        });
        state.writing = if may.is_ok() { Writing::Open(file) } else { Writing::Parked(file.park()?) };
        Ok(())
    }

    fn finish(
        &self,
        slot: &Slot<'a>,
        mut state: std::sync::MutexGuard<'_, State<'a>>,
        file: FileWriter<'a>,
    ) -> Result<(), EngineError> {
        let finished = file.finish(&slot.meta);
        self.settle(slot, &mut state, finished)
    }

    /// A file that cannot be restored is taken away and named; the others go on.
    pub(super) fn fail(&self, slot: &Slot<'a>, error: EngineError) {
        let mut state = slot.lock();
        if matches!(state.writing, Writing::Ended) {
            return;
        }
        match std::mem::replace(&mut state.writing, Writing::Ended) {
            Writing::Open(file) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                file.discard();
            }
            Writing::Parked(parked) => self.destination.discard(parked),
            Writing::NotYet | Writing::Ended => {}
        }
        self.note(slot, &mut state, error);
    }

    /// A full disk and what is in the way end the restore; anything else about one file is noted.
    fn settle(
        &self,
        slot: &Slot<'a>,
        state: &mut State<'a>,
        result: Result<(), FilesError>,
    ) -> Result<(), EngineError> {
        match result {
            Ok(()) => {
                self.tell(slot, state);
                Ok(())
            }
            Err(error) if ends_all(&error, self.destination) => Err(error.into()),
            Err(error) => {
                self.note(slot, state, error.into());
                Ok(())
            }
        }
    }

    fn note(&self, slot: &Slot<'a>, state: &mut State<'a>, error: EngineError) {
        self.tell(slot, state);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push((slot.path.as_bytes().to_vec(), error));
    }

    /// One more item; its holes, and what is lost of it, count as done.
    fn tell(&self, slot: &Slot<'a>, state: &mut State<'a>) {
        self.cx.progress.advance(1, slot.meta.size.saturating_sub(state.told));
        state.told = slot.meta.size;
    }
}

/// Writes; a file that can't be written for another reason than a full medium will never be whole.
fn put<'a>(file: FileWriter<'a>, to: u64, bytes: &[u8]) -> Result<FileWriter<'a>, FilesError> {
    match file.write_at(to, bytes) {
        Ok(()) => Ok(file),
        Err(error) => {
            if error.class() != Class::NoSpace {
                file.discard();
            }
            Err(error)
        }
    }
}

//! Collects files until there are enough to read each pack once and in order, and hands them on
//! while earlier ones are being written.

use std::sync::Arc;

use super::entries::ends_all;
use super::existing::{Comparison, Verdict};
use super::fetch::{Started, Threads, Work};
use super::layout::{Layout, Part};
use super::local::{Local, clear_holes};
use super::queue::{Located, PackJob, Token, Windows};
use super::record::Beginning;
use super::select::chunks;
use super::slot::{Making, Piece, Slot};
use super::write::Writer;
use crate::base::id::BlobId;
use crate::base::metadata::Extent;
use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;
use crate::repository::index::Location;
use crate::repository::manifest::{Content, Entry};
use crate::source::files::{Existing, SafePath, Shape};

/// Files in one window.
const FILES_MAX: usize = 16 * 1024;
/// Pieces in one window: at most some 15 MB of them.
const PIECES_MAX: usize = 128 * 1024;
/// Less room than for two of a file and this much is short.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// Files without bytes that one worker takes at once.
const BARE_TOGETHER: usize = 64;

/// A window being filled.
pub(super) struct Planner<'t, 'a> {
    threads: &'t Threads<'a>,
    started: Started<'a>,
    windows: Windows,
    files: usize,
    pieces: Vec<Piece<'a>>,
    bare: Vec<Arc<Slot<'a>>>,
    comparison: Comparison<'a>,
    /// Bytes of files in the making that were here already.
    pub(super) reused: u64,
}

/// What was planned for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It will be new.
    Made,
    /// It will replace another one.
    Replaced,
    /// It was there.
    Kept,
}

impl<'t, 'a> Planner<'t, 'a> {
    /// An empty window.
    pub(super) fn new(
        threads: &'t Threads<'a>,
        started: Started<'a>,
        existing: Existing,
        beginning: Beginning,
    ) -> Self {
        let Writer { destination, blobs, .. } = threads.writer;
        let comparison = Comparison { destination, blobs, existing, beginning };
        Self {
            threads,
            started,
            windows: Windows::new(),
            files: 0,
            pieces: Vec::new(),
            bare: Vec::new(),
            comparison,
            reused: 0,
        }
    }

    /// Whether a link or node stands there as recorded.
    pub(super) fn keeps_node(&self, path: &SafePath, entry: &Entry) -> Result<bool, EngineError> {
        self.comparison.keeps_node(path, entry)
    }

    /// Plans a regular file, unless it is there.
    pub(super) fn file(&mut self, path: SafePath, entry: Entry) -> Result<Done, EngineError> {
        let old = match self.comparison.look(&path, &entry)? {
            Verdict::Keep => {
                self.threads.writer.cx.progress.advance(1, entry.meta.size);
                return Ok(Done::Kept);
            }
            Verdict::Restore => None,
            Verdict::RestoreFrom(old) => Some(old),
        };
        let done = if old.is_some() { Done::Replaced } else { Done::Made };
        let Entry { mut meta, content, extents, .. } = entry;
        let shape = if extents.is_some() { Shape::Sparse } else { Shape::Dense };
        self.files += 1;
        match content {
            Content::None => self.bare.push(Arc::new(Slot::new(path, meta, shape, Making::AtOnce))),
            Content::Group { blob, offset, len } => {
                meta.size = u64::from(len);
                let slot = Arc::new(Slot::new(path, meta, shape, Making::AtOnce));
                self.piece(&slot, blob, Part::OfGroup { offset, len });
                slot.lock().is_planned = true;
            }
            content => {
                let slot = Arc::new(Slot::new(path, meta, shape, Making::InParts));
                let local = self.local(&slot, old, extents.as_deref())?;
                self.chunked(&slot, Layout::new(extents.as_deref(), slot.meta.size), &content, local)?;
            }
        }
        if self.is_full() {
            self.flush()?;
        }
        Ok(done)
    }

    /// What is here of a file already, if anything is: then it is begun, and takes its room beside
    /// the old one. Where room is short the earlier ones end first, and give theirs back.
    fn local(
        &mut self,
        slot: &Slot<'a>,
        old: Option<std::fs::File>,
        extents: Option<&[Extent]>,
    ) -> Result<Option<Local>, EngineError> {
        let threads = self.threads;
        let writer = &threads.writer;
        let needed = slot.meta.size.saturating_mul(2).saturating_add(ROOM_BYTES);
        if old.is_some() && writer.destination.free_bytes().is_some_and(|free| free < needed) {
            self.flush()?;
            self.windows.all_written(&threads.queue).ok_or(EngineError::Cancelled)?;
        }
        let compares = self.comparison.beginning.compares.is_some();
        if old.is_none() && !(compares && writer.destination.has_unfinished(&slot.path)) {
            return Ok(None);
        }
        match writer.begin(slot) {
            Ok(()) => {}
            Err(error) if ends_all(&error, writer.destination) => return Err(error.into()),
            Err(error) => {
                writer.fail(slot, error.into());
                return Ok(None);
            }
        }
        writer.with_begun(slot, |file| clear_holes(&file, extents, slot.meta.size).map(|()| (file, ())))?;
        Ok(Some(Local::new(old)))
    }

    /// A file of chunks; one with very many goes over several windows.
    fn chunked(
        &mut self,
        slot: &Arc<Slot<'a>>,
        mut layout: Layout,
        content: &Content,
        mut local: Option<Local>,
    ) -> Result<(), EngineError> {
        let threads = self.threads;
        let writer = &threads.writer;
        chunks(writer.blobs, content.into(), &mut |chunk| {
            if threads.queue.is_stopped() {
                return Err(EngineError::Cancelled);
            }
            let Some(parts) = layout.place(chunk.len) else {
                let reason = "its chunks hold more than its length".to_owned();
                writer.fail(slot, EngineError::Unrestorable { reason });
                return Ok(());
            };
            if let Some(local) = &mut local
                && local.has(writer, slot, &chunk, &parts)?
            {
                self.reused = self.reused.saturating_add(u64::from(chunk.len));
                return Ok(());
            }
            for part in parts {
                self.piece(slot, chunk.id, part);
            }
            if self.is_full() { self.flush() } else { Ok(()) }
        })?;
        writer.all_planned(slot)
    }

    fn piece(&mut self, slot: &Arc<Slot<'a>>, blob: BlobId, part: Part) {
        slot.lock().left += 1;
        self.pieces.push(Piece { slot: Arc::clone(slot), blob, part });
    }

    fn is_full(&self) -> bool {
        self.files >= FILES_MAX || self.pieces.len() >= PIECES_MAX
    }

    /// Hands the window on, as soon as there is room for one.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        let Some(token) = self.windows.take(&self.threads.queue) else { return Err(EngineError::Cancelled) };
        self.files = 0;
        for slots in std::mem::take(&mut self.bare).chunks(BARE_TOGETHER) {
            let work = Work::Bare { slots: slots.to_vec(), _token: Arc::clone(&token) };
            // Workers end last; if they are gone, so is the restore.
            drop(self.started.works.send(work));
        }
        let jobs = self.locate(&token)?;
        self.threads.queue.submit(jobs);
        Ok(())
    }

    /// What is wanted of each pack, packs and blobs in the order in which they were stored.
    fn locate(&mut self, token: &Arc<Token>) -> Result<Vec<PackJob<'a>>, EngineError> {
        let writer = &self.threads.writer;
        let index = writer.blobs.index();
        let mut located: Vec<(Location, Piece<'a>)> = Vec::with_capacity(self.pieces.len());
        for piece in std::mem::take(&mut self.pieces) {
            // Files of one group come one after another.
            let known = located.last().filter(|(_, before)| before.blob == piece.blob).map(|(at, _)| *at);
            match known.map_or_else(|| index.first(&piece.blob), |at| Ok(Some(at)))? {
                Some(at) => located.push((at, piece)),
                None => {
                    let place = "this target".to_owned();
                    let error = RepositoryError::MissingBlob { id: piece.blob, place };
                    writer.fail(&piece.slot, error.into());
                }
            }
        }
        located.sort_by_key(|(at, _)| (at.pack, at.ordinal));
        let mut jobs: Vec<PackJob<'a>> = Vec::new();
        for (at, piece) in located {
            let located = Located { ordinal: at.ordinal, piece };
            match jobs.last_mut() {
                Some(job) if job.pack == at.pack => job.pieces.push(located),
                _ => jobs.push(PackJob { pack: at.pack, pieces: vec![located], token: Arc::clone(token) }),
            }
        }
        Ok(jobs)
    }
}

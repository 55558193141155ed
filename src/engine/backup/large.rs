//! Large files: one reader cuts, the workers hash and store, the chunks come back in order.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::chunk_run::{ChunkRun, Placed};
use super::content::{FileContent, FileResult, Known, ReadFile, list_hash};
use super::evidence::{Cutting, Witness, chunks_of, decide};
use super::file::{Fault, describe_twin, open};
use super::parcel::Parcel;
use super::slot::{Delivery, Slot, slot};
use super::windows::{Window, Windows};
use super::worker::{ChunkJob, Job, Shop};
use crate::base::cancel::Cancel;
use crate::base::error::Chain;
use crate::codec::blocks::BLOCK_BYTES_MAX;
use crate::codec::chunker::{Chunker, ChunkerParams};
use crate::engine::cut::PlacedChunk;
use crate::engine::error::EngineError;
use crate::repository::index::Ground;
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::source::files::{FilesError, Found, OpenFile, complete};

/// Chunk buffers in use at once, whatever the number of files.
const CHUNK_BUFFERS: usize = 8;
/// The source is read in pieces of this length.
const READ_BYTES: usize = 256 * 1024;

/// A large file to read.
pub(super) struct LargeFile {
    pub(super) found: Found,
    pub(super) known: Option<Known>,
    pub(super) done: Delivery<FileResult>,
}

/// Reads large files one after the other.
pub(super) struct LargeReader<'a> {
    shop: &'a Shop<'a>,
    jobs: &'a Sender<Job>,
    cancel: &'a Cancel,
    params: ChunkerParams,
    chunker: Chunker,
    free: Receiver<Parcel>,
    back: Sender<Parcel>,
    blobs: &'a BlobReader<'a>,
    ground: Ground,
}

/// What the reader needs besides the workers.
pub(super) struct ReaderWires<'a> {
    /// Reads the parent's lists of chunks.
    pub(super) blobs: &'a BlobReader<'a>,
    /// Where long lists go.
    pub(super) ground: Ground,
}

type Waiting = VecDeque<Arc<Slot<Vec<Placed>>>>;

/// Chunks of the file at hand: those that workers have, then those that came back.
struct OnTheWay<'c> {
    waiting: Waiting,
    chunks: &'c mut ChunkRun,
}

impl<'a> LargeReader<'a> {
    pub(super) fn new(
        shop: &'a Shop<'a>,
        jobs: &'a Sender<Job>,
        cancel: &'a Cancel,
        params: ChunkerParams,
        wires: ReaderWires<'a>,
    ) -> Self {
        let (back, free) = bounded(CHUNK_BUFFERS);
        for _ in 0..CHUNK_BUFFERS {
            drop(back.send(Parcel::new(parcel_bytes(params))));
        }
        let chunker = Chunker::new(params, Arc::clone(shop.ids.gear()));
        let ReaderWires { blobs, ground } = wires;
        Self { shop, jobs, cancel, params, chunker, free, back, blobs, ground }
    }

    /// Reads one file; twice when it changed under the first reading.
    pub(super) fn read(&mut self, file: LargeFile) -> Result<(), EngineError> {
        let mut result = self.once(&file)?;
        if matches!(&result, FileResult::Read(read) if read.changed) {
            result = self.once(&file)?;
        }
        if let FileResult::Read(read) = &result {
            self.shop.links.remember(&file.found.stat, read);
        }
        file.done.deliver(result);
        Ok(())
    }

    fn once(&mut self, file: &LargeFile) -> Result<FileResult, EngineError> {
        let mut opened = match open(&file.found) {
            Ok(opened) => opened,
            Err(Fault::Vanished) => return Ok(FileResult::Vanished),
            Err(Fault::Unread(reason)) => return Ok(FileResult::Unread(reason)),
        };
        if let Some(twin) = self.shop.links.find(&file.found.stat)
            && let Some(read) = describe_twin(&file.found, &opened, twin, self.shop.owners)
        {
            self.shop.progress.advance(1, read.meta.size);
            return Ok(FileResult::Read(Box::new(read)));
        }
        let metadata = match complete(&file.found, Some(&opened), self.shop.owners) {
            Ok(completed) => completed,
            Err(error) => return Ok(FileResult::from_error(&error)),
        };
        let mut chunks = ChunkRun::new(&self.ground);
        if let Err(fault) = self.cut(&mut opened, file.known.as_ref(), &mut chunks)? {
            return Ok(fault);
        }
        chunks.close()?;
        let content = match opened.finish() {
            Ok(content) => content,
            Err(error) => return Ok(FileResult::from_error(&error)),
        };
        self.shop.read(1, 0);
        let mut meta = metadata.metadata;
        meta.size = content.size;
        let (extents, changed) = (content.extents, content.changed);
        let hash16 = list_hash(self.shop.ids, meta.size, extents.as_deref(), &chunks)?;
        let same = file.known.as_ref().filter(|k| k.holds(meta.size, &hash16) && k.extents == extents);
        let content = match same {
            Some(known) => FileContent::Known(known.content.clone()),
            None if chunks.is_empty() => FileContent::None,
            None => FileContent::Chunks(Arc::new(chunks)),
        };
        let issues = metadata.issues.iter().map(|error| Chain(error).to_string()).collect();
        Ok(FileResult::Read(Box::new(ReadFile { meta, content, hash16, extents, changed, issues })))
    }

    /// Reads and cuts the data; the inner error is the file's, the outer one the run's.
    fn cut(
        &mut self,
        opened: &mut OpenFile,
        known: Option<&Known>,
        chunks: &mut ChunkRun,
    ) -> Result<Result<(), FileResult>, EngineError> {
        let nodes = Nodes(self.blobs);
        let witness = Witness { known, nodes: &nodes, ids: self.shop.ids };
        let mut on_the_way = OnTheWay { waiting: Waiting::new(), chunks };
        let read = match (decide(opened, &witness), known) {
            (Cutting::AsBefore { block_bytes }, Some(known)) => {
                let windows = Windows::new(block_bytes, chunks_of(known, &nodes));
                self.cut_windows(opened, windows, &mut on_the_way)?
            }
            (Cutting::Blocks { block_bytes } | Cutting::AsBefore { block_bytes }, _) => {
                self.cut_windows(opened, Windows::new(block_bytes, std::iter::empty()), &mut on_the_way)?
            }
            (Cutting::Content, _) => self.cut_by_content(opened, &mut on_the_way)?,
        };
        match read {
            Ok(()) => self.wait_for_all(&mut on_the_way).map(Ok),
            Err(error) => Ok(Err(FileResult::from_error(&error))),
        }
    }

    fn cut_by_content(
        &mut self,
        opened: &mut OpenFile,
        on_the_way: &mut OnTheWay<'_>,
    ) -> Result<Result<(), FilesError>, EngineError> {
        self.chunker.start_over();
        let mut parcel = self.parcel(on_the_way)?;
        loop {
            let before = parcel.len();
            let got = match opened.read(parcel.room(READ_BYTES)) {
                Ok(got) => got,
                Err(error) => return Ok(Err(error)),
            };
            if got == 0 {
                break;
            }
            parcel.took(got);
            self.shop.read(0, u64::try_from(got).unwrap_or(u64::MAX));
            let mut scanned = before;
            while let Some(cut) = self.chunker.cut(parcel.rest(scanned)) {
                let end_of_chunk = scanned + cut;
                let mut next = self.parcel(on_the_way)?;
                next.extend(parcel.rest(end_of_chunk));
                parcel.truncate(end_of_chunk);
                parcel.end_window(None);
                self.send(std::mem::replace(&mut parcel, next), on_the_way)?;
                scanned = 0;
            }
            self.check()?;
        }
        parcel.end_window(None);
        self.send(parcel, on_the_way)?;
        Ok(Ok(()))
    }

    /// Cuts at places that are known before anything is read.
    fn cut_windows<I: Iterator<Item = PlacedChunk>>(
        &mut self,
        opened: &mut OpenFile,
        mut windows: Windows<I>,
        on_the_way: &mut OnTheWay<'_>,
    ) -> Result<Result<(), FilesError>, EngineError> {
        let mut parcel = self.parcel(on_the_way)?;
        // Before the first window, and between two, the open one has ended.
        let mut open = OpenWindow { window: Window { end: 0, expected: None }, taken: 0, block_end: 0 };
        loop {
            let (at, data_bytes) = match opened.place() {
                Ok(Some(place)) => place,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            if open.has_ended(at) {
                parcel.end_window(open.window.expected);
                open = OpenWindow { window: windows.next_at(at), taken: 0, block_end: 0 };
                if parcel.is_due(open.bytes_max(at)) {
                    let next = self.parcel(on_the_way)?;
                    self.send(std::mem::replace(&mut parcel, next), on_the_way)?;
                    self.check()?;
                }
            }
            let block_end = windows.block_end(at);
            if block_end != open.block_end {
                parcel.end_piece();
                open.block_end = block_end;
            }
            let wanted = open.left(at).min(block_end - at).min(data_bytes);
            let wanted = usize::try_from(wanted).map_or(READ_BYTES, |wanted| wanted.min(READ_BYTES));
            let got = match opened.read(parcel.room(wanted)) {
                Ok(got) => got,
                Err(error) => return Ok(Err(error)),
            };
            if got == 0 {
                break;
            }
            parcel.took(got);
            let got = u64::try_from(got).unwrap_or(u64::MAX);
            self.shop.read(0, got);
            open.taken += got;
        }
        parcel.end_window(open.window.expected);
        self.send(parcel, on_the_way)?;
        Ok(Ok(()))
    }

    /// A free parcel; finished ones are collected while one is waited for.
    fn parcel(&mut self, on_the_way: &mut OnTheWay<'_>) -> Result<Parcel, EngineError> {
        loop {
            if let Ok(mut parcel) = self.free.try_recv() {
                parcel.clear();
                return Ok(parcel);
            }
            let Some(oldest) = on_the_way.waiting.pop_front() else {
                // All are with the workers or lost; a fresh one keeps the reader going.
                return Ok(Parcel::new(parcel_bytes(self.params)));
            };
            self.take(&oldest, on_the_way.chunks)?;
        }
    }

    fn send(&self, parcel: Parcel, on_the_way: &mut OnTheWay<'_>) -> Result<(), EngineError> {
        if parcel.is_empty() {
            drop(self.back.try_send(parcel));
            return Ok(());
        }
        let (promise, done) = slot();
        on_the_way.waiting.push_back(promise);
        let job = Job::Chunk(ChunkJob { parcel, done, buffers: self.back.clone() });
        self.jobs.send(job).map_err(|_| EngineError::Cancelled)
    }

    fn wait_for_all(&self, on_the_way: &mut OnTheWay<'_>) -> Result<(), EngineError> {
        while let Some(slot) = on_the_way.waiting.pop_front() {
            self.take(&slot, on_the_way.chunks)?;
        }
        Ok(())
    }

    fn take(&self, slot: &Slot<Vec<Placed>>, chunks: &mut ChunkRun) -> Result<(), EngineError> {
        let placed = slot.with(self.cancel, std::mem::take).ok_or(EngineError::Cancelled)?;
        placed.into_iter().try_for_each(|placed| chunks.push(placed))
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }
}

/// A window that is being read.
struct OpenWindow {
    window: Window,
    taken: u64,
    /// The end of the block at hand.
    block_end: u64,
}

impl OpenWindow {
    /// How much more of the file belongs to it: no more than up to its end, nor more data than
    /// what is expected there has.
    fn left(&self, at: u64) -> u64 {
        let to_the_end = self.window.end.saturating_sub(at);
        match self.window.expected {
            None => to_the_end,
            Some(expected) => to_the_end.min(u64::from(expected.len).saturating_sub(self.taken)),
        }
    }

    fn has_ended(&self, at: u64) -> bool {
        self.left(at) == 0
    }

    /// Bytes that it may come to.
    fn bytes_max(&self, at: u64) -> usize {
        usize::try_from(self.left(at)).unwrap_or(usize::MAX)
    }
}

/// Every chunk fits, of our own and of an earlier snapshot, and one more read besides.
fn parcel_bytes(params: ChunkerParams) -> usize {
    params.max_bytes().max(BLOCK_BYTES_MAX as usize) + READ_BYTES
}

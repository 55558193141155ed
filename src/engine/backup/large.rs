//! Large files: one reader cuts, the workers hash and store, the chunks come back in order.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::content::{FileContent, FileResult, Known, ReadFile, list_hash};
use super::file::{Fault, describe_twin, open};
use super::slot::Slot;
use super::slot::{Delivery, slot};
use super::worker::{ChunkJob, Job, Shop};
use crate::base::cancel::Cancel;
use crate::base::error::Chain;
use crate::codec::chunker::{Chunker, ChunkerParams};
use crate::engine::error::EngineError;
use crate::repository::manifest::ChunkRef;
use crate::source::files::{Found, OpenFile, complete};

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
    free: Receiver<Vec<u8>>,
    back: Sender<Vec<u8>>,
}

type Waiting = VecDeque<std::sync::Arc<Slot<ChunkRef>>>;

impl<'a> LargeReader<'a> {
    pub(super) fn new(
        shop: &'a Shop<'a>,
        jobs: &'a Sender<Job>,
        cancel: &'a Cancel,
        params: ChunkerParams,
    ) -> Self {
        let (back, free) = bounded(CHUNK_BUFFERS);
        for _ in 0..CHUNK_BUFFERS {
            drop(back.send(Vec::with_capacity(params.max_bytes() + READ_BYTES)));
        }
        let chunker = Chunker::new(params, std::sync::Arc::clone(shop.ids.gear()));
        Self { shop, jobs, cancel, params, chunker, free, back }
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
        self.chunker.start_over();
        let mut chunks = Vec::new();
        if let Err(fault) = self.cut(&mut opened, &mut chunks)? {
            return Ok(fault);
        }
        let content = match opened.finish() {
            Ok(content) => content,
            Err(error) => return Ok(FileResult::from_error(&error)),
        };
        self.shop.read(1, 0);
        let mut meta = metadata.metadata;
        meta.size = content.size;
        let (extents, changed) = (content.extents, content.changed);
        let hash16 = list_hash(self.shop.ids, meta.size, extents.as_deref(), &chunks);
        let same = file.known.as_ref().filter(|k| k.holds(meta.size, &hash16) && k.extents == extents);
        let content = match same {
            Some(known) => FileContent::Known(known.content.clone()),
            None if chunks.is_empty() => FileContent::None,
            None => FileContent::Chunks(chunks),
        };
        let issues = metadata.issues.iter().map(|error| Chain(error).to_string()).collect();
        Ok(FileResult::Read(Box::new(ReadFile { meta, content, hash16, extents, changed, issues })))
    }

    /// Reads and cuts the data; the inner error is the file's, the outer one the run's.
    fn cut(
        &mut self,
        opened: &mut OpenFile,
        chunks: &mut Vec<ChunkRef>,
    ) -> Result<Result<(), FileResult>, EngineError> {
        let mut waiting = Waiting::new();
        let mut buffer = self.buffer(&mut waiting, chunks)?;
        loop {
            let before = buffer.len();
            buffer.resize(before + READ_BYTES, 0);
            let got = match opened.read(&mut buffer[before..]) {
                Ok(got) => got,
                Err(error) => return Ok(Err(FileResult::from_error(&error))),
            };
            buffer.truncate(before + got);
            if got == 0 {
                break;
            }
            self.shop.read(0, u64::try_from(got).unwrap_or(u64::MAX));
            let mut scanned = before;
            while let Some(cut) = self.chunker.cut(&buffer[scanned..]) {
                let end_of_chunk = scanned + cut;
                let mut next = self.buffer(&mut waiting, chunks)?;
                next.extend_from_slice(&buffer[end_of_chunk..]);
                buffer.truncate(end_of_chunk);
                self.send(std::mem::replace(&mut buffer, next), &mut waiting)?;
                scanned = 0;
            }
            if self.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
        }
        if buffer.is_empty() {
            drop(self.back.try_send(buffer));
        } else {
            self.send(buffer, &mut waiting)?;
        }
        while let Some(slot) = waiting.pop_front() {
            chunks.push(self.wait(&slot)?);
        }
        Ok(Ok(()))
    }

    /// A free buffer; finished chunks are collected while one is waited for.
    fn buffer(&mut self, waiting: &mut Waiting, chunks: &mut Vec<ChunkRef>) -> Result<Vec<u8>, EngineError> {
        loop {
            if let Ok(mut buffer) = self.free.try_recv() {
                buffer.clear();
                return Ok(buffer);
            }
            let Some(oldest) = waiting.pop_front() else {
                // All buffers are with the workers or lost; a fresh one keeps the reader going.
                return Ok(Vec::with_capacity(self.params.max_bytes() + READ_BYTES));
            };
            chunks.push(self.wait(&oldest)?);
        }
    }

    fn send(&self, bytes: Vec<u8>, waiting: &mut Waiting) -> Result<(), EngineError> {
        let (promise, done) = slot();
        waiting.push_back(promise);
        let job = Job::Chunk(ChunkJob { bytes, done, buffers: self.back.clone() });
        self.jobs.send(job).map_err(|_| EngineError::Cancelled)
    }

    fn wait(&self, slot: &Slot<ChunkRef>) -> Result<ChunkRef, EngineError> {
        slot.with(self.cancel, |chunk| *chunk).ok_or(EngineError::Cancelled)
    }
}

//! The threads that compute: small files into groups, chunks into blobs.
//!
//! A worker runs a job to its end: read, hash, look up, compress, seal. It waits only for pack
//! buffers, never for another worker, so the pipeline cannot lock up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunk_run::{ChunkRun, Placed};
use super::content::{FileContent, FileResult, Known, list_hash};
use super::file::{Fault, describe_twin, open, read_small};
use super::links::Links;
use super::parcel::Parcel;
use super::slot::Delivery;
use crate::base::limits::{BLOB_PLAIN_BYTES_MAX, SMALL_FILE_BYTES_MAX};
use crate::base::progress::Progress;
use crate::engine::error::EngineError;
use crate::repository::fan_out::FanOut;
use crate::repository::format::group;
use crate::repository::format::keys::{BlobKind, IdKeys};
use crate::repository::manifest::ChunkRef;
use crate::repository::pack_pool::{PackPool, Scratch};
use crate::source::files::{Found, Owners};

/// A group is closed at a file's end from here on, where the file's hash says so.
const GROUP_BYTES_MIN: usize = 512 * 1024;
/// A group is closed before it would be longer.
const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// One file in this many closes a group that is long enough.
const GROUP_CUT_MASK: u8 = 15;

/// Small files that follow each other in the walk.
pub(super) struct FileRun {
    /// The files, with what the parent knows of each.
    pub(super) files: Vec<(Found, Option<Known>)>,
    /// Takes a result for each, in the same order.
    pub(super) done: Delivery<Vec<FileResult>>,
}

/// A stretch of a large file.
pub(super) struct ChunkJob {
    /// Its bytes and its cuts.
    pub(super) parcel: Parcel,
    /// Takes its chunks.
    pub(super) done: Delivery<Vec<Placed>>,
    /// Takes the buffer back.
    pub(super) buffers: crossbeam_channel::Sender<Parcel>,
}

/// What a worker can be asked for.
pub(super) enum Job {
    /// Small files.
    Files(FileRun),
    /// A stretch of a large one.
    Chunk(ChunkJob),
}

/// What all workers share.
pub(super) struct Shop<'a> {
    pub(super) pool: &'a PackPool<'a>,
    pub(super) fan_out: &'a FanOut<'a>,
    pub(super) ids: &'a IdKeys,
    pub(super) owners: &'a Owners,
    pub(super) progress: &'a dyn Progress,
    pub(super) files_read: &'a AtomicU64,
    pub(super) bytes_read: &'a AtomicU64,
    pub(super) links: &'a Links,
}

impl Shop<'_> {
    /// Counts bytes that were read from the source.
    pub(super) fn read(&self, files: u64, bytes: u64) {
        self.files_read.fetch_add(files, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.progress.advance(files, bytes);
    }
}

/// One thread's tools.
pub(super) struct Worker<'a> {
    shop: &'a Shop<'a>,
    scratch: Scratch,
    file: Vec<u8>,
    group: OpenGroup,
    plain: Vec<u8>,
}

#[derive(Default)]
struct OpenGroup {
    lens: Vec<u32>,
    hashes: Vec<(u32, [u8; 32])>,
    bytes: Vec<u8>,
    /// Positions in the run's results that wait for the group's id.
    waiting: Vec<usize>,
    owner: u32,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shop: &'a Shop<'a>, level: i32) -> Self {
        Self {
            shop,
            scratch: Scratch::new(level),
            file: Vec::new(),
            group: OpenGroup::default(),
            plain: Vec::new(),
        }
    }

    /// Does one job.
    pub(super) fn work(&mut self, job: Job) -> Result<(), EngineError> {
        match job {
            Job::Files(run) => self.files(run),
            Job::Chunk(chunk) => self.chunk(chunk),
        }
    }

    fn chunk(&mut self, job: ChunkJob) -> Result<(), EngineError> {
        job.done.deliver(job.parcel.store(self.shop, &mut self.scratch)?);
        // The reader may have ended; then nobody needs the buffer.
        drop(job.buffers.try_send(job.parcel));
        Ok(())
    }

    fn files(&mut self, run: FileRun) -> Result<(), EngineError> {
        let mut results: Vec<FileResult> = Vec::with_capacity(run.files.len());
        self.group = OpenGroup::default();
        for (found, known) in &run.files {
            let result = self.one_file(found, known.as_ref(), &mut results)?;
            results.push(result);
            if self.group.bytes.len() >= GROUP_BYTES_MIN
                && self.group.hashes.last().is_some_and(|(_, hash)| hash[0] & GROUP_CUT_MASK == 0)
            {
                self.close_group(&mut results)?;
            }
        }
        self.close_group(&mut results)?;
        for ((found, _), result) in run.files.iter().zip(&results) {
            if let FileResult::Read(file) = result {
                self.shop.links.remember(&found.stat, file);
            }
        }
        run.done.deliver(results);
        Ok(())
    }

    fn one_file(
        &mut self,
        found: &Found,
        known: Option<&Known>,
        results: &mut [FileResult],
    ) -> Result<FileResult, EngineError> {
        if let Some(twin) = self.shop.links.find(&found.stat)
            && let Ok(opened) = open(found)
            && let Some(file) = describe_twin(found, &opened, twin, self.shop.owners)
        {
            self.shop.progress.advance(1, file.meta.size);
            return Ok(FileResult::Read(Box::new(file)));
        }
        let read = match read_small(found, self.shop.owners, BLOB_PLAIN_BYTES_MAX, &mut self.file) {
            Ok(read) => read,
            Err(Fault::Vanished) => return Ok(FileResult::Vanished),
            Err(Fault::Unread(reason)) => return Ok(FileResult::Unread(reason)),
        };
        let len = u32::try_from(self.file.len()).unwrap_or(u32::MAX);
        self.shop.read(1, u64::from(len));
        let hash = self.shop.ids.file_hash(&self.file);
        let mut hash16 = [0u8; 16];
        hash16.copy_from_slice(&hash[..16]);
        let mut file = read;
        file.meta.size = u64::from(len);
        file.hash16 = hash16;
        if len == 0 {
            return Ok(FileResult::Read(Box::new(file)));
        }
        if let Some(known) = known.filter(|k| k.holds(u64::from(len), &hash16)) {
            file.content = FileContent::Known(known.content.clone());
            return Ok(FileResult::Read(Box::new(file)));
        }
        if self.file.len() > SMALL_FILE_BYTES_MAX {
            // It grew since it was looked at: too long for a group, short enough for one chunk.
            let id = self.shop.ids.id(BlobKind::Chunk, &self.file);
            self.shop.pool.store(BlobKind::Chunk, &id, &self.file, &mut self.scratch, self.shop.fan_out)?;
            let chunks = ChunkRun::of_one(ChunkRef { id, len })?;
            file.hash16 = list_hash(self.shop.ids, file.meta.size, None, &chunks)?;
            file.content = FileContent::Chunks(Arc::new(chunks));
            return Ok(FileResult::Read(Box::new(file)));
        }
        let full = self.group.lens.len() >= group::FILES_MAX
            || self.group.bytes.len() + self.file.len() > GROUP_BYTES_MAX
            || (!self.group.lens.is_empty() && self.group.owner != file.meta.uid);
        if full {
            self.close_group(results)?;
        }
        self.group.owner = file.meta.uid;
        let offset = u32::try_from(self.group.bytes.len()).unwrap_or(u32::MAX);
        file.content = FileContent::Waiting { offset, len };
        self.group.waiting.push(results.len());
        self.group.lens.push(len);
        self.group.hashes.push((len, hash));
        self.group.bytes.extend_from_slice(&self.file);
        Ok(FileResult::Read(Box::new(file)))
    }

    /// Stores the open group and tells its files where they are.
    fn close_group(&mut self, results: &mut [FileResult]) -> Result<(), EngineError> {
        if self.group.lens.is_empty() {
            return Ok(());
        }
        let id = self.shop.ids.group_id(&self.group.hashes);
        group::join(&self.group.lens, &self.group.bytes, &mut self.plain);
        self.shop.pool.store(BlobKind::Group, &id, &self.plain, &mut self.scratch, self.shop.fan_out)?;
        for at in self.group.waiting.drain(..) {
            if let Some(FileResult::Read(file)) = results.get_mut(at)
                && let FileContent::Waiting { offset, len } = file.content
            {
                file.content = FileContent::Group { blob: id, offset, len };
            }
        }
        self.group.lens.clear();
        self.group.hashes.clear();
        self.group.bytes.clear();
        Ok(())
    }
}

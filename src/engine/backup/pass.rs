//! One pass over the source: walk and compare on this thread, compute on the workers, collect in
//! order on one more, store on each target's own; then the commit.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::checkpoint::SoFar;
use super::chunk_run::ground;
use super::collect::{Batch, Collected, Collector, NodeSink, Planned};
use super::content::FileResult;
use super::large::{LargeFile, LargeReader, ReaderWires};
use super::links::Links;
use super::outcome::BackupOutcome;
use super::planner::{Planner, Wires};
use super::publish::{Needed, Stored};
use super::request::BackupRequest;
use super::size;
use super::slot::Slot;
use super::snapshot::snapshot_root;
use super::sources::Sources;
use super::start::Start;
use super::used::Used;
use super::worker::{Job, Shop, Worker};
use crate::base::clock::Timestamp;
use crate::base::display;
use crate::base::effort::LEVEL_DEFAULT;
use crate::codec::sign::Signer;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::Repository;
use crate::repository::fan_out::{FanOut, LaneOutcome};
use crate::repository::format::snapshot::{PackSetRef, SnapshotKind, SnapshotRoot};
use crate::repository::kept::Kept;
use crate::repository::pack_pool::{PackBuffers, PackPool, Scratch};
use crate::repository::reader::BlobReader;
use crate::repository::strength::Strength;
use crate::source::files::Owners;
use crate::storage::contract::Read;

/// Batches of entries on their way to the collector.
const PLANNED_WAITING: usize = 3;
/// How often the collector looks up from a large file to see whether an index run is due.
const LOOK_UP_EVERY: Duration = Duration::from_millis(500);

/// Everything one pass shares.
pub(super) struct Pass<'a> {
    pub(super) repository: &'a Repository,
    pub(super) request: &'a BackupRequest,
    pub(super) sources: &'a Sources<'a>,
    pub(super) roots: &'a [Vec<u8>],
    pub(super) cx: &'a Context,
    pub(super) start: &'a Start,
    pub(super) signer: &'a Signer,
    pub(super) captured_at: Timestamp,
    /// What a host that only adds compares with.
    pub(super) kept: Option<&'a Kept>,
}

/// What the pipeline leaves behind when all its threads have ended.
pub(super) struct Gathered {
    pub(super) collected: Collected,
    pub(super) roots: Vec<SnapshotRoot>,
    pub(super) needed: Needed,
    pub(super) pack_set: PackSetRef,
    pub(super) stored: Stored,
    pub(super) lanes: Vec<LaneOutcome>,
}

impl Pass<'_> {
    /// Whether a file whose metadata is the parent's is taken for unchanged.
    pub(super) fn trusts_stat(&self) -> bool {
        matches!(self.request.kind, SnapshotKind::Incremental | SnapshotKind::Differential)
    }

    /// Carries the pass out.
    pub(super) fn run(&self) -> Result<BackupOutcome, EngineError> {
        let gathered = self.pipeline()?;
        self.commit(gathered)
    }

    fn pipeline(&self) -> Result<Gathered, EngineError> {
        // In each lane's hands, and one in its queue.
        let waiting = self.start.targets.iter().map(|target| target.in_flight + 1).max().unwrap_or(2);
        let buffers = PackBuffers::new(self.repository.pack_bytes(), self.cx.workers, waiting);
        let pool = PackPool::new(
            self.repository,
            self.signer,
            &self.start.loaded.index,
            buffers,
            self.cx.workers,
            self.cx.cancel.clone(),
        );
        std::thread::scope(|scope| {
            let lanes = self.start.targets.iter().map(|t| (Arc::clone(&t.storage), t.in_flight));
            let fan_out = FanOut::open(scope, lanes);
            let worked = self.work(&pool, &fan_out);
            let finished = worked.and_then(|worked| self.gather(&pool, &fan_out, worked));
            let lanes = fan_out.finish();
            let mut gathered = finished?;
            gathered.lanes = lanes;
            let figures = pool.figures();
            let stats = &mut gathered.collected.stats;
            stats.blobs_new = figures.blobs.load(Ordering::Relaxed);
            stats.bytes_new = figures.plain_bytes.load(Ordering::Relaxed);
            stats.bytes_stored = figures.pack_bytes.load(Ordering::Relaxed);
            stats.packs_new = figures.packs.load(Ordering::Relaxed);
            Ok(gathered)
        })
    }

    /// Stores the last packs, and says what the snapshot needs.
    fn gather(
        &self,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        worked: Worked,
    ) -> Result<Gathered, EngineError> {
        let Worked { collected, roots, used, mut stored } = worked;
        let (needed, pack_set) = self.close(pool, fan_out, &used, &mut stored)?;
        Ok(Gathered { collected, roots, needed, pack_set, stored, lanes: Vec::new() })
    }

    /// Walk, workers and collector; everything is stored in packs when it returns, the last of
    /// them still open.
    fn work(&self, pool: &PackPool<'_>, fan_out: &FanOut<'_>) -> Result<Worked, EngineError> {
        let owners = Owners::load();
        let (files_read, bytes_read) = (AtomicU64::new(0), AtomicU64::new(0));
        let links = Links::default();
        let walked_all = AtomicBool::new(false);
        let strength = Arc::new(Strength::new(self.request.effort, self.cx.workers, &self.cx.clock));
        let shop = Shop {
            pool,
            fan_out,
            ids: self.repository.keys().ids(),
            owners: &owners,
            progress: self.cx.progress.as_ref(),
            files_read: &files_read,
            bytes_read: &bytes_read,
            links: &links,
        };
        let (jobs_in, jobs) = bounded::<Job>(self.cx.workers * 2);
        let (large_in, large) = bounded::<LargeFile>(4);
        let (planned_in, planned) = bounded::<Batch>(PLANNED_WAITING);
        let mut worked = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..self.cx.workers {
                let (jobs, shop, strength) = (jobs.clone(), &shop, Arc::clone(&strength));
                threads.push(scope.spawn(move || {
                    let mut worker = Worker::new(shop, strength);
                    self.serve(&jobs, |job| worker.work(job))
                }));
            }
            drop(jobs);
            let (chunk_jobs, shop) = (jobs_in.clone(), &shop);
            let params = self.repository.format().chunker;
            threads.push(scope.spawn(move || {
                let blobs = BlobReader::new(
                    self.repository,
                    &self.start.loaded.index,
                    self.start.targets.iter().collect(),
                    Read::Quick,
                )
                .with_kept(self.kept);
                let wires = ReaderWires { blobs: &blobs, ground: ground(self.repository.cache()) };
                let mut large_reader = LargeReader::new(shop, &chunk_jobs, &self.cx.cancel, params, wires);
                self.serve(&large, |file| large_reader.read(file))
            }));
            let collector = scope.spawn(|| self.collect(pool, fan_out, planned));
            if size::is_asked_for(self) {
                scope.spawn(|| size::count(self, &walked_all));
            }
            let wires = Wires { jobs: jobs_in, large: large_in, planned: planned_in };
            let walked = Planner::new(self, pool, shop, wires).walk_all();
            walked_all.store(true, Ordering::Relaxed);
            let mut results: Vec<Result<(), EngineError>> = Vec::new();
            for thread in threads {
                results.push(thread.join().unwrap_or(Err(EngineError::Defect { what: "a worker" })));
            }
            let collected = collector.join().unwrap_or(Err(EngineError::Defect { what: "the collector" }));
            // A worker's own error says more than the cancellation that it caused elsewhere.
            let first = results.into_iter().filter_map(Result::err).reduce(more_telling);
            match (first, walked, collected) {
                (None, Ok(walked), Ok(worked)) => Ok(worked.with(walked)),
                (first, walked, collected) => {
                    let errors = first.into_iter().chain(walked.err()).chain(collected.err());
                    Err(errors.reduce(more_telling).unwrap_or(EngineError::Cancelled))
                }
            }
        })?;
        worked.collected.stats.files_read = files_read.load(Ordering::Relaxed);
        worked.collected.stats.bytes_read = bytes_read.load(Ordering::Relaxed);
        Ok(worked)
    }

    /// Takes from a channel until it closes, the work fails or somebody asks to stop.
    fn serve<T>(
        &self,
        from: &Receiver<T>,
        mut work: impl FnMut(T) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        for item in from {
            if self.cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            work(item)?;
        }
        Ok(())
    }

    fn collect(
        &self,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        planned: Receiver<Batch>,
    ) -> Result<Worked, EngineError> {
        let ids = self.repository.keys().ids();
        let mut stored = Stored::new(self);
        let mut collected = Collected::default();
        let mut sink = NodeSink {
            pool,
            fan_out,
            ids,
            kept: self.kept,
            scratch: Scratch::new(LEVEL_DEFAULT),
            used: Used::default(),
        };
        let mut roots = Vec::new();
        let mut batches = planned.into_iter();
        for (number, path) in self.roots.iter().enumerate() {
            let shown = display::path(path);
            let mut collector = Collector::new(*ids.cut(), sink, shown, &self.cx.cancel, &mut collected)
                .demanding(self.sources.demand(number));
            loop {
                let batch = batches.next().ok_or(EngineError::Cancelled)?;
                collector.note(batch.uses);
                for planned in batch.entries {
                    let is_large = match &planned {
                        Planned::Large { file, .. } => {
                            self.publish_until(file, pool, fan_out, &mut stored)?;
                            true
                        }
                        _ => false,
                    };
                    collector.take(planned)?;
                    // The large files of one batch may take days.
                    if is_large && stored.checkpoint_is_due(self, pool) {
                        let so_far = SoFar { pool, fan_out, roots: &roots, path };
                        self.checkpoint(&so_far, &mut collector, &mut stored)?;
                    }
                }
                if batch.ends_root {
                    break;
                }
                self.publish_if_due(pool, fan_out, &mut stored)?;
                if stored.checkpoint_is_due(self, pool) {
                    let so_far = SoFar { pool, fan_out, roots: &roots, path };
                    self.checkpoint(&so_far, &mut collector, &mut stored)?;
                }
            }
            let (root, back) = collector.finish()?;
            sink = back;
            roots.push(snapshot_root(path, &root));
        }
        Ok(Worked { collected, roots, used: sink.used, stored })
    }
}

impl Pass<'_> {
    /// Keeps publishing while a large file is read: it may take a day.
    fn publish_until(
        &self,
        file: &Slot<FileResult>,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        stored: &mut Stored,
    ) -> Result<(), EngineError> {
        while !file.is_settled_within(LOOK_UP_EVERY) {
            if self.cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            self.publish_if_due(pool, fan_out, stored)?;
        }
        Ok(())
    }
}

/// What the pipeline made, before the packs are closed.
struct Worked {
    collected: Collected,
    roots: Vec<SnapshotRoot>,
    used: Used,
    stored: Stored,
}

impl Worked {
    /// Adds what the walk noticed.
    fn with(mut self, walked: super::planner::Noticed) -> Self {
        self.collected.unread.append(walked.unread);
        self.collected.vanished += walked.vanished;
        self.collected.stats.excluded += walked.left_out.items();
        self.collected.left_out = walked.left_out;
        self
    }
}

/// Of two errors of one run, the one that is not merely the other's consequence.
fn more_telling(first: EngineError, second: EngineError) -> EngineError {
    if matches!(first, EngineError::Cancelled) { second } else { first }
}

/// Roots as the snapshot stores them.
pub(super) fn root_bytes(request: &BackupRequest) -> Vec<Vec<u8>> {
    request.roots.iter().map(|root| root.as_os_str().as_bytes().to_vec()).collect()
}

//! One pass over the source: walk and compare on this thread, compute on the workers, collect in
//! order on one more, store on each target's own; then the commit.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded};

use super::collect::{Collected, Collector, NodeSink, Planned, Used};
use super::finish::{self, Ready};
use super::large::{LargeFile, LargeReader};
use super::outcome::BackupOutcome;
use super::planner::{Planner, Wires};
use super::request::BackupRequest;
use super::start::Start;
use super::worker::{Job, Shop, Worker};
use crate::base::clock::Timestamp;
use crate::base::display;
use crate::base::id::ObjectHash;
use crate::codec::compress::LEVEL_DEFAULT;
use crate::codec::hash;
use crate::codec::sign::Signer;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::Repository;
use crate::repository::buffers::Buffers;
use crate::repository::commit::{NeededPack, Proposal};
use crate::repository::error::RepositoryError;
use crate::repository::fan_out::{FanOut, LaneOutcome};
use crate::repository::format::index_run::RunPack;
use crate::repository::format::keys::BlobKind;
use crate::repository::format::names::{PackClass, index_name};
use crate::repository::format::pack_set;
use crate::repository::format::snapshot::{
    PACKS_INLINE_MAX, PackSetRef, SnapshotBody, SnapshotKind, SnapshotRoot, SnapshotStats, UnreadItems,
};
use crate::repository::needs;
use crate::repository::pack_pool::{OwnPack, PackPool, Scratch, run_of};
use crate::source::files::Owners;

/// Entries on their way to the collector.
const PLANNED_WAITING: usize = 64;
/// An index run is published after this many packs, so that a crash costs at most their work.
const PACKS_BEFORE_RUN: usize = 256;

/// Everything one pass shares.
pub(super) struct Pass<'a> {
    pub(super) repository: &'a Repository,
    pub(super) request: &'a BackupRequest,
    pub(super) roots: &'a [Vec<u8>],
    pub(super) cx: &'a Context,
    pub(super) start: &'a Start,
    pub(super) signer: &'a Signer,
    pub(super) captured_at: Timestamp,
}

/// What the pipeline leaves behind when all its threads have ended.
struct Gathered {
    collected: Collected,
    roots: Vec<SnapshotRoot>,
    /// The runs made in this pass, with their packs.
    runs: HashMap<ObjectHash, Vec<RunPack>>,
    lanes: Vec<LaneOutcome>,
    pack_set: PackSetRef,
    needed: Vec<NeededPack>,
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
        // Open packs, one in each lane's hands and queue, one being closed: never more.
        let in_flight = self.start.targets.iter().map(|target| target.in_flight + 1).max().unwrap_or(1);
        let open = self.cx.workers.max(2) + 1;
        let slack = self.repository.pack_bytes() / 16 + 4 * 1024 * 1024;
        let buffers = Buffers::new(open + in_flight + 1, self.repository.pack_bytes() + slack);
        let pool = PackPool::new(
            self.repository,
            self.signer,
            &self.start.loaded.index,
            buffers,
            self.cx.workers,
            self.cx.cancel.clone(),
        );
        std::thread::scope(|scope| {
            let lanes = self.start.targets.iter().map(|t| (std::sync::Arc::clone(&t.storage), t.in_flight));
            let fan_out = FanOut::open(scope, lanes);
            let worked = self.work(&pool, &fan_out);
            let finished = worked.and_then(|worked| self.close(&pool, &fan_out, worked));
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

    /// Walk, workers and collector; everything is stored in packs when it returns, the last of
    /// them still open.
    fn work(&self, pool: &PackPool<'_>, fan_out: &FanOut<'_>) -> Result<Worked, EngineError> {
        let owners = Owners::load();
        let (files_read, bytes_read) = (AtomicU64::new(0), AtomicU64::new(0));
        let shop = Shop {
            pool,
            fan_out,
            ids: self.repository.keys().ids(),
            owners: &owners,
            progress: self.cx.progress.as_ref(),
            files_read: &files_read,
            bytes_read: &bytes_read,
        };
        let (jobs_in, jobs) = bounded::<Job>(self.cx.workers * 2);
        let (large_in, large) = bounded::<LargeFile>(4);
        let (planned_in, planned) = bounded::<Vec<Planned>>(PLANNED_WAITING);
        let mut worked = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..self.cx.workers {
                let (jobs, shop) = (jobs.clone(), &shop);
                threads.push(scope.spawn(move || {
                    let mut worker = Worker::new(shop, LEVEL_DEFAULT);
                    self.serve(&jobs, |job| worker.work(job))
                }));
            }
            drop(jobs);
            let (chunk_jobs, shop) = (jobs_in.clone(), &shop);
            let params = self.repository.format().chunker;
            threads.push(scope.spawn(move || {
                let mut large_reader = LargeReader::new(shop, &chunk_jobs, &self.cx.cancel, params);
                self.serve(&large, |file| large_reader.read(file))
            }));
            let collector = scope.spawn(|| self.collect(pool, fan_out, planned));
            let wires = Wires { jobs: jobs_in, large: large_in, planned: planned_in };
            let walked = Planner::new(self, pool, shop, wires).walk_all();
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
        planned: Receiver<Vec<Planned>>,
    ) -> Result<Worked, EngineError> {
        let ids = self.repository.keys().ids();
        let mut worked = Worked::default();
        let mut collected = Collected::default();
        let mut sink =
            NodeSink { pool, fan_out, ids, scratch: Scratch::new(LEVEL_DEFAULT), used: Used::default() };
        let mut batches = planned.into_iter();
        for path in self.roots {
            let shown = display::path(path);
            let mut collector = Collector::new(*ids.cut(), sink, shown, &self.cx.cancel, &mut collected);
            // The planner ends each root with an empty batch.
            loop {
                let batch = batches.next().ok_or(EngineError::Cancelled)?;
                if batch.is_empty() {
                    break;
                }
                for planned in batch {
                    collector.take(planned)?;
                }
                self.publish_if_due(pool, fan_out, &mut worked)?;
            }
            let (root, back) = collector.finish()?;
            sink = back;
            worked.roots.push(SnapshotRoot {
                path: path.clone(),
                node: root.id,
                entries: root.entries,
                bytes: root.bytes,
            });
        }
        worked.collected = collected;
        worked.used = sink.used;
        Ok(worked)
    }
}

/// What the pipeline made, before the packs are closed.
#[derive(Default)]
struct Worked {
    collected: Collected,
    roots: Vec<SnapshotRoot>,
    used: Used,
    own: HashMap<u32, RunPack>,
    runs: HashMap<ObjectHash, Vec<RunPack>>,
}

impl Worked {
    /// Adds what the walk noticed.
    fn with(mut self, walked: super::planner::Noticed) -> Self {
        self.used.covered.extend(walked.covered);
        self.collected.unread.append(walked.unread);
        self.collected.vanished += walked.vanished;
        self.collected.stats.excluded += walked.excluded;
        self
    }
}

impl Pass<'_> {
    /// Publishes an index run over finished packs when enough of them wait.
    fn publish_if_due(
        &self,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        worked: &mut Worked,
    ) -> Result<(), EngineError> {
        fan_out.check()?;
        if pool.finished_waiting() >= PACKS_BEFORE_RUN {
            self.publish(pool.take_finished(), fan_out, &mut worked.own, &mut worked.runs)?;
        }
        Ok(())
    }

    /// Stores an index run on every target that has all of these packs. Packs first: a run on a
    /// target says that they are there.
    fn publish(
        &self,
        packs: Vec<OwnPack>,
        fan_out: &FanOut<'_>,
        own: &mut HashMap<u32, RunPack>,
        runs: &mut HashMap<ObjectHash, Vec<RunPack>>,
    ) -> Result<(), EngineError> {
        if packs.is_empty() {
            return Ok(());
        }
        let run = run_of(&packs);
        let (bytes, id) = run
            .seal(&self.repository.id(), self.signer, self.repository.keys())
            .map_err(RepositoryError::from)?;
        let bytes = Bytes::from(bytes);
        for (lane, has_all) in fan_out.drain().into_iter().enumerate() {
            let Some(target) = self.start.targets.get(lane).filter(|_| has_all) else { continue };
            let stored = target.storage.sync().and_then(|()| {
                target.storage.put_new(&index_name(0, &id), bytes.clone())?;
                target.storage.sync()
            });
            if let Err(error) = stored {
                fan_out.leave_behind(lane, crate::repository::fan_out::Lag::Failed(error));
            }
        }
        fan_out.check()?;
        own.extend(packs.into_iter().map(|pack| (pack.number, pack.pack)));
        runs.insert(id, run.packs);
        Ok(())
    }

    /// Closes the packs, stores the pack set if it is long, and publishes the last run.
    fn close(
        &self,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        worked: Worked,
    ) -> Result<Gathered, EngineError> {
        let Worked { collected, roots, used, mut own, mut runs } = worked;
        pool.close_all(fan_out)?;
        self.publish(pool.take_finished(), fan_out, &mut own, &mut runs)?;
        let mut needed = self.needed(&used, &own)?;
        let names: Vec<(PackClass, ObjectHash)> = needed.iter().map(|pack| (pack.class, pack.hash)).collect();
        let pack_set = if names.len() <= PACKS_INLINE_MAX {
            PackSetRef::Inline(names)
        } else {
            let plain = pack_set::encode(&names);
            let id = self.repository.keys().ids().id(BlobKind::PackSet, &plain);
            let mut scratch = Scratch::new(LEVEL_DEFAULT);
            pool.store(BlobKind::PackSet, &id, &plain, &mut scratch, fan_out)?;
            pool.close_all(fan_out)?;
            let last = pool.take_finished();
            // The pack that holds the list of packs is needed, too, but cannot be in the list.
            needed.extend(last.iter().map(|own| NeededPack {
                class: own.pack.class,
                hash: own.pack.hash,
                covered: false,
            }));
            self.publish(last, fan_out, &mut own, &mut runs)?;
            PackSetRef::Blob(id)
        };
        Ok(Gathered { collected, roots, runs, lanes: Vec::new(), pack_set, needed })
    }

    /// The packs of the snapshot, sorted.
    fn needed(&self, used: &Used, own: &HashMap<u32, RunPack>) -> Result<Vec<NeededPack>, EngineError> {
        let mut packs = BTreeSet::new();
        for number in &used.own {
            let pack = own.get(number).ok_or(EngineError::Defect { what: "the list of own packs" })?;
            packs.insert(NeededPack { class: pack.class, hash: pack.hash, covered: false });
        }
        for number in used.covered.union(&used.relied) {
            let pack = self.start.loaded.index.pack(*number);
            let pack = pack.ok_or(EngineError::Defect { what: "the list of packs" })?;
            // A full takes nothing on trust: it looks at every pack it uses.
            let covered = self.trusts_stat() && !used.relied.contains(number);
            packs.insert(NeededPack { class: pack.class, hash: pack.hash, covered });
        }
        Ok(packs.into_iter().collect())
    }

    fn commit(&self, gathered: Gathered) -> Result<BackupOutcome, EngineError> {
        let ended_at = self.cx.clock.now();
        let mut runs = self.start.loaded.runs.clone();
        runs.extend(gathered.runs.clone());
        let mut run_of: HashMap<ObjectHash, ObjectHash> = HashMap::new();
        for (id, packs) in &gathered.runs {
            run_of.extend(packs.iter().map(|pack| (pack.hash, *id)));
        }
        for pack in self.start.loaded.index.packs() {
            run_of.entry(pack.hash).or_insert(pack.run);
        }
        let index_runs = finish::runs_for(&gathered.needed, &run_of);
        let body = self.body(&gathered, ended_at, index_runs.clone());
        let (bytes, id) = finish::seal(self.repository, self.signer, self.start, &body)?;
        let proposal = Proposal {
            bytes,
            id,
            at: self.captured_at,
            writer: self.signer.id(),
            parent: self.start.parent.as_ref().map(|parent| parent.id),
            runs: index_runs,
            packs: gathered.needed,
        };
        let parent_packs = self.parent_packs()?;
        let ready = Ready {
            repository: self.repository,
            signer: self.signer,
            host: &self.request.host,
            start: self.start,
            proposal: &proposal,
            runs: &runs,
            parent_packs: &parent_packs,
        };
        let targets = finish::commit_everywhere(&ready, gathered.lanes, self.cx)?;
        if targets.iter().all(|target| !target.complete) {
            return Err(finish::nowhere(&targets));
        }
        let Collected { stats, unread, changed, vanished } = gathered.collected;
        Ok(BackupOutcome {
            snapshot: id,
            manifest_root: body.roots.first().map(|root| root.node).unwrap_or_default(),
            kind: body.kind,
            asked: body.asked,
            parent: body.parent,
            captured_at: self.captured_at,
            ended_at,
            targets,
            stats,
            unread,
            changed,
            vanished,
        })
    }

    /// Packs that the parent needs, which were read back with it.
    fn parent_packs(&self) -> Result<HashSet<ObjectHash>, EngineError> {
        let (Some(parent), Some(target)) = (&self.start.parent, self.start.targets.first()) else {
            return Ok(HashSet::new());
        };
        let packs = needs::packs_of(self.repository, target, &self.start.loaded.index, parent);
        // Unknown means none: then everything is read back again, which is only slow.
        Ok(packs.unwrap_or_default().into_iter().map(|(_, hash)| hash).collect())
    }

    fn body(&self, gathered: &Gathered, ended_at: Timestamp, index_runs: Vec<ObjectHash>) -> SnapshotBody {
        let stats = &gathered.collected.stats;
        let kind = if self.start.parent.is_some() { self.request.kind } else { SnapshotKind::Full };
        let mut excludes = Vec::new();
        for rule in &self.request.excludes {
            excludes.extend_from_slice(rule.as_bytes());
            excludes.push(b'\n');
        }
        SnapshotBody {
            kind,
            host: self.request.host.clone(),
            policy: self.request.policy.clone(),
            tags: self.request.tags.clone(),
            started_at: self.captured_at,
            ended_at,
            parent: self.start.parent.as_ref().map(|parent| parent.id),
            base_full: if kind == SnapshotKind::Full { None } else { self.start.base_full },
            roots: gathered.roots.clone(),
            index_runs,
            pack_set: gathered.pack_set.clone(),
            excludes_hash: hash::plain(&[&excludes]),
            tool: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).to_owned(),
            stats: SnapshotStats {
                files: stats.files,
                files_read: stats.files_read,
                bytes_read: stats.bytes_read,
                bytes_new: stats.bytes_new,
                changed: gathered.collected.changed.count,
                excluded: stats.excluded,
            },
            unread: UnreadItems { count: gathered.collected.unread.count },
            run_id: self.request.run_id.clone(),
            occurrence: self.request.occurrence.clone(),
            asked: self.request.kind,
            captured_at: self.captured_at,
        }
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

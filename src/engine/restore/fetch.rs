//! The threads of a restore: fetchers bring stretches of packs, workers open and write them, and
//! one lets the medium begin early with what has to be on it in the end.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::queue::{Located, Next, PackJob, Queue, Run, StopOnPanic, Token};
use super::slot::Slot;
use super::write::Writer;
use crate::engine::error::EngineError;
use crate::repository::format::pack::{BlobOpener, PackDirectory};
use crate::storage::contract::{Distance, Span};

/// One fetch is at most this long, unless a single blob is longer.
const FETCH_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// The ends of what is read are widened to multiples of this, so that a request tells little
/// about a blob's bounds.
const WIDENED_BYTES: u64 = 64 * 1024;
/// The medium is let begin whenever so much was written.
const SETTLE_BYTES: u64 = 64 * 1024 * 1024;
const SETTLE_LOOK: Duration = Duration::from_millis(50);

/// How one reads at a distance.
struct Reach {
    /// Reads at once.
    fetchers: usize,
    /// What lies this close together is fetched together.
    gap_bytes: u64,
}

impl Reach {
    fn of(distance: Distance) -> Self {
        match distance {
            // One reads ahead while the other's bytes are written.
            Distance::Near => Self { fetchers: 2, gap_bytes: 256 * 1024 },
            // Enough to hide the way there and back; more would only share the same line.
            Distance::Far => Self { fetchers: 12, gap_bytes: 1024 * 1024 },
        }
    }
}

/// What workers do.
pub(super) enum Work<'d> {
    /// Open and write what was fetched; without bytes, blob by blob, the slow way.
    Run { run: Run<'d>, bytes: Option<Bytes> },
    /// A pack whose footer can't be read: blob by blob.
    Pack(PackJob<'d>),
    /// Files that have no bytes.
    Bare { slots: Vec<Arc<Slot<'d>>>, _token: Arc<Token> },
}

/// Everything that the threads share.
pub(super) struct Threads<'a> {
    pub(super) writer: Writer<'a>,
    pub(super) queue: Queue<'a>,
    /// What ended the restore.
    fatal: Mutex<Option<EngineError>>,
}

impl<'a> Threads<'a> {
    /// None started yet.
    pub(super) fn new(writer: Writer<'a>) -> Self {
        let queue = Queue::new(writer.cx.cancel.clone());
        Self { writer, queue, fatal: Mutex::new(None) }
    }

    /// Starts them. They end when the sender is dropped and the queue is closed, or stopped.
    pub(super) fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Started<'a> {
        let (works, incoming) = unbounded();
        let reach = Reach::of(self.writer.blobs.distance());
        for _ in 0..reach.fetchers {
            let (works, gap_bytes) = (works.clone(), reach.gap_bytes);
            scope.spawn(move || self.fetcher(&works, gap_bytes));
        }
        for _ in 0..self.writer.cx.workers.max(1) {
            let incoming = incoming.clone();
            scope.spawn(move || self.worker(&incoming));
        }
        let (running, ended) = bounded(0);
        scope.spawn(move || self.settler(&ended));
        Started { works, _running: running }
    }

    /// Ends the restore: the first reason is told.
    pub(super) fn end_with(&self, error: EngineError) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.queue.stop();
    }

    /// What the planner and the threads came to.
    pub(super) fn outcome(&self, planned: Result<(), EngineError>) -> Result<(), EngineError> {
        if self.writer.cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        match self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => planned,
        }
    }

    fn fetcher(&self, works: &Sender<Work<'a>>, gap_bytes: u64) {
        let _guard = StopOnPanic(&self.queue);
        while let Some(next) = self.queue.next() {
            let work = match next {
                Next::Look(job) => match self.writer.blobs.directory(job.pack) {
                    Ok(directory) => {
                        self.queue.found(runs(job, &directory, gap_bytes));
                        continue;
                    }
                    Err(_) => {
                        self.queue.found([]);
                        Work::Pack(job)
                    }
                },
                Next::Fetch(run) => {
                    let Range { start, end } = run.range;
                    let span = Span::Range { offset: start, len: end - start };
                    let bytes = self.writer.blobs.fetch(run.pack, span).ok();
                    Work::Run { run, bytes }
                }
            };
            // Workers end last; if they are gone, so is the restore.
            drop(works.send(work));
        }
    }

    fn worker(&self, incoming: &Receiver<Work<'a>>) {
        let _guard = StopOnPanic(&self.queue);
        let mut opener = BlobOpener::default();
        for work in incoming {
            if self.queue.is_stopped() {
                continue;
            }
            let done = match work {
                Work::Run { run, bytes: Some(bytes) } => {
                    let done = self.writer.run(&run, &bytes, &mut opener);
                    drop(bytes);
                    self.queue.release(&run.range);
                    done
                }
                Work::Run { run, bytes: None } => {
                    self.queue.release(&run.range);
                    self.writer.one_by_one(&run.pieces)
                }
                Work::Pack(job) => self.writer.one_by_one(&job.pieces),
                Work::Bare { slots, .. } => slots.iter().try_for_each(|slot| self.writer.all_planned(slot)),
            };
            if let Err(error) = done {
                self.end_with(error);
            }
        }
    }

    /// What is durable only at the end would make the end long.
    fn settler(&self, ended: &Receiver<()>) {
        let mut settled = 0;
        while ended.recv_timeout(SETTLE_LOOK) == Err(RecvTimeoutError::Timeout) {
            let written = self.writer.written.load(Ordering::Relaxed);
            if written - settled < SETTLE_BYTES {
                continue;
            }
            settled = written;
            // A failure is told once, to whoever asks first: it must not be lost.
            if let Err(error) = self.writer.destination.sync() {
                self.end_with(error.into());
            }
        }
    }
}

/// Running threads: dropping it lets them end.
pub(super) struct Started<'a> {
    pub(super) works: Sender<Work<'a>>,
    _running: Sender<()>,
}

/// The stretches to read of a pack: what lies close together as one, then cut into fetches.
fn runs<'a>(job: PackJob<'a>, directory: &Arc<PackDirectory>, gap_bytes: u64) -> Vec<Run<'a>> {
    let PackJob { pack, pieces, token } = job;
    let mut runs: Vec<Run<'a>> = Vec::new();
    for located in pieces {
        // A row that isn't there is found out where the blob is opened.
        let blob = directory.sealed_range(located.ordinal).unwrap_or(0..0);
        match runs.last_mut() {
            Some(run) if joins(run, &blob, gap_bytes, &located) => {
                run.range.end = run.range.end.max(blob.end);
                run.pieces.push(located);
            }
            last => {
                let start = match last {
                    Some(before) if blob.start.saturating_sub(before.range.end) <= gap_bytes => blob.start,
                    Some(before) => {
                        widen_end(before, directory);
                        blob.start / WIDENED_BYTES * WIDENED_BYTES
                    }
                    None => blob.start / WIDENED_BYTES * WIDENED_BYTES,
                };
                let (directory, token) = (Arc::clone(directory), Arc::clone(&token));
                runs.push(Run {
                    pack,
                    directory,
                    range: start..blob.end,
                    pieces: vec![located],
                    _token: token,
                });
            }
        }
    }
    if let Some(last) = runs.last_mut() {
        widen_end(last, directory);
    }
    runs
}

fn joins(run: &Run<'_>, blob: &Range<u64>, gap_bytes: u64, located: &Located<'_>) -> bool {
    let is_same = run.pieces.last().is_some_and(|last| last.ordinal == located.ordinal);
    is_same
        || blob.start >= run.range.end
            && blob.start - run.range.end <= gap_bytes
            && blob.end - run.range.start <= FETCH_BYTES_MAX
}

fn widen_end(run: &mut Run<'_>, directory: &PackDirectory) {
    let widened = run.range.end.div_ceil(WIDENED_BYTES).saturating_mul(WIDENED_BYTES);
    run.range.end = widened.min(directory.foot_offset().max(run.range.end));
}

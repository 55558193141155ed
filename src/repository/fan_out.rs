//! One finished object to every target at once; a target that fails or blocks leaves, the rest go on.
//!
//! Each target has a lane: a short queue and its own threads. A lane that errs, or that keeps a
//! sender waiting longer than [`LAG_LIMIT`] while another lane still works, turns *lagging*: it
//! gets nothing more in this run, and is completed by object copy afterwards. The last lane that
//! works is waited for without limit (the storage's own retry budget bounds it).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use super::error::RepositoryError;
use crate::base::error::{Chain, Class, Classified};
use crate::storage::contract::{ObjectName, Storage, StorageError};

/// How long one object may wait for a lane before the lane is left behind.
pub(crate) const LAG_LIMIT: Duration = Duration::from_secs(30);

/// Why a target is not up to date with the run.
#[derive(Debug)]
pub(crate) enum Lag {
    /// It refused an object.
    Failed(StorageError),
    /// It was slower than the run could wait for.
    Slow,
}

impl Lag {
    fn defect() -> Self {
        let reason = "its upload thread ended by a defect".to_owned();
        Self::Failed(StorageError::Unsupported { place: "upload".to_owned(), reason })
    }
}

struct Upload {
    name: ObjectName,
    bytes: Bytes,
}

struct Lane<'scope> {
    queue: Option<Sender<Upload>>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
    state: Arc<LaneState>,
}

#[derive(Default)]
struct LaneState {
    lag: Mutex<Option<Lag>>,
    stored_bytes: AtomicU64,
    /// Objects handed over and not yet stored or dropped.
    pending: Mutex<usize>,
    settled: Condvar,
}

/// The lanes of one run. Threads live in the scope given.
pub(crate) struct FanOut<'scope> {
    lanes: Vec<Lane<'scope>>,
}

/// What became of one lane.
#[derive(Debug)]
pub(crate) struct LaneOutcome {
    /// `None` when it has every object of the run.
    pub(crate) lag: Option<Lag>,
    /// Bytes it stored.
    pub(crate) stored_bytes: u64,
}

impl<'scope> FanOut<'scope> {
    /// Opens a lane for each storage, with as many threads as uploads may be in flight there.
    pub(crate) fn open<'env>(
        scope: &'scope Scope<'scope, 'env>,
        targets: impl IntoIterator<Item = (Arc<dyn Storage>, usize)>,
    ) -> Self {
        let lanes =
            targets.into_iter().map(|(storage, in_flight)| Lane::open(scope, &storage, in_flight)).collect();
        Self { lanes }
    }

    /// Hands an object to every lane that still takes part.
    pub(crate) fn put(&self, name: &ObjectName, bytes: &Bytes) {
        for lane in &self.lanes {
            lane.put(Upload { name: name.clone(), bytes: bytes.clone() }, self.working() > 1);
        }
    }

    /// How many lanes still take part. None: the run has nowhere to store to.
    pub(crate) fn working(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.state.is_working()).count()
    }

    /// Whether no lane that takes part has anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().filter(|lane| lane.state.is_working()).all(|lane| *lock(&lane.state.pending) == 0)
    }

    /// Waits until everything handed over so far is stored or has failed. Says for each lane
    /// whether it has all of it.
    pub(crate) fn drain(&self) -> Vec<bool> {
        self.lanes.iter().map(|lane| lane.state.drain()).collect()
    }

    /// That at least one target still takes what is stored.
    ///
    /// # Errors
    /// `NoTarget` with every lane's reason.
    pub(crate) fn check(&self) -> Result<(), RepositoryError> {
        if self.working() > 0 {
            return Ok(());
        }
        let mut reasons = Vec::new();
        let mut class = Class::Failed;
        for lane in &self.lanes {
            match lock(&lane.state.lag).as_ref() {
                Some(Lag::Failed(error)) => {
                    if reasons.is_empty() {
                        class = error.class();
                    }
                    reasons.push(Chain(error).to_string());
                }
                Some(Lag::Slow) => reasons.push("a target was too slow".to_owned()),
                None => {}
            }
        }
        if class == Class::Cancelled {
            return Err(RepositoryError::Cancelled);
        }
        Err(RepositoryError::NoTarget { reasons: reasons.join("; "), class })
    }

    /// Marks a lane as left behind.
    pub(crate) fn leave_behind(&self, lane: usize, reason: Lag) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.state.set_lag(reason);
        }
    }

    /// Waits as [`FanOut::drain`] and ends the lanes.
    pub(crate) fn finish(self) -> Vec<LaneOutcome> {
        self.lanes.into_iter().map(Lane::finish).collect()
    }
}

impl LaneState {
    fn is_working(&self) -> bool {
        lock(&self.lag).is_none()
    }

    /// Keeps the first reason.
    fn set_lag(&self, reason: Lag) {
        lock(&self.lag).get_or_insert(reason);
    }

    fn took_one(&self) {
        *lock(&self.pending) += 1;
    }

    fn settled_one(&self) {
        *lock(&self.pending) -= 1;
        self.settled.notify_all();
    }

    fn drain(&self) -> bool {
        let mut pending = lock(&self.pending);
        while *pending > 0 {
            pending = self.settled.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        self.is_working()
    }
}

impl<'scope> Lane<'scope> {
    fn open<'env>(scope: &'scope Scope<'scope, 'env>, storage: &Arc<dyn Storage>, in_flight: usize) -> Self {
        // Room for one waiting object: with one in each thread's hands that is all a lane holds.
        let (queue, uploads) = bounded(1);
        let state = Arc::new(LaneState::default());
        let threads = (0..in_flight.max(1))
            .map(|_| {
                let (storage, uploads, state) = (Arc::clone(storage), uploads.clone(), Arc::clone(&state));
                scope.spawn(move || upload_all(storage.as_ref(), &uploads, &state))
            })
            .collect();
        Self { queue: Some(queue), threads, state }
    }

    fn put(&self, upload: Upload, others_work: bool) {
        let Some(queue) = self.queue.as_ref().filter(|_| self.state.is_working()) else { return };
        self.state.took_one();
        let mut upload = upload;
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(500);
        loop {
            match queue.send_timeout(upload, step) {
                Ok(()) => return,
                Err(SendTimeoutError::Disconnected(_)) => break,
                Err(SendTimeoutError::Timeout(back)) => upload = back,
            }
            waited += step;
            if others_work && waited >= LAG_LIMIT {
                self.state.set_lag(Lag::Slow);
            }
            if !self.state.is_working() {
                break;
            }
        }
        self.state.settled_one();
    }

    fn finish(mut self) -> LaneOutcome {
        self.queue = None;
        for thread in self.threads {
            if thread.join().is_err() {
                self.state.set_lag(Lag::defect());
            }
        }
        LaneOutcome {
            lag: lock(&self.state.lag).take(),
            stored_bytes: self.state.stored_bytes.load(Ordering::Relaxed),
        }
    }
}

fn upload_all(storage: &dyn Storage, uploads: &Receiver<Upload>, state: &LaneState) {
    for upload in uploads {
        let settled = Settled(state);
        // A lane that failed takes what is queued and drops it, so that no sender waits for it.
        if state.is_working() {
            let bytes = upload.bytes.len();
            // A defect must not end the thread: what is queued behind it would be waited for for ever.
            match catch_unwind(AssertUnwindSafe(|| storage.put_new(&upload.name, upload.bytes))) {
                Ok(Ok(_)) => {
                    state.stored_bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Ok(Err(error)) => state.set_lag(Lag::Failed(error)),
                Err(_) => state.set_lag(Lag::defect()),
            }
        }
        drop(settled);
    }
}

/// Counts an object as settled even when its upload panics, so that nobody waits for it for ever.
struct Settled<'a>(&'a LaneState);

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.0.settled_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

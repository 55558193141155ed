//! What is to be fetched, and how much of it may be on its way at once.
//!
//! The planner puts packs in; a fetcher takes a pack, looks at its footer and puts the stretches
//! to be read back in; any fetcher takes a stretch. So the stretches of one pack are read beside
//! each other, and the footers of the next packs meanwhile. Bytes that were fetched and not yet
//! written are bounded.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::slot::Piece;
use crate::base::cancel::Cancel;
use crate::repository::format::pack::PackDirectory;

/// Bytes on their way, or waiting to be opened. A single longer stretch may still come, alone.
const BYTES_MAX: u64 = 24 * 1024 * 1024;
/// Windows planned and not written yet: one is planned while another one is written.
const WINDOWS_MAX: usize = 2;
/// A wait looks up this often, for somebody who asked to stop.
const LOOK_UP: Duration = Duration::from_millis(200);

/// A piece and where its blob is.
pub(super) struct Located<'d> {
    pub(super) ordinal: u32,
    pub(super) piece: Piece<'d>,
}

/// What is wanted of one pack, by ordinal.
pub(super) struct PackJob<'d> {
    pub(super) pack: u32,
    pub(super) pieces: Vec<Located<'d>>,
    pub(super) token: Arc<Token>,
}

/// A stretch of a pack that is read at once.
pub(super) struct Run<'d> {
    pub(super) pack: u32,
    pub(super) directory: Arc<PackDirectory>,
    pub(super) range: Range<u64>,
    pub(super) pieces: Vec<Located<'d>>,
    pub(super) _token: Arc<Token>,
}

/// What a fetcher does next.
pub(super) enum Next<'d> {
    /// Find out where the wanted blobs of a pack lie, then say [`Queue::found`].
    Look(PackJob<'d>),
    /// Read a stretch; [`Queue::release`] when its bytes are gone.
    Fetch(Run<'d>),
}

/// Shared by the planner, the fetchers and the workers.
pub(super) struct Queue<'d> {
    inner: Mutex<Inner<'d>>,
    changed: Condvar,
    cancel: Cancel,
}

struct Inner<'d> {
    packs: VecDeque<PackJob<'d>>,
    runs: VecDeque<Run<'d>>,
    /// Fetchers that look at a footer: more runs may come from them.
    looking: usize,
    bytes: u64,
    is_closed: bool,
    is_stopped: bool,
}

impl<'d> Queue<'d> {
    /// Empty.
    pub(super) fn new(cancel: Cancel) -> Self {
        let inner = Inner {
            packs: VecDeque::new(),
            runs: VecDeque::new(),
            looking: 0,
            bytes: 0,
            is_closed: false,
            is_stopped: false,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), cancel }
    }

    /// More to do.
    pub(super) fn submit(&self, packs: impl IntoIterator<Item = PackJob<'d>>) {
        self.lock().packs.extend(packs);
        self.changed.notify_all();
    }

    /// Waits for something to do; `None` when there will be nothing more.
    pub(super) fn next(&self) -> Option<Next<'d>> {
        let mut inner = self.lock();
        loop {
            if inner.is_stopped || self.cancel.is_cancelled() {
                return None;
            }
            if let Some(len) = inner.runs.front().map(|run| run.range.end - run.range.start)
                && (inner.bytes == 0 || inner.bytes.saturating_add(len) <= BYTES_MAX)
            {
                inner.bytes = inner.bytes.saturating_add(len);
                return inner.runs.pop_front().map(Next::Fetch);
            }
            if inner.runs.is_empty()
                && let Some(pack) = inner.packs.pop_front()
            {
                inner.looking += 1;
                return Some(Next::Look(pack));
            }
            let is_over = inner.is_closed && inner.looking == 0;
            if is_over && inner.packs.is_empty() && inner.runs.is_empty() {
                return None;
            }
            let waited = self.changed.wait_timeout(inner, LOOK_UP);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What a look at a pack gave.
    pub(super) fn found(&self, runs: impl IntoIterator<Item = Run<'d>>) {
        let mut inner = self.lock();
        inner.looking = inner.looking.saturating_sub(1);
        inner.runs.extend(runs);
        drop(inner);
        self.changed.notify_all();
    }

    /// The bytes of a stretch are written, or given up.
    pub(super) fn release(&self, range: &Range<u64>) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(range.end - range.start);
        drop(inner);
        self.changed.notify_all();
    }

    /// Nothing more will be submitted.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// What is left is not wanted any more.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    /// Whether what is left is not wanted any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.cancel.is_cancelled() || self.lock().is_stopped
    }

    fn lock(&self) -> MutexGuard<'_, Inner<'d>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops everybody when its thread ends by a panic: nobody must wait for what will never come.
pub(super) struct StopOnPanic<'q, 'd>(pub(super) &'q Queue<'d>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Room for a window. All that belongs to the window shares it; when the last of it is written,
/// the next window may be planned.
pub(super) struct Token(Sender<()>);

impl Drop for Token {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// Rooms for windows.
pub(super) struct Windows {
    free: Receiver<()>,
    back: Sender<()>,
}

impl Windows {
    /// All free.
    pub(super) fn new() -> Self {
        let (back, free) = bounded(WINDOWS_MAX);
        for _ in 0..WINDOWS_MAX {
            // Cannot fail: the channel has room for exactly these.
            let _ = back.send(());
        }
        Self { free, back }
    }

    /// Waits until all that was planned is written; `None` when the queue is stopped.
    pub(super) fn all_written(&self, queue: &Queue<'_>) -> Option<()> {
        let all: Option<Vec<_>> = (0..WINDOWS_MAX).map(|_| self.take(queue)).collect();
        all.map(drop)
    }

    /// Waits for a free one; `None` when the queue is stopped.
    pub(super) fn take(&self, queue: &Queue<'_>) -> Option<Arc<Token>> {
        loop {
            match self.free.recv_timeout(LOOK_UP) {
                Ok(()) => return Some(Arc::new(Token(self.back.clone()))),
                Err(RecvTimeoutError::Timeout) if !queue.is_stopped() => {}
                Err(_) => return None,
            }
        }
    }
}

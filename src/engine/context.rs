//! What every verb is given: time, somebody who listens, a flag to stop, and how many threads.

use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, SystemClock};
use crate::base::progress::{Progress, Silent};

/// The surroundings of one piece of work. Cloning is cheap.
#[derive(Clone)]
pub struct Context {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub progress: Arc<dyn Progress>,
    /// Raised when the work should stop.
    pub cancel: Cancel,
    /// Threads that compute.
    pub workers: usize,
}

impl Context {
    /// The machine's clock, nobody listening, a worker for each processor (at most 16).
    pub fn quiet() -> Self {
        let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 16);
        Self {
            clock: Arc::new(SystemClock::new()),
            progress: Arc::new(Silent),
            cancel: Cancel::new(),
            workers,
        }
    }
}

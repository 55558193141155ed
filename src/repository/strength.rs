//! How hard the blobs of a session are compressed, as all its workers decide it together.
//!
//! Counts how long they wait for the targets, and asks the ladder of [`crate::codec::ladder`]
//! before each blob. A wait is counted when it is over: nobody compresses before that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::effort::Effort;
use crate::codec::compress::Compressor;
use crate::codec::ladder::{Ladder, Look};

/// Shared by the workers of one session.
pub(crate) enum Strength {
    /// One level, or nothing compressed.
    Fixed(Option<i32>),
    /// As the run goes.
    Auto(Climb),
}

/// What `auto` goes by.
pub(crate) struct Climb {
    clock: Arc<dyn Clock>,
    waited_ns: AtomicU64,
    ladder: Mutex<Ladder>,
}

impl Strength {
    /// For a session with so many workers.
    pub(crate) fn new(effort: Effort, workers: usize, clock: &Arc<dyn Clock>) -> Self {
        match effort {
            Effort::None => Self::Fixed(None),
            Effort::Level(level) => Self::Fixed(Some(level)),
            Effort::Auto => Self::Auto(Climb {
                ladder: Mutex::new(Ladder::new(workers, clock.monotonic())),
                clock: Arc::clone(clock),
                waited_ns: AtomicU64::new(0),
            }),
        }
    }

    /// Sets the compressor for the next blob.
    pub(crate) fn set(&self, compressor: &mut Compressor, targets_idle: impl FnOnce() -> bool) {
        match self {
            Self::Fixed(None) => compressor.switch_off(),
            Self::Fixed(Some(level)) => compressor.set_level(*level),
            Self::Auto(climb) => {
                let look = Look {
                    now: climb.clock.monotonic(),
                    waited: Duration::from_nanos(climb.waited_ns.load(Ordering::Relaxed)),
                    targets_idle: targets_idle(),
                };
                let mut ladder = climb.ladder.lock().unwrap_or_else(PoisonError::into_inner);
                compressor.set_level(ladder.level(look));
            }
        }
    }

    /// Does what may have to wait for the targets, and counts how long it took.
    pub(crate) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        let Self::Auto(climb) = self else { return wait() };
        let began = climb.clock.monotonic();
        let done = wait();
        let took = climb.clock.monotonic().saturating_sub(began);
        climb.waited_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        done
    }
}

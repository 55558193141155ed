//! The time limit: raises the work's cancel flag when it has passed.
//!
//! It is looked at with every progress event and by every check; a restore that is stuck in
//! storage is ended by the storage's own limits first. No thread is needed, and a test moves the
//! clock by hand.

use std::time::Duration;

use super::verdict::Ended;
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::progress::{Event, Progress};

/// Watches one drill.
pub(in crate::drill) struct Watch<'a> {
    clock: &'a dyn Clock,
    progress: &'a dyn Progress,
    person: &'a Cancel,
    work: Cancel,
    deadline: Duration,
}

impl<'a> Watch<'a> {
    /// Starts the limit now.
    pub(super) fn start(
        clock: &'a dyn Clock,
        progress: &'a dyn Progress,
        person: &'a Cancel,
        limit: Duration,
    ) -> Self {
        let deadline = clock.monotonic().saturating_add(limit);
        Self { clock, progress, person, work: person.child(), deadline }
    }

    /// The flag that the work looks at.
    pub(super) fn work(&self) -> &Cancel {
        &self.work
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock
    }

    /// How long the drill may still take.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_sub(self.clock.monotonic())
    }

    /// Whether the work must stop, now or since long.
    pub(super) fn must_stop(&self) -> bool {
        if self.clock.monotonic() > self.deadline {
            self.work.cancel();
        }
        self.work.is_cancelled()
    }

    /// How it stands: a person's wish counts before the limit.
    pub(super) fn ended(&self) -> Ended {
        if self.person.is_cancelled() {
            Ended::Cancelled
        } else if self.must_stop() {
            Ended::OverLimit
        } else {
            Ended::InTime
        }
    }
}

impl Progress for Watch<'_> {
    fn event(&self, event: Event) {
        self.must_stop();
        self.progress.event(event);
    }
}

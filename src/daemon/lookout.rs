//! The process that looks at all promises and tells people: now and then, sooner when something ended
//! or somebody waits to be told. It is no job: it has no occurrence, and a look that fails is followed
//! by the next.

use std::time::Duration;

use super::error::DaemonError;
use super::ledger::Records;
use super::starter::{Child, Starter};

/// Between looks when nothing waits.
const CALM: Duration = Duration::from_secs(5 * 60);
/// While an incident is unanswered or a message waits, and after a job ended.
const BUSY: Duration = Duration::from_secs(60);
/// A look that takes longer is ended: a resolver or a server hangs.
const TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Between asking it to end and killing it.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// When to look, and the look that goes on. Times are monotonic.
#[derive(Default)]
pub(super) struct Lookout {
    looked_at: Option<Duration>,
    going: Option<(Box<dyn Child>, Duration)>,
    is_stirred: bool,
}

impl Lookout {
    /// Something ended: a look is worth its while.
    pub(super) fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// Looks when it is time.
    ///
    /// # Errors
    /// Of the catalogue. That a process can't be started is tried again the next time.
    pub(super) fn turn(&mut self, starter: &mut dyn Starter, records: &Records) -> Result<(), DaemonError> {
        let now = records.clock.monotonic();
        if let Some((process, began)) = &mut self.going {
            let lasts = now.saturating_sub(*began);
            match process.poll() {
                Ok(Some(_)) => self.going = None,
                _ if lasts >= TIMEOUT.saturating_add(KILL_AFTER) => drop(process.kill()),
                _ if lasts >= TIMEOUT => drop(process.terminate()),
                _ => {}
            }
            return Ok(());
        }
        let since = self.looked_at.map(|at| now.saturating_sub(at));
        let is_time = match since {
            None => true,
            Some(since) if since < BUSY => false,
            Some(since) => since >= CALM || self.is_stirred || records.is_anybody_waiting()?,
        };
        if is_time {
            self.looked_at = Some(now);
            self.is_stirred = false;
            self.going = starter.watch().ok().map(|process| (process, now));
        }
        Ok(())
    }

    /// Asks the look that goes on to end, because the daemon does.
    pub(super) fn terminate(&mut self) {
        if let Some((process, _)) = &mut self.going {
            drop(process.terminate());
        }
    }

    /// Kills the look that goes on.
    pub(super) fn kill(&mut self) {
        if let Some((process, _)) = &mut self.going {
            drop(process.kill());
        }
    }
}

//! The queue and the children: who may start, who takes too long, what is asked of them.
//!
//! The child records its own run. This room claims the occurrence before the child starts; what
//! became of it is settled in [`super::ledger`].

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::error::DaemonError;
use super::lane::{Lane, Uses, urgency};
use super::ledger::{Again, Ending, Fate, Going, Left, Records, name};
use super::starter::{Child, Starter};
use crate::base::clock::Timestamp;
use crate::catalog::occurrences::{Claim, OccurrenceKey};
use crate::catalog::words::{Job, OccurrenceState};
use crate::policy::model::Concurrency;

/// A backup waits for restores so long: a mount or a very long restore must not end all protection.
const WAIT_FOR_RESTORE: Duration = Duration::from_secs(30 * 60);
/// Between asking a child to end and killing it, when it took too long.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// Whether a backup has waited so long that it doesn't wait for a restore any more.
fn is_overdue(key: &OccurrenceKey, now: Timestamp) -> bool {
    matches!(key.job, Job::Backup(_)) && now.since(key.scheduled_at) >= WAIT_FOR_RESTORE
}

fn count(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// A child of ours.
struct Running {
    going: Going,
    process: Box<dyn Child>,
    timeout: Duration,
    started: Duration,
    /// When it is killed, if it was asked to end.
    kill_at: Option<Duration>,
    /// It was asked to end for the sake of a restore.
    gives_way: bool,
}

/// An occurrence that waits for its turn.
struct Queued {
    going: Going,
    /// Its next attempt doesn't begin before.
    ready_at: Duration,
    /// The evidence log has why it is left out; the catalogue not yet.
    is_refused: bool,
}

impl Queued {
    fn new(going: Going, ready_at: Duration) -> Self {
        Self { going, ready_at, is_refused: false }
    }
}

/// Everything that is queued or going on. Times without a date are monotonic.
pub(super) struct Runner {
    starter: Box<dyn Starter>,
    concurrency: Concurrency,
    lanes: Vec<Lane>,
    queue: Vec<Queued>,
    running: Vec<Running>,
    /// Their processes are gone, or were left by a daemon that is; not settled yet.
    ended: Vec<Left>,
    /// A restore goes on: everything but overdue backups waits.
    is_restoring: bool,
}

impl Runner {
    /// Takes up what a daemon before this one left: what was queued stays queued, what was
    /// running is settled as soon as its process is gone.
    pub(super) fn resume(
        starter: Box<dyn Starter>,
        concurrency: Concurrency,
        lanes: &[Lane],
        records: &Records,
    ) -> Result<Self, DaemonError> {
        let mut runner = Self {
            starter,
            concurrency,
            lanes: lanes.to_vec(),
            queue: Vec::new(),
            running: Vec::new(),
            ended: Vec::new(),
            is_restoring: false,
        };
        let since = records.clock.now();
        for open in records.catalogue.open_occurrences()? {
            let going = Going { key: open.key, since };
            match open.state {
                OccurrenceState::Running => runner.ended.push(Left::new(going, Ending::NotItsFault)),
                _ if runner.lane_of(&going.key).is_some() => {
                    runner.queue.push(Queued::new(going, Duration::ZERO));
                }
                _ => {
                    let reason = "the configuration does not name it any more";
                    records.settle(&going.key, OccurrenceState::Missed, reason)?;
                }
            }
        }
        Ok(runner)
    }

    /// Goes by another configuration. What waits and is named there no more was missed.
    pub(super) fn reconfigure(
        &mut self,
        concurrency: Concurrency,
        lanes: &[Lane],
        records: &Records,
    ) -> Result<(), DaemonError> {
        self.concurrency = concurrency;
        self.lanes = lanes.to_vec();
        let queue = std::mem::take(&mut self.queue);
        let (kept, gone): (Vec<Queued>, Vec<Queued>) =
            queue.into_iter().partition(|queued| self.lane_of(&queued.going.key).is_some());
        self.queue = kept;
        for Queued { going, .. } in gone {
            let reason = "the configuration does not name it any more";
            records.settle(&going.key, OccurrenceState::Missed, reason)?;
        }
        Ok(())
    }

    /// Lets a restore have the disks and the lines: what is not a backup is asked to end, and is done again
    /// afterwards. Answers whether a restore began or ended.
    pub(super) fn make_way(&mut self, is_restoring: bool) -> bool {
        let has_changed = self.is_restoring != is_restoring;
        self.is_restoring = is_restoring;
        for running in self.running.iter_mut().filter(|_| is_restoring) {
            if !running.gives_way && !matches!(running.going.key.job, Job::Backup(_)) {
                running.gives_way = true;
                drop(running.process.terminate());
            }
        }
        has_changed
    }

    /// Adds an occurrence that was recorded as due.
    pub(super) fn enqueue(&mut self, key: OccurrenceKey, since: Timestamp) {
        self.queue.push(Queued::new(Going { key, since }, Duration::ZERO));
    }

    /// What is queued or going on, also where a person or a daemon before this one started it.
    pub(super) fn going(&self, records: &Records) -> Result<Vec<Going>, DaemonError> {
        let ended = self.ended.iter().map(|left| &left.going);
        let queued = self.queue.iter().map(|queued| &queued.going);
        let ours = queued.chain(self.running.iter().map(|r| &r.going)).chain(ended);
        let mut going: Vec<Going> = ours.cloned().collect();
        going.extend(records.running()?);
        Ok(going)
    }

    /// Whether nothing is queued or going on.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty() && self.ended.is_empty()
    }

    /// Starts what may start: one of a policy and lane at a time, never more than `concurrency` in all,
    /// at one medium of copies, or of one file system, and with two or more always one place kept for
    /// backups. Nothing starts in its blackout; of what waits, the most urgent goes first.
    pub(super) fn dispatch(&mut self, records: &Records) -> Result<(), DaemonError> {
        if self.queue.is_empty() || self.running.len() >= count(self.concurrency.all) {
            return Ok(());
        }
        let elsewhere = records.running()?;
        let now = records.clock.monotonic();
        let today = records.clock.now();
        let mut queue = std::mem::take(&mut self.queue);
        queue.sort_by_cached_key(|Queued { going, .. }| {
            let priority = self.lane_of(&going.key).map_or(0, |lane| lane.priority);
            (urgency(&going.key.job), Reverse(priority), going.key.scheduled_at)
        });
        self.queue = queue;
        let mut at = 0;
        while let Some(Queued { going: next, ready_at, is_refused }) = self.queue.get(at) {
            let ours = self.running.iter().map(|running| &running.going);
            let left = self.ended.iter().map(|left| &left.going);
            let mut others = ours.chain(left).chain(&elsewhere);
            if *ready_at > now
                || (self.is_restoring && !is_overdue(&next.key, today))
                || self.is_full_for(&next.key)
                || self.lane_of(&next.key).is_some_and(|lane| lane.is_blacked_out(today))
                || others.any(|other| other.blocks(&next.key))
            {
                at += 1;
                continue;
            }
            let key = next.key.clone();
            if let Some(reason) = records.refusal(&key)? {
                if !is_refused {
                    records.prove_refusal(&key, &reason)?;
                    self.queue[at].is_refused = true;
                }
                records.settle(&key, OccurrenceState::Skipped, &reason)?;
                self.queue.remove(at);
                continue;
            }
            let claim = records.catalogue.claim(&key, records.clock.now())?;
            self.queue.remove(at);
            if claim == Claim::Yours {
                self.start(records, key)?;
            }
        }
        Ok(())
    }

    fn is_full_for(&self, key: &OccurrenceKey) -> bool {
        let Concurrency { all, target, source } = self.concurrency;
        let is_backup = |job: &Job| matches!(job, Job::Backup(_));
        let others = self.running.iter().filter(|running| !is_backup(&running.going.key.job)).count();
        if self.running.len() >= count(all)
            || (!is_backup(&key.job) && others >= count(all).saturating_sub(1).max(1))
        {
            return true;
        }
        let Some(lane) = self.lane_of(key) else { return false };
        let busy = |of: fn(&Uses) -> &BTreeSet<String>, most: u32| {
            let lanes = || self.running.iter().filter_map(|running| self.lane_of(&running.going.key));
            let users = |medium: &String| lanes().filter(|lane| of(&lane.uses).contains(medium)).count();
            of(&lane.uses).iter().any(|medium| users(medium) >= count(most))
        };
        busy(|uses| &uses.targets, target) || busy(|uses| &uses.sources, source)
    }

    fn start(&mut self, records: &Records, key: OccurrenceKey) -> Result<(), DaemonError> {
        match self.starter.start(&key) {
            Ok(process) => {
                let timeout = self.lane_of(&key).map(|lane| lane.timeout).unwrap_or_default();
                let going = Going { key, since: records.clock.now() };
                let started = records.clock.monotonic();
                records.journal.started(&going.key);
                self.running.push(Running {
                    going,
                    process,
                    timeout,
                    started,
                    kill_at: None,
                    gives_way: false,
                });
                Ok(())
            }
            Err(source) => records.fail(&key, &DaemonError::NotStarted { what: name(&key), source }),
        }
    }

    fn lane_of(&self, key: &OccurrenceKey) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.holds(key))
    }

    /// Notices children that ended and ends those that take too long. Answers whether any ended.
    ///
    /// # Errors
    /// When a run's end could not be recorded; the process is ended all the same.
    pub(super) fn reap(&mut self, records: &Records) -> Result<bool, DaemonError> {
        let now = records.clock.monotonic();
        let ended_before = self.ended.len();
        let mut result = Ok(());
        let ended = &mut self.ended;
        self.running.retain_mut(|running| {
            // A process that can't be asked is asked again at the next turn.
            if let Ok(Some(exit)) = running.process.poll() {
                let ending = if running.gives_way { Ending::NotItsFault } else { Ending::Own(exit) };
                ended.push(Left::new(running.going.clone(), ending));
                return false;
            }
            match running.kill_at {
                Some(at) if now >= at => drop(running.process.kill()),
                None if now.saturating_sub(running.started) >= running.timeout => {
                    let recorded = records.time_out(&running.going.key, running.timeout);
                    result = std::mem::replace(&mut result, Ok(())).and(recorded);
                    running.kill_at = Some(now.saturating_add(KILL_AFTER));
                    drop(running.process.terminate());
                }
                _ => {}
            }
            true
        });
        result.map(|()| self.ended.len() > ended_before)
    }

    /// Settles what ended. What can't be settled now is tried again at the next call.
    pub(super) fn settle(&mut self, records: &Records) -> Result<(), DaemonError> {
        let mut at = 0;
        while let Some(Left { going, .. }) = self.ended.get(at) {
            let now = records.clock.now();
            let lane = self.lane_of(&going.key);
            let again =
                lane.map(|lane| Again { rule: lane.retry, next: lane.next_like(&going.key.job, now) });
            match records.close(&mut self.ended[at], again.unwrap_or_default())? {
                Fate::Alive => at += 1,
                Fate::Settled => drop(self.ended.remove(at)),
                Fate::Again => {
                    let Left { going, .. } = self.ended.remove(at);
                    self.enqueue(going.key, records.clock.now());
                }
                Fate::AgainAt(time) => {
                    let Left { going, .. } = self.ended.remove(at);
                    let ready_at = records.clock.monotonic().saturating_add(time.since(now));
                    self.queue.push(Queued::new(Going { since: now, ..going }, ready_at));
                }
            }
        }
        Ok(())
    }

    /// What starts processes.
    pub(super) fn starter(&mut self) -> &mut dyn Starter {
        self.starter.as_mut()
    }

    /// Asks every child to end, because the daemon does.
    pub(super) fn terminate_all(&mut self) {
        for running in &mut self.running {
            drop(running.process.terminate());
        }
    }

    /// Kills every child that is still there.
    pub(super) fn kill_all(&mut self) {
        for running in &mut self.running {
            drop(running.process.kill());
        }
    }

    /// Notices children that ended while the daemon stops. Answers whether any is still there.
    pub(super) fn await_end(&mut self) -> bool {
        let ended = &mut self.ended;
        self.running.retain_mut(|running| match running.process.poll() {
            Ok(Some(_)) => {
                ended.push(Left::new(running.going.clone(), Ending::NotItsFault));
                false
            }
            _ => true,
        });
        !self.running.is_empty()
    }

    /// The occurrences whose children run.
    pub(super) fn running(&self) -> Vec<String> {
        self.running.iter().map(|running| name(&running.going.key)).collect()
    }
}

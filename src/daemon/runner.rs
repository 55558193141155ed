//! The queue and the children: who may start, who takes too long, what is asked of them.
//!
//! The child records its own run. This room claims the occurrence before the child starts; what
//! became of it is settled in [`super::ledger`].

use std::time::Duration;

use super::error::DaemonError;
use super::lane::{Lane, urgency};
use super::ledger::{Ending, Fate, Going, Records, name};
use super::starter::{Child, Starter};
use crate::base::clock::Timestamp;
use crate::catalog::occurrences::{Claim, OccurrenceKey};
use crate::catalog::words::{Job, OccurrenceState};

/// Between asking a child to end and killing it, when it took too long.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// A child of ours.
struct Running {
    going: Going,
    process: Box<dyn Child>,
    timeout: Duration,
    started: Duration,
    /// When it is killed, if it was asked to end.
    kill_at: Option<Duration>,
}

/// An occurrence that waits for its turn.
struct Queued {
    going: Going,
    /// Its next attempt doesn't begin before.
    ready_at: Duration,
}

/// Everything that is queued or going on. Times without a date are monotonic.
pub(super) struct Runner {
    starter: Box<dyn Starter>,
    concurrency: usize,
    lanes: Vec<Lane>,
    queue: Vec<Queued>,
    running: Vec<Running>,
    /// Their processes are gone, or were left by a daemon that is; not settled yet.
    ended: Vec<(Going, Ending)>,
}

impl Runner {
    /// Takes up what a daemon before this one left: what was queued stays queued, what was
    /// running is settled as soon as its process is gone.
    pub(super) fn resume(
        starter: Box<dyn Starter>,
        concurrency: usize,
        lanes: &[Lane],
        records: &Records,
    ) -> Result<Self, DaemonError> {
        let mut runner = Self {
            starter,
            concurrency: concurrency.max(1),
            lanes: lanes.to_vec(),
            queue: Vec::new(),
            running: Vec::new(),
            ended: Vec::new(),
        };
        let since = records.clock.now();
        for open in records.catalogue.open_occurrences()? {
            let going = Going { key: open.key, since };
            match open.state {
                OccurrenceState::Running => runner.ended.push((going, Ending::WithDaemon)),
                _ if runner.lane_of(&going.key).is_some() => {
                    runner.queue.push(Queued { going, ready_at: Duration::ZERO });
                }
                _ => {
                    let reason = "the configuration does not name it any more";
                    records.settle(&going.key, OccurrenceState::Missed, reason)?;
                }
            }
        }
        Ok(runner)
    }

    /// Adds an occurrence that was recorded as due.
    pub(super) fn enqueue(&mut self, key: OccurrenceKey, since: Timestamp) {
        self.queue.push(Queued { going: Going { key, since }, ready_at: Duration::ZERO });
    }

    /// What is queued or going on, also where a person or a daemon before this one started it.
    pub(super) fn going(&self, records: &Records) -> Result<Vec<Going>, DaemonError> {
        let ended = self.ended.iter().map(|(going, _)| going);
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

    /// Starts what may start: one of a policy and lane at a time, never more than `concurrency`,
    /// and with two or more always one place kept for backups.
    pub(super) fn dispatch(&mut self, records: &Records) -> Result<(), DaemonError> {
        if self.queue.is_empty() || self.running.len() >= self.concurrency {
            return Ok(());
        }
        let elsewhere = records.running()?;
        let now = records.clock.monotonic();
        self.queue.sort_by_key(|Queued { going, .. }| (urgency(&going.key.job), going.key.scheduled_at));
        let mut at = 0;
        while let Some(Queued { going: next, ready_at }) = self.queue.get(at) {
            let ours = self.running.iter().map(|running| &running.going);
            let left = self.ended.iter().map(|(going, _)| going);
            let mut others = ours.chain(left).chain(&elsewhere);
            if *ready_at > now
                || self.is_full_for(&next.key.job)
                || others.any(|other| other.blocks(&next.key))
            {
                at += 1;
                continue;
            }
            let key = next.key.clone();
            let claim = records.catalogue.claim(&key, records.clock.now())?;
            self.queue.remove(at);
            if claim == Claim::Yours {
                self.start(records, key)?;
            }
        }
        Ok(())
    }

    fn is_full_for(&self, job: &Job) -> bool {
        let is_backup = |job: &Job| matches!(job, Job::Backup(_));
        let others = self.running.iter().filter(|running| !is_backup(&running.going.key.job)).count();
        self.running.len() >= self.concurrency
            || (!is_backup(job) && others >= self.concurrency.saturating_sub(1).max(1))
    }

    fn start(&mut self, records: &Records, key: OccurrenceKey) -> Result<(), DaemonError> {
        match self.starter.start(&key) {
            Ok(process) => {
                let timeout = self.lane_of(&key).map(|lane| lane.timeout).unwrap_or_default();
                let going = Going { key, since: records.clock.now() };
                let started = records.clock.monotonic();
                self.running.push(Running { going, process, timeout, started, kill_at: None });
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
                ended.push((running.going.clone(), Ending::Own(exit)));
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
        while let Some((going, ending)) = self.ended.get(at) {
            let now = records.clock.now();
            let next = self.lane_of(&going.key).and_then(|lane| lane.next_like(&going.key.job, now));
            match records.close(&going.key, *ending, next)? {
                Fate::Alive => at += 1,
                Fate::Settled => drop(self.ended.remove(at)),
                Fate::Again => {
                    let (going, _) = self.ended.remove(at);
                    self.enqueue(going.key, records.clock.now());
                }
                Fate::AgainAt(time) => {
                    let (going, _) = self.ended.remove(at);
                    let ready_at = records.clock.monotonic().saturating_add(time.since(now));
                    self.queue.push(Queued { going: Going { since: now, ..going }, ready_at });
                }
            }
        }
        Ok(())
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
                ended.push((running.going.clone(), Ending::WithDaemon));
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

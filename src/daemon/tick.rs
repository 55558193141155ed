//! One look at the clock: what passed is recorded, what is due is queued.
//!
//! The queue is the catalogue's `due` occurrences, so that it survives any end of this process.
//! An occurrence is recorded before anything acts on it, older ones of its job before newer ones:
//! up to the newest record of a job, every occurrence has one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::error::DaemonError;
use super::lane::Lane;
use super::ledger::{Going, Records};
use crate::base::clock::Timestamp;
use crate::catalog::occurrences::{Occurrence, OccurrenceKey, Period};
use crate::catalog::words::OccurrenceState;
use crate::policy::due::{self, Decision, Facts, LastRun, Outcome};

/// A lane and up to when all its occurrences have a record.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) lane: Lane,
    since: Timestamp,
    /// The first occurrence after that.
    next: Option<Timestamp>,
    /// Since when its schedules are as they are.
    changed_at: Timestamp,
    /// What the evidence log knows is not run, and the catalogue perhaps not yet.
    proven: Vec<(usize, Timestamp, Outcome)>,
}

impl Watch {
    /// Takes the lane up where the records end. A job without a record counts from when its
    /// schedule was last changed: a new schedule owes nothing for the time before it.
    pub(super) fn resume(lane: Lane, records: &Records) -> Result<Self, DaemonError> {
        let (name, sha256) = lane.seen();
        let changed_at = records.catalogue.record_policy(&name, &sha256, records.clock.now())?.changed_at;
        let mut since = None;
        for (job, _) in &lane.jobs {
            let last = records.catalogue.last_occurrence(&lane.policy, job)?;
            let own = last.map_or(changed_at, |last| last.key.scheduled_at);
            since = Some(since.map_or(own, |since: Timestamp| since.min(own)));
        }
        let since = since.unwrap_or(changed_at);
        Ok(Self { next: lane.next(since), since, changed_at, lane, proven: Vec::new() })
    }

    /// Whether anything passed since the last look. Reads nothing, and computes nothing.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Decides and records. Answers what is to run.
    pub(super) fn look(
        &mut self,
        records: &Records,
        now: Timestamp,
        going: &[Going],
    ) -> Result<Option<OccurrenceKey>, DaemonError> {
        loop {
            let recorded = self.recorded(records, now)?;
            let facts = Facts {
                now,
                since: self.since,
                recorded: &recorded,
                last_run: self.last_run(records, going)?,
                catch_up: self.lane.catch_up,
                changed_at: self.changed_at,
                blackout: self.lane.blackout.as_ref(),
            };
            let decision = due::decide(&self.lane.lines(), &facts);
            self.record_not_run(records, &decision, now)?;
            if decision.more {
                continue;
            }
            let queued = match &decision.run_now {
                Some((kind, occurrence)) => self.queue(records, *kind, occurrence.at, now)?,
                None => None,
            };
            let settled_until = match &decision.waiting {
                Some((_, waiting)) => waiting.at.minus(Duration::from_millis(1)),
                None => now,
            };
            self.since = self.since.max(settled_until);
            self.next = self.lane.next(self.since);
            return Ok(queued);
        }
    }

    fn key(&self, kind: usize, at: Timestamp) -> OccurrenceKey {
        OccurrenceKey {
            policy: self.lane.policy.clone(),
            job: self.lane.jobs[kind].0.clone(),
            scheduled_at: at,
        }
    }

    fn recorded(
        &self,
        records: &Records,
        now: Timestamp,
    ) -> Result<BTreeSet<(usize, Timestamp)>, DaemonError> {
        let after = Duration::from_millis(1);
        let period = Period { from: self.since.plus(after), to: now.plus(after) };
        let known = records.catalogue.occurrences_of(&self.lane.policy, period)?;
        let own = known.into_iter().filter(|occurrence| self.lane.holds(&occurrence.key));
        Ok(own.map(|o| (self.lane.kind_of(&o.key.job), o.key.scheduled_at)).collect())
    }

    /// What stands in the way now, the strongest of it, or else what ended last.
    fn last_run(&self, records: &Records, going: &[Going]) -> Result<Option<LastRun<usize>>, DaemonError> {
        let occupying = going.iter().filter(|other| self.lane.is_occupied_by(&other.key));
        let going_on = occupying.map(|other| LastRun {
            kind: self.lane.kind_of(&other.key.job),
            started: other.since,
            ended: None,
        });
        if let Some(run) = going_on.max_by_key(|run| run.kind) {
            return Ok(Some(run));
        }
        let last = records.catalogue.last_run(&self.lane.policy, &self.lane.jobs[0].0)?;
        Ok(last.map(|run| LastRun {
            kind: self.lane.kind_of(&run.job),
            started: run.started_at,
            ended: run.ended_at.or(Some(run.started_at)),
        }))
    }

    fn queue(
        &self,
        records: &Records,
        kind: usize,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<OccurrenceKey>, DaemonError> {
        let key = self.key(kind, at);
        let (state, reason) = (OccurrenceState::Due, String::new());
        let occurrence = Occurrence { key: key.clone(), state, reason, changed_at: now };
        Ok(records.catalogue.record_occurrence(&occurrence)?.then_some(key))
    }

    /// The evidence log comes first: what is cut off between the two is told once more instead of not at
    /// all.
    fn record_not_run(
        &mut self,
        records: &Records,
        decision: &Decision<usize>,
        now: Timestamp,
    ) -> Result<(), DaemonError> {
        let not_run: Vec<_> =
            decision.not_run.iter().map(|(kind, o, outcome)| (*kind, o.at, *outcome)).collect();
        if self.proven != not_run {
            self.prove_not_run(records, &not_run)?;
            self.proven.clone_from(&not_run);
        }
        for (kind, at, outcome) in not_run {
            let (state, reason) = match outcome {
                Outcome::Missed => (OccurrenceState::Missed, "nothing could run it at its time"),
                Outcome::SkippedOverlap => (OccurrenceState::Skipped, "overlap: another run was going on"),
                Outcome::SkippedCovered => {
                    (OccurrenceState::Skipped, "covered: a stronger run does its work")
                }
                Outcome::SkippedBlackout => {
                    (OccurrenceState::Skipped, "blackout: its end was too far away to wait for")
                }
                Outcome::MissedBeforeChange => {
                    (OccurrenceState::Missed, "its time passed before the schedule was as it is")
                }
            };
            let key = self.key(kind, at);
            let reason = reason.to_owned();
            records.catalogue.record_occurrence(&Occurrence { key, state, reason, changed_at: now })?;
        }
        Ok(())
    }

    /// One line for each job and outcome, however long the machine was off.
    fn prove_not_run(
        &self,
        records: &Records,
        not_run: &[(usize, Timestamp, Outcome)],
    ) -> Result<(), DaemonError> {
        for (kind, (job, _)) in self.lane.jobs.iter().enumerate() {
            for outcome in Outcome::ALL {
                let mut times =
                    not_run.iter().filter(|(k, _, o)| *k == kind && *o == outcome).map(|(_, at, _)| *at);
                let Some(first) = times.next() else { continue };
                let (count, last) = times.fold((1u64, first), |(count, _), at| (count + 1, at));
                let data = json!({
                    "policy": self.lane.policy, "job": job, "outcome": outcome,
                    "count": count, "first": first, "last": last,
                });
                let why = data["outcome"].as_str().unwrap_or_default().replace(['-', '_'], " ");
                records.evidence.append("occurrences.not_run", data)?;
                let key =
                    OccurrenceKey { policy: self.lane.policy.clone(), job: job.clone(), scheduled_at: last };
                records.journal.left_out(
                    &key,
                    &if count == 1 { why } else { format!("{why} ({count} times, this the last)") },
                );
            }
        }
        Ok(())
    }
}

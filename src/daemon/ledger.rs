//! What became of occurrences and runs, written to the catalogue and the evidence log.
//!
//! A child records its own run. Where it ended without a word, this room says so in its place.
//! The first word about a run stands: the catalogue refuses a second.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::error::DaemonError;
use super::journal::Journal;
use super::starter::Exit;
use crate::app::change;
use crate::app::outbox::tell;
use crate::app::promise;
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::Class;
use crate::catalog::Catalog;
use crate::catalog::CatalogError;
use crate::catalog::findings::Event;
use crate::catalog::occurrences::{Occurrence, OccurrenceKey};
use crate::catalog::outbox::OutboxLine;
use crate::catalog::process::Holder;
use crate::catalog::runs::{Failure, NewRun, Run, RunEnd};
use crate::catalog::words::{Cause, Job, OccurrenceState, RunState};
use crate::evidence::EvidenceLog;
use crate::policy::model::Configuration;
use crate::policy::retry::{self, Retry};

/// Problems of a configuration that the evidence log names.
const PROBLEMS_NAMED_MAX: usize = 20;

/// Where facts are kept, and the clock that dates them.
pub(super) struct Records {
    pub(super) catalogue: Catalog,
    pub(super) evidence: EvidenceLog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) journal: Journal,
}

/// An occurrence that is queued or going on, or a run that a person started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Going {
    pub(super) key: OccurrenceKey,
    pub(super) since: Timestamp,
}

impl Going {
    /// Whether an occurrence has to wait for this one.
    pub(super) fn blocks(&self, key: &OccurrenceKey) -> bool {
        self.key.policy == key.policy && self.key.job.lane() == key.job.lane()
    }
}

/// Why a process is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// For its own reasons.
    Own(Exit),
    /// Its daemon stopped or was lost, or a restore came first: what it did not finish is done again.
    NotItsFault,
}

/// An occurrence whose process is gone, not settled yet.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) going: Going,
    ending: Ending,
    /// The evidence log has it. The catalogue comes second: what is cut off between the two is then told
    /// once more instead of not at all.
    is_proven: bool,
}

impl Left {
    pub(super) fn new(going: Going, ending: Ending) -> Self {
        Self { going, ending, is_proven: false }
    }
}

/// When what did not succeed is done again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// What was configured.
    pub(super) rule: Retry,
    /// When the next occurrence is due that does the same work.
    pub(super) next: Option<Timestamp>,
}

/// What becomes of an occurrence whose process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is not gone yet.
    Alive,
    /// It has its final record.
    Settled,
    /// It is due again.
    Again,
    /// It is due again at this time.
    AgainAt(Timestamp),
}

/// An occurrence, for people.
pub(super) fn name(key: &OccurrenceKey) -> String {
    format!("{} of {} at {}", key.job, key.policy, key.scheduled_at)
}

impl Records {
    /// Moves an occurrence on.
    pub(super) fn settle(
        &self,
        key: &OccurrenceKey,
        state: OccurrenceState,
        reason: &str,
    ) -> Result<(), DaemonError> {
        let (key, reason) = (key.clone(), reason.to_owned());
        let changed_at = self.clock.now();
        Ok(self.catalogue.settle_occurrence(&Occurrence { key, state, reason, changed_at })?)
    }

    /// Whether an incident is unanswered or a message waits.
    pub(super) fn is_anybody_waiting(&self) -> Result<bool, DaemonError> {
        let incidents = self.catalogue.open_incidents()?;
        Ok(incidents.iter().any(|one| one.acknowledged_at.is_none())
            || !self.catalogue.due_messages(self.clock.now(), 1)?.is_empty())
    }

    /// Remembers that the clock was set back.
    pub(super) fn stepped_back(&self, from: Timestamp, to: Timestamp) -> Result<(), DaemonError> {
        self.catalogue.record_event(&Event {
            at: to,
            kind: "clock.stepped_back".to_owned(),
            policy: None,
            message: format!("the clock was set back from {from} to {to}"),
        })?;
        Ok(())
    }

    /// Remembers the configuration that is in force; a new one gets a line with all its files.
    pub(super) fn configured(&self, configuration: &Configuration, by: &str) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let is_new = promise::record_configuration(&self.catalogue, configuration, now)?;
        change::follow(&self.catalogue, configuration, now)?;
        self.tell()?;
        if is_new {
            self.journal.tell(format!(
                "{} policies and {} drills are in force (by {by})",
                configuration.policies.len(),
                configuration.drills.len()
            ));
            let files: Vec<_> = configuration.files();
            let sha256 = promise::configuration_sha256(configuration);
            self.evidence.append("config.loaded", json!({ "sha256": sha256, "by": by, "files": files }))?;
        }
        Ok(())
    }

    /// Records that a configuration was not taken over.
    pub(super) fn refused(&self, problems: &[String]) -> Result<(), DaemonError> {
        let named: Vec<_> = problems.iter().take(PROBLEMS_NAMED_MAX).collect();
        let count = problems.len();
        self.evidence.append("config.refused", json!({ "problems": count, "named": named }))?;
        self.catalogue.record_event(&Event {
            at: self.clock.now(),
            kind: "config.refused".to_owned(),
            policy: None,
            message: format!("{count} problems; the configuration stays as it was"),
        })?;
        Ok(())
    }

    /// Why an occurrence that is due is left out all the same.
    pub(super) fn refusal(&self, key: &OccurrenceKey) -> Result<Option<String>, DaemonError> {
        if key.job != Job::Prune {
            return Ok(None);
        }
        let Some(hold) = self.catalogue.standing_holds(Some(&key.policy))?.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(format!("{}: hold {} stands", hold.kind, hold.id)))
    }

    /// Puts into the evidence log that it is.
    pub(super) fn prove_refusal(&self, key: &OccurrenceKey, reason: &str) -> Result<(), DaemonError> {
        let data = json!({
            "policy": key.policy, "job": key.job, "outcome": reason, "count": 1,
            "first": key.scheduled_at, "last": key.scheduled_at,
        });
        self.evidence.append("occurrences.not_run", data)?;
        self.journal.left_out(key, reason);
        Ok(())
    }

    /// The runs that go on, whoever started them. Those of dead processes are marked first.
    pub(super) fn running(&self) -> Result<Vec<Going>, DaemonError> {
        self.catalogue.mark_interrupted(self.clock.now())?;
        let going = |run: Run| Going {
            key: OccurrenceKey {
                scheduled_at: run.scheduled_at.unwrap_or(run.started_at),
                policy: run.policy,
                job: run.job,
            },
            since: run.started_at,
        };
        Ok(self.catalogue.running_runs()?.into_iter().map(going).collect())
    }

    /// Settles an occurrence whose process is gone.
    pub(super) fn close(&self, left: &mut Left, again: Again) -> Result<Fate, DaemonError> {
        let (key, ending) = (&left.going.key, left.ending);
        self.catalogue.mark_interrupted(self.clock.now())?;
        self.tell()?;
        let runs = self.catalogue.runs_of(key)?;
        let Some(run) = runs.last() else {
            return self.close_without_run(key, ending);
        };
        if run.state != RunState::Running {
            self.journal.ended(key, run);
        }
        match (run.state, ending) {
            (RunState::Running, _) => Ok(Fate::Alive),
            (RunState::Interrupted, _) => self.close_interrupted(left, &runs, again.rule),
            (RunState::Waiting, _) => self.close_waiting(key, run, again),
            (RunState::Cancelled, Ending::NotItsFault) => {
                self.settle(key, OccurrenceState::Due, "ended before it was done")?;
                Ok(Fate::Again)
            }
            (state, _) => {
                self.settle(key, OccurrenceState::Done, state.as_str())?;
                Ok(Fate::Settled)
            }
        }
    }

    fn close_without_run(&self, key: &OccurrenceKey, ending: Ending) -> Result<Fate, DaemonError> {
        match ending {
            Ending::NotItsFault => {
                self.settle(key, OccurrenceState::Due, "ended before it began")?;
                return Ok(Fate::Again);
            }
            Ending::Own(exit) if is_result(exit) => {
                self.settle(key, OccurrenceState::Done, &exit.to_string())?
            }
            Ending::Own(exit) => {
                self.fail(key, &DaemonError::NoRun { what: name(key), how: exit.to_string() })?;
            }
        }
        Ok(Fate::Settled)
    }

    /// An attempt failed for a reason that passes: another one, or the run has failed.
    fn close_waiting(&self, key: &OccurrenceKey, run: &Run, again: Again) -> Result<Fate, DaemonError> {
        let failed = retry::Failed {
            name: &name(key),
            attempts: run.attempt,
            at: run.ended_at.unwrap_or(run.started_at),
            next_occurrence: again.next,
            rule: again.rule,
        };
        if let Some(at) = retry::next_attempt(&failed) {
            self.settle(key, OccurrenceState::Due, &format!("attempt {} failed", run.attempt))?;
            return Ok(Fate::AgainAt(at));
        }
        self.end(run, RunState::Failed, run.failure.clone())?;
        self.settle(key, OccurrenceState::Done, RunState::Failed.as_str())?;
        Ok(Fate::Settled)
    }

    fn close_interrupted(&self, left: &mut Left, runs: &[Run], rule: Retry) -> Result<Fate, DaemonError> {
        let key = &left.going.key;
        let Some(run) = runs.last() else { return Ok(Fate::Settled) };
        // Over all its runs: the bound must hold also when an attempt was begun as a new run.
        let interrupted = runs.iter().filter(|run| run.state == RunState::Interrupted);
        let attempts: u64 = interrupted.map(|run| run.attempt).sum();
        let (state, fate) = if rule.leaves(attempts) {
            (OccurrenceState::Due, Fate::Again)
        } else {
            (OccurrenceState::Done, Fate::Settled)
        };
        if !left.is_proven {
            self.evidence.append(
                "run.interrupted",
                json!({
                    "policy": run.policy, "run": run.id, "job": run.job, "scheduled_at": key.scheduled_at,
                    "attempt": attempts, "again": fate == Fate::Again,
                }),
            )?;
            left.is_proven = true;
        }
        self.settle(key, state, &format!("attempt {attempts} was interrupted"))?;
        Ok(fate)
    }

    /// Records a run that failed before its process could record one itself.
    pub(super) fn fail(&self, key: &OccurrenceKey, error: &DaemonError) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let new = NewRun {
            policy: key.policy.clone(),
            job: key.job.clone(),
            scheduled_at: Some(key.scheduled_at),
            cause: Cause::Schedule,
            holder: Holder::this_process(),
        };
        match self.catalogue.start_run(&new, now) {
            Ok(id) => {
                let run = self.catalogue.run(&id)?;
                self.end(&run, RunState::Failed, Some(error.as_failure()))?;
                self.settle(key, OccurrenceState::Done, "failed")
            }
            // A person was quicker, and the child found the lane taken.
            Err(CatalogError::Overlap { .. }) => {
                self.settle(key, OccurrenceState::Skipped, "overlap: another run was going on")
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the run of a child that takes too long, before the child can call it cancelled.
    pub(super) fn time_out(&self, key: &OccurrenceKey, limit: Duration) -> Result<(), DaemonError> {
        match self.catalogue.runs_of(key)?.last() {
            Some(run) if run.state == RunState::Running => {
                let error = DaemonError::TimedOut { what: name(key), limit };
                self.end(run, RunState::TimedOut, Some(error.as_failure()))
            }
            _ => Ok(()),
        }
    }

    fn end(&self, run: &Run, state: RunState, failure: Option<Failure>) -> Result<(), DaemonError> {
        let code = failure.as_ref().map(|failure| failure.code.clone());
        let line = OutboxLine::new(
            "run.ended",
            json!({
                "policy": run.policy, "run": run.id, "job": run.job, "state": state, "error_code": code,
            }),
        );
        let end = RunEnd {
            state,
            at: self.clock.now(),
            job_done: None,
            snapshot: None,
            stats: json!({}),
            failure,
            lines: vec![line],
        };
        match self.catalogue.end_run(&run.id, &end) {
            Ok(()) => {}
            // The child was quicker: its own word stands.
            Err(error @ CatalogError::State { .. }) => {
                return if self.catalogue.run(&run.id)?.state.is_final() {
                    Ok(())
                } else {
                    Err(error.into())
                };
            }
            Err(error) => return Err(error.into()),
        }
        self.tell()
    }

    /// Writes into the evidence log what a process, this one or another, could not any more.
    pub(super) fn tell(&self) -> Result<(), DaemonError> {
        Ok(tell(&self.catalogue, &self.evidence)??)
    }
}

/// Whether an exit code says that the job took place: done, partial, or a drill that did not pass.
fn is_result(exit: Exit) -> bool {
    let codes = [0, Class::Partial.exit_code(), Class::DrillNotPassed.exit_code()];
    matches!(exit, Exit::Code(code) if codes.iter().any(|known| i32::from(*known) == code))
}

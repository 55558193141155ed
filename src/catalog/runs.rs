//! Runs and their attempts. A run is held by a process; when that process is gone, the run is
//! `interrupted` and may be tried again. Final states never change.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CatalogError;
use super::occurrences::{OccurrenceKey, Period};
use super::open::{Catalog, new_id};
use super::outbox::{self, OutboxLine};
use super::process::Holder;
use super::sql::{Row, Session, args};
use super::words::{Cause, Job, RunState};
use crate::base::clock::Timestamp;

/// The columns that [`read`] reads, before a `WHERE`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, policy, job, job_done, scheduled_at, cause, state, started_at, ended_at, attempt, ",
            "stats, error_code, error_message, snapshot, boot_id, pid, pid_started, heartbeat_at FROM runs ",
            $rest
        )
    };
}
/// `20261124T015302Z-9f3c2a71`: sorts by start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(String);

impl RunId {
    /// An id that was printed earlier.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A run that is about to start.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// For which policy.
    pub policy: String,
    /// What was asked.
    pub job: Job,
    /// The occurrence's time, when the schedule asked.
    pub scheduled_at: Option<Timestamp>,
    /// What made it start.
    pub cause: Cause,
    /// The process that does it.
    pub holder: Holder,
}

/// An error as it is kept: the stable code and the whole chain of causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `E` and four digits.
    pub code: String,
    /// What failed and why, on one line.
    pub message: String,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// A final state.
    pub state: RunState,
    /// When.
    pub at: Timestamp,
    /// What was done, where it differs from what was asked.
    pub job_done: Option<Job>,
    /// The snapshot it made (hexadecimal object hash).
    pub snapshot: Option<String>,
    /// Counts: an object.
    pub stats: Value,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// What the evidence log is to have of it.
    pub lines: Vec<OutboxLine>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// For which policy.
    pub policy: String,
    /// What was asked.
    pub job: Job,
    /// What was done, where it differs.
    pub job_done: Option<Job>,
    /// The occurrence's time, when the schedule asked.
    pub scheduled_at: Option<Timestamp>,
    /// What made it start.
    pub cause: Cause,
    /// Where it stands.
    pub state: RunState,
    /// When its first attempt began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The newest attempt, from 1.
    pub attempt: u64,
    /// Counts: an object.
    pub stats: Value,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// The snapshot it made.
    pub snapshot: Option<String>,
    /// The process that holds it.
    pub holder: Holder,
    /// When that process last said that it lives.
    pub heartbeat_at: Timestamp,
}

/// One attempt of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u64,
    /// How it ended.
    pub state: RunState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
}

impl Catalog {
    /// Starts a run and its first attempt.
    ///
    /// # Errors
    /// Refused (overlap), when one of the same policy and lane is running. Call
    /// [`Catalog::mark_interrupted`] first: a dead process's run counts as running until then.
    pub fn start_run(&self, new: &NewRun, now: Timestamp) -> Result<RunId, CatalogError> {
        let id = RunId(new_id(now));
        let holder = &new.holder;
        self.database.transaction(|session| {
            no_overlap(session, &new.policy, new.job.lane())?;
            session.execute(
                "start a run",
                "INSERT INTO runs (id, policy, lane, job, scheduled_at, cause, state, started_at, attempt,
                 stats, boot_id, pid, pid_started, heartbeat_at)
                 VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, 1, '{}', $8, $9, $10, $7)",
                args![
                    &id.0,
                    &new.policy,
                    new.job.lane(),
                    &new.job,
                    new.scheduled_at,
                    &new.cause,
                    now,
                    &holder.boot_id,
                    u64::from(holder.pid),
                    holder.started_ticks,
                ],
            )?;
            add_attempt(session, &id, 1, now)
        })?;
        Ok(id)
    }

    /// Begins the next attempt: of an interrupted or waiting run, or of a running one whose attempt
    /// failed.
    /// The attempt before is closed with `failure`, or as interrupted without one.
    ///
    /// # Errors
    /// Refused, when the run is final or another run of its lane is running; not found.
    pub fn next_attempt(
        &self,
        id: &RunId,
        failure: Option<&Failure>,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        self.database.transaction(|session| {
            let run = get(session, id)?;
            match run.state {
                RunState::Running => {}
                RunState::Interrupted | RunState::Waiting => {
                    no_overlap(session, &run.policy, run.job.lane())?
                }
                _ => return Err(final_state(&run, "running")),
            }
            let state = if failure.is_some() { RunState::Failed } else { RunState::Interrupted };
            close_attempt(session, id, state, failure, now)?;
            session.execute(
                "begin an attempt",
                "UPDATE runs SET state = 'running', ended_at = NULL, error_code = NULL, error_message = NULL,
                 attempt = $2, boot_id = $3, pid = $4,
                 pid_started = $5, heartbeat_at = $6 WHERE id = $1",
                args![
                    &id.0,
                    run.attempt + 1,
                    &holder.boot_id,
                    u64::from(holder.pid),
                    holder.started_ticks,
                    now
                ],
            )?;
            add_attempt(session, id, run.attempt + 1, now)?;
            Ok(run.attempt + 1)
        })
    }

    /// Says that the run's process lives; every 10 s.
    ///
    /// # Errors
    /// Refused, when the run isn't running any more.
    pub fn heartbeat(&self, id: &RunId, now: Timestamp) -> Result<(), CatalogError> {
        self.database.transaction(|session| {
            let touched = session.execute(
                "record a heartbeat",
                "UPDATE runs SET heartbeat_at = $2 WHERE id = $1 AND state = 'running'",
                args![&id.0, now],
            )?;
            if touched == 1 { Ok(()) } else { Err(final_state(&get(session, id)?, "alive")) }
        })
    }

    /// Ends the attempt of a running run, which waits for its next one from here on; `lines` are what the
    /// evidence log is to have of it. Answers how many attempts there were.
    ///
    /// # Errors
    /// Refused, when it is not running; not found.
    pub fn await_next_attempt(
        &self,
        id: &RunId,
        failure: &Failure,
        lines: &[OutboxLine],
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        self.database.transaction(|session| {
            let run = get(session, id)?;
            if run.state != RunState::Running {
                return Err(final_state(&run, "waiting"));
            }
            close_attempt(session, id, RunState::Failed, Some(failure), now)?;
            session.execute(
                "let a run wait",
                "UPDATE runs SET state = 'waiting', ended_at = $2, error_code = $3, error_message = $4
                 WHERE id = $1",
                args![&id.0, now, &Some(failure.code.clone()), &Some(failure.message.clone())],
            )?;
            outbox::put(session, lines)?;
            Ok(run.attempt)
        })
    }

    /// Ends a run and its attempt. A waiting run has no attempt any more.
    ///
    /// # Errors
    /// Refused, when it is neither running nor waiting or the state isn't final; not found.
    pub fn end_run(&self, id: &RunId, end: &RunEnd) -> Result<(), CatalogError> {
        self.database.transaction(|session| {
            let run = get(session, id)?;
            if !matches!(run.state, RunState::Running | RunState::Waiting) || !end.state.is_final() {
                return Err(final_state(&run, end.state.as_str()));
            }
            close_attempt(session, id, end.state, end.failure.as_ref(), end.at)?;
            let (code, message) = split(end.failure.as_ref());
            session.execute(
                "end a run",
                "UPDATE runs SET state = $2, ended_at = $3, job_done = $4, snapshot = $5, stats = $6,
                 error_code = $7, error_message = $8 WHERE id = $1",
                args![
                    &id.0,
                    &end.state,
                    end.at,
                    &end.job_done,
                    &end.snapshot,
                    &end.stats.to_string(),
                    &code,
                    &message
                ],
            )?;
            outbox::put(session, &end.lines)
        })
    }

    /// Marks the running runs whose process is gone. Answers them, as they stand now.
    ///
    /// # Errors
    /// Of the database.
    pub fn mark_interrupted(&self, now: Timestamp) -> Result<Vec<Run>, CatalogError> {
        let dead = |run: &Run| !run.holder.is_alive();
        let suspects: Vec<_> = self.running_runs()?.into_iter().filter(dead).collect();
        let mut marked = Vec::new();
        for suspect in suspects {
            let done = self.database.transaction(|session| {
                // Somebody may have taken the run over since it was read.
                let run = get(session, &suspect.id)?;
                if run.state != RunState::Running || run.attempt != suspect.attempt {
                    return Ok(None);
                }
                close_attempt(session, &run.id, RunState::Interrupted, None, now)?;
                session.execute(
                    "mark a run as interrupted",
                    "UPDATE runs SET state = 'interrupted', ended_at = $2 WHERE id = $1",
                    args![&run.id.0, now],
                )?;
                get(session, &run.id).map(Some)
            })?;
            marked.extend(done);
        }
        Ok(marked)
    }

    /// A run.
    ///
    /// # Errors
    /// Not found.
    pub fn run(&self, id: &RunId) -> Result<Run, CatalogError> {
        self.database.with(|session| get(session, id))
    }

    /// What is running, as far as the records say.
    ///
    /// # Errors
    /// Of the database.
    pub fn running_runs(&self) -> Result<Vec<Run>, CatalogError> {
        self.database.with(|session| {
            session.rows("list running runs", select!("WHERE state = 'running' ORDER BY id"), args![], read)
        })
    }

    /// The runs that began in a period, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn runs_in(&self, period: Period) -> Result<Vec<Run>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list runs",
                select!("WHERE started_at >= $1 AND started_at < $2 ORDER BY started_at, id"),
                args![period.from, period.to],
                read,
            )
        })
    }

    /// The newest run of a policy and lane (`backup`, `verify`, `drill`) that has ended.
    ///
    /// # Errors
    /// Of the database.
    pub fn last_run(&self, policy: &str, job: &Job) -> Result<Option<Run>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read the last run",
                select!(
                    "WHERE policy = $1 AND lane = $2 AND state <> 'running' ORDER BY started_at DESC, id DESC LIMIT 1"
                ),
                args![policy, job.lane()],
                read,
            )
        })
    }

    /// The newest ended runs of a policy and lane, newest first, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn recent_runs(&self, policy: &str, job: &Job, count: u32) -> Result<Vec<Run>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list recent runs",
                select!(
                    "WHERE policy = $1 AND lane = $2 AND ended_at IS NOT NULL ORDER BY started_at DESC, id DESC LIMIT $3"
                ),
                args![policy, job.lane(), i64::from(count)],
                read,
            )
        })
    }

    /// Of each day (UTC) since a moment, and each kind: how long the longest backup took that went through
    /// at its first attempt; with the end of the day's last.
    ///
    /// # Errors
    /// Of the database.
    pub fn longest_backups(
        &self,
        policy: &str,
        from: Timestamp,
    ) -> Result<Vec<(Job, Timestamp, Duration)>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list the longest backups",
                "SELECT COALESCE(job_done, job) AS done, MAX(ended_at), MAX(ended_at - started_at) FROM runs
                 WHERE policy = $1 AND lane = 'backup' AND started_at >= $2 AND attempt = 1
                   AND ended_at >= started_at AND state IN ('succeeded', 'partial')
                 GROUP BY done, ended_at / 86400000 ORDER BY 2",
                args![policy, from],
                |row| Ok((row.word(0)?, row.time(1)?, Duration::from_millis(row.count(2)?))),
            )
        })
    }

    /// How many runs of each policy and job came to each end.
    ///
    /// # Errors
    /// Of the database.
    pub fn count_runs(&self) -> Result<Vec<(String, Job, RunState, u64)>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "count runs",
                "SELECT policy, job, state, COUNT(*) FROM runs WHERE ended_at IS NOT NULL
                 GROUP BY policy, job, state ORDER BY policy, job, state",
                args![],
                |row| Ok((row.text(0)?, row.word(1)?, row.word(2)?, row.count(3)?)),
            )
        })
    }

    /// The newest run of an occurrence, wherever it stands.
    ///
    /// # Errors
    /// Of the database.
    pub fn run_of(&self, key: &OccurrenceKey) -> Result<Option<Run>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read the run of an occurrence",
                select!(
                    "WHERE policy = $1 AND job = $2 AND scheduled_at = $3 ORDER BY started_at DESC, id DESC LIMIT 1"
                ),
                args![&key.policy, &key.job, key.scheduled_at],
                read,
            )
        })
    }

    /// All runs of an occurrence, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn runs_of(&self, key: &OccurrenceKey) -> Result<Vec<Run>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list the runs of an occurrence",
                select!("WHERE policy = $1 AND job = $2 AND scheduled_at = $3 ORDER BY started_at, id"),
                args![&key.policy, &key.job, key.scheduled_at],
                read,
            )
        })
    }

    /// The attempts of a run, first to last.
    ///
    /// # Errors
    /// Of the database.
    pub fn attempts(&self, id: &RunId) -> Result<Vec<Attempt>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list attempts",
                "SELECT number, state, started_at, ended_at, error_code, error_message FROM attempts
                 WHERE run = $1 ORDER BY number",
                args![&id.0],
                |row| {
                    Ok(Attempt {
                        number: row.count(0)?,
                        state: row.word(1)?,
                        started_at: row.time(2)?,
                        ended_at: row.opt_time(3)?,
                        failure: failure(row, 4)?,
                    })
                },
            )
        })
    }
}

fn read(row: &Row<'_>) -> Result<Run, CatalogError> {
    Ok(Run {
        id: RunId(row.text(0)?),
        policy: row.text(1)?,
        job: row.word(2)?,
        job_done: row.opt_word(3)?,
        scheduled_at: row.opt_time(4)?,
        cause: row.word(5)?,
        state: row.word(6)?,
        started_at: row.time(7)?,
        ended_at: row.opt_time(8)?,
        attempt: row.count(9)?,
        stats: row.json(10)?,
        failure: failure(row, 11)?,
        snapshot: row.opt_text(13)?,
        holder: Holder {
            boot_id: row.text(14)?,
            pid: u32::try_from(row.count(15)?).unwrap_or(0),
            started_ticks: row.count(16)?,
        },
        heartbeat_at: row.time(17)?,
    })
}

fn failure(row: &Row<'_>, column: usize) -> Result<Option<Failure>, CatalogError> {
    let code = row.opt_text(column)?;
    let message = row.opt_text(column + 1)?;
    Ok(code.zip(message).map(|(code, message)| Failure { code, message }))
}

fn split(failure: Option<&Failure>) -> (Option<String>, Option<String>) {
    failure.map(|failure| (failure.code.clone(), failure.message.clone())).unzip()
}

fn get(session: &mut Session<'_>, id: &RunId) -> Result<Run, CatalogError> {
    session
        .row("read a run", select!("WHERE id = $1"), args![&id.0], read)?
        .ok_or_else(|| CatalogError::NotFound { what: format!("run {id}") })
}

fn no_overlap(session: &mut Session<'_>, policy: &str, lane: &'static str) -> Result<(), CatalogError> {
    let running = session.row(
        "look for a running run",
        "SELECT id FROM runs WHERE policy = $1 AND lane = $2 AND state = 'running'",
        args![policy, lane],
        |row| row.text(0),
    )?;
    match running {
        None => Ok(()),
        Some(run) => Err(CatalogError::Overlap { policy: policy.to_owned(), lane, run }),
    }
}

fn add_attempt(
    session: &mut Session<'_>,
    id: &RunId,
    number: u64,
    now: Timestamp,
) -> Result<(), CatalogError> {
    session.execute(
        "begin an attempt",
        "INSERT INTO attempts (run, number, state, started_at) VALUES ($1, $2, 'running', $3)",
        args![&id.0, number, now],
    )?;
    Ok(())
}

fn close_attempt(
    session: &mut Session<'_>,
    id: &RunId,
    state: RunState,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let (code, message) = split(failure);
    session.execute(
        "end an attempt",
        "UPDATE attempts SET state = $2, ended_at = $3, error_code = $4, error_message = $5
         WHERE run = $1 AND state = 'running'",
        args![&id.0, &state, now, &code, &message],
    )?;
    Ok(())
}

fn final_state(run: &Run, wanted: &'static str) -> CatalogError {
    CatalogError::State { what: format!("run {}", run.id), state: run.state.to_string(), wanted }
}

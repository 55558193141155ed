//! A run held against those before it; what is odd about it is recorded, and holds retention.

use std::time::Duration;

use serde_json::{Value, json};

use super::holds::place;
use super::site::Site;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::findings::Event;
use crate::catalog::holds::NewHold;
use crate::catalog::runs::{Run, RunId};
use crate::catalog::words::{HoldKind, Job, RunState};
use crate::engine::backup::outcome::BackupOutcome;
use crate::policy::model::Policy;
use crate::policy::suspicion::{Observation, Signal, signals};

/// Runs that are looked at, of all kinds.
const RUNS_MAX: u32 = 200;
/// Runs of one kind that say what is usual.
const HISTORY_MAX: usize = 30;

/// Looks whether a run that is about to be recorded is odd, and holds retention when it may mean that
/// good data is being replaced. Answers what is odd.
///
/// # Errors
/// When the state cannot be read or written.
pub(super) fn look(
    site: &Site,
    catalogue: &Catalog,
    policy: &Policy,
    run: &RunId,
    outcome: &BackupOutcome,
) -> Result<Vec<Signal>, Failure> {
    let kind = super::run::backup_kind(outcome.kind);
    let id = policy.id.as_str();
    let known = catalogue.recent_runs(id, &Job::Backup(kind), RUNS_MAX)?;
    let good = |one: &&Run| matches!(one.state, RunState::Succeeded | RunState::Partial) && one.id != *run;
    let before: Vec<(&Run, Observation)> =
        known.iter().filter(good).filter_map(|one| Some((one, observed(one)?))).collect();
    let alike = |one: &Run| one.job_done.as_ref().unwrap_or(&one.job) == &Job::Backup(kind);
    let history: Vec<Observation> =
        before.iter().filter(|(one, _)| alike(one)).map(|(_, seen)| *seen).take(HISTORY_MAX).collect();
    let stats = &outcome.stats;
    let started_at = catalogue.run(run)?.started_at;
    let now = site.cx.clock.now();
    let seen = Observation {
        files: stats.files,
        bytes: stats.source_bytes,
        bytes_new: stats.bytes_new,
        bytes_stored: stats.bytes_stored,
        took: now.since(started_at),
    };
    let last = before.first().map(|(_, seen)| seen);
    let found = signals(&seen, last, &history, policy.source.max_shrink);
    if found.is_empty() {
        return Ok(found);
    }
    let words: Vec<String> = found.iter().map(ToString::to_string).collect();
    let message = words.join("; ");
    catalogue.record_event(&Event {
        at: now,
        kind: "run.odd".to_owned(),
        policy: Some(id.to_owned()),
        message: message.clone(),
    })?;
    site.evidence()?.append(
        "run.odd",
        json!({ "policy": id, "run": run.as_str(), "kind": kind.as_str(), "signals": words }),
    )?;
    site.cx.progress.warn(format!("{id}: this run is odd: {message}"));
    let standing = catalogue.standing_holds(Some(id))?;
    let is_held = standing.iter().any(|hold| hold.kind == HoldKind::Suspicious);
    if !is_held && found.iter().any(|signal| signal.holds_retention()) {
        let by = format!("run {}", run.as_str());
        place(
            site,
            catalogue,
            &NewHold { policy: id, kind: HoldKind::Suspicious, reason: &message, by: &by },
        )?;
    }
    Ok(found)
}

/// What a recorded run found; `None` for one that says nothing of it.
fn observed(run: &Run) -> Option<Observation> {
    let stats = run.stats.get("stats")?;
    let number = |name| stats.get(name).and_then(Value::as_u64);
    Some(Observation {
        files: number("files")?,
        bytes: number("source_bytes")?,
        bytes_new: number("bytes_new")?,
        bytes_stored: number("bytes_stored")?,
        took: run.ended_at.map_or(Duration::ZERO, |ended| ended.since(run.started_at)),
    })
}

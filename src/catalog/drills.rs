//! Drills and what their checks said.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CatalogError;
use super::open::Catalog;
use super::sql::{Row, Session, args};
use super::words::{CheckResult, Verdict};
use crate::base::clock::Timestamp;

/// A drill that is about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDrill {
    /// Its report's id, from the evidence log.
    pub id: String,
    /// Which plan.
    pub plan: String,
    /// Which policy.
    pub policy: String,
    /// From which target.
    pub target: String,
    /// The class of copy that it stands for: `local`, `offsite`.
    pub copy_class: String,
    /// How much is restored: `all`, `sample 20`.
    pub scope: String,
    /// The occurrence's time, when the schedule asked.
    pub scheduled_at: Option<Timestamp>,
    /// When it starts.
    pub started_at: Timestamp,
}

/// How a drill ended.
#[derive(Clone, Debug)]
pub struct DrillEnd {
    /// What it showed.
    pub verdict: Verdict,
    /// When it ended.
    pub at: Timestamp,
    /// What was restored.
    pub snapshot: Option<String>,
    /// Measured phases and the three outcomes: an object.
    pub times: Value,
    /// SHA-256 of the sealed report.
    pub report_sha256: Option<String>,
    /// What its checks said.
    pub checks: Vec<DrillCheck>,
}

/// A drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Its report's id.
    pub id: String,
    /// Which plan.
    pub plan: String,
    /// Which policy.
    pub policy: String,
    /// From which target.
    pub target: String,
    /// The class of copy that it stands for.
    pub copy_class: String,
    /// How much was restored.
    pub scope: String,
    /// What was restored.
    pub snapshot: Option<String>,
    /// The occurrence's time, when the schedule asked.
    pub scheduled_at: Option<Timestamp>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it showed; none while it goes on, or when it never ended.
    pub verdict: Option<Verdict>,
    /// Measured phases and the three outcomes.
    pub times: Value,
    /// SHA-256 of the sealed report.
    pub report_sha256: Option<String>,
}

/// What one check of a drill said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillCheck {
    /// The check's id within the plan.
    pub check_id: String,
    /// Its kind: `manifest`, `count`.
    pub kind: String,
    /// How it went.
    pub result: CheckResult,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub observed: String,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// The columns that [`read`] reads, before a `WHERE`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, plan, policy, target, copy_class, scope, snapshot, scheduled_at, started_at, ended_at, ",
            "verdict, times, report_sha256 FROM drills ",
            $rest
        )
    };
}

impl Catalog {
    /// Records that a drill starts.
    ///
    /// # Errors
    /// Of the database; an id that is recorded already.
    pub fn start_drill(&self, new: &NewDrill) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "start a drill",
                "INSERT INTO drills (id, plan, policy, target, copy_class, scope, scheduled_at, started_at, times)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '{}')",
                args![
                    &new.id,
                    &new.plan,
                    &new.policy,
                    &new.target,
                    &new.copy_class,
                    &new.scope,
                    new.scheduled_at,
                    new.started_at,
                ],
            )?;
            Ok(())
        })
    }

    /// Records how a drill ended, with its checks. A finished drill never changes.
    ///
    /// # Errors
    /// Refused, when it is finished already; not found.
    pub fn finish_drill(&self, id: &str, end: &DrillEnd) -> Result<(), CatalogError> {
        self.database.transaction(|session| {
            let drill = get(session, id)?;
            if let Some(verdict) = drill.verdict {
                return Err(CatalogError::State {
                    what: format!("drill {id}"),
                    state: verdict.to_string(),
                    wanted: end.verdict.as_str(),
                });
            }
            session.execute(
                "finish a drill",
                "UPDATE drills SET verdict = $2, ended_at = $3, snapshot = $4, times = $5, report_sha256 = $6
                 WHERE id = $1",
                args![id, &end.verdict, end.at, &end.snapshot, &end.times.to_string(), &end.report_sha256],
            )?;
            for check in &end.checks {
                session.execute(
                    "record a drill's check",
                    "INSERT INTO drill_checks (drill, check_id, kind, result, expected, observed, milliseconds)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    args![
                        id,
                        &check.check_id,
                        &check.kind,
                        &check.result,
                        &check.expected,
                        &check.observed,
                        check.milliseconds,
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// A drill.
    ///
    /// # Errors
    /// Not found.
    pub fn drill(&self, id: &str) -> Result<Drill, CatalogError> {
        self.database.with(|session| get(session, id))
    }

    /// The newest drills of a policy, newest first, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn drills(&self, policy: &str, count: u32) -> Result<Vec<Drill>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list drills",
                select!("WHERE policy = $1 ORDER BY started_at DESC, id DESC LIMIT $2"),
                args![policy, i64::from(count)],
                read,
            )
        })
    }

    /// The newest finished drill of each class of copy of a policy.
    ///
    /// # Errors
    /// Of the database.
    pub fn last_drills(&self, policy: &str) -> Result<Vec<Drill>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list the last drills",
                select!(
                    "AS d WHERE policy = $1 AND verdict IS NOT NULL AND NOT EXISTS (
                         SELECT 1 FROM drills AS later
                         WHERE later.policy = d.policy AND later.copy_class = d.copy_class
                         AND later.verdict IS NOT NULL AND (later.started_at > d.started_at
                         OR (later.started_at = d.started_at AND later.id > d.id)))
                     ORDER BY copy_class"
                ),
                args![policy],
                read,
            )
        })
    }

    /// What a drill's checks said, by id.
    ///
    /// # Errors
    /// Of the database.
    pub fn drill_checks(&self, drill: &str) -> Result<Vec<DrillCheck>, CatalogError> {
        self.database.with(|session| checks(session, drill))
    }
}

pub(super) fn get(session: &mut Session<'_>, id: &str) -> Result<Drill, CatalogError> {
    session
        .row("read a drill", select!("WHERE id = $1"), args![id], read)?
        .ok_or_else(|| CatalogError::NotFound { what: format!("drill {id}") })
}

pub(super) fn checks(session: &mut Session<'_>, drill: &str) -> Result<Vec<DrillCheck>, CatalogError> {
    session.rows(
        "list a drill's checks",
        "SELECT check_id, kind, result, expected, observed, milliseconds FROM drill_checks
         WHERE drill = $1 ORDER BY check_id",
        args![drill],
        |row| {
            Ok(DrillCheck {
                check_id: row.text(0)?,
                kind: row.text(1)?,
                result: row.word(2)?,
                expected: row.text(3)?,
                observed: row.text(4)?,
                milliseconds: row.count(5)?,
            })
        },
    )
}

fn read(row: &Row<'_>) -> Result<Drill, CatalogError> {
    Ok(Drill {
        id: row.text(0)?,
        plan: row.text(1)?,
        policy: row.text(2)?,
        target: row.text(3)?,
        copy_class: row.text(4)?,
        scope: row.text(5)?,
        snapshot: row.opt_text(6)?,
        scheduled_at: row.opt_time(7)?,
        started_at: row.time(8)?,
        ended_at: row.opt_time(9)?,
        verdict: row.opt_word(10)?,
        times: row.json(11)?,
        report_sha256: row.opt_text(12)?,
    })
}

//! Findings: what a check found wrong, until a later drill shows it repaired. Nothing else
//! closes one. Events: what a person should know that is no finding.

use serde::{Deserialize, Serialize};

use super::drills;
use super::error::CatalogError;
use super::open::{Catalog, new_id};
use super::sql::{Row, args};
use super::words::{CheckResult, FindingState, Severity};
use crate::base::clock::Timestamp;

/// Something that a check found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFinding {
    /// For which policy.
    pub policy: String,
    /// Which check.
    pub check_id: String,
    /// On which class of copy.
    pub copy_class: String,
    /// What found it: a drill's id, `verify`.
    pub source: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its id.
    pub id: String,
    /// For which policy.
    pub policy: String,
    /// Which check.
    pub check_id: String,
    /// On which class of copy.
    pub copy_class: String,
    /// What found it first.
    pub source: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
    /// Where it stands.
    pub state: FindingState,
    /// When it was found first.
    pub opened_at: Timestamp,
    /// When it was found last.
    pub seen_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// The drill that closed it.
    pub closed_by: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Two words: `clock.stepped_back`.
    pub kind: String,
    /// For which policy, if for one.
    pub policy: Option<String>,
    /// One sentence.
    pub message: String,
}

/// The columns that [`read`] reads, before a `WHERE`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, policy, check_id, copy_class, source, severity, title, state, opened_at, seen_at, ",
            "closed_at, closed_by FROM findings ",
            $rest
        )
    };
}

impl Catalog {
    /// Opens a finding. While one of the same policy, check and class of copy is open, that one
    /// is seen again instead. Answers the finding's id.
    ///
    /// # Errors
    /// Of the database.
    pub fn open_finding(&self, new: &NewFinding, now: Timestamp) -> Result<String, CatalogError> {
        self.database.transaction(|session| {
            session.execute(
                "open a finding",
                "INSERT INTO findings (id, policy, check_id, copy_class, source, severity, title, state,
                 opened_at, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $8, $8)
                 ON CONFLICT (policy, check_id, copy_class) WHERE state = 'open' DO UPDATE SET seen_at = $8",
                args![
                    &format!("F-{}", new_id(now)),
                    &new.policy,
                    &new.check_id,
                    &new.copy_class,
                    &new.source,
                    &new.severity,
                    &new.title,
                    now,
                ],
            )?;
            let id = session.row(
                "read a finding",
                "SELECT id FROM findings
                 WHERE policy = $1 AND check_id = $2 AND copy_class = $3 AND state = 'open'",
                args![&new.policy, &new.check_id, &new.copy_class],
                |row| row.text(0),
            )?;
            id.ok_or_else(|| CatalogError::NotFound { what: "finding that was just opened".to_owned() })
        })
    }

    /// Closes what a finished drill shows to be repaired: the open findings of its policy and
    /// class of copy whose check passed in it, and which were last seen before it started.
    /// Answers their ids.
    ///
    /// # Errors
    /// Refused, when the drill isn't finished; not found.
    pub fn close_by_drill(&self, drill: &str) -> Result<Vec<String>, CatalogError> {
        self.database.transaction(|session| {
            let record = drills::get(session, drill)?;
            let Some(ended_at) = record.ended_at else {
                return Err(CatalogError::State {
                    what: format!("drill {drill}"),
                    state: "not finished".to_owned(),
                    wanted: "the proof of a repair",
                });
            };
            let mut closed = Vec::new();
            for check in drills::checks(session, drill)? {
                if check.result != CheckResult::Pass {
                    continue;
                }
                let open = session.rows(
                    "look for repaired findings",
                    "SELECT id FROM findings WHERE policy = $1 AND check_id = $2 AND copy_class = $3
                     AND state = 'open' AND seen_at < $4",
                    args![&record.policy, &check.check_id, &record.copy_class, record.started_at],
                    |row| row.text(0),
                )?;
                for id in open {
                    session.execute(
                        "close a finding",
                        "UPDATE findings SET state = 'closed', closed_at = $2, closed_by = $3 WHERE id = $1",
                        args![&id, ended_at, drill],
                    )?;
                    closed.push(id);
                }
            }
            Ok(closed)
        })
    }

    /// Open findings, oldest first; of one policy or of all.
    ///
    /// # Errors
    /// Of the database.
    pub fn open_findings(&self, policy: Option<&str>) -> Result<Vec<Finding>, CatalogError> {
        let policy = policy.map(str::to_owned);
        self.database.with(|session| {
            session.rows(
                "list open findings",
                select!("WHERE state = 'open' AND ($1 IS NULL OR policy = $1) ORDER BY opened_at, id"),
                args![&policy],
                read,
            )
        })
    }

    /// A finding.
    ///
    /// # Errors
    /// Not found.
    pub fn finding(&self, id: &str) -> Result<Finding, CatalogError> {
        self.database
            .with(|session| session.row("read a finding", select!("WHERE id = $1"), args![id], read))?
            .ok_or_else(|| CatalogError::NotFound { what: format!("finding {id}") })
    }

    /// Records an event.
    ///
    /// # Errors
    /// Of the database.
    pub fn record_event(&self, event: &Event) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "record an event",
                "INSERT INTO events (id, at, kind, policy, message) VALUES ($1, $2, $3, $4, $5)",
                args![&new_id(event.at), event.at, &event.kind, &event.policy, &event.message],
            )?;
            Ok(())
        })
    }

    /// The newest events, newest first, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn events(&self, count: u32) -> Result<Vec<Event>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list events",
                "SELECT at, kind, policy, message FROM events ORDER BY at DESC, id DESC LIMIT $1",
                args![i64::from(count)],
                |row| {
                    Ok(Event {
                        at: row.time(0)?,
                        kind: row.text(1)?,
                        policy: row.opt_text(2)?,
                        message: row.text(3)?,
                    })
                },
            )
        })
    }
}

fn read(row: &Row<'_>) -> Result<Finding, CatalogError> {
    Ok(Finding {
        id: row.text(0)?,
        policy: row.text(1)?,
        check_id: row.text(2)?,
        copy_class: row.text(3)?,
        source: row.text(4)?,
        severity: row.word(5)?,
        title: row.text(6)?,
        state: row.word(7)?,
        opened_at: row.time(8)?,
        seen_at: row.time(9)?,
        closed_at: row.opt_time(10)?,
        closed_by: row.opt_text(11)?,
    })
}

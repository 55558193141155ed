//! What is to be told, and what became of it. A message is queued in the same file as what it tells of,
//! so that no end of a process loses one; it is sent at least once, and rarely twice.

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::open::{Catalog, new_id};
use super::sql::{Row, args};
use super::words::{MessageState, Severity};
use crate::base::clock::Timestamp;

/// The columns that [`read`] reads, before a `WHERE`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, notifier, incident, severity, topic, body, state, queued_at, next_at, attempts, ",
            "ended_at, error FROM messages ",
            $rest
        )
    };
}

/// Something to be told by one notifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// By which notifier.
    pub notifier: String,
    /// About which incident.
    pub incident: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What sort of news: `opened`, `worse`, `escalated`, `passed`, `reopened`, `test`.
    pub topic: String,
    /// What is told, as JSON: the notifier makes its own form of it.
    pub body: String,
    /// Where it stands.
    pub state: MessageState,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// It is not tried before.
    pub next_at: Timestamp,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was sent or given up.
    pub ended_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// A message that is about to be queued.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// What it tells, to whom: the same is not queued twice.
    pub subject_key: &'a str,
    /// By which notifier.
    pub notifier: &'a str,
    /// About which incident.
    pub incident: Option<&'a str>,
    /// How bad it is.
    pub severity: Severity,
    /// What sort of news.
    pub topic: &'a str,
    /// What is told.
    pub body: &'a str,
    /// It is not tried before.
    pub next_at: Timestamp,
}

impl Catalog {
    /// Queues a message, unless the same was queued before. Answers whether it is new.
    ///
    /// # Errors
    /// Of the database.
    pub fn queue_message(&self, new: &NewMessage<'_>, now: Timestamp) -> Result<bool, CatalogError> {
        let added = self.database.with(|session| {
            session.execute(
                "queue a message",
                "INSERT INTO messages (id, subject_key, notifier, incident, severity, topic, body, state,
                 queued_at, next_at, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', $8, $9, 0)
                 ON CONFLICT (subject_key) DO NOTHING",
                args![
                    &new_id(now),
                    new.subject_key,
                    new.notifier,
                    &new.incident.map(str::to_owned),
                    &new.severity,
                    new.topic,
                    new.body,
                    now,
                    new.next_at,
                ],
            )
        })?;
        Ok(added == 1)
    }

    /// Messages that may be tried now, worst and oldest first, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn due_messages(&self, now: Timestamp, count: u32) -> Result<Vec<Message>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list due messages",
                select!(
                    "WHERE state = 'queued' AND next_at <= $1 ORDER BY CASE severity WHEN 'critical' THEN 0
                     WHEN 'serious' THEN 1 ELSE 2 END, next_at, id LIMIT $2"
                ),
                args![now, i64::from(count)],
                read,
            )
        })
    }

    /// The newest messages, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn messages(&self, count: u32) -> Result<Vec<Message>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list messages",
                select!("WHERE 1 = 1 ORDER BY queued_at DESC, id DESC LIMIT $1"),
                args![i64::from(count)],
                read,
            )
        })
    }

    /// Records what became of an attempt: sent, given up, or to be tried again at `next_at`.
    ///
    /// # Errors
    /// Of the database.
    pub fn end_attempt(
        &self,
        id: &str,
        state: MessageState,
        error: Option<&str>,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let ended = (state != MessageState::Queued).then_some(now);
        self.database.with(|session| {
            session.execute(
                "record an attempt to tell",
                "UPDATE messages SET state = $2, error = $3, next_at = $4, attempts = attempts + 1, ended_at = $5
                 WHERE id = $1",
                args![id, &state, &error.map(str::to_owned), next_at, ended],
            )?;
            Ok(())
        })
    }

    /// When a heart was last made to beat, whether it did or not.
    ///
    /// # Errors
    /// Of the database.
    pub fn last_beat(&self, notifier: &str) -> Result<Option<Timestamp>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read a heartbeat",
                "SELECT tried_at FROM heartbeats WHERE notifier = $1",
                args![notifier],
                |row| row.time(0),
            )
        })
    }

    /// Records that a heart was made to beat, and whether it did.
    ///
    /// # Errors
    /// Of the database.
    pub fn record_heartbeat(&self, notifier: &str, did: bool, now: Timestamp) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "record a heartbeat",
                "INSERT INTO heartbeats (notifier, tried_at, beat_at) VALUES ($1, $2, $3)
                 ON CONFLICT (notifier) DO UPDATE SET tried_at = $2, beat_at = COALESCE($3, heartbeats.beat_at)",
                args![notifier, now, did.then_some(now)],
            )?;
            Ok(())
        })
    }
}

fn read(row: &Row<'_>) -> Result<Message, CatalogError> {
    Ok(Message {
        id: row.text(0)?,
        notifier: row.text(1)?,
        incident: row.opt_text(2)?,
        severity: row.word(3)?,
        topic: row.text(4)?,
        body: row.text(5)?,
        state: row.word(6)?,
        queued_at: row.time(7)?,
        next_at: row.time(8)?,
        attempts: row.count(9)?,
        ended_at: row.opt_time(10)?,
        error: row.opt_text(11)?,
    })
}

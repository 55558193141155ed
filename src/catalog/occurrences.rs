//! Occurrences: a policy's job at one scheduled moment. The key makes each happen at most once.

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::open::Catalog;
use super::sql::{Row, args};
use super::words::{Job, OccurrenceState};
use crate::base::clock::Timestamp;

/// Which occurrence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OccurrenceKey {
    /// The policy.
    pub policy: String,
    /// What is to be done.
    pub job: Job,
    /// When, by the schedule.
    pub scheduled_at: Timestamp,
}

/// What became of an occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Which one.
    #[serde(flatten)]
    pub key: OccurrenceKey,
    /// Where it stands.
    pub state: OccurrenceState,
    /// Why, as a sentence or a word; may be empty.
    pub reason: String,
    /// When it got there.
    pub changed_at: Timestamp,
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's to do, and nobody else's.
    Yours,
    /// Somebody has it, or it is over.
    Taken(OccurrenceState),
}

/// From when to when: `from` is inside, `to` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first moment inside.
    pub from: Timestamp,
    /// The first moment after.
    pub to: Timestamp,
}

impl Catalog {
    /// Takes an occurrence that is due or unknown. Of all processes that ask, exactly one gets it.
    ///
    /// # Errors
    /// Of the database.
    pub fn claim(&self, key: &OccurrenceKey, now: Timestamp) -> Result<Claim, CatalogError> {
        let taken = self.database.with(|session| {
            session.execute(
                "claim an occurrence",
                "INSERT INTO occurrences (policy, job, scheduled_at, state, reason, changed_at)
                 VALUES ($1, $2, $3, 'running', '', $4)
                 ON CONFLICT (policy, job, scheduled_at)
                 DO UPDATE SET state = 'running', changed_at = $4 WHERE occurrences.state = 'due'",
                args![&key.policy, &key.job, key.scheduled_at, now],
            )
        })?;
        if taken == 1 {
            return Ok(Claim::Yours);
        }
        Ok(Claim::Taken(self.existing(key)?.state))
    }

    /// Records an occurrence whose time has come, `due`, `missed` or `skipped`, unless it is
    /// known already. Answers whether it is new.
    ///
    /// # Errors
    /// Refused for the states that only a claim leads to.
    pub fn record_occurrence(&self, occurrence: &Occurrence) -> Result<bool, CatalogError> {
        let Occurrence { key, state, reason, changed_at } = occurrence;
        if matches!(state, OccurrenceState::Running | OccurrenceState::Done) {
            return Err(refused(key, "unclaimed", state.as_str()));
        }
        let added = self.database.with(|session| {
            session.execute(
                "record an occurrence",
                "INSERT INTO occurrences (policy, job, scheduled_at, state, reason, changed_at)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (policy, job, scheduled_at) DO NOTHING",
                args![&key.policy, &key.job, key.scheduled_at, state, reason, *changed_at],
            )
        })?;
        Ok(added == 1)
    }

    /// Moves an occurrence on: a running one to `done` or back to `due` (its process died), a
    /// due or running one to `missed` or `skipped`.
    ///
    /// # Errors
    /// Refused, when it is final already or was never claimed; not found.
    pub fn settle_occurrence(&self, to: &Occurrence) -> Result<(), CatalogError> {
        let Occurrence { key, state, reason, changed_at } = to;
        if *state == OccurrenceState::Running {
            return Err(refused(key, "unclaimed", state.as_str()));
        }
        let may_be_due = match state {
            OccurrenceState::Missed | OccurrenceState::Skipped => OccurrenceState::Due,
            _ => OccurrenceState::Running,
        };
        let moved = self.database.with(|session| {
            session.execute(
                "settle an occurrence",
                "UPDATE occurrences SET state = $4, reason = $5, changed_at = $6
                 WHERE policy = $1 AND job = $2 AND scheduled_at = $3 AND state IN ('running', $7)",
                args![&key.policy, &key.job, key.scheduled_at, state, reason, *changed_at, &may_be_due],
            )
        })?;
        if moved == 1 {
            return Ok(());
        }
        Err(refused(key, self.existing(key)?.state.as_str(), state.as_str()))
    }

    /// What is known of an occurrence.
    ///
    /// # Errors
    /// Of the database.
    pub fn occurrence(&self, key: &OccurrenceKey) -> Result<Option<Occurrence>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read an occurrence",
                "SELECT policy, job, scheduled_at, state, reason, changed_at FROM occurrences
                 WHERE policy = $1 AND job = $2 AND scheduled_at = $3",
                args![&key.policy, &key.job, key.scheduled_at],
                read,
            )
        })
    }

    /// The newest occurrence of a job, whatever became of it: where the schedule goes on from.
    ///
    /// # Errors
    /// Of the database.
    pub fn last_occurrence(&self, policy: &str, job: &Job) -> Result<Option<Occurrence>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read the last occurrence",
                "SELECT policy, job, scheduled_at, state, reason, changed_at FROM occurrences
                 WHERE policy = $1 AND job = $2 ORDER BY scheduled_at DESC LIMIT 1",
                args![policy, job],
                read,
            )
        })
    }

    /// Occurrences that wait to be taken, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn due_occurrences(&self) -> Result<Vec<Occurrence>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list due occurrences",
                "SELECT policy, job, scheduled_at, state, reason, changed_at FROM occurrences
                 WHERE state = 'due' ORDER BY scheduled_at, policy, job",
                args![],
                read,
            )
        })
    }

    /// Occurrences that are neither over nor given up: `due` and `running`, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn open_occurrences(&self) -> Result<Vec<Occurrence>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list open occurrences",
                "SELECT policy, job, scheduled_at, state, reason, changed_at FROM occurrences
                 WHERE state IN ('due', 'running') ORDER BY scheduled_at, policy, job",
                args![],
                read,
            )
        })
    }

    /// All occurrences scheduled in a period, missed and skipped ones among them, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn occurrences_in(&self, period: Period) -> Result<Vec<Occurrence>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list occurrences",
                "SELECT policy, job, scheduled_at, state, reason, changed_at FROM occurrences
                 WHERE scheduled_at >= $1 AND scheduled_at < $2 ORDER BY scheduled_at, policy, job",
                args![period.from, period.to],
                read,
            )
        })
    }

    /// The occurrences of a policy in a period, by time.
    ///
    /// # Errors
    /// Of the database.
    pub fn occurrences_of(&self, policy: &str, period: Period) -> Result<Vec<Occurrence>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list a policy's occurrences",
                "SELECT policy, job, scheduled_at, state, reason, changed_at FROM occurrences
                 WHERE policy = $1 AND scheduled_at >= $2 AND scheduled_at < $3 ORDER BY scheduled_at, job",
                args![policy, period.from, period.to],
                read,
            )
        })
    }

    /// How many occurrences of a policy in a period came to this.
    ///
    /// # Errors
    /// Of the database.
    pub fn count_occurrences(
        &self,
        policy: &str,
        state: OccurrenceState,
        period: Period,
    ) -> Result<u64, CatalogError> {
        let counted = self.database.with(|session| {
            session.row(
                "count occurrences",
                "SELECT COUNT(*) FROM occurrences
                 WHERE policy = $1 AND scheduled_at >= $2 AND scheduled_at < $3 AND state = $4",
                args![policy, period.from, period.to, &state],
                |row| row.count(0),
            )
        })?;
        Ok(counted.unwrap_or(0))
    }

    fn existing(&self, key: &OccurrenceKey) -> Result<Occurrence, CatalogError> {
        self.occurrence(key)?.ok_or_else(|| CatalogError::NotFound { what: name(key) })
    }
}

fn read(row: &Row<'_>) -> Result<Occurrence, CatalogError> {
    Ok(Occurrence {
        key: OccurrenceKey { policy: row.text(0)?, job: row.word(1)?, scheduled_at: row.time(2)? },
        state: row.word(3)?,
        reason: row.text(4)?,
        changed_at: row.time(5)?,
    })
}

fn name(key: &OccurrenceKey) -> String {
    format!("{} of {} at {}", key.job, key.policy, key.scheduled_at)
}

fn refused(key: &OccurrenceKey, state: &str, wanted: &'static str) -> CatalogError {
    CatalogError::State { what: name(key), state: state.to_owned(), wanted }
}

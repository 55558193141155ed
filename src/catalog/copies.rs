//! Snapshots, and their copies with the time of each level: the facts of the 3-2-1 rule. Both
//! can be filled in again from a target.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::open::Catalog;
use super::sql::{Row, args};
use super::words::{BackupKind, Level};
use crate::base::clock::Timestamp;
use crate::base::id::RepoId;

/// A recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its object's hash, hexadecimal.
    pub id: String,
    /// Whose it is.
    pub policy: String,
    /// In which repository.
    pub repo: RepoId,
    /// How the source was read.
    pub kind: BackupKind,
    /// The time that its data is of.
    pub captured_at: Timestamp,
    /// The snapshot it was compared with.
    pub parent: Option<String>,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Root of its manifest, hexadecimal.
    pub manifest_root: String,
    /// Items that could not be read; `None` when it was recorded before this was.
    pub unread: Option<u64>,
}

/// A snapshot on a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Which snapshot.
    pub snapshot: String,
    /// Which of the policy's targets.
    pub target: String,
    /// When the target had all of it.
    pub written_at: Timestamp,
    /// When the target had confirmed our checksums.
    pub acked_at: Option<Timestamp>,
    /// When all of it was last read back.
    pub read_back_at: Option<Timestamp>,
    /// When a drill last restored from it.
    pub restored_at: Option<Timestamp>,
    /// When an application last worked with what was restored.
    pub usable_at: Option<Timestamp>,
    /// What is wrong with it: damage that no later reading has disproved.
    pub problem: Option<String>,
    /// When that was found.
    pub problem_at: Option<Timestamp>,
}

impl Copy {
    /// The highest level that was ever reached; says nothing of its age.
    pub fn level(&self) -> Level {
        let reached = [
            (self.usable_at, Level::Usable),
            (self.restored_at, Level::Restored),
            (self.read_back_at, Level::ReadBack),
            (self.acked_at, Level::Acked),
        ];
        reached.into_iter().find(|(at, _)| at.is_some()).map_or(Level::Written, |(_, level)| level)
    }
}

/// Which copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyKey<'a> {
    /// The snapshot's id.
    pub snapshot: &'a str,
    /// The target's name.
    pub target: &'a str,
}

/// The columns that [`read_snapshot`] reads, before a `WHERE`.
macro_rules! select_snapshot {
    ($rest:literal) => {
        concat!(
            "SELECT id, policy, repo, kind, captured_at, parent, files, bytes, manifest_root, unread FROM snapshots ",
            $rest
        )
    };
}

/// Sets a level's time, never back; a reading that is newer than a problem disproves it.
macro_rules! raise {
    ($column:literal, $disproves:literal) => {
        concat!(
            "UPDATE copies SET ",
            $column,
            " = CASE WHEN ",
            $column,
            " > $3 THEN ",
            $column,
            " ELSE $3 END, problem = CASE WHEN ",
            $disproves,
            " AND problem_at < $3 THEN NULL ELSE problem END, problem_at = CASE WHEN ",
            $disproves,
            " AND problem_at < $3 THEN NULL ELSE problem_at END WHERE snapshot = $1 AND target = $2"
        )
    };
}

impl Catalog {
    /// Records a snapshot, new or found on a target. A known one keeps its row, and gets
    /// what an older version of this program did not record: snapshots never change.
    ///
    /// # Errors
    /// Of the database.
    pub fn import_snapshot(&self, snapshot: &Snapshot) -> Result<(), CatalogError> {
        let repo = snapshot.repo.to_hex();
        self.database.with(|session| {
            session.execute(
                "record a snapshot",
                "INSERT INTO snapshots (id, policy, repo, kind, captured_at, parent, files, bytes, manifest_root,
                 unread) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                 ON CONFLICT (id) DO UPDATE SET unread = excluded.unread WHERE snapshots.unread IS NULL",
                args![
                    &snapshot.id,
                    &snapshot.policy,
                    &repo,
                    &snapshot.kind,
                    snapshot.captured_at,
                    &snapshot.parent,
                    snapshot.files,
                    snapshot.bytes,
                    &snapshot.manifest_root,
                    snapshot.unread,
                ],
            )?;
            Ok(())
        })
    }

    /// Records that a target holds a snapshot, just written or found there. Known levels stay.
    ///
    /// # Errors
    /// Of the database.
    pub fn import_copy(&self, copy: CopyKey<'_>, written_at: Timestamp) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "record a copy",
                "INSERT INTO copies (snapshot, target, written_at) VALUES ($1, $2, $3)
                 ON CONFLICT (snapshot, target) DO NOTHING",
                args![copy.snapshot, copy.target, written_at],
            )?;
            Ok(())
        })
    }

    /// Raises a copy to a level. The time of a level never goes back. `at` is when the reading
    /// began. A read-back disproves an older problem.
    ///
    /// # Errors
    /// Not found, when the copy isn't recorded.
    pub fn raise_copy(&self, copy: CopyKey<'_>, level: Level, at: Timestamp) -> Result<(), CatalogError> {
        let statement = match level {
            Level::Written => raise!("written_at", "1 = 0"),
            Level::Acked => raise!("acked_at", "1 = 0"),
            Level::ReadBack => raise!("read_back_at", "1 = 1"),
            // A drill reads the files it picked, not every pack: it disproves nothing.
            Level::Restored => raise!("restored_at", "1 = 0"),
            Level::Usable => raise!("usable_at", "1 = 0"),
        };
        let touched = self.database.with(|session| {
            session.execute("raise a copy's level", statement, args![copy.snapshot, copy.target, at])
        })?;
        found(touched, copy)
    }

    /// Records what is wrong with a copy: it stands no more until a later read-back.
    ///
    /// # Errors
    /// Not found, when the copy isn't recorded.
    pub fn record_problem(
        &self,
        copy: CopyKey<'_>,
        problem: &str,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let touched = self.database.with(|session| {
            session.execute(
                "record a copy's problem",
                "UPDATE copies SET problem = $3, problem_at = $4 WHERE snapshot = $1 AND target = $2",
                args![copy.snapshot, copy.target, problem, at],
            )
        })?;
        found(touched, copy)
    }

    /// Forgets that a target holds a snapshot: it was looked for there and is gone.
    ///
    /// # Errors
    /// Of the database.
    pub fn remove_copy(&self, copy: CopyKey<'_>) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "remove a copy",
                "DELETE FROM copies WHERE snapshot = $1 AND target = $2",
                args![copy.snapshot, copy.target],
            )?;
            Ok(())
        })
    }

    /// A snapshot by its whole id.
    ///
    /// # Errors
    /// Of the database.
    pub fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, CatalogError> {
        self.database.with(|session| {
            session.row("read a snapshot", select_snapshot!("WHERE id = $1"), args![id], read_snapshot)
        })
    }

    /// A policy's snapshots, newest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn snapshots(&self, policy: &str) -> Result<Vec<Snapshot>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list snapshots",
                select_snapshot!("WHERE policy = $1 ORDER BY captured_at DESC, id"),
                args![policy],
                read_snapshot,
            )
        })
    }

    /// The copies of a snapshot, by target.
    ///
    /// # Errors
    /// Of the database.
    pub fn copies(&self, snapshot: &str) -> Result<Vec<Copy>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list copies",
                "SELECT snapshot, target, written_at, acked_at, read_back_at, restored_at, usable_at, problem,
                 problem_at FROM copies WHERE snapshot = $1 ORDER BY target",
                args![snapshot],
                read_copy,
            )
        })
    }
}

/// A snapshot as a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// When its view of the source began.
    pub captured_at: Timestamp,
    /// When the first target confirmed it.
    pub confirmed_at: Timestamp,
    /// When the first target elsewhere did.
    pub offsite_at: Option<Timestamp>,
}

impl Catalog {
    /// The newest snapshots of a policy, newest first, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn recent_snapshots(&self, policy: &str, count: u32) -> Result<Vec<Snapshot>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list recent snapshots",
                select_snapshot!("WHERE policy = $1 ORDER BY captured_at DESC, id LIMIT $2"),
                args![policy, i64::from(count)],
                read_snapshot,
            )
        })
    }

    /// The newest snapshot that any target has confirmed.
    ///
    /// # Errors
    /// Of the database.
    pub fn newest_confirmed(&self, policy: &str) -> Result<Option<Snapshot>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read the newest recovery point",
                select_snapshot!(
                    "WHERE policy = $1 AND confirmed_at IS NOT NULL ORDER BY captured_at DESC, id LIMIT 1"
                ),
                args![policy],
                read_snapshot,
            )
        })
    }

    /// The copy of the newest snapshot that a target has, and when that was taken.
    ///
    /// # Errors
    /// Of the database.
    pub fn newest_copy(&self, policy: &str, target: &str) -> Result<Option<(Timestamp, Copy)>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read a target's newest copy",
                "SELECT copies.snapshot, target, written_at, acked_at, read_back_at, restored_at, usable_at,
                 problem, problem_at, captured_at FROM snapshots
                 JOIN copies ON copies.snapshot = snapshots.id AND target = $2
                 WHERE policy = $1 ORDER BY captured_at DESC LIMIT 1",
                args![policy, target],
                |row| Ok((row.time(9)?, read_copy(row)?)),
            )
        })
    }

    /// Says that a target has confirmed a snapshot or was read back, whichever came first; `offsite`
    /// when the target is elsewhere.
    ///
    /// # Errors
    /// Of the database.
    pub fn record_point(&self, snapshot: &str, at: Timestamp, offsite: bool) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "record a recovery point",
                "UPDATE snapshots SET confirmed_at = COALESCE(confirmed_at, $2),
                 offsite_at = CASE WHEN $3 = 1 THEN COALESCE(offsite_at, $2) ELSE offsite_at END WHERE id = $1",
                args![snapshot, at, i64::from(offsite)],
            )?;
            Ok(())
        })
    }

    /// Of each day (UTC) from a moment until now: the most work that would have been lost at one time, just
    /// before a recovery point was confirmed; with the time of the day's last.
    ///
    /// # Errors
    /// Of the database.
    pub fn exposed_days(
        &self,
        policy: &str,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<(Timestamp, Duration)>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list exposures",
                "SELECT MAX(confirmed_at), MAX(confirmed_at - newest) FROM (
                     SELECT captured_at, confirmed_at, MAX(captured_at) OVER (
                         ORDER BY confirmed_at, captured_at
                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                     ) AS newest
                     FROM snapshots WHERE policy = $1 AND confirmed_at >= $2 AND confirmed_at <= $3
                 ) AS points
                 WHERE captured_at > newest GROUP BY confirmed_at / 86400000 ORDER BY 1",
                args![policy, from, now],
                |row| Ok((row.time(0)?, Duration::from_millis(row.count(1)?))),
            )
        })
    }

    /// The recovery points of a policy that were taken from a moment on, and the newest before it, by time.
    ///
    /// # Errors
    /// Of the database.
    pub fn points(&self, policy: &str, from: Timestamp) -> Result<Vec<RecoveryPoint>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list recovery points",
                "SELECT captured_at, confirmed_at, offsite_at FROM snapshots
                 WHERE policy = $1 AND confirmed_at IS NOT NULL AND captured_at >= COALESCE(
                     (SELECT MAX(captured_at) FROM snapshots
                      WHERE policy = $1 AND offsite_at IS NOT NULL AND captured_at < $2),
                     (SELECT MAX(captured_at) FROM snapshots
                      WHERE policy = $1 AND confirmed_at IS NOT NULL AND captured_at < $2), $2)
                 ORDER BY captured_at",
                args![policy, from],
                |row| {
                    Ok(RecoveryPoint {
                        captured_at: row.time(0)?,
                        confirmed_at: row.time(1)?,
                        offsite_at: row.opt_time(2)?,
                    })
                },
            )
        })
    }
}

fn read_snapshot(row: &Row<'_>) -> Result<Snapshot, CatalogError> {
    Ok(Snapshot {
        id: row.text(0)?,
        policy: row.text(1)?,
        repo: row.parsed(2)?,
        kind: row.word(3)?,
        captured_at: row.time(4)?,
        parent: row.opt_text(5)?,
        files: row.count(6)?,
        bytes: row.count(7)?,
        manifest_root: row.text(8)?,
        unread: row.opt_int(9)?.and_then(|count| u64::try_from(count).ok()),
    })
}

fn read_copy(row: &Row<'_>) -> Result<Copy, CatalogError> {
    Ok(Copy {
        snapshot: row.text(0)?,
        target: row.text(1)?,
        written_at: row.time(2)?,
        acked_at: row.opt_time(3)?,
        read_back_at: row.opt_time(4)?,
        restored_at: row.opt_time(5)?,
        usable_at: row.opt_time(6)?,
        problem: row.opt_text(7)?,
        problem_at: row.opt_time(8)?,
    })
}

fn found(touched: u64, copy: CopyKey<'_>) -> Result<(), CatalogError> {
    if touched == 1 {
        return Ok(());
    }
    Err(CatalogError::NotFound { what: format!("copy of snapshot {} on {}", copy.snapshot, copy.target) })
}

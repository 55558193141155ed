//! Holds: as long as one stands, nothing of its policy is removed. A person places a freeze; a run
//! that looks like an accident or an attack places its own. Only a person releases one, with a reason.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::CatalogError;
use super::open::{Catalog, new_id};
use super::outbox::{self, OutboxLine};
use super::sql::{Row, Session, args};
use super::words::HoldKind;
use crate::base::clock::Timestamp;

/// The columns that [`read`] reads, before a `WHERE`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, policy, kind, reason, placed_by, placed_at, released_by, released_at, ",
            "released_because FROM holds ",
            $rest
        )
    };
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id: `20261124T015302Z-9f3c2a71`.
    pub id: String,
    /// Of which policy nothing is removed.
    pub policy: String,
    /// What sort.
    pub kind: HoldKind,
    /// Why it was placed.
    pub reason: String,
    /// Who placed it: a person, or the run.
    pub placed_by: String,
    /// When.
    pub placed_at: Timestamp,
    /// Who released it.
    pub released_by: Option<String>,
    /// When.
    pub released_at: Option<Timestamp>,
    /// Why.
    pub released_because: Option<String>,
}

/// A hold that is about to be placed.
#[derive(Clone, Debug)]
pub struct NewHold<'a> {
    /// Of which policy nothing is to be removed.
    pub policy: &'a str,
    /// What sort.
    pub kind: HoldKind,
    /// Why.
    pub reason: &'a str,
    /// Who places it.
    pub by: &'a str,
}

impl Catalog {
    /// Places a hold, with its line for the evidence log.
    ///
    /// # Errors
    /// Of the database.
    pub fn place_hold(&self, new: &NewHold<'_>, now: Timestamp) -> Result<Hold, CatalogError> {
        let id = new_id(now);
        self.database.transaction(|session| {
            session.execute(
                "place a hold",
                "INSERT INTO holds (id, policy, kind, reason, placed_by, placed_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                args![&id, new.policy, &new.kind, new.reason, new.by, now],
            )?;
            told(session, &id, "hold.placed")
        })
    }

    /// Takes a hold over as it stands in the evidence log, unless it is known.
    ///
    /// # Errors
    /// Of the database.
    pub fn import_hold(&self, hold: &Hold) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "take a hold over",
                "INSERT INTO holds (id, policy, kind, reason, placed_by, placed_at, released_by, released_at,
                 released_because) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING",
                args![
                    &hold.id,
                    &hold.policy,
                    &hold.kind,
                    &hold.reason,
                    &hold.placed_by,
                    hold.placed_at,
                    &hold.released_by,
                    hold.released_at,
                    &hold.released_because,
                ],
            )
        })?;
        Ok(())
    }

    /// Releases a hold, with its line for the evidence log.
    ///
    /// # Errors
    /// Not found; refused, when it was released before.
    pub fn release_hold(
        &self,
        id: &str,
        by: &str,
        because: &str,
        now: Timestamp,
    ) -> Result<Hold, CatalogError> {
        self.database.transaction(|session| {
            let released = session.execute(
                "release a hold",
                "UPDATE holds SET released_by = $2, released_at = $3, released_because = $4
                 WHERE id = $1 AND released_at IS NULL",
                args![id, by, now, because],
            )?;
            if released == 1 {
                return told(session, id, "hold.released");
            }
            get(session, id)?;
            Err(CatalogError::State {
                what: format!("hold {id}"),
                state: "released".to_owned(),
                wanted: "released",
            })
        })
    }

    /// The holds of one kind that were placed since then, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn holds_since(
        &self,
        policy: &str,
        kind: HoldKind,
        since: Timestamp,
    ) -> Result<Vec<Hold>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list holds of a kind",
                select!("WHERE policy = $1 AND kind = $2 AND placed_at >= $3 ORDER BY placed_at, id"),
                args![policy, &kind, since],
                read,
            )
        })
    }

    /// The holds that stand, of one policy or of all, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn standing_holds(&self, policy: Option<&str>) -> Result<Vec<Hold>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list standing holds",
                select!("WHERE released_at IS NULL AND ($1 IS NULL OR policy = $1) ORDER BY placed_at, id"),
                args![&policy.map(str::to_owned)],
                read,
            )
        })
    }

    /// All holds, released ones among them, newest first, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn holds(&self, policy: Option<&str>, count: u32) -> Result<Vec<Hold>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list holds",
                select!("WHERE ($1 IS NULL OR policy = $1) ORDER BY placed_at DESC, id DESC LIMIT $2"),
                args![&policy.map(str::to_owned), i64::from(count)],
                read,
            )
        })
    }
}

/// A hold as it stands now; the evidence log is to have it.
fn told(session: &mut Session<'_>, id: &str, kind: &str) -> Result<Hold, CatalogError> {
    let hold = get(session, id)?;
    outbox::put(session, &[OutboxLine::new(kind, json!(hold))])?;
    Ok(hold)
}

fn get(session: &mut Session<'_>, id: &str) -> Result<Hold, CatalogError> {
    let hold = session.row("read a hold", select!("WHERE id = $1"), args![id], read)?;
    hold.ok_or_else(|| CatalogError::NotFound { what: format!("hold {id}") })
}

fn read(row: &Row<'_>) -> Result<Hold, CatalogError> {
    Ok(Hold {
        id: row.text(0)?,
        policy: row.text(1)?,
        kind: row.word(2)?,
        reason: row.text(3)?,
        placed_by: row.text(4)?,
        placed_at: row.time(5)?,
        released_by: row.opt_text(6)?,
        released_at: row.opt_time(7)?,
        released_because: row.opt_text(8)?,
    })
}

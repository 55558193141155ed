//! How much room the state folder and the folders of targets had, a day at a time.

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::open::Catalog;
use super::sql::{Row, args};
use crate::base::clock::Timestamp;
use crate::base::room::Room;

/// Days that are kept of each place.
const DAYS_MAX: i64 = 400;
const DAY_MS: i64 = 86_400_000;

/// Whose room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceOf<'a> {
    policy: &'a str,
    target: &'a str,
}

impl<'a> SpaceOf<'a> {
    /// That of the state folder.
    pub const STATE: Self = Self { policy: "", target: "" };

    /// That of a policy's target.
    pub fn target(policy: &'a str, target: &'a str) -> Self {
        Self { policy, target }
    }
}

/// The room of a place at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceSample {
    /// When.
    pub at: Timestamp,
    /// Free bytes.
    pub free_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
}

impl SpaceSample {
    /// The same without its time.
    pub fn room(&self) -> Room {
        Room { free_bytes: self.free_bytes, total_bytes: self.total_bytes }
    }
}

impl Catalog {
    /// Records the room of places, over what was recorded of them earlier on the same day (UTC).
    ///
    /// # Errors
    /// Of the database.
    pub fn record_space(&self, rooms: &[(SpaceOf<'_>, Room)], now: Timestamp) -> Result<(), CatalogError> {
        let day = now.unix_ms().div_euclid(DAY_MS);
        self.database.transaction(|session| {
            for (of, room) in rooms {
                session.execute(
                    "record free space",
                    "INSERT INTO space (policy, target, day, at, free_bytes, total_bytes)
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (policy, target, day)
                     DO UPDATE SET at = $4, free_bytes = $5, total_bytes = $6",
                    args![of.policy, of.target, day, now, room.free_bytes, room.total_bytes],
                )?;
                // By their number: a clock that jumped may put a day in the wrong place, and must not
                // take the others with it.
                session.execute(
                    "drop old free space",
                    "DELETE FROM space WHERE policy = $1 AND target = $2 AND day IN (
                         SELECT day FROM space WHERE policy = $1 AND target = $2
                         ORDER BY day DESC LIMIT 1000 OFFSET $3)",
                    args![of.policy, of.target, DAYS_MAX],
                )?;
            }
            Ok(())
        })
    }

    /// What was recorded of the places of a policy from a moment until now, by target and time; of the state
    /// folder where the policy is empty. What a clock that was ahead left behind it is not shown.
    ///
    /// # Errors
    /// Of the database.
    pub fn spaces(
        &self,
        policy: &str,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<(String, SpaceSample)>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list free space",
                "SELECT target, at, free_bytes, total_bytes FROM space
                 WHERE policy = $1 AND at >= $2 AND at <= $3 ORDER BY target, at",
                args![policy, from, now],
                |row| Ok((row.text(0)?, read(row)?)),
            )
        })
    }

    /// When the room of the state folder was last recorded.
    ///
    /// # Errors
    /// Of the database.
    pub fn spaces_at(&self, now: Timestamp) -> Result<Option<Timestamp>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read when free space was recorded",
                "SELECT at FROM space WHERE policy = '' AND target = '' AND at <= $1 ORDER BY at DESC LIMIT 1",
                args![now],
                |row| row.time(0),
            )
        })
    }
}

fn read(row: &Row<'_>) -> Result<SpaceSample, CatalogError> {
    Ok(SpaceSample { at: row.time(1)?, free_bytes: row.count(2)?, total_bytes: row.count(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_place_has_one_line_a_day_and_a_bounded_number_of_days_whatever_the_clock_did() {
        let dir = tempfile::tempdir().expect("a folder");
        let catalogue = Catalog::open(&dir.path().join("catalogue.db")).expect("opened");
        let start = Timestamp::parse_rfc3339("2026-01-01T10:00:00Z").expect("a time");
        let of = SpaceOf::target("web", "disk");
        let day = |number: u32| start.plus(Duration::from_secs(86_400) * number);
        let with = |free_bytes| Room { free_bytes, total_bytes: 10_000 };
        // A clock that was ten years ahead for a moment.
        catalogue.record_space(&[(of, with(1))], day(3650)).expect("recorded");
        for number in 0..450u32 {
            catalogue.record_space(&[(of, with(7))], day(number)).expect("recorded");
            let later = day(number).plus(Duration::from_secs(3600));
            catalogue.record_space(&[(of, with(u64::from(number)))], later).expect("recorded");
        }
        let now = day(450);
        let found = catalogue.spaces("web", start.minus(Duration::from_secs(1)), now).expect("read");
        assert_eq!(found.len(), 399, "and the one that lies ahead");
        assert_eq!(found.last().map(|(_, one)| one.free_bytes), Some(449));
        assert_eq!(catalogue.spaces_at(now).expect("read"), None, "that is the state folder's");
        catalogue.record_space(&[(SpaceOf::STATE, with(5))], day(3)).expect("recorded");
        assert_eq!(catalogue.spaces_at(now).expect("read"), Some(day(3)));
    }
}

//! Lines on their way to the evidence log. A line is recorded in one transaction with what it tells of,
//! and is gone once the log has it: whatever ends a process between the two, it is told, and at worst
//! twice.

use serde_json::Value;

use super::error::CatalogError;
use super::open::Catalog;
use super::sql::{Session, args};

/// So many lines are handed over in one transaction.
const AT_ONCE: i64 = 100;

/// A line for the evidence log.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxLine {
    /// `run.ended`.
    pub kind: String,
    /// Its data: an object.
    pub data: Value,
}

impl OutboxLine {
    /// A line of this kind.
    pub fn new(kind: &str, data: Value) -> Self {
        Self { kind: kind.to_owned(), data }
    }
}

impl Catalog {
    /// Hands the lines that wait to `write`, in their order, and forgets those that it took. Who else wants
    /// to hand them over waits meanwhile, and so does every other writer.
    ///
    /// # Errors
    /// Of the database; inside, the first that `write` gave: that line and those after it wait on.
    pub fn hand_over<E>(
        &self,
        mut write: impl FnMut(&OutboxLine) -> Result<(), E>,
    ) -> Result<Result<(), E>, CatalogError> {
        loop {
            let (count, done) = self.database.transaction(|session| {
                let waiting = waiting(session)?;
                let mut done = Ok(());
                for (number, line) in &waiting {
                    done = write(line);
                    if done.is_err() {
                        break;
                    }
                    let forget = "DELETE FROM outbox WHERE number = $1";
                    session.execute("forget a line that the log has", forget, args![*number])?;
                }
                Ok((waiting.len(), done))
            })?;
            if done.is_err() || count == 0 {
                return Ok(done);
            }
        }
    }

    /// Whether a line waits: read without the lock that [`Catalog::hand_over`] takes.
    ///
    /// # Errors
    /// Of the database.
    pub fn has_lines(&self) -> Result<bool, CatalogError> {
        self.database.with(|session| Ok(!waiting(session)?.is_empty()))
    }
}

/// Adds lines, inside the transaction that records what they tell of.
pub(super) fn put(session: &mut Session<'_>, lines: &[OutboxLine]) -> Result<(), CatalogError> {
    for line in lines {
        session.execute(
            "record a line for the log",
            "INSERT INTO outbox (number, kind, data)
             SELECT COALESCE(MAX(number), 0) + 1, $1, $2 FROM outbox",
            args![&line.kind, &line.data.to_string()],
        )?;
    }
    Ok(())
}

fn waiting(session: &mut Session<'_>) -> Result<Vec<(u64, OutboxLine)>, CatalogError> {
    session.rows(
        "list lines for the log",
        "SELECT number, kind, data FROM outbox ORDER BY number LIMIT $1",
        args![AT_ONCE],
        |row| {
            let text = row.text(2)?;
            let data = serde_json::from_str(&text).map_err(|_| row.unreadable(2, &text))?;
            Ok((row.count(0)?, OutboxLine { kind: row.text(1)?, data }))
        },
    )
}

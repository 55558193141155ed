//! What each policy promised when somebody last agreed to it.

use super::error::CatalogError;
use super::open::Catalog;
use super::sql::{Row, args};
use crate::base::clock::Timestamp;

/// A promise that somebody agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Of which policy.
    pub policy: String,
    /// SHA-256 of the policy's file.
    pub version: String,
    /// The promise, as JSON.
    pub body: String,
    /// When: at its first sight, by a change that made nothing weaker, or by a person.
    pub at: Timestamp,
}

impl Catalog {
    /// Puts an agreement in the place of the one before.
    ///
    /// # Errors
    /// Of the database.
    pub fn agree(&self, agreed: &Agreed) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "record a promise",
                "INSERT INTO promises (policy, version, body, agreed_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (policy) DO UPDATE SET version = $2, body = $3, agreed_at = $4",
                args![&agreed.policy, &agreed.version, &agreed.body, agreed.at],
            )
        })?;
        Ok(())
    }

    /// The agreement about a policy.
    ///
    /// # Errors
    /// Of the database.
    pub fn agreed(&self, policy: &str) -> Result<Option<Agreed>, CatalogError> {
        self.database.with(|session| {
            session.row(
                "read a promise",
                "SELECT policy, version, body, agreed_at FROM promises WHERE policy = $1",
                args![policy],
                read,
            )
        })
    }

    /// The policies that something was promised about.
    ///
    /// # Errors
    /// Of the database.
    pub fn promised(&self) -> Result<Vec<String>, CatalogError> {
        self.database.with(|session| {
            session.rows("list promises", "SELECT policy FROM promises ORDER BY policy", args![], |row| {
                row.text(0)
            })
        })
    }

    /// Somebody agreed that nothing is promised about a policy any more.
    ///
    /// # Errors
    /// Of the database.
    pub fn end_promise(&self, policy: &str) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute("end a promise", "DELETE FROM promises WHERE policy = $1", args![policy])
        })?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Agreed, CatalogError> {
    Ok(Agreed { policy: row.text(0)?, version: row.text(1)?, body: row.text(2)?, at: row.time(3)? })
}

//! Targets as last probed, and what verifications read back from them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CatalogError;
use super::open::{Catalog, new_id};
use super::sql::args;
use super::words::VerifyScope;
use crate::base::clock::Timestamp;

/// Stored bytes of a target were read and compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Whose target.
    pub policy: String,
    /// Its name.
    pub target: String,
    /// How much was read.
    pub scope: VerifyScope,
    /// When it began: what the copies' read-back counts from.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Objects read.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects that were damaged or missing.
    pub damaged: u64,
}

/// A target as it was last probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetRecord {
    /// Whose target.
    pub policy: String,
    /// Its name.
    pub name: String,
    /// Where it is, without secrets.
    pub url: String,
    /// What the probe found that the store can do: an object.
    pub capabilities: Value,
    /// What refutes or supports declared facts (device, host, region): an object.
    pub facts: Value,
    /// When.
    pub probed_at: Timestamp,
}

impl Catalog {
    /// Records that stored bytes were verified.
    ///
    /// # Errors
    /// Of the database.
    pub fn record_verification(&self, verification: &Verification) -> Result<(), CatalogError> {
        let Verification { policy, target, scope, started_at, ended_at, objects, bytes, damaged } =
            verification;
        self.database.with(|session| {
            session.execute(
                "record a verification",
                "INSERT INTO verifications (id, policy, target, scope, started_at, ended_at, objects, bytes, damaged)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                args![
                    &new_id(*ended_at),
                    policy,
                    target,
                    scope,
                    *started_at,
                    *ended_at,
                    *objects,
                    *bytes,
                    *damaged
                ],
            )?;
            Ok(())
        })
    }

    /// The newest verification of each of a policy's targets that read every stored object.
    ///
    /// # Errors
    /// Of the database.
    pub fn last_verifications(&self, policy: &str) -> Result<Vec<Verification>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list the last verifications",
                "SELECT policy, target, scope, started_at, ended_at, objects, bytes, damaged FROM verifications AS v
                 WHERE policy = $1 AND scope <> 'new' AND NOT EXISTS (
                     SELECT 1 FROM verifications AS later
                     WHERE later.policy = v.policy AND later.target = v.target AND later.scope <> 'new'
                     AND (later.ended_at > v.ended_at OR (later.ended_at = v.ended_at AND later.id > v.id)))
                 ORDER BY target",
                args![policy],
                |row| {
                    Ok(Verification {
                        policy: row.text(0)?,
                        target: row.text(1)?,
                        scope: row.word(2)?,
                        started_at: row.time(3)?,
                        ended_at: row.time(4)?,
                        objects: row.count(5)?,
                        bytes: row.count(6)?,
                        damaged: row.count(7)?,
                    })
                },
            )
        })
    }

    /// Records a target as probed, in place of the probe before.
    ///
    /// # Errors
    /// Of the database.
    pub fn record_target(&self, target: &TargetRecord) -> Result<(), CatalogError> {
        let TargetRecord { policy, name, url, capabilities, facts, probed_at } = target;
        self.database.with(|session| {
            session.execute(
                "record a target",
                "INSERT INTO targets (policy, name, url, capabilities, facts, probed_at)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (policy, name)
                 DO UPDATE SET url = $3, capabilities = $4, probed_at = $6,
                 facts = CASE WHEN $5 = 'null' THEN targets.facts ELSE $5 END",
                args![policy, name, url, &capabilities.to_string(), &facts.to_string(), *probed_at],
            )?;
            Ok(())
        })
    }

    /// Records what supports or refutes what is declared of a target, beside what its probe found.
    ///
    /// # Errors
    /// Of the database.
    pub fn record_target_facts(
        &self,
        policy: &str,
        name: &str,
        url: &str,
        facts: &Value,
    ) -> Result<(), CatalogError> {
        self.database.with(|session| {
            session.execute(
                "record a target's facts",
                "INSERT INTO targets (policy, name, url, capabilities, facts, probed_at)
                 VALUES ($1, $2, $3, 'null', $4, 0) ON CONFLICT (policy, name) DO UPDATE SET facts = $4",
                args![policy, name, url, &facts.to_string()],
            )?;
            Ok(())
        })
    }

    /// A policy's targets as last probed, by name.
    ///
    /// # Errors
    /// Of the database.
    pub fn targets(&self, policy: &str) -> Result<Vec<TargetRecord>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list targets",
                "SELECT policy, name, url, capabilities, facts, probed_at FROM targets WHERE policy = $1 ORDER BY name",
                args![policy],
                |row| {
                    Ok(TargetRecord {
                        policy: row.text(0)?,
                        name: row.text(1)?,
                        url: row.text(2)?,
                        capabilities: row.json(3)?,
                        facts: row.json(4)?,
                        probed_at: row.time(5)?,
                    })
                },
            )
        })
    }
}

//! What happened, from the catalogue into the evidence log.

use serde_json::json;

use crate::catalog::Catalog;
use crate::catalog::CatalogError;
use crate::catalog::outbox::OutboxLine;
use crate::evidence::{EvidenceError, EvidenceLog, sha256};

/// No id of ours is longer.
const ID_BYTES_MAX: usize = 64;

/// Writes the lines that wait in the catalogue into the log: those of this process's own run, and those
/// that an earlier one was cut off before it could write.
///
/// # Errors
/// When the catalogue cannot be written; inside, when the log cannot. What was not written waits on.
pub fn tell(catalogue: &Catalog, log: &EvidenceLog) -> Result<Result<(), EvidenceError>, CatalogError> {
    if !catalogue.has_lines()? {
        return Ok(Ok(()));
    }
    catalogue.hand_over(|line| append(log, line))
}

/// A line that the log can never take must not keep all others waiting: the log says that there was one.
fn append(log: &EvidenceLog, line: &OutboxLine) -> Result<(), EvidenceError> {
    match log.append(&line.kind, line.data.clone()) {
        Err(EvidenceError::Refused { why, .. }) => {
            let sha256 = sha256::hex(line.data.to_string().as_bytes());
            let short = |key: &str| line.data[key].as_str().filter(|text| text.len() <= ID_BYTES_MAX);
            let data = json!({
                "kind": line.kind, "why": why, "sha256": sha256,
                "policy": short("policy"), "run": short("run"),
            });
            log.append("line.refused", data).map(drop)
        }
        told => told.map(drop),
    }
}

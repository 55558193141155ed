//! What can be proven: the hash-chained log, its signed heads, signed reports, and their offline
//! verification. The layout, and the same check with stock tools, is in `docs/evidence.md`.

pub mod error;
pub mod head;
pub mod key;
pub mod line;
pub mod log;
pub mod pick;
pub mod report;
pub mod sha256;
pub mod verify;

mod tail;

pub use error::EvidenceError;
pub use head::{RepositoryAnchor, SignedHead};
pub use log::{Entry, EvidenceLog, Place};
pub use report::{FinishedReport, ReportId, SealedReport};

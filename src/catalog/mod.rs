//! What happened: occurrences, runs, snapshots, copies with their assurance, verifications,
//! drills, findings. Records facts; decides nothing. What of it can be had again after a loss is
//! in `docs/recovery.md`.

pub mod copies;
pub mod drills;
pub mod error;
pub mod findings;
pub mod holds;
pub mod incidents;
pub mod messages;
pub mod occurrences;
pub mod outbox;
pub mod process;
pub mod promises;
pub mod runs;
pub mod space;
pub mod state;
pub mod targets;
pub mod words;

mod open;
mod sql;

pub use error::CatalogError;
pub use open::Catalog;

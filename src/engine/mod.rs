//! The verbs: backup, restore, verify, sync, stats. Each plans first, then executes.

pub mod backup;
pub mod context;
pub mod cut;
pub mod error;
pub(crate) mod hurt;
pub mod ls;
pub(crate) mod manifest_source;
pub mod restore;
pub mod stats;
pub mod sync;
pub mod verify;

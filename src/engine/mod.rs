//! The verbs: backup, restore, verify, sync, stats. Each plans first, then executes.

mod ahead;
pub mod backup;
pub mod context;
pub mod cut;
pub mod diff;
pub mod dump;
pub mod error;
pub mod find;
pub mod forget;
pub mod history;
pub(crate) mod hurt;
pub mod locks;
pub mod ls;
pub mod mount;
pub mod prune;
pub mod repair;
pub mod restore;
mod roots;
pub mod scrub;
pub mod stats;
mod stretches;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod verify;

//! Dropping snapshots: the one place besides the sweep that deletes stored objects. What was dropped
//! stays on record.

mod forget;
mod removals;
#[cfg(test)]
mod tests;

pub use forget::{Forgotten, forget};
pub use removals::{Removals, copy, record, removals};

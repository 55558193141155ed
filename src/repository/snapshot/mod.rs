//! Dropping snapshots: the one place besides the sweep that deletes stored objects.

mod forget;
#[cfg(test)]
mod tests;

pub use forget::{Forgotten, forget};

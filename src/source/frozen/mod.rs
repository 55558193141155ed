//! A view of the source that holds still while it is read: a read-only snapshot that the file
//! system makes, with the files as they were at one moment.
//!
//! - [`btrfs`]: snapshots of subvolumes, made, found again after a kill, and always removed.
//! - [`hook`]: views that a program of the operator makes.
//! - [`mounts`]: what is mounted where, so that nothing is missing from a view unsaid.
//! - `tool`: programs of the system, with typed arguments and no shell.

pub mod btrfs;
pub mod hook;
pub mod mounts;
mod tool;

pub use btrfs::{View, is_view_name};

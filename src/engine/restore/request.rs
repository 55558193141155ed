//! What is asked of a restore.

use std::path::PathBuf;

use crate::source::files::{Existing, Owner};

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Restore.
    Write,
    /// Restore, then read back what was written and compare.
    WriteAndCheck,
    /// Count only.
    Plan,
}

/// One restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The folder to restore into.
    pub to: PathBuf,
    /// Paths as `ls` prints them; none means everything.
    pub paths: Vec<Vec<u8>>,
    /// What happens to things in the way.
    pub existing: Existing,
    /// Whether owners are set.
    pub owner: Owner,
    /// Whether entries that are not in the snapshot are removed.
    pub others: Others,
    /// Whether anything is written.
    pub mode: Mode,
    /// Folders of our own that it must not reach: repositories of this machine, the state folder.
    pub ours: Vec<PathBuf>,
}

/// What happens to entries of the destination that the snapshot doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They stay.
    Keep,
    /// They are removed.
    Remove,
}

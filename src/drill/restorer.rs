//! The seam to the engine: one snapshot on one named target, read past every cache.
//!
//! The runner calls `unlock`, `locate`, `entries`, `restore`, `entries` in this order, and
//! `reads` at any time. Everything is read from the target that the drill names; nothing of it
//! may come from a cache of this machine without [`Reads::used_local_cache`] saying so.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::error::DrillError;
use super::pick::Picked;
use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::metadata::{FileKind, FileTime};
use crate::base::progress::Progress;

/// What the snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its id, as people see it.
    pub id: String,
    /// `full`, `incremental`, `differential`.
    pub kind: String,
    /// Start of the walk that read the source.
    pub captured_at: Timestamp,
    /// Root of its manifest. Known to nobody when the seed is drawn.
    pub manifest_root: [u8; 32],
}

/// What the manifest says of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFact {
    /// Path below the restore root, `/` between components, no slash in front.
    pub path: Vec<u8>,
    /// Its type.
    pub kind: FileKind,
    /// Length in bytes; 0 for all but regular files.
    pub size: u64,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: FileTime,
    /// What a symbolic link says; empty for all else.
    pub link_target: Vec<u8>,
}

/// An entry while the manifest is being read.
pub trait Entry {
    /// What the manifest says of it.
    fn fact(&self) -> &EntryFact;

    /// Whether the bytes of this open regular file, read from its start, are those that the
    /// manifest recorded (its content hash, taken when the source was read).
    ///
    /// # Errors
    /// When the file cannot be read.
    fn content_matches(&self, restored: &mut File) -> io::Result<bool>;
}

/// What to restore, and where to.
#[derive(Debug)]
pub struct RestoreRequest<'a> {
    /// An empty private folder; nothing outside of it is written.
    pub to: &'a Path,
    /// Which entries. Parents of picked entries are made as needed.
    pub picked: &'a Picked,
}

/// What was wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path, readable (see [`crate::base::display::path`]).
    pub path: String,
    /// What is wrong, as a clause.
    pub problem: String,
}

/// What a restore that came to its end did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Regular files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that could not be brought back: damaged, missing on the target.
    pub failed: u64,
    /// The first of them, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
}

/// So many problems are named; the rest is counted.
pub const PROBLEMS_MAX: usize = 50;

/// What was read so far, and from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Bytes that came from the target.
    pub bytes_from_target: u64,
    /// Whether anything came from a cache of this machine.
    pub used_local_cache: bool,
}

/// One snapshot on one target.
pub trait Restorer {
    /// Opens the repository with its key.
    ///
    /// # Errors
    /// [`DrillError::Restore`] with the fault on the right side.
    fn unlock(&mut self) -> Result<(), DrillError>;

    /// Finds the snapshot on the target.
    ///
    /// # Errors
    /// As [`Restorer::unlock`].
    fn locate(&mut self) -> Result<SnapshotFacts, DrillError>;

    /// Visits every entry below the root in manifest order. May be called several times.
    ///
    /// # Errors
    /// As [`Restorer::unlock`]. Breaking is no error.
    fn entries(&mut self, visit: &mut dyn FnMut(&dyn Entry) -> ControlFlow<()>) -> Result<(), DrillError>;

    /// Restores the picked entries, checking every blob's id. Goes on past damaged entries and
    /// counts them. Reports progress at least once an item and looks at `cancel` as often.
    ///
    /// # Errors
    /// As [`Restorer::unlock`]; [`DrillError::Stopped`] when cancelled.
    fn restore(
        &mut self,
        request: &RestoreRequest<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Restored, DrillError>;

    /// What was read so far.
    fn reads(&self) -> Reads;
}

//! How much room a file system has.

use std::io;
use std::path::Path;

/// Bytes that a file system has and that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes, for whoever is not root.
    pub free_bytes: u64,
    /// All bytes; never 0.
    pub total_bytes: u64,
}

impl Room {
    /// Asks the file system that holds a path. `None` when it does not say how large it is, as some
    /// that have no disk of their own.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let room = Self { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) };
        Ok((room.total_bytes > 0).then_some(room))
    }
}

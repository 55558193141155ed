//! Folders of our own that a restore must not reach: repositories, and the state folder.
//!
//! They are compared by what the file system calls them, so that neither a symbolic link nor a
//! second mount hides one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::request::{Others, RestoreRequest};
use crate::engine::error::EngineError;

/// Refuses a destination that is or lies in such a folder; and, when strangers are removed, one
/// that contains it. Nothing is written.
///
/// # Errors
/// Class `Refused`.
pub(super) fn refuse(request: &RestoreRequest) -> Result<(), EngineError> {
    let Ok(to) = std::path::absolute(&request.to) else { return Ok(()) };
    let above_to = folders(&to);
    let itself = inode(&to);
    for own in &request.ours {
        let Some(found) = inode(own) else { continue };
        let how = if itself == Some(found) {
            "is"
        } else if above_to.contains(&found) {
            "lies in"
        } else if request.others == Others::Remove && itself.is_some_and(|to| folders(own).contains(&to)) {
            "contains"
        } else {
            continue;
        };
        return Err(EngineError::OnOurOwn { path: request.to.clone(), how, own: own.clone() });
    }
    Ok(())
}

type Inode = (u64, u64);

fn inode(path: &Path) -> Option<Inode> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// The folder and those above it, as far as they are there, links followed.
fn folders(path: &Path) -> Vec<Inode> {
    let there = path.ancestors().find_map(|folder| folder.canonicalize().ok());
    there.iter().flat_map(|there| there.ancestors()).filter_map(inode).collect()
}

//! The verb: checks the source, then makes passes until one commits.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::outcome::BackupOutcome;
use super::pass::{Pass, root_bytes};
use super::request::BackupRequest;
use super::size;
use super::start::{Doubt, Start};
use crate::base::display;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;

/// A commit that a sweep disturbed, or that found packs gone, is tried again with a further pass:
/// so many in all.
const PASSES_MAX: usize = 3;

/// Backs the roots up to all targets of the repository at once.
///
/// # Errors
/// When the source is missing or empty, no target has the snapshot in the end, or somebody asked
/// to stop. Unread items and lagging targets are no errors but part of the outcome.
pub fn backup(
    repository: &Repository,
    request: &BackupRequest,
    cx: &Context,
) -> Result<BackupOutcome, EngineError> {
    for root in &request.roots {
        check_source(root)?;
    }
    let roots = root_bytes(request);
    let signer = repository.signer(&request.host)?;
    let mut rounds = 1;
    let mut lost = HashSet::new();
    loop {
        let doubt = Doubt { lost: &lost, another_round: rounds < PASSES_MAX };
        let start = Start::read(repository, request, &roots, &doubt, cx)?;
        let captured_at = cx.clock.now();
        let pass =
            Pass { repository, request, roots: &roots, cx, start: &start, signer: &signer, captured_at };
        let (entries, bytes) = size::expected(&pass);
        cx.progress.phase("backup", entries, bytes);
        if let Some(resume) = &start.resume {
            let entries: u64 = resume.body.roots.iter().map(|root| root.entries).sum();
            cx.progress.note(format!("going on from an interrupted run: {entries} entries are done"));
        }
        let result = pass.run();
        cx.progress.phase_finished("backup");
        match result {
            Err(EngineError::Repository(RepositoryError::Busy { place, what })) if rounds < PASSES_MAX => {
                rounds += 1;
                cx.progress.warn(format!("{place}: {what}; going over the source again (round {rounds})"));
            }
            Err(EngineError::Repository(RepositoryError::Gone { place, what, packs }))
                if rounds < PASSES_MAX =>
            {
                rounds += 1;
                cx.progress.warn(format!(
                    "{place}: {what}; {} packs count as lost: what they held is read again and stored anew (round {rounds}). \
                     Older snapshots that need them are hurt: run `lifeboat repo verify`",
                    packs.len()
                ));
                lost.extend(packs);
            }
            other => return other,
        }
    }
}

/// A source that is missing, or an empty folder, is a failed run: never a green, empty backup.
fn check_source(root: &Path) -> Result<(), EngineError> {
    let path = display::path(root.as_os_str().as_bytes());
    let Ok(facts) = std::fs::metadata(root) else {
        return Err(EngineError::NoSource { path, what: "does not exist or cannot be reached" });
    };
    if facts.is_dir()
        && let Ok(mut entries) = std::fs::read_dir(root)
        && entries.next().is_none()
    {
        return Err(EngineError::NoSource { path, what: "is an empty folder" });
    }
    Ok(())
}

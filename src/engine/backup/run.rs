//! The verb: checks the source, then makes passes until one commits.

use std::collections::HashSet;

use super::outcome::BackupOutcome;
use super::pass::{Pass, root_bytes};
use super::request::BackupRequest;
use super::size;
use super::sources::{self, Moment, Sources};
use super::start::{Doubt, Past, Start};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::kept::Kept;
use crate::source::files::Rules;

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
    let mut request = request.clone();
    request.roots = sources::once(&request.roots, cx);
    let request = &request;
    // What is wrong with the source is said before anybody waits for a target.
    sources::check(request)?;
    let rules = Rules::new(request.walk.clone())?;
    let roots = root_bytes(request);
    let signer = repository.signer(&request.host)?;
    let kept = Kept::of(repository, &request.host, &roots);
    let mut rounds = 1;
    let mut lost = HashSet::new();
    loop {
        let doubt = Doubt { lost: &lost, another_round: rounds < PASSES_MAX };
        let past = Past { repository, request, roots: &roots, signer: &signer, kept: kept.as_ref() };
        let start = Start::read(&past, &doubt, cx)?;
        let captured_at = cx.clock.now();
        let sources = Sources::open(request, &rules, Moment { at: captured_at, round: rounds }, cx)?;
        let pass = Pass {
            repository,
            request,
            sources: &sources,
            roots: &roots,
            cx,
            start: &start,
            signer: &signer,
            captured_at,
            kept: kept.as_ref(),
        };
        let (entries, bytes) = size::expected(&pass);
        cx.progress.phase("backup", entries, bytes);
        if let Some(resume) = &start.resume {
            let entries: u64 = resume.body.roots.iter().map(|root| root.entries).sum();
            cx.progress.note(format!("going on from an interrupted run: {entries} entries are done"));
        }
        let result = pass.run();
        sources.close(cx);
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

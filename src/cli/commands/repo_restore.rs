//! `lifeboat repo restore`.

use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use super::repo::{place_options, plumbing};
use crate::base::error::Failure;
use crate::base::size::format_bytes;
use crate::cli::args::{OneRepo, RestoreToArgs};
use crate::cli::output::{JSON_VERSION, Output, escape, more};
use crate::cli::run::Session;
use crate::engine::restore::outcome::RestoreOutcome;
use crate::engine::restore::request::{Mode, Others, RestoreRequest};
use crate::engine::restore::restore;
use crate::repository::snapshots;
use crate::source::files::{Existing, Owner};
use crate::storage::contract::Read;
use crate::storage::place::Place;

/// Restores out of a bare repository.
pub(super) fn run(session: &Session, at: &OneRepo, wanted: &str, to: &RestoreToArgs) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let repository = plumbing(session, &at.access).open(&at.repo, &secret)?;
    let snapshot = snapshots::find(&repository, &repository.targets()[0], wanted)?;
    session.cx.progress.note(format!(
        "snapshot {} of {}, taken {}",
        snapshot.id.short(),
        snapshot.body.host,
        snapshot.body.captured_at.readable()
    ));
    let mut request = request(to);
    request.ours.push(session.state_folder());
    if let Place::Local(path) = Place::parse(&at.repo, &place_options(&at.access))? {
        request.ours.push(path);
    }
    let outcome = restore(&repository, &snapshot, &request, Read::Quick, &session.cx)?;
    Ok(print_restore(session.output, to, &outcome))
}

/// What the flags ask for.
pub(in crate::cli) fn request(to: &RestoreToArgs) -> RestoreRequest {
    RestoreRequest {
        to: to.to.clone(),
        paths: to.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        existing: match (to.overwrite, to.delete) {
            (false, _) => Existing::Refuse,
            (true, false) => Existing::Overwrite,
            (true, true) => Existing::Mirror,
        },
        owner: if to.no_owner { Owner::Keep } else { Owner::Restore },
        others: if to.delete { Others::Remove } else { Others::Keep },
        mode: match (to.dry_run, to.verify) {
            (true, _) => Mode::Plan,
            (false, true) => Mode::WriteAndCheck,
            (false, false) => Mode::Write,
        },
        ours: Vec::new(),
    }
}

/// Prints what a restore did and gives the exit code.
pub(in crate::cli) fn print_restore(out: Output, to: &RestoreToArgs, outcome: &RestoreOutcome) -> u8 {
    let code = outcome.exit_code();
    if out.is_json() {
        out.json(
            &json!({ "version": JSON_VERSION, "exit": code, "dry_run": to.dry_run, "restore": outcome }),
        );
        return code;
    }
    for (word, items) in [
        ("not restored", &outcome.failed),
        ("differs", &outcome.differing),
        ("unread at backup", &outcome.unread_at_backup),
    ] {
        for item in &items.named {
            out.talk(&format!("{word}: {}: {}", escape(&item.path), escape(&item.reason)));
        }
        if let Some(more) = more(items.count, items.named.len()) {
            out.talk(&format!("{word}: {more}"));
        }
    }
    let verb = if to.dry_run { "would restore" } else { "restored" };
    out.line(&format!(
        "{verb} {} files, {}, {} folders, {} others from {}",
        outcome.files,
        format_bytes(outcome.bytes),
        outcome.folders,
        outcome.others,
        escape(&outcome.target)
    ));
    if !to.dry_run {
        out.line(&told_of_transfer(outcome));
    }
    if outcome.sockets_not_made > 0 {
        let sockets = if outcome.sockets_not_made == 1 { "socket" } else { "sockets" };
        out.line(&format!(
            "{} {sockets} not made: the program that listens makes its own",
            outcome.sockets_not_made
        ));
    }
    if outcome.removed > 0 {
        out.line(&format!("removed {} entries that the snapshot does not have", outcome.removed));
    }
    if outcome.cleared > 0 {
        out.line(&format!("removed {} files that given up restores had left", outcome.cleared));
    }
    for mark in &outcome.not_ended {
        out.line(&format!("another restore into this folder has not ended: {}", escape(mark)));
    }
    if let Some(checked) = outcome.checked {
        out.line(&format!("read back {checked} files: {} differ", outcome.differing.count));
    }
    let bad = [
        (outcome.failed.count, "could not be restored"),
        (outcome.unread_at_backup.count, "were unread when the snapshot was taken"),
    ];
    for (count, what) in bad.iter().filter(|(count, _)| *count > 0) {
        out.line(&format!("{count} {what}"));
    }
    print_metadata(out, outcome);
    code
}

/// What had to be fetched, and what was there.
fn told_of_transfer(outcome: &RestoreOutcome) -> String {
    let fetched = format!("{} fetched", format_bytes(outcome.bytes_fetched));
    if outcome.kept + outcome.replaced + outcome.bytes_reused == 0 && !outcome.resumed {
        return fetched;
    }
    let went_on = if outcome.resumed { "went on with an interrupted restore: " } else { "" };
    format!(
        "{went_on}{fetched}, {} were there already: {} files kept, {} replaced",
        format_bytes(outcome.bytes_reused),
        outcome.kept,
        outcome.replaced
    )
}

/// What could not be set, each sort once: a million files of which none could be given its owner
/// are one line.
fn print_metadata(out: Output, outcome: &RestoreOutcome) {
    if outcome.metadata_issues.count == 0 {
        return;
    }
    out.line("metadata that could not be set:");
    for loss in &outcome.metadata_report {
        let first = loss.first.iter().map(|path| escape(path)).collect::<Vec<_>>().join(", ");
        let more = if loss.count > loss.first.len() as u64 { ", ..." } else { "" };
        out.line(&format!("  {} x {}: {} ({first}{more})", loss.count, loss.what, loss.why));
        if let Some(next) = &loss.next {
            out.line(&format!("    next: {next}"));
        }
    }
}

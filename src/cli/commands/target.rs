//! `target` and its plumbing: what places and credentials can do, and locks that must not end.

use serde_json::json;

use super::policy::{occasion, site};
use super::repo::plumbing;
use crate::app::error::AppError;
use crate::app::replace::{Filled, replace};
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Failure};
use crate::base::size::format_bytes;
use crate::cli::args::{ManyRepos, S3Args, TargetArgs, TargetCommand};
use crate::cli::limits::limited;
use crate::cli::output::{JSON_VERSION, escape};
use crate::cli::run::Session;
use crate::engine::locks::LockOutcome;
use crate::storage::capabilities::Capabilities;

/// `lifeboat target`.
pub(in crate::cli) fn run(session: &Session, command: &TargetCommand) -> Result<u8, Failure> {
    match command {
        TargetCommand::Probe(args) => {
            let site = limited(session, site(session)?, Some(&args.policy))?;
            let occasion = occasion(session, args.occurrence.as_deref())?;
            let policy = site.policy(&args.policy)?;
            let found = crate::app::targets::probe(&site, policy, args.target.as_deref(), occasion)?;
            Ok(print_probes(session, &found))
        }
        TargetCommand::ExtendLocks(args) => {
            let TargetArgs { policy, target, occurrence } = args;
            let site = limited(session, site(session)?, Some(policy))?;
            let occasion = occasion(session, occurrence.as_deref())?;
            let policy = site.policy(policy)?;
            let outcomes = crate::app::targets::extend_locks(&site, policy, target.as_deref(), occasion)?;
            Ok(print_locks(session, &outcomes))
        }
        TargetCommand::Replace { policy, target, from } => {
            let site = limited(session, site(session)?, Some(policy))?;
            let filled = replace(&site, site.policy(policy)?, target, from.as_deref())?;
            Ok(print_filled(session, target, &filled))
        }
    }
}

fn print_filled(session: &Session, target: &str, filled: &Filled) -> u8 {
    let out = session.output;
    let outcome = &filled.outcome;
    let code = if outcome.failed.is_empty() { 0 } else { Class::Partial.exit_code() };
    if out.is_json() {
        out.json(&json!({
            "version": JSON_VERSION, "exit": code, "target": target, "from": filled.from,
            "new": filled.is_new, "filled": outcome,
        }));
        return code;
    }
    out.line(&format!(
        "{}: {} snapshots copied from {}, {} were there, {}",
        escape(target),
        outcome.snapshots_copied,
        escape(&filled.from),
        outcome.snapshots_present,
        format_bytes(outcome.bytes)
    ));
    for failed in &outcome.failed {
        out.talk(&format!("failed: {}", escape(failed)));
    }
    out.talk("its copies count when they were read back: `lifeboat verify POLICY --target TARGET`");
    code
}

/// `repo probe`.
pub(super) fn probe_places(session: &Session, repos: &[String], access: &S3Args) -> Result<u8, Failure> {
    let plumbing = plumbing(session, access);
    let found = repos
        .iter()
        .map(|url| Ok((url.clone(), plumbing.probe(url)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(print_probes(session, &found))
}

/// `repo extend-locks`.
pub(super) fn extend_places(session: &Session, at: &ManyRepos) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let outcomes = plumbing(session, &at.access).extend_locks(&at.repos, &secret)?;
    if outcomes.is_empty() {
        return Err(AppError::Usage {
            what: "no place was named".to_owned(),
            hint: "name one with --repo".to_owned(),
        }
        .into());
    }
    Ok(print_locks(session, &outcomes))
}

fn print_probes(session: &Session, found: &[(String, Capabilities)]) -> u8 {
    let out = session.output;
    let dangers = found.iter().filter(|(_, found)| found.danger().is_some()).count();
    if out.is_json() {
        let places: Vec<_> = found
            .iter()
            .map(|(place, found)| json!({ "place": place, "found": found, "danger": found.danger() }))
            .collect();
        out.json(&json!({ "version": JSON_VERSION, "probes": places }));
    }
    for (place, found) in found {
        let place = escape(place);
        if !out.is_json() {
            let yes = |what: Option<bool>| match what {
                Some(true) => "yes",
                Some(false) => "no",
                None => "unknown",
            };
            out.line(&place);
            for (what, is) in [
                ("creates only what is not there", yes(Some(found.conditional_create))),
                ("checks sums before it acknowledges", yes(Some(found.checksums))),
                ("keeps old versions", yes(found.versioning)),
                ("has Object Lock", yes(found.object_lock)),
                (
                    "a locked object withstood",
                    found.lock_holds.map_or("no lock is asked for", |held| yes(Some(held))),
                ),
                ("these credentials may delete", yes(Some(found.can_delete))),
                ("they can write over for good", yes(found.can_overwrite)),
                ("they can destroy for good", yes(found.can_destroy)),
            ] {
                out.line(&format!("  {what:<36} {is}"));
            }
            out.line(&format!("  {:<36} {} s", "its clock, compared with ours", found.clock_skew_seconds));
        }
        if let Some(danger) = found.danger() {
            out.talk(&format!("warning: {place}: {danger} (docs/s3.md)"));
        }
    }
    match dangers {
        // Every one of them is kept apart, and not here.
        0 if found.is_empty() => Class::Partial.exit_code(),
        0 => 0,
        _ => Class::Refused.exit_code(),
    }
}

fn print_locks(session: &Session, outcomes: &[LockOutcome]) -> u8 {
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "locks": outcomes }));
    }
    for outcome in outcomes {
        if !out.is_json() {
            let until = outcome.locked_until.map_or_else(|| "not all of it is locked".to_owned(), until);
            out.line(&format!(
                "{}: {} objects, {} locked anew; {until}",
                escape(&outcome.target),
                outcome.objects,
                outcome.extended
            ));
        }
        for failed in &outcome.named {
            out.talk(&format!("warning: {}", escape(failed)));
        }
    }
    let is_done = !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.failed == 0);
    if is_done { 0 } else { Class::Partial.exit_code() }
}

fn until(at: Timestamp) -> String {
    format!("all of it is locked until {}", at.rfc3339())
}

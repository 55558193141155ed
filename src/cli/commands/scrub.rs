//! `lifeboat scrub`, `lifeboat repo scrub`: a share of every byte, read back.

use std::time::Duration;

use serde_json::json;

use super::policy::{occasion, site};
use super::repair::print_repair;
use super::repo::plumbing;
use crate::app::scrub::scrub_policy;
use crate::base::error::{Class, Failure};
use crate::base::size::{format_bytes, format_duration};
use crate::cli::args::{RepoScrubArgs, ScrubArgs};
use crate::cli::limits::limited;
use crate::cli::output::{JSON_VERSION, Output, escape, more};
use crate::cli::run::Session;
use crate::engine::scrub::{ScrubOutcome, ScrubRequest};

/// Everything is read within this time, where nobody says another.
const PERIOD: Duration = Duration::from_secs(28 * 24 * 3600);

/// Scrubs a policy's targets.
pub(in crate::cli) fn run_policy(session: &Session, args: &ScrubArgs) -> Result<u8, Failure> {
    let site = limited(session, site(session)?, args.policy.as_deref())?;
    let occasion = occasion(session, args.occurrence.as_deref())?;
    let mut code = 0;
    for policy in site.policies(args.policy.as_deref())? {
        let request = args.rota.request(policy.verify.scrub_period)?;
        let done = scrub_policy(&site, policy, args.target.as_deref(), &request, args.repair, occasion)?;
        for outcome in &done.outcomes {
            code = code.max(print_scrub(session.output, outcome, &request));
        }
        for outcome in done.repair.iter().flat_map(|repair| &repair.outcomes) {
            print_repair(session.output, outcome);
        }
        if done.outcomes.is_empty() && !done.away.is_empty() {
            code = code.max(Class::Partial.exit_code());
        }
        for (target, failure) in &done.unreached {
            session.output.talk(&format!("{}: ", escape(target)));
            code = code.max(session.output.failure(failure));
        }
    }
    Ok(code)
}

/// Scrubs one place.
pub(super) fn run_repo(session: &Session, args: &RepoScrubArgs) -> Result<u8, Failure> {
    let secret = args.at.secret.source().read(&session.cx)?;
    let plumbing = plumbing(session, &args.at.access);
    let request = args.rota.request(PERIOD)?;
    let outcome = plumbing.scrub(&args.at.repo, &secret, &request)?;
    let code = print_scrub(session.output, &outcome, &request);
    if args.repair && !outcome.is_clean() {
        print_repair(session.output, &plumbing.mend(&args.at.repo, &args.from, &secret)?);
    }
    Ok(code)
}

/// Prints what a scrub read and found, and gives the exit code: 13 when something is damaged, also
/// when it is mended right after.
fn print_scrub(out: Output, outcome: &ScrubOutcome, request: &ScrubRequest) -> u8 {
    let code = if outcome.is_clean() { 0 } else { Class::Damage.exit_code() };
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "scrub": outcome }));
        return code;
    }
    for problem in &outcome.problems {
        out.line(&format!("damaged: {} {}", escape(&problem.object), escape(&problem.what)));
    }
    for hurt in &outcome.hurt {
        out.line(&format!("hurt: snapshot {}, {} paths", hurt.snapshot.short(), hurt.paths));
        for path in &hurt.named {
            out.line(&format!("  {}", escape(path)));
        }
        if let Some(more) = more(hurt.paths, hurt.named.len()) {
            out.line(&format!("  {more}"));
        }
    }
    let since = outcome
        .since
        .map_or("some were never read".to_owned(), |at| format!("all were read since {}", at.readable()));
    out.line(&format!(
        "{}: {} of {} objects read, {} of {}; {since}; {} damaged, {} snapshots proven",
        escape(&outcome.target),
        outcome.read,
        outcome.objects,
        format_bytes(outcome.read_bytes),
        format_bytes(outcome.bytes),
        outcome.damaged,
        outcome.proven.len(),
    ));
    if outcome.outside_windows {
        out.talk("it stopped where its windows end: what is left is read in the next one");
    }
    if let Some(seconds) = outcome.round_seconds {
        out.talk(&format!(
            "at this budget a round takes {}, longer than the {} asked for",
            format_duration(Duration::from_secs(seconds)),
            format_duration(request.period)
        ));
    }
    code
}

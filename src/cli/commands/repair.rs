//! `lifeboat repo repair`, `lifeboat repo rebuild-index`.

use serde_json::json;

use super::policy::site;
use super::repo::plumbing;
use crate::app::repair::repair_policy;
use crate::base::error::{Class, Failure};
use crate::base::size::format_bytes;
use crate::cli::args::{OneRepo, RepairArgs};
use crate::cli::limits::limited;
use crate::cli::output::{JSON_VERSION, Output, escape, more};
use crate::cli::run::Session;
use crate::engine::repair::{Means, RepairOutcome, State, Step, StepEnd};

/// At most this many steps are printed for people; `--json` has all of them.
const STEPS_SHOWN_MAX: usize = 200;

/// Mends a policy's targets.
pub(in crate::cli) fn run_policy(session: &Session, args: &RepairArgs) -> Result<u8, Failure> {
    let site = limited(session, site(session)?, args.policy.as_deref())?;
    let mut code = 0;
    for policy in site.policies(args.policy.as_deref())? {
        let done = repair_policy(&site, policy, args.target.as_deref(), args.dry_run)?;
        for outcome in &done.outcomes {
            code = code.max(print_repair(session.output, outcome));
        }
        for (target, failure) in &done.unreached {
            session.output.talk(&format!("{}: ", escape(target)));
            code = code.max(session.output.failure(failure));
        }
    }
    Ok(code)
}

/// Mends one place.
pub(super) fn run_repo(
    session: &Session,
    at: &OneRepo,
    from: &[String],
    dry_run: bool,
) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let outcome = plumbing(session, &at.access).repair(&at.repo, from, &secret, dry_run)?;
    Ok(print_repair(session.output, &outcome))
}

/// Prints what a repair found and did, and gives the exit code.
pub(super) fn print_repair(out: Output, outcome: &RepairOutcome) -> u8 {
    let code = if outcome.is_whole() { 0 } else { Class::Damage.exit_code() };
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "repair": outcome }));
        return code;
    }
    for step in outcome.steps.iter().take(STEPS_SHOWN_MAX) {
        out.line(&line_of(step));
    }
    if let Some(more) =
        more(u64::try_from(outcome.steps.len()).unwrap_or(u64::MAX), outcome.steps.len().min(STEPS_SHOWN_MAX))
    {
        out.line(&more);
    }
    for hurt in &outcome.hurt {
        let now = if outcome.whole_again.contains(&hurt.snapshot) { "whole again" } else { "hurt" };
        out.line(&format!("snapshot {}: {now}; {} paths were hurt", hurt.snapshot.short(), hurt.paths));
        for path in &hurt.named {
            out.line(&format!("  {}", escape(path)));
        }
        if let Some(more) = more(hurt.paths, hurt.named.len()) {
            out.line(&format!("  {more}"));
        }
    }
    if !outcome.dry_run {
        for problem in &outcome.remaining {
            out.line(&format!("still: {} {}", escape(&problem.object), escape(&problem.what)));
        }
    }
    let verdict = match (outcome.steps.is_empty(), outcome.dry_run) {
        (true, _) if outcome.is_whole() => "nothing is hurt".to_owned(),
        (_, true) => format!("{} to mend; nothing was changed", objects(outcome.steps.len())),
        (_, false) => {
            format!("{} mended, {} problems remain", objects(outcome.mended()), outcome.remaining_count)
        }
    };
    let read = format_bytes(outcome.bytes);
    out.line(&format!(
        "{}: {} objects, {read} read back; {verdict}",
        escape(&outcome.target),
        outcome.objects
    ));
    code
}

fn objects(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

fn line_of(step: &Step) -> String {
    let state = match step.state {
        State::Damaged => "damaged",
        State::Missing => "missing",
    };
    let means = match &step.means {
        Means::Known => "made anew, its bytes are known".to_owned(),
        Means::Parity => "from its own parity".to_owned(),
        Means::Copy { from } => format!("copy from {}", escape(from)),
        Means::Commit { from } => format!("commit again from {}", escape(from)),
        Means::Rebuild => "list its packs in a new run, from their ends".to_owned(),
        Means::SetAside => "save what is whole in it and set it aside".to_owned(),
        Means::Nothing { why } => format!("cannot be mended now: {}", escape(why)),
    };
    let end = match &step.end {
        StepEnd::Planned => String::new(),
        StepEnd::Mended => ": mended".to_owned(),
        StepEnd::Aside { at, saved, lost } => {
            format!(
                ": {saved} blobs saved, {lost} lost until a full backup stores them anew; it lies at {at}"
            )
        }
        // The plan said why already.
        StepEnd::Failed { .. } if matches!(step.means, Means::Nothing { .. }) => String::new(),
        StepEnd::Failed { why } => format!(": FAILED: {}", escape(why)),
    };
    format!("{state}: {}: {means}{end}", escape(step.object.as_str()))
}

/// Makes index runs anew.
pub(super) fn rebuild_index(session: &Session, at: &OneRepo) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let rebuilt = plumbing(session, &at.access).rebuild_index(&at.repo, &secret)?;
    let code = if rebuilt.unlisted.is_empty() { 0 } else { Class::Damage.exit_code() };
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "rebuilt": rebuilt }));
        return Ok(code);
    }
    for (name, why) in &rebuilt.unlisted {
        out.line(&format!("cannot be listed: {name}: {}", escape(why)));
    }
    out.line(&format!(
        "{} packs with {} blobs listed in {} new runs, {} read",
        rebuilt.packs,
        rebuilt.blobs,
        rebuilt.runs.len(),
        format_bytes(rebuilt.bytes_read)
    ));
    Ok(code)
}

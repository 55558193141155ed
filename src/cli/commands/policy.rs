//! Commands that work from a configuration: check, plan, run, status, snapshots, restore, verify.

use std::sync::Arc;

use serde_json::json;

use super::repo::{kind_of, name_history, print_backup, print_verify};
use super::repo_restore::{print_restore, request};
use crate::app::change::gone_policies;
use crate::app::daemon::daemon_trouble;
use crate::app::error::AppError;
use crate::app::exposure::exposures;
use crate::app::plan::plan;
use crate::app::restore::{restore_policy, what};
use crate::app::run::{Occasion, run_policy};
use crate::app::site::{Site, configuration};
use crate::app::sources::hook_problems;
use crate::app::status::{PolicyStatus, age, statuses};
use crate::app::targets::try_targets;
use crate::app::verify::{rebuild_catalogue, verify_policy};
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Failure};
use crate::base::lifeline;
use crate::base::size::format_bytes;
use crate::catalog::words::Cause;
use crate::cli::args::{
    CheckArgs, ExposureArgs, PlanArgs, RestoreArgs, RunArgs, SnapshotsArgs, StatusArgs, VerifyArgs,
};
use crate::cli::limits::limited;
use crate::cli::output::{JSON_VERSION, escape};
use crate::cli::run::Session;
use crate::engine::history::Finding;
use crate::engine::restore::request::RestoreRequest;
use crate::engine::verify::Depth;
use crate::policy::problem::Severity;

/// Opens the site of a session.
pub(super) fn site(session: &Session) -> Result<Site, Failure> {
    let site = Site::open(&session.place, session.cx.clone())?;
    Ok(Site { traffic: session.traffic.clone(), ..site })
}

/// When and why a run starts, from the hidden flag that the daemon sets. Who has it is a child of
/// the daemon and ends with it.
pub(super) fn occasion(session: &Session, occurrence: Option<&str>) -> Result<Occasion, Failure> {
    let Some(text) = occurrence else {
        return Ok(Occasion { scheduled_at: None, cause: Cause::Person });
    };
    let at = parse_time(text)?;
    let held = lifeline::hold(session.cx.cancel.clone(), Arc::clone(&session.cx.clock));
    held.map_err(|source| AppError::Unreadable {
        what: "the daemon's lifeline",
        path: "stdin".into(),
        source,
    })?;
    Ok(Occasion { scheduled_at: Some(at), cause: Cause::Schedule })
}

/// A time on the command line.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        AppError::Usage {
            what: format!("`{text}` is no time"),
            hint: "write it as 2026-11-24T01:00:00Z".to_owned(),
        }
        .into()
    })
}

/// `check`: every problem at once.
pub(in crate::cli) fn check(session: &Session, args: &CheckArgs) -> Result<u8, Failure> {
    let out = session.output;
    let (problems, policies, drills) = match configuration(&session.place) {
        Ok(found) => {
            let problems = [hook_problems(&found), found.warnings.clone()].concat();
            (problems, found.policies.len(), found.drills.len())
        }
        Err(problems) => (problems.0, 0, 0),
    };
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let tried = if args.online && errors == 0 { try_targets(&site(session)?)? } else { Vec::new() };
    let unfit = tried.iter().filter(|one| !one.is_fit()).count();
    let code = match (errors, unfit) {
        (0, 0) => 0,
        (0, _) => Class::Failed.exit_code(),
        _ => Class::Usage.exit_code(),
    };
    if out.is_json() {
        let view = json!({ "version": JSON_VERSION, "exit": code, "problems": problems, "targets": tried });
        out.json(&view);
        return Ok(code);
    }
    for one in &tried {
        let (policy, target) = (escape(&one.policy), escape(&one.target));
        match &one.failure {
            None => out.line(&format!("{policy}/{target}: {}", escape(&one.seen))),
            Some(failure) => out.line(&format!("{policy}/{target}: NOT FIT: {}", escape(failure))),
        }
    }
    for problem in &problems {
        out.talk(&problem.to_string());
    }
    let warnings = problems.len() - errors;
    if errors == 0 {
        out.line(&format!("{policies} policies and {drills} drills are good; {warnings} warnings"));
    } else {
        out.line(&format!("{errors} errors, {warnings} warnings"));
    }
    Ok(code)
}

/// `plan`: what will run.
pub(in crate::cli) fn show_plan(session: &Session, args: &PlanArgs) -> Result<u8, Failure> {
    let configuration = configuration(&session.place)?;
    let view = plan(&configuration, session.cx.clock.now(), args.days);
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "plan": view }));
        return Ok(0);
    }
    for run in &view.runs {
        out.line(&format!("{}  {:<28} {:<16} {}", run.at.rfc3339(), run.local, run.policy, run.what));
    }
    for line in &view.retention {
        out.line(line);
    }
    Ok(0)
}

/// `run`: a backup now.
pub(in crate::cli) fn run(session: &Session, args: &RunArgs) -> Result<u8, Failure> {
    let site = limited(session, site(session)?, Some(&args.policy))?;
    let policy = site.policy(&args.policy)?;
    let done = run_policy(&site, policy, kind_of(args.kind), occasion(session, args.occurrence.as_deref())?)?;
    let code = print_backup(session.output, &done.outcome);
    let out = session.output;
    for problem in &done.damaged {
        out.talk(&format!("damaged: {}", escape(problem)));
    }
    if !out.is_json() && !done.read_back.is_empty() {
        out.line(&format!("read back from {}", done.read_back.join(", ")));
    }
    Ok(if done.damaged.is_empty() { code } else { Class::Damage.exit_code() })
}

/// `status`: every policy's state.
pub(in crate::cli) fn status(session: &Session, args: &StatusArgs) -> Result<u8, Failure> {
    let site = site(session)?;
    if args.check_daemon {
        return Ok(match daemon_trouble(&site)? {
            None => 0,
            Some(trouble) => {
                session.output.talk(&trouble);
                Class::Failed.exit_code()
            }
        });
    }
    let views = statuses(&site, args.policy.as_deref())?;
    let gone = if args.policy.is_none() { gone_policies(&site)? } else { Vec::new() };
    let met = gone.is_empty() && views.iter().all(PolicyStatus::is_met);
    let code = if met { 0 } else { Class::RuleNotMet.exit_code() };
    let out = session.output;
    if args.nagios {
        return Ok(nagios(session, &views, &gone));
    }
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "policies": views, "gone": gone }));
        return Ok(code);
    }
    for view in &views {
        print_status(session, view);
    }
    for policy in &gone {
        out.line(&format!("{}: no longer configured, and nobody has agreed", escape(policy)));
        out.line("  nothing of it is backed up, checked or removed (`lifeboat hold list`)");
    }
    Ok(code)
}

fn print_status(session: &Session, view: &PolicyStatus) {
    let out = session.output;
    let until = view.until.map_or_else(String::new, |until| format!(" until {}", until.readable()));
    out.line(&format!("{}: {}{until}", view.policy, view.state));
    for reason in &view.reasons {
        out.line(&format!("  - {} ({})", escape(&reason.text), reason.code));
    }
    out.line(&format!("  rule   {}", escape(&view.rule)));
    let exposure = view.exposure_seconds.map_or_else(
        || "nothing usable yet".to_owned(),
        |seconds| format!("newest usable snapshot {} old", age(seconds)),
    );
    let kept = if view.rpo_met { "kept" } else { "NOT KEPT" };
    out.line(&format!("  rpo    {kept}: {exposure}, promised {}", age(view.rpo_seconds)));
    if let Some(seconds) = view.offsite_exposure_seconds {
        out.line(&format!("  away   newest usable snapshot elsewhere {} old", age(seconds)));
    }
    for target in &view.targets {
        let text = match (&target.snapshot, &target.level) {
            (Some(snapshot), Some(level)) => format!(
                "snapshot {} {level} {}{}",
                &snapshot[..8.min(snapshot.len())],
                target.level_at.map_or_else(String::new, Timestamp::readable),
                target.problem.as_deref().map_or_else(String::new, |p| format!("; PROBLEM: {}", escape(p))),
            ),
            _ => "no copy".to_owned(),
        };
        let overdue = if target.is_overdue { "; it should have come by" } else { "" };
        let text = format!("{text}{overdue}");
        out.line(&format!("  {:<6} {text}", target.target));
    }
    for finding in &view.open_findings {
        out.line(&format!("  open finding {}", escape(finding)));
    }
    for hold in &view.holds {
        out.line(&format!("  held   {}", escape(hold)));
    }
    if view.missed_last_week > 0 {
        out.line(&format!("  {} occurrences missed in the last 7 days", view.missed_last_week));
    }
}

/// `exposure`: how the RPO was kept.
pub(in crate::cli) fn exposure(session: &Session, args: &ExposureArgs) -> Result<u8, Failure> {
    let found = exposures(&site(session)?, args.policy.as_deref(), args.days)?;
    let curves = found.iter().flat_map(|one| [Some(&one.any), one.offsite.as_ref()]).flatten();
    let kept = curves.map(|curve| curve.breaches).sum::<usize>() == 0;
    let code = if kept { 0 } else { Class::RuleNotMet.exit_code() };
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "exposures": found }));
        return Ok(code);
    }
    for one in &found {
        out.line(&format!(
            "{}: rpo {}, from {} to {}",
            one.policy,
            age(one.rpo_seconds),
            one.from.readable(),
            one.until.readable()
        ));
        let curves = [("any copy", Some(&one.any)), ("elsewhere", one.offsite.as_ref())];
        for (name, curve) in curves.into_iter().filter_map(|(name, curve)| Some((name, curve?))) {
            let worst = curve.worst_seconds.map_or_else(|| "everything".to_owned(), age);
            let share = curve.share * 100.0;
            out.line(&format!(
                "  {name:<10} kept {share:.2} % of the time, worst {worst}, {} breaches",
                curve.breaches
            ));
            for breach in &curve.named {
                let (from, until) = (breach.from.readable(), breach.until.readable());
                out.line(&format!("    {from} to {until}: {}", escape(&breach.cause)));
            }
        }
    }
    Ok(code)
}

fn nagios(session: &Session, views: &[PolicyStatus], gone: &[String]) -> u8 {
    let worst = views.iter().map(|view| match view.state.as_str() {
        "PROVEN" => 0,
        "BROKEN" => 2,
        "AT RISK" | "FROZEN" => 1,
        _ if view.is_met() => 1,
        _ => 2,
    });
    let code = worst.chain(gone.iter().map(|_| 2)).max().unwrap_or(3);
    let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][usize::from(code)];
    let states = views.iter().map(|view| format!("{} {}", view.policy, view.state));
    let text: Vec<String> = states.chain(gone.iter().map(|policy| format!("{policy} GONE"))).collect();
    session.output.line(&format!("LIFEBOAT {word}: {}", text.join(", ")));
    code
}

/// `snapshots`: what the catalogue knows.
pub(in crate::cli) fn list_snapshots(session: &Session, args: &SnapshotsArgs) -> Result<u8, Failure> {
    let site = site(session)?;
    let catalogue = site.catalogue()?;
    let out = session.output;
    let mut views = Vec::new();
    for policy in site.policies(args.policy.as_deref())? {
        let mut recorded = catalogue.snapshots(policy.id.as_str())?;
        recorded.sort_by_key(|snapshot| snapshot.captured_at);
        for snapshot in recorded {
            let copies = catalogue.copies(&snapshot.id)?;
            // Forgotten everywhere.
            if copies.is_empty() {
                continue;
            }
            if out.is_json() {
                views.push(json!({ "snapshot": snapshot, "copies": copies }));
                continue;
            }
            let stand: Vec<String> = copies
                .iter()
                .map(|copy| {
                    let bad = if copy.problem.is_some() { " DAMAGED" } else { "" };
                    format!("{} {}{bad}", copy.target, copy.level().as_str().replace('_', "-"))
                })
                .collect();
            let partial = match snapshot.unread {
                Some(unread @ 1..) => format!("  partial: {unread} unread"),
                _ => String::new(),
            };
            out.line(&format!(
                "{}  {}  {:<12} {:<12} {:>10}  {}{partial}",
                &snapshot.id[..8.min(snapshot.id.len())],
                snapshot.captured_at.readable(),
                snapshot.policy,
                snapshot.kind.as_str(),
                format_bytes(snapshot.bytes),
                stand.join(", "),
            ));
        }
    }
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "snapshots": views }));
    }
    Ok(0)
}

/// `restore`: a policy or a snapshot.
pub(in crate::cli) fn restore(session: &Session, args: &RestoreArgs) -> Result<u8, Failure> {
    let site = site(session)?;
    let at = args.at.as_deref().map(parse_time).transpose()?;
    let what = what(&site, &args.what, at);
    let request = RestoreRequest { ours: site.own_folders(), ..request(&args.to) };
    // Other work makes way. Where the state can't be written the restore comes first all the same.
    let _first = site.state.claim_restore().ok();
    let outcome = restore_policy(&site, &what, args.from.as_deref(), &request)?;
    Ok(print_restore(session.output, &args.to, &outcome))
}

/// `verify`: read targets back.
pub(in crate::cli) fn verify(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    let site = limited(session, site(session)?, args.policy.as_deref())?;
    let depth = if args.deep { Depth::Blobs } else { Depth::Objects };
    let mut code = 0;
    let occasion = occasion(session, args.occurrence.as_deref())?;
    for policy in site.policies(args.policy.as_deref())? {
        let done = verify_policy(&site, policy, args.target.as_deref(), depth, occasion)?;
        for outcome in &done.outcomes {
            code = code.max(print_verify(session.output, outcome));
        }
        if !session.output.is_json() {
            name_history(session.output, &done.history);
        }
        if done.history.iter().any(Finding::is_rollback) {
            code = code.max(Class::Damage.exit_code());
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

/// `rebuild-catalogue`: from the targets.
pub(in crate::cli) fn rebuild(session: &Session, policy: Option<&str>) -> Result<u8, Failure> {
    let site = site(session)?;
    for policy in site.policies(policy)? {
        let (snapshots, copies) = rebuild_catalogue(&site, policy)?;
        session.output.line(&format!("{}: {snapshots} snapshots, {copies} copies", policy.id.as_str()));
    }
    session.output.talk("copies count as written; `lifeboat verify` shows what they are worth");
    Ok(0)
}

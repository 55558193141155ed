//! Commands about proof: drills, their reports, the evidence log.

use std::path::Path;

use serde_json::json;

use super::policy::{occasion, site};
use crate::app::drill::{DrillDone, list, run_drill, show};
use crate::app::error::AppError;
use crate::app::evidence::{Verified, newest_report, verify_folder};
use crate::base::error::{Class, Failure};
use crate::base::size::format_bytes;
use crate::cli::args::{DrillCommand, EvidenceCommand, ReportArgs};
use crate::cli::limits::limited;
use crate::cli::output::{JSON_VERSION, Output, escape};
use crate::cli::run::Session;

/// `drill run|list|show`.
pub(in crate::cli) fn drill(session: &Session, command: &DrillCommand) -> Result<u8, Failure> {
    match command {
        DrillCommand::Run { drill, occurrence } => {
            let site = site(session)?;
            let policy = site.configuration.drill(drill).map(|plan| plan.policy.as_str().to_owned());
            let site = limited(session, site, policy.as_deref())?;
            let done = run_drill(&site, drill, occasion(session, occurrence.as_deref())?)?;
            Ok(print_drills(session.output, &done))
        }
        DrillCommand::List => list_drills(session),
        DrillCommand::Show { id } => show_drill(session, id),
    }
}

/// Prints what came out of drills and gives the exit code.
pub(in crate::cli) fn print_drills(out: Output, done: &[DrillDone]) -> u8 {
    let passed = done.iter().all(|drill| drill.outcome.verdict.is_pass());
    let code = if passed { 0 } else { Class::DrillNotPassed.exit_code() };
    if out.is_json() {
        let drills: Vec<serde_json::Value> = done
            .iter()
            .map(|drill| {
                json!({
                    "id": drill.outcome.id,
                    "target": drill.target,
                    "verdict": drill.outcome.verdict.word(),
                    "reasons": drill.outcome.reasons,
                    "report_json": drill.sealed.json_path,
                    "report_html": drill.sealed.html_path,
                    "report_sha256": drill.sealed.json_sha256,
                    "findings_open": drill.open,
                    "findings_closed": drill.closed,
                })
            })
            .collect();
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "drills": drills }));
        return code;
    }
    for drill in done {
        print_drill(out, drill);
    }
    code
}

fn print_drill(out: Output, drill: &DrillDone) {
    let outcome = &drill.outcome;
    out.line(&format!("drill {} from {}: {}", outcome.id, drill.target, outcome.verdict.word()));
    for reason in &outcome.reasons {
        out.line(&format!("  {}", escape(reason)));
    }
    let seconds: f64 = outcome.phases.iter().map(|phase| phase.seconds).sum();
    out.line(&format!(
        "  restored {} files, {}; read {} from the target; {seconds:.1} s",
        outcome.restored.files,
        format_bytes(outcome.restored.bytes),
        format_bytes(outcome.reads.bytes_from_target),
    ));
    for check in &outcome.checks {
        let result = check.result.word();
        out.line(&format!("  {result:<5} {}: {}", escape(&check.id), escape(&check.observed)));
    }
    for finding in &drill.open {
        out.line(&format!("  finding {}", escape(finding)));
    }
    for finding in &drill.closed {
        out.line(&format!("  closed finding {}", escape(finding)));
    }
    out.line(&format!("  report {}", drill.sealed.html_path.display()));
}

fn list_drills(session: &Session) -> Result<u8, Failure> {
    let site = site(session)?;
    let out = session.output;
    let views = list(&site)?;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "drills": views }));
        return Ok(0);
    }
    for view in &views {
        out.line(&format!("{:<20} policy {:<16} {}", view.drill, view.policy, view.when));
        for drill in &view.last {
            let verdict = drill.verdict.map_or("never ended", |verdict| verdict.as_str());
            let at = drill.ended_at.unwrap_or(drill.started_at).readable();
            out.line(&format!("  {:<10} {} {verdict} {at}", drill.target, drill.id));
        }
        if view.last.is_empty() {
            out.line("  never ran");
        }
    }
    Ok(0)
}

fn show_drill(session: &Session, id: &str) -> Result<u8, Failure> {
    let site = site(session)?;
    let (drill, checks) = show(&site, id)?;
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "drill": drill, "checks": checks }));
        return Ok(0);
    }
    let verdict = drill.verdict.map_or("never ended", |verdict| verdict.as_str());
    out.line(&format!("drill {} of {} from {}: {verdict}", drill.id, drill.policy, drill.target));
    out.line(&format!("  started {}", drill.started_at.readable()));
    for check in &checks {
        out.line(&format!(
            "  {:<5} {}: {}",
            check.result.as_str(),
            escape(&check.check_id),
            escape(&check.observed)
        ));
        out.line(&format!("        expected {}", escape(&check.expected)));
    }
    let report = site.state.evidence().join("reports").join(format!("{}.html", drill.id));
    out.line(&format!("  report {}", report.display()));
    Ok(0)
}

/// `report`: where a drill's signed report is, or its JSON.
pub(in crate::cli) fn report(session: &Session, args: &ReportArgs) -> Result<u8, Failure> {
    let site = site(session)?;
    let path = newest_report(&site.state.evidence(), args.id.as_deref())?;
    let out = session.output;
    if out.is_json() {
        let text = std::fs::read_to_string(&path).map_err(|source| AppError::Unreadable {
            what: "the report",
            path: path.clone(),
            source,
        })?;
        out.line(text.trim_end());
    } else {
        out.line(&path.with_extension("html").display().to_string());
    }
    Ok(0)
}

/// `evidence verify`: offline, without configuration.
pub(in crate::cli) fn evidence(session: &Session, command: &EvidenceCommand) -> Result<u8, Failure> {
    let EvidenceCommand::Verify { dir, pub_key, heads } = command;
    let dir = match dir {
        Some(dir) => dir.clone(),
        None => match site(session) {
            Ok(site) => site.state.evidence(),
            // Without a configuration the state folder alone says where.
            Err(_) => session.state_folder().join("evidence"),
        },
    };
    let verified = verify_folder(&dir, pub_key.as_deref(), heads)?;
    Ok(print_verified(session.output, &dir, &verified))
}

/// Prints what the check of an evidence folder found and gives the exit code.
pub(in crate::cli) fn print_verified(out: Output, dir: &Path, verified: &Verified) -> u8 {
    let code = if verified.ok { 0 } else { Class::Damage.exit_code() };
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "evidence": verified }));
        return code;
    }
    for problem in &verified.problems {
        let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        out.line(&format!("{}{line}: {}", escape(&problem.file), escape(&problem.what)));
    }
    let word = if verified.ok { "intact" } else { "NOT INTACT" };
    out.line(&format!(
        "evidence {}: {word}; {} lines, {} heads, {} reports, {} lines after the last head; key {}",
        dir.display(),
        verified.lines,
        verified.heads,
        verified.reports,
        verified.lines_after_last_head,
        verified.key_id.as_deref().unwrap_or("unknown"),
    ));
    code
}

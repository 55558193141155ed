//! `lifeboat demo`.

use serde_json::json;

use super::proof::{print_drills, print_verified};
use super::repo::{place_options, print_backup, print_verify};
use crate::app::demo::{DemoOutcome, DemoRequest, demo};
use crate::base::error::{Class, Failure};
use crate::cli::args::DemoArgs;
use crate::cli::output::{JSON_VERSION, Output, escape};
use crate::cli::run::Session;

/// The whole main job; exit code 0 when both copies verified and both drills passed.
pub(in crate::cli) fn run(session: &Session, args: &DemoArgs) -> Result<u8, Failure> {
    let out = session.output;
    let request =
        DemoRequest { dir: args.dir.clone(), s3: args.s3.clone(), access: place_options(&args.access) };
    let step = |text: &str| {
        if !out.is_json() {
            out.line("");
            out.line(text);
        }
    };
    let outcome = demo(&request, &session.place.environment, &session.cx, &step)?;
    let code = exit_code(&outcome);
    if out.is_json() {
        out.json(&json!({
            "version": JSON_VERSION,
            "exit": code,
            "place": outcome.place,
            "snapshot": outcome.run.outcome.snapshot,
            "verified": outcome.verify.is_clean(),
            "drills": outcome.drills.iter().map(|drill| drill.outcome.verdict.word()).collect::<Vec<_>>(),
            "status": outcome.status,
            "evidence": outcome.evidence,
            "reports": outcome.drills.iter().map(|drill| &drill.sealed.html_path).collect::<Vec<_>>(),
        }));
        return Ok(code);
    }
    summary(out, &outcome);
    Ok(code)
}

fn exit_code(outcome: &DemoOutcome) -> u8 {
    let backup = &outcome.run.outcome;
    if !outcome.verify.is_clean() || !outcome.evidence.ok || !outcome.run.damaged.is_empty() {
        return Class::Damage.exit_code();
    }
    if outcome.drills.iter().any(|drill| !drill.outcome.verdict.is_pass()) {
        return Class::DrillNotPassed.exit_code();
    }
    if backup.is_partial() { Class::Partial.exit_code() } else { 0 }
}

fn summary(out: Output, outcome: &DemoOutcome) {
    out.line("");
    out.line("what happened");
    print_backup(out, &outcome.run.outcome);
    for verified in &outcome.verify.outcomes {
        print_verify(out, verified);
    }
    for (target, failure) in &outcome.verify.unreached {
        out.line(&format!("{}: {}", escape(target), escape(&failure.message())));
    }
    print_drills(out, &outcome.drills);
    out.line(&format!("status {}: {}", outcome.status.state, escape(&outcome.status.rule)));
    for reason in &outcome.status.reasons {
        out.line(&format!("  - {} ({})", escape(&reason.text), reason.code));
    }
    print_verified(out, &outcome.evidence_dir, &outcome.evidence);
    out.line("");
    out.line("where to look");
    out.line(&format!("  policy    {}", outcome.policy_file.display()));
    for drill in &outcome.drills {
        out.line(&format!("  report    {}", drill.sealed.html_path.display()));
    }
    out.line(&format!("  check it  lifeboat evidence verify {}", outcome.evidence_dir.display()));
    out.line(&format!("  all of it {} (remove it when you have seen enough)", outcome.place.display()));
}

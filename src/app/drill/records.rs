//! A drill's facts in the catalogue: itself, its checks, the copy's level, findings opened and
//! closed.

use serde_json::json;

use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::copies::CopyKey;
use crate::catalog::drills::{DrillCheck, DrillEnd};
use crate::catalog::findings::{Finding, NewFinding};
use crate::catalog::words::{CheckResult, Level, Severity, Verdict};
use crate::drill::checks::{CheckOutcome, CheckResult as Found};
use crate::drill::{DrillOutcome, Verdict as Judged};
use crate::policy::model::{OnFail, Policy, Tier};

/// The catalogue's word for a verdict.
pub(super) fn verdict(judged: Judged) -> Verdict {
    match judged {
        Judged::Pass => Verdict::Pass,
        Judged::PassWithFindings => Verdict::PassWithFindings,
        Judged::Fail => Verdict::Fail,
        Judged::Inconclusive => Verdict::Inconclusive,
        Judged::Aborted => Verdict::Aborted,
    }
}

/// Opens a finding for each check that failed, and one for a copy that could not be restored from
/// at all. Gives those open for this drill.
pub(super) fn open_findings(
    catalogue: &Catalog,
    policy: &Policy,
    class: &str,
    outcome: &DrillOutcome,
) -> Result<Vec<Finding>, Failure> {
    let mut open = Vec::new();
    let mut add = |check: &str, severity: Severity, title: String| -> Result<(), Failure> {
        let new = NewFinding {
            policy: policy.id.as_str().to_owned(),
            check_id: check.to_owned(),
            copy_class: class.to_owned(),
            source: outcome.id.clone(),
            severity,
            title,
        };
        let id = catalogue.open_finding(&new, outcome.ended_at)?;
        open.push(catalogue.finding(&id)?);
        Ok(())
    };
    for check in outcome.checks.iter().filter(|check| check.result == Found::Fail) {
        let severity = if check.on_fail == OnFail::Warn { Severity::Minor } else { severity(policy) };
        add(&check.id, severity, format!("{} failed on the {class} copy: {}", check.id, check.observed))?;
    }
    let judged_by_checks = outcome.checks.iter().any(|check| check.result == Found::Fail);
    if outcome.verdict == Judged::Fail && !judged_by_checks {
        let why = outcome.reasons.first().cloned().unwrap_or_else(|| "the drill failed".to_owned());
        add(MANIFEST_CHECK, severity(policy), format!("the {class} copy did not come back: {why}"))?;
    }
    Ok(open)
}

/// The check that every restore drill makes: a later pass of it closes what a failed restore opened.
const MANIFEST_CHECK: &str = "manifest";

fn severity(policy: &Policy) -> Severity {
    match policy.tier {
        Tier::Critical => Severity::Critical,
        Tier::Important | Tier::Standard => Severity::Serious,
    }
}

/// Records the end of a drill, raises its copy when it passed, and closes what it has disproved.
/// Gives the ids of the findings that it closed.
pub(super) fn finish(
    catalogue: &Catalog,
    target: &str,
    outcome: &DrillOutcome,
    report_sha256: String,
) -> Result<Vec<String>, Failure> {
    let snapshot = outcome.snapshot.as_ref().map(|snapshot| snapshot.id.clone());
    let phases: Vec<serde_json::Value> = outcome
        .phases
        .iter()
        .map(|phase| json!({ "name": phase.name, "seconds": phase.seconds, "bytes": phase.bytes }))
        .collect();
    catalogue.finish_drill(
        &outcome.id,
        &DrillEnd {
            verdict: verdict(outcome.verdict),
            at: outcome.ended_at,
            snapshot: snapshot.clone(),
            times: json!({
                "phases": phases,
                "rto_seconds": outcome.rto.measured_seconds,
                "rto_projected_seconds": outcome.rto.projected_full_seconds,
            }),
            report_sha256: Some(report_sha256),
            checks: outcome.checks.iter().map(recorded).collect(),
        },
    )?;
    if outcome.verdict.is_pass()
        && let Some(snapshot) = &snapshot
        && catalogue.snapshot(snapshot)?.is_some()
    {
        let copy = CopyKey { snapshot, target };
        catalogue.import_copy(copy, outcome.ended_at)?;
        catalogue.raise_copy(copy, Level::Restored, outcome.ended_at)?;
    }
    Ok(catalogue.close_by_drill(&outcome.id)?)
}

fn recorded(check: &CheckOutcome) -> DrillCheck {
    DrillCheck {
        check_id: check.id.clone(),
        kind: check.kind.to_owned(),
        result: match check.result {
            Found::Pass => CheckResult::Pass,
            Found::Fail => CheckResult::Fail,
            Found::Error => CheckResult::Error,
        },
        expected: check.expected.clone(),
        observed: check.observed.clone(),
        milliseconds: milliseconds(check.seconds),
    }
}

/// Whole milliseconds of a short time; what is no time at all counts as none.
fn milliseconds(seconds: f64) -> u64 {
    let duration = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

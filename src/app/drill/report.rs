//! From what a drill found to its report: every number has its record, what nobody recorded is
//! left out.

use serde_json::{Map, Value, json};

use super::rehearsal::Rehearsal;
use crate::app::facts::Networks;
use crate::app::run::Occasion;
use crate::app::site::Site;
use crate::base::display;
use crate::base::id::ObjectHash;
use crate::catalog::copies::Copy as RecordedCopy;
use crate::catalog::findings::Finding as OpenFinding;
use crate::catalog::words::Cause;
use crate::drill::checks::CheckResult as Found;
use crate::drill::{Cleanup as CleanedUp, DrillOutcome, RtoMet, Verdict as Judged};
use crate::evidence::{Entry, EvidenceLog};
use crate::policy::copies::{Network, TargetFacts};
use crate::policy::model::{CopyClass, DrillPlan as Plan, Files, OnFail as Weight, Policy, Target};
use crate::report::drill::{
    Check, CheckResult, Cleanup, CleanupOutcome, Copy, DrillReport, Environment, Evidence, Finding, Met,
    OnFail, Phase, Pick, Plan as PlanView, Problem, Restore, Rpo, Rto, SCHEMA, Scope, Snapshot, Subject,
    Times, Trigger, Verdict,
};

/// Everything that a report is written from.
pub(super) struct Material<'a> {
    pub(super) site: &'a Site,
    pub(super) policy: &'a Policy,
    pub(super) plan: &'a Plan,
    pub(super) target: &'a Target,
    pub(super) outcome: &'a DrillOutcome,
    pub(super) rehearsal: &'a Rehearsal<'a>,
    pub(super) occasion: Occasion,
    pub(super) copy_before: Option<&'a RecordedCopy>,
    pub(super) findings: &'a [OpenFinding],
    pub(super) log: &'a EvidenceLog,
    pub(super) started: &'a Entry,
    pub(super) tip: &'a Entry,
}

/// The name and version that reports carry.
pub(super) const TOOL: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));

/// The report of a drill.
pub(super) fn report(m: &Material<'_>) -> DrillReport {
    let outcome = m.outcome;
    let report = DrillReport {
        schema: SCHEMA.to_owned(),
        id: outcome.id.clone(),
        supersedes: None,
        verdict: verdict(outcome.verdict),
        verdict_reasons: outcome.reasons.clone(),
        plan: plan(m),
        trigger: Trigger {
            by: match m.occasion.cause {
                Cause::Person => "operator".to_owned(),
                Cause::Schedule | Cause::CatchUp => "schedule".to_owned(),
            },
            actor: None,
            scheduled_for: m.occasion.scheduled_at,
            retest_of: None,
        },
        subject: subject(m),
        pick: pick(outcome),
        times: times(outcome),
        rto: rto(m),
        rpo: rpo(m),
        restore: restored(outcome),
        checks: outcome.checks.iter().map(check).collect(),
        findings: m.findings.iter().map(finding).collect(),
        environment: environment(m),
        limits: Vec::new(),
        evidence: Evidence {
            log_seq_first: m.started.seq,
            log_seq_last: m.tip.seq,
            log_head: m.tip.hash.clone(),
            key_id: m.log.public_key().fingerprint(),
            attachments: Vec::new(),
        },
    };
    report.state_limits()
}

fn verdict(judged: Judged) -> Verdict {
    match judged {
        Judged::Pass => Verdict::Pass,
        Judged::PassWithFindings => Verdict::PassWithFindings,
        Judged::Fail => Verdict::Fail,
        Judged::Inconclusive => Verdict::Inconclusive,
        Judged::Aborted => Verdict::Aborted,
    }
}

/// SHA-256 of the drill file, or of the policy's when the drill is its default one.
pub(super) fn plan_sha256(policy: &Policy, plan: &Plan) -> String {
    plan.version.as_ref().map_or_else(|| policy.version.sha256.clone(), |version| version.sha256.clone())
}

fn plan(m: &Material<'_>) -> PlanView {
    let scope = match m.plan.scope.files {
        Files::All => "every file".to_owned(),
        Files::Sample(count) => format!("{count} randomly drawn files"),
    };
    PlanView {
        name: m.plan.id.as_str().to_owned(),
        kind: "restore".to_owned(),
        sha256: plan_sha256(m.policy, m.plan),
        objective: format!(
            "Show that {scope} come back from the copy on {}, unchanged.",
            m.target.name.as_str()
        ),
        scenario: None,
        success_criteria: m.outcome.checks.iter().map(|check| check.expected.clone()).collect(),
        runbook: None,
        time_limit_s: m.plan.time_limit.as_secs(),
    }
}

/// Whether a copy counts as elsewhere: declared so, and not refuted by what was found.
fn is_offsite(m: &Material<'_>) -> bool {
    let declared = m.target.class(&m.site.configuration.site.name) == CopyClass::Offsite;
    let facts: Option<TargetFacts> = crate::app::facts::target_facts(m.policy, &mut Networks::default())
        .into_iter()
        .find(|facts| facts.name.as_str() == m.target.name.as_str());
    declared
        && facts.is_some_and(|facts| {
            !facts.on_source_device && !matches!(facts.network, Network::Loopback | Network::Own)
        })
}

fn subject(m: &Material<'_>) -> Subject {
    let snapshot = m.rehearsal.snapshot().map(|snapshot| {
        let body = &snapshot.body;
        let chain: Vec<ObjectHash> = body.parent.into_iter().collect();
        Snapshot {
            id: snapshot.id.to_hex(),
            kind: body.kind.word().to_owned(),
            chain: chain.iter().map(|id| id.to_hex()).collect(),
            captured_at: body.captured_at,
            files: body.stats.files,
            bytes: body.roots.iter().map(|root| root.bytes).sum(),
            manifest_root: body.roots.first().map(|root| root.node.to_hex()).unwrap_or_default(),
        }
    });
    let before = m.copy_before.map(|copy| {
        let level = copy.level();
        let at = copy.read_back_at.or(copy.acked_at).unwrap_or(copy.written_at);
        format!("{} {}", level.as_str().replace('_', "-"), at.readable())
    });
    Subject {
        policy: m.policy.id.as_str().to_owned(),
        policy_sha256: Some(m.policy.version.sha256.clone()),
        tier: Some(m.policy.tier.word().to_owned()),
        snapshot,
        copy: Copy {
            target: m.target.name.as_str().to_owned(),
            place: display::text(&m.target.url),
            media: Some(m.target.media.clone()),
            location: m.target.location.clone(),
            offsite: is_offsite(m),
            immutable_until: None,
            level_before: before,
        },
    }
}

fn pick(outcome: &DrillOutcome) -> Option<Pick> {
    let facts = outcome.pick.as_ref()?;
    Some(Pick {
        method: match facts.scope {
            Files::All => "all".to_owned(),
            Files::Sample(_) => "lowest_sha256".to_owned(),
        },
        population: facts.population,
        sample: facts.sample,
        always: facts.always,
        seed: facts.seed.map(|seed| seed.to_hex()),
        commitment: facts.seed.map(|seed| seed.commitment()),
        detects: facts.detects.clone(),
        list_sha256: facts.list_sha256.clone(),
    })
}

fn times(outcome: &DrillOutcome) -> Times {
    Times {
        started_at: outcome.started_at,
        restored_at: outcome.restored_at,
        checked_at: outcome.checked_at,
        ended_at: outcome.ended_at,
        phases: outcome
            .phases
            .iter()
            .map(|phase| Phase { name: phase.name.to_owned(), s: phase.seconds, bytes: phase.bytes })
            .collect(),
    }
}

fn rto(m: &Material<'_>) -> Rto {
    let rto = &m.outcome.rto;
    Rto {
        objective_s: rto.objective.map(|objective| objective.as_secs()),
        measured_s: rto.measured_seconds,
        scope: if m.plan.scope.files == Files::All { Scope::Full } else { Scope::Partial },
        projected_full_s: rto.projected_full_seconds,
        met: match rto.met {
            RtoMet::Yes => Met::Yes,
            RtoMet::No => Met::No,
            RtoMet::NotClaimed => Met::NotClaimed,
        },
    }
}

/// How old the data would have been, had it been needed when the drill began.
fn rpo(m: &Material<'_>) -> Rpo {
    let objective = m.policy.objective.rpo;
    let captured = m.rehearsal.snapshot().map(|snapshot| snapshot.body.captured_at);
    let exposure = captured.map(|at| m.outcome.started_at.since(at));
    Rpo {
        objective_s: Some(objective.as_secs()),
        exposure_s: exposure.map(|age| age.as_secs()),
        newest_data_at: captured,
        met: match exposure {
            Some(age) if age <= objective => Met::Yes,
            Some(_) => Met::No,
            None => Met::NotClaimed,
        },
    }
}

fn restored(outcome: &DrillOutcome) -> Restore {
    let compared = outcome.comparison.as_ref();
    let problems =
        outcome.restored.problems.iter().chain(compared.map(|c| &c.problems).into_iter().flatten());
    Restore {
        outcome: outcome.restore.word().to_owned(),
        files: outcome.restored.files,
        bytes: outcome.restored.bytes,
        mismatched: compared.map_or(0, |c| c.mismatched),
        missing: compared.map_or(0, |c| c.missing).max(outcome.restored.failed),
        extra: compared.and_then(|c| c.extra),
        metadata_differences: compared.map_or(0, |c| c.metadata_differences),
        bytes_read_from_target: outcome.reads.bytes_from_target,
        used_local_cache: outcome.reads.used_local_cache,
        worst: problems
            .take(50)
            .map(|problem| Problem { path: problem.path.clone(), problem: problem.problem.clone() })
            .collect(),
    }
}

fn check(outcome: &crate::drill::checks::CheckOutcome) -> Check {
    Check {
        id: outcome.id.clone(),
        kind: outcome.kind.to_owned(),
        result: match outcome.result {
            Found::Pass => CheckResult::Pass,
            Found::Fail => CheckResult::Fail,
            Found::Error => CheckResult::Error,
        },
        expected: outcome.expected.clone(),
        observed: outcome.observed.clone(),
        s: outcome.seconds,
        required: outcome.is_required(),
        on_fail: match outcome.on_fail {
            Weight::Fail => OnFail::Fail,
            Weight::Warn => OnFail::Warn,
        },
        by: TOOL.to_owned(),
        output_sha256: outcome.output.as_ref().map(|output| output.sha256.clone()),
        output: outcome.output.as_ref().map(|output| output.text.clone()),
        message: outcome.message.clone(),
    }
}

fn finding(open: &OpenFinding) -> Finding {
    Finding {
        id: open.id.clone(),
        severity: open.severity.as_str().to_owned(),
        title: open.title.clone(),
        root_cause: None,
        action: None,
        owner: None,
        due: None,
        status: open.state.as_str().to_owned(),
        closed_by: open.closed_by.clone(),
    }
}

fn environment(m: &Material<'_>) -> Environment {
    let cleanup = match &m.outcome.cleanup {
        None => Cleanup { outcome: CleanupOutcome::None, until: None, message: None },
        Some(CleanedUp::Deleted) => Cleanup { outcome: CleanupOutcome::Deleted, until: None, message: None },
        Some(CleanedUp::KeptUntil(until)) => {
            Cleanup { outcome: CleanupOutcome::Kept, until: Some(*until), message: None }
        }
        Some(CleanedUp::Failed(why)) => {
            Cleanup { outcome: CleanupOutcome::Failed, until: None, message: Some(why.clone()) }
        }
    };
    Environment {
        host: crate::app::plumbing::host_name(),
        sandbox: "a private folder on the backup host".to_owned(),
        isolated_from_source: false,
        network: "host".to_owned(),
        version: TOOL.to_owned(),
        binary_sha256: None,
        state_used: vec!["configuration".to_owned(), "key file".to_owned(), "catalogue".to_owned()],
        keys_from: "key file".to_owned(),
        cleanup,
    }
}

/// What the log says of a drill's end beside the hashes.
pub(super) fn log_data(m: &Material<'_>, report: &DrillReport) -> Map<String, Value> {
    let data = json!({
        "policy": m.policy.id.as_str(),
        "plan": m.plan.id.as_str(),
        "target": m.target.name.as_str(),
        "verdict": report.verdict,
        "snapshot": report.subject.snapshot.as_ref().map(|snapshot| snapshot.id.clone()),
        "bytes_from_target": report.restore.bytes_read_from_target,
    });
    match data {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

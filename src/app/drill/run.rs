//! Running a drill: from the plan to signed reports, one for each copy it looks at.

use serde_json::{Map, Value, json};

use super::records;
use super::rehearsal::Rehearsal;
use super::report::{Material, log_data, plan_sha256, report};
use crate::app::error::AppError;
use crate::app::run::{Occasion, begin};
use crate::app::site::{Site, anchor};
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::drills::{Drill, DrillCheck, NewDrill};
use crate::catalog::runs::{Failure as RunFailure, RunEnd};
use crate::catalog::words::{Job, RunState};
use crate::drill::{self, DrillOutcome, Stage, sweep};
use crate::evidence::pick::Seed;
use crate::evidence::{EvidenceLog, FinishedReport, SealedReport};
use crate::policy::model::{CopyClass, DrillPlan as Plan, Files, Policy, Target};
use crate::report::labels::EN;
use crate::report::{Seal, page};

/// One rehearsal that is over.
pub struct DrillDone {
    /// What came out.
    pub outcome: DrillOutcome,
    /// Its report.
    pub sealed: SealedReport,
    /// The target it restored from.
    pub target: String,
    /// Findings that it opened or met again.
    pub open: Vec<String>,
    /// Findings that it closed.
    pub closed: Vec<String>,
}

/// Runs a drill now, on every copy that its plan asks for.
///
/// # Errors
/// When there is no such drill, or its records cannot be written. A drill that fails is no error.
pub fn run_drill(site: &Site, name: &str, occasion: Occasion) -> Result<Vec<DrillDone>, Failure> {
    let plan = find(site, name)?;
    let policy = site.policy(plan.policy.as_str())?;
    let catalogue = site.catalogue()?;
    let log = site.evidence()?;
    for (id, cleanup) in sweep(site.state.root(), site.cx.clock.now())? {
        site.cx.progress.note(format!("what drill {id} left behind: {cleanup:?}"));
    }
    let targets: Vec<&Target> =
        policy.targets.iter().filter(|t| plan.copy.admits(t, &site.configuration.site.name)).collect();
    if targets.is_empty() {
        return Err(AppError::Nothing {
            what: format!("drill {name} finds no target of the kind it asks for"),
            hint: "give a target a location, or change `copy` in the drill".to_owned(),
        }
        .into());
    }
    let now = site.cx.clock.now();
    catalogue.mark_interrupted(now)?;
    let run = begin(&catalogue, policy, Job::Drill(plan.id.as_str().to_owned()), occasion, now)?;
    let done: Result<Vec<DrillDone>, Failure> = targets
        .into_iter()
        .map(|target| one(site, policy, plan, target, occasion, &catalogue, &log))
        .collect();
    catalogue.end_run(&run, &run_end(site, &done))?;
    done
}

/// How the run of a drill ended: a drill that did not pass was still carried out.
fn run_end(site: &Site, done: &Result<Vec<DrillDone>, Failure>) -> RunEnd {
    let (state, failure) = match done {
        Ok(_) if site.cx.cancel.is_cancelled() => (RunState::Cancelled, None),
        Ok(_) => (RunState::Succeeded, None),
        Err(error) => {
            let failure = RunFailure { code: error.code().to_owned(), message: error.message() };
            (RunState::Failed, Some(failure))
        }
    };
    let ids: Vec<&str> = done.iter().flatten().map(|drill| drill.outcome.id.as_str()).collect();
    RunEnd {
        state,
        at: site.cx.clock.now(),
        job_done: None,
        snapshot: None,
        stats: json!({ "drills": ids }),
        failure,
        lines: Vec::new(),
    }
}

fn find<'s>(site: &'s Site, name: &str) -> Result<&'s Plan, Failure> {
    site.configuration.drill(name).ok_or_else(|| {
        let known: Vec<&str> = site.configuration.drills.iter().map(|drill| drill.id.as_str()).collect();
        AppError::Unknown { what: "drill", name: name.to_owned(), known: known.join(", ") }.into()
    })
}

fn one(
    site: &Site,
    policy: &Policy,
    plan: &Plan,
    target: &Target,
    occasion: Occasion,
    catalogue: &Catalog,
    log: &EvidenceLog,
) -> Result<DrillDone, Failure> {
    let class = class_word(target.class(&site.configuration.site.name));
    let seed = Seed::draw();
    // The commitment is in the log before anything is drawn.
    let (id, started) = log.begin_report(start_data(policy, plan, target, seed))?;
    catalogue.start_drill(&NewDrill {
        id: id.as_str().to_owned(),
        plan: plan.id.as_str().to_owned(),
        policy: policy.id.as_str().to_owned(),
        target: target.name.as_str().to_owned(),
        copy_class: class.to_owned(),
        scope: match plan.scope.files {
            Files::All => "all".to_owned(),
            Files::Sample(count) => format!("sample {count}"),
        },
        scheduled_at: occasion.scheduled_at,
        started_at: site.cx.clock.now(),
    })?;
    let mut rehearsal = Rehearsal::new(site, target);
    let outcome = drill::run(
        &settled(policy, plan, id.as_str(), seed)?,
        Stage {
            restorer: &mut rehearsal,
            state_dir: site.state.root(),
            clock: site.cx.clock.as_ref(),
            progress: site.cx.progress.as_ref(),
            cancel: &site.cx.cancel,
        },
    );
    let copy_before = match &outcome.snapshot {
        Some(snapshot) => {
            catalogue.copies(&snapshot.id)?.into_iter().find(|copy| copy.target == target.name.as_str())
        }
        None => None,
    };
    let open = records::open_findings(catalogue, policy, class, &outcome)?;
    let tip = log.tip()?;
    let material = Material {
        site,
        policy,
        plan,
        target,
        outcome: &outcome,
        rehearsal: &rehearsal,
        occasion,
        copy_before: copy_before.as_ref(),
        findings: &open,
        log,
        started: &started,
        tip: &tip,
    };
    let report = report(&material);
    let bytes = report.to_json();
    let json_sha256 = crate::evidence::sha256::hex(&bytes);
    let html = page(&report, Seal { json_sha256: &json_sha256 }, &EN);
    let anchors: Vec<_> =
        rehearsal.repository().zip(rehearsal.snapshot()).map(|(r, s)| anchor(r, s)).into_iter().collect();
    let sealed = log.finish_report(FinishedReport {
        id: &id,
        json: &bytes,
        html: html.as_bytes(),
        data: log_data(&material, &report),
        repositories: &anchors,
    })?;
    let closed = records::finish(catalogue, target.name.as_str(), &outcome, sealed.json_sha256.clone())?;
    Ok(DrillDone {
        outcome,
        sealed,
        target: target.name.as_str().to_owned(),
        open: open.into_iter().map(|finding| format!("{}: {}", finding.id, finding.title)).collect(),
        closed,
    })
}

fn start_data(policy: &Policy, plan: &Plan, target: &Target, seed: Seed) -> Map<String, Value> {
    let data = json!({
        "policy": policy.id.as_str(),
        "plan": plan.id.as_str(),
        "plan_sha256": plan_sha256(policy, plan),
        "target": target.name.as_str(),
        "commitment": seed.commitment(),
    });
    match data {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The plan with its checks made. Paths of the configuration are absolute on the source; those
/// of a manifest with one root are below it.
fn settled(policy: &Policy, plan: &Plan, id: &str, seed: Seed) -> Result<drill::DrillPlan, Failure> {
    let root = match policy.source.paths.as_slice() {
        [only] => only.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    let below_root = move |path: &str| {
        let below = path.strip_prefix(root.trim_end_matches('/'));
        let rest = below.filter(|rest| matches!(rest.as_bytes(), [] | [b'/', ..])).unwrap_or(path);
        // The only root itself has a path when it is a file: its name.
        let rest = if rest.is_empty() { path.rsplit('/').next().unwrap_or(path) } else { rest };
        rest.trim_start_matches('/').to_owned()
    };
    let mut checks = Vec::new();
    for check in &plan.checks {
        checks.push(drill::checks::build(check, &below_root)?);
    }
    Ok(drill::DrillPlan {
        id: id.to_owned(),
        scope: plan.scope.files,
        always: plan.scope.always.iter().map(|path| below_root(path).into_bytes()).collect(),
        seed,
        time_limit: plan.time_limit,
        rto_objective: policy.objective.rto,
        checks,
        cleanup: plan.cleanup,
    })
}

/// The word of a copy's class in records.
fn class_word(class: CopyClass) -> &'static str {
    match class {
        CopyClass::Local => "local",
        CopyClass::Offsite => "offsite",
    }
}

/// A drill of the configuration, with what came out last on each target.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DrillView {
    /// Its id.
    pub drill: String,
    /// Its policy.
    pub policy: String,
    /// Its schedule.
    pub when: String,
    /// The newest on each target.
    pub last: Vec<Drill>,
}

/// The drills of the configuration.
///
/// # Errors
/// When the catalogue cannot be read.
pub fn list(site: &Site) -> Result<Vec<DrillView>, Failure> {
    let catalogue = site.catalogue()?;
    let mut views = Vec::new();
    for plan in &site.configuration.drills {
        let mut newest: Vec<Drill> = Vec::new();
        for drill in catalogue.drills(plan.policy.as_str(), 1000)? {
            let is_new = !newest.iter().any(|seen| seen.target == drill.target);
            if drill.plan == plan.id.as_str() && is_new {
                newest.push(drill);
            }
        }
        views.push(DrillView {
            drill: plan.id.as_str().to_owned(),
            policy: plan.policy.as_str().to_owned(),
            when: plan.when.spec().to_owned(),
            last: newest,
        });
    }
    Ok(views)
}

/// One drill that ran, with its checks.
///
/// # Errors
/// When there is none of this id.
pub fn show(site: &Site, id: &str) -> Result<(Drill, Vec<DrillCheck>), Failure> {
    let catalogue = site.catalogue()?;
    let drill = catalogue.drill(id)?;
    let checks = catalogue.drill_checks(id)?;
    Ok((drill, checks))
}

//! A policy's backup: to all its targets in one pass, read back, recorded.

use serde_json::{Value, json};

use super::change;
use super::facts::is_offsite;
use super::outbox::tell;
use super::own;
use super::promise;
use super::reading::is_away;
use super::site::{Site, Unreached, anchor};
use super::space::{self, note_space};
use super::suspicion;
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Failure};
use crate::base::id::ObjectHash;
use crate::catalog::Catalog;
use crate::catalog::copies::{CopyKey, Snapshot as Recorded};
use crate::catalog::occurrences::OccurrenceKey;
use crate::catalog::outbox::OutboxLine;
use crate::catalog::process::Holder;
use crate::catalog::runs::{Failure as RunFailure, NewRun, Run, RunEnd, RunId};
use crate::catalog::targets::Verification;
use crate::catalog::words::{BackupKind, Cause, Job, Level, RunState, VerifyScope};
use crate::engine::backup::backup;
use crate::engine::backup::outcome::{BackupOutcome, TargetOutcome};
use crate::engine::backup::request::{BackupRequest, CheckpointRule, ParentChoice, SourceRule};
use crate::engine::history::Sight;
use crate::engine::verify::read_back;
use crate::evidence::{EvidenceLog, RepositoryAnchor};
use crate::policy::model::{AfterRun, Place, Policy};
use crate::repository::access::Repository;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::snapshots;

/// The line of a run that ended.
const RUN_ENDED: &str = "run.ended";

/// What a policy's run did.
pub struct PolicyRun {
    /// The run's id in the catalogue.
    pub run: RunId,
    /// What the backup did.
    pub outcome: BackupOutcome,
    /// Targets that are kept apart, and were not here: no failure.
    pub away: Vec<String>,
    /// Targets whose new objects were read back and matched.
    pub read_back: Vec<String>,
    /// Problems found while reading back.
    pub damaged: Vec<String>,
}

/// What makes a run start.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The scheduled time, when the schedule asked.
    pub scheduled_at: Option<Timestamp>,
    /// What asked.
    pub cause: Cause,
}

/// Backs a policy up now.
///
/// # Errors
/// When another run of the policy goes on, the source is missing, or no target has the snapshot in
/// the end. The failure is recorded before it is returned.
pub fn run_policy(
    site: &Site,
    policy: &Policy,
    kind: SnapshotKind,
    occasion: Occasion,
) -> Result<PolicyRun, Failure> {
    let catalogue = site.catalogue()?;
    let log = site.evidence()?;
    let now = site.cx.clock.now();
    catalogue.record_policy(policy.id.as_str(), &policy.version.sha256, now)?;
    promise::record(&catalogue, policy, now)?;
    change::follow_policy(&catalogue, policy, now)?;
    catalogue.mark_interrupted(now)?;
    let run = begin(&catalogue, policy, Job::Backup(backup_kind(kind)), occasion, now)?;
    let result = space::ask(site, &catalogue, policy)
        .and_then(|()| carry_out(site, policy, kind, occasion, &catalogue, &run));
    match result {
        Ok((done, anchors)) => {
            suspicion::look(site, &catalogue, policy, &run, &done.outcome)?;
            record_end(site, &catalogue, &log, policy, &done)?;
            own::keep(site, &catalogue, &log, policy)?;
            site.sign_head(&log, &anchors)?;
            Ok(done)
        }
        Err(failure) => {
            record_failure(site, &catalogue, &log, policy, &run, &failure)?;
            Err(failure)
        }
    }
}

/// Begins a run, or the next attempt of the one at the same occurrence that was interrupted or
/// waits.
///
/// # Errors
/// Refused while another run of the policy's lane goes on.
pub(super) fn begin(
    catalogue: &Catalog,
    policy: &Policy,
    job: Job,
    occasion: Occasion,
    now: Timestamp,
) -> Result<RunId, Failure> {
    if let Some(run) = unfinished(catalogue, policy, &job, occasion)? {
        catalogue.next_attempt(&run.id, None, &Holder::this_process(), now)?;
        return Ok(run.id);
    }
    let new = NewRun {
        policy: policy.id.as_str().to_owned(),
        job,
        scheduled_at: occasion.scheduled_at,
        cause: occasion.cause,
        holder: Holder::this_process(),
    };
    Ok(catalogue.start_run(&new, now)?)
}

/// The run of this occurrence that another attempt may go on with.
fn unfinished(
    catalogue: &Catalog,
    policy: &Policy,
    job: &Job,
    occasion: Occasion,
) -> Result<Option<Run>, Failure> {
    let Some(scheduled_at) = occasion.scheduled_at else { return Ok(None) };
    let key = OccurrenceKey { policy: policy.id.as_str().to_owned(), job: job.clone(), scheduled_at };
    let run = catalogue.run_of(&key)?;
    Ok(run.filter(|run| matches!(run.state, RunState::Interrupted | RunState::Waiting)))
}

/// How a run ends with this failure: it waits for another attempt when the schedule asked for it,
/// the reason passes and an attempt is left. Whether there is time for one is the scheduler's word.
///
/// # Errors
/// When the catalogue cannot be written.
pub(super) fn end_failed(
    site: &Site,
    catalogue: &Catalog,
    run: &RunId,
    failure: &Failure,
    mut end: RunEnd,
) -> Result<RunState, Failure> {
    let known = catalogue.run(run)?;
    let rule = site.configuration.policy(&known.policy).map(|policy| policy.schedule.retry);
    let may_again = known.scheduled_at.is_some() && rule.unwrap_or_default().leaves(known.attempt);
    if may_again && failure.class().is_transient() && !site.cx.cancel.is_cancelled() {
        let reason = RunFailure { code: failure.code().to_owned(), message: failure.message() };
        for line in end.lines.iter_mut().filter(|line| line.kind == RUN_ENDED) {
            *line = OutboxLine::new("run.attempt_failed", line.data.take());
            line.data["state"] = json!(RunState::Waiting.as_str());
        }
        catalogue.await_next_attempt(run, &reason, &end.lines, end.at)?;
        return Ok(RunState::Waiting);
    }
    catalogue.end_run(run, &end)?;
    Ok(end.state)
}

fn carry_out(
    site: &Site,
    policy: &Policy,
    kind: SnapshotKind,
    occasion: Occasion,
    catalogue: &Catalog,
    run: &RunId,
) -> Result<(PolicyRun, Vec<RepositoryAnchor>), Failure> {
    let (repository, unreached) = site.repository_for_backup(policy)?;
    let request = BackupRequest {
        roots: policy.source.paths.clone(),
        kind,
        host: super::plumbing::host_name(),
        policy: Some(policy.id.as_str().to_owned()),
        tags: Vec::new(),
        parent: ParentChoice::Newest,
        walk: super::sources::walk_options(&policy.source),
        freeze: super::sources::freeze(&policy.source, &site.state),
        stream: None,
        rule: SourceRule { files_min: policy.source.min_files },
        effort: policy.effort,
        checkpoint: CheckpointRule::default(),
        run_id: Some(run.as_str().to_owned()),
        occurrence: occasion.scheduled_at.map(Timestamp::rfc3339),
        sight: if unreached.is_empty() { Sight::All } else { Sight::Part },
    };
    let mut outcome = backup(&repository, &request, &site.cx)?;
    let (away, lagging): (Vec<Unreached>, Vec<Unreached>) = unreached.into_iter().partition(|one| {
        let planned = policy.targets.iter().find(|planned| planned.name.as_str() == one.target);
        planned.is_some_and(|planned| is_away(planned, &one.failure))
    });
    outcome.targets.extend(lagging.into_iter().map(self::lagging));
    let now = site.cx.clock.now();
    record_copies(site, catalogue, policy, &repository, &outcome, now)?;
    let away = away.into_iter().map(|one| one.target).collect();
    let mut done = PolicyRun { run: run.clone(), outcome, away, read_back: Vec::new(), damaged: Vec::new() };
    if policy.verify.after_run != AfterRun::Ack {
        read_back_new(site, policy, &repository, catalogue, &mut done)?;
    }
    let anchors = anchors(&repository, &done.outcome.snapshot);
    Ok((done, anchors))
}

fn lagging(unreached: Unreached) -> TargetOutcome {
    TargetOutcome {
        class: Some(unreached.class()),
        target: unreached.target,
        complete: false,
        reason: Some(unreached.reason),
        stored_bytes: 0,
        new_objects: Vec::new(),
    }
}

/// The snapshot and the copies that stand, with what the targets confirmed.
fn record_copies(
    site: &Site,
    catalogue: &Catalog,
    policy: &Policy,
    repository: &Repository,
    outcome: &BackupOutcome,
    now: Timestamp,
) -> Result<(), Failure> {
    let id = outcome.snapshot.to_hex();
    catalogue.import_snapshot(&Recorded {
        id: id.clone(),
        policy: policy.id.as_str().to_owned(),
        repo: repository.id(),
        kind: backup_kind(outcome.kind),
        captured_at: outcome.captured_at,
        parent: outcome.parent.map(|parent| parent.to_hex()),
        files: outcome.stats.files,
        bytes: outcome.stats.source_bytes,
        manifest_root: outcome.manifest_root.to_hex(),
        unread: Some(outcome.unread.count),
    })?;
    for target in outcome.targets.iter().filter(|target| target.complete) {
        let copy = CopyKey { snapshot: &id, target: &target.target };
        catalogue.import_copy(copy, now)?;
        let is_bucket = policy
            .targets
            .iter()
            .any(|t| t.name.as_str() == target.target && matches!(t.place, Place::Bucket { .. }));
        // A folder confirms no checksum: there only reading back counts.
        if is_bucket {
            catalogue.raise_copy(copy, Level::Acked, now)?;
            record_point(catalogue, site, policy, copy, now)?;
        }
    }
    Ok(())
}

/// A copy was confirmed or read back: with it the snapshot is a recovery point, elsewhere too when the
/// target is and nothing refutes that.
pub(super) fn record_point(
    catalogue: &Catalog,
    site: &Site,
    policy: &Policy,
    copy: CopyKey<'_>,
    at: Timestamp,
) -> Result<(), Failure> {
    let planned = policy.targets.iter().find(|target| target.name.as_str() == copy.target);
    let is_offsite = planned.is_some_and(|target| is_offsite(target, &site.configuration.site.name));
    Ok(catalogue.record_point(copy.snapshot, at, is_offsite)?)
}

/// Reads back what the parent did not need already, from each complete target. With a parent
/// whose copy there was read back, the whole copy has been then; its age is the parent's.
fn read_back_new(
    site: &Site,
    policy: &Policy,
    repository: &Repository,
    catalogue: &Catalog,
    done: &mut PolicyRun,
) -> Result<(), Failure> {
    let id = done.outcome.snapshot.to_hex();
    let parent_copies = match &done.outcome.parent {
        Some(parent) => Some(catalogue.copies(&parent.to_hex())?),
        None => None,
    };
    for target in done.outcome.targets.iter().filter(|target| target.complete) {
        let Some(opened) = repository.targets().iter().find(|t| t.name == target.target) else { continue };
        let started_at = site.cx.clock.now();
        let verified = read_back(opened, &target.new_objects, &site.cx)?;
        let ended_at = site.cx.clock.now();
        catalogue.record_verification(&Verification {
            policy: policy.id.as_str().to_owned(),
            target: target.target.clone(),
            scope: VerifyScope::New,
            started_at,
            ended_at,
            objects: verified.objects,
            bytes: verified.bytes,
            damaged: verified.problem_count,
        })?;
        let copy = CopyKey { snapshot: &id, target: &target.target };
        if !verified.is_clean() {
            for problem in &verified.problems {
                done.damaged.push(format!("{}: {} {}", target.target, problem.object, problem.what));
            }
            catalogue.record_problem(copy, "what the run wrote did not read back", ended_at)?;
            continue;
        }
        done.read_back.push(target.target.clone());
        let age = match &parent_copies {
            None => Some(started_at),
            Some(copies) => copies
                .iter()
                .find(|copy| copy.target == target.target)
                .and_then(|copy| copy.read_back_at)
                .map(|at| at.min(started_at)),
        };
        if let Some(age) = age {
            catalogue.raise_copy(copy, Level::ReadBack, age)?;
            record_point(catalogue, site, policy, copy, ended_at)?;
        }
    }
    Ok(())
}

fn record_end(
    site: &Site,
    catalogue: &Catalog,
    log: &EvidenceLog,
    policy: &Policy,
    done: &PolicyRun,
) -> Result<(), Failure> {
    let outcome = &done.outcome;
    let state = if outcome.is_partial() || !done.damaged.is_empty() {
        RunState::Partial
    } else {
        RunState::Succeeded
    };
    let stats = json!({
        "stats": outcome.stats,
        "unread": outcome.unread.count,
        "changed": outcome.changed.count,
        "complete": outcome.complete(),
        "targets": outcome.targets.len(),
    });
    let line = OutboxLine::new(
        RUN_ENDED,
        json!({
            "policy": policy.id.as_str(),
            "policy_sha256": policy.version.sha256,
            "run": done.run.as_str(),
            "state": state.as_str(),
            "kind": outcome.kind,
            "asked": outcome.asked,
            "snapshot": outcome.snapshot,
            "captured_at": outcome.captured_at,
            "targets": targets_json(outcome),
            "away": done.away,
            "read_back": done.read_back,
            "damaged": done.damaged.len(),
            "files": outcome.stats.files,
            "bytes": outcome.stats.source_bytes,
            "unread": outcome.unread.count,
        }),
    );
    catalogue.end_run(
        &done.run,
        &RunEnd {
            state,
            at: site.cx.clock.now(),
            job_done: Some(Job::Backup(backup_kind(outcome.kind))),
            snapshot: Some(outcome.snapshot.to_hex()),
            stats: stats.clone(),
            failure: None,
            lines: vec![line],
        },
    )?;
    tell(catalogue, log)??;
    note_space(catalogue, policy, site.cx.clock.now())
}

fn targets_json(outcome: &BackupOutcome) -> Value {
    outcome.targets.iter().map(|t| json!({ "target": t.target, "complete": t.complete })).collect()
}

fn record_failure(
    site: &Site,
    catalogue: &Catalog,
    log: &EvidenceLog,
    policy: &Policy,
    run: &RunId,
    failure: &Failure,
) -> Result<(), Failure> {
    let state = match failure.class() {
        Class::Cancelled => RunState::Cancelled,
        _ => RunState::Failed,
    };
    let reason = RunFailure { code: failure.code().to_owned(), message: failure.message() };
    let line = OutboxLine::new(
        RUN_ENDED,
        json!({
            "policy": policy.id.as_str(),
            "run": run.as_str(),
            "state": state.as_str(),
            "error_code": failure.code(),
        }),
    );
    let end = RunEnd {
        state,
        at: site.cx.clock.now(),
        job_done: None,
        snapshot: None,
        stats: json!({}),
        failure: Some(reason),
        lines: vec![line],
    };
    end_failed(site, catalogue, run, failure, end)?;
    Ok(tell(catalogue, log)??)
}

/// Where the repository stands now, for the next signed head.
fn anchors(repository: &Repository, id: &ObjectHash) -> Vec<RepositoryAnchor> {
    let found = repository.targets().iter().find_map(|target| {
        let list = snapshots::list(target, Some(repository.format())).ok()?;
        let name = list.valid.into_iter().find(|name| name.id == *id)?;
        let writers = repository.writers(target).ok()?;
        snapshots::load(repository, target, &writers, &name).ok()
    });
    found.map(|snapshot| anchor(repository, &snapshot)).into_iter().collect()
}

/// The catalogue's word for a kind of backup.
pub fn backup_kind(kind: SnapshotKind) -> BackupKind {
    match kind {
        SnapshotKind::Full | SnapshotKind::FullIndependent => BackupKind::Full,
        SnapshotKind::Differential => BackupKind::Differential,
        SnapshotKind::Incremental | SnapshotKind::Checkpoint => BackupKind::Incremental,
    }
}

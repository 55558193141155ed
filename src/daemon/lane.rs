//! Lanes: what never runs twice at the same time, and when each of its jobs is due.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::catalog::occurrences::OccurrenceKey;
use crate::catalog::words::{BackupKind, Job};
use crate::evidence::sha256;
use crate::policy::due::Line;
use crate::policy::model::{self, CatchUp, Configuration, DrillPlan, Place, Policy, Target};
use crate::policy::retry::Retry;
use crate::policy::schedule::Schedule;
use crate::policy::window::Windows;
use crate::source::frozen::mounts::{self, Mount};

/// Reading everything back may take this long; nobody configures it yet.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(3 * 24 * 3600);
/// A drill keeps its own limit, target by target, and cleans up; this is added before its process is ended.
const DRILL_GRACE: Duration = Duration::from_secs(15 * 60);

/// The next occurrence is looked for so far ahead; every wait is far shorter.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The backups of a policy, its verification, scrub, prune, probe or locks, or one drill plan.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// Whose.
    pub(super) policy: String,
    /// Weakest first: each does the work of those before it.
    pub(super) jobs: Vec<(Job, Schedule)>,
    /// What to do about occurrences that passed while nobody looked.
    pub(super) catch_up: CatchUp,
    /// A process that takes longer is ended.
    pub(super) timeout: Duration,
    /// Times in which nothing starts.
    pub(super) blackout: Option<Windows>,
    /// How failed runs are tried again.
    pub(super) retry: Retry,
    /// Who goes first of several that wait for the same kind of work.
    pub(super) priority: u8,
    /// What its processes keep busy.
    pub(super) uses: Uses,
}

/// The media that a job keeps busy, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// Disks and servers that hold copies.
    pub(super) targets: BTreeSet<String>,
    /// File systems that are read.
    pub(super) sources: BTreeSet<String>,
}

impl Lane {
    /// The lanes of a configuration.
    pub(super) fn all(configuration: &Configuration) -> Vec<Self> {
        // Without it everything is on one disk: fewer at a time, never more.
        let mounts = mounts::all().unwrap_or_default();
        let mut lanes = Vec::new();
        for policy in &configuration.policies {
            let whole = Self::of_policy(policy, &mounts);
            let drills = configuration.drills_of(&policy.id);
            lanes.extend(drills.map(|drill| whole.drill(drill, policy)));
            lanes.extend(whole.of_targets(policy));
            lanes.push(whole);
        }
        lanes
    }

    /// The backups.
    fn of_policy(policy: &Policy, mounts: &[Mount]) -> Self {
        let plan = &policy.schedule;
        let mut lines = plan.lines();
        lines.sort_by_key(|line| line.kind);
        let jobs = lines.into_iter().map(|line| (Job::Backup(kind(line.kind)), line.schedule.clone()));
        Self {
            policy: policy.id.as_str().to_owned(),
            jobs: jobs.collect(),
            catch_up: plan.catch_up,
            timeout: plan.timeout,
            blackout: plan.blackout.clone(),
            retry: plan.retry,
            priority: plan.priority,
            uses: Uses {
                targets: policy.targets.iter().map(|target| medium(target, mounts)).collect(),
                sources: policy.source.paths.iter().map(|path| mount_of(path, mounts)).collect(),
            },
        }
    }

    /// What is done with the targets alone.
    fn of_targets(&self, policy: &Policy) -> Vec<Self> {
        let Policy { verify, retention, .. } = policy;
        let prune = retention.as_ref().map(|retention| &retention.prune);
        let jobs = [
            (Job::Verify, Some(&verify.deep)),
            (Job::Scrub, verify.scrub.as_ref()),
            (Job::Prune, prune),
            (Job::Probe, verify.probe.as_ref()),
            (Job::Locks, verify.extend_locks.as_ref()),
        ];
        jobs.into_iter().filter_map(|(job, when)| Some(self.one(job, when?, VERIFY_TIMEOUT))).collect()
    }

    fn drill(&self, drill: &DrillPlan, policy: &Policy) -> Self {
        let targets = u32::try_from(policy.targets.len()).unwrap_or(u32::MAX);
        let timeout = drill.time_limit.saturating_mul(targets).saturating_add(DRILL_GRACE);
        self.one(Job::Drill(drill.id.as_str().to_owned()), &drill.when, timeout)
    }

    fn one(&self, job: Job, when: &Schedule, timeout: Duration) -> Self {
        let uses = Uses { sources: BTreeSet::new(), ..self.uses.clone() };
        Self { jobs: vec![(job, when.clone())], timeout, uses, ..self.clone() }
    }

    /// The record in the catalogue that says since when these schedules are as they are: its name, and
    /// what it knows them by. What else stands in a policy's file may change without a word here.
    pub(super) fn seen(&self) -> (String, String) {
        let specs = self.jobs.iter().map(|(job, schedule)| format!("{job} {schedule}\n"));
        // No policy's name has a colon.
        let name = match self.jobs.first() {
            Some((Job::Backup(_), _)) | None => format!("schedule:{}:backup", self.policy),
            Some((job, _)) => format!("schedule:{}:{job}", self.policy),
        };
        (name, sha256::hex(specs.collect::<String>().as_bytes()))
    }

    /// The schedules as `decide` takes them; a job is named by its place, so that the stronger is the larger.
    pub(super) fn lines(&self) -> Vec<Line<'_, usize>> {
        self.jobs.iter().enumerate().map(|(kind, (_, schedule))| Line { kind, schedule }).collect()
    }

    /// The first occurrence of any of the jobs after a moment.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.jobs.iter().filter_map(|(_, schedule)| schedule.next(after)).map(|next| next.at).min()
    }

    /// A job's place; a job that nobody schedules counts as the weakest.
    pub(super) fn kind_of(&self, job: &Job) -> usize {
        self.jobs.iter().position(|(own, _)| own == job).unwrap_or(0)
    }

    /// Whether an occurrence is one of these.
    pub(super) fn holds(&self, key: &OccurrenceKey) -> bool {
        self.policy == key.policy && self.jobs.iter().any(|(job, _)| *job == key.job)
    }

    /// Whether nothing of it may start now.
    pub(super) fn is_blacked_out(&self, now: Timestamp) -> bool {
        self.blackout.as_ref().is_some_and(|blackout| blackout.hold(now))
    }

    /// When an occurrence comes due after `now` that does the work of this job: of the same or a
    /// stronger one.
    pub(super) fn next_like(&self, job: &Job, now: Timestamp) -> Option<Timestamp> {
        let next = |(_, schedule): &(Job, Schedule)| {
            schedule.occurrences(now, now.plus(AHEAD)).next().map(|next| next.at)
        };
        self.jobs.iter().skip(self.kind_of(job)).filter_map(next).min()
    }

    /// Whether a job that goes on does the work of these, so that one that comes due is not for later.
    /// Another drill of the policy doesn't: that one waits its turn.
    pub(super) fn is_occupied_by(&self, key: &OccurrenceKey) -> bool {
        let alike = |own: &Job| match (own, &key.job) {
            (Job::Backup(_), Job::Backup(_)) => true,
            (own, job) => own == job,
        };
        self.policy == key.policy && self.jobs.iter().any(|(own, _)| alike(own))
    }
}

/// What a target's jobs keep busy: the disk that is mounted there, or the server.
fn medium(target: &Target, mounts: &[Mount]) -> String {
    match &target.place {
        Place::Folder(path) => mount_of(path, mounts),
        Place::Bucket { bucket, .. } => target.endpoint.clone().unwrap_or_else(|| format!("s3 {bucket}")),
    }
}

/// By the table of mounts and not by a look at the path: a disk that hangs must not hang the daemon.
fn mount_of(path: &Path, mounts: &[Mount]) -> String {
    mounts::of(mounts, path).map(|mount| format!("device {}", mount.dev)).unwrap_or_default()
}

/// The catalogue's word for a policy's kind of backup.
fn kind(kind: model::BackupKind) -> BackupKind {
    match kind {
        model::BackupKind::Full => BackupKind::Full,
        model::BackupKind::Differential => BackupKind::Differential,
        model::BackupKind::Incremental => BackupKind::Incremental,
    }
}

/// Who goes first when several wait: small for now.
pub(super) fn urgency(job: &Job) -> u8 {
    match job {
        Job::Backup(BackupKind::Incremental) => 0,
        Job::Backup(BackupKind::Differential) => 1,
        Job::Backup(BackupKind::Full) => 2,
        // A lock that ends is gone for good.
        Job::Locks => 3,
        Job::Verify => 4,
        Job::Probe => 5,
        Job::Drill(_) => 6,
        Job::Scrub => 7,
        Job::Prune => 8,
    }
}

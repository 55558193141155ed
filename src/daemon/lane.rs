//! Lanes: what never runs twice at the same time, and when each of its jobs is due.

use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::catalog::occurrences::OccurrenceKey;
use crate::catalog::words::{BackupKind, Job};
use crate::policy::due::Line;
use crate::policy::model::{self, CatchUp, Configuration, DrillPlan, Policy};
use crate::policy::schedule::Schedule;

/// Reading everything back may take this long; nobody configures it yet.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(3 * 24 * 3600);
/// A drill keeps its own limit, target by target, and cleans up; this is added before its process is ended.
const DRILL_GRACE: Duration = Duration::from_secs(15 * 60);

/// The next occurrence is looked for so far ahead; every wait is far shorter.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The backups of a policy, its verification, scrub or prune, or one drill plan.
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
    /// The record in the catalogue that says when these schedules were first seen: its name and
    /// the hash of the file.
    pub(super) seen: (String, String),
}

impl Lane {
    /// The lanes of a configuration.
    pub(super) fn all(configuration: &Configuration) -> Vec<Self> {
        let policies = &configuration.policies;
        let mut lanes: Vec<_> = policies.iter().flat_map(Self::of_policy).collect();
        for drill in &configuration.drills {
            lanes
                .extend(configuration.policy(drill.policy.as_str()).map(|policy| Self::drill(drill, policy)));
        }
        lanes
    }

    fn of_policy(policy: &Policy) -> Vec<Self> {
        let one =
            |job, schedule: &Schedule| Self { jobs: vec![(job, schedule.clone())], ..Self::verify(policy) };
        let mut lanes = vec![Self::backups(policy), Self::verify(policy)];
        lanes.extend(policy.verify.scrub.iter().map(|schedule| one(Job::Scrub, schedule)));
        lanes.extend(policy.retention.iter().map(|retention| one(Job::Prune, &retention.prune)));
        lanes
    }

    fn backups(policy: &Policy) -> Self {
        let plan = &policy.schedule;
        let mut lines = plan.lines();
        lines.sort_by_key(|line| line.kind);
        let jobs = lines.into_iter().map(|line| (Job::Backup(kind(line.kind)), line.schedule.clone()));
        Self { jobs: jobs.collect(), timeout: plan.timeout, ..Self::verify(policy) }
    }

    fn verify(policy: &Policy) -> Self {
        Self {
            policy: policy.id.as_str().to_owned(),
            jobs: vec![(Job::Verify, policy.verify.deep.clone())],
            catch_up: policy.schedule.catch_up,
            timeout: VERIFY_TIMEOUT,
            seen: (policy.id.as_str().to_owned(), policy.version.sha256.clone()),
        }
    }

    fn drill(drill: &DrillPlan, policy: &Policy) -> Self {
        let targets = u32::try_from(policy.targets.len()).unwrap_or(u32::MAX);
        let version = drill.version.as_ref().unwrap_or(&policy.version);
        Self {
            jobs: vec![(Job::Drill(drill.id.as_str().to_owned()), drill.when.clone())],
            timeout: drill.time_limit.saturating_mul(targets).saturating_add(DRILL_GRACE),
            // No policy's name has a colon.
            seen: (format!("drill:{}", drill.id), version.sha256.clone()),
            ..Self::verify(policy)
        }
    }

    /// The schedules as `decide` takes them; a job is named by its place, so that the stronger is the larger.
    pub(super) fn lines(&self) -> Vec<Line<'_, usize>> {
        self.jobs.iter().enumerate().map(|(kind, (_, schedule))| Line { kind, schedule }).collect()
    }

    /// A job's place; a job that nobody schedules counts as the weakest.
    pub(super) fn kind_of(&self, job: &Job) -> usize {
        self.jobs.iter().position(|(own, _)| own == job).unwrap_or(0)
    }

    /// Whether an occurrence is one of these.
    pub(super) fn holds(&self, key: &OccurrenceKey) -> bool {
        self.policy == key.policy && self.jobs.iter().any(|(job, _)| *job == key.job)
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
        Job::Verify => 3,
        Job::Drill(_) => 4,
        Job::Scrub => 5,
        Job::Prune => 6,
    }
}

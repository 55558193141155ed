//! One policy: what is backed up, when, where to, and what was promised about it.

use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use super::{Limits, PolicyId, Setting, TargetName, Version};
use crate::base::effort::Effort;
use crate::base::lock::LockRule;
use crate::policy::due::Line;
use crate::policy::limit::Limit;
use crate::policy::retention::{Hold, Rules};
use crate::policy::retry::Retry;
use crate::policy::room::MinFree;
use crate::policy::schedule::Schedule;
use crate::policy::window::Windows;

/// `policies/ID.toml`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The file's name.
    pub id: PolicyId,
    /// The file this was read from.
    pub version: Version,
    /// For people.
    pub description: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// How much hurts when it fails.
    pub tier: Tier,
    /// What was promised about loss and return.
    pub objective: Objective,
    /// How hard its contents are compressed.
    pub effort: Effort,
    /// What is backed up.
    pub source: Source,
    /// When.
    pub schedule: Plan,
    /// Where to; at least one.
    pub targets: Vec<Target>,
    /// The 3-2-1 that was promised.
    pub rule: Rule,
    /// How copies are read back.
    pub verify: Verify,
    /// What becomes of old snapshots; `None`: nothing is removed.
    pub retention: Option<Retention>,
    /// What retention may not touch, whatever its rules say.
    pub legal_hold: Vec<Hold>,
    /// The countries in which copies may lie; empty: any.
    pub residency: Vec<String>,
    /// What its jobs may take of the machine; the site's for what it doesn't say.
    pub limits: Limits,
    /// Each value and its origin.
    pub settings: Vec<Setting>,
}

impl Policy {
    /// What was promised and about what, as text: source, targets, rule and objectives with every default,
    /// without rates and the places of credentials. Another text is another promise.
    pub fn promise(&self) -> String {
        const ABOUT: [&str; 5] = ["source", "targets", "rule", "rpo", "rto"];
        const NOT: [&str; 5] = ["upload_limit", "download_limit", "credentials_file", "ca_file", "min_free"];
        let counts = |setting: &&Setting| {
            let first = setting.key.split('.').next().unwrap_or_default();
            let last = setting.key.rsplit('.').next().unwrap_or_default();
            ABOUT.contains(&first) && !NOT.contains(&last)
        };
        let promises = self.settings.iter().filter(counts);
        promises.map(|setting| format!("{} = {}\n", setting.key, setting.value)).collect()
    }
}

/// How much hurts when a policy fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Can wait.
    Standard,
    /// Can't wait long.
    Important,
    /// Can't wait.
    Critical,
}

impl Tier {
    /// The word in the file and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Important => "important",
            Self::Critical => "critical",
        }
    }
}

/// Recovery objectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// At most this much work may be lost.
    pub rpo: Duration,
    /// Everything is back within this time. `None`: nothing was promised.
    pub rto: Option<Duration>,
}

/// What is backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Absolute; at least one.
    pub paths: Vec<PathBuf>,
    /// Left out, in gitignore's syntax.
    pub exclude: Vec<String>,
    /// A missing path fails the run.
    pub must_exist: bool,
    /// Fewer files fail the run: an empty mount is never a green backup.
    pub min_files: u64,
    /// A run that finds this share of the bytes gone since the last one is suspicious (percent).
    pub max_shrink: u8,
    /// Mounts below a path are not entered.
    pub one_file_system: bool,
    /// When there are any, only what one of them matches is backed up, in gitignore's syntax.
    pub include: Vec<String>,
    /// Longer files are left out (bytes).
    pub exclude_larger_than: Option<u64>,
    /// Folders that hold an entry of one of these names are kept empty.
    pub exclude_if_present: Vec<String>,
    /// Folders with a `CACHEDIR.TAG` are not kept empty.
    pub with_caches: bool,
    /// Which view of the paths is read.
    pub snapshot: SnapshotOfSource,
    /// With [`SnapshotOfSource::Hook`]: the program that makes the view.
    pub snapshot_hook: Option<PathBuf>,
    /// So long it may take for a view.
    pub snapshot_hook_timeout: Duration,
}

/// Which view of the source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotOfSource {
    /// The files as they are when the run comes by.
    None,
    /// A snapshot where the file system makes one; else the files as they are.
    Auto,
    /// A snapshot of btrfs, or the run fails.
    Btrfs,
    /// What a program of the operator makes, or the run fails.
    Hook,
}

/// The kinds of backup run, weakest first: each does the work of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// Trusts stat against the last snapshot.
    Incremental,
    /// Trusts stat against the last full.
    Differential,
    /// Reads and hashes every byte.
    Full,
}

impl BackupKind {
    /// The word in the file and in views.
    pub fn word(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Full => "full",
        }
    }
}

/// `[schedule]`: when backups run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every byte is read and hashed.
    pub full: Schedule,
    /// `None` when switched off.
    pub incremental: Option<Schedule>,
    /// `None` unless asked for.
    pub differential: Option<Schedule>,
    /// The zone of all three.
    pub timezone: Tz,
    /// What to do about occurrences that passed while nothing ran.
    pub catch_up: CatchUp,
    /// A run that takes longer is ended.
    pub timeout: Duration,
    /// Times in which no job of the policy starts by the schedule.
    pub blackout: Option<Windows>,
    /// How a run that failed for a reason that passes is tried again.
    pub retry: Retry,
    /// Who goes first of several that wait for the same kind of work: 0 to 100.
    pub priority: u8,
}

impl Plan {
    /// The kinds that are switched on, as [`crate::policy::due::decide`] takes them.
    pub fn lines(&self) -> Vec<Line<'_, BackupKind>> {
        let line = |kind, schedule| Line { kind, schedule };
        std::iter::once(line(BackupKind::Full, &self.full))
            .chain(self.differential.iter().map(|s| line(BackupKind::Differential, s)))
            .chain(self.incremental.iter().map(|s| line(BackupKind::Incremental, s)))
            .collect()
    }
}

/// What to do about occurrences that passed while nothing ran. They are recorded either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// One run, for the newest.
    Once,
    /// None.
    Skip,
}

/// `[targets.NAME]`: a place that holds copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The table's name.
    pub name: TargetName,
    /// As written.
    pub url: String,
    /// The same, taken apart.
    pub place: Place,
    /// S3 only.
    pub endpoint: Option<String>,
    /// S3 only.
    pub region: Option<String>,
    /// S3 only: `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// Where the medium stands, broadest part first: `hq/room-b`. A folder without one stands at the site.
    pub location: Option<String>,
    /// In which country, by its two letters.
    pub country: Option<String>,
    /// It is kept apart, and normally absent: its absence fails nothing.
    pub offline: bool,
    /// For one that is offline: it comes by so often.
    pub accept_every: Duration,
    /// What it is made of: `disk`, `object`, `removable`, `tape` ...
    pub media: String,
    /// Who runs it; from the endpoint when nobody says.
    pub provider: Option<String>,
    /// `AWS_*` KEY=VALUE lines. `None`: the usual credential chain.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) of whoever may vouch for the store. `None`: `AWS_CA_BUNDLE`, else the
    /// system's authorities.
    pub ca_file: Option<PathBuf>,
    /// S3 only: how every object is locked.
    pub immutable: Option<LockRule>,
    /// Folders only: what has to stay free there.
    pub min_free: MinFree,
    /// How fast bytes may go there.
    pub upload_limit: Option<Limit>,
    /// How fast they may come from there, but for restores.
    pub download_limit: Option<Limit>,
}

/// A target's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder, absolute.
    Folder(PathBuf),
    /// A bucket and a prefix without slashes at its ends (may be empty).
    Bucket {
        /// Its name.
        bucket: String,
        /// `a/b`, or empty.
        prefix: String,
    },
}

/// Where a copy stands relative to the site; what drills choose by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyClass {
    /// At the site, or nobody said where.
    Local,
    /// Declared to be elsewhere.
    Offsite,
}

impl CopyClass {
    /// The class that a declared location gives: its first part decides.
    pub fn of(location: Option<&str>, site: &str) -> Self {
        let elsewhere = location.is_some_and(|location| location.split('/').next() != Some(site));
        if elsewhere { Self::Offsite } else { Self::Local }
    }
}

impl Target {
    /// The class that the declared location gives. Facts can refute it ([`crate::policy::copies`]).
    pub fn class(&self, site: &str) -> CopyClass {
        CopyClass::of(self.location.as_deref(), site)
    }
}

/// `[rule]`: the 3-2-1(-1-0) that was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Copies in different failure domains, the live source among them when `count_source`.
    pub copies: u32,
    /// Different media.
    pub media: u32,
    /// Copies elsewhere.
    pub offsite: u32,
    /// Copies that can't be changed, or can't be reached.
    pub immutable_or_offline: u32,
    /// A copy counts only this long after it was read back.
    pub max_verify_age: Duration,
    /// The live source is one of the copies.
    pub count_source: bool,
    /// Every class of copy was restored in a drill, and no finding is open.
    pub zero_errors: bool,
}

/// `[verify]`: how copies are read back.
#[derive(Clone, Debug)]
pub struct Verify {
    /// What each run reads back of what it wrote.
    pub after_run: AfterRun,
    /// When every object of every target is read back.
    pub deep: Schedule,
    /// When a share of every target is read back; `None`: never by itself.
    pub scrub: Option<Schedule>,
    /// With that: everything is read within this time.
    pub scrub_period: Duration,
    /// When each target is tried out: writing, reading, listing, deleting, locks, the clock. `None`: never by
    /// itself.
    pub probe: Option<Schedule>,
    /// When the locks of immutable targets are made to last longer. `None`: never by itself, or no
    /// target has any.
    pub extend_locks: Option<Schedule>,
}

/// `[retention]`: what becomes of old snapshots.
#[derive(Clone, Debug)]
pub struct Retention {
    /// What is kept.
    pub rules: Rules,
    /// When the rest is forgotten, and what only it held is freed.
    pub prune: Schedule,
    /// How long a pack is left alone, and a sweep plan visible before it is carried out.
    pub grace: Duration,
}

/// What a run reads back of what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterRun {
    /// Everything.
    New,
    /// Nothing: the target's confirmed checksum stands for a day.
    Ack,
    /// This share, in percent, 1 to 100.
    Sample(u8),
}

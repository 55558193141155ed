//! What the files promise, as plain data: every value resolved, every default filled in.
//!
//! Where each value came from stands beside it in [`Setting`]s, which `policy show --effective`
//! and `plan` print. Nothing here reads or decides.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use super::schedule::Schedule;

/// Longest id and target name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// What becomes of old snapshots, as `plan` says it.
pub const RETENTION: &str = "nothing is removed before prune exists";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes 1 to 64 of `a` to `z`, `0` to `9` and `-`; anything else is `None`.
            pub fn new(text: &str) -> Option<Self> {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
                fits.then(|| Self(text.to_owned()))
            }

            /// As written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A policy: the name of its file without `.toml`.
    PolicyId
}
name! {
    /// A drill plan: the name of its file without `.toml`.
    DrillId
}
name! {
    /// A target within its policy.
    TargetName
}

/// Everything that was read.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The folder it was read from.
    pub dir: PathBuf,
    /// `lifeboat.toml`, or its defaults.
    pub site: Site,
    /// By id.
    pub policies: Vec<Policy>,
    /// By id; a policy that no file drills has its weekly default here.
    pub drills: Vec<DrillPlan>,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<super::problem::Problem>,
}

impl Configuration {
    /// The policy of this id.
    pub fn policy(&self, id: &str) -> Option<&Policy> {
        self.policies.iter().find(|p| p.id.as_str() == id)
    }

    /// The drill plan of this id.
    pub fn drill(&self, id: &str) -> Option<&DrillPlan> {
        self.drills.iter().find(|d| d.id.as_str() == id)
    }

    /// The drill plans of a policy.
    pub fn drills_of<'a>(&'a self, policy: &'a PolicyId) -> impl Iterator<Item = &'a DrillPlan> {
        self.drills.iter().filter(move |d| d.policy == *policy)
    }
}

/// One resolved value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// Dotted: `targets.disk.url`.
    pub key: String,
    /// As TOML.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody wrote it.
    File {
        /// Relative to the configuration folder.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody wrote it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl serde::Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A file's bytes, named.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Relative to the configuration folder.
    pub file: String,
    /// SHA-256 of the file's bytes in lower-case hex, as `sha256sum` prints it.
    pub sha256: String,
}

/// `lifeboat.toml`.
#[derive(Clone, Debug)]
pub struct Site {
    /// The place where this host stands; a target elsewhere is off-site.
    pub name: String,
    /// Zone of schedules that name none.
    pub timezone: Tz,
    /// The state folder, unless the command line or environment says otherwise.
    pub state_dir: Option<PathBuf>,
    /// The site key; `keys/repository.key` in the state folder when absent.
    pub key_file: Option<PathBuf>,
    /// The key that signs evidence; made in the state folder when absent.
    pub sign_key_file: Option<PathBuf>,
    /// Each value and its origin.
    pub settings: Vec<Setting>,
}

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
    /// Each value and its origin.
    pub settings: Vec<Setting>,
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
    /// Mounts below a path are not entered.
    pub one_file_system: bool,
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
}

impl Plan {
    /// The kinds that are switched on, as [`super::due::decide`] takes them.
    pub fn lines(&self) -> Vec<super::due::Line<'_, BackupKind>> {
        let line = |kind, schedule| super::due::Line { kind, schedule };
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
    /// What it is made of: `disk`, `object`, `removable`, `tape` ...
    pub media: String,
    /// Who runs it; from the endpoint when nobody says.
    pub provider: Option<String>,
    /// `AWS_*` KEY=VALUE lines. `None`: the usual credential chain.
    pub credentials_file: Option<PathBuf>,
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
    /// The class that the declared location gives. Facts can refute it ([`super::copies`]).
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

/// `drills/ID.toml`: a rehearsal.
#[derive(Clone, Debug)]
pub struct DrillPlan {
    /// The file's name.
    pub id: DrillId,
    /// The file, or `None` for a policy's default drill.
    pub version: Option<Version>,
    /// What is restored.
    pub policy: PolicyId,
    /// When.
    pub when: Schedule,
    /// From where.
    pub copy: CopyChoice,
    /// How much.
    pub scope: Scope,
    /// Longer is a failed drill.
    pub time_limit: Duration,
    /// The first is always `manifest`.
    pub checks: Vec<Check>,
    /// What becomes of the sandbox.
    pub cleanup: Cleanup,
    /// Each value and its origin.
    pub settings: Vec<Setting>,
}

/// Which copies a drill restores from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyChoice {
    /// One of this class.
    Class(CopyClass),
    /// Every target, one after the other.
    Each,
    /// This one.
    Target(TargetName),
}

impl CopyChoice {
    /// Whether the choice can fall on this target.
    pub fn admits(&self, target: &Target, site: &str) -> bool {
        match self {
            Self::Each => true,
            Self::Class(class) => target.class(site) == *class,
            Self::Target(name) => target.name == *name,
        }
    }
}

impl fmt::Display for CopyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Class(CopyClass::Local) => "local",
            Self::Class(CopyClass::Offsite) => "offsite",
            Self::Each => "each",
            Self::Target(name) => name.as_str(),
        })
    }
}

/// How much a drill restores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Which files.
    pub files: Files,
    /// These paths in any case.
    pub always: Vec<String>,
}

/// Which files a drill restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// All of them; only this can prove an RTO.
    All,
    /// This many, picked by a seed.
    Sample(u32),
}

/// One `[[check]]` of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Unique in its plan; findings are opened and closed by it.
    pub id: String,
    /// What is looked at.
    pub kind: CheckKind,
    /// Without its result the drill is inconclusive.
    pub required: bool,
    /// What a failure does to the verdict.
    pub on_fail: OnFail,
    /// Longer is an error of the check.
    pub timeout: Duration,
}

/// What a failed check does to a drill's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// The drill fails.
    Fail,
    /// The drill passes with a finding.
    Warn,
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Every restored file's hash, size, mode, owner and time equal the manifest's.
    Manifest,
    /// Files and bytes of the whole snapshot are in range.
    Count {
        /// Number of files.
        files: Option<Bound>,
        /// Sum of sizes.
        bytes: Option<Bound>,
    },
    /// Each of these paths or globs is there.
    Exists {
        /// As the manifest has them: absolute.
        paths: Vec<String>,
        /// Each at least this large.
        min_bytes: u64,
    },
    /// The newest file under a glob is at most this much older than the snapshot.
    Freshness {
        /// A path or glob.
        path: String,
        /// Largest age relative to `captured_at`.
        newest_at_most: Duration,
    },
    /// A program run in the sandbox, without a shell. `{restore_root}` in an argument is the sandbox's root.
    Command {
        /// Program and arguments.
        run: Vec<String>,
        /// The exit code that passes.
        exit: u8,
    },
}

impl CheckKind {
    /// The word in the file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Count { .. } => "count",
            Self::Exists { .. } => "exists",
            Self::Freshness { .. } => "freshness",
            Self::Command { .. } => "command",
        }
    }
}

/// `>= 1000`, `<= 5GB`, `= 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// No less.
    AtLeast(u64),
    /// No more.
    AtMost(u64),
    /// Just this.
    Exactly(u64),
}

impl Bound {
    /// Whether a value keeps the bound.
    pub fn holds(self, value: u64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Exactly(bound) => value == bound,
        }
    }
}

/// What becomes of a drill's sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// After a pass.
    pub pass: Leftover,
    /// After anything else.
    pub fail: Leftover,
}

/// What becomes of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Removed at once.
    Delete,
    /// Kept for somebody to look at, then removed.
    Keep(Duration),
}

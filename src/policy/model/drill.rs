//! One drill plan: what is restored, from where, and what is checked.

use std::fmt;
use std::time::Duration;

use super::{CopyClass, DrillId, PolicyId, Setting, Target, TargetName, Version};
use crate::policy::schedule::Schedule;

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

//! The whole of what was read, the site, names, and where values came from.

use std::fmt;
use std::path::PathBuf;

use chrono_tz::Tz;

use super::{DrillPlan, Limits, People, Policy};
use crate::policy::problem::Problem;
use crate::policy::room::MinFree;

/// Longest id and target name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

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
    pub warnings: Vec<Problem>,
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

    /// The files, by name.
    pub fn files(&self) -> Vec<&Version> {
        let policies = self.policies.iter().map(|policy| &policy.version);
        let drills = self.drills.iter().filter_map(|drill| drill.version.as_ref());
        let mut files: Vec<&Version> = self.site.version.iter().chain(policies).chain(drills).collect();
        files.sort_by(|a, b| a.file.cmp(&b.file));
        files
    }

    /// The drill plans of a policy.
    pub fn drills_of<'a>(&'a self, policy: &'a PolicyId) -> impl Iterator<Item = &'a DrillPlan> {
        self.drills.iter().filter(move |d| d.policy == *policy)
    }
}

/// How many jobs go on at a time; each number is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// In all. With two or more, one place is kept for backups.
    pub all: u32,
    /// That use one disk or one bucket's server as a target.
    pub target: u32,
    /// That read one file system.
    pub source: u32,
}

impl Concurrency {
    /// So many in all, and no further bound.
    pub fn of(all: u32) -> Self {
        Self { all, target: all, source: all }
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self::of(2)
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
    /// The file this was read from, if there is one.
    pub version: Option<Version>,
    /// The place where this host stands; a target elsewhere is off-site.
    pub name: String,
    /// Zone of schedules that name none.
    pub timezone: Tz,
    /// The state folder, unless the command line or environment says otherwise.
    pub state_dir: Option<PathBuf>,
    /// The site key; `keys/repository.key` in the state folder when absent.
    pub key_file: Option<PathBuf>,
    /// A program that prints the site key, and its arguments, in place of the file; empty when there
    /// is none. No shell reads it.
    pub key_command: Vec<String>,
    /// The key that signs evidence; made in the state folder when absent.
    pub sign_key_file: Option<PathBuf>,
    /// How many jobs the daemon does at a time.
    pub concurrency: Concurrency,
    /// The policy whose targets keep the records of this host, too.
    pub self_backup: Option<String>,
    /// Who is told what, and how.
    pub people: People,
    /// What jobs may take of the machine, unless their policy says otherwise.
    pub limits: Limits,
    /// What has to stay free where the state folder is.
    pub state_min_free: MinFree,
    /// Each value and its origin.
    pub settings: Vec<Setting>,
}

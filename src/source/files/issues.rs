//! What a restore could not set: told and counted, never a reason to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Mutex;

use super::dir::lock;
use super::error::shown;

/// Issues of one aspect that are kept word by word; all are counted.
const LISTED_MAX: u64 = 1000;

/// The part of an entry that could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// Owner or group.
    Owner,
    /// Permission bits; also when set-uid and set-gid are left out because the owner is another.
    Mode,
    /// An extended attribute, an ACL or a capability.
    Attribute,
    /// The time of the last change.
    Times,
    /// Inode flags.
    Flags,
    /// A socket: recorded, never made.
    Socket,
    /// A device that this user may not make.
    Device,
    /// An entry that should have been removed and still stands.
    Removal,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Mode => "mode",
            Self::Attribute => "attribute",
            Self::Times => "times",
            Self::Flags => "flags",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::Removal => "removal",
        })
    }
}

/// One thing that could not be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataIssue {
    /// Below the destination.
    pub path: Vec<u8>,
    /// What.
    pub aspect: Aspect,
    /// Why, for people, with the attribute's name where there is one.
    pub why: String,
}

impl fmt::Display for MetadataIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} not restored: {}", shown(&self.path), self.aspect, self.why)
    }
}

/// All issues of a restore so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issues {
    /// The first ones of each aspect; without root's rights only one about owners.
    pub listed: Vec<MetadataIssue>,
    /// How many there were.
    pub counts: BTreeMap<Aspect, u64>,
}

/// Takes issues from many threads.
#[derive(Debug)]
pub(super) struct IssueLog {
    owners_listed_max: u64,
    issues: Mutex<Issues>,
}

impl IssueLog {
    /// A normal user can set no owners at all: one word about that is enough.
    pub(super) fn new(is_root: bool) -> Self {
        Self { owners_listed_max: if is_root { LISTED_MAX } else { 1 }, issues: Mutex::default() }
    }

    pub(super) fn add(&self, path: &[u8], aspect: Aspect, why: impl fmt::Display) {
        let mut issues = lock(&self.issues);
        let count = issues.counts.entry(aspect).or_default();
        *count += 1;
        let listed_max = if aspect == Aspect::Owner { self.owners_listed_max } else { LISTED_MAX };
        if *count <= listed_max {
            issues.listed.push(MetadataIssue { path: path.to_vec(), aspect, why: why.to_string() });
        }
    }

    /// Adds what a call said, if it said no.
    pub(super) fn note(&self, path: &[u8], aspect: Aspect, done: Result<(), impl Into<io::Error>>) {
        if let Err(error) = done {
            self.add(path, aspect, error.into());
        }
    }

    pub(super) fn all(&self) -> Issues {
        lock(&self.issues).clone()
    }
}

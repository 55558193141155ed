//! What a restore could not set: told and counted, never a reason to stop.
//!
//! Every issue is one of a few sorts, (what, why): a report names each sort once with its number,
//! the first paths and what to do. Memory is bounded whatever the number of issues.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Mutex;

use rustix::io::Errno;

use super::dir::lock;
use super::error::shown;

/// Issues of one sort that are kept word by word; all are counted.
const LISTED_MAX: u64 = 1000;
/// Paths that are kept of each sort, for a report.
const EXAMPLES_MAX: usize = 3;

/// The part of an entry that could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// Owner or group.
    Owner,
    /// Permission bits; also when set-uid and set-gid are left out because the owner is another.
    Mode,
    /// An access list or a default one (`system.posix_acl_*`).
    Acl,
    /// File capabilities (`security.capability`).
    Capability,
    /// An attribute of a user (`user.`), or of no known name space.
    Attribute,
    /// An attribute of the system's keepers (`trusted.`).
    Trusted,
    /// A label of a security module (`security.`).
    Security,
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

impl Aspect {
    /// What an extended attribute is, by its name.
    pub(super) fn of_attribute(name: &[u8]) -> Self {
        match name {
            b"security.capability" => Self::Capability,
            name if name.starts_with(b"system.posix_acl_") => Self::Acl,
            name if name.starts_with(b"security.") => Self::Security,
            name if name.starts_with(b"trusted.") => Self::Trusted,
            _ => Self::Attribute,
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Mode => "mode",
            Self::Acl => "access list",
            Self::Capability => "capability",
            Self::Attribute => "attribute",
            Self::Trusted => "trusted attribute",
            Self::Security => "security label",
            Self::Times => "times",
            Self::Flags => "flags",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::Removal => "removal",
        })
    }
}

/// Why something could not be set, as far as it decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// This user may not.
    NotPermitted,
    /// The file system has no such thing.
    NotSupported,
    /// The file system took it and keeps something else.
    NotKept,
    /// The file system, or anybody, has no place for the recorded value.
    Unfit,
    /// No space or quota is left for it.
    NoSpace,
    /// Set-uid and set-gid would lend the rights of another owner than the recorded one.
    OtherOwner,
    /// Anything else.
    Failed,
}

impl Reason {
    /// By what the kernel said.
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::PERM | Errno::ACCESS | Errno::ROFS) => Self::NotPermitted,
            Some(Errno::NOTSUP | Errno::NOSYS | Errno::NOTTY) => Self::NotSupported,
            Some(Errno::INVAL | Errno::RANGE | Errno::TOOBIG | Errno::NAMETOOLONG | Errno::OVERFLOW) => {
                Self::Unfit
            }
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPermitted => "not permitted",
            Self::NotSupported => "not supported by the file system",
            Self::NotKept => "the file system keeps another value",
            Self::Unfit => "the recorded value does not fit",
            Self::NoSpace => "no space left",
            Self::OtherOwner => "left out: the owner is another",
            Self::Failed => "failed",
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
    /// Why, by its sort.
    pub reason: Reason,
    /// Why, for people, with the attribute's name where there is one.
    pub why: String,
}

impl fmt::Display for MetadataIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} not restored: {}", shown(&self.path), self.aspect, self.why)
    }
}

/// All issues of one sort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// Where the first of them are, below the destination.
    pub first: Vec<Vec<u8>>,
}

/// All issues of a restore so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issues {
    /// The first ones of each sort; without root's rights only one about owners.
    pub listed: Vec<MetadataIssue>,
    /// How many there were of each aspect.
    pub counts: BTreeMap<Aspect, u64>,
    /// How many there were of each sort, and the first of them.
    pub groups: BTreeMap<(Aspect, Reason), Group>,
    /// Whether root restored: then what is not permitted is forbidden by something else.
    pub as_root: bool,
}

impl Issues {
    /// What a person does about issues of a sort; `None` when there is nothing to do.
    pub fn next_step(&self, aspect: Aspect, reason: Reason) -> Option<&'static str> {
        use Aspect as A;
        use Reason as R;
        Some(match (aspect, reason) {
            (A::Socket, _) => return None,
            (A::Owner, R::NotPermitted) if !self.as_root => {
                "run the restore as root, or pass --no-owner if you are to own everything"
            }
            (A::Mode, R::OtherOwner) => {
                "run the restore as root, or set these bits by hand once the owner is right"
            }
            (A::Attribute, R::NotPermitted) => {
                "look at the rights and flags of these entries and restore them again"
            }
            (A::Removal, _) => "remove these entries by hand",
            (_, R::NotPermitted) if !self.as_root => "run the restore as root",
            (A::Device, R::NotPermitted) => {
                "restore where devices may be made: not on FAT or in a container without that right"
            }
            (_, R::NotPermitted) => "look for a mount option, a container or an attribute that forbids it",
            (A::Acl, R::NotSupported) => {
                "restore onto a file system mounted with `acl`, such as ext4, XFS or Btrfs"
            }
            (A::Attribute, R::NotSupported) => {
                "restore onto a file system with user attributes, such as ext4, XFS or Btrfs"
            }
            (_, R::NotSupported | R::NotKept) => "restore onto a file system like the one that was backed up",
            (_, R::NoSpace) => {
                "make room and restore these entries again: attributes share a small space with the inode"
            }
            (_, R::Unfit) => "nothing on this file system: it has no place for the recorded value",
            (_, R::OtherOwner | R::Failed) => "look at the reason of each, and restore these entries again",
        })
    }
}

/// Takes issues from many threads.
#[derive(Debug)]
pub(super) struct IssueLog {
    issues: Mutex<Issues>,
}

impl IssueLog {
    /// A normal user can set no owners at all: one word about that is enough.
    pub(super) fn new(as_root: bool) -> Self {
        Self { issues: Mutex::new(Issues { as_root, ..Issues::default() }) }
    }

    /// Counts an issue of a known sort.
    pub(super) fn add(&self, path: &[u8], sort: (Aspect, Reason), why: impl fmt::Display) {
        let (aspect, reason) = sort;
        let issues = &mut *lock(&self.issues);
        *issues.counts.entry(aspect).or_default() += 1;
        let group = issues.groups.entry(sort).or_default();
        group.count += 1;
        if group.first.len() < EXAMPLES_MAX {
            group.first.push(path.to_vec());
        }
        let listed_max = if aspect == Aspect::Owner && !issues.as_root { 1 } else { LISTED_MAX };
        if group.count <= listed_max {
            issues.listed.push(MetadataIssue { path: path.to_vec(), aspect, reason, why: why.to_string() });
        }
    }

    /// Adds what a call said, if it said no.
    pub(super) fn note(&self, path: &[u8], aspect: Aspect, done: Result<(), impl Into<io::Error>>) {
        if let Err(error) = done {
            let error = error.into();
            self.add(path, (aspect, Reason::of(&error)), error);
        }
    }

    /// Adds what a call about something with a name of its own said, if it said no.
    pub(super) fn note_named(&self, path: &[u8], aspect: Aspect, named: &str, done: Result<(), Errno>) {
        if let Err(errno) = done {
            let error = io::Error::from(errno);
            self.add(path, (aspect, Reason::of(&error)), format_args!("{named}: {error}"));
        }
    }

    pub(super) fn all(&self) -> Issues {
        lock(&self.issues).clone()
    }
}

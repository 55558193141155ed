//! What can go wrong between us and a file system.

use std::io;

use crate::base::display;
use crate::base::error::{Class, Classified};
use crate::base::metadata::FileKind;

/// A failure on one path. Paths are already made harmless for people (`base::display`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A path named by a person cannot be opened.
    #[error("cannot open the source {path}")]
    OpenRoot {
        /// As given.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A pattern is none of gitignore's.
    #[error("cannot understand the pattern {pattern}")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        source: ignore::Error,
    },
    /// A file of patterns can't be used.
    #[error("cannot use the file of patterns {path}")]
    PatternFile {
        /// As given.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// More patterns than can be held.
    #[error("{count} patterns are more than the 20,000 that can be used at once")]
    TooManyPatterns {
        /// How many there are.
        count: usize,
    },
    /// No view of a root that holds still can be made.
    #[error("cannot freeze {path}: {reason}")]
    Freeze {
        /// As given.
        path: String,
        /// Why.
        reason: String,
    },
    /// Another file system or subvolume begins here, and the view that is read does not hold it.
    #[error("{path} is not in the frozen view: another subvolume or file system begins there")]
    NotInView {
        /// Below the root.
        path: String,
    },
    /// A call on an entry of the source failed.
    #[error("cannot {action} {path}")]
    Read {
        /// What was being done: `open`, `list`, `read`, `read attributes of`.
        action: &'static str,
        /// Below the root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something else has the name of what was walked over.
    #[error("{path} was replaced while it was being read")]
    Replaced {
        /// Below the root.
        path: String,
    },
    /// Deeper, longer or wider than the bounds in `base::limits`.
    #[error("{path} is beyond the limit: {limit}")]
    Limit {
        /// Below the root; shortened when it is long.
        path: String,
        /// Which bound.
        limit: &'static str,
    },
    /// A path to be restored is not made of plain names.
    #[error("refused the unsafe path {path}")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// The folder to restore into cannot be used.
    #[error("cannot open the destination {path}")]
    OpenDestination {
        /// As given.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something stands where an entry is to be restored, and may not be replaced.
    #[error("{path} is in the way: {}", kind_word(*.found))]
    Occupied {
        /// Below the destination.
        path: String,
        /// What stands there.
        found: FileKind,
    },
    /// Another restore writes into this folder.
    #[error("another restore is running here")]
    Busy,
    /// Something has a name that a restore needs for itself.
    #[error("{path} is a name that restores need for themselves, and a folder has it")]
    Reserved {
        /// Below the destination.
        path: String,
    },
    /// A call on an entry of the destination failed.
    #[error("cannot {action} {path}")]
    Write {
        /// What was being done: `create`, `write`, `link`, `remove`, `make durable`.
        action: &'static str,
        /// Below the destination.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl FilesError {
    pub(super) fn read(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Read { action, path: shown(path), source: source.into() }
    }

    /// A stream that was taken.
    pub fn taken(name: &str) -> Self {
        let source = io::Error::other("it can be read only once");
        Self::Read { action: "read", path: name.to_owned(), source }
    }

    pub(super) fn write(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Write { action, path: shown(path), source: source.into() }
    }

    pub(super) fn limit(path: &[u8], limit: &'static str) -> Self {
        Self::Limit { path: shown(path), limit }
    }

    /// Whether the entry is simply gone. Entries come and go during a backup: that is counted,
    /// and no failure.
    pub fn is_vanished(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether another entry has taken the name: look again with [`super::Found::refresh`].
    pub fn is_replaced(&self) -> bool {
        matches!(self, Self::Replaced { .. })
    }
}

impl Classified for FilesError {
    fn class(&self) -> Class {
        match self {
            Self::Pattern { .. } | Self::PatternFile { .. } | Self::TooManyPatterns { .. } => Class::Usage,
            Self::UnsafePath { .. } => Class::Damage,
            Self::Occupied { .. } | Self::Busy | Self::Reserved { .. } => Class::Refused,
            Self::Replaced { .. } | Self::Limit { .. } | Self::NotInView { .. } => Class::Partial,
            Self::Freeze { .. } => Class::Failed,
            Self::OpenRoot { source, .. }
            | Self::Read { source, .. }
            | Self::OpenDestination { source, .. }
            | Self::Write { source, .. } => Class::of_io(source),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::OpenRoot { .. } => "E0401",
            Self::Pattern { .. } => "E0402",
            Self::Read { .. } => "E0403",
            Self::Replaced { .. } => "E0404",
            Self::Limit { .. } => "E0405",
            Self::PatternFile { .. } => "E0445",
            Self::TooManyPatterns { .. } => "E0446",
            Self::Freeze { .. } => "E0447",
            Self::NotInView { .. } => "E0448",
            Self::UnsafePath { .. } => "E0421",
            Self::OpenDestination { .. } => "E0422",
            Self::Occupied { .. } => "E0423",
            Self::Write { .. } => "E0424",
            Self::Busy => "E0425",
            Self::Reserved { .. } => "E0426",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::OpenRoot { .. } => "check that the path exists and that this user may read it",
            Self::Pattern { .. } => "write patterns as in a .gitignore file, relative to the source folder",
            Self::Freeze { .. } => "see what it says, or read the files as they are with --snapshot none",
            Self::NotInView { .. } => "name it as a root of its own, exclude it, or stay on one file system",
            Self::PatternFile { .. } => "name a regular file of lines as in a .gitignore file, at most 4 MiB",
            Self::TooManyPatterns { .. } => "exclude or include folders instead of single files",
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as a user who may read it, or exclude it"
            }
            Self::Read { .. } => "look at the disk's health, or exclude it",
            Self::Replaced { .. } => {
                "back up again; if it changes all the time, back up a file system snapshot"
            }
            Self::Limit { .. } => "move it up in the tree, or exclude it",
            Self::UnsafePath { .. } => "do not trust this repository: restore from another copy",
            Self::OpenDestination { .. } => "name a folder that this user may write to",
            Self::Occupied { .. } => "restore into an empty folder, or allow it with --overwrite",
            Self::Busy => "wait until it has ended, or restore into another folder",
            Self::Reserved { .. } => "rename or remove that folder, or restore into another one",
            Self::Write { source, .. } if Class::of_io(source) == Class::NoSpace => {
                "free some space, or restore somewhere else"
            }
            Self::Write { .. } => "check the rights on the destination",
        };
        Some(hint.to_owned())
    }
}

/// A path for people, shortened in the middle when nobody would read it to the end.
pub(super) fn shown(path: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 2048;
    match path {
        b"" => ".".to_owned(),
        path if path.len() <= SHOWN_BYTES_MAX => display::path(path),
        path => {
            let (head, tail) = (&path[..SHOWN_BYTES_MAX / 2], &path[path.len() - SHOWN_BYTES_MAX / 2..]);
            format!("{} ... {}", display::path(head), display::path(tail))
        }
    }
}

fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Directory => "a folder",
        FileKind::Symlink => "a symbolic link",
        FileKind::Fifo => "a named pipe",
        FileKind::Socket => "a socket",
        FileKind::CharDevice => "a character device",
        FileKind::BlockDevice => "a block device",
    }
}

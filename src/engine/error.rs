//! Why a verb failed.

use std::path::PathBuf;

use crate::base::error::{Class, Classified};
use crate::base::metadata::FileKind;
use crate::repository::error::RepositoryError;
use crate::repository::manifest::ManifestError;
use crate::repository::sweep::SweepError;
use crate::source::files::FilesError;
use crate::storage::contract::StorageError;

/// What to do about snapshots that went and that nobody forgot.
pub const ROLLED_BACK_HINT: &str = "find out who may delete there; `lifeboat repo sync` brings back what another place still has, \
     and `lifeboat repo accept-loss` puts on record that the rest is known to be gone";

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The repository or one of its places.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A plan was not made or not carried out.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The source or the folder restored into.
    #[error(transparent)]
    Source(#[from] FilesError),
    /// A source path isn't there, or holds nothing.
    #[error("the source {path} {what}; nothing was backed up")]
    NoSource {
        /// Which, escaped.
        path: String,
        /// `does not exist`, `is an empty folder`.
        what: &'static str,
    },
    /// What was to come in as one file did not come, or not to its end.
    #[error("{name} did not come in whole: {reason}; nothing was saved")]
    Stream {
        /// The name it was to get, escaped.
        name: String,
        /// What happened.
        reason: String,
    },
    /// The source has fewer files than the policy demands.
    #[error("{path} holds {files} files, fewer than the {needed} it must have; nothing was saved")]
    TooFewFiles {
        /// Which, escaped.
        path: String,
        /// How many there are.
        files: u64,
        /// How many there must be.
        needed: u64,
    },
    /// A path asked for is not in the snapshot.
    #[error("{path} is not in snapshot {snapshot}")]
    NoPath {
        /// Which, escaped.
        path: String,
        /// In which snapshot.
        snapshot: String,
    },
    /// Something is in the way, and replacing it was not asked for.
    #[error("{path} exists already; nothing was overwritten")]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// What was to be restored would be written into, or over, a folder of our own.
    #[error("{path} {how} {own}, a repository or the state folder; nothing was written")]
    OnOurOwn {
        /// The folder to restore into.
        path: PathBuf,
        /// `is`, `lies in`, `contains`.
        how: &'static str,
        /// The repository or state folder.
        own: PathBuf,
    },
    /// One entry cannot be restored: what its blobs need is lost.
    #[error("it cannot be restored: {reason}")]
    Unrestorable {
        /// Why.
        reason: String,
    },
    /// Nothing is stored of a file: it could not be read, and no older snapshot had it.
    #[error("{path} was not read when snapshot {snapshot} was taken; nothing of it is stored there")]
    NeverRead {
        /// Which, escaped.
        path: String,
        /// In which snapshot.
        snapshot: String,
    },
    /// Restored files differ from the snapshot.
    #[error("{count} restored items differ from the snapshot, first {first}")]
    RestoredDiffers {
        /// How many.
        count: u64,
        /// The first, escaped.
        first: String,
    },
    /// Something else than a regular file was to be dumped.
    #[error("{path} is no regular file but a {}", kind_word(*.kind))]
    NotAFile {
        /// Which, escaped.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// A pattern to search for makes no sense.
    #[error("`{pattern}` is no pattern: {why}")]
    NoPattern {
        /// As given.
        pattern: String,
        /// Why not.
        why: String,
    },
    /// Nothing can be mounted there.
    #[error("{dir} {what}; nothing was mounted")]
    MountPoint {
        /// Where.
        dir: PathBuf,
        /// `does not exist`, `is not empty`.
        what: &'static str,
    },
    /// The kernel or `fusermount3` refused to mount or unmount.
    #[error("{dir} cannot be mounted or unmounted")]
    NotMounted {
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Rules go by the clock, and it can't be right.
    #[error("the clock says {now}, and the newest snapshot is of {newest}: nothing is forgotten by rules")]
    ClockUnfit {
        /// This machine's time.
        now: String,
        /// When the newest snapshot was taken.
        newest: String,
    },
    /// Rules would take most of what is there.
    #[error("the rules would remove more than half of the snapshots of {sets}: nothing is forgotten")]
    MostForgotten {
        /// Which sets of snapshots, in words.
        sets: String,
    },
    /// Snapshots went that nobody forgot.
    #[error("{first}{}", more_like_it(*.more))]
    RolledBack {
        /// The first, in words.
        first: String,
        /// How many more there are.
        more: usize,
    },
    /// What was read cannot be remembered.
    #[error("{path}, which says what was read when, cannot be written")]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("cancelled; what was done so far is kept, and the same command goes on from there")]
    Cancelled,
    /// A thread ended by a defect of ours.
    #[error("{what} ended by a defect; please report it")]
    Defect {
        /// Which part.
        what: &'static str,
    },
}

fn more_like_it(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more like it)") }
}

/// A type of entry for people.
fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "folder",
        FileKind::Symlink => "symbolic link",
        FileKind::Fifo => "named pipe",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
    }
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<ManifestError> for EngineError {
    fn from(error: ManifestError) -> Self {
        Self::Repository(error.into())
    }
}

impl Classified for EngineError {
    fn class(&self) -> Class {
        match self {
            Self::Repository(error) => error.class(),
            Self::Sweep(error) => error.class(),
            Self::Source(error) => error.class(),
            Self::NoSource { .. } | Self::TooFewFiles { .. } | Self::Stream { .. } | Self::Defect { .. } => {
                Class::Failed
            }
            Self::NotAFile { .. } | Self::NoPattern { .. } | Self::MountPoint { .. } => Class::Usage,
            Self::NotMounted { source, .. } | Self::Memory { source, .. } => Class::of_io(source),
            Self::NoPath { .. } => Class::NotFound,
            Self::InTheWay { .. }
            | Self::OnOurOwn { .. }
            | Self::ClockUnfit { .. }
            | Self::MostForgotten { .. } => Class::Refused,
            Self::RestoredDiffers { .. } | Self::Unrestorable { .. } | Self::RolledBack { .. } => {
                Class::Damage
            }
            Self::NeverRead { .. } => Class::Partial,
            Self::Cancelled => Class::Cancelled,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Repository(error) => error.code(),
            Self::Sweep(error) => error.code(),
            Self::Source(error) => error.code(),
            Self::NoSource { .. } => "E0601",
            Self::NoPath { .. } => "E0602",
            Self::InTheWay { .. } => "E0603",
            Self::RestoredDiffers { .. } => "E0604",
            Self::TooFewFiles { .. } => "E0607",
            Self::Unrestorable { .. } => "E0608",
            Self::NeverRead { .. } => "E0646",
            Self::OnOurOwn { .. } => "E0609",
            Self::Stream { .. } => "E0645",
            Self::NotAFile { .. } => "E0440",
            Self::NoPattern { .. } => "E0441",
            Self::MountPoint { .. } => "E0442",
            Self::NotMounted { .. } => "E0443",
            Self::ClockUnfit { .. } => "E0635",
            Self::MostForgotten { .. } => "E0636",
            Self::RolledBack { .. } => "E0470",
            Self::Memory { .. } => "E0460",
            Self::Cancelled => "E0605",
            Self::Defect { .. } => "E0606",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Repository(error) => return error.hint(),
            Self::Sweep(error) => return error.hint(),
            Self::Source(error) => return error.hint(),
            Self::TooFewFiles { .. } => {
                "check that its file system is mounted; min_files in the policy sets the bound".to_owned()
            }
            Self::Stream { .. } => {
                "look at what makes the bytes; --allow-empty takes a stream without any".to_owned()
            }
            Self::NoSource { .. } => {
                "check the path, and that the file system it lives on is mounted".to_owned()
            }
            Self::NoPath { .. } => "`ls` prints the paths that can be restored".to_owned(),
            Self::NotAFile { .. } => "`restore --path` brings it back with all that is below it".to_owned(),
            Self::NoPattern { .. } => {
                "`*` stands for any part of a name, `**` for any folders, `\\` before a sign takes it as it is"
                    .to_owned()
            }
            Self::MountPoint { dir, what } if what.contains("ended") => {
                format!("`umount -l {}` clears it away", dir.display())
            }
            Self::MountPoint { .. } => "make an empty folder, and name that".to_owned(),
            Self::NotMounted { .. } => {
                "mounting needs /dev/fuse and root's rights, or `fusermount3` (Debian package fuse3)".to_owned()
            }
            Self::InTheWay { .. } => "choose an empty folder, or add --overwrite".to_owned(),
            Self::OnOurOwn { how: "contains", .. } => {
                "leave out --delete, or restore into another folder".to_owned()
            }
            Self::OnOurOwn { .. } => "restore into another folder".to_owned(),
            Self::Unrestorable { .. } => "restore it from another target or an older snapshot".to_owned(),
            Self::NeverRead { path, .. } => {
                let name = path.rsplit('/').next().unwrap_or(path);
                format!("`find '{name}'` names older snapshots that may have it")
            }
            Self::RestoredDiffers { .. } => {
                "the medium restored to may be failing; restore to another one".to_owned()
            }
            Self::ClockUnfit { .. } => {
                "set the clock; when it is right, --accept-clock goes on, and a snapshot of the future can be \
                 forgotten by its id"
                    .to_owned()
            }
            Self::MostForgotten { .. } => {
                "look at the plan with --dry-run; --accept-more-than-half goes on".to_owned()
            }
            Self::RolledBack { .. } => ROLLED_BACK_HINT.to_owned(),
            Self::Memory { .. } => "name a folder that can be written with --state-dir; without that memory no round ever ends".to_owned(),
            Self::Cancelled => "run the same command again to go on".to_owned(),
            Self::Defect { .. } => return None,
        })
    }
}

//! What can go wrong with the evidence folder.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::{Class, Classified};

/// A failure of the evidence floor.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The operating system refused.
    #[error("evidence: cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A stored file isn't what was written.
    #[error("evidence: {} is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log has lines, but the key that began it is gone.
    #[error("evidence: the log exists, but its signing key {} does not", path.display())]
    KeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// The key is not the one that the log began with.
    #[error("evidence: {} is not the key that this log was begun with", path.display())]
    OtherKey {
        /// Which key.
        path: PathBuf,
    },
    /// A signing key that cannot be used.
    #[error("evidence: {} is not a usable signing key: {what}", path.display())]
    BadKey {
        /// Which file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// Something that may not go into the log or a report.
    #[error("evidence: `{what}` is refused: {why}")]
    Refused {
        /// The line's kind or the report's id.
        what: String,
        /// The rule it breaks.
        why: String,
    },
}

impl EvidenceError {
    /// Wraps an operating-system error with what was being done to which file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// Names damage in a file.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}

impl Classified for EvidenceError {
    fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => Class::of_io(source),
            Self::Damaged { .. } => Class::Damage,
            Self::KeyMissing { .. } | Self::OtherKey { .. } => Class::WrongKey,
            Self::BadKey { .. } => Class::Usage,
            Self::Refused { .. } => Class::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "E0550",
            Self::Damaged { .. } => "E0551",
            Self::KeyMissing { .. } => "E0552",
            Self::OtherKey { .. } => "E0553",
            Self::BadKey { .. } => "E0554",
            Self::Refused { .. } => "E0555",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Io { source, .. } if Class::of_io(source) == Class::NoSpace => {
                "free some space in the state folder, then repeat"
            }
            Self::Io { .. } => {
                "check the folder and who may use it; the evidence is in `evidence` of the state folder"
            }
            Self::Damaged { .. } => {
                "run `lifeboat evidence verify`; keep the folder as it is and compare it with a copy"
            }
            Self::KeyMissing { .. } | Self::OtherKey { .. } => {
                "put the original key back; to begin a new log, move the whole evidence folder aside"
            }
            Self::BadKey { .. } => {
                "make one with `openssl genpkey -algorithm ed25519 -out KEY` and `chmod 600 KEY`"
            }
            Self::Refused { .. } => return None,
        };
        Some(text.to_owned())
    }
}

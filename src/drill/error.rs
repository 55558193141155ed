//! Why a drill could not be planned or carried out.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::{Class, Classified};
use crate::base::size::format_bytes;

/// Whose fault a failed restore is. It decides the verdict: a copy that doesn't come back fails
/// the drill, a sandbox that breaks leaves it inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The copy, its target or the key: nobody could restore from it now.
    Copy,
    /// The place that was restored to.
    Sandbox,
}

/// Why a drill could not be planned or carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrillError {
    /// A check is written wrongly.
    #[error("the check `{check}` cannot be used: {reason}")]
    BadCheck {
        /// Its kind or id.
        check: String,
        /// What is wrong, as a clause.
        reason: String,
    },
    /// The scope is larger than a drill holds in memory.
    #[error("{count} picked entries are more than {max}; use the scope `all`")]
    TooManyPicked {
        /// How many.
        count: u64,
        /// How many may be.
        max: u64,
    },
    /// A name that cannot be a folder of the sandbox.
    #[error("`{0}` cannot be a drill's id")]
    BadId(String),
    /// The sandbox has no room.
    #[error("{} needs {} free for this drill and has {}", path.display(), format_bytes(*needed_bytes), format_bytes(*free_bytes))]
    NoRoom {
        /// The sandbox.
        path: PathBuf,
        /// Bytes to restore with the reserve.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// A drill of this id is running or was kept.
    #[error("a sandbox of drill {0} exists already")]
    SandboxExists(String),
    /// The file system of the sandbox said no.
    #[error("cannot {action} {}", path.display())]
    Sandbox {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The engine could not restore.
    #[error("{action} failed")]
    Restore {
        /// Whose fault it is.
        fault: Fault,
        /// What was tried, as a noun: `opening the repository at s3://...`.
        action: String,
        /// The class of the cause.
        class: Class,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A person, a signal or the time limit ended it.
    #[error("the drill was stopped while {0}")]
    Stopped(&'static str),
}

impl DrillError {
    /// Wraps a failure of the engine.
    pub fn restore<E>(fault: Fault, action: impl Into<String>, source: E) -> Self
    where
        E: Classified + Send + Sync + 'static,
    {
        Self::Restore { fault, action: action.into(), class: source.class(), source: Box::new(source) }
    }

    pub(super) fn sandbox<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Sandbox { action, path, source: source.into() }
    }

    /// Whose fault it is, for the verdict.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Restore { fault, .. } => *fault,
            _ => Fault::Sandbox,
        }
    }
}

impl Classified for DrillError {
    fn class(&self) -> Class {
        match self {
            Self::BadCheck { .. } | Self::TooManyPicked { .. } | Self::BadId(_) => Class::Usage,
            Self::NoRoom { .. } => Class::NoSpace,
            Self::SandboxExists(_) => Class::Refused,
            Self::Sandbox { source, .. } => Class::of_io(source),
            Self::Restore { class, .. } => *class,
            Self::Stopped(_) => Class::Cancelled,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadCheck { .. } => "E0701",
            Self::TooManyPicked { .. } => "E0702",
            Self::BadId(_) => "E0703",
            Self::NoRoom { .. } => "E0704",
            Self::SandboxExists(_) => "E0705",
            Self::Sandbox { .. } => "E0706",
            Self::Restore { .. } => "E0707",
            Self::Stopped(_) => "E0708",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadCheck { .. } => {
                "correct the drill file; `lifeboat check` shows every problem".to_owned()
            }
            Self::NoRoom { .. } => "free space there, or choose a smaller sample".to_owned(),
            Self::SandboxExists(_) => "wait for the running drill, or remove the kept folder".to_owned(),
            _ => return None,
        })
    }
}

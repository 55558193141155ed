//! Why the daemon cannot start, and why it ended a run in its process's place.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::error::{Chain, Class, Classified};
use crate::catalog::CatalogError;
use crate::catalog::runs::Failure;
use crate::evidence::EvidenceError;

/// A failure of the daemon floor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The state folder is taken, or the catalogue cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The evidence log cannot be used.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The configuration names nothing to do.
    #[error("daemon: there is no policy in {}", dir.display())]
    NoPolicy {
        /// The configuration's folder.
        dir: PathBuf,
    },
    /// A job's process could not be started.
    #[error("daemon: cannot start the process for {what}")]
    NotStarted {
        /// Which occurrence.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A job's process ended before it recorded a run.
    #[error("daemon: the process for {what} ended with {how} before it began a run")]
    NoRun {
        /// Which occurrence.
        what: String,
        /// Exit code or signal.
        how: String,
    },
    /// A job took longer than its policy allows.
    #[error("daemon: {what} took longer than {} s and was ended", limit.as_secs())]
    TimedOut {
        /// Which occurrence.
        what: String,
        /// What was allowed.
        limit: Duration,
    },
}

impl DaemonError {
    /// As a run's record keeps it.
    pub(super) fn as_failure(&self) -> Failure {
        Failure { code: self.code().to_owned(), message: Chain(self).to_string() }
    }
}

impl Classified for DaemonError {
    fn class(&self) -> Class {
        match self {
            Self::Catalog(error) => error.class(),
            Self::Evidence(error) => error.class(),
            Self::NoPolicy { .. } => Class::Usage,
            Self::NotStarted { source, .. } => Class::of_io(source),
            Self::NoRun { .. } | Self::TimedOut { .. } => Class::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Catalog(error) => error.code(),
            Self::Evidence(error) => error.code(),
            Self::NoPolicy { .. } => "E0901",
            Self::NotStarted { .. } => "E0902",
            Self::NoRun { .. } => "E0903",
            Self::TimedOut { .. } => "E0904",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Catalog(error) => return error.hint(),
            Self::Evidence(error) => return error.hint(),
            Self::NoPolicy { .. } => {
                "write one into policies/; docs/configuration.md shows nine lines that do"
            }
            Self::NotStarted { .. } => "check that the program is still where the daemon was started from",
            Self::NoRun { .. } => "its words are in the daemon's output; run the same job by hand",
            Self::TimedOut { .. } => "find out why it was slow, or raise `schedule.timeout`",
        };
        Some(text.to_owned())
    }
}

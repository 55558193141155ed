//! What can go wrong with the catalogue and the state folder.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::{Class, Classified};

/// A failure of the catalogue floor.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The operating system refused.
    #[error("state: cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process owns the state folder.
    #[error("state: {} is in use by the daemon with process id {pid}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The owner's process id, or `unknown`.
        pid: String,
    },
    /// The catalogue was written by a newer version.
    #[error("catalogue: {} was written by a newer version of lifeboat", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// The catalogue's bytes are damaged.
    #[error("catalogue: {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the check said.
        what: String,
    },
    /// The database refused.
    #[error("catalogue: cannot {doing}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What its answer means.
        class: Class,
        /// The database's answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A stored value that this version does not know.
    #[error("catalogue: column {column} of {doing} holds `{found}`")]
    Value {
        /// What was being read.
        doing: &'static str,
        /// Which column, from 0.
        column: usize,
        /// What it holds.
        found: String,
    },
    /// A change that the record's state does not allow.
    #[error("catalogue: {what} is {state} and cannot become {wanted}")]
    State {
        /// Which record.
        what: String,
        /// Its state.
        state: String,
        /// What was asked.
        wanted: &'static str,
    },
    /// A record that does not exist.
    #[error("catalogue: there is no {what}")]
    NotFound {
        /// Which record.
        what: String,
    },
    /// Another run of the same policy and lane is going on.
    #[error("catalogue: a {lane} of {policy} is running already ({run})")]
    Overlap {
        /// Which policy.
        policy: String,
        /// `backup`, `verify` or `drill`.
        lane: &'static str,
        /// Which run.
        run: String,
    },
}

impl CatalogError {
    /// Wraps an operating-system error with what was being done to which file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

impl Classified for CatalogError {
    fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => Class::of_io(source),
            Self::InUse { .. } => Class::StateInUse,
            Self::Newer { .. } => Class::Usage,
            Self::Damaged { .. } | Self::Value { .. } => Class::Damage,
            Self::Sql { class, .. } => *class,
            Self::State { .. } | Self::Overlap { .. } => Class::Refused,
            Self::NotFound { .. } => Class::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "E0501",
            Self::InUse { .. } => "E0502",
            Self::Newer { .. } => "E0503",
            Self::Damaged { .. } => "E0504",
            Self::Sql { .. } => "E0505",
            Self::Value { .. } => "E0506",
            Self::State { .. } => "E0507",
            Self::NotFound { .. } => "E0508",
            Self::Overlap { .. } => "E0509",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::InUse { .. } => "stop that daemon, or use another --state-dir",
            Self::Newer { .. } => {
                "use the newer version, or put back the copy that it kept: catalogue.schema-N.db (docs/recovery.md)"
            }
            Self::Damaged { .. } | Self::Value { .. } => {
                "move catalogue.db aside; snapshots and copies are filled in again from a target"
            }
            Self::Overlap { .. } => "wait until it has ended, or look at it with `lifeboat status`",
            Self::Io { .. } | Self::Sql { .. } if self.class() == Class::NoSpace => {
                "free some space in the state folder, then repeat"
            }
            Self::Io { .. } => "check the state folder and who may write there, or use another --state-dir",
            Self::NotFound { .. } => "`lifeboat drill list` and `lifeboat snapshots` show what there is",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

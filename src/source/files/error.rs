//! Why the source, or the folder restored into, could not be used at all.

use std::io;

use crate::base::error::{Class, Classified};

/// Why the source, or the folder restored into, could not be used at all. Single items that fail
/// are no errors but part of the outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A root cannot be opened.
    #[error("{path} cannot be opened")]
    Root {
        /// Which, escaped.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A rule that leaves things out cannot be understood.
    #[error("the rule `{rule}` cannot be understood: {reason}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in the folder restored into failed.
    #[error("{action} {path} failed")]
    Write {
        /// What was done, as a gerund: `writing`.
        action: &'static str,
        /// To what, escaped.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is in the way, and replacing it was not asked for.
    #[error("{path} exists already; nothing was overwritten")]
    InTheWay {
        /// What, escaped.
        path: String,
    },
    /// A name that must not be used on a file system.
    #[error("{path} is no name that a restore may use")]
    BadName {
        /// Which, escaped.
        path: String,
    },
}

impl Classified for SourceError {
    fn class(&self) -> Class {
        match self {
            Self::Root { source, .. } | Self::Write { source, .. } => match Class::of_io(source) {
                Class::Transient | Class::NotFound => Class::Failed,
                class => class,
            },
            Self::Rule { .. } => Class::Usage,
            Self::InTheWay { .. } => Class::Refused,
            Self::BadName { .. } => Class::Damage,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Root { .. } => "E0401",
            Self::Rule { .. } => "E0402",
            Self::Write { .. } => "E0403",
            Self::InTheWay { .. } => "E0404",
            Self::BadName { .. } => "E0405",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Root { .. } => {
                "check the path and its permissions, and that its file system is mounted".to_owned()
            }
            Self::Rule { .. } => "rules have the syntax of a .gitignore file".to_owned(),
            Self::Write { .. } => {
                "check the permissions and the free space there, then run the same command again".to_owned()
            }
            Self::InTheWay { .. } => "choose an empty folder, or add --overwrite".to_owned(),
            Self::BadName { .. } => {
                "run `lifeboat repo verify`; this snapshot was not written by an honest writer".to_owned()
            }
        })
    }
}

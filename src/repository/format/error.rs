//! Stored bytes that are not what the format says.

use crate::base::error::{Class, Classified};

/// What is wrong with stored bytes. The object's name is added by whoever read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes break a rule of the format.
    #[error("{what} is damaged: {why}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// The rule that is broken.
        why: &'static str,
    },
    /// Sealed bytes do not open.
    #[error("{what} does not open with this repository's keys")]
    NotOpened {
        /// What was being opened.
        what: &'static str,
    },
    /// A signature does not verify.
    #[error("the signature of {what} does not verify")]
    NotSigned {
        /// What was being checked.
        what: &'static str,
    },
    /// A later version wrote it.
    #[error("{what} has version {version}; this program reads version 1")]
    TooNew {
        /// What was being read.
        what: &'static str,
        /// Its version.
        version: u16,
    },
    /// The passphrase, or the key, is another one.
    #[error("this passphrase or key does not open the key slot")]
    WrongKey,
    /// The key slot doesn't grant what is needed.
    #[error("this key does not grant {what}")]
    NotGranted {
        /// What was needed.
        what: &'static str,
    },
    /// The key slot grants nothing that reads.
    #[error("this key may only add backups: it opens nothing that is stored")]
    WritesOnly,
    /// The key was made before the newest epoch.
    #[error("a later epoch has begun, and this key is of an earlier one")]
    OldEpoch,
    /// Something to be stored is beyond a limit of the format.
    #[error("{what} cannot be stored: {why}")]
    Unfit {
        /// What was to be stored.
        what: &'static str,
        /// The limit.
        why: &'static str,
    },
}

impl Classified for FormatError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } | Self::NotOpened { .. } | Self::NotSigned { .. } => Class::Damage,
            Self::TooNew { .. } => Class::Usage,
            Self::WrongKey | Self::NotGranted { .. } | Self::WritesOnly | Self::OldEpoch => Class::WrongKey,
            Self::Unfit { .. } => Class::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "E0301",
            Self::NotOpened { .. } => "E0302",
            Self::NotSigned { .. } => "E0303",
            Self::TooNew { .. } => "E0304",
            Self::WrongKey => "E0305",
            Self::NotGranted { .. } => "E0306",
            Self::Unfit { .. } => "E0307",
            Self::WritesOnly => "E0309",
            Self::OldEpoch => "E0312",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { .. } | Self::NotOpened { .. } | Self::NotSigned { .. } => {
                "run `lifeboat repo verify`: another target may hold the object whole".to_owned()
            }
            Self::TooNew { .. } => "use a newer lifeboat".to_owned(),
            Self::WrongKey => "check the password file, or the key file".to_owned(),
            Self::NotGranted { .. } => "use a key that grants it".to_owned(),
            Self::OldEpoch => {
                "ask the administrator for a new key (`lifeboat repo key add`); if a rotation did not end, run `lifeboat repo key rotate` again".to_owned()
            }
            Self::WritesOnly => {
                "use a key that reads: the administrator's, a recovery kit, or one of a host that was added without --write-only".to_owned()
            }
            Self::Unfit { .. } => return None,
        })
    }
}

//! Why somebody could not be told.

use std::path::PathBuf;

use crate::base::error::{Class, Classified};

/// Why somebody could not be told. Holds no address and no secret: whoever has a web hook's address can
/// write there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlertError {
    /// A file with an address or a secret cannot be used.
    #[error("{what} {path} cannot be used: {cause}")]
    Secret {
        /// `the address file`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The server can't be reached, or the line broke.
    #[error("the server cannot be reached: {cause}")]
    Unreached {
        /// Why.
        cause: String,
    },
    /// The server does not take it.
    #[error("the server does not take it: {cause}")]
    Refused {
        /// What it said.
        cause: String,
    },
    /// There is nobody to write to.
    #[error("nobody who is to be told has a mail address")]
    NoAddress,
}

impl Classified for AlertError {
    fn class(&self) -> Class {
        match self {
            Self::Secret { .. } | Self::NoAddress => Class::Usage,
            Self::Unreached { .. } => Class::Unreachable,
            Self::Refused { .. } => Class::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "E1001",
            Self::Unreached { .. } => "E1002",
            Self::Refused { .. } => "E1003",
            Self::NoAddress => "E1004",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Secret { .. } => {
                "put it there on one line, mode 0600, readable by the daemon's user".to_owned()
            }
            Self::Unreached { .. } => {
                "check the address, the network and the certificate (ca_file)".to_owned()
            }
            Self::Refused { .. } => {
                "check the address, the credentials and the kind of the [[notify]]".to_owned()
            }
            Self::NoAddress => "give contacts a `mail`, or the [[notify]] a `to`".to_owned(),
        })
    }
}

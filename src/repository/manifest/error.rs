//! What can go wrong with a manifest.

use std::error::Error;
use std::fmt;

use super::key::PathFault;
use super::store::NodeKind;
use crate::base::error::{Class, Classified};
use crate::base::id::BlobId;

/// The failure of the store below, with its own class, code and hint.
#[derive(Debug)]
pub struct StoreError(Box<dyn Classified + Send + Sync>);

impl StoreError {
    /// Wraps the store's error.
    pub fn new(error: impl Classified + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// The store's error itself.
    pub fn inner(&self) -> &(dyn Classified + Send + Sync) {
        &*self.0
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// A manifest could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The store below did not take a blob.
    #[error("storing a {kind} of the manifest")]
    Put {
        /// What was to be stored.
        kind: NodeKind,
        /// Why not.
        source: StoreError,
    },
    /// The store below did not give a blob.
    #[error("reading {kind} {id} of the manifest")]
    Get {
        /// What was asked for.
        kind: NodeKind,
        /// Its id.
        id: BlobId,
        /// Why not.
        source: StoreError,
    },
    /// A blob came whole (its id is right), yet says what no writer of ours says.
    #[error("the manifest's {kind} {id} is not well formed: {what}")]
    Malformed {
        /// What was decoded.
        kind: NodeKind,
        /// Its id.
        id: BlobId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A blob uses a part of the format that came later.
    #[error("the manifest's {kind} {id} needs part {part}, which this version doesn't know")]
    TooNew {
        /// What was decoded.
        kind: NodeKind,
        /// Its id.
        id: BlobId,
        /// The unknown column, encoding, or version of the blob.
        part: u16,
    },
    /// An entry came out of order. The source breaks its promise.
    #[error("adding `{}` to the manifest after `{}`, which sorts later or equal", .path.escape_ascii(), .after.escape_ascii())]
    OutOfOrder {
        /// The path that came too late.
        path: Vec<u8>,
        /// The path before it.
        after: Vec<u8>,
    },
    /// An entry has a path that a manifest can't hold.
    #[error("adding `{}` to the manifest: {fault}", .path.escape_ascii())]
    Path {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// An entry has something else that a manifest can't hold.
    #[error("adding `{}` to the manifest: {what}", .path.escape_ascii())]
    Entry {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The builder was given nothing: a tree has at least the entry of its root.
    #[error("finishing a manifest without an entry")]
    Empty,
}

impl Classified for ManifestError {
    fn class(&self) -> Class {
        match self {
            Self::Put { source, .. } | Self::Get { source, .. } => source.inner().class(),
            Self::Malformed { .. } => Class::Damage,
            Self::TooNew { .. } | Self::OutOfOrder { .. } | Self::Path { .. } => Class::Failed,
            Self::Entry { .. } | Self::Empty => Class::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Put { source, .. } | Self::Get { source, .. } => source.inner().code(),
            Self::Malformed { .. } => "E0351",
            Self::TooNew { .. } => "E0352",
            Self::OutOfOrder { .. } => "E0353",
            Self::Path { .. } => "E0354",
            Self::Entry { .. } => "E0355",
            Self::Empty => "E0356",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Put { source, .. } | Self::Get { source, .. } => source.inner().hint(),
            Self::Malformed { .. } => {
                Some("verify the repository, and restore from another target or snapshot".to_owned())
            }
            Self::TooNew { .. } => Some("use a newer lifeboat to read this snapshot".to_owned()),
            Self::OutOfOrder { .. } | Self::Empty => {
                Some("this is a fault of lifeboat; please report it with this message".to_owned())
            }
            Self::Path { .. } | Self::Entry { .. } => Some("rename, remove or exclude it".to_owned()),
        }
    }
}

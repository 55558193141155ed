//! What can go wrong between a repository's rooms and its places.

use crate::base::error::{Class, Classified};
use crate::base::id::{BlobId, ObjectHash};
use crate::repository::format::error::FormatError;
use crate::repository::manifest::ManifestError;
use crate::storage::contract::StorageError;

/// Why the repository could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The place failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Stored bytes are not what the format says.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The manifest is not what the format says.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No `repo.fmt` at the place.
    #[error("there is no repository at {place}")]
    NoRepository {
        /// Where.
        place: String,
    },
    /// A `repo.fmt` stands there already.
    #[error("a repository stands at {place} already")]
    Exists {
        /// Where.
        place: String,
    },
    /// No slot opens with this secret.
    #[error("the {secret} opens none of the {slots} key slots at {place}")]
    WrongKey {
        /// What was tried: `passphrase`, `key file`.
        secret: &'static str,
        /// Where.
        place: String,
        /// How many slots were tried.
        slots: usize,
    },
    /// The slot that the caller's own secret opens was to be taken away.
    #[error("key slot {} is the one that the given secret opens, and it stays", id.short())]
    OwnSlot {
        /// Which.
        id: ObjectHash,
    },
    /// The key is another host's.
    #[error("this key is for the host {of:?}, not for {asked:?}")]
    OtherHost {
        /// The host that it signs for.
        of: String,
        /// The one that was asked for.
        asked: String,
    },
    /// The host's certificate is not at the place.
    #[error("{place}: no certificate vouches for the host {host:?} there")]
    NoCertificate {
        /// The host.
        host: String,
        /// Where.
        place: String,
    },
    /// Another rotation ran at the same time.
    #[error("{place}: another rotation announced the same epoch; this one was taken back")]
    TwoRotations {
        /// Where.
        place: String,
    },
    /// Two places named together hold different repositories.
    #[error("{first} and {second} hold different repositories")]
    Different {
        /// One place.
        first: String,
        /// The other.
        second: String,
    },
    /// A stored object is damaged, exchanged or missing.
    #[error("{place}: {object} {what}")]
    Damage {
        /// Where.
        place: String,
        /// Which object, or which blob.
        object: String,
        /// In which way, as a predicate: `is missing`.
        what: String,
    },
    /// Packs that a snapshot needs are gone, or damaged wherever they are.
    #[error("{place}: {what}")]
    Gone {
        /// The target that needs them.
        place: String,
        /// The first of them, and what is wrong with it.
        what: String,
        /// All of them.
        packs: Vec<ObjectHash>,
    },
    /// A blob is in no index, or in no pack that can be read.
    #[error("blob {id} is in no pack that can be read at {place}")]
    MissingBlob {
        /// Which.
        id: BlobId,
        /// Where it was looked for.
        place: String,
    },
    /// No snapshot matches.
    #[error("no snapshot {wanted} at {place}")]
    NoSnapshot {
        /// As asked for.
        wanted: String,
        /// Where.
        place: String,
    },
    /// Several snapshots match.
    #[error("{count} snapshots begin with {wanted}")]
    Ambiguous {
        /// As asked for.
        wanted: String,
        /// How many match.
        count: usize,
    },
    /// A sweep condemned something that this commit relies on.
    #[error("{place}: {what}; the snapshot was not confirmed there")]
    Busy {
        /// Where.
        place: String,
        /// What was in the way.
        what: String,
    },
    /// A sweep plan names a pack that was to be mended.
    #[error("{place}: {object} was not mended: a sweep plan names it, and a sweep may be removing it now")]
    Condemned {
        /// Where.
        place: String,
        /// Which.
        object: String,
    },
    /// What was just written comes back as something else.
    #[error("{place}: {object} was written, and other bytes come back")]
    StillHurt {
        /// Where.
        place: String,
        /// Which.
        object: String,
    },
    /// Every target failed.
    #[error("no target takes what is stored: {reasons}")]
    NoTarget {
        /// Each target's reason.
        reasons: String,
        /// The class of the first reason.
        class: Class,
    },
    /// A file of the local index, or one with the notes of a run, failed, and no other place took
    /// its bytes.
    #[error("the local index, or a run's notes beside it, cannot be read or written")]
    LocalIndex(#[from] std::io::Error),
    /// Somebody asked to stop.
    #[error("cancelled; what was stored so far is kept and is not stored again")]
    Cancelled,
    /// A thread ended by a defect of ours.
    #[error("{what} ended by a defect; please report it")]
    Defect {
        /// Which part.
        what: &'static str,
    },
}

impl Classified for RepositoryError {
    fn class(&self) -> Class {
        match self {
            Self::Storage(error) => error.class(),
            Self::Format(error) => error.class(),
            Self::Manifest(error) => error.class(),
            Self::NoRepository { .. } => Class::NoRepository,
            Self::Exists { .. } => Class::Exists,
            Self::WrongKey { .. } => Class::WrongKey,
            Self::OwnSlot { .. } => Class::Refused,
            Self::OtherHost { .. } => Class::Usage,
            Self::TwoRotations { .. } => Class::Failed,
            Self::NoCertificate { .. } => Class::WrongKey,
            Self::Different { .. } | Self::Ambiguous { .. } => Class::Usage,
            Self::Damage { .. } | Self::MissingBlob { .. } | Self::Gone { .. } | Self::StillHurt { .. } => {
                Class::Damage
            }
            Self::NoSnapshot { .. } => Class::NotFound,
            Self::Busy { .. } | Self::Condemned { .. } | Self::Defect { .. } | Self::LocalIndex(_) => {
                Class::Failed
            }
            Self::NoTarget { class, .. } => *class,
            Self::Cancelled => Class::Cancelled,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Storage(error) => error.code(),
            Self::Format(error) => error.code(),
            Self::Manifest(error) => error.code(),
            Self::OwnSlot { .. } => "E0308",
            Self::OtherHost { .. } => "E0310",
            Self::NoCertificate { .. } => "E0311",
            Self::TwoRotations { .. } => "E0313",
            Self::NoRepository { .. } => "E0380",
            Self::Exists { .. } => "E0381",
            Self::WrongKey { .. } => "E0382",
            Self::Different { .. } => "E0383",
            Self::Damage { .. } => "E0384",
            Self::MissingBlob { .. } => "E0385",
            Self::NoSnapshot { .. } => "E0386",
            Self::Ambiguous { .. } => "E0387",
            Self::Busy { .. } => "E0388",
            Self::Condemned { .. } => "E0357",
            Self::StillHurt { .. } => "E0358",
            Self::NoTarget { .. } => "E0389",
            Self::Cancelled => "E0390",
            Self::Defect { .. } => "E0391",
            Self::Gone { .. } => "E0392",
            Self::LocalIndex(_) => "E0393",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Storage(error) => return error.hint(),
            Self::Format(error) => return error.hint(),
            Self::Manifest(error) => return error.hint(),
            Self::NoRepository { place } => {
                format!("check the URL and whether the disk is mounted; `lifeboat repo init --repo {place} --password-file FILE` makes one")
            }
            Self::Exists { .. } => "nothing was changed; choose another place, or use the repository that is there".to_owned(),
            Self::OwnSlot { .. } => {
                "name another secret that opens the repository, so that one is left; `lifeboat repo key replace` puts a new secret in its place".to_owned()
            }
            Self::OtherHost { of, .. } => {
                format!("back up with `--host {of}`, or use the key that was made for this host")
            }
            Self::TwoRotations { .. } => "run the same command again".to_owned(),
            Self::NoCertificate { .. } => {
                "the administrator's `lifeboat repo key add` with the host's key again, or `lifeboat repo sync` from a place that has it, puts it there".to_owned()
            }
            Self::WrongKey { secret: "passphrase", .. } => {
                "check the password file: one trailing newline is ignored, nothing else".to_owned()
            }
            Self::WrongKey { secret, .. } => {
                format!("it is the {secret} of another repository, or its slot was removed; use another key, or a passphrase")
            }
            Self::Different { .. } => {
                "places named together must hold one repository; `lifeboat repo sync --from A --to B` fills an empty one".to_owned()
            }
            Self::Gone { .. } => {
                "run the same command again with --full: what the packs held is read and stored anew; `lifeboat repo verify` says which snapshots are hurt".to_owned()
            }
            Self::Damage { .. } | Self::MissingBlob { .. } => {
                "run `lifeboat repo verify` to see what is hurt, and restore from another target".to_owned()
            }
            Self::NoSnapshot { wanted, .. } if wanted.len() < 8 && wanted != "latest" => {
                "give at least 8 digits of the id; `lifeboat repo snapshots` lists them".to_owned()
            }
            Self::NoSnapshot { .. } => "`lifeboat repo snapshots` lists what there is".to_owned(),
            Self::Ambiguous { .. } => "give more digits of the id".to_owned(),
            Self::Busy { .. } => "run the same command again; what is stored already is not stored twice".to_owned(),
            Self::Condemned { .. } => {
                "what is still needed of it is moved by the sweep; run the repair again when the sweep has ended".to_owned()
            }
            Self::StillHurt { .. } => {
                "the medium does not keep what it is given: replace it, and fill the new one with `lifeboat repo sync`".to_owned()
            }
            Self::NoTarget { .. } => "see the reasons; the next run stores only what is missing".to_owned(),
            Self::LocalIndex(_) => {
                "make room in the state folder or in the folder for temporary files; nothing stored is affected, and the local index is made anew by the next run".to_owned()
            }
            Self::Cancelled => "run the same command again to go on".to_owned(),
            Self::Defect { .. } => return None,
        })
    }
}

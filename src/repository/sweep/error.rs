//! Why a plan was not made, or not carried out.

use crate::base::error::{Class, Classified};
use crate::base::size::format_bytes;
use crate::repository::error::RepositoryError;
use crate::repository::format::error::FormatError;
use crate::storage::contract::StorageError;

/// Why a plan was not made, or not carried out. Whatever it is: no live byte was deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The repository or one of its places.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A listing lacks what is there.
    #[error("{place}: a listing lacks {object}, which is there; nothing was deleted")]
    ShortList {
        /// Where.
        place: String,
        /// What it lacks.
        object: String,
    },
    /// The clock cannot be right.
    #[error(
        "{place}: it is {now} by this machine's clock, and the newest snapshot is of {newest}; nothing was deleted"
    )]
    Clock {
        /// Where.
        place: String,
        /// What the clock says.
        now: String,
        /// The newest snapshot's time.
        newest: String,
    },
    /// More than half would go.
    #[error("{place}: this would remove {} of {}; nothing was deleted", format_bytes(*.freed_bytes), format_bytes(*.all_bytes))]
    MoreThanHalf {
        /// Where.
        place: String,
        /// Bytes that would go for good.
        freed_bytes: u64,
        /// Bytes of all packs there.
        all_bytes: u64,
    },
    /// The passphrase's slot doesn't grant the administrator's key.
    #[error("this passphrase may not remove anything: its key slot lacks the administrator's key")]
    NotAdmin,
    /// A confirmation whose snapshot is gone.
    #[error("{place}: snapshot {snapshot} was confirmed and its object is gone; nothing was deleted")]
    Headless {
        /// Where.
        place: String,
        /// Which.
        snapshot: String,
    },
    /// Something that a valid snapshot needs is missing or damaged.
    #[error("{place}: {what}; nothing was deleted")]
    Hurt {
        /// Where.
        place: String,
        /// What is wrong, and with which snapshot.
        what: String,
    },
    /// What is to be moved is damaged wherever it lies.
    #[error("{place}: {what}; it stays where it is, and so does its plan")]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong, and with which pack.
        what: String,
    },
    /// A plan that nobody can read, and that may not be taken away yet.
    #[error("{place}: the sweep plan {plan} is damaged, and nobody can tell what it removes")]
    DamagedPlan {
        /// Where.
        place: String,
        /// Its name.
        plan: String,
        /// When it may go.
        until: String,
    },
    /// The look was disturbed again and again.
    #[error(
        "{place}: what is stored there kept changing while it was looked at; what was done so far stands"
    )]
    Unsettled {
        /// Where.
        place: String,
    },
    /// The place is full, and nothing more could be freed without writing.
    #[error("{place} is full: {needed} could not be written; the plan stands")]
    NoRoom {
        /// Where.
        place: String,
        /// What was to be written.
        needed: &'static str,
    },
    /// A look found that its ground has moved: it begins again. Nobody outside sees it.
    #[error("{place}: another sweep was here")]
    Again {
        /// Where.
        place: String,
    },
}

impl From<StorageError> for SweepError {
    fn from(error: StorageError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<FormatError> for SweepError {
    fn from(error: FormatError) -> Self {
        Self::Repository(error.into())
    }
}

impl Classified for SweepError {
    fn class(&self) -> Class {
        match self {
            Self::Repository(error) => error.class(),
            Self::ShortList { .. } | Self::Clock { .. } | Self::MoreThanHalf { .. } => Class::Refused,
            Self::NotAdmin => Class::WrongKey,
            Self::Headless { .. } | Self::Hurt { .. } | Self::Damaged { .. } | Self::DamagedPlan { .. } => {
                Class::Damage
            }
            Self::Unsettled { .. } | Self::Again { .. } => Class::Failed,
            Self::NoRoom { .. } => Class::NoSpace,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Repository(error) => error.code(),
            Self::ShortList { .. } => "E0330",
            Self::Clock { .. } => "E0331",
            Self::MoreThanHalf { .. } => "E0332",
            Self::NotAdmin => "E0333",
            Self::Headless { .. } => "E0334",
            Self::Hurt { .. } => "E0335",
            Self::Unsettled { .. } => "E0336",
            Self::NoRoom { .. } => "E0337",
            Self::Damaged { .. } => "E0338",
            Self::Again { .. } => "E0339",
            Self::DamagedPlan { .. } => "E0340",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Repository(error) => return error.hint(),
            Self::ShortList { .. } => {
                "run the same command again in a few minutes; if it stays so, the store does not list what it holds, and nothing may be removed there".to_owned()
            }
            Self::Clock { .. } => {
                "set this machine's clock; if it is right, make a backup first, or add --accept-clock".to_owned()
            }
            Self::MoreThanHalf { .. } => {
                "look at the plan with --dry-run; if that is what you want, add --accept-more-than-half".to_owned()
            }
            Self::NotAdmin => "run it with a passphrase whose slot grants the administrator's key".to_owned(),
            Self::Headless { .. } => {
                "somebody removed it without forgetting it: bring it back with `lifeboat repo sync --from` another place, or forget it".to_owned()
            }
            Self::Hurt { .. } | Self::Damaged { .. } => {
                "run `lifeboat repo verify` to see which snapshots are hurt; bring back what is missing with `lifeboat repo sync`, or forget what is lost".to_owned()
            }
            Self::DamagedPlan { until, .. } => {
                format!("a prune after {until} takes it away by itself; until then other targets take the backups, and this one is read as ever")
            }
            Self::Unsettled { .. } | Self::Again { .. } => {
                "run the same command again, at best while fewer others work on the repository".to_owned()
            }
            Self::NoRoom { .. } => {
                "make a little room there and run the same command again; it goes on where it stopped".to_owned()
            }
        })
    }
}

//! What keeps stored objects from being destroyed: locks, and ways to try whether they hold.
//!
//! Only object stores have it. It stands beside the contract, because nothing that stores or reads a
//! repository needs it: locks are set along with every put (an option of the driver), extended by the
//! maintenance that looks after them, and tried by the probe.

use super::contract::{ObjectName, StorageError};
use crate::base::clock::Timestamp;
use crate::base::lock::{LockMode, LockRule};

/// Until when an object can't be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who can take it away.
    pub mode: LockMode,
    /// By the store's clock.
    pub until: Timestamp,
}

/// The end of what has none.
pub fn forever() -> Timestamp {
    Timestamp::from_unix_ms(i64::MAX)
}

/// Locks of one place. Calls are not repeated: they go past the layers.
pub trait Guard: Send + Sync {
    /// The rule that puts follow.
    fn rule(&self) -> Option<LockRule>;

    /// An object's lock; none when it has none, or there is no such object. A legal hold counts as a
    /// lock of compliance without an end ([`forever`]).
    ///
    /// # Errors
    /// As `Storage::head`.
    fn lock_of(&self, name: &ObjectName) -> Result<Option<Lock>, StorageError>;

    /// Makes a lock last longer; one that lasts longer already stays as it is.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unsupported` where the bucket has no locks, `Unreachable`.
    fn extend_lock(&self, name: &ObjectName, lock: Lock) -> Result<(), StorageError>;

    /// Takes every version of an object away for good, by every right that these credentials have. Only
    /// for objects of a probe.
    ///
    /// # Errors
    /// `Denied` when one of them can't be taken away.
    fn destroy(&self, name: &ObjectName) -> Result<(), StorageError>;
}

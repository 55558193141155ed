//! What a job may take of its machine.

use crate::base::priority::IoPriority;

/// `[limits]` of the site or of a policy. What nobody set is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Threads that compute.
    pub workers: Option<u32>,
    /// Niceness for the processors, 0 to 19.
    pub nice: Option<u8>,
    /// Its turn at the disks.
    pub io: Option<IoPriority>,
}

impl Limits {
    /// Each value of these, or where there is none that of others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            workers: self.workers.or(others.workers),
            nice: self.nice.or(others.nice),
            io: self.io.or(others.io),
        }
    }
}

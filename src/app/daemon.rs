//! What the scheduler is started with. The scheduler itself is a face of its own; whoever owns the
//! process brings the two together.

use std::path::PathBuf;
use std::time::Duration;

use super::site::Site;
use crate::base::error::Failure;

/// Children at a time: a backup never waits for a long verification.
pub const CHILDREN: usize = 2;

/// A start of the scheduler.
pub struct DaemonStart {
    /// The site, its configuration read and good.
    pub site: Site,
    /// How often the clock is looked at.
    pub tick: Duration,
    /// Whether to end when what is due now is done.
    pub once: bool,
    /// This program, for the children.
    pub executable: PathBuf,
}

/// How the scheduler is run.
pub type RunDaemon = fn(DaemonStart) -> Result<(), Failure>;

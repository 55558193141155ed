//! What one drill is asked to do: a drill file, settled on one snapshot and one copy.

use std::time::Duration;

use super::checks::Check;
use crate::evidence::pick::Seed;
use crate::policy::model::{Cleanup, Files, OnFail};

/// A check and its weight.
#[derive(Debug)]
pub struct CheckSpec {
    /// Unique within the drill; findings are tied to it.
    pub id: String,
    /// Whether the drill needs it. The manifest check is required whatever this says.
    pub required: bool,
    /// What its failure means.
    pub on_fail: OnFail,
    /// What to look at.
    pub check: Box<dyn Check>,
}

/// One rehearsal of one snapshot from one copy.
#[derive(Debug)]
pub struct DrillPlan {
    /// The drill's id (`D-2026-000143`): names the sandbox folder.
    pub id: String,
    /// How much is restored.
    pub scope: Files,
    /// Entries that are restored whatever the draw says: paths as in the manifest; a folder
    /// stands for everything below it.
    pub always: Vec<Vec<u8>>,
    /// What the sample is drawn with. Its commitment must be logged before the drill starts.
    pub seed: Seed,
    /// The drill must be over after this long; longer is a failure.
    pub time_limit: Duration,
    /// The recovery time that was promised, if any.
    pub rto_objective: Option<Duration>,
    /// What is looked at. The manifest check runs first: others may change restored files.
    pub checks: Vec<CheckSpec>,
    /// What happens to the restored files.
    pub cleanup: Cleanup,
}

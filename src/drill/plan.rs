//! What a drill is asked to do, in the drill's own words. The caller translates a drill file.

use std::num::NonZeroU32;
use std::time::Duration;

use super::checks::Check;
use super::pick::Seed;
use super::sandbox::Keep;

/// How much of the snapshot is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything. The only scope that can claim a recovery time.
    All,
    /// That many regular files, drawn at random.
    Sample(NonZeroU32),
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// The drill has failed.
    Fail,
    /// The drill passes with a finding.
    Warn,
}

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

/// What happens to the restored files afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupRule {
    /// After a pass, with or without findings, and after an aborted drill.
    pub pass: Keep,
    /// After a failed or inconclusive drill.
    pub fail: Keep,
}

impl Default for CleanupRule {
    fn default() -> Self {
        Self { pass: Keep::Delete, fail: Keep::For(Duration::from_secs(72 * 3600)) }
    }
}

/// One rehearsal of one snapshot from one copy.
#[derive(Debug)]
pub struct DrillPlan {
    /// The drill's id (`D-2026-000143`): names the sandbox folder.
    pub id: String,
    /// How much is restored.
    pub scope: Scope,
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
    pub cleanup: CleanupRule,
}

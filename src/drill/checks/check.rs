//! The trait of all checks, and running one.

use std::fmt;

use super::super::plan::CheckSpec;
use super::scene::Scene;
use crate::policy::model::OnFail;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// As expected.
    Pass,
    /// Not as expected.
    Fail,
    /// It could not look.
    Error,
}

impl CheckResult {
    /// The word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }
}

/// What a program printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The end of it, at most 64 KiB, as text, with what looks like a secret taken out.
    pub text: String,
    /// All bytes that were printed.
    pub bytes: u64,
    /// SHA-256 of all of them, as printed.
    pub sha256: String,
}

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Whether it is what was expected.
    pub passed: bool,
    /// What was there, in the words of [`Check::expected`].
    pub observed: String,
    /// What a program printed.
    pub output: Option<Output>,
    /// More for a person.
    pub message: Option<String>,
}

impl Observation {
    /// Without output or message.
    pub(super) fn new(passed: bool, observed: String) -> Self {
        Self { passed, observed, output: None, message: None }
    }
}

/// Why a check could not look, as a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unobserved(pub String);

/// Looks at restored files and says whether they are as expected.
pub trait Check: fmt::Debug + Send {
    /// The kind's name, as in a drill file.
    fn kind(&self) -> &'static str;

    /// What must be there for a pass.
    fn expected(&self) -> String;

    /// Looks.
    ///
    /// # Errors
    /// When it could not look; never for what it saw.
    fn observe(&self, scene: &mut Scene<'_>) -> Result<Observation, Unobserved>;
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckOutcome {
    /// The check's id in the drill.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// Whether the drill needs it. Always so for the manifest check.
    pub required: bool,
    /// What its failure means.
    pub on_fail: OnFail,
    /// What it found.
    pub result: CheckResult,
    /// What must be there for a pass.
    pub expected: String,
    /// What was there, or why it could not look.
    pub observed: String,
    /// How long it took.
    pub seconds: f64,
    /// What a program printed.
    pub output: Option<Output>,
    /// More for a person.
    pub message: Option<String>,
}

/// Makes one check and measures it. When the drill must stop, it is an error without being made.
pub(in crate::drill) fn make(spec: &CheckSpec, scene: &mut Scene<'_>) -> CheckOutcome {
    let begun = scene.watch.clock().monotonic();
    let seen = if scene.watch.must_stop() {
        Err(Unobserved("not made: the drill was over its time limit or stopped".to_owned()))
    } else {
        spec.check.observe(scene)
    };
    let (result, seen) = match seen {
        Ok(seen) if seen.passed => (CheckResult::Pass, seen),
        Ok(seen) => (CheckResult::Fail, seen),
        Err(Unobserved(why)) => (CheckResult::Error, Observation::new(false, why)),
    };
    let kind = spec.check.kind();
    let is_manifest = kind == "manifest";
    CheckOutcome {
        id: spec.id.clone(),
        kind,
        required: spec.required || is_manifest,
        on_fail: if is_manifest { OnFail::Fail } else { spec.on_fail },
        result,
        expected: spec.check.expected(),
        observed: seen.observed,
        seconds: scene.watch.clock().monotonic().saturating_sub(begun).as_secs_f64(),
        output: seen.output,
        message: seen.message,
    }
}

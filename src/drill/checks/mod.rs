//! What a drill looks at after the restore: one file a check, all behind [`Check`].
//!
//! A check answers pass or fail with what it expected and what it observed; one that could not
//! look answers neither, which is an `error` and leaves the drill inconclusive.

mod build;
mod check;
mod command;
mod count;
mod exists;
mod freshness;
mod manifest;
mod redact;
mod scene;

pub use build::build;
pub(super) use check::make;
pub use check::{Check, CheckOutcome, CheckResult, Observation, Output, Unobserved};
pub use command::Command;
pub use count::Count;
pub use exists::Exists;
pub use freshness::Freshness;
pub use manifest::{Comparison, Manifest};
pub use scene::{Scene, Seen, Where};

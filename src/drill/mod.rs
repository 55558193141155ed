//! Rehearsals: pick, restore into a sandbox past every cache, check, judge.
//!
//! `plan` says what to do, `restorer` is the seam to the engine, `pick` draws what is restored so
//! that anybody can draw it again, `sandbox` is the only place that is written to, `checks` look
//! at what came back, `verdict` judges, and `runner` does all of it in order and measures.
//! Nothing here opens storage, keeps records or signs: that is the caller's.

pub mod checks;
pub mod error;
pub mod pick;
pub mod plan;
pub mod power;
pub mod restorer;
pub mod runner;
pub mod sandbox;
pub mod verdict;

mod digest;
#[cfg(test)]
mod fake;
mod path;
mod remove;
mod watch;

pub use error::{DrillError, Fault};
pub use pick::{PickFacts, Picked};
pub use plan::{CheckSpec, DrillPlan};
pub use restorer::{Entry, EntryFact, Reads, RestoreRequest, Restored, Restorer, SnapshotFacts};
pub use runner::{DrillOutcome, Phase, Rto, RtoMet, Stage, run};
pub use sandbox::{Cleanup, Sandbox, sweep};
pub use verdict::{Ended, Judgement, RestoreOutcome, Verdict};

//! Freeing what no snapshot needs any more: plan, show, write down, carry out.
//!
//! What to keep is not decided here: whoever forgets a snapshot decides it. A prune condemns packs
//! in a plan on each target, and carries out the plans whose grace is over. The protocol, and why
//! it takes nothing that anybody relies on, is `repository::sweep`.

mod outcome;
mod request;
mod run;
#[cfg(test)]
mod tests;

pub use outcome::{PlanView, PruneOutcome, TargetPrune};
pub use request::PruneRequest;
pub use run::{prune, prune_stepwise};

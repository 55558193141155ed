//! The scheduler's life: look at the clock, queue what is due, start each job as a child of the
//! same binary, record what became of it, stop in order. The contract with the child is in
//! `docs/daemon.md`.

mod error;
mod journal;
mod lane;
mod ledger;
mod lifecycle;
mod lookout;
mod runner;
mod starter;
mod tick;

#[cfg(test)]
mod tests;

pub use error::DaemonError;
pub use lifecycle::{DaemonOptions, Life, run};

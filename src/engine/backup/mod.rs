//! Backup: one pass over the source, every copy at once.
//!
//! `request` says what is asked, `start` what the targets hold, `pass` ties the threads together:
//! `planner` (walk and compare), `worker` and `large` (read, cut, hash, store), `collect` (the
//! manifest, in order); `finish` commits on each target; `outcome` is the answer.

mod collect;
pub(crate) mod content;
mod file;
mod finish;
mod large;
pub mod outcome;
mod pass;
mod planner;
pub mod request;
mod run;
mod slot;
mod start;
mod worker;

#[cfg(test)]
mod tests;

pub use run::backup;

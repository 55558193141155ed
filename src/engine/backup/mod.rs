//! Backup: one pass over the source, every copy at once.
//!
//! `request` says what is asked, `start` what the targets hold, `pass` ties the threads together:
//! `planner` (walk and compare), `worker` and `large` (read, cut, hash, store), `collect` (the
//! manifest, in order); `publish` says on the targets what is stored, `checkpoint` what is done;
//! `snapshot` and `finish` commit on each target; `outcome` is the answer.

mod checkpoint;
mod collect;
pub(crate) mod content;
mod file;
mod finish;
mod keep;
mod large;
mod links;
pub mod outcome;
mod pass;
mod planner;
mod publish;
pub mod request;
mod run;
mod size;
mod slot;
mod snapshot;
mod sparse_groups;
mod start;
mod used;
mod worker;

#[cfg(test)]
mod tests;

pub use run::backup;

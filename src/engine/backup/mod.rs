//! Backup: one pass over the source, every copy at once.
//!
//! `request` says what is asked, `start` what the targets hold, `pass` ties the threads together:
//! `planner` (walk and compare), `worker` and `large` (read, cut, hash, store; `evidence` says how
//! a file is cut, `windows` where), `collect` (the manifest, in order); `publish` says on the targets what is stored, `checkpoint` what is done;
//! `snapshot` and `finish` commit on each target; `outcome` is the answer.

mod checkpoint;
mod chunk_run;
mod collect;
mod content;
mod evidence;
mod file;
mod finish;
mod keep;
mod large;
mod links;
pub mod outcome;
mod parcel;
mod pass;
mod planner;
mod publish;
pub mod request;
mod run;
mod size;
mod slot;
mod snapshot;
mod sources;
mod sparse_groups;
mod start;
mod used;
mod windows;
mod worker;

#[cfg(test)]
pub(super) mod tests;

pub use run::backup;

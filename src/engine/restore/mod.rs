//! Restore: any snapshot, or paths of it, from any one target.
//!
//! `ours` keeps it off our own folders, `select` streams what is wanted out of the manifest, `entries` makes folders and links and
//! gives files to `plan`, which collects them until there are enough to read each pack once and in
//! order. `queue` holds what is to be fetched, `fetch` has the threads that bring it, `write` opens
//! blobs and writes them where they belong (`slot`, `layout`). `record` marks a restore that has not
//! ended; after an interruption, and over another tree, `existing` and `local` find out what need
//! not be fetched. `folders` comes last, `check` reads
//! back, `run` keeps the order.

mod check;
mod entries;
mod existing;
mod fetch;
mod folders;
mod layout;
mod local;
mod ours;
pub mod outcome;
mod plan;
mod queue;
mod record;
pub mod request;
mod run;
mod select;
mod slot;
mod write;

pub use check::content_matches;
pub use run::restore;
pub(crate) use run::tell_of_parity;

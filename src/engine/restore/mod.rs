//! Restore: any snapshot, or paths of it, from any one target.
//!
//! `select` streams what is wanted out of the manifest, `window` collects files until there are
//! enough to read each pack once and in order, `write` opens blobs and writes them where they
//! belong, `run` keeps the order (folders, files, links, metadata of folders), `check` reads back.

mod check;
pub mod outcome;
pub mod request;
mod run;
mod select;
mod window;
mod write;

pub use check::content_matches;
pub use run::restore;

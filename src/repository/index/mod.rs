//! Which blob is where, in a memory that does not grow with the repository.
//!
//! The entries of the index runs stand in *parts*: files of 4 KiB pages, sorted by id, that are
//! read with `pread`, one page for a look-up. A part covers certain runs and says which; it is
//! built with an external sort. The parts of a repository lie in the folder of the local cache,
//! without a folder in an unnamed file; up to 12 MiB, about 250,000 blobs, what no file covers is
//! built in memory at each load. A part is a cache: every page carries a keyed sum, and what is
//! missing or wrong is built anew from the runs.
//!
//! `spool` are bytes with room wherever there is some, `page` one page, `sort` the external sort,
//! `table` sorted rows in pages, `part` and `build` reading and writing a part, `shelf` the parts
//! in the folder, `lookup` all parts together, `doubled` the packs that share a
//! blob, `strangers` the packs that count for nobody, or for one writer, `session` the blobs that one backup has stored.

mod bits;
mod build;
mod doubled;
mod lookup;
mod page;
mod part;
mod session;
mod shelf;
mod sort;
mod spool;
mod strangers;
mod table;
#[cfg(test)]
mod tests;

pub use lookup::{Index, IndexedPack, Location, RunSource};
pub(crate) use session::SessionBlobs;
pub use spool::Ground;
pub(crate) use spool::Spool;

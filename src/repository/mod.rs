//! Stored objects: packs, index, manifest, snapshots, keys, and the protocol that makes a snapshot valid.

pub mod access;
pub(crate) mod buffers;
pub(crate) mod commit;
mod copy;
pub mod error;
pub(crate) mod fan_out;
pub mod format;
pub mod index;
pub(crate) mod kept;
pub mod load;
pub mod manifest;
pub(crate) mod manifest_source;
pub mod mend;
pub mod needs;
pub(crate) mod pack_pool;
pub(crate) mod presence;
pub mod reader;
pub mod rebuild;
pub(crate) mod salvage;
pub mod scrubbed;
pub mod seen;
pub mod slots;
pub mod snapshot;
pub mod snapshots;
pub(crate) mod strength;
pub mod sweep;
pub mod writers;

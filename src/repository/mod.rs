//! Stored objects: packs, index, manifest, snapshots, keys, and the protocol that makes a snapshot valid.

pub mod access;
pub(crate) mod buffers;
pub(crate) mod commit;
pub mod error;
pub(crate) mod fan_out;
pub mod format;
pub mod index;
pub mod load;
pub mod manifest;
pub mod needs;
pub(crate) mod pack_pool;
pub mod reader;
pub mod snapshots;

//! Stored objects: packs, index, manifest, snapshots, keys, and the protocol that makes a snapshot valid.

pub mod manifest;

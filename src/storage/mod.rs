//! Named bytes on a medium. Knows nothing of snapshots, packs or keys.

pub mod contract;

//! Named bytes on a medium. Knows nothing of snapshots, packs or keys.
//!
//! [`contract`] is what everything here keeps; [`local`] and [`memory`] are drivers;
//! [`conformance`] (feature `testing`) is the suite that drivers and layers pass.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod contract;
pub mod local;
pub mod memory;
pub mod s3;

//! Named bytes on a medium. Knows nothing of snapshots, packs or keys.
//!
//! [`contract`] is what everything here keeps. [`local`], [`memory`] and [`s3`] are the drivers;
//! [`retry`], [`metered`], [`throttle`] and [`read_only`] are layers around one; [`place`] makes them from what
//! a person writes; [`guard`] is about locks; [`capabilities`] finds out what a store really does. With the feature
//! `testing`: `conformance`, the suite that drivers and layers pass, `fault`, which breaks things, and
//! `sim`, whose power goes.

pub mod capabilities;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod contract;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub mod guard;
pub mod local;
pub mod memory;
pub mod metered;
pub mod place;
pub mod read_only;
pub mod retry;
pub mod s3;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
pub mod throttle;

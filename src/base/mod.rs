//! The words of the house: ids, sizes, the clock, errors, progress, cancellation, secrets,
//! durable files, randomness, limits. The one floor that reads the clock, draws randomness,
//! renames or fsyncs a local file.

pub mod boot;
pub mod cancel;
pub mod clock;
pub mod core_dump;
pub mod direct;
pub mod display;
pub mod durable;
pub mod effort;
pub mod entropy;
pub mod error;
pub mod id;
pub mod lifeline;
pub mod limits;
pub mod lock;
pub mod metadata;
pub mod priority;
pub mod progress;
pub mod room;
pub mod secret;
pub mod service;
pub mod size;

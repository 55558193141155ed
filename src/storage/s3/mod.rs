//! An S3 bucket, or a prefix in one: AWS and everything that speaks the same protocol.
//!
//! One of the two async rooms below `app`: a small runtime of its own is hidden here, signatures
//! are blocking, and several threads may have requests in flight. Nothing is retried here: the
//! SDK's own retries are off, and passing faults come out as `Transient` for the `retry` layer.

mod credentials;
mod driver;
mod ends;
mod failure;
mod listing;
mod locks;
mod options;
mod pace;
mod runtime;
mod trust;
mod versions;

pub use driver::S3Storage;
pub use ends::{certificates_end, credentials_end};
pub use options::{Create, S3Options, Timeouts};

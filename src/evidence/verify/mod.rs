//! Offline verification of an evidence folder: needs the folder, no configuration, no network,
//! no private key. Everything found wrong is data: a file, a line, a sentence.

mod chain;
mod heads;
mod reports;
mod result;

pub use result::{Problem, Trust, VerifyReport, verify};

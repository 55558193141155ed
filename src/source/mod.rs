//! What is backed up, and what is written back.

pub mod files;
pub mod frozen;
pub mod stream;

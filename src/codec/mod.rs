//! Bytes to bytes: cut, hash, compress, seal, sign. Pure functions; no I/O, no clock, no repository words.

pub mod hash;
pub mod seal;
pub mod sign;

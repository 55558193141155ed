//! Bytes to bytes: cut, hash, compress, seal, sign. Pure functions; no I/O, no clock, no repository words.

pub mod agree;
pub mod blocks;
pub mod chunker;
pub mod compress;
pub mod hash;
pub mod kdf;
pub mod key_text;
pub mod ladder;
pub mod parity;
pub mod seal;
pub mod sign;
pub mod words;

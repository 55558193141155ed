//! Looking into trees that lie in memory: what it finds, what it reads, what hostile bytes do.

mod look;
mod trees;

//! The promises of a tree as a whole, over a store in memory.

mod hostile;
mod sample;
mod strategy;
mod tree;

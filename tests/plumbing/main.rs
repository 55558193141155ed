//! The plumbing commands end to end, by the real binary: what people and scripts rely on, and what
//! happens when disks, processes and strangers misbehave.

#[path = "../support/odd_tree.rs"]
mod odd_tree;

mod damage;
mod lab;
mod odd;

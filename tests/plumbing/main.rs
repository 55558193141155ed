//! The plumbing commands end to end, by the real binary: what people and scripts rely on, and what
//! happens when disks, processes and strangers misbehave.

#![expect(
    clippy::disallowed_methods,
    reason = "tests play those who move folders, wait and look at the clock"
)]

#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/fault_proxy.rs"]
mod fault_proxy;
#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/odd_tree.rs"]
mod odd_tree;
#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/s3.rs"]
mod s3;
#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/small_disk.rs"]
mod small_disk;

mod bad_input;
mod churn;
mod copies;
mod damage;
mod epochs;
mod evil;
mod fidelity;
mod forget;
mod frozen;
mod full_disk;
mod healing;
mod hooks;
mod https;
mod in_place;
mod inject;
mod kill;
mod lab;
mod locks;
mod losses;
mod marks;
mod matrix;
mod mirror;
mod odd;
mod parity;
mod power;
mod prune;
mod races;
mod repair;
mod restore;
mod resume;
mod rollback;
mod scale;
mod scrub;
mod sources;
mod streams;
mod unread;
mod write_only;

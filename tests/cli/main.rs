//! The binary's promises, as a person or a script meets them: real processes, real files, a real
//! S3 server.

#[path = "../support/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/odd_tree.rs"]
mod odd_tree;
#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/s3.rs"]
mod s3;
#[expect(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/small_disk.rs"]
mod small_disk;

mod changes;
mod demo;
mod holds;
mod hostile;
mod keys;
mod kit;
mod look;
mod mount;
mod operate;
mod people;
mod refusals;
mod retention;
mod roots;
mod round_trip;
mod run;
mod secrecy;
mod sources;
mod space;

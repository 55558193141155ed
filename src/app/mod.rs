//! Use cases: one function for each thing a person or the daemon asks for, and the views that all
//! faces share.

pub mod daemon;
pub mod demo;
pub mod drill;
pub mod error;
pub mod evidence;
pub mod explain;
pub mod exposure;
mod facts;
mod forget;
pub mod holds;
pub mod incidents;
pub mod keys;
pub mod kit;
pub mod limits;
pub mod look;
pub mod places;
pub mod plan;
pub mod plumbing;
pub mod promise;
mod prune;
pub mod repair;
pub mod restore;
pub mod retain;
pub mod run;
pub mod scrub;
pub mod secrets;
pub mod site;
pub mod sources;
pub mod status;
mod suspicion;
pub mod targets;
pub mod verify;
pub mod watch;

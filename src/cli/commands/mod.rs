//! One file a command, or a family of them.

pub(super) mod daemon;
pub(super) mod demo;
pub(super) mod diff;
pub(super) mod dump;
pub(super) mod explain;
pub(super) mod find;
mod forget;
pub(super) mod hold;
pub(super) mod incident;
pub(super) mod key;
mod kit;
mod look;
pub(super) mod ls;
pub(super) mod mount;
pub(super) mod operate;
pub(super) mod policy;
pub(super) mod proof;
pub(super) mod prune;
pub(super) mod repair;
pub(super) mod repo;
mod repo_restore;
mod repo_rules;
pub(super) mod scrub;
mod serve;
pub(super) mod target;

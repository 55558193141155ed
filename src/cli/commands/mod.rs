//! One file a command, or a family of them.

pub(super) mod daemon;
pub(super) mod demo;
pub(super) mod explain;
pub(super) mod policy;
pub(super) mod proof;
pub(super) mod repo;
mod repo_ls;
mod repo_restore;
mod repo_rules;

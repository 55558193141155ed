//! One file a command, or a family of them.

pub(super) mod explain;
pub(super) mod policy;
pub(super) mod repo;
mod repo_ls;
mod repo_restore;

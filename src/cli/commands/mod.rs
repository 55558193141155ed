//! One file a command.

pub(super) mod repo;
mod repo_ls;
pub(super) mod repo_restore;

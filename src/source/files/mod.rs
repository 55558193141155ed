//! Files of this machine: walked over and read for a backup, written for a restore.
//!
//! - [`walk`]: every entry of a root in manifest order, by one look each; [`filter`](WalkOptions)
//!   leaves out what the operator doesn't want.
//! - [`metadata`]: what costs more than a look, for new and changed entries.
//! - [`read`]: the bytes of a regular file, and whether it held still.
//! - [`mod@write`]: a folder that is restored into, and [`writer`] a file in it.
//!
//! Names are bytes. Nothing here follows a symbolic link but the root that a person names, and
//! nothing opens a pipe, a socket or a device.

mod apply;
mod beneath;
mod dir;
mod error;
mod filter;
mod issues;
pub mod metadata;
mod names;
mod owners;
pub mod read;
mod remove;
mod safe_path;
mod stat;
pub mod walk;
pub mod write;
pub mod writer;

pub use apply::Owner;
pub use dir::Dir;
pub use error::FilesError;
pub use issues::{Aspect, Group, Issues, MetadataIssue, Reason};
pub use metadata::{Completed, complete, hard_link_group};
pub use owners::Owners;
pub use read::{Content, OpenFile, open_regular};
pub use safe_path::SafePath;
pub use stat::{Inode, Stat};
pub use walk::{Counts, Found, Item, Scope, Unreadable, Walk, WalkOptions};
pub use write::{Destination, Existing, Link, Made, RestoreOptions};
pub use writer::{FileWriter, ParkedFile, Shape};

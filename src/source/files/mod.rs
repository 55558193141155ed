//! Files of this machine: walked over and read for a backup, written for a restore.
//!
//! - [`walk`]: every entry of a root in manifest order, by one look each; [`filter`](WalkOptions)
//!   leaves out what the operator doesn't want, as [`rules`] say it.
//! - [`metadata`]: what costs more than a look, for new and changed entries.
//! - [`read`]: the bytes of a regular file, and whether it held still.
//! - [`mod@write`]: a folder that is restored into, and [`writer`] a file in it.
//!
//! Names are bytes. Nothing here follows a symbolic link but the root that a person names, and
//! nothing opens a pipe, a socket or a device but [`Walk::stream`] and [`Walk::device`], which
//! read what a person names as one file.

mod apply;
mod beneath;
mod dir;
mod error;
mod filter;
mod issues;
mod lead;
pub mod metadata;
mod names;
mod owners;
pub mod read;
mod remove;
pub mod rules;
mod safe_path;
mod special;
mod standing;
mod stat;
mod unfinished;
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
pub use rules::{Rules, WalkOptions};
pub use safe_path::SafePath;
pub use standing::{Standing, next_data};
pub use stat::{Inode, Stat};
pub use unfinished::{Leftover, Marks};
pub use walk::{Counts, Found, Item, Scope, Stop, Unreadable, Walk};
pub use write::{Destination, Existing, Link, Made, RestoreOptions};
pub use writer::{FileWriter, ParkedFile, Shape};

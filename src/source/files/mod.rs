//! Files and folders: the walk, what is read, what is written back.

pub mod error;
mod filter;
mod folder;
mod read;
mod stat;
mod walk;
mod xattr;

pub use read::{OpenFile, ReadFault, Reader, SmallRead};
pub use stat::Stat;
pub use walk::{Found, Walk, WalkOptions, Walked};

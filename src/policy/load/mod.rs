//! The configuration files, read and judged as a whole: all problems at once.
//!
//! `files` finds and reads them, `reader` walks a TOML tree and remembers what was asked for,
//! `site`, `people`, `policy`, `target`, `drill` and `check` know the keys, `lint` judges what single
//! values can't show. Keys and values of later versions are refused by name.

mod check;
mod drill;
mod files;
mod limits;
mod lint;
mod people;
mod policy;
mod reader;
mod schema;
mod site;
mod source;
mod target;
mod values;

pub use files::{Observed, find, load};
pub use schema::{File as SchemaFile, schema};
pub use site::Machine;

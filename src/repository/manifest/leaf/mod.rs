//! The leaf: entries in columns.
//!
//! A table of columns, each with its own encoding, over dictionaries of directories, owners and
//! blob ids. [`LeafWriter`] makes one from records in order, [`Leaf`] reads it back.

mod bounds;
mod columns;
mod decode;
mod view;
mod write;

pub(super) use bounds::{
    LEAF_BYTES_MAX, LEAF_CHUNKS_MAX, LEAF_ENTRIES_MAX, LEAF_WEIGHT_BYTES, LINK_TARGET_BYTES_MAX,
};
pub(super) use decode::End;
pub use view::{ContentView, EntryView, Leaf};
pub(super) use write::{LeafWriter, Owner, Record};

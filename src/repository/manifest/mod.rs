//! The manifest: everything in one snapshot, sorted, as a search tree of content-defined
//! nodes (a prolly tree).
//!
//! The engine pushes entries in the order of their [`Key`]s into a [`ManifestBuilder`], which
//! cuts them into column hunks ([`Leaf`]) and these into inner nodes, and hands each finished
//! blob to a [`BlobSink`]. A [`ManifestReader`] streams a stored tree back, finds one path in
//! as many reads as the tree is high, and stands beside a walk as its parent.
//!
//! Invariants: the same entries give the same root, whatever was reused on the way; memory is
//! that of one path from the root to a leaf; whatever is decoded has names that are single
//! components, in strictly ascending order. Bytes are described in `docs/format.md`, section
//! Manifest.
//!
//! It does not store, compress, seal or look up blobs, and does not decide what changed.

mod attr;
mod builder;
mod chunk_map;
mod chunks;
mod cursor;
mod entry;
mod error;
mod key;
mod leaf;
mod node;
mod reader;
mod store;
mod visit;
mod wire;

pub use attr::{extents_of, xattrs_of};
pub use builder::{ManifestBuilder, Root};
pub use chunk_map::{ChunkMap, Found};
pub use chunks::{ChunkIter, ChunkListBuilder};
pub use cursor::{LeafRef, NodeShelf, Part, TreeCursor};
pub use entry::{ChunkRef, Content, Entry, State};
pub use error::{ManifestError, StoreError};
pub use key::{Key, PathFault};
pub use leaf::{ContentView, EntryView, Leaf};
pub use reader::{Below, ManifestReader};
pub use store::{BlobSink, BlobSource, NodeKind};
pub use visit::{BlobRef, ListSums, Visit, visit_blobs, visit_blobs_past, visit_list};

#[cfg(test)]
mod tests;

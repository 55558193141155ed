//! How large a leaf may be (docs/format.md, "Leaves").

/// Entries of a leaf at most (docs/format.md, "Where blobs are cut").
pub(in super::super) const LEAF_ENTRIES_MAX: usize = 8192;
/// A leaf is closed after the entry with which its weight reaches this.
pub(in super::super) const LEAF_WEIGHT_BYTES: usize = 1024 * 1024;
/// A leaf is never longer: the directory it starts in, rows up to the weight, each at most four
/// times its weight, and one last row with a path and a chunk list of the longest.
pub(in super::super) const LEAF_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Chunk references in one leaf at most: a full weight of them and one more file.
pub(in super::super) const LEAF_CHUNKS_MAX: usize = 65_536;
/// Longest target of a symbolic link; Linux allows 4,095.
pub(in super::super) const LINK_TARGET_BYTES_MAX: usize = 65_535;

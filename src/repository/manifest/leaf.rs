//! Leaves.
use super::entry::State;
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};

/// A decoded column hunk.
#[derive(Debug)]
pub struct Leaf {}

impl Leaf {
    /// The blob it came from.
    pub fn id(&self) -> &BlobId {
        unimplemented!()
    }
    /// Entries in it, at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// The entry at `row`; panics when there is none.
    pub fn row(&self, row: usize) -> EntryView<'_> {
        EntryView { leaf: self, row }
    }
}

/// An entry inside a decoded leaf, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    leaf: &'a Leaf,
    row: usize,
}

impl<'a> EntryView<'a> {
    /// Its row in the leaf.
    pub fn row(&self) -> usize {
        self.row
    }
    /// Its leaf.
    pub fn leaf(&self) -> &'a Leaf {
        self.leaf
    }
    /// Its name.
    pub fn name(&self) -> &'a [u8] {
        unimplemented!()
    }
    /// Its directory, put together anew: use the reader's where there is one.
    pub fn dir(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// Type.
    pub fn kind(&self) -> FileKind {
        unimplemented!()
    }
    /// Permission bits.
    pub fn mode(&self) -> u32 {
        unimplemented!()
    }
    /// Owner.
    pub fn uid(&self) -> u32 {
        unimplemented!()
    }
    /// Group.
    pub fn gid(&self) -> u32 {
        unimplemented!()
    }
    /// Bytes.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    /// Last change of the content.
    pub fn mtime(&self) -> FileTime {
        unimplemented!()
    }
    /// Last change of the inode.
    pub fn ctime(&self) -> FileTime {
        unimplemented!()
    }
    /// Device.
    pub fn dev(&self) -> u64 {
        unimplemented!()
    }
    /// Inode.
    pub fn ino(&self) -> u64 {
        unimplemented!()
    }
    /// Hard-link group.
    pub fn hard_link_group(&self) -> u64 {
        unimplemented!()
    }
    /// Content hash.
    pub fn hash16(&self) -> [u8; 16] {
        unimplemented!()
    }
    /// Whether it was read.
    pub fn state(&self) -> State {
        unimplemented!()
    }
}

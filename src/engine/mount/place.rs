//! Inode numbers that need no table: where an entry lies in the manifests is its number.
//!
//! Bits 40 to 62: 0 for what is only of the mount (its folders of snapshots), else the number of
//! the tree plus 1. Bits 0 to 39: the number of the entry in its tree. So they are the same
//! whenever the same snapshots are mounted, and nothing is kept for them. Names of one inode
//! share theirs, which is made of their group: bit 63.

use crate::base::error::Class;

/// The number of the mount's own folder.
pub(super) const TOP: u64 = 1;
const ORDINAL_BITS: u32 = 40;
const TREES_MAX: u64 = 1 << 22;
const LINKED: u64 = 1 << 63;

/// What an inode number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder of the mount.
    Own(usize),
    /// An entry of a tree.
    Entry(usize, u64),
    /// An inode with several names.
    Linked,
}

/// The place of a number; [`TOP`] is the mount's folder 0.
pub(super) fn place(ino: u64) -> Option<Place> {
    if ino & LINKED != 0 {
        return Some(Place::Linked);
    }
    let low = ino & ((1 << ORDINAL_BITS) - 1);
    Some(match usize::try_from(ino >> ORDINAL_BITS).ok()?.checked_sub(1) {
        None => Place::Own(usize::try_from(low.checked_sub(1)?).ok()?),
        Some(tree) => Place::Entry(tree, low),
    })
}

/// The number of a folder of the mount.
pub(super) fn own(number: usize) -> u64 {
    number as u64 + TOP
}

/// The number of an entry; `None` beyond what numbers can tell.
pub(super) fn entry(tree: usize, ordinal: u64) -> Option<u64> {
    let tree = u64::try_from(tree).ok().filter(|tree| *tree < TREES_MAX)?;
    (ordinal >> ORDINAL_BITS == 0).then_some((tree + 1) << ORDINAL_BITS | ordinal)
}

/// The number of an inode with several names, by the group that they share in their snapshot.
pub(super) fn linked(snapshot: usize, group: u64) -> u64 {
    LINKED | mixed(group ^ mixed(snapshot as u64 + 1))
}

/// Spreads a number over all bits (the finaliser of SplitMix64).
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The word of a failure for the kernel.
pub(super) fn errno(class: Class) -> fuser::Errno {
    match class {
        Class::Cancelled => fuser::Errno::EINTR,
        _ => fuser::Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_places_are_one_to_one() {
        assert_eq!((place(TOP), own(0)), (Some(Place::Own(0)), TOP));
        assert_eq!(place(own(77)), Some(Place::Own(77)));
        for (tree, ordinal) in [(0, 0), (0, 1), (5, 999_999_999_999), ((1 << 22) - 1, (1 << 40) - 1)] {
            let ino = entry(tree, ordinal).expect("in range");
            assert_eq!(place(ino), Some(Place::Entry(tree, ordinal)));
        }
        assert_eq!((entry(1 << 22, 0), entry(0, 1 << 40), place(0)), (None, None, None));
        assert_eq!(place(linked(0, 5)), Some(Place::Linked));
        assert_ne!(linked(0, 5), linked(1, 5), "snapshots don't share inodes");
    }
}

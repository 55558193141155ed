//! Random picks that anybody can compute again: commit, then reveal.
//!
//! The seed's hash stands in the log before the snapshot's root is known, the seed itself in the
//! report. The pick is the *n* paths with the lowest `SHA-256(hex(seed) LF hex(root) LF path)`:
//! the root, unknown when the seed was drawn, keeps anybody from trying seeds for a convenient
//! pick.

use std::collections::BinaryHeap;

use super::sha256;
use crate::base::entropy;

/// What a pick is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Draws a new one.
    pub fn draw() -> Self {
        Self(entropy::random())
    }

    /// From 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 32];
        (sha256::is_hex(text) && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }

    /// As 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// SHA-256 of [`Seed::to_hex`]: what `printf %s SEED | sha256sum` prints.
    pub fn commitment(self) -> String {
        sha256::hex(self.to_hex().as_bytes())
    }
}

/// The paths with the lowest hashes among those offered. Memory is that of `count` paths.
#[derive(Debug)]
pub struct Pick {
    prefix: Vec<u8>,
    count: usize,
    lowest: BinaryHeap<([u8; 32], Vec<u8>)>,
}

impl Pick {
    /// Will pick `count` paths of the snapshot whose manifest has this root.
    pub fn new(seed: Seed, manifest_root: &[u8; 32], count: usize) -> Self {
        let prefix = format!("{}\n{}\n", seed.to_hex(), hex::encode(manifest_root)).into_bytes();
        Self { prefix, count, lowest: BinaryHeap::new() }
    }

    /// Takes part in the pick. The order of the offers doesn't matter; each path comes once.
    pub fn offer(&mut self, path: &[u8]) {
        let rank = sha256::raw(&[self.prefix.as_slice(), path].concat());
        self.lowest.push((rank, path.to_vec()));
        if self.lowest.len() > self.count {
            drop(self.lowest.pop());
        }
    }

    /// The picked paths, lowest hash first.
    pub fn finish(self) -> Vec<Vec<u8>> {
        self.lowest.into_sorted_vec().into_iter().map(|(_, path)| path).collect()
    }
}

/// SHA-256 of the picked paths in their order, each followed by a line feed.
pub fn list_sha256(paths: &[Vec<u8>]) -> String {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path);
        list.push(b'\n');
    }
    sha256::hex(&list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pick_is_the_lowest_hashes_whatever_the_order(
            mut paths in proptest::collection::btree_set("[a-z/]{1,8}", 0..40)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>()),
            count in 0usize..10,
        ) {
            let (seed, root) = (Seed([7; 32]), [9; 32]);
            let mut pick = Pick::new(seed, &root, count);
            paths.iter().for_each(|path| pick.offer(path.as_bytes()));
            let rank = |path: &String| {
                sha256::hex(format!("{}\n{}\n{path}", seed.to_hex(), hex::encode(root)).as_bytes())
            };
            paths.sort_by_key(rank);
            let expected: Vec<_> = paths.iter().take(count).map(|path| path.as_bytes().to_vec()).collect();
            prop_assert_eq!(pick.finish(), expected);
        }
    }

    #[test]
    fn the_commitment_is_the_hash_of_the_digits() {
        let seed = Seed::draw();
        assert_eq!(Seed::from_hex(&seed.to_hex()), Some(seed));
        assert_eq!(seed.commitment(), sha256::hex(seed.to_hex().as_bytes()));
        assert_ne!(seed, Seed::draw());
    }
}

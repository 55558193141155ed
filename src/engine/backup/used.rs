//! Which packs a snapshot uses: a bit for each pack, so that memory is the same for one file and
//! for a billion.

use crate::base::id::BlobId;
use crate::repository::pack_pool::{Home, PackPool};

/// A set of pack numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Vec<u64>);

impl Numbers {
    /// Adds a number; says whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// The numbers, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).step_by(64).zip(&self.0).flat_map(|(first, bits)| {
            (0u32..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| first + bit)
        })
    }
}

fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

/// A pack that is used, and on what ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A pack that this backup made.
    Own(u32),
    /// A pack of the index that holds what was taken over from the parent.
    Covered(u32),
    /// A pack of the index from which something is used that the parent does not hold.
    Relied(u32),
}

/// The packs that hold what the snapshot uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    relied: Numbers,
    covered: Numbers,
    own: Numbers,
}

impl Used {
    /// Notes a use; says whether it is new.
    pub(super) fn note(&mut self, used: Use) -> bool {
        match used {
            Use::Own(number) => self.own.insert(number),
            Use::Covered(number) => self.covered.insert(number),
            Use::Relied(number) => self.relied.insert(number),
        }
    }

    /// Notes where a blob that is not the parent's lies.
    pub(super) fn rely(&mut self, pool: &PackPool<'_>, id: &BlobId) {
        match pool.home(id) {
            Some(Home::Own(number)) => self.note(Use::Own(number)),
            Some(Home::Indexed(at)) => self.note(Use::Relied(at.pack)),
            None => false,
        };
    }

    /// Notes where a blob that the parent holds lies.
    pub(super) fn cover(&mut self, pool: &PackPool<'_>, id: &BlobId) {
        if let Some(used) = covering(pool, id) {
            self.note(used);
        }
    }

    /// The packs that this backup made.
    pub(super) fn own(&self) -> impl Iterator<Item = u32> + '_ {
        self.own.iter()
    }

    /// The packs of the index, each with whether the parent holds all that is used of it.
    pub(super) fn indexed(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        let mut numbers = self.covered.clone();
        for number in self.relied.iter() {
            numbers.insert(number);
        }
        let all: Vec<u32> = numbers.iter().collect();
        all.into_iter().map(|number| (number, !self.relied.contains(number)))
    }
}

/// Where a blob that the parent holds lies, when the index knows it.
pub(super) fn covering(pool: &PackPool<'_>, id: &BlobId) -> Option<Use> {
    pool.home(id).map(|home| match home {
        Home::Own(number) => Use::Own(number),
        Home::Indexed(at) => Use::Covered(at.pack),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_once_and_in_order() {
        let mut numbers = Numbers::default();
        let given = [700u32, 3, 63, 64, 3, 0, 700];
        let fresh: Vec<bool> = given.iter().map(|number| numbers.insert(*number)).collect();
        assert_eq!(fresh, [true, true, true, true, false, true, false]);
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [0, 3, 63, 64, 700]);
        assert!(numbers.contains(64) && !numbers.contains(65) && !numbers.contains(100_000));
    }

    #[test]
    fn a_pack_is_covered_only_when_nothing_else_of_it_is_used() {
        let mut used = Used::default();
        for one in [Use::Covered(5), Use::Relied(7), Use::Covered(7)] {
            used.note(one);
        }
        assert_eq!(used.indexed().collect::<Vec<_>>(), [(5, true), (7, false)]);
    }
}

//! The packs that a target holds, beside those that the index knows.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::SweepError;
use super::steps::Sweeping;
use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::format::names::{PackClass, content_hash, pack_name};
use crate::repository::index::Index;

/// A pack that the target lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Its name.
    pub(super) hash: ObjectHash,
    /// Data or metadata.
    pub(super) class: PackClass,
    /// Its length.
    pub(super) bytes: u64,
    /// When the target took it.
    pub(super) modified: Timestamp,
}

/// What `p/` and `m/` list, and which numbers that has in an index.
#[derive(Debug, Default)]
pub(super) struct Packs {
    /// Sorted by name.
    stored: Vec<Stored>,
    /// Names and numbers, sorted.
    numbers: Vec<(ObjectHash, u32)>,
    /// By number: the place in `stored`.
    places: Vec<Option<u32>>,
    /// By number, of packs of writers that only add: who that is.
    owners: HashMap<u32, WriterId>,
}

impl Packs {
    /// Lists the packs of the target.
    ///
    /// # Errors
    /// Whatever the target or the local index says.
    pub(super) fn list(cx: &Sweeping<'_>, index: &Index, numbers: u32) -> Result<Self, SweepError> {
        let mut stored = Vec::new();
        for (class, prefix) in [(PackClass::Data, "p/"), (PackClass::Meta, "m/")] {
            cx.target.storage.list(prefix, &mut |stat| {
                // Only the very name counts: a file elsewhere is not the pack.
                if let Some(hash) =
                    content_hash(&stat.name).filter(|hash| pack_name(class, hash) == stat.name)
                {
                    stored.push(Stored { hash, class, bytes: stat.bytes, modified: stat.modified });
                }
                ControlFlow::Continue(())
            })?;
        }
        stored.sort_unstable_by_key(|pack| pack.hash);
        let mut packs = Self { stored, ..Self::default() };
        packs.places.resize(usize::try_from(numbers).unwrap_or(usize::MAX), None);
        for pack in index.packs() {
            let (number, pack) = pack?;
            packs.numbers.push((pack.hash, number));
            if index.is_strange(number) {
                packs.owners.insert(number, pack.signer);
            }
            let found = packs.stored.binary_search_by_key(&pack.hash, |stored| stored.hash);
            let found = found.ok().filter(|at| packs.stored[*at].class == pack.class);
            if let Some(place) = usize::try_from(number).ok().and_then(|number| packs.places.get_mut(number))
            {
                *place = found.and_then(|at| u32::try_from(at).ok());
            }
        }
        packs.numbers.sort_unstable();
        Ok(packs)
    }

    /// All of them, sorted by name.
    pub(super) fn all(&self) -> &[Stored] {
        &self.stored
    }

    /// The pack with this number, when the target holds it.
    pub(super) fn of_number(&self, number: u32) -> Option<&Stored> {
        let place = (*self.places.get(usize::try_from(number).ok()?)?)?;
        self.stored.get(usize::try_from(place).ok()?)
    }

    /// The writer of a pack, when it is one that only adds. Copies in its packs stand for its own
    /// alone: it could claim any blob's id for anything.
    pub(super) fn owner(&self, number: u32) -> Option<WriterId> {
        self.owners.get(&number).copied()
    }

    /// The pack with this name, when the target holds it.
    pub(super) fn named(&self, hash: &ObjectHash) -> Option<&Stored> {
        self.stored.binary_search_by_key(hash, |stored| stored.hash).ok().map(|at| &self.stored[at])
    }

    /// The numbers of a pack: none when no index run lists it, several when several do.
    pub(super) fn numbers_of(&self, hash: &ObjectHash) -> impl Iterator<Item = u32> + '_ {
        let from = self.numbers.partition_point(|(name, _)| name < hash);
        let hash = *hash;
        self.numbers[from..].iter().take_while(move |(name, _)| *name == hash).map(|(_, number)| *number)
    }
}

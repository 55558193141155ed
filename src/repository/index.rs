//! Which blob is where: the index runs of all places, held together for one piece of work.
//!
//! A run lands on a target only after all its packs, so the runs that a target lists say which
//! packs it has. Entries are hints: what is relied on is looked at again at the commit.
//! In memory an entry takes 40 bytes.

use std::collections::{HashMap, HashSet};

use crate::base::id::{BlobId, ObjectHash, WriterId};
use crate::repository::format::index_run::IndexRun;
use crate::repository::format::names::PackClass;

/// A pack as the index knows it.
#[derive(Clone, Debug)]
pub struct IndexedPack {
    /// Its name.
    pub hash: ObjectHash,
    /// Data or metadata.
    pub class: PackClass,
    /// Its length.
    pub bytes: u64,
    /// Where its footer begins.
    pub foot_offset: u64,
    /// Who signed it.
    pub signer: WriterId,
    /// The first run that lists it.
    pub run: ObjectHash,
    /// Targets that list a run with this pack, as bits by target number.
    pub on: u64,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Number of the pack in this index.
    pub pack: u32,
    /// The blob's row in the pack's footer.
    pub ordinal: u32,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    id: BlobId,
    at: Location,
}

/// The index of a repository, as seen when it was loaded.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<IndexedPack>,
    by_hash: HashMap<ObjectHash, u32>,
    entries: Vec<IndexEntry>,
    sorted: bool,
}

impl Index {
    /// Adds a run that the targets in `on` (bits) list.
    pub fn add(&mut self, id: &ObjectHash, run: &IndexRun, on: u64) {
        let mut numbers = Vec::with_capacity(run.packs.len());
        let mut fresh = Vec::with_capacity(run.packs.len());
        for pack in &run.packs {
            let next = u32::try_from(self.packs.len()).expect("fewer than 2^32 packs fit in memory");
            let number = *self.by_hash.entry(pack.hash).or_insert(next);
            fresh.push(number == next);
            numbers.push(number);
            if number == next {
                self.packs.push(IndexedPack {
                    hash: pack.hash,
                    class: pack.class,
                    bytes: pack.bytes,
                    foot_offset: pack.foot_offset,
                    signer: pack.signer,
                    run: *id,
                    on,
                });
            } else if let Some(known) = self.packs.get_mut(number as usize) {
                known.on |= on;
            }
        }
        for entry in &run.entries {
            let place = entry.pack as usize;
            let (Some(pack), Some(true)) = (numbers.get(place), fresh.get(place)) else { continue };
            self.entries
                .push(IndexEntry { id: entry.id, at: Location { pack: *pack, ordinal: entry.ordinal } });
        }
        self.sorted = false;
    }

    /// Must be called once after the last [`Index::add`] and before the first look-up.
    pub fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|entry| (entry.id, entry.at.pack));
        self.sorted = true;
    }

    /// Every place where a blob is said to lie.
    pub fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> + '_ {
        debug_assert!(self.sorted, "an index is sorted before it is asked");
        let first = self.entries.partition_point(|entry| entry.id < *id);
        let id = *id;
        self.entries[first..].iter().take_while(move |entry| entry.id == id).map(|entry| entry.at)
    }

    /// A pack by its number.
    pub fn pack(&self, number: u32) -> Option<&IndexedPack> {
        self.packs.get(number as usize)
    }

    /// A pack's number by its name.
    pub fn number_of(&self, hash: &ObjectHash) -> Option<u32> {
        self.by_hash.get(hash).copied()
    }

    /// All packs, in the order of their numbers.
    pub fn packs(&self) -> &[IndexedPack] {
        &self.packs
    }

    /// How many blobs are listed, duplicates included.
    pub fn blobs(&self) -> usize {
        self.entries.len()
    }

    /// All listed blobs, sorted by id.
    pub fn entries(&self) -> impl Iterator<Item = (BlobId, Location)> + '_ {
        self.entries.iter().map(|entry| (entry.id, entry.at))
    }

    /// Forgets every entry of these packs: they count as absent.
    pub fn drop_packs(&mut self, condemned: &HashSet<ObjectHash>) {
        if condemned.is_empty() {
            return;
        }
        let packs = &self.packs;
        self.entries.retain(|entry| {
            packs.get(entry.at.pack as usize).is_some_and(|pack| !condemned.contains(&pack.hash))
        });
    }
}

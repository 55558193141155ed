//! Runs that are made up, an index over them, and what it should answer.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::build::{Tuning, Workshop};
use super::super::lookup::{Index, RunSource};
use super::super::page::PageKey;
use super::super::spool::Ground;
use crate::base::id::{BlobId, ObjectHash, RepoId, WriterId};
use crate::base::secret::Secret;
use crate::codec::hash;
use crate::repository::error::RepositoryError;
use crate::repository::format::index_run::{IndexRun, RunEntry, RunPack};
use crate::repository::format::names::PackClass;

/// Numbers that no blob and no pack of a test has.
pub(super) const NOBODY: u32 = u32::MAX;

pub(super) fn blob(number: u32) -> BlobId {
    BlobId::new(hash::plain(&[b"blob", &number.to_le_bytes()]))
}

pub(super) fn pack(number: u32) -> ObjectHash {
    ObjectHash::new(hash::plain(&[b"pack", &number.to_le_bytes()]))
}

pub(super) fn run(number: u32) -> ObjectHash {
    ObjectHash::new(hash::plain(&[b"run", &number.to_le_bytes()]))
}

/// Packs with their blobs, and runs with their packs: all by numbers. What is in no run is hidden.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) packs: BTreeMap<u32, Vec<u32>>,
    pub(super) runs: BTreeMap<u32, Vec<u32>>,
    /// What runs list that were there before.
    pub(super) before: Vec<Vec<u32>>,
}

impl World {
    /// Runs of four packs of 50 blobs each, all different.
    pub(super) fn plain(runs: u32) -> Self {
        let mut world = Self::default();
        for number in 0..runs {
            let packs: Vec<u32> = (number * 4..number * 4 + 4).collect();
            for pack in &packs {
                world.packs.insert(*pack, (pack * 50..pack * 50 + 50).collect());
            }
            world.runs.insert(number, packs);
        }
        world
    }

    pub(super) fn ids(&self) -> Vec<ObjectHash> {
        let mut ids: Vec<ObjectHash> = self.runs.keys().map(|number| run(*number)).collect();
        ids.sort_unstable();
        ids
    }

    fn index_run(&self, number: u32) -> IndexRun {
        let mut made = IndexRun::default();
        for (place, number) in (0u32..).zip(&self.runs[&number]) {
            made.packs.push(RunPack {
                hash: pack(*number),
                class: if number % 3 == 0 { PackClass::Meta } else { PackClass::Data },
                signer: WriterId::new([7; 16]),
                bytes: u64::from(*number) + 1000,
                foot_offset: u64::from(*number) + 900,
            });
            for (ordinal, id) in (0u32..).zip(&self.packs[number]) {
                made.entries.push(RunEntry { id: blob(*id), pack: place, ordinal, stored_bytes: 10 });
            }
        }
        made.entries.sort_unstable();
        made
    }

    /// Everything that an index over these runs should know, but for these packs.
    fn listed(&self, condemned: &BTreeSet<u32>) -> BTreeMap<u32, BTreeSet<(u32, u32)>> {
        let mut blobs: BTreeMap<u32, BTreeSet<(u32, u32)>> = BTreeMap::new();
        for number in self.runs.values().flatten().filter(|number| !condemned.contains(*number)) {
            for (ordinal, id) in (0u32..).zip(&self.packs[number]) {
                blobs.entry(*id).or_default().insert((*number, ordinal));
            }
        }
        blobs
    }

    /// Compares every answer of an index with what it should be.
    pub(super) fn compare(&self, index: &mut Index, condemned: &BTreeSet<u32>) {
        let in_runs: BTreeSet<u32> = self.runs.values().flatten().copied().collect();
        self.compare_doubled(index);
        let hashes: HashSet<ObjectHash> = condemned.iter().map(|number| pack(*number)).collect();
        index.drop_packs(&hashes).expect("dropped");
        let listed = self.listed(condemned);
        for id in self.packs.values().flatten().chain([&NOBODY]) {
            let expected: BTreeSet<(ObjectHash, u32)> = listed
                .get(id)
                .into_iter()
                .flatten()
                .map(|(number, ordinal)| (pack(*number), *ordinal))
                .collect();
            let place = |at: super::super::Location| {
                (index.pack(at.pack).expect("read").expect("a pack").hash, at.ordinal)
            };
            let found = index.locations(&blob(*id)).expect("found");
            assert_eq!(found.into_iter().map(place).collect::<BTreeSet<_>>(), expected, "blob {id}");
            let first = index.first(&blob(*id)).expect("found").map(place);
            assert_eq!(first.is_some(), !expected.is_empty(), "blob {id}");
            assert!(first.is_none_or(|first| expected.contains(&first)), "blob {id}");
        }
        for number in self.packs.keys().chain([&NOBODY]) {
            let found = index.number_of(&pack(*number)).expect("found");
            assert_eq!(found.is_some(), in_runs.contains(number), "pack {number}");
            let known = found.map(|found| index.pack(found).expect("read").expect("a pack"));
            assert!(known.is_none_or(|known| known.hash == pack(*number)
                && known.bytes == u64::from(*number) + 1000
                && self.runs.iter().any(|(id, packs)| run(*id) == known.run && packs.contains(number))));
            let runs: BTreeSet<ObjectHash> =
                index.runs_with(&pack(*number)).expect("found").into_iter().collect();
            let listing = self.runs.iter().filter(|(_, packs)| packs.contains(number));
            assert_eq!(runs, listing.map(|(id, _)| run(*id)).collect::<BTreeSet<_>>());
        }
        let packs = index.packs().map(|pack| pack.expect("read").1.hash).collect::<BTreeSet<_>>();
        assert_eq!(packs, in_runs.iter().map(|number| pack(*number)).collect::<BTreeSet<_>>());
        for (number, packs) in &self.runs {
            let listed = index.packs_of_run(&run(*number)).expect("read").expect("a run");
            let listed: Vec<ObjectHash> = listed.into_iter().map(|pack| pack.hash).collect();
            assert_eq!(listed, packs.iter().map(|number| pack(*number)).collect::<Vec<_>>());
        }
        assert!(index.packs_of_run(&run(NOBODY)).expect("read").is_none());
        let counted = self.runs.values().flatten().filter(|number| !condemned.contains(*number));
        let blobs: usize = counted.map(|number| self.packs[number].len()).sum();
        assert_eq!(index.blobs(), blobs as u64);
        let mut last = BlobId::default();
        for entry in index.entries().expect("read") {
            let (id, _) = entry.expect("read");
            assert!(last <= id);
            last = id;
        }
        assert_eq!(index.entries().expect("read").count(), blobs);
    }

    pub(super) fn compare_doubled(&self, index: &Index) {
        let in_runs: BTreeSet<u32> = self.runs.values().flatten().copied().collect();
        let name = |number: u32| index.pack(number).expect("read").expect("a pack").hash;
        let doubled: BTreeSet<ObjectHash> = index.doubled().expect("read").into_iter().map(name).collect();
        let listed = self.listed(&BTreeSet::new());
        let several = listed.values().filter(|places| places.len() > 1).flatten();
        let expected: BTreeSet<ObjectHash> = several.map(|(number, _)| pack(*number)).collect();
        assert!(doubled.is_superset(&expected), "a doubled pack was missed");
        // One that is or was listed twice may count as doubled, and one that shared a blob with a
        // pack that went.
        let sharing = |number: &u32| {
            let own = &self.packs[number];
            let others = self.packs.iter().filter(|(other, _)| *other != number);
            others.flat_map(|(_, blobs)| blobs).any(|id| own.contains(id))
        };
        let twice = |number: &u32| {
            let all = self.runs.values().chain(&self.before).flatten();
            all.filter(|other| *other == number).count() > 1
        };
        let may: BTreeSet<ObjectHash> =
            in_runs.iter().filter(|n| sharing(n) || twice(n)).map(|n| pack(*n)).collect();
        assert!(doubled.is_subset(&may), "a pack that shares nothing counts as doubled");
    }
}

/// Gives the runs of a world.
pub(super) struct Given {
    world: World,
    pub(super) asked: AtomicU64,
}

impl RunSource for Given {
    fn run(&self, id: &ObjectHash) -> Result<IndexRun, RepositoryError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let number = self.world.runs.keys().find(|number| run(**number) == *id);
        let number = number.ok_or(RepositoryError::Damage {
            place: "here".to_owned(),
            object: "a run".to_owned(),
            what: "is missing".to_owned(),
        })?;
        Ok(self.world.index_run(*number))
    }
}

/// Files from the first blob on, few rows in memory, and two parts at most.
pub(super) const SMALL: Tuning = Tuning { sort_rows: 64, memory_bytes: 0, memory_runs: 0, parts_max: 2 };

pub(super) fn ground(folder: Option<&Path>) -> Ground {
    Ground::new(folder.map(Path::to_path_buf))
}

pub(super) fn workshop(ground: Ground, tuning: Tuning) -> Workshop {
    let key = PageKey::of_repository(&Secret::new([5; 32]), &RepoId::new([6; 16]));
    Workshop { ground, key, tuning }
}

/// An index over a world, and how many runs were read for it.
pub(super) fn open(world: &World, ground: Ground, tuning: Tuning) -> (Index, Arc<Given>) {
    let given = Arc::new(Given { world: world.clone(), asked: AtomicU64::new(0) });
    let source: Arc<dyn RunSource> = Arc::<Given>::clone(&given);
    let (index, damaged) =
        Index::assemble(workshop(ground, tuning), source, &world.ids()).expect("assembled");
    assert!(damaged.is_empty());
    (index, given)
}

/// The parts that lie in a folder.
pub(super) fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

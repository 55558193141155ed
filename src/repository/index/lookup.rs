//! All parts together: the index of a repository, as seen when it was loaded.
//!
//! A run lands on a target only after all its packs, so the runs that a target lists say which
//! packs it has. Entries are hints: what is relied on is looked at again at the commit.
//!
//! A part that turns out to be hurt is built anew from its runs, with the same numbers, while the
//! others are used. Packs that a sweep condemned are bits. Nothing here grows with the number of
//! blobs once they no longer fit in the memory that a small part may take.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::bits::Bits;
use super::build::{Builder, Tuning, Wanted, Workshop};
use super::page::{PageKey, is_hurt};
use super::part::{PackRow, Part};
use super::shelf::{self, Chosen, Damaged, Trouble};
use super::sort::{Merge, Row, Rows};
use super::spool::Ground;
use super::strangers::until_full;
use crate::base::id::{BlobId, ObjectHash, RepoId, WriterId};
use crate::repository::error::RepositoryError;
use crate::repository::format::index_run::{IndexRun, RunPack};
use crate::repository::format::keys::EpochKeys;
use crate::repository::format::names::PackClass;

/// Places given for one blob. More have only repositories that somebody made to be slow.
pub(super) const LOCATIONS_MAX: usize = 256;
/// How often one part is built anew before its disk is given up.
const MENDS_MAX: u32 = 3;

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
    /// A run that lists it.
    pub run: ObjectHash,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Number of the pack in this index.
    pub pack: u32,
    /// The blob's row in the pack's footer.
    pub ordinal: u32,
}

/// Where runs come from when a part has to be built.
pub trait RunSource: Send + Sync {
    /// A run by its name, checked.
    ///
    /// # Errors
    /// Of class `Damage` when it is hurt everywhere: then it counts as absent.
    fn run(&self, id: &ObjectHash) -> Result<IndexRun, RepositoryError>;
}

/// The index of a repository. Without a part it knows nothing.
#[derive(Default)]
pub struct Index {
    places: Vec<Place>,
    pub(super) condemned: Bits,
    /// Packs of writers that only add.
    pub(super) strange: Bits,
    pub(super) blobs: u64,
    pub(super) mending: Option<Mending>,
}

/// A part, and the number that its first pack has here.
pub(super) struct Place {
    pub(super) first: u32,
    part: RwLock<Arc<Part>>,
    wanted: Option<Wanted>,
    mends: AtomicU32,
}

pub(super) struct Mending {
    pub(super) workshop: Workshop,
    pub(super) source: Arc<dyn RunSource>,
    turn: Mutex<()>,
}

impl Place {
    fn current(&self) -> Arc<Part> {
        Arc::clone(&self.part.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the run of a pack, numbered as in the part, is wanted.
    fn wants(&self, part: &Part, pack: u32) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.get(part.run_of(pack)) == Some(&true))
    }
}

impl Index {
    /// The index over these runs (sorted), whose files go to this ground. Runs that are damaged
    /// everywhere are passed over and given back.
    ///
    /// # Errors
    /// A run that cannot be read now; `LocalIndex` when its files find no room anywhere.
    pub fn open(
        ground: Ground,
        keys: &EpochKeys,
        repo: &RepoId,
        source: Arc<dyn RunSource>,
        runs: &[ObjectHash],
    ) -> Result<(Self, Vec<(ObjectHash, RepositoryError)>), RepositoryError> {
        let key = PageKey::of_repository(keys.index(), repo);
        Self::assemble(Workshop { ground, key, tuning: Tuning::default() }, source, runs)
    }

    /// The index over these runs (sorted). Runs that are damaged everywhere are passed over and
    /// given back.
    ///
    /// # Errors
    /// A run that cannot be read now; `LocalIndex` when its files find no room anywhere.
    pub(super) fn assemble(
        workshop: Workshop,
        source: Arc<dyn RunSource>,
        runs: &[ObjectHash],
    ) -> Result<(Self, Damaged), RepositoryError> {
        let mut workshop = workshop;
        let mut tries = 0;
        loop {
            let assembled = shelf::assemble(&workshop, source.as_ref(), runs);
            let indexed = assembled.and_then(|(chosen, damaged)| Ok((Self::over(chosen)?, damaged)));
            match indexed {
                Ok((mut index, damaged)) => {
                    index.mending = Some(Mending { workshop, source, turn: Mutex::default() });
                    return Ok((index, damaged));
                }
                Err(Trouble::Run(error)) => return Err(error),
                Err(Trouble::File(error)) if tries > 1 || !is_hurt(&error) => return Err(error.into()),
                Err(Trouble::File(_)) if tries == 0 => shelf::remove_hurt(&workshop),
                Err(Trouble::File(_)) => workshop.ground = Ground::new(None),
            }
            tries += 1;
        }
    }

    fn over(chosen: Vec<Chosen>) -> Result<Self, io::Error> {
        let mut index = Self::default();
        let mut first = 0u32;
        for (part, wanted) in chosen {
            let packs = part.packs();
            let runs = part.runs().iter().enumerate();
            let seen = runs.filter(|(at, _)| wanted.as_ref().is_none_or(|wanted| wanted[*at]));
            index.blobs += seen.map(|(_, run)| run.blobs).sum::<u64>();
            let mends = AtomicU32::new(0);
            index.places.push(Place { first, part: RwLock::new(part), wanted, mends });
            first = first.checked_add(packs).ok_or(io::ErrorKind::FileTooLarge)?;
        }
        Ok(index)
    }

    /// The packs with this name that an index run lists: one, but for repositories that somebody
    /// made to be odd.
    pub(super) fn named(&self, hash: &ObjectHash) -> Result<Vec<(u32, ObjectHash)>, RepositoryError> {
        let (mut all, mut strange) = (Vec::new(), Vec::new());
        for place in &self.places {
            let (known, others) = self.ask(place, |part| {
                let (mut known, mut others) = (Vec::new(), Vec::new());
                part.names().find(hash.as_bytes(), &mut |row| {
                    if place.wants(part, row.pack) {
                        let number = place.first + row.pack;
                        let run = part.runs().get(part.run_of(row.pack)).map(|run| run.id);
                        self.sort_in(number, (number, run.unwrap_or_default()), &mut known, &mut others);
                    }
                    until_full(&known)
                })?;
                Ok((known, others))
            })?;
            all.extend(known);
            strange.extend(others);
        }
        all.extend(strange);
        Ok(all)
    }

    /// Asks a part, which is built anew when it turns out to be hurt.
    pub(super) fn ask<T>(
        &self,
        place: &Place,
        ask: impl Fn(&Part) -> io::Result<T>,
    ) -> Result<T, RepositoryError> {
        let mut part = place.current();
        loop {
            match ask(&part) {
                Ok(answer) => return Ok(answer),
                Err(error) if place.mends.load(Ordering::Relaxed) >= MENDS_MAX => return Err(error.into()),
                Err(_) => part = self.mended(place, &part)?,
            }
        }
    }

    fn mended(&self, place: &Place, hurt: &Arc<Part>) -> Result<Arc<Part>, RepositoryError> {
        let mending = self.mending.as_ref().ok_or(RepositoryError::Defect { what: "the local index" })?;
        let _turn = mending.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let current = place.current();
        if !Arc::ptr_eq(&current, hurt) {
            return Ok(current);
        }
        shelf::remove(&mending.workshop, hurt);
        let mends = place.mends.fetch_add(1, Ordering::Relaxed);
        let mut builder = Builder::new(&mending.workshop)?;
        for (at, run) in hurt.runs().iter().enumerate() {
            if place.wanted.as_ref().is_some_and(|wanted| !wanted[at]) {
                builder.skip(run.packs)?;
                continue;
            }
            let read = mending.source.run(&run.id)?;
            if u32::try_from(read.packs.len()).ok() != Some(run.packs) {
                return Err(RepositoryError::Defect { what: "the local index" });
            }
            builder.add(&run.id, &read)?;
        }
        // A disk that spoiled the file twice is not asked to keep it.
        let part = if hurt.name.is_some() && mends == 0 {
            let (spool, head) = builder.finish()?;
            shelf::keep(&mending.workshop, spool, &head)?
        } else {
            builder.finish_unnamed()?
        };
        let part = Arc::new(part);
        *place.part.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&part);
        Ok(part)
    }

    pub(super) fn place_of(&self, number: u32) -> Option<&Place> {
        self.places[..self.places.partition_point(|place| place.first <= number)]
            .last()
            .filter(|place| number - place.first < place.current().packs())
    }

    /// Every place where a blob is said to lie (at most 256), packs that were dropped left out. Those
    /// of writers that only add come last, and beside the others.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn locations(&self, id: &BlobId) -> Result<Vec<Location>, RepositoryError> {
        let (mut all, mut strange) = (Vec::new(), Vec::new());
        for place in &self.places {
            let (known, others) = self.ask(place, |part| {
                let (mut known, mut others) = (Vec::new(), Vec::new());
                part.blobs().find(id.as_bytes(), &mut |row| {
                    let pack = place.first + row.pack;
                    if place.wants(part, row.pack) && !self.condemned.contains(pack) {
                        let at = Location { pack, ordinal: row.ordinal };
                        self.sort_in(pack, at, &mut known, &mut others);
                    }
                    until_full(&known)
                })?;
                Ok((known, others))
            })?;
            all.extend(known);
            strange.extend(others);
        }
        all.truncate(LOCATIONS_MAX);
        strange.truncate(LOCATIONS_MAX);
        all.extend(strange);
        Ok(all)
    }

    /// One place where a blob is said to lie, in no pack that was dropped.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn first(&self, id: &BlobId) -> Result<Option<Location>, RepositoryError> {
        if !self.strange.is_empty() {
            return Ok(self.locations(id)?.first().copied());
        }
        for place in &self.places {
            let found = self.ask(place, |part| {
                let mut found = None;
                part.blobs().find(id.as_bytes(), &mut |row| {
                    let pack = place.first + row.pack;
                    if place.wants(part, row.pack) && !self.condemned.contains(pack) {
                        found = Some(Location { pack, ordinal: row.ordinal });
                    }
                    if found.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
                Ok(found)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// A pack by its number.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn pack(&self, number: u32) -> Result<Option<IndexedPack>, RepositoryError> {
        let Some(place) = self.place_of(number) else { return Ok(None) };
        let pack = number - place.first;
        self.ask(place, |part| {
            let counts = place.wants(part, pack);
            if counts { part.pack(pack).map(|row| Some(indexed(part, pack, row))) } else { Ok(None) }
        })
    }

    /// A pack's number by its name.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn number_of(&self, hash: &ObjectHash) -> Result<Option<u32>, RepositoryError> {
        Ok(self.named(hash)?.first().map(|(number, _)| *number))
    }

    /// The runs that list a pack.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn runs_with(&self, hash: &ObjectHash) -> Result<Vec<ObjectHash>, RepositoryError> {
        Ok(self.named(hash)?.into_iter().map(|(_, run)| run).collect())
    }

    /// All packs with their numbers, in the order of these. One that two runs list comes twice.
    pub fn packs(&self) -> impl Iterator<Item = Result<(u32, IndexedPack), RepositoryError>> + '_ {
        Packs { index: self, place: 0, next: 0, read: VecDeque::new() }
    }

    /// The packs that a run lists; `None` for a run that this index does not cover.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn packs_of_run(&self, id: &ObjectHash) -> Result<Option<Vec<RunPack>>, RepositoryError> {
        for place in &self.places {
            let part = place.current();
            let wants = |at: usize| place.wanted.as_ref().is_none_or(|wanted| wanted[at]);
            let Some(run) = part.run(id).filter(|at| wants(*at)).map(|at| part.runs()[at]) else { continue };
            let mut packs = Vec::new();
            while packs.len() < usize::try_from(run.packs).unwrap_or(usize::MAX) {
                let next = run.first + u32::try_from(packs.len()).unwrap_or(u32::MAX);
                let read = self.ask(place, |part| part.packs_from(next))?;
                packs.extend(read.into_iter().map(|row| row.pack));
            }
            packs.truncate(usize::try_from(run.packs).unwrap_or(usize::MAX));
            return Ok(Some(packs));
        }
        Ok(None)
    }

    /// A run that this index covers, read again; `None` for another one.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub fn run(&self, id: &ObjectHash) -> Result<Option<IndexRun>, RepositoryError> {
        let wants = |place: &&Place| {
            let at = place.current().run(id);
            at.is_some_and(|at| place.wanted.as_ref().is_none_or(|wanted| wanted[at]))
        };
        match (&self.mending, self.places.iter().any(|place| wants(&place))) {
            (Some(mending), true) => mending.source.run(id).map(Some),
            _ => Ok(None),
        }
    }

    /// The runs it covers, sorted.
    pub fn run_ids(&self) -> Vec<ObjectHash> {
        self.runs().into_iter().map(|(id, _)| id).collect()
    }

    /// The runs it covers, sorted, each with the number of its blobs.
    pub(super) fn runs(&self) -> Vec<(ObjectHash, u64)> {
        let mut all = Vec::new();
        for place in &self.places {
            let part = place.current();
            let runs = part.runs().iter().enumerate();
            let wanted = runs.filter(|(at, _)| place.wanted.as_ref().is_none_or(|wanted| wanted[*at]));
            all.extend(wanted.map(|(_, run)| (run.id, run.blobs)));
        }
        all.sort_unstable();
        all
    }

    /// Whether all of it is in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        self.places.iter().all(|place| place.current().is_in_memory())
    }

    /// How many blobs are listed, duplicates included.
    pub fn blobs(&self) -> u64 {
        self.blobs
    }

    /// All listed blobs, sorted by id, packs that were dropped left out. Reads every page of a file twice.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<(BlobId, Location), RepositoryError>> + '_, RepositoryError> {
        let mut sources: Vec<Box<dyn Rows>> = Vec::new();
        for place in &self.places {
            let scan = self.ask(place, |part| part.check().map(|()| part.blobs().scan()))?;
            sources.push(Box::new(Numbered { rows: Box::new(scan), first: place.first }));
        }
        let mut rows = Merge::new(sources)?;
        Ok(std::iter::from_fn(move || rows.next_row().transpose()).filter_map(move |row| match row {
            Ok(row) => {
                let place = self.place_of(row.pack)?;
                let counts = place.wants(&place.current(), row.pack - place.first);
                let at = Location { pack: row.pack, ordinal: row.ordinal };
                (counts && !self.condemned.contains(row.pack)).then(|| Ok((BlobId::new(row.key()), at)))
            }
            Err(error) => Some(Err(error.into())),
        }))
    }

    /// How many blobs each pack has here, by the packs' numbers; 0 where a number stands for none.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn blobs_by_pack(&self) -> Result<Vec<u32>, RepositoryError> {
        let mut blobs = Vec::new();
        for place in &self.places {
            blobs.resize(usize::try_from(place.first).unwrap_or(usize::MAX), 0);
            let (part, mut number) = (place.current(), 0);
            while number < part.packs() {
                let rows = self.ask(place, |part| part.packs_from(number))?;
                for row in &rows {
                    blobs.push(if place.wants(&part, number) { row.blobs } else { 0 });
                    number += 1;
                }
                if rows.is_empty() {
                    return Err(RepositoryError::Defect { what: "the list of packs" });
                }
            }
        }
        Ok(blobs)
    }

    /// Shows where each listed blob lies and its length as stored, run by run, packs that were
    /// dropped included. Reads every run again; memory is that of one run.
    ///
    /// # Errors
    /// A run that cannot be read any more; when a part is hurt and cannot be built anew.
    pub fn visit_stored(&self, visit: &mut dyn FnMut(Location, u32)) -> Result<(), RepositoryError> {
        let Some(mending) = &self.mending else { return Ok(()) };
        for place in &self.places {
            let part = place.current();
            for (at, row) in part.runs().iter().enumerate() {
                if place.wanted.as_ref().is_some_and(|wanted| !wanted[at]) {
                    continue;
                }
                let first = place.first + row.first;
                for entry in &mending.source.run(&row.id)?.entries {
                    visit(Location { pack: first + entry.pack, ordinal: entry.ordinal }, entry.stored_bytes);
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("parts", &self.places.len()).field("blobs", &self.blobs).finish()
    }
}

fn indexed(part: &Part, number: u32, row: PackRow) -> IndexedPack {
    let run = part.runs().get(part.run_of(number)).map(|run| run.id).unwrap_or_default();
    let RunPack { hash, class, signer, bytes, foot_offset } = row.pack;
    IndexedPack { hash, class, bytes, foot_offset, signer, run }
}

/// Reads packs a page at a time.
struct Packs<'i> {
    index: &'i Index,
    place: usize,
    next: u32,
    read: VecDeque<(u32, IndexedPack)>,
}

impl Iterator for Packs<'_> {
    type Item = Result<(u32, IndexedPack), RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pack) = self.read.pop_front() {
                return Some(Ok(pack));
            }
            let place = self.index.places.get(self.place)?;
            if self.next >= place.current().packs() {
                self.place += 1;
                self.next = 0;
                continue;
            }
            let first = self.next;
            let page = self.index.ask(place, |part| {
                let rows = part.packs_from(first)?;
                let numbered = (first..).zip(rows);
                Ok(numbered.map(|(number, row)| (number, indexed(part, number, row))).collect::<Vec<_>>())
            });
            match page {
                Ok(rows) => {
                    self.next += u32::try_from(rows.len().max(1)).unwrap_or(u32::MAX);
                    let part = place.current();
                    let counted = rows.into_iter().filter(|(number, _)| place.wants(&part, *number));
                    self.read.extend(counted.map(|(number, pack)| (place.first + number, pack)));
                }
                Err(error) => {
                    // Nothing follows an error: what cannot be read would be silently left out.
                    self.place = usize::MAX;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Rows of a part under the numbers of the whole index.
struct Numbered {
    rows: Box<dyn Rows>,
    first: u32,
}

impl Rows for Numbered {
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        let row = self.rows.next_row()?;
        Ok(row.map(|mut row| {
            row.pack += self.first;
            row
        }))
    }
}

//! Scrubbing: reading every object of a place within a period, a share at each call.
//!
//! What was read is remembered in the state folder (`repository::scrubbed`), a few seconds' worth at
//! a time, so that a call that is stopped has not read in vain. What to read is the rota's word
//! (`policy::rota`). Reads go past the caches of this machine, and a mismatch is read again before it
//! is called damage. Nothing is written to the place, and nothing is removed.
//!
//! What a scrub does not find is an object that is gone: who looks at names alone misses nothing.
//! That is what `verify` is for.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::error::EngineError;
use super::verify::{HurtSnapshot, Problem, examine_again, list_objects, read_some};
use crate::base::clock::Timestamp;
use crate::base::id::{BlobId, ObjectHash};
use crate::policy::rota::{Budget, Item, Rota};
use crate::policy::window::Windows;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{PackClass, REPO_FMT, index_name, pack_name};
use crate::repository::index::Index;
use crate::repository::scrubbed::{Found, Reading, Scrubbed};
use crate::repository::snapshots::Snapshot;
use crate::repository::{load, needs, snapshots};
use crate::storage::contract::{ObjectName, Stat};

/// Bytes that one request reads at most.
const REQUEST_BYTES: u64 = 4 * 1024 * 1024;
/// After so much it is remembered what was read.
const STRIDE_BYTES: u64 = 256 * 1024 * 1024;
/// And after so many objects.
const STRIDE_OBJECTS: usize = 1024;

/// What a scrub goes by.
#[derive(Clone, Debug)]
pub struct ScrubRequest {
    /// Everything is to be read within this time.
    pub period: Duration,
    /// What this call may cost.
    pub budget: Budget,
    /// No object is begun after this time.
    pub time_max: Option<Duration>,
    /// Objects are begun in these alone.
    pub windows: Option<Windows>,
}

/// What a scrub did.
#[derive(Clone, Debug, Serialize)]
pub struct ScrubOutcome {
    /// Where.
    pub target: String,
    /// Objects that are there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects read by this call.
    pub read: u64,
    /// Bytes of them.
    pub read_bytes: u64,
    /// Objects that were not read within the period, or never.
    pub overdue: u64,
    /// When the one was read that was read longest ago: since then every byte was. None while some
    /// never was.
    pub since: Option<Timestamp>,
    /// How many seconds a round takes at the pace of this call, when its budget makes that longer
    /// than the period.
    pub round_seconds: Option<u64>,
    /// Objects that are not what they should be, those of earlier calls that still stand among them.
    pub damaged: u64,
    /// Whether it ended, or did not begin, because its windows were over.
    pub outside_windows: bool,
    /// What this call found wrong.
    pub problems: Vec<Problem>,
    /// Snapshots that are hurt by it, when the key was there.
    pub hurt: Vec<HurtSnapshot>,
    /// Snapshots whose every object was read and right, and since when.
    pub proven: Vec<Proven>,
}

/// A snapshot that was read back as a whole, over one or many calls.
#[derive(Clone, Debug, Serialize)]
pub struct Proven {
    /// Its id.
    pub snapshot: ObjectHash,
    /// When that object of it was read that was read longest ago.
    pub since: Timestamp,
}

/// Reads a share of a place, and says what is known of it then. `memory` is the folder of what was
/// read.
///
/// # Errors
/// When there is no repository, the place stops answering, or the memory can't be written.
pub fn scrub(
    repository: &Repository,
    target: &Target,
    memory: &Path,
    request: &ScrubRequest,
    cx: &Context,
) -> Result<ScrubOutcome, EngineError> {
    let (mut objects, has_format) = list_objects(target)?;
    if !has_format {
        return Err(RepositoryError::NoRepository { place: target.storage.label().to_owned() }.into());
    }
    objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut book = Book::open(repository, target, memory, cx);
    book.scrubbed.keep(objects.iter().map(|stat| &stat.name));
    let began = cx.clock.now();
    let rota = Rota { period: request.period, budget: request.budget, request_bytes: REQUEST_BYTES };
    let items: Vec<Item> = objects.iter().map(|stat| item(stat, &book.scrubbed)).collect();
    let share = rota.share(&items, book.scrubbed.last, began);
    let chosen: Vec<Stat> = share.chosen.iter().filter_map(|at| objects.get(*at).cloned()).collect();
    let mut done = Done::default();
    read(target, &chosen, &mut book, &mut done, request, cx)?;
    // The share of a call that could read nothing is left to the next one.
    if done.read > 0 || !done.is_outside {
        book.scrubbed.last = Some(began);
        book.save()?;
    }
    let mut outcome = summary(target, &objects, &book.scrubbed, request, cx.clock.now());
    outcome.read = count(done.read);
    outcome.read_bytes = done.bytes;
    outcome.round_seconds = share.round.map(|round| round.as_secs());
    outcome.problems = done.problems;
    outcome.outside_windows = done.is_outside;
    if !done.bad.is_empty() {
        outcome.hurt = examine_again(target, repository, &done.bad, cx)?.outcome.hurt;
    }
    outcome.proven = proven(repository, target, &book.scrubbed)?;
    Ok(outcome)
}

fn item(stat: &Stat, scrubbed: &Scrubbed) -> Item {
    let reading = scrubbed.of(&stat.name);
    Item {
        bytes: stat.bytes,
        read_at: reading.map(|reading| reading.at),
        is_doubtful: reading.is_some_and(|reading| reading.is_bad),
    }
}

/// What was read, and where that is kept.
struct Book<'a> {
    scrubbed: Scrubbed,
    path: std::path::PathBuf,
    repository: &'a Repository,
}

impl<'a> Book<'a> {
    fn open(repository: &'a Repository, target: &Target, memory: &Path, cx: &Context) -> Self {
        let path = Scrubbed::path(memory, &repository.id(), target.storage.label());
        let scrubbed = match Scrubbed::load(&path, &repository.id()) {
            Found::Known(scrubbed) => scrubbed,
            Found::None => Scrubbed::default(),
            Found::Lost => {
                cx.progress.warn(format!(
                    "what was read at {} before cannot be told any more: everything counts as unread",
                    target.name
                ));
                Scrubbed::default()
            }
        };
        Self { scrubbed, path, repository }
    }

    fn save(&self) -> Result<(), EngineError> {
        self.scrubbed
            .save(&self.path, &self.repository.id())
            .map_err(|source| EngineError::Memory { path: self.path.clone(), source })
    }
}

/// What this call read.
#[derive(Default)]
struct Done {
    read: usize,
    bytes: u64,
    problems: Vec<Problem>,
    bad: HashSet<ObjectName>,
    /// Whether the windows were over.
    is_outside: bool,
}

fn read(
    target: &Target,
    chosen: &[Stat],
    book: &mut Book<'_>,
    done: &mut Done,
    request: &ScrubRequest,
    cx: &Context,
) -> Result<(), EngineError> {
    let bytes = chosen.iter().map(|stat| stat.bytes).sum();
    cx.progress.phase(&format!("scrub {}", target.name), Some(count(chosen.len())), Some(bytes));
    let until = request.time_max.map(|most| cx.clock.monotonic() + most);
    for stride in strides(chosen) {
        if until.is_some_and(|until| cx.clock.monotonic() >= until) {
            break;
        }
        let at = cx.clock.now();
        if request.windows.as_ref().is_some_and(|windows| !windows.hold(at)) {
            done.is_outside = true;
            break;
        }
        let some = read_some(target, stride, cx)?;
        for name in &some.read {
            book.scrubbed.note(name, Reading { at, is_bad: some.bad.contains(name) });
        }
        done.read += some.read.len();
        done.bytes += some.bytes;
        done.problems.extend(some.problems);
        done.bad.extend(some.bad);
        book.save()?;
    }
    cx.progress.phase_finished("scrub");
    Ok(())
}

/// Stretches that are read between two notes of what was read.
fn strides(chosen: &[Stat]) -> impl Iterator<Item = &[Stat]> {
    let mut rest = chosen;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |stat: &&Stat| {
            let fits = bytes < STRIDE_BYTES;
            bytes += stat.bytes;
            fits
        };
        let len = rest.iter().take(STRIDE_OBJECTS).take_while(fits).count();
        let (stride, later) = rest.split_at(len);
        rest = later;
        (!stride.is_empty()).then_some(stride)
    })
}

fn summary(
    target: &Target,
    objects: &[Stat],
    scrubbed: &Scrubbed,
    request: &ScrubRequest,
    now: Timestamp,
) -> ScrubOutcome {
    let readings: Vec<Option<Reading>> = objects.iter().map(|stat| scrubbed.of(&stat.name)).collect();
    let is_overdue =
        |reading: &Option<Reading>| reading.is_none_or(|reading| now.since(reading.at) > request.period);
    let all_read = readings.iter().all(Option::is_some);
    let oldest = readings.iter().flatten().map(|reading| reading.at).min();
    ScrubOutcome {
        target: target.name.clone(),
        objects: count(objects.len()),
        bytes: objects.iter().map(|stat| stat.bytes).sum(),
        read: 0,
        read_bytes: 0,
        overdue: count(readings.iter().filter(|reading| is_overdue(reading)).count()),
        since: oldest.filter(|_| all_read),
        round_seconds: None,
        damaged: count(readings.iter().flatten().filter(|reading| reading.is_bad).count()),
        outside_windows: false,
        problems: Vec::new(),
        hurt: Vec::new(),
        proven: Vec::new(),
    }
}

/// The snapshots whose packs, runs, own objects and `repo.fmt` were all read and right.
fn proven(repository: &Repository, target: &Target, scrubbed: &Scrubbed) -> Result<Vec<Proven>, EngineError> {
    let (found, _) = snapshots::load_all(repository, target)?;
    let index = load::load(repository, std::slice::from_ref(target))?.index;
    let listed = needs::listed(target)?;
    let mut proven = Vec::new();
    for snapshot in &found {
        let Ok(packs) = packs_now(repository, target, &index, &listed, snapshot) else { continue };
        let own = [snapshot.name.proposal(), snapshot.name.confirmation(), REPO_FMT.clone()];
        let runs = snapshot.body.index_runs.iter().map(|id| index_name(0, id));
        let packs = packs.iter().map(|(class, hash)| pack_name(*class, hash));
        let mut since: Option<Timestamp> = None;
        let is_right = own.into_iter().chain(runs).chain(packs).all(|name| {
            let right = scrubbed.of(&name).filter(|reading| !reading.is_bad);
            since = right.map(|reading| since.map_or(reading.at, |since| since.min(reading.at))).or(since);
            right.is_some()
        });
        proven.extend(since.filter(|_| is_right).map(|since| Proven { snapshot: snapshot.id, since }));
    }
    Ok(proven)
}

/// The packs that a snapshot needs: its pack set, and where a sweep has moved some of it, where that
/// lies now.
fn packs_now(
    repository: &Repository,
    target: &Target,
    index: &Index,
    listed: &HashSet<ObjectHash>,
    snapshot: &Snapshot,
) -> Result<BTreeSet<(PackClass, ObjectHash)>, RepositoryError> {
    let packs = needs::packs_of(repository, target, index, snapshot)?;
    if packs.iter().all(|(_, hash)| listed.contains(hash)) {
        return Ok(packs);
    }
    let home = |id: &BlobId| needs::lowest(index, &snapshot.writer, &|hash| listed.contains(hash), id);
    needs::packs_now(repository, target, index, snapshot, &home)
}

impl ScrubOutcome {
    /// Whether everything that was ever read is right.
    pub fn is_clean(&self) -> bool {
        self.damaged == 0 && self.problems.is_empty()
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

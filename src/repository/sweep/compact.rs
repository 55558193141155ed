//! Joining index runs: hourly backups leave 8,760 a year, and whoever starts without a cache reads
//! each of them.
//!
//! Runs are joined eight at a time by size, so that a blob's entry is rewritten once for each
//! power of eight. A run goes only when another one that says everything it says is durable:
//! every pack with all its rows, every moved pack, those of packs that are gone as well (entries are
//! hints). The run that covers it is older than its removal and younger than it, so that the runs
//! which cover each other form no ring: whatever goes, whoever joins at the same time and wherever
//! it stops, what any run ever said stands in a run that is there. So no grace, no plan and no look
//! at snapshots is needed, and what was listed before a pack was copied back still lists it.

use std::collections::HashMap;

use bytes::Bytes;

use super::SweepError;
use super::steps::{Step, Sweeping};
use super::sweeper::Report;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::ObjectHash;
use crate::repository::format::index_run::{ENTRIES_MAX, IndexRun, PACKS_MAX, RunEntry};
use crate::repository::format::names::{index_name, parse_index_name};
use crate::repository::load;
use crate::storage::contract::{ObjectName, Stat};

/// Bytes of the smallest class of runs; each further class is eight times as large.
const SMALL_BYTES: u64 = 64 * 1024;
const FACTOR: u64 = 8;
/// Bytes of runs that are joined at once, at most: they are in memory together.
const JOINED_BYTES_MAX: u64 = 24 * 1024 * 1024;
/// Moved packs that one run names, at most.
const MOVED_MAX: usize = 262_144;

/// The runs to join, by how many of one size there must be.
///
/// Pure: from names and lengths.
fn groups(listed: &[Stat], join_at: usize) -> Vec<Vec<Stat>> {
    let mut classes: HashMap<u32, Vec<Stat>> = HashMap::new();
    for stat in listed {
        let mut class = 0;
        let mut bound = SMALL_BYTES;
        while stat.bytes > bound {
            class += 1;
            bound = bound.saturating_mul(FACTOR);
        }
        classes.entry(class).or_default().push(stat.clone());
    }
    let mut groups = Vec::new();
    for (_, mut runs) in classes {
        if runs.len() < join_at.max(2) {
            continue;
        }
        runs.sort_by(|a, b| a.name.cmp(&b.name));
        let (mut group, mut bytes) = (Vec::new(), 0);
        for run in runs {
            if !group.is_empty() && bytes + run.bytes > JOINED_BYTES_MAX {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += run.bytes;
            group.push(run);
        }
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1);
    groups.sort_by(|a, b| a[0].name.cmp(&b[0].name));
    groups
}

/// The runs that a target lists.
fn listed(cx: &Sweeping<'_>) -> Result<Vec<Stat>, SweepError> {
    let mut runs = Vec::new();
    for stat in crate::storage::contract::list_all(cx.target.storage.as_ref(), "i/")? {
        if parse_index_name(&stat.name).is_some() {
            runs.push(stat);
        }
    }
    Ok(runs)
}

/// Joins the runs of a target until of no size there are `join_at` or more.
///
/// # Errors
/// Whatever the target says. What was done is in the report then, too.
pub fn compact(cx: &Sweeping<'_>, join_at: usize, report: &mut Report) -> Result<(), SweepError> {
    // Each round makes fewer runs of the ones there are.
    let mut last = usize::MAX;
    loop {
        let runs = unlocked(cx, listed(cx)?)?;
        let groups = groups(&runs, join_at);
        if groups.is_empty() || runs.len() >= last {
            return Ok(());
        }
        last = runs.len();
        let index = load::load(cx.repository, std::slice::from_ref(cx.target))?.index;
        for group in groups {
            cx.check()?;
            let mut sources: Vec<(ObjectName, IndexRun)> = Vec::new();
            for stat in group {
                let Some((_, id)) = parse_index_name(&stat.name) else { continue };
                match index.run(&id) {
                    Ok(Some(run)) => sources.push((stat.name, run)),
                    // Gone since it was listed.
                    Ok(None) => {}
                    // Damaged: it stays, and `verify` names it.
                    Err(error) if error.class() == Class::Damage => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if !join(cx, sources, report)? {
                return Ok(());
            }
        }
    }
}

/// Without those that a lock keeps: joined, they would stand beside what they became.
fn unlocked(cx: &Sweeping<'_>, runs: Vec<Stat>) -> Result<Vec<Stat>, SweepError> {
    let guard = cx.target.storage.guard().filter(|guard| guard.rule().is_some());
    let Some(guard) = guard else { return Ok(runs) };
    let now = cx.clock.now();
    let mut free = Vec::new();
    for stat in runs {
        if guard.lock_of(&stat.name)?.is_none_or(|lock| lock.until <= now) {
            free.push(stat);
        }
    }
    Ok(free)
}

/// Writes what fits into one run and deletes what is in it. `false` when there is no room for it.
fn join(
    cx: &Sweeping<'_>,
    sources: Vec<(ObjectName, IndexRun)>,
    report: &mut Report,
) -> Result<bool, SweepError> {
    let mut joined = Joined::default();
    let mut names = Vec::new();
    for (name, run) in sources {
        if joined.takes(&run) {
            joined.add(run);
            names.push(name);
        }
    }
    if names.len() < 2 {
        return Ok(true);
    }
    let signer = cx.repository.admin().map_err(|_| SweepError::NotAdmin)?;
    let run = joined.finish();
    let sealed = run.seal(&cx.repository.id(), &signer, cx.repository.keys());
    let (bytes, id) = sealed.map_err(crate::repository::error::RepositoryError::from)?;
    let storage = cx.target.storage.as_ref();
    match storage.put_new(&index_name(0, &id), Bytes::from(bytes)) {
        Ok(_) => {}
        Err(error) if error.class() == Class::NoSpace => {
            cx.progress.note(format!("{}: index runs are not joined: {error}", cx.target.name));
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    // What they say is durable before the first of them goes.
    storage.sync()?;
    cx.reached(Step::RunsJoined)?;
    report.runs_written += 1;
    for name in names.iter().filter(|name| **name != index_name(0, &id)) {
        match storage.delete(name) {
            Ok(()) => report.runs_joined += 1,
            Err(error) if error.class() == Class::Denied => {
                report.refused.push(format!("{name}: {}", Chain(&error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    storage.sync()?;
    Ok(true)
}

/// Several runs as one.
#[derive(Default)]
struct Joined {
    run: IndexRun,
    numbers: HashMap<ObjectHash, u32>,
}

impl Joined {
    fn takes(&self, run: &IndexRun) -> bool {
        self.run.entries.len() + run.entries.len() <= ENTRIES_MAX
            && self.run.packs.len() + run.packs.len() <= PACKS_MAX
            && self.run.moved.len() + run.moved.len() <= MOVED_MAX
    }

    fn add(&mut self, run: IndexRun) {
        let mut numbers = Vec::with_capacity(run.packs.len());
        for pack in run.packs {
            let next = u32::try_from(self.run.packs.len()).unwrap_or(u32::MAX);
            let number = *self.numbers.entry(pack.hash).or_insert(next);
            if number == next {
                self.run.packs.push(pack);
            }
            numbers.push(number);
        }
        let renumbered = run.entries.into_iter().filter_map(|entry| {
            let pack = *numbers.get(usize::try_from(entry.pack).ok()?)?;
            Some(RunEntry { pack, ..entry })
        });
        self.run.entries.extend(renumbered);
        self.run.moved.extend(run.moved);
    }

    fn finish(mut self) -> IndexRun {
        self.run.entries.sort_unstable();
        self.run.entries.dedup();
        self.run.moved.sort_unstable();
        self.run.moved.dedup();
        self.run
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::{BlobId, WriterId};
    use crate::repository::format::index_run::RunPack;
    use crate::repository::format::names::PackClass;

    fn stat(number: u32, bytes: u64) -> Stat {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Stat { name: index_name(0, &ObjectHash::new(id)), bytes, modified: Timestamp::default() }
    }

    /// Hour after hour a run, joined each day: few stand, and each entry was rewritten a few times.
    #[test]
    fn a_year_of_hourly_runs_stays_a_few_dozen_and_is_rewritten_a_few_times() {
        let (mut runs, mut most, mut written, mut next) = (Vec::new(), 0, 0u64, 0);
        let mut stored = 0u64;
        for _day in 0..365 {
            for _hour in 0..24 {
                runs.push(stat(next, 12_000));
                stored += 12_000;
                next += 1;
            }
            loop {
                let groups = groups(&runs, 8);
                if groups.is_empty() {
                    break;
                }
                for group in groups {
                    runs.retain(|run| !group.iter().any(|joined| joined.name == run.name));
                    let bytes = group.iter().map(|run| run.bytes).sum();
                    written += bytes;
                    runs.push(stat(next, bytes));
                    next += 1;
                }
            }
            most = most.max(runs.len());
        }
        assert!(most < 40, "{most} runs");
        assert!(written < 6 * stored, "{} times", written / stored);
    }

    fn run(blobs: &[(u8, u8)]) -> IndexRun {
        let mut run = IndexRun::default();
        for (pack, blob) in blobs {
            let hash = ObjectHash::new([*pack; 32]);
            let number = run.packs.iter().position(|known| known.hash == hash).unwrap_or_else(|| {
                let signer = WriterId::new([1; 16]);
                run.packs.push(RunPack { hash, class: PackClass::Data, signer, bytes: 100, foot_offset: 50 });
                run.packs.len() - 1
            });
            let pack = u32::try_from(number).expect("few");
            run.entries.push(RunEntry {
                id: BlobId::new([*blob; 32]),
                pack,
                ordinal: u32::from(*blob),
                stored_bytes: 7,
            });
            run.moved.push((ObjectHash::new([*blob; 32]), hash));
        }
        run.entries.sort_unstable();
        run.entries.dedup();
        run.moved.sort_unstable();
        run.moved.dedup();
        run
    }

    /// Everything that a run says, without its numbers.
    fn says(run: &IndexRun) -> std::collections::BTreeSet<(BlobId, ObjectHash, u32)> {
        let pack = |entry: &RunEntry| run.packs[usize::try_from(entry.pack).expect("small")].hash;
        run.entries.iter().map(|entry| (entry.id, pack(entry), entry.ordinal)).collect()
    }

    proptest! {
        #[test]
        fn a_joined_run_says_all_that_its_sources_say_and_no_more(
            sources in prop::collection::vec(prop::collection::vec((0u8..6, 0u8..40), 1..20), 1..9),
        ) {
            let sources: Vec<IndexRun> = sources.iter().map(|blobs| run(blobs)).collect();
            let mut joined = Joined::default();
            for source in &sources {
                prop_assert!(joined.takes(source));
                joined.add(source.clone());
            }
            let joined = joined.finish();
            let all: std::collections::BTreeSet<_> = sources.iter().flat_map(says).collect();
            prop_assert_eq!(says(&joined), all);
            let moved: std::collections::BTreeSet<_> = sources.iter().flat_map(|run| run.moved.clone()).collect();
            prop_assert_eq!(joined.moved.iter().copied().collect::<std::collections::BTreeSet<_>>(), moved);
            let packs: std::collections::BTreeSet<_> = joined.packs.iter().map(|pack| pack.hash).collect();
            prop_assert_eq!(packs.len(), joined.packs.len(), "each pack once");
            prop_assert!(joined.entries.is_sorted_by(|a, b| a < b));
        }
    }
}

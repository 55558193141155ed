//! Index runs that are joined: few stand, whoever comes finds everything, and whatever happens in
//! between nothing that a run said is lost.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::stage::{At, Case};
use crate::engine::backup::tests::stage::target;
use crate::engine::prune::PruneRequest;
use crate::repository::load;
use crate::repository::sweep::{NoSteps, Step};
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;

/// So many backups, each with something new.
fn hourly(backups: u64) -> Case {
    let case = Case::new();
    for number in 0..backups {
        case.write("hourly", 5000 + number);
        case.backup();
    }
    case
}

/// A storage at which something happens once: after the first listing of the index runs, or before
/// the first object of this kind is put.
struct Meanwhile<'f> {
    memory: Arc<MemoryStorage>,
    puts: Option<&'static str>,
    deed: Mutex<Option<Box<dyn FnOnce() + Send + 'f>>>,
    gets: std::sync::atomic::AtomicU64,
}

impl Storage for Meanwhile<'_> {
    fn label(&self) -> &str {
        self.memory.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        if self.puts.is_some_and(|kind| name.as_str().starts_with(kind)) {
            self.happen();
        }
        self.memory.put_new(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.gets.fetch_add(u64::from(name.as_str().starts_with("i/")), std::sync::atomic::Ordering::SeqCst);
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.memory.list(prefix, visit)?;
        if prefix == "i/" && self.puts.is_none() {
            self.happen();
        }
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.memory.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Meanwhile<'_> {
    fn happen(&self) {
        let deed = self.deed.lock().expect("nobody panics").take();
        if let Some(deed) = deed {
            deed();
        }
    }
}

type Deed = Box<dyn FnOnce() + Send + 'static>;

fn watched(case: &Case, puts: Option<&'static str>, deed: Option<Deed>) -> Arc<Meanwhile<'static>> {
    let memory = case.memory.clone();
    Arc::new(Meanwhile { memory, puts, deed: Mutex::new(deed), gets: Default::default() })
}

/// Requests for runs that a machine without a cache sends.
fn cold_requests(case: &Case) -> u64 {
    let storage = watched(case, None, None);
    let loaded = load::load(&case.stage.repository, &[target(storage.clone())]).expect("loaded");
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    storage.gets.load(std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn many_small_runs_become_few_and_a_cold_start_asks_for_few() {
    let case = hourly(40);
    let before = cold_requests(&case);
    assert!(before >= 41, "{before}");
    let gentle = PruneRequest { join_runs_at: PruneRequest::JOIN_RUNS_AT, ..Case::request() };
    let outcome = case.prune(&gentle).expect("pruned");
    let done = &outcome.targets[0].done;
    assert!(done.runs_joined >= 40 && done.runs_written >= 1, "{done:#?}");
    let after = cold_requests(&case);
    println!("a cold start asks for {before} runs, and for {after} after a prune");
    assert!(after < 16, "{after}");
    assert_eq!(case.is_whole("joined"), 41);
    // Everything is found: nothing is stored again but the snapshot's own metadata.
    let packs = case.count("p/");
    case.backup();
    assert_eq!(case.count("p/"), packs);
    case.settle("afterwards");
    case.is_whole("settled");
}

#[test]
fn a_reader_whose_listing_is_older_than_a_join_finds_everything() {
    let case = Arc::new(hourly(5));
    let pruner = case.clone();
    let storage =
        watched(&case, None, Some(Box::new(move || drop(pruner.prune(&Case::request()).expect("pruned")))));
    let loaded = load::load(&case.stage.repository, &[target(storage)]).expect("loaded");
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    let now = load::load(&case.stage.repository, &[target(case.storage())]).expect("loaded");
    assert_eq!(loaded.index.blobs(), now.index.blobs());
}

#[test]
fn a_backup_whose_runs_are_joined_before_it_commits_goes_over_the_source_once() {
    let case = hourly(5);
    let runs = case.count("i/");
    case.write("hourly", 7777);
    let case = Arc::new(case);
    let pruner = case.clone();
    // What it found at its start is joined away just before its snapshot is proposed.
    let deed: Deed = Box::new(move || {
        pruner.prune(&Case::request()).expect("pruned");
        assert!(pruner.count("i/") < runs, "joined");
    });
    let storage = watched(&case, Some("m/"), Some(deed));
    let kind = crate::repository::format::snapshot::SnapshotKind::Full;
    let place: Arc<dyn Storage> = storage.clone();
    let outcome = case.stage.backup(&[place], kind).expect("backed up");
    assert!(storage.deed.lock().expect("nobody panics").is_none(), "it happened");
    assert!(outcome.targets.iter().all(|target| target.complete), "{outcome:#?}");
    assert!(outcome.stats.bytes_new < 1_000_000, "what was found is not stored anew: {outcome:#?}");
    case.is_whole("committed");
}

#[test]
fn two_that_join_at_once_and_one_that_stops_lose_nothing() {
    let case = hourly(9);
    let whole = case.is_whole("before");
    let both = At::new(u64::MAX, &|_| Ok(()));
    case.prune_at(case.storage(), &PruneRequest { join_runs_at: usize::MAX, ..Case::request() }, &both)
        .expect("pruned");
    let steps = both.reached();
    // The next step of a prune that joins is the joined run's.
    let other = |step: Step| {
        if step == Step::RunsJoined {
            case.write("hourly", 8888);
            case.backup();
            case.prune(&Case::request()).expect("the other one");
        }
        Ok(())
    };
    for number in 1..=steps + 2 {
        let at = At::new(number, &other);
        case.prune_at(case.storage(), &Case::request(), &at).expect("pruned");
    }
    let stop = |step: Step| match step {
        Step::RunsJoined => Err(crate::repository::error::RepositoryError::Cancelled),
        _ => Ok(()),
    };
    for number in 9000..9003 {
        case.write("hourly", number);
        case.backup();
    }
    for number in 1..=steps + 2 {
        let at = At::new(number, &stop);
        drop(case.prune_at(case.storage(), &Case::request(), &at));
        assert!(case.is_whole("stopped") >= whole + 3);
    }
    case.prune_at(case.storage(), &Case::request(), &NoSteps).expect("pruned");
    assert!(case.count("i/") < 4, "{} runs are left", case.count("i/"));
    assert!(case.is_whole("after") >= whole + 3);
}

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

/// A storage at which something happens after the first listing of the index runs.
struct Meanwhile<'f> {
    memory: Arc<MemoryStorage>,
    deed: Mutex<Option<Box<dyn FnOnce() + Send + 'f>>>,
    gets: std::sync::atomic::AtomicU64,
}

impl Storage for Meanwhile<'_> {
    fn label(&self) -> &str {
        self.memory.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
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
        if prefix == "i/"
            && let Some(deed) = self.deed.lock().expect("nobody panics").take()
        {
            deed();
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

fn watched(case: &Case, deed: Option<Box<dyn FnOnce() + Send + 'static>>) -> Arc<Meanwhile<'static>> {
    Arc::new(Meanwhile { memory: case.memory.clone(), deed: Mutex::new(deed), gets: Default::default() })
}

/// Requests for runs that a machine without a cache sends.
fn cold_requests(case: &Case) -> u64 {
    let storage = watched(case, None);
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
        watched(&case, Some(Box::new(move || drop(pruner.prune(&Case::request()).expect("pruned")))));
    let loaded = load::load(&case.stage.repository, &[target(storage)]).expect("loaded");
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    let now = load::load(&case.stage.repository, &[target(case.storage())]).expect("loaded");
    assert_eq!(loaded.index.blobs(), now.index.blobs());
}

#[test]
fn a_backup_whose_runs_are_joined_before_it_commits_goes_over_the_source_once() {
    let case = hourly(5);
    let packs = case.count("p/");
    case.write("hourly", 7777);
    let case = Arc::new(case);
    let pruner = case.clone();
    // The first listing is the start's; what it found is joined away at once.
    let storage =
        watched(&case, Some(Box::new(move || drop(pruner.prune(&Case::request()).expect("pruned")))));
    let kind = crate::repository::format::snapshot::SnapshotKind::Incremental;
    let outcome = case.stage.backup(&[storage], kind).expect("backed up");
    assert!(outcome.targets.iter().all(|target| target.complete), "{outcome:#?}");
    assert!(case.count("p/") <= packs + 2, "what was found at the start is not stored anew");
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

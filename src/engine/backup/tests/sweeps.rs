//! Plans, sweeps and forgetting between each two operations of a backup: its snapshot is valid and
//! complete afterwards, or it was never confirmed.

use std::sync::{Arc, Mutex};

use super::stage::{Deed, Meddled, Stage, draw, packs, snapshots, target};
use crate::base::error::{Class, Classified};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::sync;
use crate::repository::access::Target;
use crate::repository::error::RepositoryError;
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::{ObjectName, Read, Span, Storage, list_all};
use crate::storage::memory::MemoryStorage;

/// How the snapshot that is there goes away while the new one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forget {
    /// It was gone before.
    Before,
    /// Confirmation first, then the object.
    Direct,
    /// By a request that is in force at once.
    Request,
    /// It stays.
    Never,
}

/// When things happen, in operations of the backup.
#[derive(Clone, Copy, Debug)]
struct Times {
    forget: u64,
    plan: u64,
    look: u64,
    delete: u64,
    end: u64,
}

impl Times {
    /// All at one moment.
    fn at(moment: u64) -> Self {
        Self { forget: moment, plan: moment, look: moment, delete: moment, end: moment }
    }

    /// In their order, anywhere.
    fn drawn(seed: &mut u64, operations: u64) -> Self {
        let mut moments = [0; 5].map(|_: u64| draw(seed, operations + 2) + 1);
        moments.sort_unstable();
        let [forget, plan, look, delete, end] = moments;
        Self { forget, plan, look, delete, end }
    }
}

fn forget(stage: &Stage, memory: &MemoryStorage, how: Forget) {
    let (proposals, confirmed) = snapshots(memory);
    for old in proposals.iter().filter(|proposal| confirmed.contains(*proposal)).take(1) {
        match how {
            Forget::Before | Forget::Direct => {
                memory.delete(&old.confirmation()).expect("deleted");
                memory.delete(&old.proposal()).expect("deleted");
            }
            Forget::Request => {
                stage.request(memory, &old.id);
            }
            Forget::Never => {}
        }
    }
}

/// One backup with everything at its time, and what must hold afterwards.
fn play(stage: &Arc<Stage>, kind: SnapshotKind, how: Forget, times: Times) -> u64 {
    let case = format!("{kind:?} {how:?} {times:?}");
    let memory = stage.fresh();
    let storage = Arc::new(Meddled::new(memory.clone()));
    let victims = packs(&memory);
    let doomed: Arc<Mutex<Vec<ObjectName>>> = Arc::default();
    let old = snapshots(&memory).0.into_iter().map(|proposal| proposal.id).next();
    if how != Forget::Before {
        let by = Arc::clone(stage);
        storage.before(times.forget, Box::new(move |memory| forget(&by, memory, how)));
    }
    let by = Arc::clone(stage);
    storage.before(
        times.plan,
        Box::new(move |memory| {
            // Whatever is pending is condemned, too: it may be older than any wait.
            let (proposals, confirmed) = snapshots(memory);
            let pending = proposals.iter().filter(|proposal| !confirmed.contains(*proposal));
            by.plan(memory, victims, pending.map(|p| p.proposal().to_string()).collect());
        }),
    );
    let (by, seen) = (Arc::clone(stage), Arc::clone(&doomed));
    let look: Deed = Box::new(move |memory| *seen.lock().expect("nobody panics") = by.look(memory));
    storage.before(times.look, look);
    storage.before(
        times.delete,
        Box::new(move |memory| {
            for object in doomed.lock().expect("nobody panics").iter() {
                memory.delete(object).expect("deleted");
            }
        }),
    );
    let by = Arc::clone(stage);
    storage.before(times.end, Box::new(move |memory| by.end_plans(memory)));

    let storages: [Arc<dyn Storage>; 1] = [storage.clone()];
    let result = stage.backup(&storages, kind);
    let operations = storage.operations();
    storage.let_the_rest_happen();
    for _ in 0..2 {
        for object in stage.look(&memory) {
            memory.delete(&object).expect("deleted");
        }
        stage.end_plans(&memory);
    }
    let valid = stage.check(&memory, &case);
    match result {
        Ok(outcome) => assert!(valid.contains(&outcome.snapshot), "{case}: reported and not valid"),
        Err(EngineError::Repository(RepositoryError::Busy { .. })) => {}
        // A parent whose listing went away in the middle: the run fails, nothing is confirmed.
        Err(error) => {
            assert!(matches!(error.class(), Class::Damage | Class::NotFound), "{case}: {error}");
            assert!(valid.iter().all(|id| Some(*id) == old), "{case}: failed and valid: {valid:?}");
        }
    }
    operations
}

fn scenario(how: Forget, kind: SnapshotKind, seed: u64) {
    let stage = Stage::new();
    let first = stage.fresh();
    let storages: [Arc<dyn Storage>; 1] = [first.clone()];
    stage.backup(&storages, SnapshotKind::Full).expect("the first backup");
    if how == Forget::Before {
        forget(&stage, &first, how);
    }
    stage.keep(&first);
    std::fs::write(stage.source.path().join("changed"), b"since").expect("written");
    let operations = play(&stage, kind, how, Times::at(u64::MAX));
    // A whole sweep at each moment; one that looks and deletes later; one that finds the parent gone.
    for first in 1..=operations {
        for later in first..=operations {
            play(&stage, kind, how, Times { delete: later, end: later, ..Times::at(first) });
            play(&stage, kind, how, Times { forget: first, ..Times::at(later) });
        }
    }
    let mut state = seed;
    for _ in 0..rounds() {
        let times = Times::drawn(&mut state, operations);
        play(&stage, kind, how, times);
    }
}

/// How many drawn histories a scenario has; the figures of a failure are in its message.
fn rounds() -> u32 {
    std::env::var("LIFEBOAT_TEST_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn a_sweep_of_dead_packs_that_a_backup_hits_loses_nothing() {
    scenario(Forget::Before, SnapshotKind::Incremental, 1);
}

#[test]
fn a_parent_that_is_forgotten_and_swept_during_a_backup_loses_nothing() {
    scenario(Forget::Direct, SnapshotKind::Incremental, 2);
    scenario(Forget::Request, SnapshotKind::Incremental, 3);
}

#[test]
fn a_sweep_that_condemns_a_proposal_never_removes_a_reported_snapshot() {
    scenario(Forget::Never, SnapshotKind::Incremental, 4);
    scenario(Forget::Never, SnapshotKind::Full, 5);
}

/// A sync to a place at which everything that is there is condemned before one operation and
/// deleted before a later one. Says how many operations it took.
fn play_sync(stage: &Arc<Stage>, from: &Target, keyed: bool, first: u64, later: u64) -> u64 {
    let case = format!("keyed {keyed}, condemned before {first}, deleted before {later}");
    let memory = stage.fresh();
    let storage = Arc::new(Meddled::new(memory.clone()));
    let doomed: Arc<Mutex<Vec<ObjectName>>> = Arc::default();
    let (by, seen) = (Arc::clone(stage), Arc::clone(&doomed));
    storage.before(
        first,
        Box::new(move |memory| {
            let (proposals, confirmed) = snapshots(memory);
            let pending = proposals.iter().filter(|proposal| !confirmed.contains(*proposal));
            let pending = pending.map(|p| p.proposal().to_string()).collect();
            by.plan(memory, packs(memory), pending);
            *seen.lock().expect("nobody panics") = by.look(memory);
        }),
    );
    let by = Arc::clone(stage);
    storage.before(
        later,
        Box::new(move |memory| {
            for object in doomed.lock().expect("nobody panics").iter() {
                memory.delete(object).expect("deleted");
            }
            by.end_plans(memory);
        }),
    );
    let to = target(storage.clone());
    let cx = Context { clock: stage.clock.clone(), ..Context::quiet() };
    let synced = match keyed {
        true => sync::sync(&stage.repository.with_targets(vec![from.clone()]), from, &to, &cx),
        false => sync::sync_keyless(from, &to, &cx),
    };
    let operations = storage.operations();
    storage.let_the_rest_happen();
    let valid = stage.check(&memory, &case);
    let copied = synced.unwrap_or_else(|error| panic!("{case}: {error}")).snapshots_copied;
    assert!(valid.len() as u64 >= copied, "{case}: {copied} reported and {} valid", valid.len());
    operations
}

#[test]
fn a_sweep_during_a_sync_leaves_no_snapshot_that_is_not_whole() {
    let stage = Stage::new();
    let source = stage.fresh();
    let storages: [Arc<dyn Storage>; 1] = [source.clone()];
    stage.backup(&storages, SnapshotKind::Full).expect("the first backup");
    // The other place has the packs still, and no snapshot any more.
    let emptied = Arc::new(MemoryStorage::new());
    for stat in list_all(source.as_ref(), "").expect("listed") {
        if !stat.name.as_str().starts_with("s/") {
            let bytes = source.get(&stat.name, Span::Whole, Read::Quick).expect("read");
            emptied.put_new(&stat.name, bytes).expect("put");
        }
    }
    stage.keep(&emptied);
    let from = target(source);
    for keyed in [true, false] {
        let operations = play_sync(&stage, &from, keyed, u64::MAX, u64::MAX);
        for first in 1..=operations {
            for later in first..=operations {
                play_sync(&stage, &from, keyed, first, later);
            }
        }
    }
}

//! Several places: sweeps at one of them while a backup or a sync goes on.

use std::sync::{Arc, Mutex};

use super::script::{Answer, Op, Scene, Scripted, at_each, forget_newest, greedy, prune_and_end};
use crate::engine::backup::tests::stage::{packs, snapshots, target};
use crate::engine::error::EngineError;
use crate::engine::prune::tests::stage::Case;
use crate::engine::sync::{SyncOutcome, sync};
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::Storage;
use crate::storage::memory::MemoryStorage;

/// The same repository at another place.
fn elsewhere(case: &Case, memory: Arc<MemoryStorage>) -> Arc<Case> {
    Arc::new(Case { stage: case.stage.clone(), memory, wrong: Mutex::default() })
}

fn sync_to(from: &Case, to: Arc<dyn Storage>) -> Result<SyncOutcome, EngineError> {
    sync(&from.stage.repository, &target(from.storage()), &target(to), &from.cx())
}

#[test]
fn interleaving_15_packs_condemned_or_missing_at_one_of_two_places() {
    let scene = Scene::new();
    for missing in [false, true] {
        at_each(|number| {
            let (here, there) = (scene.case(), scene.case());
            let what = format!("swept there before operation {number}, everything missing there: {missing}");
            let other = there.clone();
            let storage = Scripted::at(&there.memory, number, move || {
                if missing {
                    forget_newest(&other);
                }
                other.stage.plan(&other.memory, packs(&other.memory), Vec::new());
                other.prune(&greedy()).expect("pruned");
            });
            let places: [Arc<dyn Storage>; 2] = [here.storage(), storage.clone()];
            let outcome = here.stage.backup(&places, SnapshotKind::Incremental);
            // Here nothing happened: it is a backup here. There it is whole, or not one.
            assert!(outcome.is_ok(), "{what}: {outcome:?}");
            here.has(2, &what);
            let found = there.is_whole(&what);
            assert!(found <= 2, "{what}: {found}");
            storage.calls()
        });
    }
}

#[test]
fn interleaving_15_a_sync_against_a_sweep_a_forget_a_second_sync_or_its_own_death() {
    let scene = Scene::new();
    let source = scene.case();
    source.backup();
    type Deed = fn(&Case, &Case);
    let deeds: [(&str, Deed); 3] = [
        ("swept", |_, there| {
            there.stage.plan(&there.memory, packs(&there.memory), Vec::new());
            there.prune(&greedy()).expect("pruned");
        }),
        ("forgotten here", |here, _| forget_newest(here)),
        ("synced twice", |here, there| drop(sync_to(here, there.storage()).expect("synced"))),
    ];
    for (way, deed) in deeds {
        at_each(|number| {
            let from = elsewhere(&source, copy(&source.memory));
            let there = scene.case();
            let what = format!("{way} before operation {number}");
            let (here, other) = (from.clone(), there.clone());
            let storage = Scripted::at(&there.memory, number, move || deed(&here, &other));
            let outcome = sync_to(&from, storage.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = there.is_whole(&what);
            assert!(
                found > u64::from(outcome.failed.is_empty() && way != "forgotten here"),
                "{what}: {found}"
            );
            sync_to(&from, there.storage()).unwrap_or_else(|error| panic!("{what}: {error}"));
            there.is_whole(&what);
            storage.calls()
        });
    }
    at_each(|number| {
        let there = scene.case();
        let what = format!("killed at operation {number}");
        let storage = Scripted::new(&there.memory, move |call| {
            if call.number >= number && call.op != Op::Page { Answer::Dead } else { Answer::Go }
        });
        drop(sync_to(&source, storage.clone()));
        there.is_whole(&what);
        sync_to(&source, there.storage()).unwrap_or_else(|error| panic!("{what}: {error}"));
        there.has(2, &what);
        there.settle(&what);
        there.has(2, &what);
        storage.calls()
    });
}

/// Every object under a new time.
fn copy(memory: &MemoryStorage) -> Arc<MemoryStorage> {
    let copy = MemoryStorage::new();
    for stat in crate::storage::contract::list_all(memory, "").expect("listed") {
        let bytes = memory
            .get(&stat.name, crate::storage::contract::Span::Whole, crate::storage::contract::Read::Quick)
            .expect("read");
        copy.put_new(&stat.name, bytes).expect("put");
    }
    Arc::new(copy)
}

#[test]
fn interleaving_15_a_copied_repository_is_valid_and_can_be_pruned() {
    let scene = Scene::new();
    let copied = elsewhere(&scene.case(), scene.case().stage.fresh_dated());
    copied.has(1, "copied");
    copied.settle("copied");
    copied.has(1, "pruned");
}

#[test]
fn interleaving_15_a_place_that_was_away_for_longer_than_any_wait_is_completed() {
    let scene = Scene::new();
    let (here, there) = (scene.case(), scene.case());
    for round in 0..3 {
        here.write("big-0", 100 + round);
        here.backup();
        here.forget(&snapshots(&here.memory).0[0].id);
        prune_and_end(&here);
    }
    // There everything is as it was: one snapshot, packs that nobody has here any more.
    there.has(1, "away");
    let outcome = sync_to(&here, there.storage()).expect("synced");
    assert!(outcome.failed.is_empty(), "{outcome:#?}");
    there.has(2, "completed");
    here.backup();
    let outcome = sync_to(&here, there.storage()).expect("synced");
    assert!(outcome.failed.is_empty(), "{outcome:#?}");
    prune_and_end(&there);
    there.has(3, "pruned");
}

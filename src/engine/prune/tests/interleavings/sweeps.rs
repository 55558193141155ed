//! Sweepers that are frozen, killed, joined, refused or without room.

use std::sync::Arc;
use std::time::Duration;

use super::script::{
    Answer, Frozen, Op, Scene, Scripted, at_each, at_each_step, backup, forget_newest, greedy, judge,
    prune_and_end,
};
use crate::engine::backup::tests::stage::{packs, snapshots};
use crate::engine::prune::tests::stage::{At, Case};
use crate::storage::contract::{Storage, list_all};

#[test]
fn interleaving_04_a_sweeper_frozen_at_each_step_while_another_ends_and_a_writer_hits() {
    let scene = Scene::new();
    at_each_step(|number| {
        let case = scene.case();
        let what = format!("frozen at step {number}");
        let deed = |_| {
            case.prune(&greedy()).unwrap_or_else(|error| panic!("{what}: {error}"));
            forget_newest(&case);
            case.backup();
            case.prune(&greedy()).unwrap_or_else(|error| panic!("{what}: {error}"));
            Ok(())
        };
        let steps = At::new(number, &deed);
        case.prune_at(case.storage(), &greedy(), &steps).unwrap_or_else(|error| panic!("{what}: {error}"));
        case.has(1, &what);
        case.settle(&what);
        case.has(1, &what);
        steps.reached()
    });
}

#[test]
fn interleaving_05_an_index_run_published_after_its_packs_were_swept() {
    let scene = Scene::new();
    let case = scene.case();
    let writer = case.clone();
    let run = |call: &super::script::Call<'_>| call.op == Op::Put && call.name.starts_with("i/");
    let frozen = Frozen::start(&case.memory, 1, run, move |storage| backup(&writer, storage));
    assert!(frozen.stands(), "a backup publishes a run");
    let before = packs(&case.memory).len();
    prune_and_end(&case);
    assert!(packs(&case.memory).len() < before, "its packs were swept");
    judge(&case, frozen.thaw(), 1, "its run came late");
    // A new run of the same data meets entries of packs that are gone.
    let found = case.is_whole("its run came late");
    judge(&case, backup(&case, case.storage()), found, "afterwards");
    case.settle("afterwards");
}

/// The same new content stored by two writers, who did not see each other: two copies of each blob.
fn two_copies(scene: &Scene) -> Arc<Case> {
    let case = scene.case();
    let writer = case.clone();
    let run = |call: &super::script::Call<'_>| call.op == Op::Put && call.name.starts_with("i/");
    let frozen = Frozen::start(&case.memory, 1, run, move |storage| backup(&writer, storage));
    assert!(frozen.stands(), "a backup publishes a run");
    case.backup();
    frozen.thaw().expect("backed up");
    case
}

#[test]
fn interleaving_06_two_sweepers_in_every_order_where_a_blob_lies_twice() {
    let scene = Scene::new();
    let seed = two_copies(&scene);
    seed.stage.keep(&seed.memory);
    at_each_step(|number| {
        let case = scene.case();
        let what = format!("joined at step {number}");
        // Plans of others for the one copy and for the other.
        for snapshot in snapshots(&case.memory).0 {
            case.stage.plan(&case.memory, case.stage.packs_of(&case.memory, &snapshot), Vec::new());
        }
        let deed = |_| {
            case.prune(&greedy()).unwrap_or_else(|error| panic!("{what}: {error}"));
            Ok(())
        };
        let steps = At::new(number, &deed);
        case.prune_at(case.storage(), &greedy(), &steps).unwrap_or_else(|error| panic!("{what}: {error}"));
        case.has(3, &what);
        steps.reached()
    });
    // Killed at each operation: after the plan, after a pack, after its run, among the deletes.
    at_each(|number| {
        let case = scene.case();
        let what = format!("killed at operation {number}");
        let storage = Scripted::new(&case.memory, move |call| {
            if call.number >= number && call.op != Op::Page { Answer::Dead } else { Answer::Go }
        });
        drop(case.prune_at(storage.clone(), &greedy(), &crate::repository::sweep::NoSteps));
        case.has(3, &what);
        case.prune(&greedy()).unwrap_or_else(|error| panic!("{what}: {error}"));
        case.has(3, &what);
        storage.calls()
    });
}

/// The first sweeper knows the plan for the one copy alone and is about to delete it because of the
/// other. The second knows both plans: it must keep the other copy until the blob is moved.
#[test]
fn interleaving_20_a_sweeper_that_knows_one_of_two_plans_and_one_that_knows_both() {
    let scene = Scene::new();
    let seed = two_copies(&scene);
    seed.stage.keep(&seed.memory);
    for order in [[0, 1], [1, 0]] {
        at_each_step(|number| {
            let case = scene.case();
            let what = format!("{order:?}, the first goes on at step {number} of the second");
            let names: Vec<_> = snapshots(&case.memory).0.into_iter().collect();
            let newest = &names[names.len() - 2..];
            let plan = |at: usize| {
                case.stage.plan(&case.memory, case.stage.packs_of(&case.memory, &newest[at]), Vec::new());
            };
            plan(order[0]);
            let delete = |call: &super::script::Call<'_>| {
                call.op == Op::Delete && (call.name.starts_with("p/") || call.name.starts_with("m/"))
            };
            let other = case.clone();
            let first = Frozen::start(&case.memory, 1, delete, move |storage| {
                other.prune_at(storage, &greedy(), &crate::repository::sweep::NoSteps).map(drop)
            });
            assert!(first.stands(), "{what}: it deletes something");
            plan(order[1]);
            let first = std::sync::Mutex::new(Some(first));
            let thaw = || {
                if let Some(first) = first.lock().expect("nobody panics").take() {
                    first.thaw().unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            };
            let deed = |_| {
                thaw();
                Ok(())
            };
            let steps = At::new(number, &deed);
            case.prune_at(case.storage(), &greedy(), &steps)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            thaw();
            case.has(3, &what);
            steps.reached()
        });
    }
}

/// Between a moved pack and the run that lists it another prune takes the pack for one that nobody
/// lists, and stops at each of its steps: the mover must not delete what it moved from.
#[test]
fn interleaving_21_a_pack_of_moved_blobs_is_condemned_before_its_run_is_there() {
    let scene = Scene::new();
    at_each_step(|number| {
        let case = scene.case();
        let what = format!("the other stops at step {number}");
        case.stage.plan(&case.memory, packs(&case.memory), Vec::new());
        let mover = case.clone();
        let run = |call: &super::script::Call<'_>| call.op == Op::Put && call.name.starts_with("i/");
        let first = Frozen::start(&case.memory, 1, run, move |storage| {
            mover.prune_at(storage, &greedy(), &crate::repository::sweep::NoSteps).map(drop)
        });
        assert!(first.stands(), "{what}: it moves something");
        let stop = |_| Err(crate::repository::error::RepositoryError::Cancelled);
        let steps = At::new(number, &stop);
        drop(case.prune_at(case.storage(), &greedy(), &steps));
        first.thaw().unwrap_or_else(|error| panic!("{what}: {error}"));
        case.has(1, &what);
        case.settle(&what);
        case.has(1, &what);
        steps.reached()
    });
}

#[test]
fn interleaving_11_a_node_moved_by_another_sweeper_while_one_reads() {
    let scene = Scene::new();
    let seed = scene.case();
    // A proposal that stays pending, beside the valid one.
    let confirmation = |call: &super::script::Call<'_>| {
        if call.op == Op::Put && call.name.ends_with(".ok") { Answer::Dead } else { Answer::Go }
    };
    backup(&seed, Scripted::new(&seed.memory, confirmation)).expect_err("killed before its confirmation");
    seed.stage.keep(&seed.memory);
    at_each(|number| {
        let case = scene.case();
        let what = format!("joined before operation {number}");
        let other = case.clone();
        let request = crate::engine::prune::PruneRequest { max_unused_percent: 0, ..Case::request() };
        let storage = Scripted::at(&case.memory, number, move || {
            other.stage.plan(&other.memory, packs(&other.memory), Vec::new());
            other.prune(&request).expect("pruned");
        });
        case.prune_at(storage.clone(), &greedy(), &crate::repository::sweep::NoSteps)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        case.has(1, &what);
        judge(&case, backup(&case, case.storage()), 1, &what);
        storage.calls()
    });
}

#[test]
fn interleaving_12_commits_and_deletes_between_the_pages_of_a_listing() {
    let scene = Scene::new();
    let seed = two_copies(&scene);
    seed.stage.keep(&seed.memory);
    for prefix in ["s/", "i/", "p/", "g/"] {
        for page in 1..=if super::script::is_torture() { 40 } else { 6 } {
            let case = scene.case();
            let what = format!("between pages of {prefix}, the {page}th time");
            let (other, seen) = (case.clone(), std::sync::atomic::AtomicU64::new(0));
            let storage = Scripted::new(&case.memory, move |call| {
                let is_here = call.op == Op::Page && call.name == prefix;
                if is_here && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == page {
                    forget_newest(&other);
                    other.backup();
                    other.prune(&greedy()).expect("pruned");
                }
                Answer::Go
            });
            case.prune_at(storage, &greedy(), &crate::repository::sweep::NoSteps)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            case.has(3, &what);
        }
    }
}

#[test]
fn interleaving_16_without_room_dead_packs_go_first_and_the_rest_stays_with_its_plan() {
    let scene = Scene::new();
    let case = scene.case();
    // Some packs are dead as a whole.
    let killed = backup(
        &case,
        Scripted::new(&case.memory, |call| {
            if call.op == Op::Put && call.name.starts_with("i/") { Answer::Dead } else { Answer::Go }
        }),
    );
    assert!(killed.is_err());
    let (before, plans) =
        (packs(&case.memory).len(), list_all(case.memory.as_ref(), "g/").expect("listed").len());
    let full = Scripted::new(&case.memory, |call| {
        let is_data = call.op == Op::Put && (call.name.starts_with("p/") || call.name.starts_with("m/"));
        if is_data { Answer::NoSpace } else { Answer::Go }
    });
    let outcome = case.prune_at(full, &greedy(), &crate::repository::sweep::NoSteps);
    assert!(packs(&case.memory).len() < before, "dead packs went: {outcome:?}");
    case.has(1, "without room");
    assert!(list_all(case.memory.as_ref(), "g/").expect("listed").len() > plans, "the plan stays");
    case.prune(&greedy()).expect("there is room");
    case.has(1, "with room");
    case.settle("with room");
}

#[test]
fn interleaving_17_what_may_not_be_deleted_stays_and_so_does_its_plan() {
    let scene = Scene::new();
    for locked in ["p/", "m/", "s/"] {
        let case = scene.case();
        // Something pending, so that proposals are to be deleted as well.
        let killed = backup(
            &case,
            Scripted::new(&case.memory, |call| {
                if call.op == Op::Put && call.name.ends_with(".ok") { Answer::Dead } else { Answer::Go }
            }),
        );
        assert!(killed.is_err());
        let refusing = Scripted::new(&case.memory, move |call| {
            let is_locked = call.op == Op::Delete && call.name.starts_with(locked);
            if is_locked { Answer::Refused } else { Answer::Go }
        });
        let objects = list_all(case.memory.as_ref(), locked).expect("listed");
        case.stage.plan(&case.memory, packs(&case.memory), Vec::new());
        let outcome = case.prune_at(refusing, &greedy(), &crate::repository::sweep::NoSteps).expect("pruned");
        assert!(!outcome.targets[0].done.refused.is_empty(), "{locked}: {outcome:#?}");
        for stat in objects {
            assert!(case.memory.head(&stat.name).expect("looked").is_some(), "{} is gone", stat.name);
        }
        assert!(case.count("g/") > 0, "{locked}: the plan stays");
        case.has(1, locked);
        judge(&case, backup(&case, case.storage()), 1, locked);
        // The lock ends.
        case.stage.clock.advance(Duration::from_hours(1));
        case.settle(locked);
        case.has(2, locked);
    }
}

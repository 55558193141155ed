//! Writers that are frozen or killed in the middle of a commit.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::script::{
    Answer, Call, Frozen, Op, Scene, Scripted, at_each, at_each_step, backup, crossed, greedy, is_torture,
    is_valid, judge, prune_and_end,
};
use crate::base::error::Classified;
use crate::base::id::ObjectHash;
use crate::engine::backup::tests::stage::{packs, snapshots};
use crate::engine::error::EngineError;
use crate::engine::prune::tests::stage::{At, Case};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::SnapshotName;
use crate::repository::sweep::{Step, Steps};
use crate::storage::contract::Storage;

/// A way to forget a snapshot.
type Forget = fn(&Case, &SnapshotName);

#[test]
fn interleaving_01_a_writer_frozen_at_each_operation_while_plan_and_sweep_run_whole() {
    let scene = Scene::new();
    for request in [greedy(), Case::request()] {
        at_each(|number| {
            let case = scene.case();
            let (other, request) = (case.clone(), request.clone());
            let storage = Scripted::at(&case.memory, number, move || {
                other.prune(&request).expect("pruned");
            });
            let result = backup(&case, storage.clone());
            judge(&case, result, 1, &format!("swept before operation {number}"));
            storage.calls()
        });
    }
}

#[test]
fn interleaving_02_a_writer_killed_at_each_operation_leaves_nothing_behind() {
    let scene = Scene::new();
    at_each(|number| {
        let case = scene.case();
        let storage = Scripted::new(&case.memory, move |call| {
            if call.number >= number && call.op != Op::Page { Answer::Dead } else { Answer::Go }
        });
        let result = backup(&case, storage.clone());
        let what = format!("killed at operation {number}");
        // The last words may be lost on their way: valid, and nobody was told.
        let found = case.is_whole(&what);
        assert!(found == 1 + u64::from(result.is_ok()) || found == 2, "{what}: {found}");
        case.settle(&what);
        assert_eq!(case.is_whole(&what), found, "{what}");
        judge(&case, backup(&case, case.storage()), found, &what);
        storage.calls()
    });
}

#[test]
fn interleaving_03_a_plan_made_swept_and_deleted_before_the_writer_looks() {
    let scene = Scene::new();
    at_each(|number| {
        let case = scene.case();
        let other = case.clone();
        let storage = Scripted::at(&case.memory, number, move || {
            // Before the look: what is proposed has looked, or is about to.
            let (proposals, confirmed) = snapshots(&other.memory);
            if proposals.len() == confirmed.len() {
                prune_and_end(&other);
            }
        });
        let result = backup(&case, storage.clone());
        judge(&case, result, 1, &format!("swept and ended before operation {number}"));
        storage.calls()
    });
}

#[test]
fn interleaving_07_a_parent_that_is_forgotten_at_each_operation() {
    let scene = Scene::new();
    let parent = scene.oldest();
    let by_request = |case: &Case, parent: &SnapshotName| {
        case.stage.request(&case.memory, &parent.id);
    };
    let object_first = |case: &Case, parent: &SnapshotName| {
        case.memory.delete(&parent.proposal()).expect("deleted");
        case.memory.delete(&parent.confirmation()).expect("deleted");
    };
    let ways: [(&str, Forget); 3] = [
        ("removed", |case, parent| case.forget(&parent.id)),
        ("requested", by_request),
        ("the object first", object_first),
    ];
    for (way, forget) in ways {
        at_each(|number| {
            let case = scene.case();
            let (other, gone) = (case.clone(), parent.clone());
            let storage = Scripted::at(&case.memory, number, move || {
                forget(&other, &gone);
                other.prune(&greedy()).expect("pruned");
            });
            let result = backup(&case, storage.clone());
            if number <= storage.calls() {
                judge(&case, result, 0, &format!("{way} before operation {number}"));
            }
            storage.calls()
        });
    }
}

/// Whether the proposal was put before this call.
fn after_proposal() -> impl Fn(&Call<'_>) -> bool + Send + Sync {
    let proposed = AtomicBool::new(false);
    move |call| {
        if call.op == Op::Put && call.name.starts_with("s/") && !call.name.ends_with(".ok") {
            proposed.store(true, Ordering::SeqCst);
            return false;
        }
        call.op != Op::Page && proposed.load(Ordering::SeqCst)
    }
}

/// A writer that stands after its proposal, `calls` operations later.
fn frozen_after_proposal(case: &Arc<Case>, calls: u64) -> Frozen<Result<ObjectHash, EngineError>> {
    let writer = case.clone();
    Frozen::start(&case.memory, calls, after_proposal(), move |storage| backup(&writer, storage))
}

/// The same, and it dies with its confirmation.
fn frozen_and_dying(case: &Arc<Case>, calls: u64) -> Frozen<Result<ObjectHash, EngineError>> {
    let (writer, confirmed) = (case.clone(), AtomicBool::new(false));
    let dies = move |call: &Call<'_>| {
        if confirmed.load(Ordering::SeqCst) {
            return Answer::Dead;
        }
        confirmed.fetch_or(call.op == Op::Put && call.name.ends_with(".ok"), Ordering::SeqCst);
        Answer::Go
    };
    let work = move |storage| backup(&writer, storage);
    Frozen::start_by(&case.memory, calls, after_proposal(), dies, work)
}

/// Something happens once the plan is visible.
struct Stirred<'s> {
    steps: At<'s>,
    stir: &'s (dyn Fn() + Sync),
}

impl Steps for Stirred<'_> {
    fn reached(&self, step: Step) -> Result<(), RepositoryError> {
        if step == Step::PlanWritten {
            (self.stir)();
        }
        Steps::reached(&self.steps, step)
    }
}

#[test]
fn interleaving_08_a_writer_that_dies_with_its_confirmation_leaves_no_backup_without_packs() {
    let scene = Scene::new();
    for calls in 1.. {
        let has_stood = Cell::new(true);
        for sweeper_dies in [true, false] {
            at_each_step(|number| {
                if is_left_out(calls, number) {
                    return 0;
                }
                let case = scene.case();
                case.write("big-0", 0);
                let what = format!("dying {calls} operations after its proposal, thawed at step {number}");
                let writer = frozen_and_dying(&case, calls);
                has_stood.set(has_stood.get() & writer.stands());
                let (writer, next) = (Mutex::new(Some(writer)), Mutex::new(None));
                let deed = |_| {
                    let writer = writer.lock().expect("nobody panics").take();
                    writer.expect("reached once").thaw().expect_err("it died");
                    if sweeper_dies {
                        return Err(RepositoryError::Cancelled);
                    }
                    // Another one may take it for its parent.
                    *next.lock().expect("nobody panics") = Some(backup(&case, case.storage()));
                    Ok(())
                };
                let stir = || {
                    // What the planner marked is out of date, and nobody else needs what the writer hit.
                    case.write("big-0", 77);
                    case.backup();
                };
                let steps = Stirred { steps: At::new(number, &deed), stir: &stir };
                let pruned = case.prune_at(case.storage(), &greedy(), &steps);
                let steps = steps.steps;
                assert!(pruned.is_ok() || sweeper_dies, "{what}: {pruned:?}");
                if let Some(writer) = writer.lock().expect("nobody panics").take() {
                    writer.thaw().expect_err("it died");
                }
                case.is_whole(&what);
                if let Some(Ok(id)) = *next.lock().expect("nobody panics") {
                    assert!(is_valid(&case, &id), "{what}: a success that is no backup");
                }
                steps.reached()
            });
        }
        if !has_stood.get() {
            return;
        }
    }
}

#[test]
fn interleaving_08_a_proposal_condemned_and_confirmed_about_the_look_of_a_sweeper() {
    let scene = Scene::new();
    for calls in (1..).step_by(if is_torture() { 1 } else { 2 }) {
        let has_stood = Cell::new(true);
        at_each_step(|number| {
            if is_left_out(calls / 2, number) {
                return 0;
            }
            let case = scene.case();
            let what = format!("frozen {calls} operations after its proposal, thawed at step {number}");
            let writer = frozen_after_proposal(&case, calls);
            has_stood.set(has_stood.get() & writer.stands());
            // A second sweeper, after the confirmation.
            let second = || drop(case.prune(&greedy()).unwrap_or_else(|error| panic!("{what}: {error}")));
            let (result, steps) = crossed(&case, writer, number, &second, &what);
            judge_condemned(&case, result, &what);
            steps
        });
        if !has_stood.get() {
            return;
        }
    }
}

/// A condemned proposal that got its confirmation stays, and its plan with it, until it is
/// forgotten; another writer may come.
fn judge_condemned(case: &Case, result: Result<ObjectHash, EngineError>, what: &str) {
    let valid = case.is_whole(what);
    if let Ok(id) = &result {
        assert!(is_valid(case, id), "{what}: a success that is no backup");
    }
    let next = backup(case, case.storage());
    assert!(next.is_ok(), "{what}: {next:?}");
    assert_eq!(case.is_whole(what), valid + 1, "{what}");
    case.prune(&greedy()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(case.is_whole(what), valid + 1, "{what}");
}

/// An ordinary run plays every other pair of an operation and a step.
fn is_left_out(number: u64, step: u64) -> bool {
    !is_torture() && step != u64::MAX && (number + step).is_multiple_of(2)
}

/// A writer that stands at its operation `number`.
fn frozen_at(case: &Arc<Case>, number: u64) -> Frozen<Result<ObjectHash, EngineError>> {
    let writer = case.clone();
    let here = move |call: &Call<'_>| call.number == number;
    Frozen::start(&case.memory, 1, here, move |storage| backup(&writer, storage))
}

#[test]
fn interleaving_01_and_07_a_writer_goes_on_between_the_look_of_a_sweeper_and_its_deletes() {
    let scene = Scene::new();
    let parent = scene.oldest();
    let ways: [(&str, u64, Forget); 3] = [
        ("kept", 1, |_, _| {}),
        ("removed", 0, |case, parent| case.forget(&parent.id)),
        ("requested", 0, |case, parent| {
            case.stage.request(&case.memory, &parent.id);
        }),
    ];
    for (way, others, forget) in ways {
        for number in (1..).step_by(if is_torture() { 1 } else { 5 }) {
            let has_stood = Cell::new(true);
            at_each_step(|step| {
                if is_left_out(number, step) {
                    return 0;
                }
                let case = scene.case();
                let what = format!("parent {way}, frozen at operation {number}, thawed at step {step}");
                let writer = frozen_at(&case, number);
                has_stood.set(has_stood.get() & writer.stands());
                forget(&case, &parent);
                let (result, steps) = crossed(&case, writer, step, &|| {}, &what);
                if has_stood.get() {
                    judge(&case, result, others, &what);
                }
                steps
            });
            if !has_stood.get() {
                break;
            }
        }
    }
}

#[test]
fn interleaving_18_a_dead_blob_beside_a_live_one_in_a_pack_of_the_parent() {
    let scene = Scene::new();
    at_each(|number| {
        let case = scene.case();
        let other = case.clone();
        let storage = Scripted::at(&case.memory, number, move || {
            // Every pack of the parent, whatever lives in it.
            let newest = snapshots(&other.memory).0.into_iter().next().expect("the parent");
            other.stage.plan(&other.memory, other.stage.packs_of(&other.memory, &newest), Vec::new());
            other.prune(&Case::request()).expect("swept");
        });
        let result = backup(&case, storage.clone());
        judge(&case, result, 1, &format!("the parent's packs condemned before operation {number}"));
        storage.calls()
    });
}

#[test]
fn interleaving_19_a_writer_whose_hits_are_condemned_stores_them_anew_or_is_busy() {
    let scene = Scene::new();
    // Once: a further pass.
    let case = scene.case();
    let (other, done) = (case.clone(), AtomicBool::new(false));
    let storage = Scripted::new(&case.memory, move |call| {
        if call.op == Op::Put && call.name.starts_with("s/") && !done.swap(true, Ordering::SeqCst) {
            other.stage.plan(&other.memory, packs(&other.memory), Vec::new());
        }
        Answer::Go
    });
    let result = backup(&case, storage);
    assert!(result.is_ok(), "{result:?}");
    judge(&case, result, 1, "condemned once");
    case.settle("condemned once");
    // Each time: busy, and the next run is not.
    let case = scene.case();
    let other = case.clone();
    let storage = Scripted::new(&case.memory, move |call| {
        if call.op == Op::Put && call.name.starts_with("s/") {
            other.stage.plan(&other.memory, packs(&other.memory), Vec::new());
        }
        Answer::Go
    });
    let error = backup(&case, storage).expect_err("condemned each time");
    assert!(matches!(error, EngineError::Repository(RepositoryError::Busy { .. })), "{}", error.code());
    case.prune(&Case::request()).expect("swept");
    judge(&case, backup(&case, case.storage()), 1, "condemned each time");
    case.stage.clock.advance(Duration::from_hours(30 * 24));
    case.settle("condemned each time");
    case.is_whole("condemned each time");
}

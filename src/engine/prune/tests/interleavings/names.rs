//! Requests that are carried out late, or twice.

use std::time::Duration;

use super::script::{Answer, Op, Scene, Scripted, at_each, backup, greedy, judge};
use crate::engine::prune::tests::stage::Case;
use crate::repository::sweep::NoSteps;
use crate::storage::contract::Storage;

#[test]
fn interleaving_09_an_object_that_is_put_once_more_after_the_sweep() {
    let scene = Scene::new();
    for kind in ["p/", "m/", "i/", "s/", ".ok", "g/"] {
        for tail in [false, true] {
            let case = scene.case();
            let what = format!("{kind} once more, tail over: {tail}");
            let writer = Scripted::new(&case.memory, |_| Answer::Go);
            let id = backup(&case, writer.clone()).expect("backed up");
            // As a client without the right to delete does: it is kept on record that it went.
            case.stage.request(&case.memory, &id);
            let sweeper = Scripted::new(&case.memory, |_| Answer::Go);
            case.prune_at(sweeper.clone(), &greedy(), &NoSteps).expect("pruned");
            if tail {
                case.stage.clock.advance(Duration::from_hours(48));
                case.prune(&greedy()).expect("pruned");
            }
            let puts = [&writer, &sweeper].map(|storage| storage.puts.lock().expect("nobody panics").clone());
            for (object, bytes) in puts.into_iter().flatten() {
                let is_confirmation = object.as_str().ends_with(".ok");
                let is_it = match kind {
                    ".ok" => is_confirmation,
                    prefix => object.as_str().starts_with(prefix) && !is_confirmation,
                };
                if is_it {
                    case.memory.put_new(&object, bytes).expect("put");
                }
            }
            case.has(1, &what);
            judge(&case, backup(&case, case.storage()), 1, &what);
            if kind != ".ok" {
                // A confirmation alone is litter that nobody minds.
                case.settle(&what);
            }
            case.has(2, &what);
        }
    }
}

#[test]
fn interleaving_10_deletes_that_are_carried_out_late_or_twice() {
    let scene = Scene::new();
    at_each(|number| {
        let case = scene.case();
        let sweeper = Scripted::new(&case.memory, |_| Answer::Go);
        case.prune_at(sweeper.clone(), &greedy(), &NoSteps).expect("pruned");
        let deletes = sweeper.deletes.lock().expect("nobody panics").clone();
        assert!(deletes.iter().any(|name| name.as_str().starts_with("p/")), "{deletes:?}");
        let memory = case.memory.clone();
        let storage = Scripted::at(&case.memory, number, move || {
            for name in &deletes {
                memory.delete(name).expect("deleted");
            }
        });
        let result = backup(&case, storage.clone());
        judge(&case, result, 1, &format!("deleted again before operation {number}"));
        storage.calls()
    });
    // A plan and its mark, deleted twice: once by another sweeper.
    let case = scene.case();
    case.prune(&greedy()).expect("pruned");
    case.stage.clock.advance(Duration::from_hours(48));
    let other = std::sync::Arc::clone(&case);
    let storage = Scripted::new(&case.memory, move |call| {
        if call.op == Op::Delete && call.name.starts_with("g/") {
            other.prune(&Case::request()).expect("pruned");
        }
        Answer::Go
    });
    case.prune_at(storage, &greedy(), &NoSteps).expect("pruned");
    case.has(1, "plans deleted twice");
    case.settle("plans deleted twice");
}

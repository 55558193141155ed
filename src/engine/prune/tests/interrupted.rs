//! Prunes that are stopped, disturbed and joined at every step.

use super::stage::{At, Case};
use crate::engine::backup::tests::stage::snapshots;
use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;

/// Three snapshots of which the first was forgotten: dead, sparse and shared packs.
fn history() -> Case {
    let case = Case::new();
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..5 {
        case.write(&format!("big-{number}"), 600 + number);
    }
    case.backup();
    case.write("big-7", 700);
    case.backup();
    case.forget(&first);
    case
}

/// Plays a case for each step of a prune. Blobs go to packs at random, so that one prune has a step
/// more than another: `play` says how many it had.
fn at_every_step(play: impl Fn(u64) -> u64) {
    let mut number = 1;
    while play(number) >= number {
        number += 1;
    }
    assert!(number > 9, "a prune has more steps than {number}");
}

#[test]
fn a_prune_that_is_stopped_at_any_step_loses_nothing_and_the_next_one_ends_it() {
    at_every_step(|number| {
        let case = history();
        let stop = At::new(number, &|_| Err(RepositoryError::Cancelled));
        let outcome = case.prune_at(case.storage(), &Case::request(), &stop);
        if stop.reached() < number {
            return stop.reached();
        }
        assert!(matches!(outcome, Err(EngineError::Cancelled)), "step {number}: {outcome:?}");
        case.has(2, &format!("stopped at step {number}"));
        case.settle(&format!("stopped at step {number}"));
        case.has(2, &format!("ended after step {number}"));
        stop.reached()
    });
}

#[test]
fn a_second_prune_that_runs_whole_at_any_step_of_the_first_loses_nothing() {
    at_every_step(|number| {
        let case = history();
        let other = |step| {
            case.prune(&Case::request()).unwrap_or_else(|error| panic!("{step:?}: {error}"));
            Ok(())
        };
        let both = At::new(number, &other);
        case.prune_at(case.storage(), &Case::request(), &both)
            .unwrap_or_else(|error| panic!("step {number}: {error}"));
        case.has(2, &format!("joined at step {number}"));
        case.settle(&format!("joined at step {number}"));
        case.has(2, &format!("settled, joined at step {number}"));
        both.reached()
    });
}

#[test]
fn a_backup_that_runs_whole_at_any_step_of_a_prune_stays_valid_and_whole() {
    at_every_step(|number| {
        let case = history();
        // It finds again what only the forgotten snapshot had.
        for file in 0..5 {
            case.write(&format!("again-{file}"), file);
        }
        let backup = |step| {
            case.try_backup().unwrap_or_else(|error| panic!("{step:?}: {error}"));
            Ok(())
        };
        let between = At::new(number, &backup);
        case.prune_at(case.storage(), &Case::request(), &between)
            .unwrap_or_else(|error| panic!("step {number}: {error}"));
        if between.reached() < number {
            return between.reached();
        }
        case.has(3, &format!("backed up at step {number}"));
        case.settle(&format!("backed up at step {number}"));
        case.has(3, &format!("settled, backed up at step {number}"));
        between.reached()
    });
}

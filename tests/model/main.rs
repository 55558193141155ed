//! The commit and the sweep of docs/format.md as an explicit-state model (docs/model.md): every
//! order of the steps of writers, planners, sweepers, a forgetter and a compactor is tried within
//! small worlds. The protocol as it stands loses nothing; without any one of its rules the search
//! finds the shortest history that does.
//!
//! An ordinary run explores each world to its end or to `STATES_MAX`, some seconds in all.
//! `LIFEBOAT_MODEL_STATES=N` sets another bound for each world (20000000 needs 3 GB);
//! `--no-capture` shows the counts and the histories.

#![expect(clippy::print_stdout, reason = "the counts and the histories are shown on request")]

mod cases;
mod explore;
mod model;
mod rules;
mod state;
mod sweeper;
mod writer;

use cases::ALL;
use explore::explore;
use model::{Case, Model, Rule};
use rules::{NEEDED, SPARE, TOGETHER};

/// States of one world in an ordinary run.
const STATES_MAX: usize = 250_000;

fn states_max() -> usize {
    std::env::var("LIFEBOAT_MODEL_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(STATES_MAX)
}

fn holds(case: &Case, out: &[Rule]) {
    let found = explore(&Model { case, out }, states_max());
    let whole = if found.whole { "all" } else { "bounded" };
    println!("{:>9} states, {whole}: {}, without {out:?}", found.states, case.name);
    if let Some(broken) = found.broken {
        panic!("{}, without {out:?}, after {} states\n{broken}", case.name, found.states);
    }
}

fn loses(case: &Case, out: &[Rule]) {
    let found = explore(&Model { case, out }, 2_000_000);
    let Some(way) = found.broken else {
        panic!("without {out:?} nothing is lost in {} states: {}", found.states, case.name);
    };
    println!("without {out:?} ({}; {} states):\n{way}", case.name, found.states);
}

#[test]
fn the_protocol_loses_nothing_and_leaves_nothing_behind() {
    for case in ALL {
        holds(case, &[]);
    }
}

#[test]
fn each_rule_taken_out_loses_data() {
    for (rule, case) in NEEDED {
        loses(case, &[*rule]);
    }
}

#[test]
fn rules_that_others_back_up_lose_nothing_alone() {
    for (rule, case, _) in SPARE {
        holds(case, &[*rule]);
    }
}

#[test]
fn two_rules_that_back_each_other_up_lose_data_when_both_are_out() {
    for (rules, case) in TOGETHER {
        loses(case, rules);
    }
}

#[test]
fn every_rule_is_judged() {
    let judged = |rule| NEEDED.iter().any(|row| row.0 == rule) || SPARE.iter().any(|row| row.0 == rule);
    for rule in Rule::ALL {
        assert!(judged(*rule), "{rule:?}");
    }
    assert!(SPARE.iter().all(|(_, _, why)| !why.is_empty()));
}

//! A plan whose bytes rot: nobody relies on the place, and a day later it goes by itself.

use std::time::Duration;

use bytes::Bytes;

use super::stage::Case;
use crate::base::error::Classified;
use crate::engine::backup::tests::stage::{name, snapshots};
use crate::engine::prune::PruneRequest;
use crate::storage::contract::{ObjectName, Storage, list_all};

/// A case with a plan that stands, and the plan's name.
fn with_plan() -> (Case, ObjectName) {
    let case = Case::new();
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..6 {
        case.write(&format!("big-{number}"), 100 + number);
    }
    case.backup();
    case.forget(&first);
    let grace = Duration::from_hours(1);
    case.stage.clock.advance(2 * grace);
    case.prune(&PruneRequest { grace, ..Case::request() }).expect("planned");
    let plan = list_all(case.memory.as_ref(), "g/").expect("listed").remove(0).name;
    (case, plan)
}

fn spoil(case: &Case, plan: &ObjectName) {
    case.memory.replace(plan, Bytes::from_static(b"rotten")).expect("replaced");
}

#[test]
fn nobody_confirms_beside_a_damaged_plan_and_a_day_later_it_is_gone() {
    let (case, plan) = with_plan();
    spoil(&case, &plan);
    let refused = case.try_backup().expect_err("nobody knows what goes");
    assert!(refused.to_string().contains("nobody can tell what this sweep plan removes"), "{refused}");
    for hours in [0, 10, 10] {
        case.stage.clock.advance(Duration::from_hours(hours));
        let error = case.prune(&Case::request()).expect_err("it has to stand");
        assert_eq!(error.code(), "E0340", "{error}");
        assert!(case.memory.head(&plan).expect("looked").is_some());
        assert_eq!(case.count("g/"), 2, "the plan and one mark");
        assert!(case.try_backup().is_err());
    }
    // A longer grace is waited for, too.
    case.stage.clock.advance(Duration::from_hours(5));
    let patient = PruneRequest { grace: Duration::from_hours(72), ..Case::request() };
    assert_eq!(case.prune(&patient).expect_err("its grace is longer").code(), "E0340");
    case.prune(&Case::request()).expect("it may go now");
    assert!(case.memory.head(&plan).expect("looked").is_none());
    case.backup();
    case.settle("afterwards");
    assert_eq!(case.is_whole("afterwards"), 2);
    assert_eq!(case.count("g/"), 0, "no mark is left");
}

#[test]
fn a_plan_that_is_whole_after_all_loses_its_mark_before_anybody_obeys_it() {
    let (case, plan) = with_plan();
    let whole = case
        .memory
        .get(&plan, crate::storage::contract::Span::Whole, crate::storage::contract::Read::Quick)
        .expect("read");
    spoil(&case, &plan);
    case.prune(&Case::request()).expect_err("it is marked");
    case.memory.replace(&plan, whole).expect("replaced");
    // Old enough for the mark, but the plan is whole, and waits for its own grace.
    case.stage.clock.advance(Duration::from_hours(30));
    let patient = PruneRequest { grace: Duration::from_hours(72), ..Case::request() };
    case.prune(&patient).expect("nothing is damaged");
    assert_eq!(case.count("g/"), 1, "the plan stands, without a mark");
    spoil(&case, &plan);
    assert_eq!(case.prune(&Case::request()).expect_err("a new mark").code(), "E0340");
    case.stage.clock.advance(Duration::from_hours(25));
    case.settle("in the end");
    assert_eq!(case.is_whole("in the end"), 1);
}

#[test]
fn a_dry_run_leaves_no_mark_and_a_mark_without_a_plan_goes() {
    let (case, plan) = with_plan();
    spoil(&case, &plan);
    let dry = PruneRequest { dry_run: true, ..Case::request() };
    case.prune(&dry).expect_err("it cannot know what stands");
    assert_eq!(case.count("g/"), 1);
    let orphan = name("g/20270101T000000Z-ab.hurt-0011223344556677");
    case.memory.put_new(&orphan, Bytes::from_static(b"a mark")).expect("put");
    case.prune(&Case::request()).expect_err("the other one stands");
    assert!(case.memory.head(&orphan).expect("looked").is_none());
}

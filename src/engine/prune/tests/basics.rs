//! What a prune frees and keeps when nobody disturbs it.

use std::time::Duration;

use super::stage::Case;
use crate::engine::prune::PruneRequest;
use crate::repository::sweep::Reason;

#[test]
fn a_prune_frees_what_only_forgotten_snapshots_need_and_moves_the_rest() {
    let case = Case::new();
    let first = crate::engine::backup::tests::stage::snapshots(&case.memory).0[0].id;
    for number in 0..6 {
        case.write(&format!("big-{number}"), 100 + number);
    }
    case.backup();
    let before = case.prune(&PruneRequest { dry_run: true, ..Case::request() }).expect("looked");
    assert!(before.targets[0].plan.as_ref().expect("planned").condemned.is_empty(), "{before:#?}");
    case.forget(&first);
    let packs = case.count("p/");
    let outcome = case.prune(&Case::request()).expect("pruned");
    let plan = outcome.targets[0].plan.as_ref().expect("planned");
    assert!(plan.condemned.iter().any(|choice| choice.reason == Reason::Sparse), "{plan:#?}");
    let done = &outcome.targets[0].done;
    assert!(done.blobs_moved >= 1, "two files and a group are needed still: {done:#?}");
    assert!(done.bytes_deleted > 1_800_000, "six files went: {done:#?}");
    assert_eq!(case.is_whole("pruned"), 1);
    assert!(case.count("p/") <= packs, "{done:#?}");
    case.settle("afterwards");
    assert_eq!(case.is_whole("settled"), 1);
    // What was moved is found by the next backup, which stores nothing of it again.
    let stored = case.count("p/");
    case.backup();
    assert_eq!(case.count("p/"), stored);
}

#[test]
fn a_dry_run_names_what_the_real_one_condemns_and_leaves_no_trace() {
    let case = Case::new();
    let first = case.backup();
    for number in 2..8 {
        case.write(&format!("big-{number}"), 200 + number);
    }
    case.backup();
    case.forget(&first);
    let first = crate::engine::backup::tests::stage::snapshots(&case.memory).0[0].id;
    case.forget(&first);
    let objects = case.count("");
    let dry = case.prune(&PruneRequest { dry_run: true, ..Case::request() }).expect("looked");
    assert_eq!(case.count(""), objects);
    let real = case.prune(&Case::request()).expect("pruned");
    let named = |outcome: &crate::engine::prune::PruneOutcome| {
        let plan = outcome.targets[0].plan.as_ref().expect("planned");
        serde_json::to_value(plan).expect("JSON")
    };
    assert_eq!(named(&dry), named(&real));
    assert!(!real.targets[0].plan.as_ref().expect("planned").condemned.is_empty());
    case.is_whole("pruned");
}

#[test]
fn a_plan_waits_for_its_grace_and_a_young_pack_is_left_alone() {
    let case = Case::new();
    let request = PruneRequest { grace: Duration::from_hours(72), ..Case::request() };
    let first = crate::engine::backup::tests::stage::snapshots(&case.memory).0[0].id;
    for number in 0..8 {
        case.write(&format!("big-{number}"), 300 + number);
    }
    case.backup();
    case.forget(&first);
    let young = case.prune(&request).expect("pruned");
    let plan = young.targets[0].plan.as_ref().expect("planned");
    assert!(plan.condemned.is_empty() && plan.kept.young > 0, "{plan:#?}");
    case.stage.clock.advance(Duration::from_hours(73));
    let packs = case.count("p/");
    let planned = case.prune(&request).expect("pruned");
    assert!(!planned.targets[0].plan.as_ref().expect("planned").condemned.is_empty());
    assert_eq!((planned.targets[0].done.plans_waiting, case.count("p/")), (1, packs));
    // A second planner adds nothing to what is condemned already.
    case.stage.clock.advance(Duration::from_hours(1));
    case.prune(&request).expect("pruned");
    assert_eq!(case.count("g/"), 1);
    case.stage.clock.advance(Duration::from_hours(72));
    let swept = case.prune(&request).expect("pruned");
    assert!(swept.targets[0].done.packs_deleted > 0, "{swept:#?}");
    case.is_whole("swept");
}

#[test]
fn many_small_packs_become_few_in_the_end() {
    let case = Case::new();
    for number in 0..20 {
        case.write("hourly", 400 + number);
        case.backup();
    }
    let (data, meta) = (case.count("p/"), case.count("m/"));
    assert!(data > 15 && meta > 15, "{data} {meta}");
    let outcome = case.prune(&Case::request()).expect("pruned");
    let plan = outcome.targets[0].plan.as_ref().expect("planned");
    assert!(plan.freed_bytes < plan.bytes / 3, "only what their ends take: {plan:#?}");
    assert_eq!(case.is_whole("pruned"), 21);
    assert!(case.count("p/") < 8 && case.count("m/") < 8, "{} {}", case.count("p/"), case.count("m/"));
    case.settle("afterwards");
    assert_eq!(case.is_whole("settled"), 21);
}

#[test]
fn a_budget_ends_a_prune_and_the_next_one_goes_on() {
    let case = Case::new();
    for number in 0..20 {
        case.write("hourly", 500 + number);
        case.backup();
    }
    let packs = case.count("p/");
    let request = PruneRequest { max_move_bytes: Some(1_000_000), ..Case::request() };
    let outcome = case.prune(&request).expect("pruned");
    let plan = outcome.targets[0].plan.as_ref().expect("planned");
    assert!(plan.moved_bytes <= 1_000_000 && plan.kept.over_budget > 0, "{plan:#?}");
    case.is_whole("once");
    for _ in 0..30 {
        case.prune(&request).expect("pruned");
    }
    assert!(case.count("p/") < packs / 2, "{}", case.count("p/"));
    assert_eq!(case.is_whole("often"), 21);
}

//! Packs that somebody deleted or damaged: a backup stores anew what they held.

use std::sync::Arc;

use super::stage::{Stage, name, packs, snapshots};
use crate::repository::format::names::{PackClass, pack_name};
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::Storage;
use crate::storage::memory::MemoryStorage;

/// Two targets with one snapshot each.
fn two() -> (Arc<Stage>, [Arc<MemoryStorage>; 2]) {
    let stage = Stage::new();
    let memories = [stage.fresh(), stage.fresh()];
    stage.backup(&both(&memories), SnapshotKind::Full).expect("the first backup");
    (stage, memories)
}

fn both(memories: &[Arc<MemoryStorage>; 2]) -> [Arc<dyn Storage>; 2] {
    [memories[0].clone(), memories[1].clone()]
}

#[track_caller]
fn is_whole_everywhere(stage: &Stage, memories: &[Arc<MemoryStorage>; 2], kind: SnapshotKind) -> u64 {
    let outcome = stage.backup(&both(memories), kind).expect("backed up");
    assert!(!outcome.is_partial(), "{outcome:#?}");
    for memory in memories {
        let (proposals, confirmed) = snapshots(memory);
        let newest = proposals.iter().find(|proposal| proposal.id == outcome.snapshot).expect("there");
        assert!(confirmed.contains(newest));
        for (class, hash) in stage.packs_of(memory, newest) {
            assert!(memory.head(&pack_name(class, &hash)).expect("looked").is_some(), "{hash} is missing");
        }
    }
    outcome.stats.packs_new
}

#[test]
fn a_pack_that_is_gone_everywhere_is_stored_anew_once() {
    for class in [PackClass::Data, PackClass::Meta] {
        let (stage, memories) = two();
        for memory in &memories {
            for (of, hash) in packs(memory).into_iter().filter(|(of, _)| *of == class) {
                memory.delete(&pack_name(of, &hash)).expect("deleted");
            }
        }
        assert!(is_whole_everywhere(&stage, &memories, SnapshotKind::Full) > 0, "{class:?}");
        // What was stored anew is found from then on, by the lost entries' side.
        assert_eq!(is_whole_everywhere(&stage, &memories, SnapshotKind::Incremental), 0, "{class:?}");
        assert_eq!(is_whole_everywhere(&stage, &memories, SnapshotKind::Full), 0, "{class:?}");
    }
}

#[test]
fn a_pack_that_one_target_lost_and_another_has_damaged_is_stored_anew_once() {
    let (stage, memories) = two();
    for (class, hash) in packs(&memories[0]) {
        memories[0].tamper(&pack_name(class, &hash), |bytes| bytes[100] ^= 1);
        memories[1].delete(&pack_name(class, &hash)).expect("deleted");
    }
    assert!(is_whole_everywhere(&stage, &memories, SnapshotKind::Full) > 0);
    assert_eq!(is_whole_everywhere(&stage, &memories, SnapshotKind::Incremental), 0);
}

#[test]
fn a_pack_that_one_target_has_is_copied_and_not_stored_anew() {
    let (stage, memories) = two();
    for (class, hash) in packs(&memories[1]) {
        memories[1].delete(&pack_name(class, &hash)).expect("deleted");
    }
    assert_eq!(is_whole_everywhere(&stage, &memories, SnapshotKind::Full), 0);
}

#[test]
fn a_target_that_never_had_a_damaged_pack_gets_what_it_held() {
    let (stage, memories) = two();
    for (class, hash) in packs(&memories[0]).into_iter().filter(|(class, _)| *class == PackClass::Data) {
        memories[0].tamper(&pack_name(class, &hash), |bytes| bytes[100] ^= 1);
    }
    let fresh = stage.fresh();
    let memories = [memories[0].clone(), fresh];
    assert!(is_whole_everywhere(&stage, &memories, SnapshotKind::Incremental) > 0);
}

#[test]
fn a_snapshot_that_a_plan_names_is_no_parent() {
    let (stage, memories) = two();
    for memory in &memories {
        let (proposals, _) = snapshots(memory);
        stage.plan(memory, Vec::new(), vec![proposals[0].proposal().to_string()]);
    }
    let outcome = stage.backup(&both(&memories), SnapshotKind::Incremental).expect("backed up");
    assert_eq!(outcome.parent, None, "it was built on what a sweep removes");
    assert!(!outcome.is_partial(), "{outcome:#?}");
}

#[test]
fn a_plan_that_cannot_be_read_is_not_passed_over() {
    let (stage, memories) = two();
    let all = packs(&memories[0]);
    stage.plan(&memories[0], all, Vec::new());
    let plan = crate::storage::contract::list_all(memories[0].as_ref(), "g/").expect("listed").remove(0).name;
    memories[0].tamper(&plan, |bytes| bytes[200] ^= 1);
    let storages: [Arc<dyn Storage>; 1] = [memories[0].clone()];
    assert!(stage.backup(&storages, SnapshotKind::Full).is_err(), "it relied on condemned packs");
    // What the administrator did not sign is no plan, and nobody obeys it.
    memories[1].put_new(&name("g/notes"), bytes::Bytes::from_static(b"x")).expect("put");
    let storages: [Arc<dyn Storage>; 1] = [memories[1].clone()];
    stage.backup(&storages, SnapshotKind::Full).expect("backed up");
}

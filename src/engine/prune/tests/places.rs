//! Prunes where there is more than one place: syncs, backups that complete a place, moves.

use std::collections::HashSet;
use std::sync::Arc;

use super::stage::Case;
use crate::engine::backup::tests::stage::{packs, snapshots, target};
use crate::engine::prune::prune;
use crate::engine::sync::{SyncOutcome, sync};
use crate::engine::verify::{Depth, verify};
use crate::repository::format::names::{PackClass, pack_name};
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::Storage;
use crate::storage::memory::MemoryStorage;

fn sync_to(case: &Case, to: &Arc<MemoryStorage>) -> SyncOutcome {
    let (from, to) = (target(case.storage()), target(to.clone()));
    let outcome = sync(&case.stage.repository, &from, &to, &case.cx()).expect("synced");
    assert!(outcome.failed.is_empty(), "{outcome:#?}");
    outcome
}

#[track_caller]
fn has(case: &Case, memory: &Arc<MemoryStorage>, snapshots: u64) {
    let target = target(memory.clone());
    let found = verify(&target, Some(&case.stage.repository), Depth::Blobs, &case.cx()).expect("verified");
    assert!(found.is_clean(), "{found:#?}");
    assert_eq!(found.snapshots, snapshots);
}

/// Two snapshots of which the first was forgotten, pruned.
fn pruned() -> Case {
    let case = Case::new();
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..5 {
        case.write(&format!("big-{number}"), 1100 + number);
    }
    case.backup();
    case.forget(&first);
    case.prune(&Case::request()).expect("pruned");
    case
}

#[test]
fn a_pruned_place_is_synced_whole_to_an_empty_one() {
    let case = pruned();
    let empty = Arc::new(MemoryStorage::new());
    sync_to(&case, &empty);
    has(&case, &empty, 1);
    // Nothing that the source has not, and nothing that the snapshot doesn't need.
    let source: HashSet<_> = packs(&case.memory).into_iter().collect();
    assert!(packs(&empty).iter().all(|pack| source.contains(pack)));
    // A second sync has nothing to do, and the next snapshot finds its blobs there.
    assert_eq!(sync_to(&case, &empty).bytes, 0);
    case.write("more", 1200);
    case.backup();
    sync_to(&case, &empty);
    has(&case, &empty, 2);
}

#[test]
fn a_sync_never_brings_back_what_a_prune_removed() {
    let case = Case::new();
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..5 {
        case.write(&format!("big-{number}"), 1300 + number);
    }
    case.backup();
    // The other place has both, forgets one and is pruned.
    let other =
        Case { stage: case.stage.clone(), memory: Arc::new(MemoryStorage::new()), wrong: Default::default() };
    sync_to(&case, &other.memory);
    other.forget(&first);
    other.prune(&Case::request()).expect("pruned");
    let kept: HashSet<_> = packs(&other.memory).into_iter().collect();
    // Here it is forgotten as well, and nothing is pruned.
    case.forget(&first);
    assert_eq!(sync_to(&case, &other.memory).bytes, 0);
    case.write("more", 1400);
    case.backup();
    let before: HashSet<_> = packs(&case.memory).into_iter().collect();
    sync_to(&case, &other.memory);
    has(&case, &other.memory, 2);
    let newest = snapshots(&case.memory).0.last().expect("one").clone();
    let needed: HashSet<_> = case.stage.packs_of(&case.memory, &newest).into_iter().collect();
    for pack in packs(&other.memory) {
        assert!(
            kept.contains(&pack) || needed.contains(&pack) && before.contains(&pack),
            "{pack:?} came back"
        );
    }
}

#[test]
fn a_backup_completes_a_place_that_lagged_before_the_other_was_pruned() {
    let case = Case::new();
    let late = Arc::new(MemoryStorage::new());
    sync_to(&case, &late);
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..5 {
        case.write(&format!("big-{number}"), 1500 + number);
    }
    case.backup();
    case.forget(&first);
    case.prune(&Case::request()).expect("pruned");
    case.write("more", 1600);
    let both: [Arc<dyn Storage>; 2] = [case.storage(), late.clone()];
    let outcome = case.stage.backup(&both, SnapshotKind::Incremental).expect("backed up");
    assert!(!outcome.is_partial(), "{outcome:#?}");
    case.has(2, "pruned");
    has(&case, &late, 2);
}

#[test]
fn what_is_moved_on_two_places_is_sealed_once_and_put_on_both() {
    let case = Case::new();
    let other = Arc::new(MemoryStorage::with_clock(case.stage.clock.clone()));
    sync_to(&case, &other);
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..5 {
        case.write(&format!("big-{number}"), 1800 + number);
    }
    let both: [Arc<dyn Storage>; 2] = [case.storage(), other.clone()];
    case.stage.backup(&both, SnapshotKind::Incremental).expect("backed up");
    let twin = Case { stage: case.stage.clone(), memory: other.clone(), wrong: Default::default() };
    case.forget(&first);
    twin.forget(&first);
    let repository = case.stage.repository.with_targets(vec![target(case.storage()), target(other.clone())]);
    let outcome = prune(&repository, &Case::request(), &case.cx()).expect("pruned");
    assert!(outcome.targets[0].done.blobs_moved > 0, "{outcome:#?}");
    assert_eq!(outcome.targets[1].done.blobs_moved, 0, "{outcome:#?}");
    assert_eq!(packs(&case.memory), packs(&other));
    case.has(1, "here");
    has(&case, &other, 1);
    assert!(outcome.targets.iter().all(|target| target.done.plans_done == 1), "{outcome:#?}");
}

#[test]
fn what_is_damaged_at_one_place_is_moved_out_of_the_other() {
    let case = Case::new();
    let other = Arc::new(MemoryStorage::with_clock(case.stage.clock.clone()));
    sync_to(&case, &other);
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..6 {
        case.write(&format!("big-{number}"), 1900 + number);
    }
    let both: [Arc<dyn Storage>; 2] = [case.storage(), other.clone()];
    case.stage.backup(&both, SnapshotKind::Incremental).expect("backed up");
    for (class, hash) in packs(&case.memory).into_iter().filter(|(class, _)| *class == PackClass::Data) {
        case.memory.tamper(&pack_name(class, &hash), |bytes| {
            let end = bytes.len().saturating_sub(20_000).max(64);
            bytes[64..end].iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
        });
    }
    case.forget(&first);
    let repository = case.stage.repository.with_targets(vec![target(case.storage()), target(other.clone())]);
    let outcome = prune(&repository, &Case::request(), &case.cx()).expect("pruned");
    assert!(outcome.targets[0].failed.is_none(), "{outcome:#?}");
    assert!(outcome.targets[0].done.blobs_moved > 0, "{outcome:#?}");
}

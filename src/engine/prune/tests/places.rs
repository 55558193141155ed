//! Prunes where there is more than one place: syncs, backups that complete a place, moves.

use std::collections::HashSet;
use std::sync::Arc;

use super::stage::Case;
use crate::engine::backup::tests::stage::{packs, snapshots, target};
use crate::engine::sync::{SyncOutcome, sync};
use crate::engine::verify::{Depth, verify};
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

//! What stops a prune before it deletes anything.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::stage::Case;
use crate::base::error::{Class, Classified};
use crate::engine::backup::tests::stage::{packs, snapshots, target};
use crate::engine::error::EngineError;
use crate::engine::prune::{PruneRequest, prune};
use crate::repository::format::names::{PackClass, pack_name};
use crate::repository::sweep::NoSteps;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;

#[track_caller]
fn refused(case: &Case, storage: Arc<dyn Storage>, request: &PruneRequest, code: &str) -> EngineError {
    let objects = case.count("p/") + case.count("m/") + case.count("s/");
    let error = case.prune_at(storage, request, &NoSteps).expect_err("refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.hint().is_some());
    assert_eq!(case.count("p/") + case.count("m/") + case.count("s/"), objects, "something was deleted");
    error
}

/// Lacks a name in every second listing of a folder, as a stale list does once.
struct Forgetful {
    memory: Arc<MemoryStorage>,
    lacks: ObjectName,
    listings: std::sync::atomic::AtomicU64,
    /// From which listing of `s/` on it lacks the name.
    from: u64,
    to: u64,
}

impl Storage for Forgetful {
    fn label(&self) -> &str {
        self.memory.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.memory.put_new(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        let number = if prefix == "s/" {
            self.listings.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1
        } else {
            0
        };
        let is_short = (self.from..=self.to).contains(&number);
        self.memory.list(prefix, &mut |stat| {
            let hidden = is_short && stat.name.as_str().starts_with(self.lacks.as_str());
            if hidden { ControlFlow::Continue(()) } else { visit(stat) }
        })
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.memory.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Two snapshots with nothing in common but their groups, so that one is easily taken for dead.
fn two() -> Case {
    let case = Case::new();
    for number in 0..8 {
        case.write(&format!("big-{number}"), 800 + number);
    }
    case.backup();
    case
}

fn forgetful(case: &Case, from: u64, to: u64) -> Arc<Forgetful> {
    let lacks = snapshots(&case.memory).0[0].proposal();
    Arc::new(Forgetful { memory: case.memory.clone(), lacks, listings: Default::default(), from, to })
}

#[test]
fn a_listing_that_lacks_a_snapshot_once_deletes_nothing() {
    // The look at the history, the first of the planner, the second one; then those of the sweeper.
    for at in 1..=7 {
        let case = two();
        let storage = forgetful(&case, at, at);
        let outcome = case.prune_at(storage, &Case::request(), &NoSteps);
        if let Err(error) = outcome {
            assert_eq!(error.code(), "E0330", "listing {at}: {error}");
        }
        assert_eq!(case.is_whole(&format!("listing {at}")), 2);
    }
    let case = two();
    refused(&case, forgetful(&case, 3, 3), &Case::request(), "E0330");
}

#[test]
fn a_sweep_whose_listings_lack_what_its_plan_walked_deletes_nothing() {
    let case = two();
    // Everything is live when the plan is made: only small packs are joined.
    for number in 0..10 {
        case.write("hourly", 900 + number);
        case.backup();
    }
    let snapshots = case.is_whole("before");
    let storage = forgetful(&case, 4, 100);
    refused(&case, storage, &Case::request(), "E0330");
    assert_eq!(case.is_whole("after"), snapshots);
}

#[test]
fn a_clock_that_cannot_be_right_deletes_nothing() {
    let case = two();
    let first = snapshots(&case.memory).0[0].id;
    case.forget(&first);
    let now = crate::base::clock::Clock::now(case.stage.clock.as_ref());
    *case.wrong.lock().expect("free") = Some(now.minus(Duration::from_hours(2)));
    refused(&case, case.storage(), &Case::request(), "E0331");
    *case.wrong.lock().expect("free") = Some(now.plus(Duration::from_hours(401 * 24)));
    let error = refused(&case, case.storage(), &Case::request(), "E0331");
    assert_eq!(error.class(), Class::Refused);
    case.prune(&PruneRequest { accept_clock: true, ..Case::request() }).expect("pruned");
    assert_eq!(case.is_whole("pruned"), 1);
}

#[test]
fn more_than_half_goes_only_when_it_is_meant() {
    let case = two();
    case.forget(&snapshots(&case.memory).0[0].id);
    case.forget(&snapshots(&case.memory).0[0].id);
    let request = PruneRequest { accept_more_than_half: false, ..Case::request() };
    refused(&case, case.storage(), &request, "E0332");
    assert_eq!(case.count("g/"), 0, "not even a plan");
    case.prune(&Case::request()).expect("pruned");
    assert_eq!(case.count("p/"), 0);
}

#[test]
fn a_confirmation_without_its_snapshot_deletes_nothing() {
    let case = two();
    let name = snapshots(&case.memory).0[0].clone();
    case.memory.delete(&name.proposal()).expect("deleted");
    let error = refused(&case, case.storage(), &Case::request(), "E0334");
    assert_eq!(error.class(), Class::Damage);
    case.memory.delete(&name.confirmation()).expect("deleted");
    case.prune(&Case::request()).expect("pruned");
}

#[test]
fn what_is_missing_or_damaged_below_a_valid_snapshot_ends_it_and_nothing_is_deleted() {
    for class in [PackClass::Data, PackClass::Meta] {
        let case = two();
        case.forget(&snapshots(&case.memory).0[0].id);
        let needed = case.stage.packs_of(&case.memory, &snapshots(&case.memory).0[0]);
        let (of, hash) = *needed.iter().find(|(of, _)| *of == class).expect("one of each");
        case.memory.delete(&pack_name(of, &hash)).expect("deleted");
        let error = refused(&case, case.storage(), &Case::request(), "E0335");
        assert_eq!(error.class(), Class::Damage);
    }
    let case = two();
    case.forget(&snapshots(&case.memory).0[0].id);
    let runs = crate::storage::contract::list_all(case.memory.as_ref(), "i/").expect("listed");
    case.memory.tamper(&runs[0].name, |bytes| bytes[200] ^= 1);
    case.memory.tamper(&runs[1].name, |bytes| bytes[200] ^= 1);
    refused(&case, case.storage(), &Case::request(), "E0335");
}

#[test]
fn a_damaged_blob_is_not_moved_in_place_of_a_sound_one() {
    // Which blobs share a pack is drawn by every repository's own keys: here some must have to move.
    let draw = || {
        let case = Case::new();
        let first = snapshots(&case.memory).0[0].id;
        for number in 0..6 {
            case.write(&format!("big-{number}"), 1000 + number);
        }
        case.backup();
        case.forget(&first);
        let planned = case.prune(&PruneRequest { dry_run: true, ..Case::request() }).expect("planned");
        let moved = planned.targets[0].plan.as_ref().expect("planned").moved_bytes;
        (moved > 0).then_some(case)
    };
    let case = (0..30).find_map(|_| draw()).expect("one in a few has something to move");
    let needed = case.stage.packs_of(&case.memory, &snapshots(&case.memory).0[0]);
    for (class, hash) in packs(&case.memory).into_iter().filter(|(class, _)| *class == PackClass::Data) {
        // A byte in every blob, none in the footer.
        case.memory.tamper(&pack_name(class, &hash), |bytes| {
            let end = bytes.len().saturating_sub(20_000).max(64);
            bytes[64..end].iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
        });
    }
    let error = case.prune(&Case::request()).expect_err("it cannot be moved");
    assert_eq!((error.code(), error.class()), ("E0338", Class::Damage), "{error}");
    for (class, hash) in needed {
        assert!(case.memory.head(&pack_name(class, &hash)).expect("looked").is_some(), "{hash} was deleted");
    }
    assert_eq!(case.count("g/"), 1, "the plan stands");
}

/// Refuses to delete what begins so.
struct Locked(Arc<MemoryStorage>, &'static str);

impl Storage for Locked {
    fn label(&self) -> &str {
        self.0.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.0.put_new(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.0.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.0.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.0.list(prefix, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        if !name.as_str().starts_with(self.1) {
            return self.0.delete(name);
        }
        Err(StorageError::Denied {
            place: self.label().to_owned(),
            action: format!("deleting {name}"),
            reason: "locked".to_owned(),
        })
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[test]
fn what_the_place_refuses_to_delete_stays_with_its_plan_and_is_reported() {
    let case = two();
    case.forget(&snapshots(&case.memory).0[0].id);
    let held = case.count("p/");
    let locked: Arc<dyn Storage> = Arc::new(Locked(case.memory.clone(), ""));
    let outcome = case.prune_at(locked.clone(), &Case::request(), &NoSteps).expect("pruned");
    assert!(!outcome.is_whole() && !outcome.targets[0].done.refused.is_empty(), "{outcome:#?}");
    assert!(case.count("p/") >= held && case.count("g/") == 1, "the plan stands, without a mark");
    // A snapshot that cannot be deleted counts again: what it needs is kept.
    let old = snapshots(&case.memory).0[0].id;
    let forget = crate::engine::backup::tests::stage::name(&format!("f/{old}"));
    case.stage.request(&case.memory, &old);
    let outcome = case.prune_at(locked, &Case::request(), &NoSteps).expect("pruned");
    assert!(!outcome.targets[0].done.refused.is_empty());
    case.memory.delete(&forget).expect("deleted");
    assert_eq!(case.is_whole("locked"), 1);
    case.settle("unlocked");
}

#[test]
fn a_snapshot_that_cannot_be_deleted_keeps_what_it_needs() {
    let case = two();
    let old = snapshots(&case.memory).0[0].id;
    let forget = crate::engine::backup::tests::stage::name(&format!("f/{old}"));
    case.stage.request(&case.memory, &old);
    let locked: Arc<dyn Storage> = Arc::new(Locked(case.memory.clone(), "s/"));
    let outcome = case.prune_at(locked, &Case::request(), &NoSteps).expect("pruned");
    assert!(!outcome.targets[0].done.refused.is_empty(), "{outcome:#?}");
    case.memory.delete(&forget).expect("deleted");
    assert_eq!(case.is_whole("kept"), 2);
}

#[test]
fn a_key_that_may_not_condemn_writes_no_plan() {
    let case = two();
    let repository = case.stage.repository.with_targets(vec![target(case.storage())]).without_admin();
    let error = prune(&repository, &Case::request(), &case.cx()).expect_err("refused");
    assert_eq!((error.code(), error.class()), ("E0333", Class::WrongKey), "{error}");
    assert_eq!(case.count("g/"), 0);
    // Looking needs no such right.
    prune(&repository, &PruneRequest { dry_run: true, ..Case::request() }, &case.cx()).expect("looked");
}

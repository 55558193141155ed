//! The order in which a snapshot's objects go.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::forget;
use crate::base::cancel::Cancel;
use crate::base::clock::{ManualClock, Timestamp};
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::access::Target;
use crate::repository::format::names::SnapshotName;
use crate::repository::snapshots;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::fault::{Fault, FaultPlan};
use crate::storage::memory::MemoryStorage;

fn target(storage: Arc<dyn Storage>) -> Target {
    Target { name: "t".to_owned(), storage, in_flight: 1 }
}

fn name(id: u8, nonce: u8) -> SnapshotName {
    SnapshotName::new(Timestamp::default(), &WriterId::new([1; 16]), ObjectHash::new([id; 32]), [nonce; 8])
}

fn put(memory: &MemoryStorage, name: &ObjectName) {
    memory.put_new(name, Bytes::from_static(b"x")).expect("put");
}

/// Snapshots 1 and 2; 1 twice, and once more without its confirmation.
fn stage() -> Arc<MemoryStorage> {
    let memory = Arc::new(MemoryStorage::new());
    for name in [name(1, 1), name(1, 2), name(2, 3)] {
        put(&memory, &name.proposal());
        put(&memory, &name.confirmation());
    }
    put(&memory, &name(1, 4).proposal());
    memory
}

#[test]
fn a_forget_stopped_anywhere_leaves_no_confirmation_without_its_snapshot() {
    let one: HashSet<ObjectHash> = [ObjectHash::new([1; 32])].into();
    for stop in 0.. {
        let memory = stage();
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let dying = Fault::new(memory.clone(), clock, FaultPlan::stop_after(stop));
        let done = forget(&target(Arc::new(dying)), &one, &Cancel::new());
        let alive = target(memory.clone());
        let listed = snapshots::list(&alive, None).expect("listed");
        assert_eq!(listed.headless, [], "after {stop} operations");
        assert!(listed.valid.contains(&name(2, 3)));
        let again = forget(&alive, &one, &Cancel::new()).expect("it goes on");
        assert!(again.refused.is_empty());
        let listed = snapshots::list(&alive, None).expect("listed");
        assert_eq!((listed.valid, listed.pending), (vec![name(2, 3)], vec![]));
        if done.is_ok() {
            assert!(stop > 5, "it takes more operations than that");
            break;
        }
    }
}

/// Notes deletions and syncs, and keeps one object, as a lock does.
struct Watched {
    memory: Arc<MemoryStorage>,
    kept: Option<ObjectName>,
    log: Mutex<Vec<String>>,
}

impl Watched {
    fn new(memory: Arc<MemoryStorage>, kept: Option<ObjectName>) -> Arc<Self> {
        Arc::new(Self { memory, kept, log: Mutex::default() })
    }

    fn note(&self, what: String) {
        self.log.lock().expect("nobody panics").push(what);
    }
}

impl Storage for Watched {
    fn label(&self) -> &str {
        "watched"
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.memory.put_new(name, bytes)
    }

    fn put_fresh(
        &self,
        name: &mut dyn FnMut() -> ObjectName,
        bytes: Bytes,
    ) -> Result<ObjectName, StorageError> {
        self.memory.put_fresh(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.memory.list(prefix, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        if self.kept.as_ref() == Some(name) {
            let (action, reason) = (format!("deleting {name}"), "it is locked".to_owned());
            return Err(StorageError::Denied { place: "watched".to_owned(), action, reason });
        }
        self.note(name.to_string());
        self.memory.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.note("sync".to_owned());
        self.memory.sync()
    }
}

#[test]
fn confirmations_are_gone_for_good_before_any_snapshot_goes() {
    let storage = Watched::new(stage(), None);
    let ids: HashSet<ObjectHash> = [1, 2].map(|id| ObjectHash::new([id; 32])).into();
    let done = forget(&target(storage.clone()), &ids, &Cancel::new()).expect("removed");
    assert_eq!(done.gone.len(), 2);
    let log = storage.log.lock().expect("nobody panics");
    let last_confirmation = log.iter().rposition(|line| line.ends_with(".ok")).expect("one");
    let is_snapshot = |line: &String| line.starts_with("s/") && !line.ends_with(".ok");
    let first_snapshot = log.iter().position(is_snapshot).expect("one");
    assert!(log[last_confirmation..first_snapshot].contains(&"sync".to_owned()), "{log:?}");
    assert_eq!(log.last().map(String::as_str), Some("sync"));
}

#[test]
fn a_snapshot_whose_confirmation_is_kept_stays_whole() {
    let storage = Watched::new(stage(), Some(name(2, 3).confirmation()));
    let ids: HashSet<ObjectHash> = [1, 2].map(|id| ObjectHash::new([id; 32])).into();
    let alive = target(storage);
    let done = forget(&alive, &ids, &Cancel::new()).expect("the rest goes");
    assert_eq!(done.gone, [ObjectHash::new([1; 32])]);
    assert_eq!(done.refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ObjectHash::new([2; 32])]);
    let listed = snapshots::list(&alive, None).expect("listed");
    assert_eq!((listed.valid, listed.headless), (vec![name(2, 3)], vec![]));
}

//! Readers need no lock: what a sweep moved while they read is found where it is now.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;

use super::stage::Case;
use crate::engine::backup::tests::stage::{snapshots, target};
use crate::engine::restore::request::{Mode, Others, RestoreRequest};
use crate::engine::restore::restore;
use crate::repository::snapshots::find;
use crate::source::files::{Existing, Owner};
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;

/// Lets something happen before the n-th read of an object.
struct Interrupted {
    memory: Arc<MemoryStorage>,
    reads: AtomicU64,
    at: u64,
    deed: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Storage for Interrupted {
    fn label(&self) -> &str {
        self.memory.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.memory.put_new(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        if self.reads.fetch_add(1, Ordering::SeqCst) + 1 == self.at
            && let Some(deed) = self.deed.lock().expect("nobody panics").take()
        {
            deed();
        }
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.memory.list(prefix, visit)
    }

    fn delete(&self, _name: &ObjectName) -> Result<(), StorageError> {
        panic!("a restore deletes nothing")
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// One snapshot that leans on packs which a prune moves out of.
fn sparse() -> Arc<Case> {
    let case = Case::new();
    let first = snapshots(&case.memory).0[0].id;
    for number in 0..5 {
        case.write(&format!("big-{number}"), 1700 + number);
    }
    case.backup();
    case.forget(&first);
    Arc::new(case)
}

#[test]
fn a_restore_that_a_prune_overtakes_at_any_read_brings_everything_back() {
    let mut at = 1;
    loop {
        let case = sparse();
        let by = Arc::clone(&case);
        let deed: Box<dyn FnOnce() + Send> =
            Box::new(move || drop(by.prune(&Case::request()).expect("pruned")));
        let storage = Arc::new(Interrupted {
            memory: case.memory.clone(),
            reads: AtomicU64::new(0),
            at,
            deed: Mutex::new(Some(deed)),
        });
        let repository = case.stage.repository.with_targets(vec![target(storage.clone())]);
        let snapshot = find(&repository, &repository.targets()[0], "latest").expect("found");
        let to = tempfile::tempdir().expect("a folder");
        let request = RestoreRequest {
            to: to.path().to_owned(),
            paths: Vec::new(),
            existing: Existing::Refuse,
            owner: Owner::Keep,
            others: Others::Keep,
            mode: Mode::Write,
            ours: Vec::new(),
        };
        let outcome = restore(&repository, &snapshot, &request, Read::Quick, &case.cx())
            .unwrap_or_else(|error| panic!("read {at}: {error}"));
        assert_eq!(outcome.failed.count, 0, "read {at}: {outcome:#?}");
        for entry in std::fs::read_dir(case.stage.source.path()).expect("listed") {
            let path = entry.expect("read").path();
            let name = path.file_name().expect("a name");
            let same =
                std::fs::read(&path).expect("read") == std::fs::read(to.path().join(name)).expect("restored");
            assert!(same, "read {at}: {path:?}");
        }
        if storage.reads.load(Ordering::SeqCst) < at {
            assert!(at > 8, "a restore reads more than {at} times");
            return;
        }
        at += 1;
    }
}

//! What is durable before what, and what counts as a snapshot at all.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::stage::{Stage, snapshots};
use crate::engine::backup::request::SourceRule;
use crate::engine::error::EngineError;
use crate::repository::format::index_run::IndexRun;
use crate::repository::format::names::pack_name;
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;

/// A storage that knows what a power cut would take, and refuses what may not come before it is safe.
struct Ordered {
    stage: Arc<Stage>,
    memory: Arc<MemoryStorage>,
    volatile: Mutex<BTreeSet<ObjectName>>,
    log: Mutex<Vec<&'static str>>,
}

impl Ordered {
    fn durable(&self, below: &[&str], before: &ObjectName) {
        let volatile = self.volatile.lock().expect("nobody panics");
        let early = volatile.iter().find(|name| below.iter().any(|prefix| name.as_str().starts_with(prefix)));
        assert_eq!(early, None, "not durable before {before}");
    }
}

impl Storage for Ordered {
    fn label(&self) -> &str {
        "ordered"
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        let text = name.as_str();
        let kind = match text.split('/').next() {
            Some("p" | "m") => "pack",
            Some("i") => {
                self.durable(&["p/", "m/"], name);
                let run = IndexRun::open(&bytes, &self.stage.repository.id(), self.stage.repository.keys());
                for pack in run.expect("a run").packs {
                    let there = self.memory.head(&pack_name(pack.class, &pack.hash))?.is_some();
                    assert!(there, "{name} comes before its pack {}", pack.hash);
                }
                "run"
            }
            Some("s") if text.ends_with(".ok") => {
                self.durable(&[""], name);
                "confirmation"
            }
            Some("s") => {
                self.durable(&["p/", "m/", "i/"], name);
                "proposal"
            }
            _ => "key",
        };
        self.log.lock().expect("nobody panics").push(kind);
        self.volatile.lock().expect("nobody panics").insert(name.clone());
        self.memory.put_new(name, bytes)
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
        panic!("a backup deleted {name}");
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.volatile.lock().expect("nobody panics").clear();
        Ok(())
    }
}

fn ordered(stage: &Arc<Stage>) -> Arc<Ordered> {
    Arc::new(Ordered {
        stage: Arc::clone(stage),
        memory: stage.fresh(),
        volatile: Mutex::default(),
        log: Mutex::default(),
    })
}

#[test]
fn packs_are_durable_before_their_run_the_run_before_the_proposal_and_that_before_its_confirmation() {
    let stage = Stage::new();
    let (first, second) = (ordered(&stage), ordered(&stage));
    let storages: [Arc<dyn Storage>; 1] = [first.clone()];
    stage.backup(&storages, SnapshotKind::Full).expect("backed up");
    std::fs::write(stage.source.path().join("changed"), b"since").expect("written");
    // The second place lacks everything: what is copied to it keeps the order, too.
    let storages: [Arc<dyn Storage>; 2] = [first.clone(), second.clone()];
    stage.backup(&storages, SnapshotKind::Incremental).expect("backed up");
    for (storage, commits) in [(first, 2), (second, 1)] {
        let log = storage.log.lock().expect("nobody panics").clone();
        for kind in ["pack", "run", "proposal", "confirmation"] {
            let count = log.iter().filter(|put| **put == kind).count();
            assert!(count >= commits, "{count} puts of a {kind}: {log:?}");
        }
        assert_eq!(log.last(), Some(&"confirmation"));
        assert!(storage.volatile.lock().expect("nobody panics").is_empty(), "done was said too early");
    }
}

#[test]
fn a_proposal_without_confirmation_is_no_parent() {
    let stage = Stage::new();
    let memory = stage.fresh();
    let storages: [Arc<dyn Storage>; 1] = [memory.clone()];
    let first = stage.backup(&storages, SnapshotKind::Full).expect("backed up");
    let second = stage.backup(&storages, SnapshotKind::Incremental).expect("backed up");
    assert_eq!(second.parent, Some(first.snapshot));
    let (proposals, _) = snapshots(&memory);
    let pending = proposals.iter().find(|proposal| proposal.id == second.snapshot).expect("there");
    memory.delete(&pending.confirmation()).expect("deleted");
    let third = stage.backup(&storages, SnapshotKind::Incremental).expect("backed up");
    assert_eq!(third.parent, Some(first.snapshot));
}

#[test]
fn a_source_with_fewer_files_than_it_must_have_makes_no_snapshot() {
    let stage = Stage::new();
    let memory = stage.fresh();
    let storages: [Arc<dyn Storage>; 1] = [memory.clone()];
    let rule = SourceRule { files_min: 5 };
    let failed = stage.backup_by(&storages, SnapshotKind::Full, rule);
    assert!(matches!(failed, Err(EngineError::TooFewFiles { files: 4, needed: 5, .. })), "{failed:?}");
    assert!(snapshots(&memory).0.is_empty());
    stage.backup_by(&storages, SnapshotKind::Full, SourceRule { files_min: 4 }).expect("backed up");
}

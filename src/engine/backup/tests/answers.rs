//! Answers that are lost on the way: a proposal is repeated under a new nonce, a confirmation under
//! its name, and the snapshot is one.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::stage::{Stage, snapshots};
use crate::base::error::{Class, Classified};
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;
use crate::storage::retry::{Retry, RetryPolicy};

/// What becomes of the first puts of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They fail without effect.
    Refused,
    /// They take effect and the answer is lost.
    AnswerLost,
    /// They fail, and take effect when everything is over.
    Late,
}

/// A storage that treats the first `times` puts of names with this end so.
struct Unlucky {
    memory: Arc<MemoryStorage>,
    confirmations: bool,
    fate: Fate,
    left: AtomicU32,
    tried: Mutex<Vec<ObjectName>>,
    late: Mutex<Vec<(ObjectName, Bytes)>>,
}

impl Storage for Unlucky {
    fn label(&self) -> &str {
        "unlucky"
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        let text = name.as_str();
        if !text.starts_with("s/") || text.ends_with(".ok") != self.confirmations {
            return self.memory.put_new(name, bytes);
        }
        self.tried.lock().expect("nobody panics").push(name.clone());
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            return self.memory.put_new(name, bytes);
        }
        match self.fate {
            Fate::Refused => {}
            Fate::AnswerLost => drop(self.memory.put_new(name, bytes)?),
            Fate::Late => self.late.lock().expect("nobody panics").push((name.clone(), bytes)),
        }
        Err(StorageError::Transient {
            place: "unlucky".to_owned(),
            action: "writing".to_owned(),
            reason: "no answer".to_owned(),
            wait: None,
        })
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
        Ok(())
    }
}

fn unlucky(stage: &Stage, confirmations: bool, fate: Fate, times: u32) -> Arc<Unlucky> {
    Arc::new(Unlucky {
        memory: stage.fresh(),
        confirmations,
        fate,
        left: AtomicU32::new(times),
        tried: Mutex::default(),
        late: Mutex::default(),
    })
}

fn retried(stage: &Stage, storage: &Arc<Unlucky>) -> [Arc<dyn Storage>; 1] {
    [Arc::new(Retry::new(storage.clone(), stage.clock.clone(), RetryPolicy::default()))]
}

#[test]
fn a_proposal_with_an_unknown_outcome_is_repeated_under_a_new_nonce() {
    let stage = Stage::new();
    for (fate, pending) in [(Fate::Refused, 0), (Fate::AnswerLost, 2), (Fate::Late, 2)] {
        let storage = unlucky(&stage, false, fate, 2);
        let outcome = stage.backup(&retried(&stage, &storage), SnapshotKind::Full).expect("backed up");
        for (name, bytes) in storage.late.lock().expect("nobody panics").drain(..) {
            storage.memory.put_new(&name, bytes).expect("put");
        }
        let mut tried = storage.tried.lock().expect("nobody panics").clone();
        assert_eq!(tried.len(), 3, "{fate:?}");
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), 3, "{fate:?}: a name was used twice");
        let (proposals, confirmed) = snapshots(&storage.memory);
        assert_eq!((proposals.len(), confirmed.len()), (pending + 1, 1), "{fate:?}");
        let valid = stage.check(&storage.memory, "lost answers");
        assert_eq!(valid.into_iter().collect::<Vec<_>>(), [outcome.snapshot], "{fate:?}");
        // The next backup counts it once and builds on it.
        let next = stage.backup(&retried(&stage, &storage), SnapshotKind::Incremental).expect("backed up");
        assert_eq!(next.parent, Some(outcome.snapshot), "{fate:?}");
    }
}

#[test]
fn a_confirmation_with_an_unknown_outcome_is_repeated_and_the_backup_succeeds() {
    let stage = Stage::new();
    for fate in [Fate::Refused, Fate::AnswerLost, Fate::Late] {
        let storage = unlucky(&stage, true, fate, 2);
        let outcome = stage.backup(&retried(&stage, &storage), SnapshotKind::Full).expect("backed up");
        let (proposals, confirmed) = snapshots(&storage.memory);
        assert_eq!((proposals.len(), confirmed.len()), (1, 1), "{fate:?}");
        assert!(stage.check(&storage.memory, "lost answers").contains(&outcome.snapshot), "{fate:?}");
    }
}

#[test]
fn a_proposal_that_never_gets_through_fails_within_the_budget_and_confirms_nothing() {
    let stage = Stage::new();
    let storage = unlucky(&stage, false, Fate::AnswerLost, u32::MAX);
    let error = stage.backup(&retried(&stage, &storage), SnapshotKind::Full).expect_err("no answer ever");
    assert_eq!(error.class(), Class::Unreachable, "{error}");
    let (proposals, confirmed) = snapshots(&storage.memory);
    assert!(proposals.len() > 10 && confirmed.is_empty(), "{} and {confirmed:?}", proposals.len());
}

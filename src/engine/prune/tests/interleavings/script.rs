//! A storage that does what a script says at each call, actors that are frozen at one, and a small
//! history to play with.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Class, Classified};
use crate::base::id::ObjectHash;
use crate::engine::backup::tests::stage::{Stage, snapshots};
use crate::engine::error::EngineError;
use crate::engine::prune::PruneRequest;
use crate::engine::prune::tests::stage::{At, Case};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::SnapshotName;
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put,
    Get,
    Head,
    List,
    /// Between two names of a listing.
    Page,
    Delete,
}

/// An operation that is about to be carried out.
pub(super) struct Call<'c> {
    /// From 1, all kinds together.
    pub(super) number: u64,
    pub(super) op: Op,
    pub(super) name: &'c str,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Go,
    Dead,
    Refused,
    NoSpace,
}

type Script = dyn Fn(&Call<'_>) -> Answer + Send + Sync;

/// A storage with a script. Others work on its memory directly.
pub(super) struct Scripted {
    memory: Arc<MemoryStorage>,
    calls: AtomicU64,
    script: Box<Script>,
    /// What was put.
    pub(super) puts: Mutex<Vec<(ObjectName, Bytes)>>,
    /// What was deleted.
    pub(super) deletes: Mutex<Vec<ObjectName>>,
}

impl Scripted {
    pub(super) fn new(
        memory: &Arc<MemoryStorage>,
        script: impl Fn(&Call<'_>) -> Answer + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            memory: memory.clone(),
            calls: AtomicU64::new(0),
            script: Box::new(script),
            puts: Mutex::default(),
            deletes: Mutex::default(),
        })
    }

    /// Something happens before the call of that number.
    pub(super) fn at(
        memory: &Arc<MemoryStorage>,
        number: u64,
        deed: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(memory, move |call| {
            if call.number == number {
                deed();
            }
            Answer::Go
        })
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call(&self, op: Op, name: &str) -> Result<(), StorageError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let place = self.label().to_owned();
        match (self.script)(&Call { number, op, name }) {
            Answer::Go => Ok(()),
            Answer::Dead => Err(StorageError::Io {
                place,
                action: format!("operation {number}"),
                source: std::io::Error::other("the machine is dead"),
            }),
            Answer::Refused => Err(StorageError::Denied {
                place,
                action: format!("{op:?} of {name}"),
                reason: "locked".to_owned(),
            }),
            Answer::NoSpace => Err(StorageError::NoSpace { place, name: name.parse().expect("a name") }),
        }
    }
}

impl Storage for Scripted {
    fn label(&self) -> &str {
        self.memory.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.call(Op::Put, name.as_str())?;
        let copy = Bytes::copy_from_slice(&bytes);
        self.puts.lock().expect("nobody panics").push((name.clone(), copy.clone()));
        self.memory.put_new(name, copy)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.call(Op::Get, name.as_str())?;
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.call(Op::Head, name.as_str())?;
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.list_after(prefix, None, visit)
    }

    /// Pages of one name: between any two the script has its turn.
    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.call(Op::List, prefix)?;
        let mut after = after.cloned();
        loop {
            let mut next = None;
            self.memory.list_after(prefix, after.as_ref(), &mut |stat| {
                next = Some(stat);
                ControlFlow::Break(())
            })?;
            let Some(stat) = next else { return Ok(()) };
            after = Some(stat.name.clone());
            if visit(stat).is_break() {
                return Ok(());
            }
            (self.script)(&Call { number: 0, op: Op::Page, name: prefix });
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.call(Op::Delete, name.as_str())?;
        self.deletes.lock().expect("nobody panics").push(name.clone());
        self.memory.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// An actor that stands still at one call, until it is thawed.
pub(super) struct Frozen<T> {
    reached: Receiver<()>,
    go: Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Frozen<T> {
    /// Lets it run until a call for which `here` holds the `nth` time.
    pub(super) fn start(
        memory: &Arc<MemoryStorage>,
        nth: u64,
        here: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static,
        work: impl FnOnce(Arc<dyn Storage>) -> T + Send + 'static,
    ) -> Self {
        Self::start_by(memory, nth, here, |_| Answer::Go, work)
    }

    /// The same, and after it a script of its own.
    pub(super) fn start_by(
        memory: &Arc<MemoryStorage>,
        nth: u64,
        here: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static,
        script: impl Fn(&Call<'_>) -> Answer + Send + Sync + 'static,
        work: impl FnOnce(Arc<dyn Storage>) -> T + Send + 'static,
    ) -> Self {
        let (reach, reached) = channel();
        let (go, goes) = channel();
        let (counted, goes) = (AtomicU64::new(0), Mutex::new(goes));
        let storage = Scripted::new(memory, move |call| {
            if here(call) && counted.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                reach.send(()).expect("somebody waits");
                let goes: &Mutex<Receiver<()>> = &goes;
                goes.lock().expect("nobody panics").recv().expect("somebody thaws it");
            }
            script(call)
        });
        let thread = std::thread::spawn(move || work(storage));
        Self { reached, go, thread }
    }

    /// Whether it stands still now; otherwise it has ended.
    pub(super) fn stands(&self) -> bool {
        self.reached.recv().is_ok()
    }

    /// Lets it go on to its end.
    pub(super) fn thaw(self) -> T {
        // Who has ended hears nothing.
        self.go.send(()).ok();
        self.thread.join().expect("it doesn't panic")
    }
}

/// A prune during which a frozen writer goes on to its end at step `number`, and then `deed` happens.
/// Says how the writer ended and how many steps the prune had.
pub(super) fn crossed(
    case: &Arc<Case>,
    writer: Frozen<Result<ObjectHash, EngineError>>,
    number: u64,
    deed: &(dyn Fn() + Sync),
    what: &str,
) -> (Result<ObjectHash, EngineError>, u64) {
    let (writer, result) = (Mutex::new(Some(writer)), Mutex::new(None));
    let thaw = || {
        if let Some(writer) = writer.lock().expect("nobody panics").take() {
            *result.lock().expect("nobody panics") = Some(writer.thaw());
        }
    };
    let here = |_| {
        thaw();
        deed();
        Ok(())
    };
    let steps = At::new(number, &here);
    case.prune_at(case.storage(), &greedy(), &steps).unwrap_or_else(|error| panic!("{what}: {error}"));
    thaw();
    let result = result.lock().expect("nobody panics").take().expect("it ended");
    (result, steps.reached())
}

/// A history in memory that can be played from again and again.
pub(super) struct Scene {
    stage: Arc<Stage>,
    now: Timestamp,
}

impl Scene {
    /// Two snapshots, the older of which is forgotten: packs with live and dead blobs. The source
    /// has a content again that only the older one had, and a new one.
    pub(super) fn new() -> Self {
        let stage = Stage::new();
        let memory = stage.fresh_dated();
        let case = Case { stage: stage.clone(), memory: memory.clone(), wrong: Mutex::default() };
        for number in 0..3 {
            case.write(&format!("big-{number}"), number);
        }
        let first = case.backup();
        case.write("big-0", 10);
        case.write("big-3", 3);
        case.backup();
        case.forget(&first);
        case.write("big-0", 0);
        case.write("big-4", 4);
        stage.keep(&memory);
        let now = stage.clock.now();
        Self { stage, now }
    }

    /// Everything as it was, in a memory of its own.
    pub(super) fn case(&self) -> Arc<Case> {
        self.stage.clock.step_to(self.now);
        let memory = self.stage.fresh_dated();
        Arc::new(Case { stage: self.stage.clone(), memory, wrong: Mutex::default() })
    }
}

impl Scene {
    /// The snapshot that is there at first.
    pub(super) fn oldest(&self) -> SnapshotName {
        snapshots(&self.case().memory).0.into_iter().next().expect("a snapshot")
    }
}

/// A backup through that storage.
pub(super) fn backup(case: &Case, storage: Arc<dyn Storage>) -> Result<ObjectHash, EngineError> {
    Ok(case.stage.backup(&[storage], SnapshotKind::Incremental)?.snapshot)
}

/// A prune that finds everything ripe, and every proposal old.
pub(super) fn greedy() -> PruneRequest {
    PruneRequest { stale: Duration::ZERO, max_unused_percent: 0, ..Case::request() }
}

/// Plans, sweeps, lets the tail pass and ends the plans.
pub(super) fn prune_and_end(case: &Case) {
    for _ in 0..2 {
        case.prune(&greedy()).expect("pruned");
        case.stage.clock.advance(Duration::from_hours(30 * 24));
    }
    case.prune(&greedy()).expect("pruned");
}

/// Forgets the newest valid snapshot: its confirmation first.
pub(super) fn forget_newest(case: &Case) {
    let (_, confirmed) = snapshots(&case.memory);
    if let Some(newest) = confirmed.into_iter().max_by_key(|name| name.proposal().to_string()) {
        case.forget(&newest.id);
    }
}

/// Whether a snapshot stands under one of its names: object and confirmation.
pub(super) fn is_valid(case: &Case, id: &ObjectHash) -> bool {
    let (proposals, confirmed) = snapshots(&case.memory);
    proposals.iter().any(|name| name.id == *id && confirmed.contains(name))
}

/// Every snapshot is whole; the backup is one of them, or said that it is not.
#[track_caller]
pub(super) fn judge(case: &Case, result: Result<ObjectHash, EngineError>, others: u64, what: &str) {
    let found = case.is_whole(what);
    match result {
        Ok(id) => {
            assert!(is_valid(case, &id), "{what}: a success that is no backup");
            // A round whose confirmation was put before a look said no has an unknown outcome: it may
            // stand beside the one that succeeded, as whole as that.
            assert!((others + 1..=others + 2).contains(&found), "{what}: a success, {found} valid");
        }
        Err(EngineError::Repository(RepositoryError::Busy { .. })) => {
            assert_eq!(found, others, "{what}: busy")
        }
        // A parent whose packs or listing went away in the middle: the run fails and confirms nothing.
        Err(error) => {
            assert!(matches!(error.class(), Class::Damage | Class::NotFound), "{what}: {error}");
            assert_eq!(found, others, "{what}: {error}");
        }
    }
}

pub(super) fn is_torture() -> bool {
    std::env::var_os("LIFEBOAT_TORTURE_ROUNDS").is_some()
}

/// Plays at each of an actor's operations: `play` says how many it had. Blobs go to packs at random,
/// so that one history may have an operation more than another.
pub(super) fn at_each(play: impl Fn(u64) -> u64) {
    const LAST: u64 = 14;
    const SOME: u64 = 8;
    let operations = play(u64::MAX);
    let step = if is_torture() { 1 } else { (operations / SOME).max(1) };
    for number in 1..=operations {
        if number + LAST > operations || number % step == 0 {
            play(number);
        }
    }
}

/// The same for the steps of a prune, which are few.
pub(super) fn at_each_step(play: impl Fn(u64) -> u64) {
    let steps = play(u64::MAX);
    for number in 1..=steps {
        play(number);
    }
}

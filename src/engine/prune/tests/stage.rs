//! A repository with some history, and steps at which something happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::clock::{ManualClock, Timestamp};
use crate::base::id::ObjectHash;
use crate::engine::backup::tests::stage::{Stage, snapshots, target};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::prune::{PruneOutcome, PruneRequest, prune_stepwise};
use crate::engine::verify::{Depth, verify};
use crate::repository::error::RepositoryError;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::sweep::{NoSteps, Step, Steps};
use crate::storage::contract::Storage;
use crate::storage::memory::MemoryStorage;

/// A repository in memory, and its source.
pub(super) struct Case {
    pub(super) stage: Arc<Stage>,
    pub(super) memory: Arc<MemoryStorage>,
    /// What the clock of a prune says, when it is wrong.
    pub(super) wrong: Mutex<Option<Timestamp>>,
}

impl Case {
    /// One snapshot of eight files, each more than one chunk of a group.
    pub(super) fn new() -> Self {
        let stage = Stage::new();
        let memory = stage.fresh_dated();
        let case = Self { stage, memory, wrong: Mutex::default() };
        for number in 0..8 {
            case.write(&format!("big-{number}"), number);
        }
        case.backup();
        case
    }

    /// A file of 300 KB that no other number gives.
    pub(super) fn write(&self, name: &str, number: u64) {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(300 * 1024 / 8)
        .flatten()
        .collect();
        std::fs::write(self.stage.source.path().join(name), bytes).expect("written");
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        self.memory.clone()
    }

    pub(super) fn backup(&self) -> ObjectHash {
        self.try_backup().expect("backed up")
    }

    pub(super) fn try_backup(&self) -> Result<ObjectHash, EngineError> {
        Ok(self.stage.backup(&[self.storage()], SnapshotKind::Incremental)?.snapshot)
    }

    /// Forgets a snapshot as its owner does: the confirmation, then the object.
    pub(super) fn forget(&self, id: &ObjectHash) {
        for name in snapshots(&self.memory).0.into_iter().filter(|name| name.id == *id) {
            self.memory.delete(&name.confirmation()).expect("deleted");
            self.memory.delete(&name.proposal()).expect("deleted");
        }
    }

    pub(super) fn cx(&self) -> Context {
        let clock = match *self.wrong.lock().expect("nobody panics") {
            Some(now) => Arc::new(ManualClock::new(now)),
            None => self.stage.clock.clone(),
        };
        Context { clock, workers: 1, ..Context::quiet() }
    }

    /// Nothing waits, whatever would go is meant, and runs are joined whenever there are two.
    pub(super) fn request() -> PruneRequest {
        PruneRequest {
            grace: Duration::ZERO,
            join_runs_at: 2,
            accept_more_than_half: true,
            ..PruneRequest::new("stage".to_owned())
        }
    }

    pub(super) fn prune(&self, request: &PruneRequest) -> Result<PruneOutcome, EngineError> {
        self.prune_at(self.storage(), request, &NoSteps)
    }

    pub(super) fn prune_at(
        &self,
        storage: Arc<dyn Storage>,
        request: &PruneRequest,
        steps: &dyn Steps,
    ) -> Result<PruneOutcome, EngineError> {
        let repository = self.stage.repository.with_targets(vec![target(storage)]);
        prune_stepwise(&repository, request, &self.cx(), steps)
    }

    /// Every blob of every snapshot opens.
    #[track_caller]
    pub(super) fn has(&self, snapshots: u64, case: &str) {
        let found = self.is_whole(case);
        assert_eq!(found, snapshots, "{case}");
    }

    /// Every blob of every snapshot opens.
    #[track_caller]
    pub(super) fn is_whole(&self, case: &str) -> u64 {
        let target = target(self.storage());
        let found =
            verify(&target, Some(&self.stage.repository), Depth::Blobs, &self.cx()).expect("verified");
        assert!(found.is_clean(), "{case}: {found:#?}");
        found.snapshots
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        crate::storage::contract::list_all(self.memory.as_ref(), prefix).expect("listed").len()
    }

    /// Waits past every grace and tail, and prunes until nothing is left to do.
    pub(super) fn settle(&self, case: &str) {
        for _ in 0..3 {
            self.prune(&Self::request()).unwrap_or_else(|error| panic!("{case}: {error}"));
            self.stage.clock.advance(Duration::from_hours(30 * 24));
        }
        let outcome = self.prune(&Self::request()).unwrap_or_else(|error| panic!("{case}: {error}"));
        let plan = outcome.targets[0].plan.as_ref().expect("planned");
        assert!(plan.condemned.is_empty(), "{case}: {plan:#?}");
        assert_eq!(self.count("g/"), 0, "{case}: a plan is left");
        let pending = snapshots(&self.memory);
        assert_eq!(pending.0.len(), pending.1.len(), "{case}: a proposal is left");
    }
}

/// Something that happens when a step was reached for the n-th time, counted over all steps.
pub(super) struct At<'f> {
    pub(super) number: u64,
    reached: AtomicU64,
    deed: &'f (dyn Fn(Step) -> Result<(), RepositoryError> + Sync),
}

impl<'f> At<'f> {
    pub(super) fn new(number: u64, deed: &'f (dyn Fn(Step) -> Result<(), RepositoryError> + Sync)) -> Self {
        Self { number, reached: AtomicU64::new(0), deed }
    }

    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Ordering::SeqCst)
    }
}

impl Steps for At<'_> {
    fn reached(&self, step: Step) -> Result<(), RepositoryError> {
        let number = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.number { (self.deed)(step) } else { Ok(()) }
    }
}

//! Index runs over finished packs, the packs that a snapshot needs, and their list.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::pass::Pass;
use super::start::Chain;
use super::used::Used;
use crate::base::id::ObjectHash;
use crate::codec::compress::LEVEL_DEFAULT;
use crate::engine::error::EngineError;
use crate::repository::commit::NeededPack;
use crate::repository::error::RepositoryError;
use crate::repository::fan_out::{FanOut, Lag};
use crate::repository::format::index_run::RunPack;
use crate::repository::format::keys::BlobKind;
use crate::repository::format::names::{PackClass, index_name};
use crate::repository::format::pack_set;
use crate::repository::format::snapshot::{PACKS_INLINE_MAX, PackSetRef};
use crate::repository::pack_pool::{OwnPack, PackPool, Scratch, run_of};

/// An index run is published after this many packs or this long, so that a crash costs at most
/// their upload.
const PACKS_BEFORE_RUN: usize = 256;
const TIME_BEFORE_RUN: Duration = Duration::from_secs(60);

/// What the session has stored so far, by the runs that say so.
pub(super) struct Stored {
    /// Packs by their numbers in the session.
    own: HashMap<u32, OwnLine>,
    /// The packs of each index run that is known: those that were there, and the session's.
    pub(super) runs: HashMap<ObjectHash, Vec<RunPack>>,
    /// Where the next snapshot stands.
    pub(super) chain: Chain,
    published: Duration,
    /// When the newest checkpoint was made, and how many bytes had been read by then.
    checkpoint: (Duration, u64),
}

struct OwnLine {
    class: PackClass,
    hash: ObjectHash,
    run: ObjectHash,
}

/// The packs of a snapshot, sorted, and the runs that list them.
pub(super) struct Needed {
    pub(super) packs: Vec<NeededPack>,
    pub(super) runs: Vec<ObjectHash>,
}

impl Stored {
    pub(super) fn new(pass: &Pass<'_>) -> Self {
        let now = pass.cx.clock.monotonic();
        Self {
            own: HashMap::new(),
            runs: pass.start.loaded.runs.clone(),
            chain: pass.start.chain.clone(),
            published: now,
            checkpoint: (now, 0),
        }
    }

    /// Whether enough was done since the newest checkpoint that losing it would hurt.
    pub(super) fn checkpoint_is_due(&self, pass: &Pass<'_>, pool: &PackPool<'_>) -> bool {
        let (at, bytes) = self.checkpoint;
        let every = pass.request.checkpoint;
        let stored = pool.figures().plain_bytes.load(Ordering::Relaxed);
        pass.cx.clock.monotonic().saturating_sub(at) >= every.time
            || stored.saturating_sub(bytes) >= every.bytes
    }

    /// Starts the next interval.
    pub(super) fn checkpoint_done(&mut self, pass: &Pass<'_>, pool: &PackPool<'_>) {
        let stored = pool.figures().plain_bytes.load(Ordering::Relaxed);
        self.checkpoint = (pass.cx.clock.monotonic(), stored);
    }

    /// The packs that hold what is used, and the runs that list them.
    pub(super) fn needed(&self, pass: &Pass<'_>, used: &Used) -> Result<Needed, EngineError> {
        let mut packs = BTreeSet::new();
        let mut runs = BTreeSet::new();
        for number in used.own() {
            let own = self.own.get(&number).ok_or(EngineError::Defect { what: "the list of own packs" })?;
            packs.insert(NeededPack { class: own.class, hash: own.hash, covered: false });
            runs.insert(own.run);
        }
        for (number, covered) in used.indexed() {
            let pack = pass.start.loaded.index.pack(number);
            let pack = pack.ok_or(EngineError::Defect { what: "the list of packs" })?;
            // A full takes nothing on trust: it looks at every pack it uses.
            let covered = covered && pass.trusts_stat();
            packs.insert(NeededPack { class: pack.class, hash: pack.hash, covered });
            runs.insert(pack.run);
        }
        Ok(Needed { packs: packs.into_iter().collect(), runs: runs.into_iter().collect() })
    }
}

impl Pass<'_> {
    /// Publishes an index run over finished packs when enough of them wait, or for long enough.
    pub(super) fn publish_if_due(
        &self,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        stored: &mut Stored,
    ) -> Result<(), EngineError> {
        fan_out.check()?;
        let waiting = pool.finished_waiting();
        let now = self.cx.clock.monotonic();
        let long = now.saturating_sub(stored.published) >= TIME_BEFORE_RUN;
        if waiting >= PACKS_BEFORE_RUN || (waiting > 0 && long) {
            self.publish(pool.take_finished(), fan_out, stored)?;
        }
        Ok(())
    }

    /// Stores an index run on every target that has all of these packs. Packs first: a run on a
    /// target says that they are there.
    pub(super) fn publish(
        &self,
        packs: Vec<OwnPack>,
        fan_out: &FanOut<'_>,
        stored: &mut Stored,
    ) -> Result<(), EngineError> {
        if packs.is_empty() {
            return Ok(());
        }
        let run = run_of(&packs);
        let (bytes, id) = run
            .seal(&self.repository.id(), self.signer, self.repository.keys())
            .map_err(RepositoryError::from)?;
        let bytes = Bytes::from(bytes);
        for (lane, has_all) in fan_out.drain().into_iter().enumerate() {
            let Some(target) = self.start.targets.get(lane).filter(|_| has_all) else { continue };
            let put = target.storage.sync().and_then(|()| {
                target.storage.put_new(&index_name(0, &id), bytes.clone())?;
                target.storage.sync()
            });
            if let Err(error) = put {
                fan_out.leave_behind(lane, Lag::Failed(error));
            }
        }
        fan_out.check()?;
        stored.published = self.cx.clock.monotonic();
        stored.own.extend(
            packs
                .into_iter()
                .map(|pack| (pack.number, OwnLine { class: pack.pack.class, hash: pack.pack.hash, run: id })),
        );
        stored.runs.insert(id, run.packs);
        Ok(())
    }

    /// Closes what is open and stores the list of the packs that are needed, as a blob when it is
    /// long. Everything that the snapshot needs is on the targets that still take part afterwards.
    pub(super) fn close(
        &self,
        pool: &PackPool<'_>,
        fan_out: &FanOut<'_>,
        used: &Used,
        stored: &mut Stored,
    ) -> Result<(Needed, PackSetRef), EngineError> {
        pool.close_all(fan_out)?;
        self.publish(pool.take_finished(), fan_out, stored)?;
        let needed = stored.needed(self, used)?;
        let names: Vec<(PackClass, ObjectHash)> =
            needed.packs.iter().map(|pack| (pack.class, pack.hash)).collect();
        if names.len() <= PACKS_INLINE_MAX {
            return Ok((needed, PackSetRef::Inline(names)));
        }
        let plain = pack_set::encode(&names);
        let id = self.repository.keys().ids().id(BlobKind::PackSet, &plain);
        let mut scratch = Scratch::new(LEVEL_DEFAULT);
        pool.store(BlobKind::PackSet, &id, &plain, &mut scratch, fan_out)?;
        pool.close_all(fan_out)?;
        self.publish(pool.take_finished(), fan_out, stored)?;
        // The pack that holds the list of packs is needed, too, but cannot be in the list.
        let mut used = used.clone();
        used.rely(pool, &id);
        Ok((stored.needed(self, &used)?, PackSetRef::Blob(id)))
    }
}

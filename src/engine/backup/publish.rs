//! Index runs over finished packs, the packs that a snapshot needs, and their list.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::pass::Pass;
use super::start::Chain;
use super::used::Used;
use crate::base::effort::LEVEL_DEFAULT;
use crate::base::id::ObjectHash;
use crate::engine::error::EngineError;
use crate::repository::commit::{KnownRuns, NeededPack};
use crate::repository::error::RepositoryError;
use crate::repository::fan_out::{FanOut, Lag};
use crate::repository::format::index_run::IndexRun;
use crate::repository::format::keys::BlobKind;
use crate::repository::format::names::{PackClass, index_name};
use crate::repository::format::pack_set;
use crate::repository::format::snapshot::{PACKS_INLINE_MAX, PackSetRef};
use crate::repository::index::Index;
use crate::repository::pack_pool::{OwnPack, PackPool, Scratch, groups, run_of};

/// An index run is published after this many packs or this long, so that a crash costs at most
/// their upload.
const PACKS_BEFORE_RUN: usize = 256;
const TIME_BEFORE_RUN: Duration = Duration::from_secs(60);

/// What the session has stored so far, by the runs that say so.
pub(super) struct Stored {
    /// The session's packs by their numbers: 40 bytes each.
    own: Vec<Option<OwnLine>>,
    /// The session's index runs.
    runs: Vec<ObjectHash>,
    /// Where the next snapshot stands.
    pub(super) chain: Chain,
    published: Duration,
    /// When the newest checkpoint was made, and how many bytes had been read by then.
    checkpoint: (Duration, u64),
}

#[derive(Clone, Copy)]
struct OwnLine {
    hash: ObjectHash,
    class: PackClass,
    /// The place of its run among the session's.
    run: u32,
}

/// The index runs that a commit may copy: the session's, and those that were there.
pub(super) struct Known<'a> {
    stored: &'a Stored,
    index: &'a Index,
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
            own: Vec::new(),
            runs: Vec::new(),
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

    /// The runs that are known by now.
    pub(super) fn known<'a>(&'a self, pass: &Pass<'a>) -> Known<'a> {
        Known { stored: self, index: &pass.start.loaded.index }
    }

    /// The packs that hold what is used, and the runs that list them.
    pub(super) fn needed(&self, pass: &Pass<'_>, used: &Used) -> Result<Needed, EngineError> {
        let mut packs = BTreeMap::new();
        let mut runs = BTreeSet::new();
        for number in used.own() {
            let own = usize::try_from(number).ok().and_then(|number| *self.own.get(number)?);
            let own = own.ok_or(EngineError::Defect { what: "the list of own packs" })?;
            packs.insert((own.class, own.hash), false);
            runs.insert(self.run(own.run)?);
        }
        for (number, covered) in used.indexed() {
            let pack = pass.start.loaded.index.pack(number)?;
            let pack = pack.ok_or(EngineError::Defect { what: "the list of packs" })?;
            // A full takes nothing on trust: it looks at every pack it uses.
            let covered = covered && pass.trusts_stat();
            // A pack that two runs list has two numbers.
            *packs.entry((pack.class, pack.hash)).or_insert(covered) &= covered;
            runs.insert(pack.run);
        }
        let packs = packs.into_iter();
        Ok(Needed {
            packs: packs.map(|((class, hash), covered)| NeededPack { class, hash, covered }).collect(),
            runs: runs.into_iter().collect(),
        })
    }

    fn run(&self, place: u32) -> Result<ObjectHash, EngineError> {
        let run = usize::try_from(place).ok().and_then(|place| self.runs.get(place));
        run.copied().ok_or(EngineError::Defect { what: "the list of own runs" })
    }

    /// Notes packs and the run that lists them.
    fn note(&mut self, packs: &[OwnPack], run: ObjectHash) -> Result<(), EngineError> {
        let defect = |_| EngineError::Defect { what: "the list of own packs" };
        let place = u32::try_from(self.runs.len()).map_err(defect)?;
        self.runs.push(run);
        for pack in packs {
            let number = usize::try_from(pack.number).map_err(defect)?;
            if self.own.len() <= number {
                self.own.resize(number + 1, None);
            }
            let line = OwnLine { class: pack.pack.class, hash: pack.pack.hash, run: place };
            self.own[number] = Some(line);
        }
        Ok(())
    }
}

impl Known<'_> {
    /// The runs that list any of these packs.
    pub(super) fn runs_with(&self, packs: &HashSet<ObjectHash>) -> Result<HashSet<ObjectHash>, EngineError> {
        let mut runs = HashSet::new();
        let mut own = HashSet::new();
        for line in self.stored.own.iter().flatten().filter(|line| packs.contains(&line.hash)) {
            own.insert(line.hash);
            runs.insert(self.stored.run(line.run)?);
        }
        for hash in packs.difference(&own) {
            runs.extend(self.index.runs_with(hash)?);
        }
        Ok(runs)
    }
}

impl KnownRuns for Known<'_> {
    fn packs_of(&self, run: &ObjectHash) -> Result<Option<Vec<(PackClass, ObjectHash)>>, RepositoryError> {
        let place = self.stored.runs.iter().position(|own| own == run);
        let Some(place) = place.and_then(|place| u32::try_from(place).ok()) else {
            return self.index.packs_of(run);
        };
        let lines = self.stored.own.iter().flatten().filter(|line| line.run == place);
        Ok(Some(lines.map(|line| (line.class, line.hash)).collect()))
    }

    fn run(&self, run: &ObjectHash) -> Result<Option<IndexRun>, RepositoryError> {
        // Whoever copies a run that this backup made copies all of it: its packs are new.
        self.index.run(run)
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
            self.publish(&pool.take_finished(), fan_out, stored)?;
        }
        Ok(())
    }

    /// Stores index runs over these packs, as many as they need, on every target that has all of
    /// them. Packs first: a run on a target says that they are there.
    pub(super) fn publish(
        &self,
        packs: &[OwnPack],
        fan_out: &FanOut<'_>,
        stored: &mut Stored,
    ) -> Result<(), EngineError> {
        for group in groups(packs) {
            self.publish_run(group, fan_out, stored)?;
        }
        Ok(())
    }

    fn publish_run(
        &self,
        packs: &[OwnPack],
        fan_out: &FanOut<'_>,
        stored: &mut Stored,
    ) -> Result<(), EngineError> {
        let (bytes, id) = run_of(packs)
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
        stored.note(packs, id)
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
        self.publish(&pool.take_finished(), fan_out, stored)?;
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
        if let Some(kept) = self.kept {
            kept.put(&id, &plain);
        }
        pool.close_all(fan_out)?;
        self.publish(&pool.take_finished(), fan_out, stored)?;
        // The pack that holds the list of packs is needed, too, but cannot be in the list.
        let mut used = used.clone();
        used.rely(pool, &id);
        pool.check()?;
        Ok((stored.needed(self, &used)?, PackSetRef::Blob(id)))
    }
}

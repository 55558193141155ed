//! Open packs that workers fill: compress, seal, and hand a full pack to the fan-out.
//!
//! Data blobs go to a random one of at least two open packs, so that neighbours in a file are not
//! neighbours in a pack; metadata has a pack of its own. Which blobs are new is decided here, once
//! for each id, so that two workers with the same chunk store it once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::access::Repository;
use super::buffers::Buffers;
use super::error::RepositoryError;
use super::fan_out::FanOut;
use super::format::index_run::{ENTRIES_MAX, IndexRun, PACKS_MAX, RunEntry, RunPack};
use super::format::keys::BlobKind;
use super::format::names::{PackClass, pack_name};
use super::format::pack::{BlobRow, PackBuilder};
use super::index::{Ground, Index, Location, SessionBlobs};
use super::strength::Strength;
use crate::base::cancel::Cancel;
use crate::base::effort::LEVEL_DEFAULT;
use crate::base::entropy;
use crate::base::id::BlobId;
use crate::codec::compress::{Compression, Compressor};
use crate::codec::sign::Signer;

/// Where a blob that was asked for is: in a pack that was there, or in one of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A pack of the index, by its number there.
    Indexed(Location),
    /// A pack of our own, by its number here.
    Own(u32),
}

/// What a worker carries along: its compressor and a buffer for what comes out.
pub(crate) struct Scratch {
    compressor: Compressor,
    stored: Vec<u8>,
    strength: Arc<Strength>,
    raw_bytes: u64,
}

impl Scratch {
    /// For one thread, always at one level.
    pub(crate) fn new(level: i32) -> Self {
        Self::with(Arc::new(Strength::Fixed(Some(level))))
    }

    /// For one thread, as hard as all that share the strength.
    pub(crate) fn with(strength: Arc<Strength>) -> Self {
        Self { compressor: Compressor::new(LEVEL_DEFAULT), stored: Vec::new(), strength, raw_bytes: 0 }
    }

    /// Plain bytes of blobs that were stored as they are, since the last call.
    pub(crate) fn take_raw_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.raw_bytes)
    }
}

/// A pack of this session that is full or was closed.
#[derive(Clone, Debug)]
pub(crate) struct OwnPack {
    /// Number in this session.
    pub(crate) number: u32,
    /// Its line in an index run.
    pub(crate) pack: RunPack,
    /// Its blobs, by ordinal.
    pub(crate) entries: Vec<RunEntry>,
}

/// Where packs get their memory. Packs of metadata fill slowly; they are closed when they have a
/// quarter of the size that packs of data have, so that they need little of it.
pub(crate) struct PackBuffers {
    data: Buffers,
    meta: Buffers,
}

impl PackBuffers {
    /// For packs of data that end at `pack_bytes`, `data_packs` of them open at once. `waiting` is
    /// how many packs one target may keep in its hands and its queue: whoever has filled a pack
    /// must always get as far as that queue, because there it is noticed that a target lags.
    pub(crate) fn new(pack_bytes: usize, data_packs: usize, waiting: usize) -> Self {
        // Room for the last blob, the footer and its sums.
        let slack = pack_bytes / 16 + 4 * 1024 * 1024;
        Self {
            data: Buffers::new(data_packs.max(2) + waiting, pack_bytes + slack),
            meta: Buffers::new(1 + waiting, meta_pack_bytes(pack_bytes) + slack),
        }
    }

    fn of(&self, class: PackClass) -> &Buffers {
        match class {
            PackClass::Data => &self.data,
            PackClass::Meta => &self.meta,
        }
    }
}

/// The size at which packs of a class are closed.
pub(crate) fn pack_bytes_of(class: PackClass, pack_bytes: usize) -> usize {
    match class {
        PackClass::Data => pack_bytes,
        PackClass::Meta => meta_pack_bytes(pack_bytes),
    }
}

fn meta_pack_bytes(pack_bytes: usize) -> usize {
    pack_bytes / 4
}

struct OpenPack {
    number: u32,
    builder: PackBuilder,
}

/// The open packs of one session.
pub(crate) struct PackPool<'s> {
    repository: &'s Repository,
    signer: &'s Signer,
    index: &'s Index,
    buffers: PackBuffers,
    cancel: Cancel,
    data: Vec<Mutex<Option<OpenPack>>>,
    meta: Mutex<Option<OpenPack>>,
    own: Mutex<SessionBlobs>,
    /// What a look-up said that could not answer.
    trouble: Mutex<Option<RepositoryError>>,
    finished: Mutex<Finished>,
    settled: Condvar,
    next_number: AtomicU64,
    figures: Figures,
}

/// Packs that are no longer open.
#[derive(Default)]
struct Finished {
    /// Named, and handed to the fan-out.
    packs: Vec<OwnPack>,
    /// Numbers of those that a worker is still closing.
    closing: BTreeSet<u32>,
}

/// Counters of a session.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Blobs stored.
    pub(crate) blobs: AtomicU64,
    /// Their plain bytes.
    pub(crate) plain_bytes: AtomicU64,
    /// Bytes of finished packs.
    pub(crate) pack_bytes: AtomicU64,
    /// Finished packs.
    pub(crate) packs: AtomicU64,
}

impl<'s> PackPool<'s> {
    /// A pool with `data_packs` open packs for data (at least two).
    pub(crate) fn new(
        repository: &'s Repository,
        signer: &'s Signer,
        index: &'s Index,
        buffers: PackBuffers,
        data_packs: usize,
        cancel: Cancel,
    ) -> Self {
        Self {
            repository,
            signer,
            index,
            buffers,
            cancel,
            data: (0..data_packs.max(2)).map(|_| Mutex::new(None)).collect(),
            meta: Mutex::new(None),
            own: Mutex::new(SessionBlobs::new(Ground::new(repository.cache().map(Path::to_path_buf)))),
            trouble: Mutex::default(),
            finished: Mutex::default(),
            settled: Condvar::new(),
            next_number: AtomicU64::new(0),
            figures: Figures::default(),
        }
    }

    /// Counters so far.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Where a blob is, if this session or the index has it. A look-up that fails says that
    /// nobody has it, and is an error of the next [`PackPool::store`] or [`PackPool::close_all`].
    pub(crate) fn home(&self, id: &BlobId) -> Option<Home> {
        self.look_up(id).unwrap_or_else(|error| {
            lock(&self.trouble).get_or_insert(error);
            None
        })
    }

    fn look_up(&self, id: &BlobId) -> Result<Option<Home>, RepositoryError> {
        if let Some(number) = lock(&self.own).get(id)? {
            return Ok(Some(Home::Own(number)));
        }
        Ok(self.index.first(id)?.map(Home::Indexed))
    }

    /// Whether every look-up could be answered.
    ///
    /// # Errors
    /// What the first one said that could not.
    pub(crate) fn check(&self) -> Result<(), RepositoryError> {
        lock(&self.trouble).take().map_or(Ok(()), Err)
    }

    /// Stores a blob unless it is there already.
    ///
    /// # Errors
    /// `Cancelled` while waiting for a buffer; `LocalIndex`, also of a look-up before; format
    /// errors are defects.
    pub(crate) fn store(
        &self,
        kind: BlobKind,
        id: &BlobId,
        plain: &[u8],
        scratch: &mut Scratch,
        fan_out: &FanOut<'_>,
    ) -> Result<(), RepositoryError> {
        self.check()?;
        if self.look_up(id)?.is_some() {
            return Ok(());
        }
        scratch.stored.clear();
        scratch.strength.set(&mut scratch.compressor, || fan_out.is_idle());
        let compression = scratch.compressor.compress(plain, &mut scratch.stored);
        let row = BlobRow {
            id: *id,
            kind,
            plain_bytes: u32::try_from(plain.len()).unwrap_or(u32::MAX),
            compression,
            level: scratch.compressor.level_of(compression),
        };
        if compression == Compression::Raw {
            scratch.raw_bytes += u64::from(row.plain_bytes);
        }
        let slot = match kind.class() {
            PackClass::Meta => &self.meta,
            PackClass::Data => {
                let count = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
                &self.data[entropy::below(count) as usize]
            }
        };
        let full = {
            let (mut open, number) = scratch.strength.waiting(|| {
                let mut open = lock(slot);
                self.open_if_needed(&mut open, kind.class()).map(|number| (open, number))
            })?;
            // Of two workers with the same chunk one gets it. Whoever sees the claim may rely on
            // it: the pack is not closed before this slot is free again.
            if !lock(&self.own).claim(id, number)? {
                return Ok(());
            }
            self.push(&mut open, &row, &scratch.stored)?
        };
        self.figures.blobs.fetch_add(1, Ordering::Relaxed);
        self.figures.plain_bytes.fetch_add(u64::from(row.plain_bytes), Ordering::Relaxed);
        match full {
            // Naming the pack takes 4 ms of this, too little to mislead.
            Some(pack) => scratch.strength.waiting(|| self.close(pack, fan_out)),
            None => Ok(()),
        }
    }

    fn open_if_needed(
        &self,
        open: &mut MutexGuard<'_, Option<OpenPack>>,
        class: PackClass,
    ) -> Result<u32, RepositoryError> {
        if let Some(pack) = open.as_ref() {
            return Ok(pack.number);
        }
        let buffer = self.buffers.of(class).take(&self.cancel).ok_or(RepositoryError::Cancelled)?;
        let identity = self.repository.pack_identity(class, self.signer.id());
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let number =
            u32::try_from(number).map_err(|_| RepositoryError::Defect { what: "the pack counter" })?;
        **open = Some(OpenPack { number, builder: PackBuilder::new(identity, buffer) });
        Ok(number)
    }

    /// Adds a sealed blob; gives the pack back when it is full.
    fn push(
        &self,
        open: &mut MutexGuard<'_, Option<OpenPack>>,
        row: &BlobRow,
        stored: &[u8],
    ) -> Result<Option<OpenPack>, RepositoryError> {
        let Some(pack) = open.as_mut() else {
            return Err(RepositoryError::Defect { what: "an open pack" });
        };
        pack.builder.push(row, stored)?;
        let enough = match pack.builder.class() {
            PackClass::Data => self.repository.pack_bytes(),
            PackClass::Meta => meta_pack_bytes(self.repository.pack_bytes()),
        };
        let full = pack.builder.bytes() >= enough;
        Ok(if full { self.take_open(open) } else { None })
    }

    /// Takes a pack out of its slot. It counts as being closed before the slot is free again, so
    /// that nobody can miss it.
    fn take_open(&self, open: &mut MutexGuard<'_, Option<OpenPack>>) -> Option<OpenPack> {
        let pack = open.take()?;
        lock(&self.finished).closing.insert(pack.number);
        Some(pack)
    }

    fn close(&self, pack: OpenPack, fan_out: &FanOut<'_>) -> Result<(), RepositoryError> {
        let class = pack.builder.class();
        let finished = pack.builder.finish(self.signer, self.repository.keys())?;
        let bytes = u64::try_from(finished.bytes.len()).unwrap_or(u64::MAX);
        let own = OwnPack {
            number: pack.number,
            pack: RunPack {
                hash: finished.name,
                class,
                signer: self.signer.id(),
                bytes,
                foot_offset: finished.foot_offset,
            },
            entries: finished.entries(),
        };
        self.figures.packs.fetch_add(1, Ordering::Relaxed);
        self.figures.pack_bytes.fetch_add(bytes, Ordering::Relaxed);
        fan_out.put(&pack_name(class, &finished.name), &self.buffers.of(class).share(finished.bytes));
        let mut finished = lock(&self.finished);
        finished.closing.remove(&own.number);
        finished.packs.push(own);
        drop(finished);
        self.settled.notify_all();
        Ok(())
    }

    /// Closes every open pack that holds a blob. When it returns, every blob that was stored
    /// before the call is in a finished pack; workers may go on meanwhile, into new packs.
    ///
    /// # Errors
    /// As [`PackPool::store`].
    pub(crate) fn close_all(&self, fan_out: &FanOut<'_>) -> Result<(), RepositoryError> {
        for slot in self.data.iter().chain([&self.meta]) {
            let open = {
                let mut open = lock(slot);
                // A pack that a lost claim left empty waits for its first blob.
                if open.as_ref().is_some_and(|pack| !pack.builder.is_empty()) {
                    self.take_open(&mut open)
                } else {
                    None
                }
            };
            if let Some(pack) = open {
                self.close(pack, fan_out)?;
            }
        }
        self.wait_for_closing()?;
        self.check()
    }

    /// Waits for the packs that workers are closing at this moment.
    fn wait_for_closing(&self) -> Result<(), RepositoryError> {
        let mut finished = lock(&self.finished);
        let closing = finished.closing.clone();
        while finished.closing.iter().any(|number| closing.contains(number)) {
            if self.cancel.is_cancelled() {
                return Err(RepositoryError::Cancelled);
            }
            let waited = self.settled.wait_timeout(finished, Duration::from_millis(200));
            finished = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Takes the packs that were finished since the last call.
    pub(crate) fn take_finished(&self) -> Vec<OwnPack> {
        std::mem::take(&mut lock(&self.finished).packs)
    }

    /// How many packs are finished and not yet taken.
    pub(crate) fn finished_waiting(&self) -> usize {
        lock(&self.finished).packs.len()
    }
}

/// Finished packs in groups, each of which fits in one index run.
pub(crate) fn groups(packs: &[OwnPack]) -> Vec<&[OwnPack]> {
    groups_up_to(packs, PACKS_MAX, ENTRIES_MAX)
}

fn groups_up_to(packs: &[OwnPack], packs_max: usize, entries_max: usize) -> Vec<&[OwnPack]> {
    let mut groups = Vec::new();
    let (mut start, mut entries) = (0, 0);
    for (at, pack) in packs.iter().enumerate() {
        let is_full = at - start >= packs_max || entries + pack.entries.len() > entries_max;
        if is_full && at > start {
            groups.push(&packs[start..at]);
            (start, entries) = (at, 0);
        }
        entries += pack.entries.len();
    }
    if start < packs.len() {
        groups.push(&packs[start..]);
    }
    groups
}

/// An index run over these packs.
pub(crate) fn run_of(packs: &[OwnPack]) -> IndexRun {
    let mut run = IndexRun::default();
    for (number, own) in packs.iter().enumerate() {
        run.packs.push(own.pack.clone());
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        run.entries.extend(own.entries.iter().map(|entry| RunEntry { pack: number, ..*entry }));
    }
    run.entries.sort_unstable_by_key(|entry| (entry.id, entry.pack, entry.ordinal));
    run
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Barrier;

    use super::*;
    use crate::base::id::{ObjectHash, WriterId};
    use crate::codec::kdf::KdfParams;
    use crate::repository::access::{CreateOptions, Target};
    use crate::repository::format::index_run::RunEntry;
    use crate::repository::format::slot::SlotSecret;
    use crate::storage::memory::MemoryStorage;

    const WORKERS: usize = 4;
    const CHUNKS: u32 = 300;

    fn repository(storage: &Arc<MemoryStorage>) -> Repository {
        let target =
            Target { name: "memory".to_owned(), storage: Arc::<MemoryStorage>::clone(storage), in_flight: 1 };
        let kdf = KdfParams { memory_kib: 8192, passes: 1, lanes: 1 };
        let options = CreateOptions { pack_bytes: 8 * 1024 * 1024, kdf, parity: 0 };
        Repository::create(target, &SlotSecret::passphrase("open"), options).expect("created")
    }

    #[test]
    fn workers_with_the_same_chunks_store_each_of_them_once() {
        let storage = Arc::new(MemoryStorage::new());
        let repository = repository(&storage);
        let signer = repository.signer("host").expect("a signer");
        let index = Index::default();
        let buffers = PackBuffers::new(8 * 1024 * 1024, WORKERS, 2);
        let pool = PackPool::new(&repository, &signer, &index, buffers, WORKERS, Cancel::default());
        let together = Barrier::new(WORKERS);
        std::thread::scope(|scope| {
            let lane: (Arc<dyn crate::storage::contract::Storage>, usize) = (storage, 1);
            let fan_out = FanOut::open(scope, [lane]);
            std::thread::scope(|workers| {
                for _ in 0..WORKERS {
                    workers.spawn(|| {
                        let mut scratch = Scratch::new(1);
                        for chunk in 0..CHUNKS {
                            let plain = chunk.to_le_bytes().repeat(500);
                            let id = repository.keys().ids().id(BlobKind::Chunk, &plain);
                            together.wait();
                            pool.store(BlobKind::Chunk, &id, &plain, &mut scratch, &fan_out).expect("stored");
                            assert!(matches!(pool.home(&id), Some(Home::Own(_))));
                        }
                    });
                }
            });
            pool.close_all(&fan_out).expect("closed");
            let mut times: HashMap<BlobId, u32> = HashMap::new();
            for pack in pool.take_finished() {
                assert!(!pack.entries.is_empty());
                for entry in pack.entries {
                    *times.entry(entry.id).or_default() += 1;
                    assert_eq!(pool.home(&entry.id), Some(Home::Own(pack.number)));
                }
            }
            assert_eq!(times.len(), CHUNKS as usize);
            assert!(times.values().all(|count| *count == 1), "a chunk was stored twice");
            assert_eq!(pool.figures().blobs.load(Ordering::Relaxed), u64::from(CHUNKS));
            fan_out.finish();
        });
    }

    fn finished(number: u32, blobs: u32) -> OwnPack {
        let entry = |ordinal| RunEntry { id: BlobId::default(), pack: 0, ordinal, stored_bytes: 1 };
        OwnPack {
            number,
            pack: RunPack {
                hash: ObjectHash::default(),
                class: PackClass::Data,
                signer: WriterId::default(),
                bytes: 1,
                foot_offset: 1,
            },
            entries: (0..blobs).map(entry).collect(),
        }
    }

    #[test]
    fn finished_packs_are_split_into_runs_that_hold_no_more_than_a_run_may() {
        let packs: Vec<OwnPack> =
            (0..).zip([5, 5, 1, 9, 10, 11, 0, 2, 3]).map(|(n, b)| finished(n, b)).collect();
        let sizes = |packs_max, entries_max| {
            let groups = groups_up_to(&packs, packs_max, entries_max);
            let numbers: Vec<u32> = groups.iter().copied().flatten().map(|pack| pack.number).collect();
            assert_eq!(numbers, (0..9).collect::<Vec<_>>());
            groups.iter().map(|group| group.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(100, 100), [9]);
        assert_eq!(sizes(100, 10), [2, 2, 1, 1, 3]);
        assert_eq!(sizes(2, 100), [2, 2, 2, 2, 1]);
        assert_eq!(groups(&[]).len(), 0);
        // Two packs of 300,000 blobs are more than one run may list, and each alone is not.
        let many = [finished(0, 300_000), finished(1, 300_000)];
        let signer = Signer::from_seed(&[1; 32]);
        let repository = repository(&Arc::new(MemoryStorage::new()));
        for group in groups(&many) {
            run_of(group).seal(&repository.id(), &signer, repository.keys()).expect("fits");
        }
    }

    /// An index whose file is cut and whose runs are gone.
    fn index_that_cannot_answer(dir: &Path) -> Index {
        use crate::repository::index::RunSource;
        struct Once(std::sync::atomic::AtomicBool);
        impl RunSource for Once {
            fn run(&self, _: &ObjectHash) -> Result<IndexRun, RepositoryError> {
                if self.0.swap(true, Ordering::Relaxed) {
                    return Err(RepositoryError::Cancelled);
                }
                // More than fits in memory.
                let mut pack = finished(0, 300_000);
                for (number, entry) in (0u32..).zip(&mut pack.entries) {
                    let mut id = [0; 32];
                    id[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
                    entry.id = BlobId::new(id);
                }
                Ok(run_of(&[pack]))
            }
        }
        let repository = repository(&Arc::new(MemoryStorage::new()));
        let ground = Ground::new(Some(dir.to_path_buf()));
        let source = Arc::new(Once(std::sync::atomic::AtomicBool::new(false)));
        let runs = [ObjectHash::default()];
        let (index, _) =
            Index::open(ground, repository.keys(), &repository.id(), source, &runs).expect("open");
        for file in std::fs::read_dir(dir).expect("listed") {
            let file = std::fs::File::options().write(true).open(file.expect("a file").path());
            file.expect("opened").set_len(0).expect("cut");
        }
        index
    }

    #[test]
    fn a_look_up_that_fails_is_an_error_of_the_next_store_and_close() {
        let storage = Arc::new(MemoryStorage::new());
        let repository = repository(&storage);
        let signer = repository.signer("host").expect("a signer");
        let dir = tempfile::tempdir().expect("a folder");
        let index = index_that_cannot_answer(dir.path());
        let buffers = PackBuffers::new(8 * 1024 * 1024, 2, 2);
        let pool = PackPool::new(&repository, &signer, &index, buffers, 2, Cancel::default());
        std::thread::scope(|scope| {
            let lane: (Arc<dyn crate::storage::contract::Storage>, usize) = (storage, 1);
            let fan_out = FanOut::open(scope, [lane]);
            let id = BlobId::new([3; 32]);
            assert_eq!(pool.home(&id), None);
            assert!(pool.close_all(&fan_out).is_err());
            assert_eq!(pool.home(&id), None);
            let mut scratch = Scratch::new(1);
            assert!(pool.store(BlobKind::Chunk, &id, b"chunk", &mut scratch, &fan_out).is_err());
            fan_out.finish();
        });
    }
}

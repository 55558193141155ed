//! Open packs that workers fill: compress, seal, and hand a full pack to the fan-out.
//!
//! Data blobs go to a random one of at least two open packs, so that neighbours in a file are not
//! neighbours in a pack; metadata has a pack of its own. Which blobs are new is decided here, once
//! for each id, so that two workers with the same chunk store it once.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::access::Repository;
use super::buffers::Buffers;
use super::error::RepositoryError;
use super::fan_out::FanOut;
use super::format::index_run::{IndexRun, RunEntry, RunPack};
use super::format::keys::BlobKind;
use super::format::names::{PackClass, pack_name};
use super::format::pack::{BlobRow, PackBuilder, PackIdentity};
use super::index::{Index, Location};
use crate::base::cancel::Cancel;
use crate::base::entropy;
use crate::base::id::BlobId;
use crate::codec::compress::Compressor;
use crate::codec::sign::Signer;

/// Where a blob of this session is: in a pack that was there, or in one of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A pack of the index, by its number there.
    Indexed(Location),
    /// A pack of this session, by its number in the session.
    Own(u32),
}

/// What a worker carries along: its compressor and a buffer for what comes out.
pub(crate) struct Scratch {
    compressor: Compressor,
    stored: Vec<u8>,
}

impl Scratch {
    /// For one thread.
    pub(crate) fn new(level: i32) -> Self {
        Self { compressor: Compressor::new(level), stored: Vec::new() }
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

struct OpenPack {
    number: u32,
    builder: PackBuilder,
}

/// The open packs of one session.
pub(crate) struct PackPool<'s> {
    repository: &'s Repository,
    signer: &'s Signer,
    index: &'s Index,
    buffers: Buffers,
    cancel: Cancel,
    data: Vec<Mutex<Option<OpenPack>>>,
    meta: Mutex<Option<OpenPack>>,
    own: Mutex<HashMap<BlobId, u32>>,
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
        buffers: Buffers,
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
            own: Mutex::default(),
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

    /// Where a blob is, if this session or the index has it.
    pub(crate) fn home(&self, id: &BlobId) -> Option<Home> {
        if let Some(number) = lock(&self.own).get(id) {
            return Some(Home::Own(*number));
        }
        self.index.locations(id).next().map(Home::Indexed)
    }

    /// Stores a blob unless it is there already.
    ///
    /// # Errors
    /// `Cancelled` while waiting for a buffer; format errors are defects.
    pub(crate) fn store(
        &self,
        kind: BlobKind,
        id: &BlobId,
        plain: &[u8],
        scratch: &mut Scratch,
        fan_out: &FanOut<'_>,
    ) -> Result<(), RepositoryError> {
        if self.home(id).is_some() {
            return Ok(());
        }
        scratch.stored.clear();
        let compression = scratch.compressor.compress(plain, &mut scratch.stored);
        let row = BlobRow {
            id: *id,
            kind,
            plain_bytes: u32::try_from(plain.len()).unwrap_or(u32::MAX),
            compression,
            level: scratch.compressor.level_of(compression),
        };
        let slot = match kind.class() {
            PackClass::Meta => &self.meta,
            PackClass::Data => {
                let count = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
                &self.data[entropy::below(count) as usize]
            }
        };
        let full = {
            let mut open = lock(slot);
            if lock(&self.own).contains_key(id) {
                return Ok(());
            }
            self.open_if_needed(&mut open, kind.class())?;
            self.push(&mut open, &row, &scratch.stored)?
        };
        self.figures.blobs.fetch_add(1, Ordering::Relaxed);
        self.figures.plain_bytes.fetch_add(u64::from(row.plain_bytes), Ordering::Relaxed);
        match full {
            Some(pack) => self.close(pack, fan_out),
            None => Ok(()),
        }
    }

    fn open_if_needed(
        &self,
        open: &mut MutexGuard<'_, Option<OpenPack>>,
        class: PackClass,
    ) -> Result<(), RepositoryError> {
        if open.is_none() {
            let buffer = self.buffers.take(&self.cancel).ok_or(RepositoryError::Cancelled)?;
            let identity =
                PackIdentity { class, epoch: 0, repo: self.repository.id(), writer: self.signer.id() };
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            **open = Some(OpenPack {
                number: u32::try_from(number)
                    .map_err(|_| RepositoryError::Defect { what: "the pack counter" })?,
                builder: PackBuilder::new(identity, buffer),
            });
        }
        Ok(())
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
        lock(&self.own).insert(row.id, pack.number);
        let full = pack.builder.bytes() >= self.repository.pack_bytes();
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
        fan_out.put(&pack_name(class, &finished.name), &self.buffers.share(finished.bytes));
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
            let open = self.take_open(&mut lock(slot));
            if let Some(pack) = open {
                self.close(pack, fan_out)?;
            }
        }
        self.wait_for_closing()
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

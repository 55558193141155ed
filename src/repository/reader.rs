//! Blobs, wherever they lie: look-up, footer, range, open, check the id.
//!
//! A read goes to the first target that has the pack; a failure there goes to the next place, the
//! next target. A blob that is in none of its places may have been moved by a sweep since the index
//! was read: `i/` is listed again, and what is new there is asked, until nothing is. Only then it
//! is an error. Nothing is returned that did not pass its id.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::keys::BlobKind;
use super::format::names::{PackClass, pack_name};
use super::format::pack::{self, BlobOpener, PackDirectory, TAIL_BYTES_FIRST};
use super::index::{Index, IndexedPack, Location};
use super::kept::Kept;
use super::load;

use crate::base::error::{Class, Classified};
use crate::base::id::{BlobId, ObjectHash};
use crate::storage::contract::{Distance, Read, Span, StorageError};

/// Footers kept open. One of a 16 MiB pack takes about 3 KiB.
const DIRECTORIES_KEPT: usize = 256;
/// Stretches of metadata packs kept: manifest nodes that are read together lie together.
const WINDOWS_KEPT: usize = 8;
/// Metadata is read in stretches of this length.
const WINDOW_BYTES: u64 = 1024 * 1024;
/// Data reads are widened to multiples of this, so that a request tells little about a blob's bounds.
const RANGE_BYTES: u64 = 64 * 1024;
/// A blob that is missed is looked for in so many newer indices.
const LOADS_MAX: usize = 4;
/// `i/` is listed in vain at most this often: in a damaged repository many blobs are missed.
const LISTS_MAX: u32 = 64;
/// Damaged packs kept that their parity brought back.
const MENDED_KEPT: usize = 2;
/// A mismatch from a network target is read again this often before it is called damage.
const READS_MAX: usize = 3;

/// Reads blobs of one repository from the targets given, in their order.
pub struct BlobReader<'r> {
    repository: &'r Repository,
    index: &'r Index,
    targets: Vec<&'r Target>,
    read: Read,
    /// Where manifests are read that these keys don't open.
    kept: Option<&'r Kept>,
    directories: Mutex<VecDeque<(u32, Arc<PackDirectory>)>>,
    windows: Mutex<VecDeque<Window>>,
    /// As many as threads ever opened a blob at a time.
    openers: Mutex<Vec<BlobOpener>>,
    bytes_read: std::sync::atomic::AtomicU64,
    fresh: Mutex<Fresh>,
    parity: Mutex<Parity>,
}

/// What parity brought back.
#[derive(Default)]
struct Parity {
    kept: VecDeque<Arc<Mended>>,
    /// Packs that were read by its help, ever.
    helped: BTreeSet<ObjectHash>,
    /// Those that it could not help.
    hopeless: HashSet<ObjectHash>,
}

/// A damaged pack as it was.
struct Mended {
    number: u32,
    bytes: Bytes,
    directory: PackDirectory,
}

/// The index as it was when a blob was missed.
#[derive(Default)]
struct Fresh {
    index: Option<Arc<Index>>,
    /// How often `i/` was listed in vain.
    in_vain: u32,
}

#[derive(Clone)]
struct Window {
    pack: u32,
    offset: u64,
    bytes: Bytes,
}

impl<'r> BlobReader<'r> {
    /// A reader over these targets (at least one).
    pub fn new(repository: &'r Repository, index: &'r Index, targets: Vec<&'r Target>, read: Read) -> Self {
        Self {
            repository,
            index,
            targets,
            read,
            kept: None,
            directories: Mutex::default(),
            windows: Mutex::default(),
            openers: Mutex::default(),
            bytes_read: std::sync::atomic::AtomicU64::new(0),
            fresh: Mutex::default(),
            parity: Mutex::default(),
        }
    }

    /// The same for a host that only adds: it reads what it keeps of its own.
    #[must_use]
    pub(crate) fn with_kept(self, kept: Option<&'r Kept>) -> Self {
        Self { kept, ..self }
    }

    /// The index this reader looks things up in.
    pub fn index(&self) -> &'r Index {
        self.index
    }

    /// The keys that name blobs.
    pub fn ids(&self) -> &'r super::format::keys::IdKeys {
        self.repository.keys().ids()
    }

    /// Bytes fetched from the targets so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How far away its bytes are, mostly.
    pub fn distance(&self) -> Distance {
        self.targets.first().map_or(Distance::Near, |target| target.storage.distance())
    }

    /// The plain bytes of a blob, checked against its id.
    ///
    /// # Errors
    /// `MissingBlob` when no index names it; else the last failure.
    pub fn get(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        if let Some(kept) = self.kept {
            let missing = || RepositoryError::MissingBlob { id: *id, place: "the local cache".to_owned() };
            return kept.get(kind, id).ok_or_else(missing);
        }
        let mut outcome = self.get_known(kind, id);
        for _ in 0..LOADS_MAX {
            let is_missed = |error: &RepositoryError| error.class() == Class::Damage;
            if !outcome.as_ref().is_err_and(is_missed) {
                break;
            }
            let Some(index) = self.reload()? else { break };
            let targets = self.targets.clone();
            let reader = BlobReader::new(self.repository, &index, targets, self.read);
            outcome = reader.get_known(kind, id);
            let read = reader.bytes_read();
            self.bytes_read.fetch_add(read, std::sync::atomic::Ordering::Relaxed);
        }
        outcome
    }

    /// A blob by what the index said when it was read.
    fn get_known(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        let mut last = None;
        let places = self.index.locations(id)?;
        for at in &places {
            match self.get_at(kind, id, *at) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => last = Some(error),
            }
        }
        if last.as_ref().is_some_and(|error| error.class() == Class::Damage)
            && self.repository.format().parity > 0
        {
            for at in &places {
                if let Some(bytes) = self.out_of_parity(kind, id, *at)? {
                    return Ok(bytes);
                }
            }
        }
        Err(last.unwrap_or_else(|| RepositoryError::MissingBlob { id: *id, place: self.places() }))
    }

    /// The newest index, when it has runs that the one asked so far lacks, or was loaded for another
    /// blob; `None` when there is nothing new to ask.
    fn reload(&self) -> Result<Option<Arc<Index>>, RepositoryError> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.in_vain >= LISTS_MAX {
            return Ok(fresh.index.clone());
        }
        let mut runs = Vec::new();
        for target in &self.targets {
            runs.extend(load::list_runs(target)?);
        }
        let known = fresh.index.as_deref().unwrap_or(self.index).run_ids();
        if runs.iter().all(|run| known.binary_search(run).is_ok()) {
            fresh.in_vain += 1;
            return Ok(fresh.index.clone());
        }
        let targets: Vec<Target> = self.targets.iter().map(|target| (*target).clone()).collect();
        let index = Arc::new(load::load(self.repository, &targets)?.index);
        fresh.index = Some(Arc::clone(&index));
        Ok(Some(index))
    }

    fn get_at(&self, kind: BlobKind, id: &BlobId, at: Location) -> Result<Bytes, RepositoryError> {
        let directory = self.directory(at.pack)?;
        let row = directory.row(at.ordinal).ok_or_else(|| self.damage(at.pack, "has no such row"))?;
        if row.id != *id || row.kind != kind {
            return Err(self.damage(at.pack, "holds another blob where the index says this one is"));
        }
        let sealed =
            directory.sealed_range(at.ordinal).ok_or_else(|| self.damage(at.pack, "has no such row"))?;
        let mut last = None;
        for _ in 0..READS_MAX {
            let bytes = self.sealed(at.pack, sealed.clone())?;
            let pool = || self.openers.lock().unwrap_or_else(PoisonError::into_inner);
            let mut opener = pool().pop().unwrap_or_default();
            let opened = directory
                .open_blob(at.ordinal, &bytes, self.repository.keys().ids(), &mut opener)
                .map(Bytes::copy_from_slice);
            pool().push(opener);
            match opened {
                Ok(plain) => return Ok(plain),
                Err(error) => last = Some(error),
            }
            self.forget_windows(at.pack);
        }
        Err(last.map_or_else(|| self.damage(at.pack, "does not open"), Into::into))
    }

    /// A blob of a damaged pack that its own parity brings back.
    fn out_of_parity(
        &self,
        kind: BlobKind,
        id: &BlobId,
        at: Location,
    ) -> Result<Option<Bytes>, RepositoryError> {
        let Some(mended) = self.mended(at.pack)? else { return Ok(None) };
        let row = mended.directory.row(at.ordinal).filter(|row| row.id == *id && row.kind == kind);
        let Some(range) = row.and_then(|_| mended.directory.sealed_range(at.ordinal)) else {
            return Ok(None);
        };
        let Some(sealed) = slice(&mended.bytes, range.start, range.end - range.start) else {
            return Ok(None);
        };
        let mut opener = BlobOpener::default();
        let ids = self.repository.keys().ids();
        Ok(mended.directory.open_blob(at.ordinal, &sealed, ids, &mut opener).ok().map(Bytes::copy_from_slice))
    }

    /// A pack out of what is left of it at some target; nothing is written. Two are kept: blobs that
    /// are asked for one after another lie together.
    fn mended(&self, number: u32) -> Result<Option<Arc<Mended>>, RepositoryError> {
        let mut parity = self.parity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = parity.kept.iter().find(|mended| mended.number == number) {
            return Ok(Some(Arc::clone(found)));
        }
        let pack = self.pack(number)?;
        if parity.hopeless.contains(&pack.hash) {
            return Ok(None);
        }
        for target in &self.targets {
            let Ok(left) = target.storage.get(&pack_name(pack.class, &pack.hash), Span::Whole, self.read)
            else {
                continue;
            };
            let Some(bytes) = pack::mend(&left, &pack.hash) else { continue };
            let identity = self.repository.identity(&pack);
            let directory = PackDirectory::open(&bytes, pack.bytes, &identity, self.repository.keys())?;
            let mended = Arc::new(Mended { number, bytes: bytes.into(), directory });
            parity.helped.insert(pack.hash);
            parity.kept.push_front(Arc::clone(&mended));
            parity.kept.truncate(MENDED_KEPT);
            return Ok(Some(mended));
        }
        parity.hopeless.insert(pack.hash);
        Ok(None)
    }

    /// The packs that were damaged and read by the help of their parity, sorted.
    pub fn read_by_parity(&self) -> Vec<ObjectHash> {
        self.parity.lock().unwrap_or_else(PoisonError::into_inner).helped.iter().copied().collect()
    }

    /// The footer of a pack, opened and checked.
    ///
    /// # Errors
    /// When no target gives one that opens.
    pub fn directory(&self, number: u32) -> Result<Arc<PackDirectory>, RepositoryError> {
        {
            let mut kept = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = kept.iter().position(|(pack, _)| *pack == number)
                && let Some(entry) = kept.remove(found)
            {
                let directory = Arc::clone(&entry.1);
                kept.push_front(entry);
                return Ok(directory);
            }
        }
        let pack = self.pack(number)?;
        let directory = Arc::new(self.fetch_directory(number, &pack)?);
        let mut kept = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((number, Arc::clone(&directory)));
        kept.truncate(DIRECTORIES_KEPT);
        Ok(directory)
    }

    fn fetch_directory(&self, number: u32, pack: &IndexedPack) -> Result<PackDirectory, RepositoryError> {
        let tail_bytes = pack.bytes.saturating_sub(pack.foot_offset).max(TAIL_BYTES_FIRST).min(pack.bytes);
        let mut last = None;
        for _ in 0..READS_MAX {
            let tail = self.fetch(number, Span::Last { len: tail_bytes })?;
            match PackDirectory::open(
                &tail,
                pack.bytes,
                &self.repository.identity(pack),
                self.repository.keys(),
            ) {
                Ok(directory) => return Ok(directory),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| self.damage(number, "has no footer that opens"), Into::into))
    }

    /// Sealed bytes of a pack, through the window cache for metadata.
    fn sealed(&self, number: u32, range: Range<u64>) -> Result<Bytes, RepositoryError> {
        let pack = self.pack(number)?;
        let len = range.end - range.start;
        if pack.class == PackClass::Data {
            let start = range.start / RANGE_BYTES * RANGE_BYTES;
            let end = range.end.div_ceil(RANGE_BYTES).saturating_mul(RANGE_BYTES).min(pack.bytes);
            let bytes = self.fetch(number, Span::Range { offset: start, len: end - start })?;
            return slice(&bytes, range.start - start, len)
                .ok_or_else(|| self.damage(number, "is too short"));
        }
        if let Some(found) = self.in_window(number, &range) {
            return Ok(found);
        }
        let offset = range.start / RANGE_BYTES * RANGE_BYTES;
        let wanted = (range.end - offset).max(WINDOW_BYTES).min(pack.bytes.saturating_sub(offset));
        let bytes = self.fetch(number, Span::Range { offset, len: wanted })?;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.push_front(Window { pack: number, offset, bytes: bytes.clone() });
        windows.truncate(WINDOWS_KEPT);
        drop(windows);
        slice(&bytes, range.start - offset, len).ok_or_else(|| self.damage(number, "is too short"))
    }

    fn in_window(&self, pack: u32, range: &Range<u64>) -> Option<Bytes> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows
            .iter()
            .filter(|window| window.pack == pack && window.offset <= range.start)
            .find_map(|window| slice(&window.bytes, range.start - window.offset, range.end - range.start))
    }

    fn forget_windows(&self, pack: u32) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).retain(|window| window.pack != pack);
    }

    /// Bytes of a pack from the first target that has them.
    ///
    /// # Errors
    /// The last target's failure; `Damage` when the pack is nowhere.
    pub fn fetch(&self, number: u32, span: Span) -> Result<Bytes, RepositoryError> {
        let pack = self.pack(number)?;
        let name = pack_name(pack.class, &pack.hash);
        let mut last = None;
        for target in &self.targets {
            match target.storage.get(&name, span, self.read) {
                Ok(bytes) => {
                    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.bytes_read.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(StorageError::NotFound { .. }) => {}
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) => error.into(),
            None => self.damage(number, "is missing"),
        })
    }

    fn pack(&self, number: u32) -> Result<IndexedPack, RepositoryError> {
        self.index.pack(number)?.ok_or(RepositoryError::Defect { what: "a look-up in the index" })
    }

    fn damage(&self, number: u32, what: &str) -> RepositoryError {
        let object = match self.index.pack(number) {
            Err(error) => return error,
            Ok(Some(pack)) => format!("pack {}", pack_name(pack.class, &pack.hash)),
            Ok(None) => "a pack".to_owned(),
        };
        RepositoryError::Damage { place: self.places(), object, what: what.to_owned() }
    }

    fn places(&self) -> String {
        let labels: Vec<&str> = self.targets.iter().map(|target| target.storage.label()).collect();
        labels.join(", ")
    }
}

/// A stretch of a buffer, when it lies inside.
fn slice(bytes: &Bytes, offset: u64, len: u64) -> Option<Bytes> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

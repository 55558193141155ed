//! Packs made of what is live in packs that die.
//!
//! Ciphertext, row and key box go over as they are; nothing is compressed or sealed anew. But each
//! blob is opened on the way and its id computed: what is damaged must not take the place of a copy
//! that is sound elsewhere. An index run says where everything is now, and which pack it was moved
//! from.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use bytes::Bytes;

use super::SweepError;
use super::packs::Stored;
use super::plans::condemned_since;
use super::steps::{Step, Sweeping};
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::ObjectHash;
use crate::codec::sign::Signer;
use crate::repository::access::Target;
use crate::repository::commit::plans;
use crate::repository::format::index_run::{IndexRun, RunEntry, RunPack};
use crate::repository::format::names::{PackClass, index_name, pack_name};
use crate::repository::format::pack::{BlobOpener, PackBuilder, PackDirectory};
use crate::repository::index::Index;
use crate::repository::pack_pool::pack_bytes_of;
use crate::repository::presence::missing;
use crate::repository::reader::BlobReader;
use crate::storage::contract::{Distance, ObjectName, Read, Span, StorageError};

/// Packs that one index run lists, unless the work ends before: what they replace can go then.
const PACKS_A_RUN: usize = 8;
/// Blobs that lie close together are read in one stretch of at most this length.
const STRETCH_BYTES: u64 = 4 * 1024 * 1024;
/// A blob that does not open is read again this often before another target is asked.
const READS_MAX: usize = 3;

/// Takes blobs out of packs and makes new packs of them.
pub(super) struct Mover<'a> {
    cx: &'a Sweeping<'a>,
    /// The plans that stood before any pack of this mover did.
    plans: HashSet<ObjectName>,
    reader: BlobReader<'a>,
    /// Over the other targets, for what is damaged on this one.
    spare: Option<BlobReader<'a>>,
    signer: Signer,
    opener: BlobOpener,
    buffer: Vec<u8>,
    open: Option<Open>,
    twins: Vec<Twin<'a>>,
    /// Packs that are full, the first of them on the target already.
    full: Vec<Full>,
    put: usize,
    /// Packs whose rows were all taken, and after how many packs of this mover they are safe.
    taken: Vec<(Stored, usize)>,
    /// Packs of this mover that index runs list.
    listed: usize,
    /// What was done.
    pub(super) figures: Figures,
}

/// What a mover did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Packs written.
    pub(super) packs: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Blobs taken over.
    pub(super) blobs: u64,
    /// Their bytes.
    pub(super) blob_bytes: u64,
}

struct Open {
    builder: PackBuilder,
    sources: BTreeSet<ObjectHash>,
}

struct Full {
    pack: RunPack,
    entries: Vec<RunEntry>,
    sources: BTreeSet<ObjectHash>,
    bytes: Bytes,
    /// The other targets that it was put on, too.
    twins: Vec<usize>,
}

/// Another target whose plans name packs: what is moved here is put there as well, once for all.
struct Twin<'a> {
    target: &'a Target,
    condemned: HashSet<ObjectHash>,
}

impl<'a> Mover<'a> {
    /// For blobs that this index places; `plans` are those that stand.
    ///
    /// # Errors
    /// `NotAdmin`; whatever the target says.
    pub(super) fn new(
        cx: &'a Sweeping<'a>,
        index: &'a Index,
        plans: HashSet<ObjectName>,
    ) -> Result<Self, SweepError> {
        let signer = cx.repository.signer(cx.host).map_err(|_| SweepError::NotAdmin)?;
        // On a full disk a certificate that is there need not be written again.
        if cx.repository.writers(cx.target)?.public(&signer.id()).is_none() {
            cx.repository.certify(cx.target, cx.host, &signer)?;
        }
        let reader = BlobReader::new(cx.repository, index, vec![cx.target], Read::Quick);
        let others: Vec<&Target> = cx.others.iter().collect();
        let spare = (!others.is_empty()).then(|| BlobReader::new(cx.repository, index, others, Read::Quick));
        Ok(Self {
            cx,
            plans,
            reader,
            spare,
            signer,
            opener: BlobOpener::default(),
            buffer: Vec::new(),
            open: None,
            twins: twins(cx),
            full: Vec::new(),
            put: 0,
            taken: Vec::new(),
            listed: 0,
            figures: Figures::default(),
        })
    }

    /// Takes these rows (ascending) out of a pack. Packs that get full are put on the target.
    ///
    /// # Errors
    /// `Again` when the pack is gone; `Damaged` when a blob is damaged wherever it lies; `NoSpace` of
    /// the target: then [`Mover::list`] may help, and the call must not be repeated.
    pub(super) fn take(&mut self, number: u32, source: &Stored, rows: &[u32]) -> Result<(), SweepError> {
        let directory = self.directory(number, source)?;
        for stretch in stretches(&directory, rows, self.gap_bytes()) {
            self.cx.check()?;
            let span =
                Span::Range { offset: stretch.range.start, len: stretch.range.end - stretch.range.start };
            // What cannot be read in one go is read blob by blob, with all patience.
            let bytes = self.reader.fetch(number, span).unwrap_or_default();
            for ordinal in &rows[stretch.rows.clone()] {
                let Some(sealed) = directory.sealed_range(*ordinal) else { continue };
                let inside = inside(&bytes, &stretch.range, &sealed);
                self.take_one(number, source, &directory, *ordinal, inside)?;
            }
        }
        self.taken.push((*source, self.listed + self.full.len() + 1));
        Ok(())
    }

    fn gap_bytes(&self) -> u64 {
        match self.reader.distance() {
            Distance::Near => 64 * 1024,
            Distance::Far => 1024 * 1024,
        }
    }

    /// The footer, from this target or another.
    fn directory(&self, number: u32, source: &Stored) -> Result<std::sync::Arc<PackDirectory>, SweepError> {
        match self.reader.directory(number) {
            Ok(directory) => Ok(directory),
            Err(error) if error.class() == Class::Damage => {
                self.still_there(source)?;
                match self.spare.as_ref().map(|spare| spare.directory(number)) {
                    Some(Ok(directory)) => Ok(directory),
                    _ => Err(self.hurt(source, &Chain(&error).to_string())),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `Again` when a pack is gone: another sweeper was here.
    fn still_there(&self, source: &Stored) -> Result<(), SweepError> {
        match self.cx.target.storage.head(&pack_name(source.class, &source.hash))? {
            Some(_) => Ok(()),
            None => Err(SweepError::Again { place: self.cx.place() }),
        }
    }

    fn hurt(&self, source: &Stored, what: &str) -> SweepError {
        let what = format!("pack {}, out of which a live blob is to be moved: {what}", source.hash.short());
        SweepError::Damaged { place: self.cx.place(), what }
    }

    fn take_one(
        &mut self,
        number: u32,
        source: &Stored,
        directory: &PackDirectory,
        ordinal: u32,
        read: Option<Bytes>,
    ) -> Result<(), SweepError> {
        let sealed = self.sound(number, source, directory, ordinal, read)?;
        let (Some(row), Some(key)) = (directory.row(ordinal), directory.key_of(ordinal)) else {
            return Err(self.hurt(source, "its footer lacks a row"));
        };
        let full_bytes = pack_bytes_of(source.class, self.cx.repository.pack_bytes());
        let has_no_room = self.open.as_ref().is_some_and(|open| {
            open.builder.class() != source.class
                || open.builder.bytes() + sealed.len() > full_bytes
                || !open.builder.takes_key(key)
        });
        if has_no_room {
            self.close_pack()?;
        }
        let identity = self.cx.repository.pack_identity(source.class, self.signer.id());
        let buffer = &mut self.buffer;
        let open = self.open.get_or_insert_with(|| Open {
            builder: PackBuilder::moving(identity, std::mem::take(buffer)),
            sources: BTreeSet::new(),
        });
        open.builder.adopt(row, &sealed, key)?;
        open.sources.insert(source.hash);
        self.figures.blobs += 1;
        self.figures.blob_bytes += u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The sealed bytes of a blob that opens and is what its id says.
    fn sound(
        &mut self,
        number: u32,
        source: &Stored,
        directory: &PackDirectory,
        ordinal: u32,
        read: Option<Bytes>,
    ) -> Result<Bytes, SweepError> {
        let Some(range) = directory.sealed_range(ordinal) else {
            return Err(self.hurt(source, "its footer lacks a row"));
        };
        let span = Span::Range { offset: range.start, len: range.end - range.start };
        let ids = self.cx.repository.keys().ids();
        let mut what = "it cannot be read".to_owned();
        let own = (0..READS_MAX).map(|_| &self.reader);
        let mut given = read;
        for reader in own.chain(&self.spare) {
            let bytes = match given.take().map_or_else(|| reader.fetch(number, span), Ok) {
                Ok(bytes) => bytes,
                Err(error) if error.class() == Class::Damage => {
                    self.still_there(source)?;
                    what = Chain(&error).to_string();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match directory.open_blob(ordinal, &bytes, ids, &mut self.opener) {
                Ok(_) => return Ok(bytes),
                Err(error) => what = Chain(&error).to_string(),
            }
        }
        Err(self.hurt(source, &what))
    }

    /// Closes what is open, and puts it on the target.
    ///
    /// # Errors
    /// Whatever the target says.
    pub(super) fn close_pack(&mut self) -> Result<(), SweepError> {
        if let Some(open) = self.open.take() {
            let class = open.builder.class();
            let finished = open.builder.finish(&self.signer, self.cx.repository.keys())?;
            let entries = finished.entries();
            let pack = RunPack {
                hash: finished.name,
                class,
                signer: self.signer.id(),
                bytes: u64::try_from(finished.bytes.len()).unwrap_or(u64::MAX),
                foot_offset: finished.foot_offset,
            };
            self.full.push(Full {
                pack,
                entries,
                sources: open.sources,
                bytes: finished.bytes.into(),
                twins: Vec::new(),
            });
        }
        self.put_full()?;
        if self.full.len() >= PACKS_A_RUN { self.list() } else { Ok(()) }
    }

    fn put_full(&mut self) -> Result<(), SweepError> {
        while let Some(full) = self.full.get_mut(self.put) {
            let name = pack_name(full.pack.class, &full.pack.hash);
            match self.cx.target.storage.put_new(&name, full.bytes.clone()) {
                Ok(_) => {}
                Err(StorageError::NoSpace { .. }) => {
                    return Err(SweepError::NoRoom {
                        place: self.cx.place(),
                        needed: "a pack of moved blobs",
                    });
                }
                Err(error) => return Err(error.into()),
            }
            self.figures.packs += 1;
            self.figures.bytes += full.pack.bytes;
            full.twins = put_on_twins(self.cx, &self.twins, full);
            // The memory for it goes to the next one.
            let bytes = std::mem::take(&mut full.bytes);
            self.buffer = bytes.try_into_mut().map(Vec::from).unwrap_or_default();
            self.put += 1;
            self.cx.reached(Step::PackMoved)?;
        }
        Ok(())
    }

    /// Makes the index run over the packs that are on the target, durably, and looks whether they are
    /// still safe there.
    ///
    /// # Errors
    /// `Again` when they are not; whatever the target says.
    pub(super) fn list(&mut self) -> Result<(), SweepError> {
        if self.put == 0 {
            return Ok(());
        }
        let storage = self.cx.target.storage.as_ref();
        storage.sync()?;
        let (name, bytes) = self.run_over(&self.full[..self.put].iter().collect::<Vec<_>>())?;
        self.cx.put_small(self.cx.target, &name, bytes, "an index run")?;
        storage.sync()?;
        for (at, twin) in self.twins.iter().enumerate() {
            let there: Vec<&Full> =
                self.full[..self.put].iter().filter(|full| full.twins.contains(&at)).collect();
            if there.is_empty() {
                continue;
            }
            let (name, bytes) = self.run_over(&there)?;
            let put = twin.target.storage.sync().and_then(|()| {
                twin.target.storage.put_new(&name, bytes)?;
                twin.target.storage.sync()
            });
            if let Err(error) = put {
                self.cx.progress.note(format!("{}: {error}", twin.target.name));
            }
        }
        let listed: Vec<_> =
            self.full.drain(..self.put).map(|full| (full.pack.class, full.pack.hash)).collect();
        self.listed += self.put;
        self.put = 0;
        self.cx.reached(Step::RunWritten)?;
        self.look_at(&listed)
    }

    /// The look after the announcement, as a writer has it: before its run was there, nobody could know
    /// what a pack of this mover is for, and a planner may have named it as one that no run lists. Whoever
    /// plans from now on sees the run, and so does whoever sweeps by such a plan.
    fn look_at(&self, packs: &[(PackClass, ObjectHash)]) -> Result<(), SweepError> {
        let condemned = condemned_since(self.cx, &self.plans)?;
        let is_home = |(_, hash): &(PackClass, ObjectHash)| !condemned.contains(hash);
        if packs.iter().all(is_home) && missing(self.cx.target, packs)?.is_empty() {
            return Ok(());
        }
        Err(SweepError::Again { place: self.cx.place() })
    }

    /// An index run over these packs, and its name.
    fn run_over(&self, packs: &[&Full]) -> Result<(ObjectName, Bytes), SweepError> {
        let mut run = IndexRun::default();
        for (number, full) in (0u32..).zip(packs) {
            run.entries.extend(full.entries.iter().map(|entry| RunEntry { pack: number, ..*entry }));
            run.moved.extend(full.sources.iter().map(|source| (*source, full.pack.hash)));
            run.packs.push(full.pack.clone());
        }
        run.entries.sort_unstable();
        run.moved.sort_unstable();
        let (bytes, id) = run.seal(&self.cx.repository.id(), &self.signer, self.cx.repository.keys())?;
        Ok((index_name(0, &id), Bytes::from(bytes)))
    }

    /// The packs all of whose rows are safe elsewhere by now; each is given once.
    pub(super) fn emptied(&mut self) -> Vec<Stored> {
        let listed = self.listed;
        let (safe, waiting) = self.taken.drain(..).partition(|(_, after)| *after <= listed);
        self.taken = waiting;
        safe.into_iter().map(|(source, _)| source).collect()
    }
}

/// The other targets with plans of their own; one that doesn't answer moves for itself.
fn twins<'a>(cx: &Sweeping<'a>) -> Vec<Twin<'a>> {
    let twin = |target: &'a Target| {
        let plans = plans(cx.repository, target).ok()?;
        let condemned: HashSet<ObjectHash> =
            plans.iter().flat_map(|plan| plan.packs().collect::<Vec<_>>()).collect();
        (!condemned.is_empty()).then_some(Twin { target, condemned })
    };
    cx.others.iter().filter_map(twin).collect()
}

/// Puts a pack on the targets whose plans name all that it was made of.
fn put_on_twins(cx: &Sweeping<'_>, twins: &[Twin<'_>], full: &Full) -> Vec<usize> {
    let mut done = Vec::new();
    for (at, twin) in twins.iter().enumerate() {
        if !full.sources.iter().all(|source| twin.condemned.contains(source)) {
            continue;
        }
        match twin.target.storage.put_new(&pack_name(full.pack.class, &full.pack.hash), full.bytes.clone()) {
            Ok(_) => done.push(at),
            Err(error) => cx.progress.note(format!("{}: {error}", twin.target.name)),
        }
    }
    done
}

struct Stretch {
    /// Which of the rows asked for.
    rows: Range<usize>,
    /// Their bytes in the pack.
    range: Range<u64>,
}

/// The rows in stretches that are worth one read each.
fn stretches(directory: &PackDirectory, rows: &[u32], gap_bytes: u64) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for (at, ordinal) in rows.iter().enumerate() {
        let Some(range) = directory.sealed_range(*ordinal) else { continue };
        match all.last_mut() {
            Some(last)
                if range.start <= last.range.end + gap_bytes
                    && range.end - last.range.start <= STRETCH_BYTES =>
            {
                last.rows.end = at + 1;
                last.range.end = range.end;
            }
            _ => all.push(Stretch { rows: at..at + 1, range }),
        }
    }
    all
}

/// A blob's bytes out of a stretch that was read.
fn inside(bytes: &Bytes, stretch: &Range<u64>, blob: &Range<u64>) -> Option<Bytes> {
    let start = usize::try_from(blob.start.checked_sub(stretch.start)?).ok()?;
    let end = start.checked_add(usize::try_from(blob.end - blob.start).ok()?)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

//! Which packs hold a blob that another pack holds, too.
//!
//! Whoever begins a backup asks, since a blob is doubled when what a lost pack held was stored
//! anew. In memory all entries are walked. On disk the answer is kept in a file beside the parts,
//! with the runs it was found for, and only the blobs of runs that came since are looked up. The
//! file is keyed like a page: one that is missing, cut or changed costs a walk over all entries.
//! A pack too many only costs a look at it, so the names of packs that went are kept, too.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::bits::Bits;
use super::lookup::{Index, Mending};
use crate::base::durable;
use crate::base::id::ObjectHash;
use crate::base::limits::OBJECT_BYTES_MAX;
use crate::repository::error::RepositoryError;

const MAGIC: &[u8; 8] = b"LBTWICE\x01";
const SUM_BYTES: usize = 32;
const ID_BYTES: usize = 32;
/// A look-up of one blob costs as much as walking over this many.
const WALKED_PER_LOOK_UP: u64 = 20;

/// What was found for which runs.
#[derive(Debug, Default)]
struct Record {
    /// Sorted.
    runs: Vec<ObjectHash>,
    packs: BTreeSet<ObjectHash>,
}

impl Index {
    /// The packs, by number, ascending, that hold a blob of another pack.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn doubled(&self) -> Result<Vec<u32>, RepositoryError> {
        let mending = self.mending.as_ref().filter(|_| !self.is_in_memory() && self.condemned.is_empty());
        let Some(mending) = mending else { return Ok(self.walk()?.iter().collect()) };
        let runs = self.runs();
        let known = mending.recall();
        let is_new = |run: &&(ObjectHash, u64)| {
            known.as_ref().is_none_or(|known| known.runs.binary_search(&run.0).is_err())
        };
        let new: Vec<(ObjectHash, u64)> = runs.iter().filter(is_new).copied().collect();
        let blobs: u64 = new.iter().map(|(_, blobs)| blobs).sum();
        let added = match &known {
            Some(_) if blobs.saturating_mul(WALKED_PER_LOOK_UP) < self.blobs() => {
                self.looked_up(mending, &new).ok()
            }
            _ => None,
        };
        let packs = match (known, added) {
            (Some(mut known), Some(added)) => {
                known.packs.extend(added);
                known.packs
            }
            _ => self.names(&self.walk()?)?,
        };
        let mut bits = Bits::default();
        for pack in &packs {
            if let Some(number) = self.number_of(pack)? {
                bits.insert(number);
            }
        }
        if !new.is_empty() {
            mending.remember(&Record { runs: runs.into_iter().map(|(id, _)| id).collect(), packs });
        }
        Ok(bits.iter().collect())
    }

    /// Walks over all entries.
    fn walk(&self) -> Result<Bits, RepositoryError> {
        let mut doubled = Bits::default();
        let mut last = None;
        for entry in self.entries()? {
            let (id, at) = entry?;
            if let Some((_, before)) = last.filter(|(same, before)| *same == id && *before != at.pack) {
                doubled.insert(before);
                doubled.insert(at.pack);
            }
            last = Some((id, at.pack));
        }
        Ok(doubled)
    }

    fn names(&self, packs: &Bits) -> Result<BTreeSet<ObjectHash>, RepositoryError> {
        let mut names = BTreeSet::new();
        for number in packs.iter() {
            names.extend(self.pack(number)?.map(|pack| pack.hash));
        }
        Ok(names)
    }

    /// Looks up each blob of these runs.
    fn looked_up(
        &self,
        mending: &Mending,
        runs: &[(ObjectHash, u64)],
    ) -> Result<BTreeSet<ObjectHash>, RepositoryError> {
        let mut doubled = Bits::default();
        for (run, _) in runs {
            for entry in &mending.source.run(run)?.entries {
                let places = self.locations(&entry.id)?;
                if places.iter().any(|at| at.pack != places[0].pack) {
                    for at in places {
                        doubled.insert(at.pack);
                    }
                }
            }
        }
        self.names(&doubled)
    }
}

impl Mending {
    fn record_path(&self) -> Option<PathBuf> {
        Some(self.workshop.ground.folder()?.with_extension("twice"))
    }

    fn recall(&self) -> Option<Record> {
        let path = self.record_path()?;
        if std::fs::metadata(&path).ok()?.len() > u64::try_from(OBJECT_BYTES_MAX).unwrap_or(u64::MAX) {
            return None;
        }
        let bytes = std::fs::read(path).ok()?;
        let (sum, body) = bytes.split_at_checked(SUM_BYTES)?;
        if self.workshop.key.sum_of(body) != *sum {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (count, rest) = rest.split_at_checked(8)?;
        let count = usize::try_from(u64::from_le_bytes(count.try_into().ok()?)).ok()?;
        let (runs, packs) = rest.split_at_checked(count.checked_mul(ID_BYTES)?)?;
        let ids = |bytes: &[u8]| {
            let (ids, _) = bytes.as_chunks::<ID_BYTES>();
            ids.iter().map(|id| ObjectHash::new(*id)).collect::<Vec<_>>()
        };
        Some(Record { runs: ids(runs), packs: ids(packs).into_iter().collect() })
    }

    /// A record that cannot be written is no fault: the next backup walks again.
    fn remember(&self, record: &Record) {
        let Some(path) = self.record_path() else { return };
        let count = u64::try_from(record.runs.len()).unwrap_or(u64::MAX);
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(&count.to_le_bytes());
        for id in record.runs.iter().chain(&record.packs) {
            body.extend_from_slice(id.as_bytes());
        }
        let sum = self.workshop.key.sum_of(&body);
        drop(durable::replace(&path, &[&sum[..], &body].concat()));
    }
}

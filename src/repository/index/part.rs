//! A part of the index: the blobs and packs of certain runs, in one file that is never changed.
//!
//! Page 0 says what is where. Then packs in the order of their numbers, runs in the order they
//! were taken in, a table of packs by name, a table of blobs by id. A pack that two runs list
//! stands twice. In memory a part takes 52 bytes for each run.

use std::io;
use std::sync::Arc;

use super::page::{self, BODY_BYTES, PAGE_BYTES, PageKey, hurt};
use super::spool::Spool;
use super::table::{Paged, Shape, Table};
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::format::index_run::RunPack;
use crate::repository::format::names::PackClass;

/// Bytes that page 0 uses.
const HEAD_FIELDS: usize = 76;
const MAGIC: &[u8; 8] = b"LBINDEX\x01";
/// Bytes of a pack's row.
pub(super) const PACK_ROW_BYTES: usize = 72;
/// Packs of a page.
pub(super) const PACKS_A_PAGE: u32 = 56;
/// Bytes of a run's row.
pub(super) const RUN_ROW_BYTES: usize = 48;
/// Runs of a page.
pub(super) const RUNS_A_PAGE: u32 = 84;
const _: () = assert!(PACK_ROW_BYTES * 56 <= BODY_BYTES && RUN_ROW_BYTES * 84 <= BODY_BYTES);

/// A run that a part covers. Its packs have consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunRow {
    /// Its name; all zeros where there was one that nobody asks for any more.
    pub(super) id: ObjectHash,
    /// The number of its first pack in this part.
    pub(super) first: u32,
    /// How many packs it lists.
    pub(super) packs: u32,
    /// How many blobs it lists.
    pub(super) blobs: u64,
}

impl RunRow {
    fn write(&self, to: &mut [u8]) {
        to[..32].copy_from_slice(self.id.as_bytes());
        to[32..36].copy_from_slice(&self.first.to_le_bytes());
        to[36..40].copy_from_slice(&self.packs.to_le_bytes());
        to[40..48].copy_from_slice(&self.blobs.to_le_bytes());
    }

    fn read(from: &[u8]) -> Self {
        Self {
            id: ObjectHash::new(array(from, 0)),
            first: u32::from_le_bytes(array(from, 32)),
            packs: u32::from_le_bytes(array(from, 36)),
            blobs: u64::from_le_bytes(array(from, 40)),
        }
    }
}

/// A pack of a part.
#[derive(Clone, Debug)]
pub(super) struct PackRow {
    /// As its run lists it.
    pub(super) pack: RunPack,
    /// How many blobs its run lists in it.
    pub(super) blobs: u32,
}

impl PackRow {
    /// Writes it to its bytes.
    pub(super) fn write(&self, to: &mut [u8]) {
        to[..32].copy_from_slice(self.pack.hash.as_bytes());
        to[32..48].copy_from_slice(self.pack.signer.as_bytes());
        to[48..56].copy_from_slice(&self.pack.bytes.to_le_bytes());
        to[56..64].copy_from_slice(&self.pack.foot_offset.to_le_bytes());
        to[64..68].copy_from_slice(&self.blobs.to_le_bytes());
        to[68] = self.pack.class as u8;
    }

    fn read(from: &[u8]) -> io::Result<Self> {
        let pack = RunPack {
            hash: ObjectHash::new(array(from, 0)),
            signer: WriterId::new(array(from, 32)),
            bytes: u64::from_le_bytes(array(from, 48)),
            foot_offset: u64::from_le_bytes(array(from, 56)),
            class: PackClass::from_u8(from[68]).ok_or_else(hurt)?,
        };
        Ok(Self { pack, blobs: u32::from_le_bytes(array(from, 64)) })
    }
}

fn array<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&from[at..at + N]);
    bytes
}

/// What page 0 says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// The unique number that the file's key is made of; its name, too.
    pub(super) nonce: [u8; 16],
    /// How many packs it lists.
    pub(super) packs: u32,
    /// Where the rows of the runs begin.
    pub(super) runs_page: u32,
    /// How many runs it covers.
    pub(super) runs: u32,
    /// Packs by name.
    pub(super) names: Shape,
    /// Blobs by id.
    pub(super) blobs: Shape,
}

impl Head {
    /// Page 0.
    pub(super) fn page(&self, key: &PageKey) -> page::Bytes {
        let mut page = [0; PAGE_BYTES];
        let mut fields = Vec::with_capacity(HEAD_FIELDS);
        fields.extend_from_slice(MAGIC);
        fields.extend_from_slice(&self.nonce);
        for number in [self.packs, self.runs_page, self.runs] {
            fields.extend_from_slice(&number.to_le_bytes());
        }
        for table in [self.names, self.blobs] {
            for number in [table.first_page, table.buckets, table.pages] {
                fields.extend_from_slice(&number.to_le_bytes());
            }
            fields.extend_from_slice(&table.rows.to_le_bytes());
        }
        page::row_mut(&mut page, 0, fields.len()).copy_from_slice(&fields);
        key.close(&mut page, 0, 1);
        page
    }

    fn read(spool: &Spool, key: &PageKey) -> io::Result<(Self, PageKey)> {
        let mut page = [0; PAGE_BYTES];
        spool.read_at(&mut page, 0)?;
        let fields = page::row(&page, 0, HEAD_FIELDS);
        if fields[..8] != *MAGIC {
            return Err(hurt());
        }
        let nonce = array(fields, 8);
        let key = key.of_file(&nonce);
        key.check(&page, 0)?;
        let four = |at: usize| u32::from_le_bytes(array(fields, at));
        let table = |at: usize| Shape {
            first_page: four(at),
            buckets: four(at + 4),
            pages: four(at + 8),
            rows: u64::from_le_bytes(array(fields, at + 12)),
        };
        let (packs, runs_page, runs) = (four(24), four(28), four(32));
        Ok((Self { nonce, packs, runs_page, runs, names: table(36), blobs: table(56) }, key))
    }
}

/// A part that is read.
#[derive(Debug)]
pub(super) struct Part {
    head: Head,
    paged: Paged,
    runs: Vec<RunRow>,
    /// Places of the runs, by id.
    by_id: Vec<u32>,
    /// The name of its file in the folder.
    pub(super) name: Option<String>,
}

impl Part {
    /// Opens a finished spool.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` when it is no part of this repository; whatever the file
    /// system says.
    pub(super) fn open(spool: Spool, key: &PageKey, name: Option<String>) -> io::Result<Self> {
        let (head, key) = Head::read(&spool, key)?;
        let paged = Paged::new(spool, Arc::new(key));
        let mut runs = Vec::with_capacity(usize::try_from(head.runs).unwrap_or(0));
        let mut page = [0; PAGE_BYTES];
        for at in 0..head.runs.div_ceil(RUNS_A_PAGE) {
            let rows = paged.read(head.runs_page + at, &mut page)?;
            for row in 0..rows.min(BODY_BYTES / RUN_ROW_BYTES) {
                runs.push(RunRow::read(page::row(&page, row, RUN_ROW_BYTES)));
            }
        }
        if u32::try_from(runs.len()).ok() != Some(head.runs) {
            return Err(hurt());
        }
        let mut by_id: Vec<u32> = (0..head.runs).collect();
        by_id.sort_unstable_by_key(|at| runs.get(*at as usize).map(|run| run.id));
        Ok(Self { head, paged, runs, by_id, name })
    }

    /// The runs it covers, by the numbers of their packs.
    pub(super) fn runs(&self) -> &[RunRow] {
        &self.runs
    }

    /// How many packs it lists, of whatever run.
    pub(super) fn packs(&self) -> u32 {
        self.head.packs
    }

    /// How many blobs it lists, of whatever run.
    pub(super) fn rows(&self) -> u64 {
        self.head.blobs.rows
    }

    /// Whether it takes memory and no file.
    pub(super) fn is_in_memory(&self) -> bool {
        self.paged.spool.is_in_memory()
    }

    /// The place of a run among the runs.
    pub(super) fn run(&self, id: &ObjectHash) -> Option<usize> {
        let name = |at: &u32| self.runs.get(*at as usize).map(|run| run.id);
        let first = self.by_id.partition_point(|at| name(at) < Some(*id));
        self.by_id.get(first).filter(|at| name(at) == Some(*id)).map(|at| *at as usize)
    }

    /// The run that lists a pack, by its place among the runs.
    pub(super) fn run_of(&self, pack: u32) -> usize {
        self.runs.partition_point(|run| run.first <= pack).saturating_sub(1)
    }

    /// A pack by its number.
    ///
    /// # Errors
    /// Whatever the file says.
    pub(super) fn pack(&self, number: u32) -> io::Result<PackRow> {
        let mut page = [0; PAGE_BYTES];
        let rows = self.paged.read(1 + number / PACKS_A_PAGE, &mut page)?;
        let row = usize::try_from(number % PACKS_A_PAGE).unwrap_or(usize::MAX);
        if number >= self.head.packs || row >= rows {
            return Err(hurt());
        }
        PackRow::read(page::row(&page, row, PACK_ROW_BYTES))
    }

    /// Reads some packs from this number on: what is left of its page.
    ///
    /// # Errors
    /// Whatever the file says.
    pub(super) fn packs_from(&self, number: u32) -> io::Result<Vec<PackRow>> {
        let mut page = [0; PAGE_BYTES];
        let rows = self.paged.read(1 + number / PACKS_A_PAGE, &mut page)?;
        let skip = usize::try_from(number % PACKS_A_PAGE).unwrap_or(usize::MAX);
        (skip..rows.min(BODY_BYTES / PACK_ROW_BYTES))
            .map(|row| PackRow::read(page::row(&page, row, PACK_ROW_BYTES)))
            .collect()
    }

    /// Packs by name: `pack` is the number.
    pub(super) fn names(&self) -> Table {
        Table { paged: self.paged.clone(), shape: self.head.names }
    }

    /// Blobs by id.
    pub(super) fn blobs(&self) -> Table {
        Table { paged: self.paged.clone(), shape: self.head.blobs }
    }

    /// Reads every page of its file and checks it.
    ///
    /// # Errors
    /// Whatever the file says of the first bad one.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_in_memory() {
            return Ok(());
        }
        let pages = self.head.blobs.first_page.saturating_add(self.head.blobs.pages);
        (0..pages).try_for_each(|number| self.paged.check(number))
    }
}

/// Appends the rows of runs.
///
/// # Errors
/// When there is no room.
pub(super) fn write_runs(spool: &mut Spool, key: &PageKey, runs: &[RunRow]) -> io::Result<()> {
    for rows in runs.chunks(BODY_BYTES / RUN_ROW_BYTES) {
        let mut page = [0; PAGE_BYTES];
        for (at, row) in rows.iter().enumerate() {
            row.write(page::row_mut(&mut page, at, RUN_ROW_BYTES));
        }
        key.close(&mut page, super::table::next_page(spool)?, rows.len());
        spool.append(&page)?;
    }
    Ok(())
}

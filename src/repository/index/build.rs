//! Building a part, from runs and from other parts, in bounded memory.
//!
//! Packs go to the file as they come; names and blobs are sorted beside it and written as tables
//! at the end. Of other parts only what is wanted is taken over, under new numbers: a run that
//! nobody wants leaves a gap in the numbers and nothing else.

use std::io;
use std::sync::Arc;

use super::page::{self, PAGE_BYTES, PageKey};
use super::part::{Head, PACK_ROW_BYTES, PACKS_A_PAGE, PackRow, Part, RunRow, write_runs};
use super::sort::{Merge, Row, Rows, Sorter};
use super::spool::{Ground, Spool};
use super::table::{self, Scan};
use crate::base::entropy;
use crate::base::id::ObjectHash;
use crate::repository::format::index_run::IndexRun;

/// How much memory is used, and when files are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Rows that are sorted at a time; 40 bytes each.
    pub(super) sort_rows: usize,
    /// A part up to this many bytes stays in memory.
    pub(super) memory_bytes: usize,
    /// A part of more runs is written, too: opening runs takes time.
    pub(super) memory_runs: usize,
    /// More parts than this are merged.
    pub(super) parts_max: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { sort_rows: 250_000, memory_bytes: 12 * 1024 * 1024, memory_runs: 256, parts_max: 6 }
    }
}

/// What a part is built with.
#[derive(Debug)]
pub(super) struct Workshop {
    /// Where files go.
    pub(super) ground: Ground,
    /// The repository's key for pages.
    pub(super) key: PageKey,
    /// How much memory is used.
    pub(super) tuning: Tuning,
}

/// Which runs of a part are wanted, by their places there.
pub(super) type Wanted = Vec<bool>;

/// A part being built.
pub(super) struct Builder<'w> {
    workshop: &'w Workshop,
    key: PageKey,
    spool: Spool,
    head: Head,
    page: page::Bytes,
    runs: Vec<RunRow>,
    names: Sorter,
    blobs: Sorter,
    carried: Vec<Carried>,
}

/// A part that is taken over.
struct Carried {
    part: Arc<Part>,
    wanted: Option<Wanted>,
    offset: u32,
}

impl<'w> Builder<'w> {
    /// An empty part.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn new(workshop: &'w Workshop) -> io::Result<Self> {
        let nonce = entropy::random::<16>();
        let Workshop { ground, tuning, .. } = workshop;
        let mut spool = ground.lasting(tuning.memory_bytes);
        // The place of the head.
        spool.append(&[0; PAGE_BYTES])?;
        Ok(Self {
            key: workshop.key.of_file(&nonce),
            spool,
            head: Head { nonce, ..Head::default() },
            page: [0; PAGE_BYTES],
            runs: Vec::new(),
            names: Sorter::new(ground, tuning.sort_rows / 8),
            blobs: Sorter::new(ground, tuning.sort_rows),
            carried: Vec::new(),
            workshop,
        })
    }

    /// How many runs it covers so far.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Takes a run in.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn add(&mut self, id: &ObjectHash, run: &IndexRun) -> io::Result<()> {
        let first = self.head.packs;
        let mut blobs = vec![0u32; run.packs.len()];
        for entry in &run.entries {
            if let Some(count) = usize::try_from(entry.pack).ok().and_then(|pack| blobs.get_mut(pack)) {
                *count += 1;
                let pack = first.checked_add(entry.pack).ok_or(io::ErrorKind::FileTooLarge)?;
                self.blobs.push(Row::new(entry.id.as_bytes(), pack, entry.ordinal))?;
            }
        }
        let total = blobs.iter().map(|count| u64::from(*count)).sum();
        for (pack, blobs) in run.packs.iter().zip(blobs) {
            self.names.push(Row::new(pack.hash.as_bytes(), self.head.packs, 0))?;
            self.pack(Some(&PackRow { pack: pack.clone(), blobs }))?;
        }
        self.runs.push(RunRow { id: *id, first, packs: self.head.packs - first, blobs: total });
        Ok(())
    }

    /// Leaves a gap in the numbers of packs.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn skip(&mut self, packs: u32) -> io::Result<()> {
        let first = self.head.packs;
        for _ in 0..packs {
            self.pack(None)?;
        }
        self.runs.push(RunRow { id: ObjectHash::default(), first, packs, blobs: 0 });
        Ok(())
    }

    /// Takes another part over: all of it, or only these of its runs.
    ///
    /// # Errors
    /// When there is no room; whatever the other part's file says.
    pub(super) fn carry(&mut self, part: &Arc<Part>, wanted: Option<Wanted>) -> io::Result<()> {
        let offset = self.head.packs;
        let mut number = 0;
        while number < part.packs() {
            let rows = part.packs_from(number)?;
            for row in &rows {
                self.pack(Some(row))?;
                number += 1;
            }
            if rows.is_empty() {
                return Err(page::hurt());
            }
        }
        for (at, run) in part.runs().iter().enumerate() {
            let first = run.first.checked_add(offset).ok_or(io::ErrorKind::FileTooLarge)?;
            let kept = wanted.as_ref().is_none_or(|wanted| wanted[at]);
            self.runs.push(if kept {
                RunRow { first, ..*run }
            } else {
                RunRow { id: ObjectHash::default(), first, packs: run.packs, blobs: 0 }
            });
        }
        self.carried.push(Carried { part: Arc::clone(part), wanted, offset });
        Ok(())
    }

    /// Appends a pack's row, or the place of one.
    fn pack(&mut self, row: Option<&PackRow>) -> io::Result<()> {
        let at = usize::try_from(self.head.packs % PACKS_A_PAGE).unwrap_or(0);
        if let Some(row) = row {
            row.write(page::row_mut(&mut self.page, at, PACK_ROW_BYTES));
        }
        self.head.packs = self.head.packs.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        if self.head.packs.is_multiple_of(PACKS_A_PAGE) { self.close_page() } else { Ok(()) }
    }

    fn close_page(&mut self) -> io::Result<()> {
        let rows = (self.head.packs - 1) % PACKS_A_PAGE + 1;
        let number = table::next_page(&self.spool)?;
        self.key.close(&mut self.page, number, usize::try_from(rows).unwrap_or(0));
        self.spool.append(&self.page)?;
        self.page = [0; PAGE_BYTES];
        Ok(())
    }

    /// Writes the tables and the head. The part is readable then, and has no name yet.
    ///
    /// # Errors
    /// When there is no room; whatever the files of other parts say.
    pub(super) fn finish(mut self) -> io::Result<(Spool, Head)> {
        if !self.head.packs.is_multiple_of(PACKS_A_PAGE) {
            self.close_page()?;
        }
        self.head.runs_page = table::next_page(&self.spool)?;
        self.head.runs = u32::try_from(self.runs.len()).map_err(io::Error::other)?;
        write_runs(&mut self.spool, &self.key, &self.runs)?;
        let mut expected = self.names.count();
        let mut sources = self.names.finish()?;
        for carried in &self.carried {
            expected += carried.part.names().shape.rows;
            sources.push(carried.rows(carried.part.names().scan()));
        }
        let mut names = Merge::new(sources)?;
        self.head.names = table::write(&mut self.spool, &self.key, expected, &mut names)?;
        let mut expected = self.blobs.count();
        let mut sources = self.blobs.finish()?;
        for carried in &self.carried {
            expected += carried.part.blobs().shape.rows;
            sources.push(carried.rows(carried.part.blobs().scan()));
        }
        let mut blobs = Merge::new(sources)?;
        self.head.blobs = table::write(&mut self.spool, &self.key, expected, &mut blobs)?;
        self.spool.flush()?;
        self.spool.write_at(&self.head.page(&self.key), 0)?;
        Ok((self.spool, self.head))
    }

    /// [`Builder::finish`], opened for this process alone.
    ///
    /// # Errors
    /// As [`Builder::finish`].
    pub(super) fn finish_unnamed(self) -> io::Result<Part> {
        let workshop = self.workshop;
        let (spool, _) = self.finish()?;
        Part::open(spool, &workshop.key, None)
    }
}

impl Carried {
    fn rows(&self, scan: Scan) -> Box<dyn Rows> {
        Box::new(Moved {
            scan,
            part: Arc::clone(&self.part),
            wanted: self.wanted.clone(),
            offset: self.offset,
        })
    }
}

/// The rows of another part under new numbers, without those that nobody wants.
struct Moved {
    scan: Scan,
    part: Arc<Part>,
    wanted: Option<Wanted>,
    offset: u32,
}

impl Rows for Moved {
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        while let Some(mut row) = self.scan.next_row()? {
            if self.wanted.as_ref().is_none_or(|wanted| wanted.get(self.part.run_of(row.pack)) == Some(&true))
            {
                row.pack = row.pack.checked_add(self.offset).ok_or(io::ErrorKind::FileTooLarge)?;
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

//! Sorted rows in pages, found with one read.
//!
//! A key's first eight bytes say at which page its rows would be if keys were spread evenly. A
//! full page pushes what follows to the next one, so the rows stay in order over all pages, and a
//! look-up goes on while pages are full and end before the key. Keys that are not spread evenly,
//! which only a writer with the key could make, cost a binary search and never more.

use std::cmp::Ordering;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::page::{self, BODY_BYTES, PAGE, PAGE_BYTES, PageKey, hurt};
use super::sort::{ROW_BYTES, Row, Rows};
use super::spool::Spool;

/// Rows that a page can hold.
const ROWS_MAX: usize = BODY_BYTES / ROW_BYTES;
/// Rows of a page when they are spread evenly: about 80 %.
const ROWS_MEANT: u64 = 81;
/// Pages looked at one after the other before halving begins.
const STEPS: u32 = 4;

/// Where a table stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Its first page.
    pub(super) first_page: u32,
    /// Pages that keys are spread over.
    pub(super) buckets: u32,
    /// Pages it has.
    pub(super) pages: u32,
    /// Rows it has.
    pub(super) rows: u64,
}

impl Shape {
    fn bucket(&self, head: u64) -> u32 {
        u32::try_from((u128::from(head) * u128::from(self.buckets)) >> 64).unwrap_or(u32::MAX)
    }
}

/// A file of pages: what is read from and how it is checked.
///
/// A page is checked when it is first read. What this process wrote to its own memory is not.
#[derive(Clone, Debug)]
pub(super) struct Paged {
    /// The bytes.
    pub(super) spool: Arc<Spool>,
    key: Arc<PageKey>,
    /// A bit for each page that was checked; empty for memory.
    checked: Arc<[AtomicU64]>,
}

impl Paged {
    /// Pages of a finished spool.
    pub(super) fn new(spool: Spool, key: Arc<PageKey>) -> Self {
        let words = if spool.is_in_memory() { 0 } else { spool.len().div_ceil(64 * PAGE) };
        let checked = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { spool: Arc::new(spool), key, checked }
    }

    /// Reads a page; gives the number of its rows.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` when it is not what was written.
    pub(super) fn read(&self, number: u32, to: &mut page::Bytes) -> io::Result<usize> {
        self.spool.read_at(to, u64::from(number) * PAGE)?;
        if self.spool.is_in_memory() {
            return page::rows(to);
        }
        let word = usize::try_from(number / 64).ok().and_then(|word| self.checked.get(word));
        let (word, bit) = (word.ok_or_else(hurt)?, 1 << (number % 64));
        if word.load(Relaxed) & bit != 0 {
            return page::rows(to);
        }
        let rows = self.key.check(to, number)?;
        word.fetch_or(bit, Relaxed);
        Ok(rows)
    }

    /// Reads a page and checks it, also when it was checked before.
    ///
    /// # Errors
    /// As [`Paged::read`].
    pub(super) fn check(&self, number: u32) -> io::Result<()> {
        let mut page = [0; PAGE_BYTES];
        self.spool.read_at(&mut page, u64::from(number) * PAGE)?;
        self.key.check(&page, number).map(drop)
    }
}

/// The number of the page that is appended next.
pub(super) fn next_page(spool: &Spool) -> io::Result<u32> {
    u32::try_from(spool.len() / PAGE).map_err(io::Error::other)
}

/// Appends rows in order as a table; about `expected` of them.
///
/// # Errors
/// When there is no room; whatever the source says.
pub(super) fn write(
    spool: &mut Spool,
    key: &PageKey,
    expected: u64,
    rows: &mut dyn Rows,
) -> io::Result<Shape> {
    let buckets = u32::try_from(expected.div_ceil(ROWS_MEANT).max(1)).map_err(io::Error::other)?;
    let mut shape = Shape { first_page: next_page(spool)?, buckets, pages: 0, rows: 0 };
    let mut page = [0; PAGE_BYTES];
    let mut filled = 0;
    let mut close = |shape: &mut Shape, page: &mut page::Bytes, filled: &mut usize| {
        key.close(page, shape.first_page + shape.pages, *filled);
        spool.append(page)?;
        *page = [0; PAGE_BYTES];
        *filled = 0;
        shape.pages = shape.pages.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        io::Result::Ok(())
    };
    while let Some(row) = rows.next_row()? {
        while shape.bucket(row.head) > shape.pages || filled == ROWS_MAX {
            close(&mut shape, &mut page, &mut filled)?;
        }
        row.write(page::row_mut(&mut page, filled, ROW_BYTES));
        filled += 1;
        shape.rows += 1;
    }
    while filled > 0 || shape.pages < shape.buckets {
        close(&mut shape, &mut page, &mut filled)?;
    }
    Ok(shape)
}

/// A table to be read.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its file.
    pub(super) paged: Paged,
    /// Its place there.
    pub(super) shape: Shape,
}

struct Seen {
    rows: usize,
    page: page::Bytes,
}

impl Seen {
    fn row(&self, at: usize) -> Row {
        Row::read(page::row(&self.page, at, ROW_BYTES))
    }

    /// Whether rows with this key can only stand behind this page.
    fn is_before(&self, key: &Row) -> bool {
        self.rows == ROWS_MAX && self.row(self.rows - 1).cmp_key(key) == Ordering::Less
    }
}

impl Table {
    fn read(&self, at: u32) -> io::Result<Seen> {
        let mut seen = Seen { rows: 0, page: [0; PAGE_BYTES] };
        seen.rows = self.paged.read(self.shape.first_page + at, &mut seen.page)?;
        if seen.rows > ROWS_MAX { Err(hurt()) } else { Ok(seen) }
    }

    /// Shows the rows with this key, in order, until told to stop.
    ///
    /// # Errors
    /// Whatever the file says.
    pub(super) fn find(
        &self,
        key: &[u8; 32],
        visit: &mut dyn FnMut(&Row) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let wanted = Row::new(key, 0, 0);
        let mut at = self.shape.bucket(wanted.head);
        if at >= self.shape.pages {
            return Ok(());
        }
        let mut seen = self.read(at)?;
        let mut steps = 0;
        while seen.is_before(&wanted) {
            at = if steps < STEPS { at + 1 } else { self.halve(at, &wanted)? };
            steps += 1;
            if at >= self.shape.pages {
                return Ok(());
            }
            seen = self.read(at)?;
        }
        loop {
            let first = partition(seen.rows, |row| seen.row(row).cmp_key(&wanted) == Ordering::Less);
            for row in (first..seen.rows).map(|row| seen.row(row)) {
                if row.cmp_key(&wanted) != Ordering::Equal || visit(&row).is_break() {
                    return Ok(());
                }
            }
            at += 1;
            if seen.rows < ROWS_MAX || at >= self.shape.pages {
                return Ok(());
            }
            seen = self.read(at)?;
        }
    }

    /// The first page behind `at`, which is before the key, that is not.
    fn halve(&self, at: u32, wanted: &Row) -> io::Result<u32> {
        let (mut low, mut high) = (at + 1, self.shape.pages);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.read(middle)?.is_before(wanted) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// All rows in order.
    pub(super) fn scan(&self) -> Scan {
        Scan { table: self.clone(), at: 0, row: 0, seen: None }
    }
}

/// The first of `0..len` for which `before` no longer holds.
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Reads a table from its first row to its last.
pub(super) struct Scan {
    table: Table,
    at: u32,
    row: usize,
    seen: Option<Box<Seen>>,
}

impl Rows for Scan {
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        loop {
            if let Some(seen) = self.seen.as_ref().filter(|seen| self.row < seen.rows) {
                self.row += 1;
                return Ok(Some(seen.row(self.row - 1)));
            }
            if self.at >= self.table.shape.pages {
                return Ok(None);
            }
            self.seen = Some(Box::new(self.table.read(self.at)?));
            self.at += 1;
            self.row = 0;
        }
    }
}

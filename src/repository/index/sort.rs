//! Rows in order, however many: sorted stretches of bounded memory, spilled and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::spool::{Ground, Spool};

/// Bytes of a row as stored.
pub(super) const ROW_BYTES: usize = 40;
/// Read buffers of all stretches of a merge together.
const MERGE_BYTES: usize = 6 * 1024 * 1024;

/// A 32-byte key and two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// The first eight bytes of the key as a number: compared first, and the key to the page.
    pub(super) head: u64,
    tail: [u8; 24],
    /// A pack's number.
    pub(super) pack: u32,
    /// A row in the pack's footer.
    pub(super) ordinal: u32,
}

impl Row {
    /// A row with this key.
    pub(super) fn new(key: &[u8; 32], pack: u32, ordinal: u32) -> Self {
        let (mut head, mut tail) = ([0; 8], [0; 24]);
        head.copy_from_slice(&key[..8]);
        tail.copy_from_slice(&key[8..]);
        Self { head: u64::from_be_bytes(head), tail, pack, ordinal }
    }

    /// Its key.
    pub(super) fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.head.to_be_bytes());
        key[8..].copy_from_slice(&self.tail);
        key
    }

    /// How its key compares with another row's.
    pub(super) fn cmp_key(&self, other: &Self) -> std::cmp::Ordering {
        self.head.cmp(&other.head).then_with(|| self.tail.cmp(&other.tail))
    }

    /// Writes it to 40 bytes.
    pub(super) fn write(&self, to: &mut [u8]) {
        to[..8].copy_from_slice(&self.head.to_be_bytes());
        to[8..32].copy_from_slice(&self.tail);
        to[32..36].copy_from_slice(&self.pack.to_le_bytes());
        to[36..40].copy_from_slice(&self.ordinal.to_le_bytes());
    }

    /// Reads it from 40 bytes.
    pub(super) fn read(from: &[u8]) -> Self {
        let (mut head, mut tail, mut pack, mut ordinal) = ([0; 8], [0; 24], [0; 4], [0; 4]);
        head.copy_from_slice(&from[..8]);
        tail.copy_from_slice(&from[8..32]);
        pack.copy_from_slice(&from[32..36]);
        ordinal.copy_from_slice(&from[36..40]);
        Self {
            head: u64::from_be_bytes(head),
            tail,
            pack: u32::from_le_bytes(pack),
            ordinal: u32::from_le_bytes(ordinal),
        }
    }
}

/// Rows in order.
pub(super) trait Rows {
    /// The next one.
    ///
    /// # Errors
    /// Whatever the file behind it says.
    fn next_row(&mut self) -> io::Result<Option<Row>>;
}

impl Rows for std::vec::IntoIter<Row> {
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        Ok(self.next())
    }
}

/// Takes rows in any order.
pub(super) struct Sorter {
    ground: Ground,
    rows: Vec<Row>,
    rows_max: usize,
    spilled: Option<Spool>,
    stretches: Vec<Range<u64>>,
    count: u64,
}

impl Sorter {
    /// A sorter that holds at most this many rows in memory (40 bytes each).
    pub(super) fn new(ground: &Ground, rows_max: usize) -> Self {
        let rows_max = rows_max.max(1);
        Self {
            ground: ground.clone(),
            rows: Vec::new(),
            rows_max,
            spilled: None,
            stretches: Vec::new(),
            count: 0,
        }
    }

    /// Rows taken so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Takes a row.
    ///
    /// # Errors
    /// When there is no room for what has to leave memory.
    pub(super) fn push(&mut self, row: Row) -> io::Result<()> {
        if self.rows.len() >= self.rows_max {
            self.spill()?;
        }
        self.rows.push(row);
        self.count += 1;
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.rows.sort_unstable();
        let spool = self.spilled.get_or_insert_with(|| self.ground.passing(0));
        let start = spool.len();
        let mut bytes = [0; ROW_BYTES];
        for row in self.rows.drain(..) {
            row.write(&mut bytes);
            spool.append(&bytes)?;
        }
        self.stretches.push(start..spool.len());
        Ok(())
    }

    /// All rows in order, as sources of one merge.
    ///
    /// # Errors
    /// As [`Sorter::push`].
    pub(super) fn finish(mut self) -> io::Result<Vec<Box<dyn Rows>>> {
        if self.spilled.is_some() && !self.rows.is_empty() {
            self.spill()?;
        }
        let mut sources: Vec<Box<dyn Rows>> = Vec::new();
        if let Some(mut spool) = self.spilled.take() {
            self.rows = Vec::new();
            spool.flush()?;
            let spool = Arc::new(spool);
            let rows = (MERGE_BYTES / self.stretches.len().max(1) / ROW_BYTES).clamp(100, 6400);
            for left in self.stretches {
                let buffer = Vec::with_capacity(rows * ROW_BYTES);
                sources.push(Box::new(Stretch { spool: Arc::clone(&spool), left, buffer, at: 0 }));
            }
        } else {
            self.rows.sort_unstable();
            sources.push(Box::new(self.rows.into_iter()));
        }
        Ok(sources)
    }
}

/// A sorted stretch of a spool.
struct Stretch {
    spool: Arc<Spool>,
    left: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
}

impl Rows for Stretch {
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        if self.at == self.buffer.len() {
            let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
            let step = left.min(self.buffer.capacity() / ROW_BYTES * ROW_BYTES);
            if step == 0 {
                return Ok(None);
            }
            self.buffer.resize(step, 0);
            self.spool.read_at(&mut self.buffer, self.left.start)?;
            self.left.start += u64::try_from(step).unwrap_or(0);
            self.at = 0;
        }
        let row = Row::read(&self.buffer[self.at..self.at + ROW_BYTES]);
        self.at += ROW_BYTES;
        Ok(Some(row))
    }
}

/// Several sorted sources as one.
pub(super) struct Merge {
    sources: Vec<Box<dyn Rows>>,
    heads: BinaryHeap<Reverse<(Row, usize)>>,
}

impl Merge {
    /// Begins to read all of them.
    ///
    /// # Errors
    /// Whatever the files behind them say.
    pub(super) fn new(mut sources: Vec<Box<dyn Rows>>) -> io::Result<Self> {
        let mut heads = BinaryHeap::with_capacity(sources.len());
        if sources.len() > 1 {
            for (number, source) in sources.iter_mut().enumerate() {
                heads.extend(source.next_row()?.map(|row| Reverse((row, number))));
            }
        }
        Ok(Self { sources, heads })
    }
}

impl Rows for Merge {
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        if let [only] = self.sources.as_mut_slice() {
            return only.next_row();
        }
        let Some(mut first) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((row, number)) = *first;
        match self.sources[number].next_row()? {
            Some(next) => *first = Reverse((next, number)),
            None => drop(PeekMut::pop(first)),
        }
        Ok(Some(row))
    }
}

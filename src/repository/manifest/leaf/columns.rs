//! The table of columns: how a leaf's bytes are divided, and how a column of numbers is written.

use super::super::wire::{Fault, Input, ensure, malformed, put_varint, varint_len};

/// The version of the leaf layout.
const VERSION: u8 = 1;
/// A reader that doesn't know a column with this flag must refuse the leaf.
const CRITICAL: u8 = 1;
/// More columns than any version will have.
const COLUMNS_MAX: usize = 256;

/// The columns of version 1. A column that says nothing (all numbers or hashes 0, no bytes) is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Column {
    DirUp = 1,
    DirLen,
    DirBytes,
    Dir,
    NamePrefix,
    NameLen,
    NameBytes,
    Kind,
    Mode,
    Owner,
    OwnerUid,
    OwnerGid,
    OwnerNameLen,
    OwnerNameBytes,
    GroupNameLen,
    GroupNameBytes,
    Size,
    MtimeSeconds,
    MtimeNanos,
    CtimeSeconds,
    CtimeNanos,
    BtimeSeconds,
    BtimeNanos,
    Dev,
    Ino,
    Rdev,
    HardLinkGroup,
    TargetLen,
    TargetBytes,
    Flags,
    Xattrs,
    XattrsIds,
    Extents,
    ExtentsIds,
    Content,
    Group,
    GroupIds,
    GroupOffset,
    GroupLen,
    Chunks,
    Chunk,
    ChunkIds,
    ChunkLen,
    List,
    ListIds,
    ListChunks,
    Hash,
    State,
}

/// One more than the last column's number.
const SLOTS: usize = Column::State as usize + 1;

/// How a column is written.
const EACH: u8 = 0;
const RUNS: u8 = 1;
const BYTES: u8 = 2;

/// What a leaf under construction holds of each column.
#[derive(Clone, Debug)]
pub(super) struct ColumnsWriter {
    ints: Vec<Vec<u64>>,
    bytes: Vec<Vec<u8>>,
}

impl Default for ColumnsWriter {
    fn default() -> Self {
        Self { ints: vec![Vec::new(); SLOTS], bytes: vec![Vec::new(); SLOTS] }
    }
}

impl ColumnsWriter {
    pub(super) fn int(&mut self, column: Column, value: u64) {
        self.ints[column as usize].push(value);
    }

    pub(super) fn bytes(&mut self, column: Column, bytes: &[u8]) {
        self.bytes[column as usize].extend_from_slice(bytes);
    }

    /// A byte string: its length in one column, its bytes in the other.
    pub(super) fn string(&mut self, len: Column, bytes: Column, value: &[u8]) {
        self.int(len, value.len() as u64);
        self.bytes(bytes, value);
    }

    /// The leaf's bytes; what was collected is gone, its memory stays.
    pub(super) fn finish(&mut self, entries: usize, dirs: usize) -> Vec<u8> {
        let mut table = Vec::new();
        let mut body = Vec::new();
        let mut count: u8 = 0;
        for slot in 1..SLOTS {
            let start = body.len();
            let bytes = &self.bytes[slot];
            let no_hash = slot == Column::Hash as usize && bytes.iter().all(|byte| *byte == 0);
            let encoding = if !bytes.is_empty() && !no_hash {
                body.extend_from_slice(bytes);
                BYTES
            } else if self.ints[slot].iter().any(|value| *value != 0) {
                put_ints(&mut body, &self.ints[slot])
            } else {
                continue;
            };
            let len = u32::try_from(body.len() - start).expect("a leaf's weight is bounded");
            let number = u16::try_from(slot).expect("there are fewer columns");
            table.extend_from_slice(&number.to_le_bytes());
            table.extend_from_slice(&[encoding, CRITICAL]);
            table.extend_from_slice(&len.to_le_bytes());
            count += 1;
        }
        let mut out = vec![VERSION];
        put_varint(&mut out, entries as u64);
        put_varint(&mut out, dirs as u64);
        put_varint(&mut out, u64::from(count));
        out.extend_from_slice(&table);
        out.extend_from_slice(&body);
        self.ints.iter_mut().for_each(Vec::clear);
        self.bytes.iter_mut().for_each(Vec::clear);
        out
    }
}

/// Writes numbers in the shorter of the two ways and says which.
fn put_ints(out: &mut Vec<u8>, values: &[u64]) -> u8 {
    let each: usize = values.iter().map(|value| varint_len(*value)).sum();
    let runs = || values.chunk_by(|a, b| a == b).map(|run| (run.len() as u64, run[0]));
    let in_runs: usize = runs().map(|(len, value)| varint_len(len) + varint_len(value)).sum();
    if in_runs < each {
        for (len, value) in runs() {
            put_varint(out, len);
            put_varint(out, value);
        }
        RUNS
    } else {
        values.iter().for_each(|value| put_varint(out, *value));
        EACH
    }
}

/// A column of numbers, read.
#[derive(Debug)]
pub(super) enum Ints {
    /// The same for every row.
    All(u64),
    /// One for each row.
    Each(Vec<u64>),
}

impl Ints {
    #[inline]
    pub(super) fn get(&self, row: usize) -> u64 {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values[row],
        }
    }

    /// Each row's value from the code and the value before it; the first follows 0.
    pub(super) fn running(self, rows: usize, step: impl Fn(u64, u64) -> u64) -> Self {
        if let Self::All(0) = self {
            return self;
        }
        let mut before = 0;
        let values = (0..rows).map(|row| {
            before = step(self.get(row), before);
            before
        });
        Self::Each(values.collect())
    }

    /// Refuses unless every value is at most `max`.
    pub(super) fn at_most(self, max: u64, what: &'static str) -> Result<Self, Fault> {
        let fits = match &self {
            Self::All(value) => *value <= max,
            Self::Each(values) => values.iter().fold(0, |most, value| most.max(*value)) <= max,
        };
        ensure(fits, what)?;
        Ok(self)
    }
}

/// A leaf's columns, found but not yet read.
#[derive(Debug)]
pub(super) struct ColumnsReader<'a> {
    pub(super) entries: usize,
    pub(super) dirs: usize,
    slots: [Option<(u8, &'a [u8])>; SLOTS],
}

impl<'a> ColumnsReader<'a> {
    pub(super) fn open(bytes: &'a [u8], entries_max: usize, dirs_max: usize) -> Result<Self, Fault> {
        let mut input = Input::new(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(Fault::TooNew(u16::from(version)));
        }
        let entries = input.count(entries_max, "it has too many entries")?;
        ensure(entries > 0, "it has no entry")?;
        let dirs = input.count(dirs_max, "it has too many directories")?;
        let count = input.count(COLUMNS_MAX, "it has too many columns")?;
        let mut table = Input::new(input.take(8 * count)?);
        let mut slots = [None; SLOTS];
        let mut before = 0;
        for _ in 0..count {
            let number = u16::from_le_bytes(table.array()?);
            let [encoding, flags] = table.array()?;
            let len = u32::from_le_bytes(table.array()?);
            ensure(number > before, "its columns are out of order")?;
            ensure(flags & !CRITICAL == 0, "a column has an unknown flag")?;
            before = number;
            let column = input.take(usize::try_from(len).unwrap_or(usize::MAX))?;
            match slots.get_mut(usize::from(number)) {
                Some(_) if encoding > BYTES => return Err(Fault::TooNew(number)),
                Some(slot) => {
                    ensure(flags == CRITICAL, "a column that is needed is marked as optional")?;
                    *slot = Some((encoding, column));
                }
                None if flags & CRITICAL != 0 => return Err(Fault::TooNew(number)),
                None => {}
            }
        }
        input.end()?;
        Ok(Self { entries, dirs, slots })
    }

    /// A column of bytes; must be used up by what its lengths say.
    pub(super) fn bytes(&mut self, column: Column) -> Result<Input<'a>, Fault> {
        match self.slots[column as usize] {
            Some((BYTES, bytes)) => {
                ensure(!bytes.is_empty(), "a column says nothing")?;
                Ok(Input::new(bytes))
            }
            Some(_) => malformed("a column of bytes is written as numbers"),
            None => Ok(Input::new(&[])),
        }
    }

    /// Fixed-length records; none when the column isn't there.
    pub(super) fn records<const N: usize>(&mut self, column: Column) -> Result<&'a [[u8; N]], Fault> {
        let mut input = self.bytes(column)?;
        let (records, rest) = input.rest().as_chunks::<N>();
        ensure(rest.is_empty(), "a column of records has a broken one")?;
        Ok(records)
    }

    /// A column of `count` numbers; `count` is bounded by the caller.
    pub(super) fn ints(&mut self, column: Column, count: usize) -> Result<Ints, Fault> {
        let Some((encoding, bytes)) = self.slots[column as usize] else { return Ok(Ints::All(0)) };
        let mut input = Input::new(bytes);
        let ints = match encoding {
            EACH => {
                ensure(bytes.len() >= count, "a column has too few numbers")?;
                let mut any = 0;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    let value = input.varint()?;
                    any |= value;
                    values.push(value);
                }
                ensure(any != 0, "a column says nothing")?;
                Ints::Each(values)
            }
            RUNS => read_runs(&mut input, count)?,
            _ => return malformed("a column of numbers is written as bytes"),
        };
        input.end()?;
        Ok(ints)
    }
}

fn read_runs(input: &mut Input<'_>, count: usize) -> Result<Ints, Fault> {
    let mut values = Vec::new();
    let mut before = None;
    let mut left = count;
    while left > 0 {
        let len = input.count(left, "a run is too long")?;
        let value = input.varint()?;
        ensure(len > 0, "a run is empty")?;
        ensure(before != Some(value), "two runs could be one")?;
        if len == count {
            ensure(value != 0, "a column says nothing")?;
            return Ok(Ints::All(value));
        }
        if before.is_none() {
            values.reserve_exact(count);
        }
        values.resize(values.len() + len, value);
        left -= len;
        before = Some(value);
    }
    ensure(before.is_some(), "a column says nothing")?;
    Ok(Ints::Each(values))
}

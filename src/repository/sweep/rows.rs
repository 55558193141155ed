//! Sets of blobs by where the index says they lie: one bit for each row of each pack, so that ten
//! million blobs take little more than a megabyte.

use crate::repository::error::RepositoryError;
use crate::repository::index::{Index, Location};

/// Where each pack's rows begin among all rows of an index.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// By the pack's number, and one more for the end.
    starts: Vec<u64>,
}

impl Rows {
    /// The rows of an index.
    ///
    /// # Errors
    /// Whatever the local index says.
    pub(super) fn of(index: &Index) -> Result<Self, RepositoryError> {
        let blobs = index.blobs_by_pack()?;
        let mut starts = Vec::with_capacity(blobs.len() + 1);
        let mut next = 0u64;
        starts.push(next);
        for count in blobs {
            next += u64::from(count);
            starts.push(next);
        }
        Ok(Self { starts })
    }

    /// How many packs have numbers.
    pub(super) fn packs(&self) -> u32 {
        u32::try_from(self.starts.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// How many rows a pack has.
    pub(super) fn of_pack(&self, pack: u32) -> u32 {
        let (start, end) = self.bounds(pack);
        u32::try_from(end - start).unwrap_or(u32::MAX)
    }

    fn bounds(&self, pack: u32) -> (u64, u64) {
        let at = usize::try_from(pack).unwrap_or(usize::MAX);
        match (self.starts.get(at), self.starts.get(at.saturating_add(1))) {
            (Some(start), Some(end)) => (*start, *end),
            _ => (0, 0),
        }
    }

    /// The number of a row; `None` when the pack has no such row, which only an index run can claim
    /// that no writer makes.
    fn at(&self, location: Location) -> Option<u64> {
        let (start, end) = self.bounds(location.pack);
        let row = start + u64::from(location.ordinal);
        (row < end).then_some(row)
    }
}

/// A set of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct RowSet(Vec<u64>);

impl RowSet {
    /// None of these rows.
    pub(super) fn new(rows: &Rows) -> Self {
        let rows = rows.starts.last().copied().unwrap_or(0);
        Self(vec![0; usize::try_from(rows.div_ceil(64)).unwrap_or(usize::MAX)])
    }

    /// Adds a row; says whether it is new.
    ///
    /// # Errors
    /// `Damage` when the pack has no such row.
    pub(super) fn insert(&mut self, rows: &Rows, at: Location) -> Result<bool, RepositoryError> {
        let row = rows.at(at).ok_or_else(odd)?;
        let (word, bit) = (usize::try_from(row / 64).unwrap_or(usize::MAX), 1 << (row % 64));
        let held = self.0.get_mut(word).ok_or_else(odd)?;
        let fresh = *held & bit == 0;
        *held |= bit;
        Ok(fresh)
    }

    /// Whether a row is in it.
    pub(super) fn contains(&self, rows: &Rows, at: Location) -> bool {
        rows.at(at).is_some_and(|row| {
            let word = usize::try_from(row / 64).ok().and_then(|word| self.0.get(word));
            word.is_some_and(|word| word >> (row % 64) & 1 == 1)
        })
    }

    /// The rows of a pack that are in it, ascending.
    pub(super) fn of_pack<'a>(&'a self, rows: &'a Rows, pack: u32) -> impl Iterator<Item = u32> + 'a {
        let all = 0..rows.of_pack(pack);
        all.filter(move |ordinal| self.contains(rows, Location { pack, ordinal: *ordinal }))
    }
}

fn odd() -> RepositoryError {
    RepositoryError::Damage {
        place: "the index".to_owned(),
        object: "an index run".to_owned(),
        what: "lists a blob in a row that its pack does not have".to_owned(),
    }
}

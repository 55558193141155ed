//! The chunks of one large file in their order, on the way from the reader to the manifest.
//!
//! A file may have any number of chunks, so the rows go to an unnamed file when there are more
//! than a few thousand; memory is the same for a gigabyte and for a petabyte.

use std::path::Path;

use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;
use crate::repository::index::{Ground, Spool};
use crate::repository::manifest::ChunkRef;

use crate::base::id::BlobId;

/// Rows stay in memory up to this.
const MEMORY_BYTES: usize = 512 * 1024;
/// Whether it was kept, its id, its length.
const ROW_BYTES: usize = 1 + 32 + 4;
/// Rows that are read back at a time.
const ROWS_A_STEP: usize = 4096;

/// A chunk of a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The chunk.
    pub(super) chunk: ChunkRef,
    /// Whether the parent's version of the file has it, too.
    pub(super) is_kept: bool,
}

/// The chunks of a file.
#[derive(Debug)]
pub(super) struct ChunkRun {
    rows: Spool,
}

impl ChunkRun {
    /// No chunk yet.
    pub(super) fn new(ground: &Ground) -> Self {
        Self { rows: ground.passing(MEMORY_BYTES) }
    }

    /// A single chunk.
    ///
    /// # Errors
    /// None: one row is kept in memory.
    pub(super) fn of_one(chunk: ChunkRef) -> Result<Self, EngineError> {
        let mut run = Self::new(&Ground::new(None));
        run.push(Placed { chunk, is_kept: false })?;
        run.close()?;
        Ok(run)
    }

    /// Adds the next.
    ///
    /// # Errors
    /// `LocalIndex` when no folder takes the rows.
    pub(super) fn push(&mut self, placed: Placed) -> Result<(), EngineError> {
        let mut row = [0; ROW_BYTES];
        row[0] = u8::from(placed.is_kept);
        row[1..33].copy_from_slice(placed.chunk.id.as_bytes());
        row[33..].copy_from_slice(&placed.chunk.len.to_le_bytes());
        Ok(self.rows.append(&row).map_err(RepositoryError::LocalIndex)?)
    }

    /// Brings the rows to where [`ChunkRun::visit`] sees them. Nothing is added afterwards.
    ///
    /// # Errors
    /// As [`ChunkRun::push`].
    pub(super) fn close(&mut self) -> Result<(), EngineError> {
        Ok(self.rows.flush().map_err(RepositoryError::LocalIndex)?)
    }

    /// Whether the file had no data.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Bytes that it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let held = if self.rows.is_in_memory() { self.rows.len() } else { 0 };
        usize::try_from(held).unwrap_or(usize::MAX)
    }

    /// Whether its rows are in a file.
    pub(super) fn is_on_disk(&self) -> bool {
        !self.rows.is_in_memory()
    }

    /// Gives out all chunks in order, until the visitor fails.
    ///
    /// # Errors
    /// The visitor's; `LocalIndex` when rows can't be read back.
    pub(super) fn visit(
        &self,
        visit: &mut dyn FnMut(Placed) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let most = usize::try_from(self.rows.len()).unwrap_or(usize::MAX);
        let mut step = vec![0; most.min(ROWS_A_STEP * ROW_BYTES)];
        let mut at = 0;
        while at < self.rows.len() {
            let left = usize::try_from(self.rows.len() - at).unwrap_or(usize::MAX);
            let step = &mut step[..left.min(ROWS_A_STEP * ROW_BYTES)];
            self.rows.read_at(step, at).map_err(RepositoryError::LocalIndex)?;
            for row in step.as_chunks::<ROW_BYTES>().0 {
                visit(placed(row))?;
            }
            at += u64::try_from(step.len()).unwrap_or(0);
        }
        Ok(())
    }
}

fn placed(row: &[u8; ROW_BYTES]) -> Placed {
    let mut id = [0; 32];
    id.copy_from_slice(&row[1..33]);
    let len = u32::from_le_bytes([row[33], row[34], row[35], row[36]]);
    Placed { chunk: ChunkRef { id: BlobId::new(id), len }, is_kept: row[0] != 0 }
}

/// Where the rows of a backup's large files may go.
pub(super) fn ground(cache: Option<&Path>) -> Ground {
    Ground::new(cache.map(Path::to_path_buf))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32) -> Placed {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        Placed { chunk: ChunkRef { id: BlobId::new(id), len: number + 1 }, is_kept: number.is_multiple_of(3) }
    }

    #[test]
    fn a_long_list_comes_back_from_disk_in_order_and_a_short_one_from_memory() {
        for (rows, is_on_disk) in [(0, false), (1, false), (5000, false), (100_000, true)] {
            let mut run = ChunkRun::new(&ground(None));
            (0..rows).for_each(|number| run.push(row(number)).expect("taken"));
            run.close().expect("taken");
            assert_eq!((run.is_on_disk(), run.is_empty()), (is_on_disk, rows == 0), "{rows}");
            assert!(run.memory_bytes() <= MEMORY_BYTES);
            let mut next = 0;
            run.visit(&mut |placed| {
                assert_eq!(placed, row(next));
                next += 1;
                Ok(())
            })
            .expect("read");
            assert_eq!(next, rows);
        }
    }
}

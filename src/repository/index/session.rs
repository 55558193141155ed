//! The blobs that one backup has stored: which are there, and in which of its packs.
//!
//! The newest are in memory, the others in tables in an unnamed file, so that a first backup of
//! any size takes the same memory. Where no file finds room they stay in memory.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::page::PageKey;
use super::shelf::merge_from;
use super::sort::{Merge, Row, Rows};
use super::spool::Ground;
use super::table::{self, Paged, Table};
use crate::base::id::BlobId;

/// Blobs kept in memory: about 5 MiB.
const RECENT_MAX: usize = 100_000;
/// More tables than this are merged.
const TABLES_MAX: usize = 8;

/// The blobs of one session.
#[derive(Debug)]
pub(crate) struct SessionBlobs {
    ground: Ground,
    key: Arc<PageKey>,
    recent: HashMap<BlobId, u32>,
    recent_max: usize,
    /// The largest first.
    tables: Vec<Table>,
}

impl SessionBlobs {
    /// None yet.
    pub(crate) fn new(ground: Ground) -> Self {
        Self::with_recent_max(ground, RECENT_MAX)
    }

    pub(super) fn with_recent_max(ground: Ground, recent_max: usize) -> Self {
        let key = Arc::new(PageKey::random());
        Self { ground, key, recent: HashMap::new(), recent_max, tables: Vec::new() }
    }

    /// The pack made by this backup that holds a blob.
    ///
    /// # Errors
    /// When a table cannot be read back.
    pub(crate) fn get(&self, id: &BlobId) -> io::Result<Option<u32>> {
        if let Some(pack) = self.recent.get(id) {
            return Ok(Some(*pack));
        }
        let mut found = None;
        for table in &self.tables {
            table.find(id.as_bytes(), &mut |row| {
                found = Some(row.pack);
                ControlFlow::Break(())
            })?;
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Notes that this pack takes a blob, unless one has it: then `false`.
    ///
    /// # Errors
    /// As [`SessionBlobs::get`].
    pub(crate) fn claim(&mut self, id: &BlobId, pack: u32) -> io::Result<bool> {
        if self.get(id)?.is_some() {
            return Ok(false);
        }
        if self.recent.len() >= self.recent_max && self.spill().is_err() {
            // No room anywhere: memory it is, and the next try is far away.
            self.recent_max = self.recent_max.saturating_mul(2);
        }
        self.recent.insert(*id, pack);
        Ok(true)
    }

    fn spill(&mut self) -> io::Result<()> {
        let rows = self.recent.iter().map(|(id, pack)| Row::new(id.as_bytes(), *pack, 0));
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_unstable();
        let count = u64::try_from(rows.len()).unwrap_or(0);
        let table = self.write(count, &mut rows.into_iter())?;
        self.tables.push(table);
        self.recent.clear();
        if self.tables.len() > TABLES_MAX {
            self.tables.sort_by_key(|table| std::cmp::Reverse(table.shape.rows));
            let sizes: Vec<u64> = self.tables.iter().map(|table| table.shape.rows).collect();
            let from = merge_from(&sizes);
            let mut sources: Vec<Box<dyn Rows>> = Vec::new();
            for table in &self.tables[from..] {
                sources.push(Box::new(table.scan()));
            }
            // What cannot be merged serves as it is.
            if let Ok(merged) = self.write(sizes[from..].iter().sum(), &mut Merge::new(sources)?) {
                self.tables.truncate(from);
                self.tables.push(merged);
            }
        }
        Ok(())
    }

    fn write(&self, count: u64, rows: &mut dyn Rows) -> io::Result<Table> {
        let mut spool = self.ground.passing(0);
        let shape = table::write(&mut spool, &self.key, count, rows)?;
        spool.flush()?;
        Ok(Table { paged: Paged::new(spool, Arc::clone(&self.key)), shape })
    }
}

//! One page: 16 bytes of a keyed sum, its number, how many rows it has, then the rows.
//!
//! The key is made for each file from the repository's, so that a page of another file, of another
//! place or of another's making does not pass: a look-up trusts what it reads.

use std::io;

use crate::base::entropy;
use crate::base::id::RepoId;
use crate::base::secret::{Key, Secret};
use crate::codec::hash;

/// Bytes of a page, and of one read.
pub(super) const PAGE_BYTES: usize = 4096;
/// The same, for offsets.
pub(super) const PAGE: u64 = 4096;
const SUM_BYTES: usize = 16;
const HEAD_BYTES: usize = 24;
/// Bytes of a page that hold rows.
pub(super) const BODY_BYTES: usize = PAGE_BYTES - HEAD_BYTES;

/// A page's bytes.
pub(super) type Bytes = [u8; PAGE_BYTES];

/// What the pages of one file are summed with.
#[derive(Debug)]
pub(super) struct PageKey(Key);

impl PageKey {
    /// For all files of a repository.
    pub(super) fn of_repository(index_key: &Key, repo: &RepoId) -> Self {
        Self(hash::derive("local index", index_key.expose(), repo, &[]))
    }

    /// For the file with this unique number.
    pub(super) fn of_file(&self, nonce: &[u8; 16]) -> Self {
        Self(Secret::new(hash::keyed(self.0.expose(), &[nonce])))
    }

    /// For a file that only this process reads.
    pub(super) fn random() -> Self {
        Self(Secret::new(entropy::random()))
    }

    /// A keyed sum of other bytes that are kept beside the parts.
    pub(super) fn sum_of(&self, bytes: &[u8]) -> [u8; 32] {
        hash::keyed(self.0.expose(), &[b"beside", bytes])
    }

    fn sum(&self, page: &Bytes) -> [u8; SUM_BYTES] {
        let mut sum = [0; SUM_BYTES];
        sum.copy_from_slice(&hash::keyed(self.0.expose(), &[&page[SUM_BYTES..]])[..SUM_BYTES]);
        sum
    }

    /// Fills the head of a page.
    pub(super) fn close(&self, page: &mut Bytes, number: u32, rows: usize) {
        page[16..20].copy_from_slice(&number.to_le_bytes());
        page[20..24].copy_from_slice(&u32::try_from(rows).unwrap_or(u32::MAX).to_le_bytes());
        let sum = self.sum(page);
        page[..SUM_BYTES].copy_from_slice(&sum);
    }

    /// How many rows a page holds.
    ///
    /// # Errors
    /// `InvalidData` when it is not what was written there.
    pub(super) fn check(&self, page: &Bytes, number: u32) -> io::Result<usize> {
        if four(page, 16) != number || page[..SUM_BYTES] != self.sum(page) {
            return Err(hurt());
        }
        rows(page)
    }
}

fn four(page: &Bytes, at: usize) -> u32 {
    u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
}

/// How many rows a page says it holds.
///
/// # Errors
/// `InvalidData` when no page holds so many.
pub(super) fn rows(page: &Bytes) -> io::Result<usize> {
    let rows = usize::try_from(four(page, 20)).unwrap_or(usize::MAX);
    if rows > BODY_BYTES { Err(hurt()) } else { Ok(rows) }
}

/// The bytes of one row.
pub(super) fn row(page: &Bytes, at: usize, row_bytes: usize) -> &[u8] {
    &page[HEAD_BYTES + at * row_bytes..][..row_bytes]
}

/// The bytes of one row, to be written.
pub(super) fn row_mut(page: &mut Bytes, at: usize, row_bytes: usize) -> &mut [u8] {
    &mut page[HEAD_BYTES + at * row_bytes..][..row_bytes]
}

/// A file of the index is not what was written.
pub(super) fn hurt() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a page of the local index is not what was written")
}

/// Whether an error says that a file is damaged, rather than full or unreachable.
pub(super) fn is_hurt(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

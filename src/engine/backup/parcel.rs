//! Stretches of a large file that a worker hashes and stores, several at a time.
//!
//! A *window* is what the parent's version had as one chunk, or a stretch it had not. Where the
//! parent's chunk is there again it is kept; else the window becomes its *pieces*: blocks, or all
//! of it as one chunk.

use std::ops::Range;

use super::chunk_run::Placed;
use super::worker::Shop;
use crate::base::id::BlobId;
use crate::engine::error::EngineError;
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::ChunkRef;
use crate::repository::pack_pool::Scratch;

/// Windows in a parcel, however short they are.
const WINDOWS_MAX: usize = 4096;
/// A parcel is worth sending from here on.
const PARCEL_BYTES: usize = 1024 * 1024;

/// Bytes with their cuts. The buffer is allocated once and used for many of them.
#[derive(Debug)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    filled: usize,
    pieces: Vec<usize>,
    windows: Vec<Window>,
    /// Where the open piece and the open window begin.
    piece_start: usize,
    window_start: usize,
    /// Pieces of the windows that ended.
    counted: usize,
}

#[derive(Debug)]
struct Window {
    bytes: Range<usize>,
    /// How many of the parcel's pieces are in it.
    pieces: usize,
    expected: Option<ChunkRef>,
}

impl Parcel {
    /// An empty one that takes this many bytes at most.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: vec![0; bytes_max],
            filled: 0,
            pieces: Vec::new(),
            windows: Vec::new(),
            piece_start: 0,
            window_start: 0,
            counted: 0,
        }
    }

    /// Forgets what is in it.
    pub(super) fn clear(&mut self) {
        (self.filled, self.piece_start, self.window_start, self.counted) = (0, 0, 0, 0);
        self.pieces.clear();
        self.windows.clear();
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether it should go before a window of this length is begun.
    pub(super) fn is_due(&self, window_bytes: usize) -> bool {
        let full = self.filled >= PARCEL_BYTES || self.windows.len() >= WINDOWS_MAX;
        full || self.filled.saturating_add(window_bytes) > self.bytes.len()
    }

    /// Where the next bytes go, at most `most` of them; [`Parcel::took`] says how many there were.
    pub(super) fn room(&mut self, most: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(most).min(self.bytes.len());
        &mut self.bytes[self.filled..end]
    }

    /// Counts bytes that were written into its room.
    pub(super) fn took(&mut self, count: usize) {
        self.filled += count;
    }

    /// Takes bytes that were read already.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// The bytes from `start` on.
    pub(super) fn rest(&self, start: usize) -> &[u8] {
        &self.bytes[start..self.filled]
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Drops the bytes from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
    }

    /// A piece ends here.
    pub(super) fn end_piece(&mut self) {
        if self.filled > self.piece_start {
            self.pieces.push(self.filled - self.piece_start);
            self.piece_start = self.filled;
        }
    }

    /// A window ends here, and so does its last piece. `expected` is what the parent had in its place.
    pub(super) fn end_window(&mut self, expected: Option<ChunkRef>) {
        self.end_piece();
        if self.filled > self.window_start {
            let bytes = self.window_start..self.filled;
            self.windows.push(Window { bytes, pieces: self.pieces.len() - self.counted, expected });
            (self.window_start, self.counted) = (self.filled, self.pieces.len());
        }
    }

    /// Names and stores everything.
    pub(super) fn store(&self, shop: &Shop<'_>, scratch: &mut Scratch) -> Result<Vec<Placed>, EngineError> {
        let mut placed = Vec::with_capacity(self.pieces.len());
        let mut pieces = self.pieces.iter();
        for window in &self.windows {
            let bytes = &self.bytes[window.bytes.clone()];
            let lens = pieces.by_ref().take(window.pieces);
            let mut whole = None;
            if let Some(expected) = window.expected.filter(|chunk| chunk.len as usize == bytes.len()) {
                let id = shop.ids.id(BlobKind::Chunk, bytes);
                if id == expected.id {
                    // Nothing is stored unless the parent's blob was lost.
                    shop.pool.store(BlobKind::Chunk, &id, bytes, scratch, shop.fan_out)?;
                    placed.push(Placed { chunk: expected, is_kept: true });
                    lens.for_each(drop);
                    continue;
                }
                whole = Some(id);
            }
            let mut rest = bytes;
            for len in lens {
                let (piece, after) = rest.split_at(*len);
                rest = after;
                let id = whole.filter(|_| piece.len() == bytes.len());
                placed.push(Placed { chunk: store(shop, scratch, piece, id)?, is_kept: false });
            }
        }
        Ok(placed)
    }
}

fn store(
    shop: &Shop<'_>,
    scratch: &mut Scratch,
    bytes: &[u8],
    id: Option<BlobId>,
) -> Result<ChunkRef, EngineError> {
    let id = id.unwrap_or_else(|| shop.ids.id(BlobKind::Chunk, bytes));
    shop.pool.store(BlobKind::Chunk, &id, bytes, scratch, shop.fan_out)?;
    Ok(ChunkRef { id, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) })
}

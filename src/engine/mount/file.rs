//! The bytes of a file, from anywhere in it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::cache::Cache;
use crate::base::cancel::Cancel;
use crate::base::id::BlobId;
use crate::base::metadata::Extent;
use crate::engine::error::EngineError;
use crate::engine::stretches::{Stretch, stretches};
use crate::repository::error::RepositoryError;
use crate::repository::format::group;
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::{BlobSource, ChunkMap, ChunkRef, ContentView, EntryView, Found, NodeKind};
use crate::repository::manifest_source::blob_kind;
use crate::repository::reader::BlobReader;

/// Opened blobs are kept up to this. The process takes about twice as much for them: threads that
/// allocate and drop blobs of many lengths leave gaps (measured with 64 MiB: 178 MiB in all, of which
/// 74 disappear when all threads allocate from one place).
const BLOBS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Blobs of a repository through a bounded cache.
pub(super) struct Blobs<'a> {
    reader: &'a BlobReader<'a>,
    kept: Cache<BlobId, Bytes>,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(reader: &'a BlobReader<'a>) -> Self {
        Self { reader, kept: Cache::new(BLOBS_BYTES_MAX) }
    }

    /// A blob, opened and compared with its id when it was read.
    pub(super) fn get(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        self.kept.get(*id, || self.reader.get(kind, id).map(|plain| (plain.clone(), plain.len())))
    }

    /// Whether a blob is kept, or being read.
    pub(super) fn has(&self, id: &BlobId) -> bool {
        self.kept.has(id)
    }
}

impl BlobSource for Blobs<'_> {
    type Error = RepositoryError;

    /// Nodes and leaves are kept decoded, by others.
    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        match kind {
            NodeKind::Node | NodeKind::Leaf => self.reader.get(blob_kind(kind), id),
            NodeKind::ChunkList | NodeKind::Attr => Blobs::get(self, blob_kind(kind), id),
        }
    }
}

/// Where the bytes of one file are.
pub(super) struct File {
    pub(super) size: u64,
    pub(super) extents: Option<Vec<Extent>>,
    data: Data,
}

enum Data {
    None,
    Group {
        blob: BlobId,
        offset: u32,
        len: u32,
    },
    /// With the end of each in the data.
    Few(Vec<(u64, ChunkRef)>),
    Many(Mutex<ChunkMap>),
    /// It was not read when the snapshot was taken.
    Missing,
}

impl File {
    /// Of an entry and its extents.
    pub(super) fn new(view: &EntryView<'_>, extents: Option<Vec<Extent>>) -> Self {
        let data = match view.content() {
            _ if view.is_missing() => Data::Missing,
            ContentView::None => Data::None,
            ContentView::Group { blob, offset, len } => Data::Group { blob, offset, len },
            ContentView::Chunks(chunks) => {
                let mut end = 0u64;
                Data::Few(
                    chunks
                        .iter()
                        .map(|chunk| {
                            end = end.saturating_add(chunk.len.into());
                            (end, *chunk)
                        })
                        .collect(),
                )
            }
            ContentView::ChunkList { id, chunks } => Data::Many(Mutex::new(ChunkMap::new(id, chunks))),
        };
        Self { size: view.size(), extents, data }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let chunks = match &self.data {
            Data::Few(chunks) => 48 * chunks.len(),
            // The list in use: it has 16,384 chunks at most.
            Data::Many(_) => 48 * 16_384,
            _ => 0,
        };
        256 + chunks + 16 * self.extents.as_ref().map_or(0, Vec::len)
    }

    /// Up to `len` bytes from `offset` on; fewer only at its end. `ahead` is told of the chunk
    /// that a reader who goes on needs next.
    pub(super) fn read(
        &self,
        blobs: &Blobs<'_>,
        offset: u64,
        len: u32,
        cancel: &Cancel,
        ahead: &mut dyn FnMut(BlobId),
    ) -> Result<Vec<u8>, EngineError> {
        let mut out = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        let end = offset.saturating_add(len.into());
        for stretch in stretches(self.extents.as_deref(), self.size, offset, end) {
            match stretch {
                Stretch::Hole { len } => {
                    out.resize(out.len() + usize::try_from(len).unwrap_or(0), 0);
                }
                Stretch::Data { at, len } => {
                    let mut at = at;
                    let end = at + len;
                    while at < end {
                        let before = out.len();
                        self.piece(blobs, at, end, cancel, &mut out)?;
                        at += (out.len() - before) as u64;
                    }
                    if let Data::Few(chunks) = &self.data
                        && let Some((_, next)) = chunks.get(chunks.partition_point(|(to, _)| *to <= end) + 1)
                    {
                        ahead(next.id);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Appends at least one byte of the data from `at` on, and none from `end` on.
    fn piece(
        &self,
        blobs: &Blobs<'_>,
        at: u64,
        end: u64,
        cancel: &Cancel,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        let wrong = |reason: &str| EngineError::Unrestorable { reason: reason.to_owned() };
        let short = || wrong("its chunks hold less than its length");
        let (start, chunk) = match &self.data {
            Data::None => return Err(short()),
            Data::Missing => return Err(wrong("it was not read when the snapshot was taken")),
            Data::Group { blob, offset, len } => {
                let plain = blobs.get(BlobKind::Group, blob)?;
                let bytes = group::part(&plain, *offset, *len)
                    .ok_or_else(|| wrong("its manifest names bytes that its blob does not have"))?;
                return append(bytes, at, end, out).ok_or_else(short);
            }
            Data::Few(chunks) => {
                let found = chunks.get(chunks.partition_point(|(to, _)| *to <= at));
                let (to, chunk) = found.ok_or_else(short)?;
                (to.saturating_sub(chunk.len.into()), *chunk)
            }
            Data::Many(map) => loop {
                if cancel.is_cancelled() {
                    return Err(EngineError::Cancelled);
                }
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                match map.find(at, blobs)? {
                    Found::At(start, chunk) => break (start, chunk),
                    Found::Behind => return Err(short()),
                    Found::NotYet => {}
                }
            },
        };
        let plain = blobs.get(BlobKind::Chunk, &chunk.id)?;
        if u64::try_from(plain.len()).ok() != Some(u64::from(chunk.len)) {
            return Err(wrong("a chunk has another length than its manifest says"));
        }
        append(&plain, at - start, end - start, out).ok_or_else(short)
    }
}

/// Appends the bytes from `from` on that there are before `end`; `None` when there is none.
fn append(bytes: &[u8], from: u64, end: u64, out: &mut Vec<u8>) -> Option<()> {
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
    let piece = bytes.get(usize::try_from(from).ok()?..end).filter(|piece| !piece.is_empty())?;
    out.extend_from_slice(piece);
    Some(())
}

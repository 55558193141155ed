//! Dump: the bytes of one file of a snapshot, in order, in bounded memory.
//!
//! Every blob is opened and compared with its id before a byte of it is given on, so that damage
//! ends the stream early and never alters it. Holes come as zeros.

use std::ops::ControlFlow;

use super::ahead::in_order;
use super::context::Context;
use super::error::EngineError;
use super::ls::{as_written_or_shown, below, trimmed};
use super::restore::tell_of_parity;
use super::roots::prefix;
use super::stretches::{Stretch, stretches};
use crate::base::display;
use crate::base::metadata::FileKind;
use crate::repository::format::group;
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::{ChunkIter, Content, Entry, ManifestReader, State};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

/// Blobs that are fetched at once at most: each may take 16 MiB.
const THREADS_MAX: usize = 4;
/// Holes are written in pieces of this length.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Takes bytes until it breaks off.
pub type Sink<'s> = dyn FnMut(&[u8]) -> ControlFlow<()> + 's;

/// Gives the bytes of the regular file at `path` to `sink`; says how many there were.
///
/// # Errors
/// `NoPath`, `NotAFile`; `NeverRead` when the file was not read at backup time and nothing older
/// stands for it; `Unrestorable` when its manifest contradicts itself; whatever the repository says. What was given until then is right.
pub fn dump(
    blobs: &BlobReader<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    cx: &Context,
    sink: &mut Sink<'_>,
) -> Result<u64, EngineError> {
    let bytes = pour(blobs, snapshot, path, cx, sink);
    tell_of_parity(blobs, cx);
    bytes
}

fn pour(
    blobs: &BlobReader<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    cx: &Context,
    sink: &mut Sink<'_>,
) -> Result<u64, EngineError> {
    let wanted = trimmed(path);
    let entry = as_written_or_shown(wanted, &mut |wanted| {
        entry_at(blobs, snapshot, wanted)?.ok_or_else(|| EngineError::NoPath {
            path: display::asked(wanted),
            snapshot: snapshot.id.short(),
        })
    })?;
    if entry.meta.kind != FileKind::File {
        return Err(EngineError::NotAFile { path: display::asked(wanted), kind: entry.meta.kind });
    }
    if entry.state == State::Unread {
        if entry.is_missing() {
            let (path, snapshot) = (display::path(wanted), snapshot.id.short());
            return Err(EngineError::NeverRead { path, snapshot });
        }
        cx.progress.warn(format!(
            "{} was not read when the snapshot was taken: these are the bytes of an earlier one",
            display::asked(wanted)
        ));
    }
    let mut pouring = Pouring {
        layout: stretches(entry.extents.as_deref(), entry.meta.size, 0, entry.meta.size).into_iter(),
        data_left: 0,
        sink,
        bytes: 0,
    };
    match &entry.content {
        Content::None => {}
        Content::Group { blob, offset, len } => {
            let plain = blobs.get(BlobKind::Group, blob)?;
            let bytes = group::part(&plain, *offset, *len)
                .ok_or_else(|| contradiction("its manifest names bytes that its blob does not have"))?;
            if pouring.data(bytes)?.is_break() {
                return Ok(pouring.bytes);
            }
        }
        content => {
            let nodes = Nodes(blobs);
            let chunks = ChunkIter::new(content.into(), &nodes).map(|chunk| chunk.map_err(EngineError::from));
            let mut ended = false;
            in_order(
                cx.workers.min(THREADS_MAX),
                chunks,
                |chunk| blobs.get(BlobKind::Chunk, &chunk.id).map(|plain| (chunk, plain)),
                |fetched| {
                    if cx.cancel.is_cancelled() {
                        return Err(EngineError::Cancelled);
                    }
                    let (chunk, plain) = fetched?;
                    if u64::try_from(plain.len()).ok() != Some(u64::from(chunk.len)) {
                        return Err(contradiction("a chunk has another length than its manifest says"));
                    }
                    let flow = pouring.data(&plain)?;
                    ended = flow.is_break();
                    Ok(flow)
                },
            )?;
            if ended {
                return Ok(pouring.bytes);
            }
        }
    }
    pouring.finish()
}

/// The entry of a path as `ls` prints it.
fn entry_at(
    blobs: &BlobReader<'_>,
    snapshot: &Snapshot,
    wanted: &[u8],
) -> Result<Option<Entry>, EngineError> {
    for (number, root) in snapshot.body.roots.iter().enumerate() {
        let prefix = prefix(snapshot, number, Nodes(blobs))?;
        let Some(path) = below(&prefix, wanted) else { continue };
        if let Some(entry) = ManifestReader::open(&root.node, Nodes(blobs))?.lookup(path)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn contradiction(reason: &str) -> EngineError {
    EngineError::Unrestorable { reason: reason.to_owned() }
}

/// A file on its way out: its data as it comes, holes where they are.
struct Pouring<'s, 'f> {
    layout: std::vec::IntoIter<Stretch>,
    /// What is left of the stretch of data that is being filled.
    data_left: u64,
    sink: &'s mut Sink<'f>,
    bytes: u64,
}

impl Pouring<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.bytes += bytes.len() as u64;
        (self.sink)(bytes)
    }

    fn zeros(&mut self, mut len: u64) -> ControlFlow<()> {
        while len > 0 {
            let piece = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
            self.put(&ZEROS[..piece])?;
            len -= piece as u64;
        }
        ControlFlow::Continue(())
    }

    fn data(&mut self, mut bytes: &[u8]) -> Result<ControlFlow<()>, EngineError> {
        while !bytes.is_empty() {
            if self.data_left == 0 {
                match self.layout.next() {
                    Some(Stretch::Data { len, .. }) => self.data_left = len,
                    Some(Stretch::Hole { len }) if self.zeros(len).is_break() => {
                        return Ok(ControlFlow::Break(()));
                    }
                    Some(Stretch::Hole { .. }) => {}
                    None => return Err(contradiction("its chunks hold more than its length")),
                }
                continue;
            }
            let piece = usize::try_from(self.data_left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(piece);
            if self.put(now).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.data_left -= piece as u64;
            bytes = later;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The holes at its end; data that should have come and did not is an error.
    fn finish(mut self) -> Result<u64, EngineError> {
        let mut missing = self.data_left > 0;
        while let Some(stretch) = self.layout.next() {
            match stretch {
                Stretch::Data { len, .. } => missing |= len > 0,
                Stretch::Hole { len } => {
                    if self.zeros(len).is_break() {
                        return Ok(self.bytes);
                    }
                }
            }
            if missing {
                break;
            }
        }
        if missing { Err(contradiction("its chunks hold less than its length")) } else { Ok(self.bytes) }
    }
}

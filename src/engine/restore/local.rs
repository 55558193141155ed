//! What of a large file is here already: in an unfinished one that an interrupted restore left, and
//! in the one that is replaced. Every chunk is compared by its id; a right one is not fetched.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::layout::Part;
use super::slot::Slot;
use super::write::Writer;
use crate::base::metadata::Extent;
use crate::engine::error::EngineError;
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::ChunkRef;
use crate::source::files::{FileWriter, FilesError};

/// Where chunks of a file may be found.
pub(super) struct Local {
    old: Option<File>,
    buffer: Vec<u8>,
}

impl Local {
    /// In the unfinished file, and in the one that it will replace.
    pub(super) fn new(old: Option<File>) -> Self {
        Self { old, buffer: Vec::new() }
    }

    /// Whether a chunk is in the unfinished file now. From the old file it is written out of the
    /// bytes that were compared, so that nobody can change it in between.
    pub(super) fn has<'a>(
        &mut self,
        writer: &Writer<'a>,
        slot: &Slot<'a>,
        chunk: &ChunkRef,
        parts: &[Part],
    ) -> Result<bool, EngineError> {
        let Self { old, buffer } = self;
        let ids = writer.blobs.ids();
        let mut is_right = |read: &dyn Fn(u64, &mut [u8]) -> bool| {
            read_parts(parts, buffer, read) && ids.id(BlobKind::Chunk, buffer) == chunk.id
        };
        let left = |file: FileWriter<'a>| {
            let found = is_right(&|at, bytes| file.read_at(at, bytes));
            Ok((file, found))
        };
        let mut found = writer.with_begun(slot, left)?.unwrap_or(false);
        if let (false, Some(old)) = (found, old)
            && read_parts(parts, buffer, &|at, bytes| old.read_exact_at(bytes, at).is_ok())
            && ids.id(BlobKind::Chunk, buffer) == chunk.id
        {
            let copied = writer.with_begun(slot, |file| write_parts(file, parts, buffer))?;
            found = copied.is_some();
        }
        if found {
            writer.reused(slot, u64::from(chunk.len));
        }
        Ok(found)
    }
}

/// Reads the stretches of a chunk, one after another; whether all of it could be read.
fn read_parts(parts: &[Part], buffer: &mut Vec<u8>, read: &dyn Fn(u64, &mut [u8]) -> bool) -> bool {
    buffer.clear();
    parts.iter().all(|part| {
        let Part::OfChunk { len, to, .. } = *part else { return false };
        let start = buffer.len();
        buffer.resize(start + usize::try_from(len).unwrap_or(0), 0);
        read(to, &mut buffer[start..])
    })
}

fn write_parts<'a>(
    file: FileWriter<'a>,
    parts: &[Part],
    mut bytes: &[u8],
) -> Result<(FileWriter<'a>, ()), FilesError> {
    for part in parts {
        let Part::OfChunk { len, to, .. } = *part else { continue };
        let (now, rest) = bytes.split_at(usize::try_from(len).unwrap_or(0).min(bytes.len()));
        file.write_at(to, now)?;
        bytes = rest;
    }
    Ok((file, ()))
}

/// Nothing may stand where holes belong.
pub(super) fn clear_holes(
    file: &FileWriter<'_>,
    extents: Option<&[Extent]>,
    size: u64,
) -> Result<(), FilesError> {
    let mut from = 0;
    let end = Extent { offset: size, len: 0 };
    for extent in extents.unwrap_or_default().iter().chain([&end]) {
        if extents.is_some() && extent.offset > from {
            file.make_hole(from, extent.offset - from)?;
        }
        from = extent.offset.saturating_add(extent.len);
    }
    Ok(())
}

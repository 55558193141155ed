//! What may only come last: the metadata of folders.

use super::entries::LOCKING_FLAGS;
use super::outcome::RestoreOutcome;
use super::select::Selection;
use crate::base::metadata::{FileKind, Metadata};
use crate::engine::error::EngineError;
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, SafePath};

/// Folders get their metadata when nothing more is made in them: those that can be entered
/// afterwards at once, the others from the deepest up. The destination itself is left for the very
/// end: its metadata is given back.
pub(super) fn finish_folders(
    selection: &Selection<'_>,
    blobs: &BlobReader<'_>,
    destination: &Destination,
    outcome: &mut RestoreOutcome,
) -> Result<Option<Metadata>, EngineError> {
    let mut top = None;
    let mut last: Vec<(SafePath, Metadata)> = Vec::new();
    selection.visit(blobs, &mut |wanted| {
        let is_lost = outcome.lost.contains(selection.landing_of(&wanted));
        let meta = wanted.entry.meta;
        if is_lost && !wanted.is_way {
            outcome.uncount(&meta);
        }
        if meta.kind != FileKind::Directory {
            return Ok(());
        }
        let path = SafePath::new(&wanted.path)?;
        if path.as_bytes().is_empty() {
            top = Some(meta);
            return Ok(());
        }
        if meta.mode & 0o300 != 0o300 || meta.flags & LOCKING_FLAGS != 0 {
            last.push((path, meta));
            return Ok(());
        }
        if let Err(error) = destination.apply_directory(&path, &meta) {
            outcome.fail(path.as_bytes(), &error.into());
        }
        Ok(())
    })?;
    for (path, meta) in last.iter().rev() {
        if let Err(error) = destination.apply_directory(path, meta) {
            outcome.fail(path.as_bytes(), &error.into());
        }
    }
    Ok(top)
}

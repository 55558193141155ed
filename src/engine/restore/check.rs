//! Reads back what was restored and compares it with the manifest.

use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom};

use super::layout::{Layout, Part};
use super::outcome::RestoreOutcome;
use super::select::{Selection, Wanted, chunks};
use crate::base::display;
use crate::base::error::{Chain, Class, Classified};
use crate::base::metadata::FileKind;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::format::keys::{BlobKind, IdKeys};
use crate::repository::manifest::{Content, Entry, State};
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, SafePath};

/// Compares every restored regular file; differences go into the outcome.
pub(super) fn check(
    selection: &Selection<'_>,
    blobs: &BlobReader<'_>,
    destination: &Destination,
    cx: &Context,
    outcome: &mut RestoreOutcome,
) -> Result<(), EngineError> {
    cx.progress.phase("check", Some(outcome.files), Some(outcome.bytes));
    let mut checked = 0;
    selection.visit(blobs, &mut |wanted| {
        if cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if wanted.entry.meta.kind != FileKind::File || wanted.entry.state == State::Unread {
            return Ok(());
        }
        let landing = selection.landing_of(&wanted);
        // What was not restored has been named.
        if outcome.lost.contains(landing) {
            return Ok(());
        }
        let path = SafePath::new(landing)?;
        match destination.read_back(&path) {
            Ok(file) => {
                checked += 1;
                if let Err(reason) = compare(&wanted, file, blobs)? {
                    outcome.differing.push(display::path(landing), reason);
                }
            }
            // It may well be right; nobody knows.
            Err(error) if error.class() == Class::Denied => outcome.fail(landing, &error.into()),
            Err(error) => {
                checked += 1;
                outcome.differing.push(display::path(landing), Chain(&error).to_string());
            }
        }
        cx.progress.advance(1, wanted.entry.meta.size);
        Ok(())
    })?;
    cx.progress.phase_finished("check");
    outcome.checked = Some(checked);
    Ok(())
}

/// The inner result is the file's, the outer one the work's.
fn compare(
    wanted: &Wanted,
    mut file: File,
    blobs: &BlobReader<'_>,
) -> Result<Result<(), String>, EngineError> {
    let len = file.metadata().map_or(0, |meta| meta.len());
    if len != wanted.entry.meta.size {
        return Ok(Err(format!("it has {len} bytes instead of {}", wanted.entry.meta.size)));
    }
    Ok(match content_matches(&wanted.entry, blobs, &mut file)? {
        Ok(true) => Ok(()),
        Ok(false) => Err("its bytes differ".to_owned()),
        Err(error) => Err(format!("it cannot be read back: {error}")),
    })
}

/// Whether the bytes of a file are those that the manifest recorded: its keyed hash for a small
/// file, the id of every chunk for a large one. The inner result is the file's.
///
/// # Errors
/// When a list of chunks cannot be read.
pub fn content_matches(
    entry: &Entry,
    blobs: &BlobReader<'_>,
    file: &mut File,
) -> Result<io::Result<bool>, EngineError> {
    let ids: &IdKeys = blobs.ids();
    match &entry.content {
        // What was never read can't be found to be right.
        Content::None => Ok(Ok(!entry.is_missing())),
        Content::Group { .. } => {
            let mut bytes = Vec::new();
            let read = file.take(entry.meta.size.saturating_add(1)).read_to_end(&mut bytes);
            Ok(read.map(|_| ids.file_hash(&bytes)[..16] == entry.hash16))
        }
        content => {
            let mut layout = Layout::new(entry.extents.as_deref(), entry.meta.size);
            let mut result = Ok(true);
            let mut buffer = Vec::new();
            chunks(blobs, content.into(), &mut |chunk| {
                if !matches!(result, Ok(true)) {
                    return Ok(());
                }
                buffer.clear();
                for part in layout.place(chunk.len).unwrap_or_default() {
                    let Part::OfChunk { len, to, .. } = part else { continue };
                    let start = buffer.len();
                    buffer.resize(start + usize::try_from(len).unwrap_or(0), 0);
                    let read =
                        file.seek(SeekFrom::Start(to)).and_then(|_| file.read_exact(&mut buffer[start..]));
                    if let Err(error) = read {
                        result = Err(error);
                        return Ok(());
                    }
                }
                if ids.id(BlobKind::Chunk, &buffer) != chunk.id {
                    result = Ok(false);
                }
                Ok(())
            })?;
            Ok(result)
        }
    }
}

//! Compares a file that is to be restored with what stands at its place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::check::content_matches;
use super::record::{Beginning, Evidence};
use crate::base::metadata::FileKind;
use crate::engine::error::EngineError;
use crate::repository::format::group;
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::{Content, Entry};
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, Existing, SafePath, Standing, next_data};

/// What becomes of what stands at a file's place.
pub(super) enum Verdict {
    /// It has the recorded bytes; its metadata is right now, too.
    Keep,
    /// Nothing of it is of use.
    Restore,
    /// It will be replaced, and what is right of it need not be fetched.
    RestoreFrom(File),
}

/// Where, and how much is believed.
#[derive(Clone, Copy)]
pub(super) struct Comparison<'a> {
    pub(super) destination: &'a Destination,
    pub(super) blobs: &'a BlobReader<'a>,
    pub(super) existing: Existing,
    pub(super) beginning: Beginning,
}

impl Comparison<'_> {
    /// Looks at what stands there. A file that is kept may have been given its metadata.
    ///
    /// # Errors
    /// Class `Refused` when it is a stranger's and may not be replaced; whatever the file system
    /// and the repository say.
    pub(super) fn look(&self, path: &SafePath, entry: &Entry) -> Result<Verdict, EngineError> {
        let Some(evidence) = self.beginning.compares else { return Ok(Verdict::Restore) };
        let Some(mut standing) = self.destination.standing(path)? else { return Ok(Verdict::Restore) };
        if self.is_same(evidence, entry, &mut standing)? && self.keeps(path, entry, &standing)? {
            return Ok(Verdict::Keep);
        }
        if self.existing != Existing::Refuse {
            return Ok(Verdict::RestoreFrom(standing.file));
        }
        if self.is_leftover(entry, &mut standing)? {
            self.destination.remove_leftover(path, &standing)?;
            return Ok(Verdict::Restore);
        }
        Err(self.destination.occupied(path, standing.stat.kind).into())
    }

    /// Whether a link or node stands there as recorded.
    pub(super) fn keeps_node(&self, path: &SafePath, entry: &Entry) -> Result<bool, EngineError> {
        if self.beginning.compares.is_none() || entry.meta.kind == FileKind::Socket {
            return Ok(false);
        }
        Ok(self.destination.keep_node(path, &entry.meta)?)
    }

    fn is_same(
        &self,
        evidence: Evidence,
        entry: &Entry,
        standing: &mut Standing,
    ) -> Result<bool, EngineError> {
        let Standing { file, stat } = standing;
        let is_of_size = match entry.content {
            Content::Group { len, .. } => stat.size == u64::from(len),
            _ => stat.size == entry.meta.size,
        };
        if !is_of_size {
            return Ok(false);
        }
        if evidence == Evidence::Stat && stat.mtime == entry.meta.mtime {
            return Ok(true);
        }
        // A file that can't be read is written anew.
        let same = content_matches(entry, self.blobs, file)?.unwrap_or(false);
        Ok(same && holes_are_empty(entry, file).unwrap_or(false))
    }

    /// Completes a file with the right bytes, unless it has names that the snapshot does not give
    /// it: what is done to it would be done to them.
    fn keeps(&self, path: &SafePath, entry: &Entry, standing: &Standing) -> Result<bool, EngineError> {
        if standing.stat.nlink == 1 {
            self.destination.complete(path, standing, &entry.meta)?;
            return Ok(true);
        }
        let may_have_names = entry.meta.hard_link_group != 0;
        Ok(may_have_names && self.destination.is_complete(path, standing, &entry.meta))
    }

    /// Whether a small file holds nothing but a beginning of what belongs there: an interrupted
    /// restore left it, and whoever made it otherwise loses nothing.
    fn is_leftover(&self, entry: &Entry, standing: &mut Standing) -> Result<bool, EngineError> {
        let Standing { file, stat } = standing;
        if stat.nlink != 1 || stat.size > entry.meta.size {
            return Ok(false);
        }
        let Content::Group { blob, offset, len } = entry.content else {
            return Ok(matches!(entry.content, Content::None) && is_empty(file, stat.size).unwrap_or(false));
        };
        if stat.size == 0 {
            return Ok(true);
        }
        let plain = self.blobs.get(BlobKind::Group, &blob)?;
        let mut begun = Vec::new();
        io::Seek::rewind(file).and_then(|()| io::Read::read_to_end(file, &mut begun)).unwrap_or(0);
        let whole = group::part(&plain, offset, len);
        Ok(!begun.is_empty() && whole.is_some_and(|whole| whole.starts_with(&begun)))
    }
}

/// Whether what the manifest calls holes reads as zeros.
fn holes_are_empty(entry: &Entry, file: &mut File) -> io::Result<bool> {
    let size = entry.meta.size;
    let extents = match (&entry.extents, &entry.content) {
        (Some(extents), _) => extents.as_slice(),
        (None, Content::None) => &[],
        (None, _) => return Ok(true),
    };
    let mut from = 0;
    for extent in extents {
        if !is_zero(file, from, extent.offset)? {
            return Ok(false);
        }
        from = extent.offset.saturating_add(extent.len);
    }
    is_zero(file, from, size)
}

fn is_empty(file: &mut File, size: u64) -> io::Result<bool> {
    is_zero(file, 0, size)
}

/// Whether a stretch of a file reads as zeros; real holes are passed over.
fn is_zero(file: &File, mut from: u64, to: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    while from < to {
        match next_data(file, from)? {
            Some(data) if data < to => from = data,
            _ => return Ok(true),
        }
        let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(buffer.len());
        let got = file.read_at(&mut buffer[..len], from)?;
        if got == 0 || buffer[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        from += u64::try_from(got).unwrap_or(u64::MAX);
    }
    Ok(true)
}

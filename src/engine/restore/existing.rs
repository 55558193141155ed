//! Compares a file that is to be restored with what stands at its place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::check::content_matches;
use super::entries::landing;
use super::record::{Beginning, Evidence};
use super::select::Selection;
use crate::base::metadata::FileKind;
use crate::engine::error::EngineError;
use crate::repository::format::group;
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::{Content, Entry};
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, Existing, FilesError, Inode, SafePath, Standing, Stat, next_data};

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
        let judged = self.judge(evidence, (path, entry), &mut standing)?;
        let left = |standing: &Standing| self.destination.replace_left(path, &standing.stat);
        match judged {
            Judged::Same => {
                if standing.stat.nlink == 1 || self.has_all_names(entry, &standing) {
                    self.destination.complete(path, &standing, &entry.meta)?;
                }
                Ok(Verdict::Keep)
            }
            Judged::Other if self.existing != Existing::Refuse => Ok(Verdict::RestoreFrom(standing.file)),
            Judged::Begun => {
                left(&standing);
                Ok(Verdict::Restore)
            }
            Judged::Lost => {
                left(&standing);
                Ok(Verdict::RestoreFrom(standing.file))
            }
            Judged::Other => Err(self.destination.occupied(path, standing.stat.kind).into()),
        }
    }

    /// Refuses to go on as long as nothing was touched, when something stands in the way that the
    /// interrupted restore can't have left.
    ///
    /// # Errors
    /// Class `Refused` when there is; whatever the file system and the repository say.
    pub(super) fn refuse_strangers(
        &self,
        selection: &Selection<'_>,
        file_name: &[u8],
    ) -> Result<(), EngineError> {
        let mut linked: Vec<(SafePath, Entry)> = Vec::new();
        selection.visit(self.blobs, &mut |wanted| {
            let path = landing(&wanted, file_name)?;
            let found = match self.destination.stat(&path) {
                // A folder of our own that lets nobody in has its metadata: all in it was made.
                Err(error) if is_locked_out(&error) => None,
                found => found?,
            };
            match found {
                Some(stat) if wanted.entry.meta.hard_link_group != 0 => {
                    self.destination.note_name(wanted.entry.meta.hard_link_group, &stat);
                    linked.push((path, wanted.entry));
                    Ok(())
                }
                Some(stat) => self.refuse_stranger(&path, &wanted.entry, &stat),
                None => Ok(()),
            }
        })?;
        // Whose names they are is known when all of them came by.
        let mut first: HashMap<u64, Inode> = HashMap::new();
        for (path, entry) in &linked {
            let Some(stat) = self.destination.stat(path)? else { continue };
            match first.get(&entry.meta.hard_link_group) {
                Some(first) if *first == stat.inode() => {}
                Some(_) => return Err(self.destination.occupied(path, stat.kind).into()),
                None => {
                    first.insert(entry.meta.hard_link_group, stat.inode());
                    self.refuse_stranger(path, entry, &stat)?;
                }
            }
        }
        Ok(())
    }

    fn refuse_stranger(&self, path: &SafePath, entry: &Entry, stat: &Stat) -> Result<(), EngineError> {
        let is_ours = match entry.meta.kind {
            FileKind::Directory => stat.kind == FileKind::Directory,
            FileKind::File => match (self.beginning.compares, self.destination.standing(path)?) {
                (Some(evidence), Some(mut standing)) => {
                    !matches!(self.judge(evidence, (path, entry), &mut standing)?, Judged::Other)
                }
                _ => false,
            },
            FileKind::Socket => false,
            _ => self.destination.is_node(path, &entry.meta)?,
        };
        if is_ours { Ok(()) } else { Err(self.destination.occupied(path, stat.kind).into()) }
    }

    /// What a regular file is; nothing is touched.
    fn judge(
        &self,
        evidence: Evidence,
        (path, entry): (&SafePath, &Entry),
        standing: &mut Standing,
    ) -> Result<Judged, EngineError> {
        if self.is_same(evidence, entry, standing)? && self.may_keep(path, entry, standing) {
            return Ok(Judged::Same);
        }
        if self.existing != Existing::Refuse {
            return Ok(Judged::Other);
        }
        if self.is_leftover(entry, standing)? {
            return Ok(Judged::Begun);
        }
        Ok(if self.is_lost(entry, standing)? { Judged::Lost } else { Judged::Other })
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

    /// Whether a file with the right bytes may be completed, or needs not be. It may not when it
    /// has names that the snapshot does not give it: what is done to it would be done to them.
    fn may_keep(&self, path: &SafePath, entry: &Entry, standing: &Standing) -> bool {
        let may_have_names = entry.meta.hard_link_group != 0;
        standing.stat.nlink == 1
            || self.has_all_names(entry, standing)
            || may_have_names && self.destination.is_complete(path, standing, &entry.meta)
    }

    fn has_all_names(&self, entry: &Entry, standing: &Standing) -> bool {
        let group = entry.meta.hard_link_group;
        group != 0 && self.destination.has_all_names(group, &standing.stat)
    }

    /// Whether a stop of the machine explains a file of our own with other bytes: it has its
    /// recorded size and time, which the file system kept while it lost bytes; or a small one
    /// holds nothing but recorded bytes and zeros.
    fn is_lost(&self, entry: &Entry, standing: &mut Standing) -> Result<bool, EngineError> {
        let Standing { file, stat } = standing;
        let is_ours = stat.nlink == 1 && stat.uid == rustix::process::geteuid().as_raw();
        if self.beginning.survived || !is_ours || stat.size != entry.meta.size {
            return Ok(false);
        }
        if stat.mtime == entry.meta.mtime {
            return Ok(true);
        }
        let Content::Group { blob, offset, len } = entry.content else { return Ok(false) };
        let plain = self.blobs.get(BlobKind::Group, &blob)?;
        let mut now = Vec::new();
        io::Seek::rewind(file).and_then(|()| io::Read::read_to_end(file, &mut now)).unwrap_or(0);
        let whole = group::part(&plain, offset, len).unwrap_or_default();
        let is_recorded_or_zero = |(now, whole): (&u8, &u8)| *now == 0 || now == whole;
        Ok(now.len() == whole.len() && now.iter().zip(whole).all(is_recorded_or_zero))
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

/// What a regular file that stands there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// The recorded one.
    Same,
    /// A beginning of it, which an interrupted restore left.
    Begun,
    /// It was the recorded one before the machine stopped.
    Lost,
    /// Anything else.
    Other,
}

fn is_locked_out(error: &FilesError) -> bool {
    matches!(error, FilesError::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
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

//! A file that is being restored, shared by all of its pieces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::layout::Part;
use crate::base::id::BlobId;
use crate::base::metadata::Metadata;
use crate::repository::format::group;
use crate::repository::format::keys::BlobKind;
use crate::source::files::{FileWriter, ParkedFile, SafePath, Shape};

/// A regular file and how far it is.
pub(super) struct Slot<'d> {
    /// Where.
    pub(super) path: SafePath,
    /// What it gets in the end.
    pub(super) meta: Metadata,
    /// Whether it has holes.
    pub(super) shape: Shape,
    state: Mutex<State<'d>>,
}

/// How far a file is.
pub(super) struct State<'d> {
    /// The file itself.
    pub(super) writing: Writing<'d>,
    /// Pieces that were planned and not written yet.
    pub(super) left: u64,
    /// Whether all of its pieces are planned: it ends with the last of them.
    pub(super) is_planned: bool,
    /// Bytes of it that progress was told of.
    pub(super) told: u64,
}

/// The file itself.
pub(super) enum Writing<'d> {
    /// Nothing of it was written.
    NotYet,
    /// Between two pieces, open.
    Open(FileWriter<'d>),
    /// Between two pieces, closed, because many others are open.
    Parked(ParkedFile),
    /// Finished, or failed.
    Ended,
}

/// A stretch of a blob that goes to a file.
#[derive(Clone)]
pub(super) struct Piece<'d> {
    /// The file.
    pub(super) slot: Arc<Slot<'d>>,
    /// The blob.
    pub(super) blob: BlobId,
    /// What of it.
    pub(super) part: Part,
}

impl<'d> Slot<'d> {
    /// A file of which nothing is planned yet.
    pub(super) fn new(path: SafePath, meta: Metadata, shape: Shape) -> Self {
        let state = State { writing: Writing::NotYet, left: 0, is_planned: false, told: 0 };
        Self { path, meta, shape, state: Mutex::new(state) }
    }

    /// Its state, for as long as the guard lives.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<'d>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece<'_> {
    /// The kind of its blob.
    pub(super) fn kind(&self) -> BlobKind {
        match self.part {
            Part::OfGroup { .. } => BlobKind::Group,
            Part::OfChunk { .. } => BlobKind::Chunk,
        }
    }

    /// The bytes of a blob that this piece writes, and where to.
    pub(super) fn bytes<'p>(&self, plain: &'p [u8]) -> Option<(u64, &'p [u8])> {
        let (start, len, to) = match self.part {
            Part::OfGroup { offset, len } => {
                let count = u32::from_le_bytes(*plain.first_chunk::<4>()?);
                let start = group::bytes_start(usize::try_from(count).ok()?);
                (start.checked_add(usize::try_from(offset).ok()?)?, len, 0)
            }
            Part::OfChunk { from, len, to } => (usize::try_from(from).ok()?, len, to),
        };
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        Some((to, plain.get(start..end)?))
    }
}

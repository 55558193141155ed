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
    /// Whether it is written in parts, and may be gone on with after an interruption.
    pub(super) making: Making,
    state: Mutex<State<'d>>,
}

/// How a file comes into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// By one write, or none, under its own name.
    AtOnce,
    /// In parts, under another name until it is whole.
    InParts,
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
    pub(super) fn new(path: SafePath, meta: Metadata, shape: Shape, making: Making) -> Self {
        let state = State { writing: Writing::NotYet, left: 0, is_planned: false, told: 0 };
        Self { path, meta, shape, making, state: Mutex::new(state) }
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
        match self.part {
            Part::OfGroup { offset, len } => group::part(plain, offset, len).map(|bytes| (0, bytes)),
            Part::OfChunk { from, len, to } => {
                let start = usize::try_from(from).ok()?;
                let end = start.checked_add(usize::try_from(len).ok()?)?;
                plain.get(start..end).map(|bytes| (to, bytes))
            }
        }
    }
}

//! The end of the pipeline: entries in order, each with its content, into the manifest.

use std::sync::Arc;

use super::chunk_run::Placed;
use super::content::{FileContent, FileResult, ReadFile};
use super::outcome::{Items, LeftOut, Stats};
use super::slot::Slot;
use super::sources::Demand;
use super::used::{Use, Used};
use crate::base::cancel::Cancel;
use crate::base::display;
use crate::base::id::BlobId;
use crate::base::metadata::FileKind;
use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;
use crate::repository::fan_out::FanOut;
use crate::repository::format::keys::IdKeys;
use crate::repository::kept::Kept;
use crate::repository::manifest::{
    BlobSink, ChunkListBuilder, Content, Entry, Leaf, ManifestBuilder, NodeKind, Root, State,
};
use crate::repository::manifest_source::blob_kind;
use crate::repository::pack_pool::{PackPool, Scratch};

/// One place in the order of entries.
pub(super) enum Planned {
    /// The parent's entry, unchanged.
    Kept {
        /// Its leaf.
        leaf: Arc<Leaf>,
        /// Its row there.
        row: usize,
    },
    /// An entry without content, or whose content is known.
    Ready(Box<Entry>),
    /// A small file, read by a worker.
    Small {
        /// What is known without reading.
        entry: Box<Entry>,
        /// The results of its run.
        run: Arc<Slot<Vec<FileResult>>>,
        /// Its place in the run.
        at: usize,
    },
    /// A large file.
    Large {
        /// What is known without reading.
        entry: Box<Entry>,
        /// Its result.
        file: Arc<Slot<FileResult>>,
        /// Where the parent's version lies, when that is a list that is whole.
        uses: Vec<Use>,
    },
}

/// What the planner hands over at a time.
#[derive(Default)]
pub(super) struct Batch {
    /// Entries in order.
    pub(super) entries: Vec<Planned>,
    /// Packs that the planner found to be used, each named once.
    pub(super) uses: Vec<Use>,
    /// Whether the root ends here.
    pub(super) ends_root: bool,
}

/// Manifest nodes into the metadata pack.
pub(super) struct NodeSink<'a> {
    pub(super) pool: &'a PackPool<'a>,
    pub(super) fan_out: &'a FanOut<'a>,
    pub(super) ids: &'a IdKeys,
    pub(super) kept: Option<&'a Kept>,
    pub(super) scratch: Scratch,
    pub(super) used: Used,
}

impl BlobSink for NodeSink<'_> {
    type Error = RepositoryError;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, RepositoryError> {
        let kind = blob_kind(kind);
        let id = self.ids.id(kind, plain);
        self.pool.store(kind, &id, plain, &mut self.scratch, self.fan_out)?;
        if let Some(kept) = self.kept {
            kept.put(&id, plain);
        }
        self.used.rely(self.pool, &id);
        Ok(id)
    }

    fn keep(&mut self, _kind: NodeKind, id: &BlobId) {
        self.used.cover(self.pool, id);
    }
}

/// What was collected besides the tree.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) stats: Stats,
    pub(super) unread: Items,
    pub(super) changed: Items,
    pub(super) vanished: u64,
    pub(super) left_out: LeftOut,
}

/// Takes one root's entries in order.
pub(super) struct Collector<'a, 'c> {
    builder: ManifestBuilder<NodeSink<'a>>,
    shown_root: String,
    cancel: &'c Cancel,
    out: &'c mut Collected,
    demand: Demand,
}

impl<'a, 'c> Collector<'a, 'c> {
    pub(super) fn new(
        cut_key: [u8; 32],
        sink: NodeSink<'a>,
        shown_root: String,
        cancel: &'c Cancel,
        out: &'c mut Collected,
    ) -> Self {
        Self { builder: ManifestBuilder::new(cut_key, sink), shown_root, cancel, out, demand: Demand::None }
    }

    /// The same, but the run fails when this does not come.
    pub(super) fn demanding(self, demand: Demand) -> Self {
        Self { demand, ..self }
    }

    /// Adds one entry, waiting for its content.
    pub(super) fn take(&mut self, planned: Planned) -> Result<(), EngineError> {
        match planned {
            Planned::Kept { leaf, row } => {
                let view = leaf.row(row);
                self.count(view.kind(), view.size());
                if view.kind() == FileKind::File {
                    self.out.stats.files_unchanged += 1;
                }
                self.builder.keep(&leaf, row)?;
                Ok(())
            }
            Planned::Ready(entry) => self.push(*entry),
            Planned::Small { entry, run, at } => {
                let result = run.with(self.cancel, |results| {
                    results.get_mut(at).map(|result| std::mem::replace(result, FileResult::Vanished))
                });
                self.with_result(*entry, result.flatten().ok_or(EngineError::Cancelled)?)
            }
            Planned::Large { entry, file, uses } => {
                let result = file.with(self.cancel, |result| std::mem::replace(result, FileResult::Vanished));
                let result = result.ok_or(EngineError::Cancelled)?;
                if takes_over(&result) {
                    self.note(uses);
                }
                self.with_result(*entry, result)
            }
        }
    }

    /// Notes packs that the planner found to be used.
    pub(super) fn note(&mut self, uses: Vec<Use>) {
        let used = &mut self.builder.sink_mut().used;
        for one in uses {
            used.note(one);
        }
    }

    /// The tree so far, stored as if nothing followed, and the packs in use so far.
    pub(super) fn so_far(&mut self) -> Result<(Option<Root>, Used), EngineError> {
        let root = self.builder.so_far()?;
        Ok((root, self.builder.sink_mut().used.clone()))
    }

    /// What was collected so far.
    pub(super) fn collected(&self) -> &Collected {
        self.out
    }

    /// Stores what is open and gives the root of the tree.
    pub(super) fn finish(self) -> Result<(Root, NodeSink<'a>), EngineError> {
        Ok(self.builder.finish()?)
    }

    fn with_result(&mut self, mut entry: Entry, result: FileResult) -> Result<(), EngineError> {
        self.insist(&result)?;
        match result {
            FileResult::Vanished => {
                self.out.vanished += 1;
                Ok(())
            }
            FileResult::Unread(reason) => {
                self.out.unread.push(self.shown(&entry), reason);
                entry.state = State::Unread;
                self.cover(&entry.content);
                self.push(entry)
            }
            FileResult::Read(read) => {
                self.fill(&mut entry, *read)?;
                self.push(entry)
            }
        }
    }

    /// Whether what came is all that has to.
    fn insist(&self, result: &FileResult) -> Result<(), EngineError> {
        let Demand::All { may_be_empty } = self.demand else { return Ok(()) };
        let reason = match result {
            FileResult::Read(read) if read.meta.size > 0 || may_be_empty => return Ok(()),
            FileResult::Read(_) => "it ended without a byte".to_owned(),
            FileResult::Unread(reason) => reason.clone(),
            FileResult::Vanished => "it is gone".to_owned(),
        };
        // What a request to stop breaks off is no fault of the stream.
        if self.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        Err(EngineError::Stream { name: self.shown_root.clone(), reason })
    }

    fn fill(&mut self, entry: &mut Entry, read: ReadFile) -> Result<(), EngineError> {
        entry.meta = read.meta;
        entry.hash16 = read.hash16;
        entry.extents = read.extents;
        entry.state = State::Ok;
        if read.changed {
            entry.state = State::ChangedWhileRead;
            self.out.changed.push(self.shown(entry), "changed while it was read; stored as read".to_owned());
        }
        for issue in &read.issues {
            self.out.unread.push(self.shown(entry), issue.clone());
        }
        entry.content = match read.content {
            FileContent::None | FileContent::Waiting { .. } => Content::None,
            FileContent::Known(content) => {
                self.cover(&content);
                content
            }
            FileContent::Group { blob, offset, len } => {
                let sink = self.builder.sink_mut();
                sink.used.rely(sink.pool, &blob);
                Content::Group { blob, offset, len }
            }
            FileContent::Chunks(chunks) => {
                let mut list = ChunkListBuilder::new();
                let sink = self.builder.sink_mut();
                chunks.visit(&mut |Placed { chunk, is_kept }| {
                    if is_kept {
                        sink.used.cover(sink.pool, &chunk.id);
                    } else {
                        sink.used.rely(sink.pool, &chunk.id);
                    }
                    Ok(list.push(chunk, sink)?)
                })?;
                list.finish(sink)?
            }
        };
        Ok(())
    }

    /// Lists of long files are covered by whoever planned the entry: it had to read them.
    fn cover(&mut self, content: &Content) {
        let sink = self.builder.sink_mut();
        match content {
            Content::None | Content::ChunkList { .. } => {}
            Content::Group { blob, .. } => {
                sink.used.cover(sink.pool, blob);
            }
            Content::Chunks(chunks) => chunks.iter().for_each(|chunk| {
                sink.used.cover(sink.pool, &chunk.id);
            }),
        }
    }

    fn push(&mut self, entry: Entry) -> Result<(), EngineError> {
        self.count(entry.meta.kind, entry.meta.size);
        self.builder.push(&entry)?;
        Ok(())
    }

    fn count(&mut self, kind: FileKind, size: u64) {
        self.out.stats.entries += 1;
        if kind == FileKind::File {
            self.out.stats.files += 1;
            self.out.stats.source_bytes = self.out.stats.source_bytes.saturating_add(size);
        }
    }

    fn shown(&self, entry: &Entry) -> String {
        format!("{}/{}", self.shown_root, display::path(&entry.path()))
    }
}

/// Whether the parent's version of a file may stand for what it is now.
fn takes_over(result: &FileResult) -> bool {
    match result {
        FileResult::Unread(_) => true,
        FileResult::Read(read) => matches!(read.content, FileContent::Known(_)),
        FileResult::Vanished => false,
    }
}

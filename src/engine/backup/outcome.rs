//! What a backup did: the answer to the person, the catalogue and the exit code.

use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::base::error::Class;
use crate::base::id::{BlobId, ObjectHash};
use crate::engine::history::Finding;
use crate::repository::format::snapshot::SnapshotKind;

/// At most this many items are named; the count is always whole.
pub const ITEMS_NAMED_MAX: usize = 1000;

/// Items of one sort: how many, and the first of them by name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Items {
    /// How many there were.
    pub count: u64,
    /// The first [`ITEMS_NAMED_MAX`] of them.
    pub named: Vec<Item>,
}

/// One item that did not go as it should.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Its path as people read it.
    pub path: String,
    /// What happened to it.
    pub reason: String,
}

impl Items {
    /// Counts an item, and keeps its name while there is room.
    pub fn push(&mut self, path: String, reason: String) {
        self.count += 1;
        if self.named.len() < ITEMS_NAMED_MAX {
            self.named.push(Item { path, reason });
        }
    }

    /// Adds the items of another list, the unnamed ones, too.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        let room = ITEMS_NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }
}

/// What rules left out: declared, so that a complete snapshot says what it is complete but for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LeftOut {
    /// Entries that patterns leave out, or that no include pattern asks for; folders among them
    /// are not entered, and what lies below them is not counted.
    pub by_pattern: u64,
    /// Folders among those.
    pub folders: u64,
    /// Files that are too long.
    pub larger: u64,
    /// Bytes of the files in the two counts before; what lies in folders is not known.
    pub bytes: u64,
    /// Folders kept empty because a `CACHEDIR.TAG` says that they are caches.
    pub caches: u64,
    /// Folders kept empty because they hold an entry that a rule names.
    pub marked: u64,
    /// Folders kept empty because another file system begins there.
    pub mounts: u64,
    /// Patterns that decided nothing in any root: misspelt, or no longer needed.
    pub idle_patterns: Vec<IdlePattern>,
}

/// A pattern that decided nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct IdlePattern {
    /// `exclude` or `include`.
    pub list: &'static str,
    /// As written.
    pub pattern: String,
}

impl LeftOut {
    /// Everything that a rule left out or kept empty.
    pub fn items(&self) -> u64 {
        self.by_pattern + self.larger + self.caches + self.marked + self.mounts
    }
}

/// What was looked at and what was stored.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Entries in the snapshot, folders included.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of all files, holes included.
    pub source_bytes: u64,
    /// Files whose content was read in this run.
    pub files_read: u64,
    /// Bytes read in this run.
    pub bytes_read: u64,
    /// Files taken over from the parent by their metadata.
    pub files_unchanged: u64,
    /// Blobs that were new.
    pub blobs_new: u64,
    /// Plain bytes of the new blobs.
    pub bytes_new: u64,
    /// Bytes of new objects, as stored on each complete target.
    pub bytes_stored: u64,
    /// Packs made.
    pub packs_new: u64,
    /// Items left out by rules.
    pub excluded: u64,
}

/// What one target has of the snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct TargetOutcome {
    /// The target's name: in plumbing its URL.
    pub target: String,
    /// Whether the snapshot is confirmed there, with everything it needs.
    pub complete: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The class of that reason.
    #[serde(skip)]
    pub class: Option<Class>,
    /// Bytes stored there in this run.
    pub stored_bytes: u64,
    /// What has to be read back there before the snapshot counts as read back, beyond what its
    /// parent needed already.
    #[serde(skip)]
    pub new_objects: Vec<crate::storage::contract::ObjectName>,
}

/// How one root was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootView {
    /// As it is recorded.
    pub path: String,
    /// What it leads to, when it is a link.
    pub real: Option<String>,
    /// `files`: as they were when the walk came by; `btrfs snapshot`: as they were at one moment;
    /// `device`: the content of a block device,
    /// with a word when it was mounted for writing; `stream`: what came in.
    pub view: &'static str,
}

/// A finished backup: at least one target has the snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct BackupOutcome {
    /// The snapshot's id.
    pub snapshot: ObjectHash,
    /// The root of its first manifest: what random picks are drawn over.
    pub manifest_root: BlobId,
    /// What the run was: full when it had no parent, whatever was asked for.
    pub kind: SnapshotKind,
    /// What was asked for.
    pub asked: SnapshotKind,
    /// The snapshot that was compared with.
    pub parent: Option<ObjectHash>,
    /// The checkpoint of an interrupted run that this one went on from.
    pub resumed: Option<ObjectHash>,
    /// The start of the walk: what the RPO counts from.
    pub captured_at: Timestamp,
    /// The end of the run.
    pub ended_at: Timestamp,
    /// Each target's part.
    pub targets: Vec<TargetOutcome>,
    /// Figures.
    pub stats: Stats,
    /// Items that could not be read; the snapshot is partial when there are any.
    pub unread: Items,
    /// Files that changed while they were read; stored as read.
    pub changed: Items,
    /// Items that vanished between the listing and the read; no fault.
    pub vanished: u64,
    /// How each root was read.
    pub roots: Vec<RootView>,
    /// What rules left out; no fault.
    pub left_out: LeftOut,
    /// What of the past does not add up: snapshots that went and that nobody forgot. This one was
    /// made all the same.
    pub history: Vec<Finding>,
}

impl BackupOutcome {
    /// Targets that have the whole snapshot.
    pub fn complete(&self) -> usize {
        self.targets.iter().filter(|target| target.complete).count()
    }

    /// Whether the snapshot exists but something promised is missing (exit code 3).
    pub fn is_partial(&self) -> bool {
        self.unread.count > 0 || self.complete() < self.targets.len()
    }

    /// Whether snapshots were found to be taken away (exit code 13).
    pub fn is_rolled_back(&self) -> bool {
        self.history.iter().any(Finding::is_rollback)
    }
}

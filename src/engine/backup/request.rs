//! What is asked of a backup.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::effort::Effort;
use crate::engine::history::Sight;
use crate::repository::format::snapshot::SnapshotKind;
use crate::source::files::WalkOptions;
use crate::source::frozen::hook::Hook;
use crate::source::stream::StreamSource;

/// Which snapshot to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentChoice {
    /// The newest of the same host and roots (for a differential: the newest full).
    Newest,
    /// This one, by at least 8 digits of its id.
    Named(String),
}

/// Which view of the roots is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Freeze {
    /// The files as they are when the walk comes by.
    #[default]
    None,
    /// A snapshot where the file system can make one.
    Auto,
    /// A snapshot of btrfs, or the run fails.
    Btrfs,
    /// What this program makes, or the run fails.
    Hook(Hook),
}

/// Bytes that are backed up as one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Where they come from.
    pub source: StreamSource,
    /// Nothing at all is no failure.
    pub may_be_empty: bool,
}

/// What the source has to look like, or the run fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceRule {
    /// Fewer regular files than this fail the run: an empty mount must never look like a backup.
    pub files_min: u64,
}

/// How much work an interruption may cost: a checkpoint is made when either is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRule {
    /// Time since the newest one.
    pub time: Duration,
    /// New bytes stored since.
    pub bytes: u64,
}

impl Default for CheckpointRule {
    /// Five minutes, 64 GB.
    fn default() -> Self {
        Self { time: Duration::from_secs(300), bytes: 64_000_000_000 }
    }
}

/// One backup.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// What to back up, absolute paths; each once.
    pub roots: Vec<PathBuf>,
    /// Full, incremental or differential.
    pub kind: SnapshotKind,
    /// The machine's name in the snapshot; with it the writer's key is derived.
    pub host: String,
    /// The policy's name, when one asked.
    pub policy: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What to compare with.
    pub parent: ParentChoice,
    /// What is left out.
    pub walk: WalkOptions,
    /// Which view of the roots is read.
    pub freeze: Freeze,
    /// The bytes come from here instead of a path; the only root is the name that they get.
    pub stream: Option<StreamRequest>,
    /// What the source must look like.
    pub rule: SourceRule,
    /// How hard to compress.
    pub effort: Effort,
    /// When checkpoints are made.
    pub checkpoint: CheckpointRule,
    /// The run's id, when there is a catalogue.
    pub run_id: Option<String>,
    /// The scheduled occurrence, when there is one.
    pub occurrence: Option<String>,
    /// Whether the repository is open at all of its places.
    pub sight: Sight,
}

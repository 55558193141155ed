//! What a restore did.

use std::collections::BTreeSet;

use serde::Serialize;

use super::select::Wanted;
use crate::base::clock::Timestamp;
use crate::base::display;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::ObjectHash;
use crate::base::metadata::{FileKind, Metadata};
use crate::engine::backup::outcome::Items;
use crate::engine::error::EngineError;
use crate::repository::manifest::{Entry, State};
use crate::repository::snapshots::Snapshot;
use crate::source::files::{Aspect, Issues};

/// A finished restore.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreOutcome {
    /// The snapshot.
    pub snapshot: ObjectHash,
    /// When it was taken.
    pub captured_at: Timestamp,
    /// The target it came from.
    pub target: String,
    /// Regular files restored.
    pub files: u64,
    /// Their bytes, holes included.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links, pipes, devices, further names of files.
    pub others: u64,
    /// Sockets: recorded, never made, because only the process that listens can make its own.
    pub sockets_not_made: u64,
    /// Entries removed because the snapshot doesn't have them.
    pub removed: u64,
    /// Whether it went on with a restore that had been interrupted.
    pub resumed: bool,
    /// Regular files that were there as recorded: their content was left alone.
    pub kept: u64,
    /// Regular files that replaced another one.
    pub replaced: u64,
    /// Bytes fetched from the target.
    pub bytes_fetched: u64,
    /// Damaged packs whose parity gave what was needed of them.
    pub read_by_parity: Vec<ObjectHash>,
    /// Bytes that were there already, so that nobody had to fetch them: in files that were kept,
    /// and in those that were replaced or had been begun.
    pub bytes_reused: u64,
    /// Entries that could not be restored.
    pub failed: Items,
    /// Where they would have landed, each of them.
    #[serde(skip)]
    pub(super) lost: BTreeSet<Vec<u8>>,
    /// The class of the worst of these failures.
    #[serde(skip)]
    pub worst: Option<Class>,
    /// Metadata that could not be set.
    pub metadata_issues: Items,
    /// The same by sort: what it was, why, how often, and what to do about it.
    pub metadata_report: Vec<MetadataLoss>,
    /// Entries that were unread when the snapshot was taken. A file comes back in the version that an
    /// older snapshot had; where there is none it is not made, and what stands there stays. Of a folder
    /// what is known comes back, and nothing in it is removed.
    pub unread_at_backup: Items,
    /// Marks and unfinished files of given up restores of other snapshots that were removed.
    pub cleared: u64,
    /// Marks of restores of other snapshots that have not ended and stay.
    pub not_ended: Vec<String>,
    /// Those of them that were not made, because nothing is stored of what they hold.
    pub not_stored: u64,
    /// Files read back and compared, when that was asked for.
    pub checked: Option<u64>,
    /// Files that differed when they were read back.
    pub differing: Items,
}

/// One sort of metadata that could not be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataLoss {
    /// What: `owner`, `mode`, `access list`, `capability`, `times`, ...
    pub what: String,
    /// Why, in a few words.
    pub why: String,
    /// How many entries, or attributes of entries.
    pub count: u64,
    /// What to do about it.
    pub next: Option<String>,
    /// The first paths, as people read them.
    pub first: Vec<String>,
}

impl RestoreOutcome {
    /// Nothing done yet.
    pub(super) fn new(snapshot: &Snapshot, target: &str) -> Self {
        Self {
            snapshot: snapshot.id,
            captured_at: snapshot.body.captured_at,
            target: target.to_owned(),
            files: 0,
            bytes: 0,
            folders: 0,
            others: 0,
            sockets_not_made: 0,
            removed: 0,
            resumed: false,
            kept: 0,
            replaced: 0,
            bytes_fetched: 0,
            read_by_parity: Vec::new(),
            bytes_reused: 0,
            failed: Items::default(),
            lost: BTreeSet::new(),
            worst: None,
            metadata_issues: Items::default(),
            metadata_report: Vec::new(),
            unread_at_backup: Items::default(),
            cleared: 0,
            not_ended: Vec::new(),
            not_stored: 0,
            checked: None,
            differing: Items::default(),
        }
    }

    /// Counts an entry that is asked for.
    pub(super) fn count(&mut self, wanted: &Wanted) {
        if wanted.entry.state == State::Unread {
            self.unread_at_backup.push(display::path(&wanted.path), unread(&wanted.entry).to_owned());
        }
        if wanted.entry.is_missing() {
            self.not_stored += 1;
            return;
        }
        match wanted.entry.meta.kind {
            FileKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(wanted.entry.meta.size);
            }
            FileKind::Directory => self.folders += 1,
            FileKind::Socket => self.sockets_not_made += 1,
            _ => self.others += 1,
        }
    }

    /// A folder that is not known to be whole, and in which something else stands.
    pub(super) fn left_alone(&mut self, path: &[u8], others: u64) {
        let reason = format!(
            "what it held is not known to have been read when the snapshot was taken: nothing was removed, {others} others stay"
        );
        self.unread_at_backup.push(display::path(path), reason);
    }

    /// Takes back what was counted, of an entry that could not be restored after all.
    pub(super) fn uncount(&mut self, meta: &Metadata) {
        match meta.kind {
            FileKind::File => {
                self.files = self.files.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(meta.size);
            }
            FileKind::Directory => self.folders = self.folders.saturating_sub(1),
            FileKind::Socket => {}
            _ => self.others = self.others.saturating_sub(1),
        }
    }

    /// An entry that could not be restored: named, and the worst class kept.
    pub(super) fn fail(&mut self, path: &[u8], error: &EngineError) {
        self.failed.push(display::path(path), Chain(error).to_string());
        self.lost.insert(path.to_vec());
        let class = error.class();
        if self.worst != Some(Class::Damage) {
            self.worst = Some(if class == Class::Damage { class } else { Class::Partial });
        }
    }

    /// What could not be set. A socket is no metadata: it has a number of its own.
    pub(super) fn take_issues(&mut self, issues: &Issues) {
        for issue in issues.listed.iter().filter(|issue| issue.aspect != Aspect::Socket) {
            let why = format!("{}: {}", issue.aspect, issue.why);
            self.metadata_issues.push(display::path(&issue.path), why);
        }
        self.metadata_issues.count = 0;
        for ((aspect, reason), group) in &issues.groups {
            if *aspect == Aspect::Socket {
                continue;
            }
            self.metadata_issues.count += group.count;
            self.metadata_report.push(MetadataLoss {
                what: aspect.to_string(),
                why: reason.to_string(),
                count: group.count,
                next: issues.next_step(*aspect, *reason).map(str::to_owned),
                first: group.first.iter().map(|path| display::path(path)).collect(),
            });
        }
        self.metadata_report.sort_by_key(|loss| std::cmp::Reverse(loss.count));
    }

    /// The exit code: 0, or that of the worst thing that happened. What is there with other
    /// metadata than it had is not all that was asked for, and neither is what was not read at the
    /// time: in an older version, or not at all.
    pub fn exit_code(&self) -> u8 {
        if self.differing.count > 0 {
            return Class::Damage.exit_code();
        }
        match self.worst {
            Some(class) => class.exit_code(),
            None if self.metadata_issues.count + self.unread_at_backup.count > 0 => {
                Class::Partial.exit_code()
            }
            None => 0,
        }
    }
}

/// What it means that an entry was unread.
fn unread(entry: &Entry) -> &'static str {
    match entry.meta.kind {
        FileKind::Directory => "not all it held could be read when the snapshot was taken",
        _ if entry.is_missing() => {
            "could not be read when the snapshot was taken, and no older version is stored: not made"
        }
        _ => "could not be read when the snapshot was taken: as an older snapshot had it",
    }
}

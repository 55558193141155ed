//! The walk beside the parent's manifest: what is unchanged is taken over, what is new or changed
//! becomes a job. Both run in the same order, so one pass over each is enough.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::collect::{Batch, Planned};
use super::content::{FileResult, Known};
use super::file::Fault;
use super::large::LargeFile;
use super::outcome::{ITEMS_NAMED_MAX, IdlePattern, Items, LeftOut};
use super::pass::Pass;
use super::slot::{Slot, slot};
use super::sparse_groups::sparse_groups;
use super::used::{Use, Used, covering};
use super::worker::{FileRun, Job, Shop};
use crate::base::display;
use crate::base::error::Chain;
use crate::base::id::BlobId;
use crate::base::limits::SMALL_FILE_BYTES_MAX;
use crate::base::metadata::{FileKind, FileTime, Metadata};
use crate::engine::error::EngineError;
use crate::repository::manifest::{
    BlobRef, Content, ContentView, Entry, EntryView, Key, ManifestReader, State, Visit, visit_list,
};
use crate::repository::manifest_source::Nodes;
use crate::repository::pack_pool::PackPool;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;
use crate::source::files::{Found, Item, Scope, Stat, Unreadable, Walk, complete, hard_link_group};
use crate::storage::contract::Read;

/// Entries that are planned before they are handed on together.
/// A batch with this many large files is handed on at once.
const LARGE_A_BATCH: u64 = 16;
pub(super) const BATCH_ENTRIES: usize = 4096;
/// A run of small files is handed to a worker at about this many bytes.
const RUN_BYTES: u64 = 4 * 1024 * 1024;
/// A parent's file whose times are this close to its walk is read again: it may have changed
/// within the same tick.
const RACY_SECONDS: i64 = 2;

/// The channels into the pipeline.
pub(super) struct Wires {
    pub(super) jobs: Sender<Job>,
    pub(super) large: Sender<LargeFile>,
    pub(super) planned: Sender<Batch>,
}

/// What the walk noticed.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    pub(super) unread: Items,
    pub(super) vanished: u64,
    pub(super) left_out: LeftOut,
}

impl Noticed {
    /// Adds what the rules did in one root. A pattern is idle when it was in every root so far.
    fn note_rules(&mut self, walk: &Walk, is_first: bool) {
        let counts = walk.counts();
        let out = &mut self.left_out;
        out.by_pattern += counts.excluded;
        out.folders += counts.excluded_directories;
        out.larger += counts.larger;
        out.bytes = out.bytes.saturating_add(counts.bytes);
        out.caches += counts.caches;
        out.marked += counts.marked;
        out.mounts += counts.mounts;
        let idle = walk.idle_patterns().into_iter().map(|(list, pattern)| IdlePattern { list, pattern });
        if is_first {
            out.idle_patterns = idle.collect();
        } else {
            let idle: HashSet<IdlePattern> = idle.collect();
            out.idle_patterns.retain(|pattern| idle.contains(pattern));
        }
    }
}

/// Plans all roots.
pub(super) struct Planner<'a> {
    pass: &'a Pass<'a>,
    pool: &'a PackPool<'a>,
    shop: &'a Shop<'a>,
    wires: Wires,
    pub(super) batch: Batch,
    run: Run,
    /// What has been said of the packs in use.
    used: Used,
    last_covered: (BlobId, bool),
    walked: Noticed,
    /// The last folder that was marked as not whole.
    pub(super) marked: Option<Vec<u8>>,
    files: u64,
    /// Large files so far.
    large: u64,
    /// Entries that are done and not yet told to whoever watches.
    done: u64,
}

/// Small files that wait to be handed over together.
struct Run {
    files: Vec<(Found, Option<Known>)>,
    bytes: u64,
    slot: Arc<Slot<Vec<FileResult>>>,
    delivery: Option<super::slot::Delivery<Vec<FileResult>>>,
}

impl Run {
    fn new() -> Self {
        let (slot, delivery) = slot();
        Self { files: Vec::new(), bytes: 0, slot, delivery: Some(delivery) }
    }
}

/// An earlier tree, read beside the walk.
pub(super) struct Past<'r, 'a> {
    /// `None` when there is none, or it can't be read any further.
    pub(super) reader: Option<ManifestReader<Nodes<'r, 'a>>>,
    /// Whether a file whose metadata is the same is taken for unchanged.
    is_trusted: bool,
    /// Files with times from here on may have changed under that look (seconds).
    racy_from: i64,
    /// Groups that are to be written anew.
    sparse: HashSet<BlobId>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(pass: &'a Pass<'a>, pool: &'a PackPool<'a>, shop: &'a Shop<'a>, wires: Wires) -> Self {
        Self {
            pass,
            pool,
            shop,
            wires,
            batch: Batch::default(),
            run: Run::new(),
            used: Used::default(),
            last_covered: (BlobId::default(), false),
            walked: Noticed::default(),
            marked: None,
            files: 0,
            large: 0,
            done: 0,
        }
    }

    /// Walks every root to its end.
    pub(super) fn walk_all(mut self) -> Result<Noticed, EngineError> {
        for number in 0..self.pass.sources.count() {
            self.walk_root(number)?;
            self.batch.ends_root = true;
            self.flush()?;
        }
        let needed = self.pass.request.rule.files_min;
        if self.files < needed {
            let path = self.pass.roots.iter().map(|root| display::path(root)).collect::<Vec<_>>().join(", ");
            return Err(EngineError::TooFewFiles { path, files: self.files, needed });
        }
        self.walked.left_out.idle_patterns.truncate(ITEMS_NAMED_MAX);
        Ok(self.walked)
    }

    fn walk_root(&mut self, number: usize) -> Result<(), EngineError> {
        let shown = display::path(&self.pass.roots[number]);
        self.marked = None;
        let mut walk = self.pass.sources.walk(number)?;
        let blobs = BlobReader::new(
            self.pass.repository,
            &self.pass.start.loaded.index,
            self.pass.start.targets.iter().collect(),
            Read::Quick,
        )
        .with_kept(self.pass.kept);
        let mut pasts = self.pasts_of(number, &blobs)?;
        // The walk gives entries of one folder after the other: its path is put together once.
        let mut dir = (None, Vec::new());
        for item in &mut walk {
            if self.pass.cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            match item {
                Item::Found(found) => {
                    if found.is_special() {
                        // Its times say nothing about its content.
                        pasts.iter_mut().for_each(|past| past.is_trusted = false);
                    }
                    if dir.0.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &found.dir)) {
                        dir = (Some(Arc::clone(&found.dir)), found.dir.path());
                    }
                    self.plan(found, &dir.1, &mut pasts, &blobs, &shown)?;
                }
                Item::Unreadable(unreadable) => {
                    self.unreadable(&unreadable, &shown);
                    self.mark_folder(&unreadable, &mut pasts);
                    self.keep_unread(&unreadable, &mut pasts, &blobs)?;
                }
            }
            if self.batch.entries.len() >= BATCH_ENTRIES {
                self.flush()?;
            }
        }
        self.walked.vanished += walk.counts().vanished;
        self.walked.note_rules(&walk, number == 0);
        Ok(())
    }

    /// What the walk of a root is compared with, the most trusted first: what an interrupted run
    /// has done of it, and the parent.
    fn pasts_of<'r, 'b>(
        &self,
        number: usize,
        blobs: &'b BlobReader<'r>,
    ) -> Result<[Past<'r, 'b>; 2], EngineError> {
        let start = self.pass.start;
        let resume = self.past(start.resume.as_ref(), number, blobs, true);
        let mut parent = self.past(start.parent.as_ref(), number, blobs, self.pass.trusts_stat());
        if let (Some(_), Some(snapshot)) = (&parent.reader, start.parent.as_ref())
            && !parent.is_trusted
            && self.pass.kept.is_none()
            && let Some(root) = snapshot.body.roots.get(number)
        {
            match sparse_groups(&root.node, blobs) {
                Ok(sparse) => parent.sparse = sparse,
                Err(error) => self.warn(format!("old groups are kept as they are: {error}")),
            }
        }
        Ok([resume, parent])
    }

    fn past<'r, 'b>(
        &self,
        snapshot: Option<&Snapshot>,
        number: usize,
        blobs: &'b BlobReader<'r>,
        is_trusted: bool,
    ) -> Past<'r, 'b> {
        let captured_ms = snapshot.map_or(0, |snapshot| snapshot.body.captured_at.unix_ms());
        let racy_from = captured_ms.div_euclid(1000) - RACY_SECONDS;
        let root = snapshot.and_then(|snapshot| snapshot.body.roots.get(number));
        let reader = root.and_then(|root| match ManifestReader::open(&root.node, Nodes(blobs)) {
            Ok(reader) => Some(reader),
            Err(error) => {
                self.warn(format!("an earlier listing cannot be read, so all of it is read: {error}"));
                None
            }
        });
        Past { reader, is_trusted, racy_from, sparse: HashSet::new() }
    }

    pub(super) fn warn(&self, message: String) {
        self.pass.cx.progress.warn(message);
    }

    fn plan(
        &mut self,
        found: Found,
        dir: &[u8],
        pasts: &mut [Past<'_, '_>],
        blobs: &BlobReader<'_>,
        shown: &str,
    ) -> Result<(), EngineError> {
        let is_file = found.stat.kind == FileKind::File;
        self.files += u64::from(is_file);
        let key = Key { dir, name: &found.name };
        let known = match found.is_closed {
            true => Compared::Changed(None),
            false => self.compare(key, &found.stat, pasts, blobs),
        };
        match known {
            Compared::Unchanged(planned) => {
                self.done += 1;
                self.batch.entries.push(planned);
            }
            Compared::Changed(known) if is_file => self.file(found, dir, known)?,
            Compared::Changed(_) => {
                self.done += 1;
                self.special(&found, dir, shown);
            }
        }
        Ok(())
    }

    /// Looks the entry up in what is known. An earlier tree that cannot be read any further counts
    /// as one that knows nothing more.
    fn compare(
        &mut self,
        key: Key<'_>,
        stat: &Stat,
        pasts: &mut [Past<'_, '_>],
        blobs: &BlobReader<'_>,
    ) -> Compared {
        let mut best = None;
        for past in pasts {
            match self.compare_in(key, stat, past, blobs) {
                Ok(Compared::Changed(known)) => best = best.or(known),
                Ok(unchanged) => return unchanged,
                Err(error) => {
                    self.warn(format!("an earlier listing cannot be read further, so the rest is: {error}"));
                    past.reader = None;
                }
            }
        }
        Compared::Changed(best)
    }

    fn compare_in(
        &mut self,
        key: Key<'_>,
        stat: &Stat,
        past: &mut Past<'_, '_>,
        blobs: &BlobReader<'_>,
    ) -> Result<Compared, EngineError> {
        let Some(reader) = past.reader.as_mut() else { return Ok(Compared::Changed(None)) };
        let Some(view) = reader.advance_to(key)? else { return Ok(Compared::Changed(None)) };
        let row = view.row();
        let is_file = stat.kind == FileKind::File;
        let trust = past.is_trusted || !is_file;
        if trust && is_unchanged(&view, stat, past.racy_from) && self.covers(&view, blobs)? {
            let leaf = reader.leaf().cloned();
            let leaf = leaf.ok_or(EngineError::Defect { what: "the parent's leaf" })?;
            return Ok(Compared::Unchanged(Planned::Kept { leaf, row }));
        }
        if !is_file || view.kind() != FileKind::File {
            return Ok(Compared::Changed(None));
        }
        let Some(entry) = reader.entry()? else { return Ok(Compared::Changed(None)) };
        let mut uses = Vec::new();
        let is_whole = match &entry.content {
            Content::ChunkList { id, chunks } => {
                list_uses(self.pool, id, *chunks, blobs).map(|found| uses = found).is_some()
            }
            content => holds(self.pool, content),
        };
        let is_scattered =
            matches!(&entry.content, Content::Group { blob, .. } if past.sparse.contains(blob));
        Ok(Compared::Changed(Some(Known {
            size: entry.meta.size,
            hash16: entry.hash16,
            content: entry.content,
            extents: entry.extents,
            is_whole,
            is_scattered,
            uses,
        })))
    }

    /// Whether every blob of the parent's entry is in the index; notes their packs when so.
    fn covers(&mut self, view: &EntryView<'_>, blobs: &BlobReader<'_>) -> Result<bool, EngineError> {
        let attributes = [view.xattrs_id(), view.extents_id()];
        let mut whole = attributes.iter().flatten().all(|id| self.cover(id));
        match view.content() {
            ContentView::None => {}
            ContentView::Group { blob, .. } => whole &= self.cover(&blob),
            ContentView::Chunks(chunks) => whole &= chunks.iter().all(|chunk| self.cover(&chunk.id)),
            ContentView::ChunkList { id, chunks } => {
                visit_list(&id, chunks, &Nodes(blobs), &mut |blob| {
                    let (BlobRef::Manifest(_, id) | BlobRef::Chunk(id) | BlobRef::Group(id)) = blob;
                    whole &= self.cover(&id);
                    Visit::Enter
                })?;
            }
        }
        Ok(whole)
    }

    /// Neighbours share their group: one look-up serves them all.
    pub(super) fn cover(&mut self, id: &BlobId) -> bool {
        if self.last_covered.0 != *id {
            let used = covering(self.pool, id);
            if let Some(used) = used
                && self.used.note(used)
            {
                self.batch.uses.push(used);
            }
            self.last_covered = (*id, used.is_some());
        }
        self.last_covered.1
    }

    fn file(&mut self, found: Found, dir: &[u8], known: Option<Known>) -> Result<(), EngineError> {
        let entry = skeleton(&found, dir, known.as_ref());
        let is_sparse = found.stat.allocated_bytes < found.stat.size;
        let small = usize::try_from(found.stat.size).is_ok_and(|size| size <= SMALL_FILE_BYTES_MAX);
        if small && !is_sparse && !found.is_special() {
            let at = self.run.files.len();
            self.run.bytes += found.stat.size;
            self.run.files.push((found, known));
            self.batch.entries.push(Planned::Small { entry, run: Arc::clone(&self.run.slot), at });
            if self.run.bytes >= RUN_BYTES {
                self.hand_over_run()?;
            }
            return Ok(());
        }
        // Jobs that wait in the run must be on their way before this thread may block.
        self.hand_over_run()?;
        let (file, done) = slot();
        let uses = known.as_ref().map(|known| known.uses.clone()).unwrap_or_default();
        self.batch.entries.push(Planned::Large { entry, file, uses });
        self.wires.large.send(LargeFile { found, known, done }).map_err(|_| EngineError::Cancelled)?;
        // Lists of chunks must not wait by the thousand for the batch to be full.
        self.large += 1;
        if self.large.is_multiple_of(LARGE_A_BATCH) { self.flush() } else { Ok(()) }
    }

    fn special(&mut self, found: &Found, dir: &[u8], shown: &str) {
        let mut entry = skeleton(found, dir, None);
        if found.is_closed {
            entry.state = State::Unread;
        }
        match complete(found, None, self.shop.owners) {
            Ok(completed) => {
                entry.meta = completed.metadata;
                for issue in &completed.issues {
                    self.walked.unread.push(shown_path(shown, &found.path()), Chain(issue).to_string());
                }
            }
            Err(error) => match Fault::of(&error) {
                Fault::Vanished => {
                    self.walked.vanished += 1;
                    return;
                }
                Fault::Unread(reason) => {
                    self.walked.unread.push(shown_path(shown, &found.path()), reason);
                    entry.state = State::Unread;
                }
            },
        }
        self.batch.entries.push(Planned::Ready(entry));
    }

    /// Something that could not even be looked at: nothing is known of it but its name.
    fn unreadable(&mut self, unreadable: &Unreadable, shown: &str) {
        let path = shown_path(shown, &unreadable.dir.path_of(&unreadable.name));
        let what = match unreadable.scope {
            Scope::Entry => String::new(),
            Scope::Contents => "its contents: ".to_owned(),
            Scope::Rest => "some of its contents: ".to_owned(),
        };
        self.walked.unread.push(path, format!("{what}{}", Chain(&unreadable.error)));
    }

    fn hand_over_run(&mut self) -> Result<(), EngineError> {
        if self.run.files.is_empty() {
            return Ok(());
        }
        let mut run = std::mem::replace(&mut self.run, Run::new());
        let Some(done) = run.delivery.take() else { return Ok(()) };
        let job = Job::Files(FileRun { files: run.files, done });
        self.wires.jobs.send(job).map_err(|_| EngineError::Cancelled)
    }

    /// Hands on what was planned. The run goes first: the collector must never wait for a job
    /// that nobody has.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        self.hand_over_run()?;
        self.shop.progress.advance(std::mem::take(&mut self.done), 0);
        if self.batch.entries.is_empty() && !self.batch.ends_root {
            return Ok(());
        }
        let next = Batch { entries: Vec::with_capacity(BATCH_ENTRIES), ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.wires.planned.send(batch).map_err(|_| EngineError::Cancelled)
    }
}

enum Compared {
    Unchanged(Planned),
    Changed(Option<Known>),
}

/// The change test (docs/format.md, "Full, incremental, differential").
fn is_unchanged(view: &EntryView<'_>, stat: &Stat, racy_from: i64) -> bool {
    let racy = |time: FileTime| time.seconds >= racy_from;
    view.state() == State::Ok
        && view.kind() == stat.kind
        && view.size() == stat.size
        && view.mtime() == stat.mtime
        && view.ctime() == stat.ctime
        && view.ino() == stat.ino
        && view.mode() == stat.mode
        && (view.uid(), view.gid()) == (stat.uid, stat.gid)
        && !racy(stat.mtime)
        && !racy(stat.ctime)
}

/// Whether every blob of a content is in the index.
fn holds(pool: &PackPool<'_>, content: &Content) -> bool {
    match content {
        Content::None => true,
        Content::Group { blob, .. } => pool.home(blob).is_some(),
        Content::Chunks(chunks) => chunks.iter().all(|chunk| pool.home(&chunk.id).is_some()),
        Content::ChunkList { .. } => false,
    }
}

/// The packs that a long list and its chunks lie in; `None` when one of them is not in the index, or
/// the list can't be read.
fn list_uses(pool: &PackPool<'_>, id: &BlobId, chunks: u64, blobs: &BlobReader<'_>) -> Option<Vec<Use>> {
    let (mut used, mut uses, mut whole) = (Used::default(), Vec::new(), true);
    visit_list(id, chunks, &Nodes(blobs), &mut |blob| {
        let (BlobRef::Manifest(_, id) | BlobRef::Chunk(id) | BlobRef::Group(id)) = blob;
        match covering(pool, &id) {
            Some(found) if used.note(found) => uses.push(found),
            Some(_) => {}
            None => whole = false,
        }
        Visit::Enter
    })
    .ok()?;
    whole.then_some(uses)
}

/// An entry as far as it is known before anything is read; what the parent had of its content
/// stays in case it cannot be read.
fn skeleton(found: &Found, dir: &[u8], known: Option<&Known>) -> Box<Entry> {
    let stat = &found.stat;
    let found_size = if stat.kind == FileKind::File { stat.size } else { 0 };
    // The older content has its own length, whatever the file has now.
    let (content, hash16, extents, size) = match known {
        Some(known) if known.is_whole => {
            (known.content.clone(), known.hash16, known.extents.clone(), known.size)
        }
        _ => (Content::None, [0; 16], None, found_size),
    };
    Box::new(Entry {
        dir: dir.to_vec(),
        name: found.name.to_vec(),
        meta: Metadata {
            kind: stat.kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            owner: Vec::new(),
            group: Vec::new(),
            size,
            mtime: stat.mtime,
            ctime: stat.ctime,
            btime: stat.btime,
            dev: stat.dev,
            ino: stat.ino,
            rdev: stat.rdev,
            hard_link_group: hard_link_group(stat),
            link_target: Vec::new(),
            flags: stat.flags,
            xattrs: Vec::new(),
        },
        content,
        hash16,
        extents,
        state: State::Ok,
    })
}

fn shown_path(root: &str, path: &[u8]) -> String {
    format!("{root}/{}", display::path(path))
}

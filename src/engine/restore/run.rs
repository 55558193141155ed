//! The verb: folders first, then contents window by window, then further names, then what may
//! only come last.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::check;
use super::outcome::RestoreOutcome;
use super::request::{Mode, Others, RestoreRequest};
use super::select::{Selection, Wanted, chunks};
use super::window::{File, Layout, PIECES_MAX, Part, Piece, Window};
use super::write::Writer;
use crate::base::display;
use crate::base::error::{Chain, Class, Classified};
use crate::base::metadata::{FileKind, Metadata};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::load;
use crate::repository::manifest::{Content, Entry, State};
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;
use crate::source::files::{
    Destination, Existing, FilesError, Link, Made, ParkedFile, RestoreOptions, SafePath,
};
use crate::storage::contract::Read;

/// Inode flags after which nothing can be made in a folder or linked to a file any more.
const LOCKING_FLAGS: u32 = 0x30;

/// Restores a snapshot from the first target of the repository. `read` says whether its bytes may
/// come out of caches.
///
/// # Errors
/// When a path is not in the snapshot, something is in the way, the destination is full, or the
/// target stops answering. Single entries that are damaged are part of the outcome.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    request: &RestoreRequest,
    read: Read,
    cx: &Context,
) -> Result<RestoreOutcome, EngineError> {
    let target =
        repository.targets().first().ok_or(RepositoryError::Defect { what: "a repository at no place" })?;
    let loaded = load::load(repository, std::slice::from_ref(target))?;
    let blobs = BlobReader::new(repository, &loaded.index, vec![target], read);
    let selection = Selection::new(snapshot, &request.paths);
    let mut outcome = RestoreOutcome::new(snapshot, &target.name);
    if request.mode == Mode::Plan {
        selection.visit(&blobs, &mut |wanted| {
            count(&mut outcome, &wanted);
            Ok(())
        })?;
        return Ok(outcome);
    }
    let options = RestoreOptions { existing: request.existing, owner: request.owner };
    let destination = Destination::open(&request.to, options)?;
    let file_name = snapshot.body.roots.first().map(|root| last_name(&root.path)).unwrap_or_default();
    if request.existing == Existing::Refuse {
        refuse_obstacles(&selection, &blobs, &destination, request, &file_name)?;
    }
    let totals = selection.is_all().then(|| {
        let roots = &snapshot.body.roots;
        (roots.iter().map(|r| r.entries).sum(), roots.iter().map(|r| r.bytes).sum())
    });
    cx.progress.phase("restore", totals.map(|t| t.0), totals.map(|t| t.1));
    let failures = Mutex::new(Vec::new());
    let existing = request.existing;
    let writer = Writer { blobs: &blobs, destination: &destination, existing, cx, failures: &failures };
    let mut restoring = Restoring {
        writer,
        destination: &destination,
        request,
        file_name,
        cx,
        window: Window::default(),
        first_names: HashMap::new(),
        links: Vec::new(),
        in_folder: None,
        empty_folders: BTreeSet::new(),
        outcome: &mut outcome,
    };
    selection.visit(&blobs, &mut |wanted| restoring.take(wanted))?;
    restoring.finish()?;
    finish_folders(&selection, &blobs, &destination, &mut outcome)?;
    destination.sync()?;
    cx.progress.phase_finished("restore");
    outcome.bytes_fetched = blobs.bytes_read();
    for (path, error) in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
        fail(&mut outcome, &path, &error);
    }
    outcome.take_issues(&destination.issues());
    if request.mode == Mode::WriteAndCheck {
        check::check(&selection, &blobs, &destination, cx, &mut outcome)?;
    }
    Ok(outcome)
}

fn last_name(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path).to_vec()
}

/// Where an entry lands: a snapshot of a single file in the destination under its own name.
fn landing(wanted: &Wanted, file_name: &[u8]) -> Result<SafePath, EngineError> {
    let is_file = wanted.entry.meta.kind != FileKind::Directory;
    let path = if wanted.path.is_empty() && is_file { file_name } else { &wanted.path };
    Ok(SafePath::new(path)?)
}

/// Refuses as long as nothing is written, when something stands in the way that may not be
/// replaced: half a restore helps nobody.
fn refuse_obstacles(
    selection: &Selection<'_>,
    blobs: &BlobReader<'_>,
    destination: &Destination,
    request: &RestoreRequest,
    file_name: &[u8],
) -> Result<(), EngineError> {
    let is_empty = std::fs::read_dir(&request.to).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        return Ok(());
    }
    selection.visit(blobs, &mut |wanted| {
        let path = landing(&wanted, file_name)?;
        match destination.stat(&path)? {
            Some(found) if (found.kind, wanted.entry.meta.kind) != FOLDERS => {
                Err(FilesError::Occupied { path: display::path(path.as_bytes()), found: found.kind }.into())
            }
            _ => Ok(()),
        }
    })
}

/// A folder may stand where a folder comes.
const FOLDERS: (FileKind, FileKind) = (FileKind::Directory, FileKind::Directory);

/// An entry that could not be restored: named, and the worst class kept.
fn fail(outcome: &mut RestoreOutcome, path: &[u8], error: &EngineError) {
    outcome.failed.push(display::path(path), Chain(error).to_string());
    let class = error.class();
    if outcome.worst != Some(Class::Damage) {
        outcome.worst = Some(if class == Class::Damage { class } else { Class::Partial });
    }
}

fn count(outcome: &mut RestoreOutcome, wanted: &Wanted) {
    match wanted.entry.meta.kind {
        FileKind::File => {
            outcome.files += 1;
            outcome.bytes = outcome.bytes.saturating_add(wanted.entry.meta.size);
        }
        FileKind::Directory => outcome.folders += 1,
        FileKind::Socket => outcome.sockets_not_made += 1,
        _ => outcome.others += 1,
    }
    if wanted.entry.state == State::Unread {
        let reason = "could not be read when the snapshot was taken".to_owned();
        outcome.unread_at_backup.push(display::path(&wanted.path), reason);
    }
}

/// A name of an inode that was restored under another name before.
struct Further {
    path: SafePath,
    first: SafePath,
    meta: Metadata,
}

/// Whether nothing more can come of a restore after one entry's error.
pub(super) fn ends_all(error: &FilesError, existing: Existing) -> bool {
    match error.class() {
        Class::NoSpace => true,
        Class::Refused => existing == Existing::Refuse,
        _ => false,
    }
}

struct Restoring<'a, 'o> {
    writer: Writer<'a>,
    destination: &'a Destination,
    request: &'a RestoreRequest,
    /// The name under which a snapshot of a single file is restored.
    file_name: Vec<u8>,
    cx: &'a Context,
    window: Window,
    /// The first name of each inode with several.
    first_names: HashMap<u64, SafePath>,
    links: Vec<Further>,
    /// The folder whose entries come now and their names, when others are removed.
    in_folder: Option<(Vec<u8>, BTreeSet<Vec<u8>>)>,
    /// Folders of which no entry came by, when others are removed.
    empty_folders: BTreeSet<Vec<u8>>,
    outcome: &'o mut RestoreOutcome,
}

impl Restoring<'_, '_> {
    fn take(&mut self, wanted: Wanted) -> Result<(), EngineError> {
        if self.cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if !wanted.is_way {
            count(self.outcome, &wanted);
        }
        self.keep_name(&wanted)?;
        self.entry(landing(&wanted, &self.file_name)?, wanted.entry)
    }

    fn entry(&mut self, path: SafePath, entry: Entry) -> Result<(), EngineError> {
        let group = entry.meta.hard_link_group;
        if group != 0 {
            if let Some(first) = self.first_names.get(&group) {
                self.links.push(Further { path, first: first.clone(), meta: entry.meta });
                return Ok(());
            }
            self.first_names.insert(group, path.clone());
        }
        match entry.meta.kind {
            FileKind::Directory => {
                let made = self.destination.create_directory(&path).map(drop);
                self.settle(&path, made)
            }
            FileKind::Symlink => {
                let made = self.destination.create_symlink(&path, &entry.meta);
                self.settle(&path, made)
            }
            FileKind::File => self.file(path, entry),
            _ => {
                let made = self.destination.create_node(&path, &entry.meta);
                if matches!(made, Ok(Made::No)) {
                    // There is nothing to link its other names to: each is told by itself.
                    self.first_names.remove(&group);
                }
                self.settle(&path, made.map(drop))
            }
        }
    }

    /// A full disk ends the restore, and so does what is in the way when nothing may be replaced;
    /// the rest is one entry's fault, as is a folder that is not empty where others may be.
    fn settle(&mut self, path: &SafePath, result: Result<(), FilesError>) -> Result<(), EngineError> {
        match result {
            Ok(()) => {
                self.cx.progress.advance(1, 0);
                Ok(())
            }
            Err(error) if ends_all(&error, self.request.existing) => Err(error.into()),
            Err(error) => {
                fail(self.outcome, path.as_bytes(), &error.into());
                Ok(())
            }
        }
    }

    fn file(&mut self, path: SafePath, entry: Entry) -> Result<(), EngineError> {
        let has_holes = entry.extents.is_some();
        let mut file = File { path, meta: entry.meta, has_holes, pieces: 0, goes_on: false };
        match entry.content {
            Content::None => self.window.files.push(file),
            Content::Group { blob, offset, len } => {
                file.pieces = 1;
                file.meta.size = u64::from(len);
                let part = Part::OfGroup { offset, len };
                self.window.pieces.push(Piece { file: self.window.files.len(), blob, part });
                self.window.files.push(file);
            }
            content => return self.chunked(file, entry.extents.as_deref(), &content),
        }
        if self.window.is_full() { self.flush(None).map(drop) } else { Ok(()) }
    }

    /// A file of chunks; one with very many goes over several windows and stays open in between.
    fn chunked(
        &mut self,
        mut file: File,
        extents: Option<&[crate::base::metadata::Extent]>,
        content: &Content,
    ) -> Result<(), EngineError> {
        let mut layout = Layout::new(extents, file.meta.size);
        let mut parked: Option<ParkedFile> = None;
        let blobs = self.writer.blobs;
        let mut number = self.window.files.len();
        chunks(blobs, content.into(), &mut |chunk| {
            let Some(parts) = layout.place(chunk.len) else {
                let reason = "its chunks hold more than its length".to_owned();
                return Err(EngineError::Unrestorable { reason });
            };
            if self.window.pieces.len() + parts.len() > PIECES_MAX {
                file.goes_on = true;
                let carried = file.carried();
                self.window.files.push(std::mem::replace(&mut file, carried));
                parked = self.flush_from(number, parked.take())?;
                number = self.window.files.len();
            }
            for part in parts {
                file.pieces += 1;
                self.window.pieces.push(Piece { file: number, blob: chunk.id, part });
            }
            Ok(())
        })?;
        file.goes_on = false;
        self.window.files.push(file);
        self.window.chunked += 1;
        if parked.is_some() || self.window.is_full() { self.flush(parked).map(drop) } else { Ok(()) }
    }

    /// Writes the window; the file at `number` is the one that `parked` belongs to.
    fn flush_from(
        &mut self,
        number: usize,
        parked: Option<ParkedFile>,
    ) -> Result<Option<ParkedFile>, EngineError> {
        debug_assert!(parked.is_none() || number == 0, "a file that goes on begins its window");
        self.flush(parked)
    }

    fn flush(&mut self, parked: Option<ParkedFile>) -> Result<Option<ParkedFile>, EngineError> {
        let window = std::mem::take(&mut self.window);
        self.writer.write(window, parked)
    }

    /// With `--delete`: when the entries of a folder have all come by, the others there go.
    fn keep_name(&mut self, wanted: &Wanted) -> Result<(), EngineError> {
        if self.request.others == Others::Keep {
            return Ok(());
        }
        let (dir, name) = match wanted.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&wanted.path[..at], &wanted.path[at + 1..]),
            None => (&b""[..], &wanted.path[..]),
        };
        if self.in_folder.as_ref().is_none_or(|(current, _)| current != dir) {
            self.remove_others()?;
            self.in_folder = Some((dir.to_vec(), BTreeSet::new()));
        }
        self.empty_folders.remove(dir);
        if let Some((_, names)) = &mut self.in_folder {
            names.insert(name.to_vec());
        }
        if wanted.entry.meta.kind == FileKind::Directory {
            self.empty_folders.insert(wanted.path.clone());
        }
        Ok(())
    }

    fn remove_others(&mut self) -> Result<(), EngineError> {
        if let Some((dir, names)) = self.in_folder.take() {
            let dir = SafePath::new(&dir)?;
            self.outcome.removed += self.destination.remove_others(&dir, |name| names.contains(name))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), EngineError> {
        self.flush(None)?;
        self.remove_others()?;
        for folder in std::mem::take(&mut self.empty_folders) {
            self.outcome.removed += self.destination.remove_others(&SafePath::new(&folder)?, |_| false)?;
        }
        let links = std::mem::take(&mut self.links);
        for further in &links {
            let link = Link { path: &further.path, first: &further.first };
            let made = self.destination.create_link(link);
            self.settle(&further.path, made)?;
        }
        // Nothing can be linked to an immutable file: its flags wait for the last of its names.
        for further in &links {
            if further.meta.kind == FileKind::File && further.meta.flags & LOCKING_FLAGS != 0 {
                let locked = self.destination.lock_flags(&further.first, &further.meta);
                self.settle(&further.path, locked)?;
            }
        }
        Ok(())
    }
}

impl File {
    /// The same file for the next window.
    fn carried(&self) -> Self {
        Self {
            path: self.path.clone(),
            meta: self.meta.clone(),
            has_holes: self.has_holes,
            pieces: 0,
            goes_on: false,
        }
    }
}

/// Folders get their metadata when nothing more is made in them: those that can be entered
/// afterwards at once, the others from the deepest up.
fn finish_folders(
    selection: &Selection<'_>,
    blobs: &BlobReader<'_>,
    destination: &Destination,
    outcome: &mut RestoreOutcome,
) -> Result<(), EngineError> {
    let mut last: Vec<(SafePath, Metadata)> = Vec::new();
    selection.visit(blobs, &mut |wanted| {
        let meta = wanted.entry.meta;
        if meta.kind != FileKind::Directory {
            return Ok(());
        }
        let path = SafePath::new(&wanted.path)?;
        if meta.mode & 0o300 != 0o300 || meta.flags & LOCKING_FLAGS != 0 {
            last.push((path, meta));
            return Ok(());
        }
        if let Err(error) = destination.apply_directory(&path, &meta) {
            fail(outcome, path.as_bytes(), &error.into());
        }
        Ok(())
    })?;
    for (path, meta) in last.iter().rev() {
        if let Err(error) = destination.apply_directory(path, meta) {
            fail(outcome, path.as_bytes(), &error.into());
        }
    }
    Ok(())
}

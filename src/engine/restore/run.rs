//! The verb: folders and contents side by side, then further names, then what may only come last.

use super::check;
use super::entries::{Restoring, landing};
use super::existing::Comparison;
use super::fetch::Threads;
use super::folders::finish_folders;
use super::ours;
use super::outcome::RestoreOutcome;
use super::plan::Planner;
use super::record::{self, Beginning};
use super::request::{Mode, RestoreRequest};
use super::select::Selection;
use super::write::Writer;
use crate::base::display;
use crate::base::id::ObjectHash;
use crate::base::metadata::{FileKind, Metadata};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::roots::file_name;
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::load;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;
use crate::source::files::{Destination, Existing, FilesError, RestoreOptions, SafePath};
use crate::storage::contract::Read;

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
    ours::refuse(request)?;
    let selection = Selection::new(snapshot, &request.paths).with_shown_paths(&blobs)?;
    let mut outcome = RestoreOutcome::new(snapshot, &target.name);
    let file_name =
        snapshot.body.roots.first().map(|root| file_name(&root.path).to_vec()).unwrap_or_default();
    let way = Way { selection: &selection, blobs: &blobs, request, file_name: &file_name };
    if request.mode == Mode::Plan {
        // What would be refused is refused now; a folder that isn't there has nothing in the way.
        if std::fs::symlink_metadata(&request.to).is_ok() {
            let destination = open(request, snapshot)?;
            record::foresee(&destination, &selection, request, |beginning| {
                way.refuse(&destination, beginning)
            })?;
        }
        selection.visit(&blobs, &mut |wanted| {
            outcome.count(&wanted);
            Ok(())
        })?;
        return Ok(outcome);
    }
    let destination = open(request, snapshot)?;
    let (items, bytes) = totals(&selection, snapshot, &blobs, cx)?;
    let beginning =
        record::begin(&destination, &selection, request, |beginning| way.refuse(&destination, beginning))?;
    outcome.resumed = beginning.goes_on;
    cx.progress.phase("restore", items, bytes);
    let is_partial = snapshot.body.unread.count > 0;
    let restoring = Restoring::new(
        &destination,
        cx,
        (request.others, &selection),
        file_name.clone(),
        is_partial,
        &mut outcome,
    );
    let how = (request.existing, beginning);
    contents(&selection, Writer::new(&blobs, &destination, cx), restoring, how).inspect_err(|_| {
        // Where nothing was restored there is nothing to go on with.
        destination.unmark_if_alone();
    })?;
    cx.progress.phase_finished("restore");
    cx.progress.phase("make durable", None, None);
    let top = finish_folders(&selection, &blobs, &destination, &mut outcome)?;
    destination.sync()?;
    record::end(&destination, &selection, beginning, outcome.failed.count == 0)?;
    record::clear_given_up(&destination, (&selection, &blobs), request.existing, &mut outcome)?;
    finish(&destination, top.as_ref(), &mut outcome)?;
    cx.progress.phase_finished("make durable");
    outcome.bytes_fetched = blobs.bytes_read();
    outcome.read_by_parity = tell_of_parity(&blobs, cx);
    outcome.take_issues(&destination.issues());
    if request.mode == Mode::WriteAndCheck {
        check::check(&selection, &blobs, &destination, cx, &mut outcome)?;
    }
    Ok(outcome)
}

/// Says which packs are damaged, though nothing was lost by it this time.
pub(crate) fn tell_of_parity(blobs: &BlobReader<'_>, cx: &Context) -> Vec<ObjectHash> {
    let packs = blobs.read_by_parity();
    for pack in &packs {
        cx.progress.warn(format!(
            "pack {} is damaged; its parity gave what was needed of it: run `lifeboat repo repair`",
            pack.short()
        ));
    }
    packs
}

/// The folder to restore into, made where it isn't there.
fn open(request: &RestoreRequest, snapshot: &Snapshot) -> Result<Destination, EngineError> {
    let options = RestoreOptions { existing: request.existing, owner: request.owner };
    Ok(Destination::open(&request.to, options)?.of_snapshot(snapshot.id.as_bytes()))
}

/// What is to be restored, as far as it decides what may stand in its way.
struct Way<'a> {
    selection: &'a Selection<'a>,
    blobs: &'a BlobReader<'a>,
    request: &'a RestoreRequest,
    file_name: &'a [u8],
}

impl Way<'_> {
    /// Refuses what stands in the way and may not be replaced. Only looks.
    fn refuse(&self, destination: &Destination, beginning: Beginning) -> Result<(), EngineError> {
        let Self { selection, blobs, request, file_name } = *self;
        if beginning.goes_on {
            let comparison = Comparison { destination, blobs, existing: request.existing, beginning };
            return comparison.refuse_strangers(selection, file_name);
        }
        refuse_obstacles(selection, blobs, destination, request, file_name)
    }
}

/// All entries but the metadata of folders.
fn contents(
    selection: &Selection<'_>,
    writer: Writer<'_>,
    mut restoring: Restoring<'_, '_>,
    (existing, beginning): (Existing, Beginning),
) -> Result<(), EngineError> {
    let threads = Threads::new(writer);
    let planned = std::thread::scope(|scope| {
        let mut planner = Planner::new(&threads, threads.start(scope), existing, beginning);
        let planned = selection
            .visit(threads.writer.blobs, &mut |wanted| restoring.take(wanted, &mut planner))
            .and_then(|()| planner.flush());
        match planned {
            Ok(()) => threads.queue.close(),
            Err(_) => threads.queue.stop(),
        }
        restoring.reused(planner.reused);
        planned
    });
    threads.outcome(planned)?;
    restoring.fail_all(threads.writer.failures());
    restoring.finish()
}

/// All is there, durably, and the mark is gone: the destination itself gets its metadata.
fn finish(
    destination: &Destination,
    top: Option<&Metadata>,
    outcome: &mut RestoreOutcome,
) -> Result<(), EngineError> {
    if let Some(meta) = top
        && let Err(error) = destination.apply_directory(&SafePath::root(), meta)
    {
        outcome.fail(b"", &error.into());
    }
    Ok(destination.sync_top()?)
}

/// Items and bytes there will be, where that is known or somebody wants to know.
fn totals(
    selection: &Selection<'_>,
    snapshot: &Snapshot,
    blobs: &BlobReader<'_>,
    cx: &Context,
) -> Result<(Option<u64>, Option<u64>), EngineError> {
    if selection.is_all() {
        let roots = &snapshot.body.roots;
        return Ok((Some(roots.iter().map(|r| r.entries).sum()), Some(roots.iter().map(|r| r.bytes).sum())));
    }
    if !cx.progress.wants_totals() {
        return Ok((None, None));
    }
    let (mut items, mut bytes) = (0, 0u64);
    selection.visit(blobs, &mut |wanted| {
        items += 1;
        bytes = bytes.saturating_add(wanted.entry.meta.size);
        Ok(())
    })?;
    Ok((Some(items), Some(bytes)))
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
        if wanted.entry.is_missing() {
            return Ok(());
        }
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

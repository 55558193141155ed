//! Entry by entry: folders, links and nodes are made at once, files are planned, further names
//! wait until everything else is there.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use super::outcome::RestoreOutcome;
use super::plan::{Done, Planner};
use super::request::Others;
use super::select::{Selection, Wanted};
use crate::base::display;
use crate::base::error::{Class, Classified};
use crate::base::metadata::{FileKind, Metadata};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::manifest::{Entry, State};
use crate::source::files::{Destination, Existing, FilesError, Link, Made, SafePath};

/// Inode flags after which nothing can be made in a folder or linked to a file any more.
pub(super) const LOCKING_FLAGS: u32 = 0x30;

/// Whether nothing more can come of a restore after one entry's error.
pub(super) fn ends_all(error: &FilesError, destination: &Destination) -> bool {
    match error.class() {
        Class::NoSpace => true,
        Class::Refused => destination.existing() == Existing::Refuse,
        _ => false,
    }
}

/// A name of an inode that was restored under another name before.
struct Further {
    path: SafePath,
    first: SafePath,
    meta: Metadata,
}

/// A folder of which others than what is recorded are to be removed.
#[derive(Default)]
struct Folder {
    path: Vec<u8>,
    names: BTreeSet<Vec<u8>>,
    /// Whether anything in it was read: a folder that could not even be entered may be recorded as
    /// an empty one, or with what an older snapshot had.
    was_read: bool,
}

/// What is known on the way through the entries.
pub(super) struct Restoring<'a, 'o> {
    destination: &'a Destination,
    cx: &'a Context,
    others: Others,
    /// The name under which a snapshot of a single file is restored.
    file_name: Vec<u8>,
    /// The first name of each inode with several.
    first_names: HashMap<u64, SafePath>,
    links: Vec<Further>,
    /// The folder whose entries come now, when others are removed.
    in_folder: Option<Folder>,
    /// The folders that only lead to roots: each root brings a name of its own, and all of them
    /// have come by at the end alone.
    ways: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// Folders of which no entry came by, when others are removed.
    empty_folders: BTreeSet<Vec<u8>>,
    /// Folders to come that are recorded as not whole, when others are removed.
    unread_folders: BTreeSet<Vec<u8>>,
    /// Whether anything of the snapshot was unread.
    is_partial: bool,
    outcome: &'o mut RestoreOutcome,
}

/// Where an entry lands: a snapshot of a single file in the destination under its own name.
pub(super) fn landing(wanted: &Wanted, file_name: &[u8]) -> Result<SafePath, EngineError> {
    let is_file = wanted.entry.meta.kind != FileKind::Directory;
    let path = if wanted.path.is_empty() && is_file { file_name } else { &wanted.path };
    Ok(SafePath::new(path)?)
}

impl<'a, 'o> Restoring<'a, 'o> {
    /// Nothing has come by yet.
    pub(super) fn new(
        destination: &'a Destination,
        cx: &'a Context,
        (others, selection): (Others, &Selection<'_>),
        file_name: Vec<u8>,
        is_partial: bool,
        outcome: &'o mut RestoreOutcome,
    ) -> Self {
        let ways = if others == Others::Remove { selection.ways() } else { BTreeMap::new() };
        Self {
            destination,
            cx,
            others,
            file_name,
            first_names: HashMap::new(),
            links: Vec::new(),
            in_folder: None,
            ways,
            empty_folders: BTreeSet::new(),
            unread_folders: BTreeSet::new(),
            is_partial,
            outcome,
        }
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, wanted: Wanted, planner: &mut Planner<'_, '_>) -> Result<(), EngineError> {
        if self.cx.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if !wanted.is_way {
            self.outcome.count(&wanted);
        }
        let path = landing(&wanted, &self.file_name)?;
        self.keep_name(&wanted, &path)?;
        if wanted.entry.is_missing() {
            // Nothing is known of its bytes: what stands there may be all that is left of them.
            self.cx.progress.advance(1, wanted.entry.meta.size);
            return Ok(());
        }
        self.entry(path, wanted.entry, planner)
    }

    fn entry(
        &mut self,
        path: SafePath,
        entry: Entry,
        planner: &mut Planner<'_, '_>,
    ) -> Result<(), EngineError> {
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
            FileKind::File => {
                let data = data_bytes(&entry);
                match planner.file(path, entry)? {
                    Done::Made => {}
                    Done::Replaced => self.outcome.replaced += 1,
                    Done::Kept => {
                        self.outcome.kept += 1;
                        self.reused(data);
                    }
                }
                Ok(())
            }
            _ if planner.keeps_node(&path, &entry)? => {
                self.cx.progress.advance(1, 0);
                Ok(())
            }
            FileKind::Symlink => {
                let made = self.destination.create_symlink(&path, &entry.meta);
                self.settle(&path, made)
            }
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
            Ok(()) => {}
            Err(error) if ends_all(&error, self.destination) => return Err(error.into()),
            Err(error) => self.outcome.fail(path.as_bytes(), &error.into()),
        }
        self.cx.progress.advance(1, 0);
        Ok(())
    }

    /// With `--delete`: when the entries of a folder have all come by, the others there go. Files
    /// of it may still be in the making, under names of their own.
    fn keep_name(&mut self, wanted: &Wanted, path: &SafePath) -> Result<(), EngineError> {
        if self.others == Others::Keep {
            return Ok(());
        }
        let is_unread = wanted.entry.state == State::Unread;
        if wanted.entry.meta.kind == FileKind::Directory {
            if !wanted.is_way {
                self.empty_folders.insert(wanted.path.clone());
            }
            if is_unread {
                self.unread_folders.insert(wanted.path.clone());
            }
        }
        // The destination itself lies in no folder of it.
        let place = path.as_bytes();
        let (dir, name) = match place.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&place[..at], &place[at + 1..]),
            None if place.is_empty() => return Ok(()),
            None => (&b""[..], place),
        };
        self.empty_folders.remove(dir);
        let is_file = wanted.entry.meta.kind == FileKind::File;
        let unfinished = is_file.then(|| self.destination.unfinished_name(path).into_bytes());
        let names = [name.to_vec()].into_iter().chain(unfinished);
        if let Some(way) = self.ways.get_mut(dir) {
            way.extend(names);
            return Ok(());
        }
        if self.in_folder.as_ref().is_none_or(|folder| folder.path != dir) {
            self.remove_others()?;
            self.in_folder = Some(Folder { path: dir.to_vec(), ..Folder::default() });
        }
        if let Some(folder) = &mut self.in_folder {
            folder.names.extend(names);
            folder.was_read |= !is_unread;
        }
        Ok(())
    }

    fn remove_others(&mut self) -> Result<(), EngineError> {
        self.in_folder.take().map_or(Ok(()), |folder| self.remove_others_of(&folder))
    }

    /// Only of a folder that is whole: what the snapshot does not have of another one may be what
    /// could not be read, and live data.
    fn remove_others_of(&mut self, folder: &Folder) -> Result<(), EngineError> {
        let dir = SafePath::new(&folder.path)?;
        let found = self.destination.stat(&dir);
        if !found.is_ok_and(|found| found.is_some_and(|stat| stat.kind == FileKind::Directory)) {
            // One that could not be restored has been named.
            return Ok(());
        }
        let is_known = self.unread_folders.remove(&folder.path);
        if is_known || (self.is_partial && !folder.was_read) {
            let others = Cell::new(0);
            self.destination.remove_others(&dir, |name| {
                others.set(others.get() + u64::from(!folder.names.contains(name)));
                true
            })?;
            if !is_known && others.get() > 0 {
                self.outcome.left_alone(&folder.path, others.get());
            }
            return Ok(());
        }
        self.outcome.removed += self.destination.remove_others(&dir, |name| folder.names.contains(name))?;
        Ok(())
    }

    /// Bytes that were here already of files that were not.
    pub(super) fn reused(&mut self, bytes: u64) {
        self.outcome.bytes_reused = self.outcome.bytes_reused.saturating_add(bytes);
    }

    /// Files that could not be restored.
    pub(super) fn fail_all(&mut self, failures: Vec<(Vec<u8>, EngineError)>) {
        for (path, error) in failures {
            self.outcome.fail(&path, &error);
        }
    }

    /// After the contents of all files: what is left to remove, and further names.
    pub(super) fn finish(mut self) -> Result<(), EngineError> {
        self.remove_others()?;
        for (path, names) in std::mem::take(&mut self.ways) {
            self.empty_folders.remove(&path);
            self.remove_others_of(&Folder { path, names, was_read: true })?;
        }
        for path in std::mem::take(&mut self.empty_folders) {
            self.remove_others_of(&Folder { path, ..Folder::default() })?;
        }
        let links = std::mem::take(&mut self.links);
        for further in &links {
            let link = Link { path: &further.path, first: &further.first };
            let made = if self.outcome.lost.contains(further.first.as_bytes()) {
                // What stands at the first name is not its file.
                let source = io::Error::other("that could not be restored");
                let path = display::path(further.first.as_bytes());
                Err(FilesError::Write { action: "link to", path, source })
            } else {
                self.destination.create_link(link)
            };
            self.settle(&further.path, made)?;
            self.cx.progress.advance(0, further.meta.size);
        }
        // Nothing can be linked to an immutable file: its flags wait for the last of its names.
        let is_there = |lost: &BTreeSet<Vec<u8>>, first: &SafePath| !lost.contains(first.as_bytes());
        for further in &links {
            if is_there(&self.outcome.lost, &further.first)
                && further.meta.kind == FileKind::File
                && further.meta.flags & LOCKING_FLAGS != 0
            {
                let locked = self.destination.lock_flags(&further.first, &further.meta);
                if let Err(error) = locked {
                    self.outcome.fail(further.path.as_bytes(), &error.into());
                }
            }
        }
        Ok(())
    }
}

/// Bytes of a file that are no hole.
fn data_bytes(entry: &Entry) -> u64 {
    match &entry.extents {
        None => entry.meta.size,
        Some(extents) => extents.iter().fold(0, |sum: u64, extent| sum.saturating_add(extent.len)),
    }
}

//! What cannot be looked at today stays as the snapshot before had it, marked as unread: a folder
//! that lost its rights, or lies on a bad spot of a disk, must not empty the newest snapshot.
//!
//! Of a folder whose listing broke off in the middle only what was listed is taken: what else it
//! held can't be told from what was deleted.

use super::collect::Planned;
use super::planner::{BATCH_ENTRIES, Past, Planner};
use crate::engine::error::EngineError;
use crate::repository::manifest::{BlobRef, Content, Entry, EntryView, Key, State, Visit, visit_list};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::source::files::{Scope, Unreadable};

impl Planner<'_> {
    /// Marks the entry of the folder that is not whole. One that can't be entered was marked when
    /// its turn came; what the disk says only while it is listed comes after the entry, which can
    /// be marked as long as it has not been handed on.
    pub(super) fn mark_folder(&mut self, unreadable: &Unreadable, pasts: &mut [Past<'_, '_>]) {
        let path = match unreadable.scope {
            Scope::Entry => unreadable.dir.path(),
            Scope::Contents | Scope::Rest => unreadable.dir.path_of(&unreadable.name),
        };
        if self.marked.as_ref() == Some(&path) {
            return;
        }
        for planned in self.batch.entries.iter_mut().rev() {
            match planned {
                Planned::Ready(entry) if entry.path() == path => {
                    entry.state = State::Unread;
                    break;
                }
                Planned::Kept { leaf, row } if is_at(&leaf.row(*row), &path) => {
                    let ctime = leaf.row(*row).ctime();
                    let mut readers = pasts.iter_mut().filter_map(|past| past.reader.as_mut());
                    let found = readers.find_map(|reader| {
                        let entry = reader.lookup(&path).ok().flatten();
                        entry.filter(|entry| entry.meta.ctime == ctime)
                    });
                    if let Some(mut entry) = found {
                        entry.state = State::Unread;
                        *planned = Planned::Ready(Box::new(entry));
                    }
                    break;
                }
                _ => {}
            }
        }
        self.marked = Some(path);
    }

    /// Takes over what an earlier tree has of something that can't be looked at: all below a
    /// folder, or one entry. The most trusted tree that has any of it counts.
    pub(super) fn keep_unread(
        &mut self,
        unreadable: &Unreadable,
        pasts: &mut [Past<'_, '_>],
        blobs: &BlobReader<'_>,
    ) -> Result<(), EngineError> {
        let path = unreadable.dir.path_of(&unreadable.name);
        for past in pasts {
            let Some(reader) = past.reader.as_mut() else { continue };
            let kept = match unreadable.scope {
                Scope::Rest => return Ok(()),
                Scope::Entry => match reader.lookup(&path) {
                    Ok(Some(entry)) => self.keep(entry, blobs).map(|()| 1),
                    Ok(None) => Ok(0),
                    Err(error) => Err(error.into()),
                },
                Scope::Contents => match reader.subtree(&path) {
                    Ok(below) => {
                        let entries = below.filter(|entry| entry.as_ref().map_or(true, |e| e.path() != path));
                        self.keep_all(entries.map(|entry| entry.map_err(Into::into)), blobs)
                    }
                    Err(error) => Err(error.into()),
                },
            };
            match kept {
                Ok(0) => {}
                Ok(_) => return Ok(()),
                // An earlier tree that can't be read has nothing to give; the run goes on.
                Err(EngineError::Repository(error)) => {
                    self.warn(format!("what an earlier snapshot has of it cannot be read: {error}"));
                    past.reader = None;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn keep_all(
        &mut self,
        entries: impl Iterator<Item = Result<Entry, EngineError>>,
        blobs: &BlobReader<'_>,
    ) -> Result<u64, EngineError> {
        let mut kept = 0;
        for entry in entries {
            self.keep(entry?, blobs)?;
            kept += 1;
        }
        Ok(kept)
    }

    fn keep(&mut self, mut entry: Entry, blobs: &BlobReader<'_>) -> Result<(), EngineError> {
        entry.state = State::Unread;
        if !self.still_has(&entry.content, blobs)? {
            // Its bytes are lost in the repository: its name and metadata are what is left.
            entry.content = Content::None;
            entry.extents = None;
            entry.hash16 = [0; 16];
        }
        self.batch.entries.push(Planned::Ready(Box::new(entry)));
        if self.batch.entries.len() >= BATCH_ENTRIES {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether every blob of a content is in the index; notes their packs.
    fn still_has(&mut self, content: &Content, blobs: &BlobReader<'_>) -> Result<bool, EngineError> {
        let mut whole = true;
        match content {
            Content::None => {}
            Content::Group { blob, .. } => whole = self.cover(blob),
            Content::Chunks(chunks) => chunks.iter().for_each(|chunk| whole &= self.cover(&chunk.id)),
            Content::ChunkList { id, chunks } => visit_list(id, *chunks, &Nodes(blobs), &mut |blob| {
                let (BlobRef::Manifest(_, id) | BlobRef::Chunk(id) | BlobRef::Group(id)) = blob;
                whole &= self.cover(&id);
                Visit::Enter
            })?,
        }
        Ok(whole)
    }
}

/// Whether an entry has this path.
fn is_at(view: &EntryView<'_>, path: &[u8]) -> bool {
    path.ends_with(view.name()) && Key { dir: &view.dir(), name: view.name() }.path() == path
}

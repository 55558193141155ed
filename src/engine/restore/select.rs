//! The entries of a snapshot that are wanted, in the order of the manifest, with the folders above.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::display;
use crate::base::metadata::FileKind;
use crate::engine::error::EngineError;
use crate::engine::ls::{below, full_path, trimmed};
use crate::engine::roots::{file_name, prefix};
use crate::repository::manifest::ChunkRef;
use crate::repository::manifest::{ContentView, Entry, ManifestError, ManifestReader};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

/// An entry and where it goes below the destination.
pub(super) struct Wanted {
    /// Below the destination; empty for the destination itself.
    pub(super) path: Vec<u8>,
    /// The entry.
    pub(super) entry: Entry,
    /// Whether it is only the way to something that was asked for.
    pub(super) is_way: bool,
}

/// What was asked for of one snapshot.
pub(super) struct Selection<'s> {
    snapshot: &'s Snapshot,
    paths: Vec<Vec<u8>>,
}

impl<'s> Selection<'s> {
    /// All of it, or these paths; a path below another one asked for adds nothing.
    pub(super) fn new(snapshot: &'s Snapshot, paths: &[Vec<u8>]) -> Self {
        let mut wanted: Vec<Vec<u8>> = paths.iter().map(|path| trimmed(path).to_vec()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.iter().any(Vec::is_empty) {
            wanted.clear();
        }
        let is_below = |path: &[u8], other: &[u8]| {
            path.strip_prefix(other).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        let all = wanted.clone();
        wanted.retain(|path| !all.iter().any(|other| is_below(path, other)));
        Self { snapshot, paths: wanted }
    }

    /// With paths that the snapshot has: those written as `ls` shows them are what it shows so.
    ///
    /// # Errors
    /// Whatever the repository says.
    pub(super) fn with_shown_paths(mut self, blobs: &BlobReader<'_>) -> Result<Self, EngineError> {
        let mut changed = false;
        for at in 0..self.paths.len() {
            let Some(bytes) = display::bytes_of(&self.paths[at]) else { continue };
            if !self.has(blobs, &self.paths[at])? && self.has(blobs, &bytes)? {
                self.paths[at] = bytes;
                changed = true;
            }
        }
        // Two may be one now, or one below another.
        Ok(if changed { Self::new(self.snapshot, &self.paths) } else { self })
    }

    fn has(&self, blobs: &BlobReader<'_>, path: &[u8]) -> Result<bool, EngineError> {
        for (number, root) in self.snapshot.body.roots.iter().enumerate() {
            let prefix = prefix(self.snapshot, number, Nodes(blobs))?;
            let has = match below(&prefix, path) {
                Some(rest) => ManifestReader::open(&root.node, Nodes(blobs))?.lookup(rest)?.is_some(),
                None => below(path, &prefix).is_some(),
            };
            if has {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether everything is wanted.
    pub(super) fn is_all(&self) -> bool {
        self.paths.is_empty()
    }

    /// What was asked for, however it was spelled: sorted, none for everything.
    pub(super) fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// Of which snapshot.
    pub(super) fn snapshot_id(&self) -> &[u8; 32] {
        self.snapshot.id.as_bytes()
    }

    /// Where an entry lands: a snapshot of a single file in the destination under its own name.
    pub(super) fn landing_of<'w>(&'w self, wanted: &'w Wanted) -> &'w [u8] {
        let is_lone = wanted.path.is_empty() && wanted.entry.meta.kind != FileKind::Directory;
        let root = self.snapshot.body.roots.first().filter(|_| is_lone);
        root.map_or(&wanted.path, |root| file_name(&root.path))
    }

    /// The folders above the roots, the destination included, each with the names that lead on:
    /// unlike those of any other folder, their entries do not come by one after another. A root
    /// that is a folder, alone, has none.
    pub(super) fn ways(&self) -> BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> {
        let mut ways: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        if self.snapshot.body.roots.len() < 2 {
            return ways;
        }
        for root in &self.snapshot.body.roots {
            let start = root.path.iter().position(|byte| *byte != b'/').unwrap_or(root.path.len());
            let mut rest = root.path[start..].to_vec();
            while !rest.is_empty() {
                let end = rest.iter().rposition(|byte| *byte == b'/');
                let name = rest.split_off(end.map_or(0, |slash| slash + 1));
                rest.pop();
                ways.entry(rest.clone()).or_default().insert(name);
            }
        }
        ways
    }

    /// Visits every wanted entry once.
    pub(super) fn visit(
        &self,
        blobs: &BlobReader<'_>,
        visit: &mut dyn FnMut(Wanted) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut found = vec![false; self.paths.len()];
        for (number, root) in self.snapshot.body.roots.iter().enumerate() {
            let prefix = prefix(self.snapshot, number, Nodes(blobs))?;
            let mut reader = ManifestReader::open(&root.node, Nodes(blobs))?;
            if self.is_all() {
                visit_below(&mut reader, &prefix, b"", visit)?;
                continue;
            }
            for (path, found) in self.paths.iter().zip(&mut found) {
                // A path that names the way to a root asks for all of the root.
                let rest = below(&prefix, path).or_else(|| below(path, &prefix).map(|_| &b""[..]));
                let Some(rest) = rest else { continue };
                if reader.lookup(rest)?.is_none() {
                    continue;
                }
                *found = true;
                visit_way(&mut reader, &prefix, rest, visit)?;
                visit_below(&mut reader, &prefix, rest, visit)?;
            }
        }
        match found.iter().position(|found| !found) {
            None => Ok(()),
            Some(missing) => Err(EngineError::NoPath {
                path: display::asked(&self.paths[missing]),
                snapshot: self.snapshot.id.short(),
            }),
        }
    }
}

/// The folders above a path, from the root down, so that they get their metadata, too.
fn visit_way(
    reader: &mut ManifestReader<Nodes<'_, '_>>,
    prefix: &[u8],
    path: &[u8],
    visit: &mut dyn FnMut(Wanted) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in slashes {
        if let Some(entry) = reader.lookup(&path[..end])? {
            visit(Wanted { path: full_path(prefix, &path[..end]), entry, is_way: true })?;
        }
    }
    Ok(())
}

fn visit_below(
    reader: &mut ManifestReader<Nodes<'_, '_>>,
    prefix: &[u8],
    path: &[u8],
    visit: &mut dyn FnMut(Wanted) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    for entry in reader.subtree(path)? {
        let entry = entry?;
        visit(Wanted { path: full_path(prefix, &entry.path()), entry, is_way: false })?;
    }
    Ok(())
}

/// The chunks of a content, lists read as they come.
pub(super) fn chunks(
    blobs: &BlobReader<'_>,
    content: ContentView<'_>,
    visit: &mut dyn FnMut(ChunkRef) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let nodes = Nodes(blobs);
    for chunk in crate::repository::manifest::ChunkIter::new(content, &nodes) {
        visit(chunk.map_err(|error: ManifestError| EngineError::from(error))?)?;
    }
    Ok(())
}

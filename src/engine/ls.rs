//! What is in a snapshot, as `--path` of a restore names it.
//!
//! With one root, paths are relative to it; with several, each root's absolute path without its
//! leading slash comes first, which is also how they are restored.

use std::ops::ControlFlow;

use super::context::Context;
use super::error::EngineError;
use super::manifest_source::Nodes;
use crate::base::display;
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::load;
use crate::repository::manifest::{Entry, ManifestReader};
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::Read;

/// What stands before the paths of a root: nothing when it is the only one.
pub fn prefix(snapshot: &Snapshot, root: &[u8]) -> Vec<u8> {
    if snapshot.body.roots.len() == 1 {
        return Vec::new();
    }
    let start = root.iter().position(|byte| *byte != b'/').unwrap_or(root.len());
    root[start..].to_vec()
}

/// A path under a prefix.
pub fn full_path(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_vec(),
        (_, true) => prefix.to_vec(),
        _ => [prefix, b"/", path].concat(),
    }
}

/// The part of a wanted path that lies below a root; `None` when it lies elsewhere.
pub fn below<'a>(prefix: &[u8], wanted: &'a [u8]) -> Option<&'a [u8]> {
    if prefix.is_empty() {
        return Some(wanted);
    }
    let rest = wanted.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// A path as a person may write it, without slashes at its ends.
pub fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(start, |last| last + 1);
    let path = &path[start..end.max(start)];
    if path == b"." { b"" } else { path.strip_prefix(b"./").unwrap_or(path) }
}

/// Visits every entry of a snapshot below its roots in order, with its path as `ls` prints it,
/// until the visitor breaks off.
///
/// # Errors
/// Whatever the repository says.
pub fn entries(
    blobs: &BlobReader<'_>,
    snapshot: &Snapshot,
    visit: &mut dyn FnMut(&[u8], &Entry) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    for root in &snapshot.body.roots {
        let prefix = prefix(snapshot, &root.path);
        for entry in ManifestReader::open(&root.node, Nodes(blobs))? {
            let entry = entry?;
            let path = full_path(&prefix, &entry.path());
            if !path.is_empty() && visit(&path, &entry).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Visits the entries of a snapshot in order, those below `wanted` when it is given, with the
/// reader that knows more of them.
///
/// # Errors
/// `NoPath` when there is nothing of that name; whatever the repository says.
pub fn list(
    repository: &Repository,
    wanted_snapshot: &str,
    wanted: Option<&[u8]>,
    cx: &Context,
    visit: &mut dyn FnMut(&[u8], &Entry, &BlobReader<'_>),
) -> Result<(), EngineError> {
    let target =
        repository.targets().first().ok_or(RepositoryError::Defect { what: "a repository at no place" })?;
    let snapshot = snapshots::find(repository, target, wanted_snapshot)?;
    let loaded = load::load(repository, std::slice::from_ref(target))?;
    let blobs = BlobReader::new(repository, &loaded.index, vec![target], Read::Quick);
    let wanted = wanted.map(trimmed).filter(|path| !path.is_empty());
    let mut found = wanted.is_none();
    for root in &snapshot.body.roots {
        let prefix = prefix(&snapshot, &root.path);
        let mut reader = ManifestReader::open(&root.node, Nodes(&blobs))?;
        let wanted = match wanted {
            None => b"",
            Some(wanted) => match below(&prefix, wanted) {
                Some(rest) => rest,
                None => continue,
            },
        };
        for entry in reader.subtree(wanted)? {
            if cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let entry = entry?;
            found = true;
            let path = full_path(&prefix, &entry.path());
            if !path.is_empty() {
                visit(&path, &entry, &blobs);
            }
        }
    }
    if found {
        Ok(())
    } else {
        let path = display::path(wanted.unwrap_or_default());
        Err(EngineError::NoPath { path, snapshot: snapshot.id.short() })
    }
}

//! Where the roots of a snapshot stand among its paths: the one rule for `ls`, `find`, `diff`,
//! `dump`, `restore --path`, drills and mounts.
//!
//! The paths of an only root that is a folder are relative to it; an only root that is a file has
//! its own name. Of several, each has its absolute path without the leading slash before its
//! paths. A root inside another one is listed with its own tree: the outer tree has nothing but an
//! empty folder, or nothing, in its place.

use super::error::EngineError;
use crate::base::metadata::FileKind;
use crate::repository::manifest::{BlobSource, Key, NodeShelf, TreeCursor};
use crate::repository::snapshots::Snapshot;

/// The name of a root that is a file; `file` when its path has none that a folder could hold.
pub(super) fn file_name(root: &[u8]) -> &[u8] {
    let name = root.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.is_empty() || (Key { dir: b"", name }).check().is_err() { b"file" } else { name }
}

/// What stands before the paths of one of several roots.
pub(super) fn among_several(root: &[u8]) -> Vec<u8> {
    let start = root.iter().position(|byte| *byte != b'/').unwrap_or(root.len());
    root[start..].to_vec()
}

/// What stands before the paths of a root of a snapshot, by its number. Reads a leaf when the only
/// root has one entry and no bytes: that may be an empty file or an empty folder.
///
/// # Errors
/// Whatever the repository says.
pub(super) fn prefix<S: BlobSource>(
    snapshot: &Snapshot,
    number: usize,
    source: S,
) -> Result<Vec<u8>, EngineError> {
    let [root] = snapshot.body.roots.as_slice() else {
        return Ok(among_several(&snapshot.body.roots[number].path));
    };
    // Only files have bytes, and only folders more than themselves.
    if root.entries != 1 {
        return Ok(Vec::new());
    }
    if root.bytes == 0 {
        let mut cursor = TreeCursor::open(&root.node, source, NodeShelf::new())?;
        let Some(leaf) = cursor.take_leaf()? else { return Ok(Vec::new()) };
        if leaf.load(cursor.source())?.row(0).kind() == FileKind::Directory {
            return Ok(Vec::new());
        }
    }
    Ok(file_name(&root.path).to_vec())
}

/// The places in the tree of a root where other roots of the snapshot stand.
pub(super) fn inner(snapshot: &Snapshot, number: usize) -> Vec<Vec<u8>> {
    let roots = &snapshot.body.roots;
    let outer = among_several(&roots[number].path);
    let all = roots.iter().enumerate().filter(|(other, _)| *other != number);
    let places = all.filter_map(|(_, root)| {
        let path = among_several(&root.path);
        let rest =
            if outer.is_empty() { &path[..] } else { path.strip_prefix(&*outer)?.strip_prefix(b"/")? };
        (!rest.is_empty()).then(|| rest.to_vec())
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_last_name_of_its_path() {
        assert_eq!(file_name(b"/srv/shop.sql"), b"shop.sql");
        assert_eq!(file_name(b"shop.sql"), b"shop.sql");
        for none in [&b"/"[..], b"", b"/a/..", b"/a/"] {
            assert_eq!(file_name(none), b"file");
        }
    }
}

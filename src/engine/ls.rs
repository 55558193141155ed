//! What is in a snapshot, as `--path` of a restore names it.
//!
//! `roots` says where each root stands, which is also how they are restored.

use std::ops::ControlFlow;

use super::ahead::in_order;
use super::context::Context;
use super::error::EngineError;
use super::roots::{inner, prefix};
use crate::base::display;
use crate::repository::manifest::{
    BlobSource, Entry, EntryView, Key, Leaf, LeafRef, ManifestReader, NodeShelf, TreeCursor,
};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

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

/// Tries a path as it was written and, when there is nothing of that name, as what `ls` shows in
/// this way.
///
/// # Errors
/// Those of the attempts.
pub(super) fn as_written_or_shown<T>(
    wanted: &[u8],
    attempt: &mut dyn FnMut(&[u8]) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    match (attempt(wanted), display::bytes_of(wanted)) {
        (Err(EngineError::NoPath { .. }), Some(bytes)) => attempt(&bytes),
        (outcome, _) => outcome,
    }
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
    for (number, root) in snapshot.body.roots.iter().enumerate() {
        let (prefix, inner) = (prefix(snapshot, number, Nodes(blobs))?, inner(snapshot, number));
        for entry in ManifestReader::open(&root.node, Nodes(blobs))? {
            let entry = entry?;
            let place = entry.path();
            if inner.contains(&place) {
                continue;
            }
            let path = full_path(&prefix, &place);
            if !path.is_empty() && visit(&path, &entry).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// One line of a listing, written by several threads at once: the path as `--path` takes it and
/// the entry.
pub type Format<'f> = dyn Fn(&[u8], &EntryView<'_>, &mut Vec<u8>) + Sync + 'f;

/// What is listed.
pub struct Listing<'a> {
    /// Where the blobs come from.
    pub blobs: &'a BlobReader<'a>,
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Only what has this path, and what is below it.
    pub wanted: Option<&'a [u8]>,
}

/// Gives the entries of a snapshot in order to `sink`, many lines at a time, until it breaks off.
/// Memory: a few leaves and their lines for each thread.
///
/// # Errors
/// `NoPath` when there is nothing of the name that is wanted; whatever the repository says.
pub fn list(
    listing: &Listing<'_>,
    cx: &Context,
    format: &Format<'_>,
    sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let wanted = listing.wanted.map(trimmed).unwrap_or_default();
    as_written_or_shown(wanted, &mut |wanted| list_at(listing, wanted, cx, format, sink))
}

fn list_at(
    listing: &Listing<'_>,
    wanted: &[u8],
    cx: &Context,
    format: &Format<'_>,
    sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let snapshot = listing.snapshot;
    let mut found = wanted.is_empty();
    for (number, root) in snapshot.body.roots.iter().enumerate() {
        let (prefix, inner) = (prefix(snapshot, number, Nodes(listing.blobs))?, inner(snapshot, number));
        let Some(dir) = below(&prefix, wanted).or_else(|| below(wanted, &prefix).map(|_| &b""[..])) else {
            continue;
        };
        if inner.iter().any(|place| is_inside(dir, place)) {
            continue;
        }
        let mut cursor = TreeCursor::open(&root.node, Nodes(listing.blobs), NodeShelf::new())?;
        let lines = Lines { prefix: &prefix, inner: &inner, dir, format };
        if !dir.is_empty() {
            let Some((leaf, row)) = row_of(&mut cursor, Key::of_path(dir))? else { continue };
            let mut out = Vec::new();
            lines.one(&leaf, row, &leaf.row(row).dir(), &mut out);
            if sink(&out).is_break() {
                return Ok(());
            }
        }
        found = true;
        let mut ended = false;
        in_order(
            cx.workers,
            leaves_below(&mut cursor, dir)?,
            |leaf: LeafRef| leaf.load(&Nodes(listing.blobs)).map(|leaf| lines.of(&leaf)),
            |out| {
                if cx.cancel.is_cancelled() {
                    return Err(EngineError::Cancelled);
                }
                let flow = sink(&out?);
                ended = flow.is_break();
                Ok(flow)
            },
        )?;
        if ended {
            return Ok(());
        }
    }
    if found {
        Ok(())
    } else {
        Err(EngineError::NoPath { path: display::asked(wanted), snapshot: snapshot.id.short() })
    }
}

/// Whether a directory of a tree is one, or lies below it.
pub(super) fn is_inside(dir: &[u8], outer: &[u8]) -> bool {
    outer.is_empty() || dir.strip_prefix(outer).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// The leaf and the row of one entry; `None` when there is no such entry.
pub(super) fn row_of<S: BlobSource>(
    cursor: &mut TreeCursor<S>,
    key: Key<'_>,
) -> Result<Option<(Leaf, usize)>, EngineError> {
    if key.check().is_err() {
        return Ok(None);
    }
    cursor.seek(key)?;
    let Some(leaf) = cursor.take_leaf()? else { return Ok(None) };
    let leaf = leaf.load(cursor.source())?;
    Ok(leaf.find(key).ok().map(|row| (leaf, row)))
}

/// The leaves with entries of a directory of the tree and of those below it.
pub(super) fn leaves_below<'c, S: BlobSource>(
    cursor: &'c mut TreeCursor<S>,
    dir: &'c [u8],
) -> Result<impl Iterator<Item = Result<LeafRef, EngineError>> + use<'c, S>, EngineError> {
    let begin = Key { dir, name: b"" };
    cursor.seek(begin)?;
    Ok(std::iter::from_fn(move || {
        let part = cursor.part()?;
        if part.key > begin && !is_inside(part.key.dir, dir) {
            return None;
        }
        cursor.take_leaf().map_err(EngineError::from).transpose()
    }))
}

/// Writes the lines of one root.
struct Lines<'a> {
    prefix: &'a [u8],
    /// Where other roots stand, which are listed themselves.
    inner: &'a [Vec<u8>],
    /// Only entries in this directory of the tree and below it.
    dir: &'a [u8],
    format: &'a Format<'a>,
}

impl Lines<'_> {
    fn of(&self, leaf: &Leaf) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * leaf.len());
        let mut dir = Vec::new();
        for row in 0..leaf.len() {
            leaf.enter(row, &mut dir);
            if is_inside(&dir, self.dir) {
                self.one(leaf, row, &dir, &mut out);
            }
        }
        out
    }

    fn one(&self, leaf: &Leaf, row: usize, dir: &[u8], out: &mut Vec<u8>) {
        let view = leaf.row(row);
        let mut path = Vec::with_capacity(self.prefix.len() + dir.len() + view.name().len() + 2);
        for part in [self.prefix, dir, view.name()] {
            if !path.is_empty() && !part.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        let is_inner = || self.inner.contains(&Key { dir, name: view.name() }.path());
        // The only root of a snapshot has no path: it is where it is restored to.
        if !path.is_empty() && (self.inner.is_empty() || !is_inner()) {
            (self.format)(&path, &view, out);
        }
    }
}

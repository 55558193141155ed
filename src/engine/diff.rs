//! Diff: what differs between two snapshots of one repository.
//!
//! Both trees are walked side by side; what they have in common (equal ids) is passed unread, so
//! that the work is that of what differs. A folder whose times alone changed is not told of:
//! that follows from what changed in it. Neither is an inode or a change time (ctime) by itself.
//! A file that was renamed is one removed and one added.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;

use super::context::Context;
use super::error::EngineError;
use super::ls::{as_written_or_shown, below, full_path, is_inside, row_of, trimmed};
use super::roots::{among_several, inner, prefix};
use crate::base::display;
use crate::base::id::BlobId;
use crate::base::metadata::FileKind;
use crate::repository::manifest::{BlobSource, EntryView, Key, Leaf, NodeShelf, TreeCursor};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

/// In which way an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the new snapshot has it.
    Added,
    /// Only the old snapshot has it.
    Removed,
    /// It is of another type.
    Type,
    /// Its bytes, its target or its device.
    Content,
    /// Something else that would be restored.
    Metadata,
}

/// One entry that differs.
pub struct Difference<'a> {
    /// As `ls` prints it.
    pub path: &'a [u8],
    /// In which way.
    pub change: Change,
    /// What changed besides: `mode`, `owner`, `mtime`, `xattrs`, `flags`.
    pub aspects: Vec<&'static str>,
    /// In the old snapshot.
    pub old: Option<EntryView<'a>>,
    /// In the new one.
    pub new: Option<EntryView<'a>>,
}

/// How many entries differ, and of how many bytes their files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Only in the new snapshot.
    pub added: Counted,
    /// Only in the old snapshot.
    pub removed: Counted,
    /// Of another type.
    pub types: Counted,
    /// With other content; the new one's bytes.
    pub content: Counted,
    /// With the same content.
    pub metadata: Counted,
}

/// A count and its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Entries.
    pub entries: u64,
    /// The sizes of the files among them.
    pub bytes: u64,
}

impl Summary {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn count(&mut self, difference: &Difference<'_>) {
        let counted = match difference.change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Type => &mut self.types,
            Change::Content => &mut self.content,
            Change::Metadata => &mut self.metadata,
        };
        let size = difference.new.or(difference.old).map_or(0, |view| view.size());
        counted.entries += 1;
        counted.bytes = counted.bytes.saturating_add(size);
    }
}

/// A snapshot and where its blobs come from.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Where its blobs come from.
    pub blobs: &'a BlobReader<'a>,
    /// The snapshot.
    pub snapshot: &'a Snapshot,
}

/// Tells `visit` of every entry that differs, in the order of a manifest, those at and below
/// `wanted` when it is given, until it breaks off.
///
/// # Errors
/// `NoPath` when neither has the path that is wanted; whatever the repository says.
pub fn diff<'a>(
    old: Side<'a>,
    new: Side<'a>,
    wanted: Option<&[u8]>,
    cx: &Context,
    visit: &mut dyn FnMut(&Difference<'_>) -> ControlFlow<()>,
) -> Result<Summary, EngineError> {
    tell_of_roots(old, new, cx);
    let wanted = wanted.map(trimmed).unwrap_or_default();
    as_written_or_shown(wanted, &mut |wanted| diff_at(old, new, wanted, cx, visit))
}

fn diff_at<'a>(
    old: Side<'a>,
    new: Side<'a>,
    wanted: &[u8],
    cx: &Context,
    visit: &mut dyn FnMut(&Difference<'_>) -> ControlFlow<()>,
) -> Result<Summary, EngineError> {
    let shelf = NodeShelf::new();
    let (mut summary, mut found) = (Summary::default(), wanted.is_empty());
    for pair in pairs(old, new)? {
        let dir = match below(&pair.prefix, wanted) {
            Some(dir) => dir,
            None if below(wanted, &pair.prefix).is_some() => b"",
            None => continue,
        };
        let mut count = |difference: &Difference<'_>| {
            summary.count(difference);
            visit(difference)
        };
        let tree = |side: Side<'a>, root: Option<usize>| {
            let root = root.map(|root| side.snapshot.body.roots[root].node);
            root.map(|root| TreeCursor::open(&root, Nodes(side.blobs), Arc::clone(&shelf))).transpose()
        };
        let (a, b) = (tree(old, pair.old)?, tree(new, pair.new)?);
        let mut walk = Walk {
            a: Reading::new(a),
            b: Reading::new(b),
            prefix: &pair.prefix,
            inner: &pair.inner,
            dir,
            cx,
        };
        let own = walk.own(&mut count)?;
        found |= own.exists;
        if own.flow.is_break() || (own.exists && walk.run(&mut count)?.is_break()) {
            return Ok(summary);
        }
    }
    if found {
        Ok(summary)
    } else {
        let snapshot = format!("{} nor in {}", old.snapshot.id.short(), new.snapshot.id.short());
        Err(EngineError::NoPath { path: display::asked(wanted), snapshot })
    }
}

/// Roots that are compared: numbers of roots, and what stands before their paths.
struct Pair {
    prefix: Vec<u8>,
    /// Places in it where both snapshots have a root of its own.
    inner: Vec<Vec<u8>>,
    old: Option<usize>,
    new: Option<usize>,
}

/// Roots with one path belong together; the only roots of both do when they are folders, or files
/// of one name.
fn pairs(old: Side<'_>, new: Side<'_>) -> Result<Vec<Pair>, EngineError> {
    let (olds, news) = (&old.snapshot.body.roots, &new.snapshot.body.roots);
    if olds.len() == 1 && news.len() == 1 {
        let standing = |side: Side<'_>| prefix(side.snapshot, 0, Nodes(side.blobs));
        let (a, b) = (standing(old)?, standing(new)?);
        let pair = |prefix, old, new| Pair { prefix, inner: Vec::new(), old, new };
        return Ok(if a == b {
            vec![pair(a, Some(0), Some(0))]
        } else {
            vec![pair(a, Some(0), None), pair(b, None, Some(0))]
        });
    }
    let mut pairs: Vec<Pair> = Vec::new();
    for (number, root) in olds.iter().enumerate() {
        let twin = news.iter().position(|other| other.path == root.path);
        let mut places = inner(old.snapshot, number);
        if let Some(twin) = twin {
            let others = inner(new.snapshot, twin);
            places.retain(|place| others.contains(place));
        }
        let prefix = among_several(&root.path);
        pairs.push(Pair { prefix, inner: places, old: Some(number), new: twin });
    }
    for (number, root) in news.iter().enumerate() {
        if !olds.iter().any(|other| other.path == root.path) {
            let (prefix, inner) = (among_several(&root.path), inner(new.snapshot, number));
            pairs.push(Pair { prefix, inner, old: None, new: Some(number) });
        }
    }
    Ok(pairs)
}

/// Says so when what is below a root of one snapshot is compared with nothing, though the other has
/// it as part of another root.
fn tell_of_roots(old: Side<'_>, new: Side<'_>, cx: &Context) {
    for (one, other) in [(old.snapshot, new.snapshot), (new.snapshot, old.snapshot)] {
        for root in &one.body.roots {
            let path = among_several(&root.path);
            let mut outer = other.body.roots.iter().map(|outer| among_several(&outer.path));
            let is_only = one.body.roots.len() == 1 && other.body.roots.len() == 1;
            let has_twin = other.body.roots.iter().any(|twin| twin.path == root.path);
            if is_only || has_twin || !outer.any(|outer| is_inside(&path, &outer)) {
                continue;
            }
            cx.progress.warn(format!(
                "{} is a root of its own in snapshot {} and lies inside one in {}: roots are compared one by \
                 one, so that all below it differs",
                display::path(&root.path),
                one.id.short(),
                other.id.short(),
            ));
        }
    }
}

pub(super) type Visit<'v> = dyn FnMut(&Difference<'_>) -> ControlFlow<()> + 'v;

/// One of the two trees: its parts, and the leaf that is being read.
pub(super) struct Reading<S> {
    cursor: Option<TreeCursor<S>>,
    open: Option<Open>,
}

struct Open {
    leaf: Leaf,
    row: usize,
    dir: Vec<u8>,
}

impl Open {
    fn view(&self) -> EntryView<'_> {
        self.leaf.row(self.row)
    }

    fn key(&self) -> Key<'_> {
        Key { dir: &self.dir, name: self.view().name() }
    }
}

/// What a tree goes on with.
#[derive(Clone, Copy)]
enum Head<'h> {
    Row(Key<'h>),
    /// A part that was not read: its first key, level and id.
    Part(Key<'h>, u8, BlobId),
}

impl<'h> Head<'h> {
    fn key(&self) -> Key<'h> {
        match self {
            Self::Row(key) | Self::Part(key, ..) => *key,
        }
    }
}

impl<S: BlobSource> Reading<S> {
    pub(super) fn new(cursor: Option<TreeCursor<S>>) -> Self {
        Self { cursor, open: None }
    }

    fn head(&self) -> Option<Head<'_>> {
        if let Some(open) = &self.open {
            return Some(Head::Row(open.key()));
        }
        let part = self.cursor.as_ref()?.part()?;
        Some(Head::Part(part.key, part.level, part.id))
    }

    /// Reads what comes next one level deeper.
    fn unfold(&mut self) -> Result<(), EngineError> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        if cursor.part().is_some_and(|part| part.level > 0) {
            cursor.enter()?;
        } else if let Some(leaf) = cursor.take_leaf()? {
            let leaf = leaf.load(cursor.source())?;
            let mut dir = Vec::new();
            leaf.enter(0, &mut dir);
            self.open = Some(Open { leaf, row: 0, dir });
        }
        Ok(())
    }

    fn pass(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.pass();
        }
    }

    fn step(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.row += 1;
        if open.row == open.leaf.len() {
            self.open = None;
        } else {
            open.leaf.enter(open.row, &mut open.dir);
        }
    }
}

/// What the path that is wanted itself is.
struct Own {
    exists: bool,
    flow: ControlFlow<()>,
}

/// Two trees side by side.
pub(super) struct Walk<'w, S> {
    pub(super) a: Reading<S>,
    pub(super) b: Reading<S>,
    pub(super) prefix: &'w [u8],
    /// Places that are not told of: other roots, which are compared themselves.
    pub(super) inner: &'w [Vec<u8>],
    /// Only what is in this directory of the trees and below it.
    pub(super) dir: &'w [u8],
    pub(super) cx: &'w Context,
}

impl<S: BlobSource> Walk<'_, S> {
    /// The entry of the path that is wanted, and both trees at what is below it.
    fn own(&mut self, visit: &mut Visit<'_>) -> Result<Own, EngineError> {
        if self.dir.is_empty() {
            return Ok(Own { exists: true, flow: ControlFlow::Continue(()) });
        }
        let mut rows = Vec::new();
        for reading in [&mut self.a, &mut self.b] {
            let Some(cursor) = &mut reading.cursor else {
                rows.push(None);
                continue;
            };
            rows.push(row_of(cursor, Key::of_path(self.dir))?);
            cursor.seek(Key { dir: self.dir, name: b"" })?;
        }
        let exists = rows.iter().any(Option::is_some);
        let [old, new] = [0, 1].map(|at| rows[at].as_ref().map(|(leaf, row)| leaf.row(*row)));
        Ok(Own { exists, flow: self.compare(self.dir, old, new, visit) })
    }

    pub(super) fn run(&mut self, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, EngineError> {
        let begin = Key { dir: self.dir, name: b"" };
        let is_over = |head: &Option<Head<'_>>| {
            head.is_none_or(|head| head.key() > begin && !is_inside(head.key().dir, self.dir))
        };
        loop {
            if self.cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let (a, b) = (self.a.head(), self.b.head());
            let (a_over, b_over) = (is_over(&a), is_over(&b));
            if a_over && b_over {
                return Ok(ControlFlow::Continue(()));
            }
            let order = match (a, b) {
                _ if a_over => Ordering::Greater,
                _ if b_over => Ordering::Less,
                (Some(a), Some(b)) => a.key().cmp(&b.key()),
                _ => Ordering::Equal,
            };
            match (a, b) {
                (Some(Head::Part(_, _, one)), Some(Head::Part(_, _, other))) if one == other => {
                    self.a.pass();
                    self.b.pass();
                }
                // Of two parts that begin together the higher one may have the other in it.
                (Some(Head::Part(_, high, _)), Some(Head::Part(_, low, _))) if order.is_eq() => {
                    if high >= low {
                        self.a.unfold()?;
                    }
                    if low >= high {
                        self.b.unfold()?;
                    }
                }
                (Some(Head::Part(..)), _) if order.is_le() => self.a.unfold()?,
                (_, Some(Head::Part(..))) if order.is_ge() => self.b.unfold()?,
                _ => {
                    if self.rows(order, visit).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
    }

    /// Tells of the rows that come first, and steps over them.
    fn rows(&mut self, order: Ordering, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let old = self.a.open.as_ref().filter(|_| order.is_le());
        let new = self.b.open.as_ref().filter(|_| order.is_ge());
        let mut flow = ControlFlow::Continue(());
        if let Some(here) = old.or(new)
            && is_inside(&here.dir, self.dir)
        {
            let path = here.key().path();
            flow = self.compare(&path, old.map(Open::view), new.map(Open::view), visit);
        }
        if order.is_le() {
            self.a.step();
        }
        if order.is_ge() {
            self.b.step();
        }
        flow
    }

    fn compare(
        &self,
        path: &[u8],
        old: Option<EntryView<'_>>,
        new: Option<EntryView<'_>>,
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        if self.inner.iter().any(|place| place == path) {
            return ControlFlow::Continue(());
        }
        let path = full_path(self.prefix, path);
        let (change, aspects) = match (&old, &new) {
            (None, None) => return ControlFlow::Continue(()),
            (Some(_), None) => (Change::Removed, Vec::new()),
            (None, Some(_)) => (Change::Added, Vec::new()),
            (Some(a), Some(b)) => match changed(a, b) {
                Some(found) => found,
                None => return ControlFlow::Continue(()),
            },
        };
        if path.is_empty() && matches!(change, Change::Added | Change::Removed) {
            return ControlFlow::Continue(());
        }
        visit(&Difference { path: &path, change, aspects, old, new })
    }
}

/// In which way two entries of one path differ, and what of their metadata does.
fn changed(a: &EntryView<'_>, b: &EntryView<'_>) -> Option<(Change, Vec<&'static str>)> {
    let is_folder = a.kind() == FileKind::Directory && b.kind() == FileKind::Directory;
    let aspects: Vec<&'static str> = [
        ("mode", a.mode() != b.mode()),
        ("owner", (a.uid(), a.gid()) != (b.uid(), b.gid())),
        ("mtime", a.mtime() != b.mtime() && !is_folder),
        ("xattrs", a.xattrs_id() != b.xattrs_id()),
        ("flags", a.flags() != b.flags()),
    ]
    .into_iter()
    .filter_map(|(aspect, differs)| differs.then_some(aspect))
    .collect();
    let content = a.size() != b.size()
        || a.hash16() != b.hash16()
        || a.link_target() != b.link_target()
        || a.rdev() != b.rdev();
    let change = if a.kind() != b.kind() {
        Change::Type
    } else if content {
        Change::Content
    } else if !aspects.is_empty() {
        Change::Metadata
    } else {
        return None;
    };
    Some((change, aspects))
}

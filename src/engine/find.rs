//! Find: in which snapshots a file is, and in which versions.
//!
//! All snapshots are walked side by side in the order of their manifests. Parts that several have
//! in common (equal ids) are read once for all of them, so that the search costs one snapshot and
//! what differs between the others. A path's versions are told when everything before it has been
//! read: memory is that of the leaves that are open at one place and their matches.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::context::Context;
use super::error::EngineError;
use super::ls::{full_path, trimmed};
use super::roots::{inner, prefix};
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};
use crate::repository::manifest::{BlobSource, EntryView, Key, LeafRef, NodeShelf, State, TreeCursor};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

/// What is looked for. Everything that is given must hold.
#[derive(Debug)]
pub struct Rule {
    /// Patterns without a slash: the last name of a path.
    names: GlobSet,
    /// Patterns with a slash: the whole path as `ls` prints it.
    paths: GlobSet,
    /// Of one of these types, or of any when there is none.
    pub kinds: Vec<FileKind>,
    /// At least so many bytes.
    pub larger: Option<u64>,
    /// At most so many bytes.
    pub smaller: Option<u64>,
    /// Changed at this time or later.
    pub newer: Option<FileTime>,
    /// Changed at this time or before.
    pub older: Option<FileTime>,
}

/// Whether `a` and `A` are the same letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// They are not.
    Exact,
    /// They are.
    AnyCase,
}

impl Rule {
    /// Whatever one of these patterns fits, of any type, size and age.
    ///
    /// # Errors
    /// `NoPattern`.
    pub fn new(patterns: &[String], letters: Letters) -> Result<Self, EngineError> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let wrong = |error: globset::Error| EngineError::NoPattern {
                pattern: pattern.clone(),
                why: error.kind().to_string(),
            };
            let text = std::str::from_utf8(trimmed(pattern.as_bytes())).unwrap_or(pattern);
            let mut builder = GlobBuilder::new(text);
            builder.literal_separator(true).backslash_escape(true);
            let glob = builder.case_insensitive(letters == Letters::AnyCase).build().map_err(wrong)?;
            if text.contains('/') {
                paths.add(glob)
            } else {
                names.add(glob)
            };
        }
        let built = |builder: GlobSetBuilder| {
            builder.build().map_err(|error| EngineError::NoPattern {
                pattern: patterns.join(" "),
                why: error.kind().to_string(),
            })
        };
        Ok(Self {
            names: built(names)?,
            paths: built(paths)?,
            kinds: Vec::new(),
            larger: None,
            smaller: None,
            newer: None,
            older: None,
        })
    }

    fn fits(&self, prefix: &[u8], key: Key<'_>, view: &EntryView<'_>) -> bool {
        let facts = (self.kinds.is_empty() || self.kinds.contains(&view.kind()))
            && self.larger.is_none_or(|bytes| view.size() >= bytes)
            && self.smaller.is_none_or(|bytes| view.size() <= bytes)
            && self.newer.is_none_or(|time| view.mtime() >= time)
            && self.older.is_none_or(|time| view.mtime() <= time);
        // A root has no name in its tree, only a path among several roots.
        let name = if key.name.is_empty() { last_name(prefix) } else { key.name };
        let name_fits = || self.names.is_match(as_path(name));
        let path_fits = || self.paths.is_match(as_path(&full_path(prefix, &key.path())));
        facts && !name.is_empty() && (name_fits() || (!self.paths.is_empty() && path_fits()))
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// One version of one path: equal content, target and time of change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As `ls` prints it.
    pub path: Vec<u8>,
    /// What it is.
    pub facts: Facts,
    /// The snapshots that have it, ascending: places in the list that was searched.
    pub snapshots: Vec<usize>,
}

/// What tells versions apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Facts {
    /// Type.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Compares contents.
    pub hash16: [u8; 16],
    /// Of a symbolic link.
    pub link_target: Vec<u8>,
    /// Whether it was read.
    pub state: State,
}

/// Searches snapshots of one repository, given oldest first; tells `visit` of every version of
/// every path that fits, paths in the order of a manifest, versions of one path oldest first.
/// What can't be read for damage is passed over, and its snapshots are named in warnings.
///
/// # Errors
/// Whatever the repository says; the first damage when all else was searched.
pub fn find(
    blobs: &BlobReader<'_>,
    snapshots: &[Snapshot],
    rule: &Rule,
    cx: &Context,
    visit: &mut dyn FnMut(&Version) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    // Trees whose paths begin alike are one through time: a path is told of once.
    let mut trees: BTreeMap<Vec<u8>, Vec<TreeOf>> = BTreeMap::new();
    let mut damage = Damage::default();
    for (number, snapshot) in snapshots.iter().enumerate() {
        for (place, root) in snapshot.body.roots.iter().enumerate() {
            let found = prefix(snapshot, place, Nodes(blobs)).map(Some);
            let Some(prefix) = found.or_else(|error| damage.of([number], error).map(|()| None))? else {
                continue;
            };
            trees.entry(prefix).or_default().push((number, root.node, inner(snapshot, place)));
        }
    }
    for (prefix, roots) in trees {
        let source = Nodes(blobs);
        let mut search = Search::new(&source, &prefix, rule);
        for (number, root, inner) in roots {
            if let Err(error) = search.add(number, &root) {
                search.damage.of([number], error)?;
            }
            search.hide(number, inner);
        }
        let flow = search.run(cx, visit)?;
        damage.join(search.damage);
        if flow.is_break() {
            break;
        }
    }
    for (number, why) in &damage.snapshots {
        let id = snapshots[*number].id.short();
        cx.progress.warn(format!("snapshot {id} is damaged and was not searched to its end: {why}"));
    }
    damage.first.map_or(Ok(()), Err)
}

/// What could not be searched.
#[derive(Default)]
pub(super) struct Damage {
    /// By number of the snapshot, the first that was said.
    snapshots: BTreeMap<usize, String>,
    /// The first of all.
    pub(super) first: Option<EngineError>,
}

impl Damage {
    /// Notes damage in these snapshots; any other error is none of a snapshot, and given back.
    fn of(
        &mut self,
        snapshots: impl IntoIterator<Item = usize>,
        error: EngineError,
    ) -> Result<(), EngineError> {
        if error.class() != Class::Damage {
            return Err(error);
        }
        let why = format!("[{}] {}", error.code(), Chain(&error));
        for number in snapshots {
            self.snapshots.entry(number).or_insert_with(|| why.clone());
        }
        self.first.get_or_insert(error);
        Ok(())
    }

    fn join(&mut self, other: Self) {
        for (number, why) in other.snapshots {
            self.snapshots.entry(number).or_insert(why);
        }
        self.first = self.first.take().or(other.first);
    }
}

/// Number of a snapshot, the root of its tree, and the places in it of other roots.
type TreeOf = (usize, BlobId, Vec<Vec<u8>>);

/// Directory and name, in the order of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    dir: Vec<u8>,
    name: Vec<u8>,
}

impl Place {
    fn of(key: Key<'_>) -> Self {
        Self { dir: key.dir.to_vec(), name: key.name.to_vec() }
    }

    fn key(&self) -> Key<'_> {
        Key { dir: &self.dir, name: &self.name }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A match and the snapshots whose leaf it was in.
type Hit = (Facts, Arc<[usize]>);

/// One tree through time.
pub(super) struct Search<'a, S> {
    source: &'a S,
    prefix: &'a [u8],
    rule: &'a Rule,
    shelf: Arc<NodeShelf>,
    /// A place in each snapshot's tree, and the snapshot's number.
    cursors: Vec<(usize, TreeCursor<&'a S>)>,
    /// What comes next in each: by place, higher levels first; equal ids together.
    next: BTreeMap<(Place, Reverse<u8>, BlobId), Vec<usize>>,
    /// What was found and may not be told yet.
    hits: BTreeMap<Place, Vec<Hit>>,
    /// Where other roots of a snapshot stand: they are searched themselves.
    hidden: BTreeMap<Vec<u8>, Vec<usize>>,
    /// What could not be searched.
    pub(super) damage: Damage,
}

impl<'a, S: BlobSource> Search<'a, S> {
    pub(super) fn new(source: &'a S, prefix: &'a [u8], rule: &'a Rule) -> Self {
        Self {
            source,
            prefix,
            rule,
            shelf: NodeShelf::new(),
            cursors: Vec::new(),
            next: BTreeMap::new(),
            hits: BTreeMap::new(),
            hidden: BTreeMap::new(),
            damage: Damage::default(),
        }
    }

    fn hide(&mut self, snapshot: usize, places: Vec<Vec<u8>>) {
        for place in places {
            self.hidden.entry(place).or_default().push(snapshot);
        }
    }

    pub(super) fn add(&mut self, snapshot: usize, root: &BlobId) -> Result<(), EngineError> {
        let cursor = TreeCursor::open(root, self.source, Arc::clone(&self.shelf))?;
        self.cursors.push((snapshot, cursor));
        self.await_part(self.cursors.len() - 1);
        Ok(())
    }

    /// Notes what comes next in a tree.
    fn await_part(&mut self, cursor: usize) {
        if let Some(part) = self.cursors[cursor].1.part() {
            let place = (Place::of(part.key), Reverse(part.level), part.id);
            self.next.entry(place).or_default().push(cursor);
        }
    }

    pub(super) fn run(
        &mut self,
        cx: &Context,
        visit: &mut dyn FnMut(&Version) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, EngineError> {
        while let Some(((place, Reverse(level), _), cursors)) = self.next.pop_first() {
            if cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            if self.tell(Some(&place), visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if level > 0 {
                for cursor in cursors {
                    let (snapshot, tree) = &mut self.cursors[cursor];
                    if let Err(error) = tree.enter() {
                        self.damage.of([*snapshot], error.into())?;
                        tree.pass();
                    }
                    self.await_part(cursor);
                }
                continue;
            }
            let mut leaf: Option<LeafRef> = None;
            for cursor in &cursors {
                leaf = self.cursors[*cursor].1.take_leaf()?.or(leaf);
                self.await_part(*cursor);
            }
            if let Some(leaf) = leaf {
                let snapshots: Vec<usize> = cursors.iter().map(|cursor| self.cursors[*cursor].0).collect();
                if let Err(error) = self.search(&leaf, &snapshots) {
                    self.damage.of(snapshots, error)?;
                }
            }
        }
        Ok(self.tell(None, visit))
    }

    /// Collects what fits in a leaf that these snapshots have.
    fn search(&mut self, leaf: &LeafRef, snapshots: &[usize]) -> Result<(), EngineError> {
        let leaf = leaf.load(self.source)?;
        let all: Arc<[usize]> = snapshots.into();
        let mut dir = Vec::new();
        for row in 0..leaf.len() {
            leaf.enter(row, &mut dir);
            let view = leaf.row(row);
            let key = Key { dir: &dir, name: view.name() };
            if self.rule.fits(self.prefix, key, &view) {
                let snapshots = match self.hidden.get(&key.path()) {
                    Some(hidden) => all.iter().copied().filter(|number| !hidden.contains(number)).collect(),
                    None => Arc::clone(&all),
                };
                if snapshots.is_empty() {
                    continue;
                }
                let facts = Facts {
                    kind: view.kind(),
                    size: view.size(),
                    mtime: view.mtime(),
                    hash16: view.hash16(),
                    link_target: view.link_target().to_vec(),
                    state: view.state(),
                };
                self.hits.entry(Place::of(key)).or_default().push((facts, snapshots));
            }
        }
        Ok(())
    }

    /// Tells of everything that lies before a place: nothing more can come there.
    fn tell(
        &mut self,
        before: Option<&Place>,
        visit: &mut dyn FnMut(&Version) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(first) = self.hits.first_entry() {
            if before.is_some_and(|place| first.key() >= place) {
                break;
            }
            let (place, hits) = first.remove_entry();
            let path = full_path(self.prefix, &place.key().path());
            for version in versions(&path, hits) {
                visit(&version)?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The versions among the matches of one path, oldest first.
fn versions(path: &[u8], hits: Vec<Hit>) -> Vec<Version> {
    let mut found: BTreeMap<Facts, Vec<usize>> = BTreeMap::new();
    for (facts, snapshots) in hits {
        found.entry(facts).or_default().extend_from_slice(&snapshots);
    }
    let version = |(facts, mut snapshots): (Facts, Vec<usize>)| {
        snapshots.sort_unstable();
        Version { path: path.to_vec(), facts, snapshots }
    };
    let mut found: Vec<Version> = found.into_iter().map(version).collect();
    found.sort_by(|a, b| a.snapshots.cmp(&b.snapshots));
    found
}

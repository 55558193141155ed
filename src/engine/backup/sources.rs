//! The roots of one pass: that each is there, how each is read, and which lies inside another.

use std::collections::HashMap;
use std::io::{Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::outcome::RootView;
use super::request::{BackupRequest, Freeze, StreamRequest};
use crate::base::clock::Timestamp;
use crate::base::display;
use crate::base::metadata::FileTime;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::source::files::{FilesError, Rules, Stop, Walk};
use crate::source::frozen::View;
use crate::source::frozen::btrfs::{self, Place};
use crate::source::frozen::hook::{Hook, HookView, Wanted};
use crate::source::frozen::mounts::{self, Mount};
use crate::source::stream::{Stream, StreamSource};

/// Everything that one pass reads.
pub(super) struct Sources<'a> {
    rules: &'a Rules,
    roots: Vec<Source>,
    at: FileTime,
}

/// One root.
struct Source {
    /// As it is recorded.
    path: PathBuf,
    reads: Reads,
    /// Roots inside of it, relative to it: what they hold is recorded with them.
    inner: Vec<Vec<u8>>,
    /// What the outcome says of it.
    view: RootView,
}

/// What a root's bytes are.
enum Reads {
    /// The same in a view that holds still.
    Frozen {
        view: Arc<View>,
        /// The way to the root from the top of the view.
        below: PathBuf,
        /// Places below the root, relative to it, where something else is mounted.
        mounts: Vec<Vec<u8>>,
    },
    /// The same in a view that a hook has made.
    Hooked {
        view: Arc<HookView>,
        /// Where the root stands in it.
        at: PathBuf,
        /// Device number of the root itself.
        live_dev: u64,
        /// Places below the root, relative to it, where something is mounted that the view lacks.
        mounts: Vec<Vec<u8>>,
    },
    /// A file or a folder with all below it.
    Files,
    /// The content of a block device.
    Device {
        /// Whether it is mounted for writing.
        in_use: bool,
    },
    /// What comes in; taken by the walk.
    Stream {
        /// Not taken yet.
        stream: Mutex<Option<Stream>>,
        may_be_empty: bool,
    },
}

/// What has to come of a root, or the run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing: what can't be read is told.
    None,
    /// All of it: a part of a stream is nothing that anybody wants back.
    All {
        /// No bytes are all of it.
        may_be_empty: bool,
    },
}

/// When a pass begins to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The time that everything read is recorded with, where nothing else says one.
    pub(super) at: Timestamp,
    /// 1 for the first pass of a run.
    pub(super) round: usize,
}

impl<'a> Sources<'a> {
    /// Opens what can be read only once, and looks whether all else is there.
    ///
    /// # Errors
    /// When a root is missing or an empty folder, or the stream can't be opened, or not again.
    pub(super) fn open(
        request: &BackupRequest,
        rules: &'a Rules,
        moment: Moment,
        cx: &Context,
    ) -> Result<Self, EngineError> {
        check(request)?;
        let mut roots = Vec::new();
        let mut views = Views::default();
        let hooked = match (&request.freeze, &request.stream) {
            (Freeze::Hook(hook), None) => Some(make_hooked(hook, request, cx)?),
            _ => None,
        };
        for path in &request.roots {
            let reads = match &request.stream {
                Some(stream) => open_stream(path, stream, moment, cx)?,
                None => match &hooked {
                    Some(view) => in_hooked(path, view, cx)?,
                    None if request.freeze != Freeze::Btrfs && is_device(path) => open_device(path, cx),
                    None => frozen_or_files(path, request, &mut views, cx)?,
                },
            };
            let view = view_of(path, &reads);
            if let Some(real) = &view.real {
                cx.progress.note(format!("{} is a link: {real} is backed up under its name", view.path));
            }
            let inner = inner_roots(path, &request.roots);
            roots.push(Source { path: path.clone(), reads, inner, view });
        }
        let (seconds, millis) = (moment.at.unix_ms().div_euclid(1000), moment.at.unix_ms().rem_euclid(1000));
        let at = FileTime { seconds, nanos: u32::try_from(millis).unwrap_or(0) * 1_000_000 };
        Ok(Self { rules, roots, at })
    }

    /// How many roots there are.
    pub(super) fn count(&self) -> usize {
        self.roots.len()
    }

    /// Begins to walk a root.
    ///
    /// # Errors
    /// When it can't be opened.
    pub(super) fn walk(&self, number: usize) -> Result<Walk, FilesError> {
        let source = &self.roots[number];
        let mut walk = match &source.reads {
            Reads::Files => Walk::open_by(&source.path, self.rules)?,
            Reads::Frozen { view, below, mounts } => {
                let mut walk = Walk::frozen(view, below, self.rules)?;
                for place in mounts {
                    walk.stop_at(place.clone(), Stop::NotInView);
                }
                walk
            }
            Reads::Hooked { at, .. } if is_device(at) => Walk::device(at, self.at)?,
            Reads::Hooked { at, live_dev, mounts, .. } => {
                let mut walk = Walk::elsewhere(at, *live_dev, self.rules)?;
                for place in mounts {
                    walk.stop_at(place.clone(), Stop::NotInView);
                }
                walk
            }
            Reads::Device { .. } => Walk::device(&source.path, self.at)?,
            Reads::Stream { stream, .. } => {
                match stream.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(stream) => Walk::stream(stream, self.at)?,
                    None => return Err(FilesError::taken(&source.view.path)),
                }
            }
        };
        for place in &source.inner {
            walk.stop_at(place.clone(), Stop::OtherRoot);
        }
        Ok(walk)
    }

    /// Whether a root can be walked a second time.
    pub(super) fn can_be_counted(&self) -> bool {
        self.roots
            .iter()
            .all(|root| matches!(root.reads, Reads::Files | Reads::Frozen { .. } | Reads::Hooked { .. }))
    }

    /// What has to come of a root.
    pub(super) fn demand(&self, number: usize) -> Demand {
        match self.roots.get(number).map(|root| &root.reads) {
            Some(Reads::Stream { may_be_empty, .. }) => Demand::All { may_be_empty: *may_be_empty },
            _ => Demand::None,
        }
    }

    /// Takes away the snapshots that were read. What can't be taken away now the next run does.
    pub(super) fn close(&self, cx: &Context) {
        for root in &self.roots {
            let removed = match &root.reads {
                Reads::Frozen { view, .. } => view.remove(),
                Reads::Hooked { view, .. } => view.remove(),
                _ => Ok(()),
            };
            if let Err(error) = removed {
                let path = &root.view.path;
                cx.progress
                    .warn(format!("{path}: its snapshot could not be removed, the next run will: {error}"));
            }
        }
    }

    /// How each root was read.
    pub(super) fn views(&self) -> Vec<RootView> {
        self.roots.iter().map(|source| source.view.clone()).collect()
    }
}

/// Every root once, in the order given.
pub(super) fn once(roots: &[PathBuf], cx: &Context) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for root in roots {
        if kept.contains(root) {
            let path = shown(root);
            cx.progress.note(format!("{path} is named twice and backed up once"));
        } else {
            kept.push(root.clone());
        }
    }
    kept
}

/// Looks whether all roots are there and hold something.
///
/// # Errors
/// When one is missing or an empty folder: that is a failed run, never a green, empty backup.
pub(super) fn check(request: &BackupRequest) -> Result<(), EngineError> {
    if request.stream.is_some() {
        return Ok(());
    }
    request.roots.iter().try_for_each(|root| check_root(root))
}

fn open_stream(
    name: &Path,
    wanted: &StreamRequest,
    moment: Moment,
    cx: &Context,
) -> Result<Reads, EngineError> {
    let failed = |reason: String| EngineError::Stream { name: shown(name), reason };
    if moment.round > 1 && wanted.source == StreamSource::StandardInput {
        return Err(failed("it was read, and the targets ask for another round; start again".to_owned()));
    }
    let stream = Stream::open(&wanted.source, cx.cancel.clone(), Arc::clone(&cx.clock));
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    Ok(Reads::Stream { stream: Mutex::new(Some(stream)), may_be_empty: wanted.may_be_empty })
}

/// Views that are made, by the top folder of what they show.
type Views = HashMap<PathBuf, Arc<View>>;

/// How files are read: from a view where one is asked for and can be made.
fn frozen_or_files(
    root: &Path,
    request: &BackupRequest,
    views: &mut Views,
    cx: &Context,
) -> Result<Reads, EngineError> {
    if request.freeze == Freeze::None {
        return Ok(Reads::Files);
    }
    match freeze(root, &request.host, views, cx) {
        Ok(Some(frozen)) => Ok(frozen),
        Ok(None) if request.freeze == Freeze::Auto => Ok(Reads::Files),
        Err(reason) if request.freeze == Freeze::Auto => {
            cx.progress.warn(format!("{} is read as it is, not from a snapshot: {reason}", shown(root)));
            Ok(Reads::Files)
        }
        no => {
            let reason = no.err().unwrap_or_else(|| "it is not on btrfs".to_owned());
            Err(FilesError::Freeze { path: shown(root), reason }.into())
        }
    }
}

/// A root in a view; none when its file system makes no snapshots.
fn freeze(root: &Path, host: &str, views: &mut Views, cx: &Context) -> Result<Option<Reads>, String> {
    let said = |error: std::io::Error| error.to_string();
    let real = root.canonicalize().map_err(said)?;
    let Some(Place { top, below }) = btrfs::place(&real).map_err(said)? else { return Ok(None) };
    btrfs::check()?;
    let view = match views.get(&top) {
        Some(view) => Arc::clone(view),
        None => Arc::new(View::make(&top, host, &cx.clock).map_err(said)?),
    };
    let mounts = mounts::below(&mounts::all().map_err(said)?, &real);
    views.insert(top, Arc::clone(&view));
    Ok(Some(Reads::Frozen { view, below, mounts }))
}

/// The view of all roots that a hook makes.
fn make_hooked(hook: &Hook, request: &BackupRequest, cx: &Context) -> Result<Arc<HookView>, EngineError> {
    let real = |root: &PathBuf| root.canonicalize().map_err(|error| (root.clone(), error));
    let failed = |(root, error): (PathBuf, std::io::Error)| {
        EngineError::from(FilesError::Freeze { path: shown(&root), reason: error.to_string() })
    };
    let roots = request.roots.iter().map(real).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let wanted = Wanted { host: &request.host, roots: &roots };
    match HookView::make(hook, wanted, &cx.cancel, &cx.clock) {
        Ok(view) => Ok(Arc::new(view)),
        Err(_) if cx.cancel.is_cancelled() => Err(EngineError::Cancelled),
        Err(error) => Err(failed((hook.program.clone(), error))),
    }
}

/// A root in the view of a hook. What is mounted below the root and not in the view is missing there.
fn in_hooked(root: &Path, view: &Arc<HookView>, cx: &Context) -> Result<Reads, EngineError> {
    let failed = |error: std::io::Error| FilesError::Freeze { path: shown(root), reason: error.to_string() };
    let real = root.canonicalize().map_err(failed)?;
    let nowhere = || failed(std::io::Error::other("the hook made no view of it"));
    let at = view.place(&real).ok_or_else(nowhere)?.canonicalize().map_err(failed)?;
    let live = std::fs::metadata(&real).map_err(failed)?;
    let live_dev = live.dev();
    if std::fs::metadata(&at).map_err(failed)?.ino() != live.ino() {
        let what = "has another inode number: a copy, which is read as a whole, or not a view of it";
        cx.progress.note(format!("the view {} of {} {what}", shown(&at), shown(root)));
    }
    let all = mounts::all().map_err(failed)?;
    let there = mounts::below(&all, &at);
    let mounts = mounts::below(&all, &real).into_iter().filter(|place| !there.contains(place)).collect();
    Ok(Reads::Hooked { view: Arc::clone(view), at, live_dev, mounts })
}

/// A device, and a word when its content moves: then what is read may be no state it ever had.
fn open_device(root: &Path, cx: &Context) -> Reads {
    let (real, number) = (root.canonicalize().ok(), std::fs::metadata(root).map(|facts| facts.rdev()).ok());
    let is_it = |mount: &Mount| Some(mount.dev) == number || Some(&mount.source) == real.as_ref();
    let in_use = mounts::all().unwrap_or_default().iter().any(|mount| mount.is_writable && is_it(mount));
    if in_use {
        cx.progress.warn(format!("{} is mounted for writing: what is read may be torn", shown(root)));
    }
    Reads::Device { in_use }
}

fn is_device(root: &Path) -> bool {
    std::fs::metadata(root).is_ok_and(|facts| facts.file_type().is_block_device())
}

fn shown(path: &Path) -> String {
    display::path(path.as_os_str().as_bytes())
}

fn check_root(root: &Path) -> Result<(), EngineError> {
    let path = shown(root);
    let Ok(facts) = std::fs::metadata(root) else {
        return Err(EngineError::NoSource { path, what: "does not exist or cannot be reached" });
    };
    let kind = facts.file_type();
    let bytes = || std::fs::File::open(root).and_then(|mut device| device.seek(SeekFrom::End(0)));
    if kind.is_block_device() && bytes().is_ok_and(|bytes| bytes == 0) {
        return Err(EngineError::NoSource { path, what: "is a device without a single byte" });
    }
    if facts.is_dir()
        && let Ok(mut entries) = std::fs::read_dir(root)
        && entries.next().is_none()
    {
        return Err(EngineError::NoSource { path, what: "is an empty folder" });
    }
    Ok(())
}

/// What a person is told of a root. One that is a link is followed: who names it wants what it
/// leads to, and has to be told what that is.
fn view_of(root: &Path, reads: &Reads) -> RootView {
    let view = match reads {
        Reads::Files => "files",
        Reads::Frozen { .. } => "btrfs snapshot",
        Reads::Hooked { .. } => "snapshot of a hook",
        Reads::Device { in_use: false } => "device",
        Reads::Device { in_use: true } => "device, mounted for writing",
        Reads::Stream { .. } => return RootView { path: shown(root), real: None, view: "stream" },
    };
    let is_link = root.symlink_metadata().is_ok_and(|facts| facts.is_symlink());
    let real = if is_link { root.canonicalize().ok() } else { None };
    RootView { path: shown(root), real: real.map(|real| shown(&real)), view }
}

fn inner_roots(root: &Path, all: &[PathBuf]) -> Vec<Vec<u8>> {
    let below = all.iter().filter_map(|other| other.strip_prefix(root).ok());
    let places = below.map(|place| place.as_os_str().as_bytes().to_vec());
    places.filter(|place| !place.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_knows_those_inside_of_it() {
        let roots = ["/a", "/a/b", "/ab", "/a/b/c", "/x"].map(PathBuf::from);
        assert_eq!(inner_roots(&roots[0], &roots), [b"b".to_vec(), b"b/c".to_vec()]);
        assert_eq!(inner_roots(&roots[1], &roots), [b"c".to_vec()]);
        assert!(inner_roots(&roots[2], &roots).is_empty());
        let twice = ["/a", "/b", "/a"].map(PathBuf::from);
        assert_eq!(once(&twice, &Context::quiet()), ["/a", "/b"].map(PathBuf::from));
    }
}

//! What checks look at: the restored tree, the manifest, and which of it was restored.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::{FileType, Mode, OFlags};

use super::super::error::DrillError;
use super::super::path::open_beneath;
use super::super::pick::Picked;
use super::super::restorer::{Entry, Restorer, SnapshotFacts};
use super::super::watch::Watch;
use super::check::Unobserved;
use super::manifest::Comparison;
use crate::base::error::Chain;
use crate::base::metadata::{FileKind, FileTime};

/// The restored tree and where it came from.
pub struct Scene<'a> {
    pub(super) root: &'a Path,
    pub(super) folder: OwnedFd,
    pub(super) picked: &'a Picked,
    pub(super) snapshot: &'a SnapshotFacts,
    pub(super) restorer: &'a mut dyn Restorer,
    pub(in crate::drill) watch: &'a Watch<'a>,
    /// What the manifest check counted, for the report.
    pub(in super::super) comparison: Option<Comparison>,
}

/// Where a fact about a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// On the restored file.
    Restored,
    /// In the manifest; the file was not picked.
    Manifest,
}

/// A regular file as a check sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// Its length in bytes.
    pub size: u64,
    /// Its last change.
    pub mtime: FileTime,
    /// Where this was read.
    pub from: Where,
}

impl<'a> Scene<'a> {
    pub(in super::super) fn open(
        root: &'a Path,
        picked: &'a Picked,
        snapshot: &'a SnapshotFacts,
        restorer: &'a mut dyn Restorer,
        watch: &'a Watch<'a>,
    ) -> Result<Self, DrillError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(root, flags, Mode::empty()).map_err(DrillError::sandbox("open", root))?;
        Ok(Self { root, folder, picked, snapshot, restorer, watch, comparison: None })
    }

    /// Visits every entry of the manifest, until the drill must stop.
    pub(super) fn each_entry(
        &mut self,
        visit: &mut dyn FnMut(&OwnedFd, &dyn Entry) -> Result<(), Unobserved>,
    ) -> Result<(), Unobserved> {
        let (folder, watch) = (&self.folder, self.watch);
        let mut seen = Ok(());
        let read = self.restorer.entries(&mut |entry| {
            seen = if watch.must_stop() {
                Err(Unobserved("the drill was over its time limit or stopped".to_owned()))
            } else {
                visit(folder, entry)
            };
            if seen.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        seen.and(read.map_err(|error| Unobserved(format!("cannot read the manifest: {}", Chain(&error)))))
    }

    /// Visits every regular file of the snapshot: what was picked as it lies in the restored tree
    /// (and not at all when it isn't there), the rest as the manifest has it.
    pub(super) fn each_file(&mut self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Unobserved> {
        let picked = self.picked;
        self.each_entry(&mut |folder, entry| {
            let fact = entry.fact();
            if fact.kind != FileKind::File {
                return Ok(());
            }
            let path = fact.path.as_slice();
            if !picked.contains(path) {
                visit(Seen { path, size: fact.size, mtime: fact.mtime, from: Where::Manifest });
                return Ok(());
            }
            let Ok(handle) = open_beneath(folder, path, OFlags::PATH) else { return Ok(()) };
            let stat = rustix::fs::fstat(&handle)
                .map_err(|errno| Unobserved(format!("cannot look at a restored file: {errno}")))?;
            if FileType::from_raw_mode(stat.st_mode).is_file() {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                visit(Seen { path, size, mtime: mtime_of(&stat), from: Where::Restored });
            }
            Ok(())
        })
    }
}

/// The last change of an open file.
pub(super) fn mtime_of(stat: &rustix::fs::Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// A glob over paths of the manifest: `*` stays within a component, `**` doesn't. A slash in
/// front is allowed and means nothing: paths are below the restore root.
pub(super) fn glob(check: &str, pattern: &str) -> Result<GlobMatcher, DrillError> {
    GlobBuilder::new(pattern.trim_start_matches('/'))
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| DrillError::BadCheck { check: check.to_owned(), reason: error.to_string() })
}

pub(super) fn path_of(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

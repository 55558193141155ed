//! The roots of one pass: that each is there, how each is read, and which lies inside another.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::outcome::RootView;
use super::request::BackupRequest;
use crate::base::display;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::source::files::{FilesError, Rules, Stop, Walk};

/// Everything that one pass reads.
pub(super) struct Sources<'a> {
    rules: &'a Rules,
    roots: Vec<Source>,
}

/// One root.
struct Source {
    /// As it is recorded.
    path: PathBuf,
    /// Roots inside of it, relative to it: what they hold is recorded with them.
    inner: Vec<Vec<u8>>,
    /// What the outcome says of it.
    view: RootView,
}

impl<'a> Sources<'a> {
    /// Looks whether all roots are there.
    ///
    /// # Errors
    /// When one is missing or an empty folder.
    pub(super) fn open(request: &BackupRequest, rules: &'a Rules, cx: &Context) -> Result<Self, EngineError> {
        check(request)?;
        let mut roots = Vec::new();
        for path in &request.roots {
            let view = view_of(path);
            if let Some(real) = &view.real {
                cx.progress.note(format!("{} is a link: {real} is backed up under its name", view.path));
            }
            roots.push(Source { path: path.clone(), inner: inner_roots(path, &request.roots), view });
        }
        Ok(Self { rules, roots })
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
        let mut walk = Walk::open_by(&source.path, self.rules)?;
        for place in &source.inner {
            walk.stop_at(place.clone(), Stop::OtherRoot);
        }
        Ok(walk)
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
            let path = display::path(root.as_os_str().as_bytes());
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
    request.roots.iter().try_for_each(|root| check_root(root))
}

fn check_root(root: &Path) -> Result<(), EngineError> {
    let path = display::path(root.as_os_str().as_bytes());
    let Ok(facts) = std::fs::metadata(root) else {
        return Err(EngineError::NoSource { path, what: "does not exist or cannot be reached" });
    };
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
fn view_of(root: &Path) -> RootView {
    let is_link = root.symlink_metadata().is_ok_and(|facts| facts.is_symlink());
    let real = if is_link { root.canonicalize().ok() } else { None };
    RootView {
        path: display::path(root.as_os_str().as_bytes()),
        real: real.map(|real| display::path(real.as_os_str().as_bytes())),
        view: "files",
    }
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

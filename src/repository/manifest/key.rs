//! The order of a manifest: all entries of a directory, then the contents of its
//! sub-directories.

use std::cmp::Ordering;
use std::fmt;

use crate::base::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// The place of an entry: its directory (components joined by `/`, empty for the root) and its
/// name there. The root of a tree has an empty directory and an empty name, and sorts first.
///
/// Ordered by the directory's components, then by name: what one pass over a file system with
/// one `statx` each gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// Components of the directory joined by `/`; no leading or trailing `/`.
    pub dir: &'a [u8],
    /// Name in that directory.
    pub name: &'a [u8],
}

impl<'a> Key<'a> {
    /// The entry of a tree's root.
    pub const ROOT: Key<'static> = Key { dir: b"", name: b"" };

    /// From a path relative to the root; the empty path is the root itself.
    pub fn of_path(path: &'a [u8]) -> Self {
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Self { dir: &path[..slash], name: &path[slash + 1..] },
            None => Self { dir: b"", name: path },
        }
    }

    /// The path relative to the root.
    pub fn path(&self) -> Vec<u8> {
        if self.dir.is_empty() { self.name.to_vec() } else { [self.dir, b"/", self.name].concat() }
    }

    /// Whether a manifest can hold it: each component a file name, length and depth in bounds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), PathFault> {
        if self.dir.is_empty() && self.name.is_empty() {
            return Ok(());
        }
        check_name(self.name)?;
        if self.dir.is_empty() {
            return Ok(());
        }
        if self.dir.len() + 1 + self.name.len() > PATH_BYTES_MAX {
            return Err(PathFault::TooLong);
        }
        let mut depth = 1;
        for component in self.dir.split(|byte| *byte == b'/') {
            check_name(component)?;
            depth += 1;
        }
        if depth > PATH_DEPTH_MAX { Err(PathFault::TooDeep) } else { Ok(()) }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_dirs(self.dir, other.dir).then_with(|| self.name.cmp(other.name))
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.dir.escape_ascii(), self.name.escape_ascii())
    }
}

/// Compares directories by components. `/` is no byte of a name, so taking it for the least
/// byte gives exactly that.
pub(super) fn cmp_dirs(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let at = |dir: &[u8]| dir.get(same).map(|byte| if *byte == b'/' { 0 } else { *byte });
    at(a).cmp(&at(b))
}

/// Whether a name can stand in a manifest: a single component that is not `.` or `..`.
pub(super) fn check_name(name: &[u8]) -> Result<(), PathFault> {
    if name.is_empty() {
        return Err(PathFault::EmptyName);
    }
    if name == b"." || name == b".." {
        return Err(PathFault::DotName);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(PathFault::LongName);
    }
    if name.iter().any(|byte| *byte == b'/' || *byte == 0) {
        return Err(PathFault::SlashOrNul);
    }
    Ok(())
}

/// Why a path can't stand in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// A component without a byte.
    #[error("a name is empty")]
    EmptyName,
    /// A component that means a place.
    #[error("a name is `.` or `..`")]
    DotName,
    /// A component over 255 bytes.
    #[error("a name is longer than {NAME_BYTES_MAX} bytes")]
    LongName,
    /// A component with a byte that no file system stores.
    #[error("a name contains `/` or NUL")]
    SlashOrNul,
    /// More than 1 MiB.
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// More than 4096 components.
    #[error("the path is deeper than {PATH_DEPTH_MAX} levels")]
    TooDeep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_comes_whole_before_its_sub_directories() {
        let paths: [&[u8]; 9] = [b"", b"a", b"a-b", b"b", b"a/x", b"a/z", b"a/x/0", b"a-b/c", b"b/a"];
        let keys: Vec<Key<'_>> = paths.iter().map(|path| Key::of_path(path)).collect();
        assert!(keys.is_sorted_by(|x, y| x < y), "{keys:?}");
        for (path, key) in paths.iter().zip(&keys) {
            assert_eq!(key.path(), *path);
            assert_eq!(key.check(), Ok(()));
        }
    }

    #[test]
    fn names_that_could_leave_the_destination_are_refused() {
        let long = [b'n'; 256];
        for (path, fault) in [
            (&b".."[..], PathFault::DotName),
            (b"a/./b", PathFault::DotName),
            (b"/a", PathFault::EmptyName),
            (b"a//b", PathFault::EmptyName),
            (b"a/", PathFault::EmptyName),
            (b"a\0", PathFault::SlashOrNul),
            (&long, PathFault::LongName),
        ] {
            let key = Key::of_path(path);
            let found = if path == b"/a" { Key { dir: b"", name: b"/a" }.check() } else { key.check() };
            let fault = if path == b"/a" { PathFault::SlashOrNul } else { fault };
            assert_eq!(found, Err(fault), "{key:?}");
        }
        let deep = vec!["d"; 4096].join("/");
        assert_eq!(Key::of_path(deep.as_bytes()).check(), Ok(()));
        let deeper = vec!["d"; 4097].join("/");
        assert_eq!(Key::of_path(deeper.as_bytes()).check(), Err(PathFault::TooDeep));
        let long = vec!["x".repeat(255); 4097].join("/");
        assert_eq!(Key::of_path(long.as_bytes()).check(), Err(PathFault::TooLong));
    }
}

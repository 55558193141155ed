//! The path of an entry to be written: plain names only, so that it cannot leave its destination.

use super::error::{FilesError, shown};
use crate::base::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// Names joined by `/`, below a destination; empty for the destination itself. No name is
/// empty, `.`, `..`, longer than 255 bytes, or holds a NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SafePath(Vec<u8>);

impl SafePath {
    /// The destination itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// From names already joined by `/`, as a manifest's directories are.
    ///
    /// # Errors
    /// Class `Damage` when a name is not plain or the path is beyond the limits.
    pub fn new(joined: &[u8]) -> Result<Self, FilesError> {
        let is_sound = joined.is_empty()
            || joined.len() <= PATH_BYTES_MAX
                && joined.split(|b| *b == b'/').all(is_plain)
                && joined.iter().filter(|b| **b == b'/').count() < PATH_DEPTH_MAX;
        if is_sound { Ok(Self(joined.to_vec())) } else { Err(FilesError::UnsafePath { path: shown(joined) }) }
    }

    /// The entry `name` below this path; this path itself for an empty name (a tree's root).
    ///
    /// # Errors
    /// Class `Damage` when the name is not plain (it may not hold `/` either) or the path gets too long.
    pub fn join(&self, name: &[u8]) -> Result<Self, FilesError> {
        if name.is_empty() {
            return Ok(self.clone());
        }
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if !is_plain(name) || path.len() > PATH_BYTES_MAX {
            return Err(FilesError::UnsafePath { path: shown(&path) });
        }
        Ok(Self(path))
    }

    /// The bytes, names joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory and the last name; `None` for the destination itself.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => Some((&self.0[..slash], &self.0[slash + 1..])),
            None => Some((b"", &self.0)),
        }
    }
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"."
        && name != b".."
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_make_a_path() {
        for evil in
            [&b".."[..], b".", b"a/..", b"../a", b"/a", b"a/", b"a//b", b"a\0b", b"a/./b", &[b'x'; 256]]
        {
            assert!(SafePath::new(evil).is_err(), "{}", shown(evil));
            assert!(SafePath::root().join(evil).is_err(), "{}", shown(evil));
        }
        let path = SafePath::new(b"a/b").and_then(|p| p.join(b"c\xff")).expect("plain");
        assert_eq!(path.as_bytes(), b"a/b/c\xff");
        assert_eq!(path.split(), Some((&b"a/b"[..], &b"c\xff"[..])));
        assert!(path.join(b"x/y").is_err());
        assert_eq!(SafePath::new(b"").expect("the root"), SafePath::root());
    }
}

//! What an operator wants left out: patterns with gitignore's syntax, and caches that say so.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};

use super::error::FilesError;
use crate::base::metadata::FileKind;

/// The file that marks its directory as a cache, and how it must begin
/// (<https://bford.info/cachedir/>).
pub(super) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";
const CACHE_TAG: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Exclude patterns, ready to be asked.
#[derive(Debug)]
pub(super) struct Filter {
    patterns: Gitignore,
}

impl Filter {
    /// From lines as of a `.gitignore` file in the root of the source.
    pub(super) fn new(lines: &[String]) -> Result<Self, FilesError> {
        let mut builder = GitignoreBuilder::new("");
        let problem = |line: &str, source| FilesError::Pattern {
            pattern: super::error::shown(line.as_bytes()),
            source,
        };
        for line in lines {
            if let Err(source) = builder.add_line(None, line) {
                return Err(problem(line, source));
            }
        }
        let patterns = builder.build().map_err(|source| problem("(all together)", source))?;
        Ok(Self { patterns })
    }

    /// Without patterns no path needs to be put together.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the entry is to be left out; the walk never asks for what lies below one that is.
    pub(super) fn excludes(&self, path: &[u8], kind: FileKind) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.patterns.matched(path, kind == FileKind::Directory).is_ignore()
    }
}

/// Whether a directory that holds a `CACHEDIR.TAG` is a cache: the tag must be a regular file
/// with the right first bytes. What cannot be read is none.
pub(super) fn is_cache(dir: impl rustix::fd::AsFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if !super::stat::Stat::of(&dir, CACHE_TAG_NAME).is_ok_and(|stat| stat.kind == FileKind::File) {
        return false;
    }
    let Ok(fd) = rustix::fs::openat(&dir, CACHE_TAG_NAME, flags, Mode::empty()) else { return false };
    let mut start = [0; CACHE_TAG.len()];
    std::fs::File::from(fd).read_exact(&mut start).is_ok() && start == *CACHE_TAG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_follow_gitignore() {
        let lines = ["*.o", "/target/", "!keep.o", "logs/**/old", "# a comment", ""].map(str::to_owned);
        let filter = Filter::new(&lines).expect("good patterns");
        for (path, kind, expected) in [
            (&b"a/b.o"[..], FileKind::File, true),
            (b"a/keep.o", FileKind::File, false),
            (b"target", FileKind::Directory, true),
            (b"target", FileKind::File, false),
            (b"a/target", FileKind::Directory, false),
            (b"logs/1/2/old", FileKind::File, true),
            (b"\xff\xfe.o", FileKind::File, true),
        ] {
            assert_eq!(filter.excludes(path, kind), expected, "{path:?}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Filter::new(&["a{b".to_owned()]).expect_err("not a pattern");
        assert!(error.to_string().contains("a{b"), "{error}");
    }
}

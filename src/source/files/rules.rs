//! What a walk leaves out, as a person writes it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::error::{FilesError, shown};
use super::filter::{Filter, check_line};
use super::stat::Stat;
use crate::base::limits::PATTERN_FILE_BYTES_MAX;
use crate::base::metadata::FileKind;

/// What a walk leaves out. The root of a walk is never left out: who names it wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Record mount points below the root as empty directories.
    pub one_file_system: bool,
    /// Patterns with the syntax of a `.gitignore` file in the root. They win over `includes`.
    pub excludes: Vec<String>,
    /// When there are any, only what one of them matches is kept, with all below it and the
    /// folders that lead to it. The syntax is the same; a `!` takes back what an earlier line took.
    pub includes: Vec<String>,
    /// Leave out regular files longer than this (bytes).
    pub larger_than: Option<u64>,
    /// Record directories that hold an entry of one of these names as empty ones.
    pub if_present: Vec<String>,
    /// Record directories with a valid `CACHEDIR.TAG` as empty ones.
    pub exclude_caches: bool,
}

impl WalkOptions {
    /// What makes two sets of rules the same, for the hash that a snapshot keeps: the excludes,
    /// then everything else with a NUL before it, which no pattern holds; a line feed behind each.
    pub fn digest_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut line = |mark: &str, value: &str| {
            text.extend_from_slice(mark.as_bytes());
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        };
        self.excludes.iter().for_each(|rule| line("", rule));
        self.includes.iter().for_each(|rule| line("\0include ", rule));
        self.if_present.iter().for_each(|name| line("\0if-present ", name));
        if let Some(bytes) = self.larger_than {
            line("\0larger-than ", &bytes.to_string());
        }
        if self.one_file_system {
            line("\0one-file-system", "");
        }
        if !self.exclude_caches {
            line("\0with-caches", "");
        }
        text
    }
}

/// Rules whose patterns are ready to be asked; walks share them. Ten thousand patterns that are no
/// plain names take about a second and 100 MB.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) options: WalkOptions,
    pub(super) filter: Filter,
}

impl Rules {
    /// Makes the patterns ready.
    ///
    /// # Errors
    /// Names the first that is none, or says that they are too many.
    pub fn new(options: WalkOptions) -> Result<Self, FilesError> {
        let filter = Filter::new(&options.excludes, &options.includes)?;
        Ok(Self { options, filter })
    }
}

/// The lines of a file of patterns. A mark of the byte order and line ends of other systems are
/// no part of them.
///
/// # Errors
/// When it is no regular file of at most [`PATTERN_FILE_BYTES_MAX`] bytes of UTF-8 text, or can't
/// be read. A named pipe is never waited for.
pub fn read_patterns(path: &Path) -> Result<Vec<String>, FilesError> {
    use std::os::unix::ffi::OsStrExt;
    let path_shown = shown(path.as_os_str().as_bytes());
    let failed = |source: std::io::Error| FilesError::PatternFile { path: path_shown.clone(), source };
    let refuse = |what: &'static str| failed(std::io::Error::other(what));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    if Stat::of_open(&fd).map_err(failed)?.kind != FileKind::File {
        return Err(refuse("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::from(fd).take(PATTERN_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PATTERN_FILE_BYTES_MAX {
        return Err(refuse("it is longer than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Vec::new();
    for line in text.lines() {
        check_line(line).map_err(|_| refuse("it holds a NUL"))?;
        lines.push(line.to_owned());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_patterns_is_read_and_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rules");
        std::fs::write(&path, "\u{feff}*.o\r\n# no\n\n/a b/\n").expect("written");
        assert_eq!(read_patterns(&path).expect("read"), ["*.o", "# no", "", "/a b/"]);
        for (bad, word) in [(&b"\xff\n"[..], "UTF-8"), (b"a\0b", "NUL")] {
            std::fs::write(&path, bad).expect("written");
            let error = read_patterns(&path).expect_err("refused");
            assert!(
                std::error::Error::source(&error).is_some_and(|e| e.to_string().contains(word)),
                "{error}"
            );
        }
        // A hundred sparse megabytes are refused before they are read.
        File::create(&path).and_then(|file| file.set_len(100_000_000)).expect("made");
        let error = read_patterns(&path).expect_err("too long");
        assert!(
            std::error::Error::source(&error).is_some_and(|e| e.to_string().contains("4 MiB")),
            "{error}"
        );
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("made");
        assert!(read_patterns(&pipe).is_err(), "and does not wait");
        assert!(read_patterns(folder.path()).is_err());
    }

    #[test]
    fn every_rule_counts_in_the_digest() {
        let plain = WalkOptions { exclude_caches: true, ..WalkOptions::default() };
        let with = |change: &dyn Fn(&mut WalkOptions)| {
            let mut options = plain.clone();
            change(&mut options);
            options.digest_text()
        };
        let text = |line: &str| vec![line.to_owned()];
        let all = [
            plain.digest_text(),
            with(&|o| o.excludes = text("a")),
            with(&|o| o.includes = text("a")),
            with(&|o| o.if_present = text("a")),
            with(&|o| o.larger_than = Some(1)),
            with(&|o| o.one_file_system = true),
            with(&|o| o.exclude_caches = false),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
        assert_eq!(all[1], b"a\n", "excludes alone hash as they always did");
    }
}

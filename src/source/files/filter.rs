//! What an operator wants left out, or wants alone: patterns with gitignore's syntax, and caches
//! that say so.
//!
//! Excludes win over includes. With includes, an entry is kept that one of them matches, and what
//! lies below it; a folder that none matches is kept only as the way to something that is
//! ([`Verdict::Way`]; `lead` looks whether there is anything).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};

use super::error::{FilesError, shown};
use crate::base::limits::PATTERNS_MAX;
use crate::base::metadata::FileKind;

/// The file that marks its directory as a cache, and how it must begin
/// (<https://bford.info/cachedir/>).
pub(super) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";
const CACHE_TAG: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is kept, and what lies below it, as far as no exclude says otherwise.
    Keep,
    /// A folder that is kept only when something below it is.
    Way,
    /// It is left out, with all below it.
    Leave,
}

/// Exclude and include patterns, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    excludes: Patterns,
    includes: Patterns,
    ways: Ways,
}

/// One list of patterns, and how often each decided.
#[derive(Clone, Debug)]
struct Patterns {
    set: Arc<Gitignore>,
    /// By what the matcher calls a pattern.
    hits: HashMap<String, Hits>,
}

/// A pattern as it was written, and how often it decided.
#[derive(Clone, Debug)]
struct Hits {
    line: String,
    count: u64,
}

/// Folders below which an include can match something.
#[derive(Clone, Debug)]
enum Ways {
    /// A pattern that is not bound to the root can match anywhere.
    All,
    /// Those on the way of patterns that are.
    Some(Arc<Gitignore>),
}

impl Filter {
    /// From lines as of a `.gitignore` file in the root of the source.
    pub(super) fn new(excludes: &[String], includes: &[String]) -> Result<Self, FilesError> {
        Ok(Self {
            excludes: Patterns::new(excludes)?,
            includes: Patterns::new(includes)?,
            ways: Ways::of(includes),
        })
    }

    /// Without patterns no path needs to be put together.
    pub(super) fn is_empty(&self) -> bool {
        self.excludes.set.is_empty() && self.includes.set.is_empty()
    }

    /// Whether something is kept only where a pattern says so.
    pub(super) fn has_includes(&self) -> bool {
        !self.includes.set.is_empty()
    }

    /// What becomes of an entry in a folder that is itself kept by an include or not. The walk
    /// never asks for what lies below an entry that is left out.
    pub(super) fn judge(&mut self, path: &[u8], kind: FileKind, in_kept: bool) -> Verdict {
        let path = Path::new(OsStr::from_bytes(path));
        let is_folder = kind == FileKind::Directory;
        if self.excludes.decide(path, is_folder) == Some(true) {
            return Verdict::Leave;
        }
        if !self.has_includes() || self.includes.decide(path, is_folder).unwrap_or(in_kept) {
            return Verdict::Keep;
        }
        if is_folder && self.ways.lead_through(path) { Verdict::Way } else { Verdict::Leave }
    }

    /// Patterns that decided nothing so far: `exclude` or `include`, and the pattern.
    pub(super) fn idle(&self) -> Vec<(&'static str, String)> {
        let of = |word, patterns: &Patterns| -> Vec<(&'static str, String)> {
            patterns
                .hits
                .values()
                .filter(|hits| hits.count == 0)
                .map(|hits| (word, hits.line.clone()))
                .collect()
        };
        let mut idle = of("exclude", &self.excludes);
        idle.append(&mut of("include", &self.includes));
        idle.sort_unstable();
        idle
    }
}

impl Patterns {
    fn new(lines: &[String]) -> Result<Self, FilesError> {
        if lines.len() > PATTERNS_MAX {
            return Err(FilesError::TooManyPatterns { count: lines.len() });
        }
        let mut builder = GitignoreBuilder::new("");
        let problem = |line: &str, source| FilesError::Pattern { pattern: shown(line.as_bytes()), source };
        let mut hits = HashMap::new();
        for line in lines {
            check_line(line).map_err(|what| problem(line, ignore::Error::Io(std::io::Error::other(what))))?;
            let literal = without_braces(line);
            builder.add_line(None, &literal).map_err(|source| problem(line, source))?;
            if let Some(pattern) = pattern_of(&literal) {
                hits.insert(pattern.to_owned(), Hits { line: line.trim_end().to_owned(), count: 0 });
            }
        }
        let set = builder.build().map_err(|source| problem("(all together)", source))?;
        Ok(Self { set: Arc::new(set), hits })
    }

    /// What the last pattern that matches says: `true` takes the entry, `false` (with a `!`) doesn't.
    fn decide(&mut self, path: &Path, is_folder: bool) -> Option<bool> {
        let (glob, takes) = match self.set.matched(path, is_folder) {
            Match::None => return None,
            Match::Ignore(glob) => (glob, true),
            Match::Whitelist(glob) => (glob, false),
        };
        if let Some(hits) = self.hits.get_mut(glob.original()) {
            hits.count += 1;
        }
        Some(takes)
    }
}

impl Ways {
    /// Each folder that a pattern bound to the root names on its way. What can't be taken apart
    /// for certain leads everywhere: that costs time and leaves nothing out.
    fn of(includes: &[String]) -> Self {
        let mut builder = GitignoreBuilder::new("");
        let mut known = HashSet::new();
        let includes: Vec<String> = includes.iter().map(|line| without_braces(line)).collect();
        for line in includes.iter().filter_map(|line| pattern_of(line)).filter(|line| !line.starts_with('!'))
        {
            let bound = line.trim_end_matches('/');
            if !bound.contains('/') {
                return Self::All;
            }
            let mut way = String::new();
            let mut names = bound.trim_start_matches('/').split('/').peekable();
            while let Some(name) = names.next() {
                let is_plain = name != "**" && !name.contains(['[', ']', '{', '}', '\\', '!']);
                if names.peek().is_none() {
                    break;
                }
                if !is_plain && way.is_empty() {
                    return Self::All;
                }
                let step = if is_plain { format!("{way}/{name}") } else { format!("{way}/**") };
                if known.insert(step.clone()) && builder.add_line(None, &format!("{step}/")).is_err() {
                    return Self::All;
                }
                if !is_plain {
                    break;
                }
                way = step;
            }
        }
        builder.build().map_or(Self::All, |folders| Self::Some(Arc::new(folders)))
    }

    fn lead_through(&self, path: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Some(folders) => folders.matched(path, true).is_ignore(),
        }
    }
}

/// The pattern of a line, as the matcher gives it back; none for a comment or an empty line.
fn pattern_of(line: &str) -> Option<&str> {
    let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

/// What no line may hold: it would be two patterns, or match nothing.
pub(super) fn check_line(line: &str) -> Result<(), &'static str> {
    if line.contains(['\n', '\0']) {
        Err("it holds a line feed or a NUL")
    } else if ["[[:", "[^[:", "[![:"].iter().any(|class| line.contains(class)) {
        Err("classes with names are not known here; write the range, such as [0-9]")
    } else {
        Ok(())
    }
}

/// A pattern whose braces stand for themselves, as git has it: the matcher would take `{a,b}` for a
/// choice.
fn without_braces(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut is_escaped, mut in_class) = (false, false);
    for (at, sign) in line.char_indices() {
        if matches!(sign, '{' | '}') && !is_escaped && !in_class {
            out.push('\\');
        }
        match sign {
            // One that is never closed is a bracket.
            '[' if !is_escaped => in_class |= line[at + 1..].contains(']'),
            ']' => in_class = false,
            _ => {}
        }
        is_escaped = sign == '\\' && !is_escaped;
        out.push(sign);
    }
    out
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

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn patterns_follow_gitignore() {
        let excludes = lines(&["*.o", "/target/", "!keep.o", "logs/**/old", "# a comment", ""]);
        let mut filter = Filter::new(&excludes, &[]).expect("good patterns");
        for (path, kind, expected) in [
            (&b"a/b.o"[..], FileKind::File, true),
            (b"a/keep.o", FileKind::File, false),
            (b"target", FileKind::Directory, true),
            (b"target", FileKind::File, false),
            (b"a/target", FileKind::Directory, false),
            (b"logs/1/2/old", FileKind::File, true),
            (b"\xff\xfe.o", FileKind::File, true),
        ] {
            let verdict = filter.judge(path, kind, true);
            assert_eq!(verdict, if expected { Verdict::Leave } else { Verdict::Keep }, "{path:?}");
        }
        assert_eq!(filter.idle(), []);
    }

    #[test]
    fn a_pattern_that_decides_nothing_is_known() {
        let excludes = lines(&["*.o", "*.typo  ", "/build/"]);
        let mut filter = Filter::new(&excludes, &lines(&["src", "nowhere"])).expect("good patterns");
        filter.judge(b"a.o", FileKind::File, false);
        filter.judge(b"src", FileKind::Directory, false);
        let idle = [("exclude", "*.typo"), ("exclude", "/build/"), ("include", "nowhere")];
        assert_eq!(filter.idle(), idle.map(|(word, line)| (word, line.to_owned())));
    }

    #[test]
    fn includes_keep_what_they_match_and_the_ways_to_it() {
        use FileKind::{Directory, File};
        use Verdict::{Keep, Leave, Way};
        let bound = lines(&["/docs/20[0-9]/*.pdf", "etc/nginx/", "/var/**/keep", "!secret.pdf"]);
        let mut filter = Filter::new(&lines(&["*.bak"]), &bound).expect("good patterns");
        for (path, kind, in_kept, expected) in [
            (&b"docs"[..], Directory, false, Way),
            (b"docs/201", Directory, false, Way),
            (b"docs/x/y", Directory, false, Way),
            (b"docs/201/a.pdf", File, false, Keep),
            (b"docs/201/a.txt", File, false, Leave),
            (b"etc", Directory, false, Way),
            (b"etc/nginx", Directory, false, Keep),
            (b"etc/nginx", File, false, Leave),
            (b"etc/nginx/site", File, true, Keep),
            (b"etc/nginx/site.bak", File, true, Leave),
            (b"etc/nginx/secret.pdf", File, true, Leave),
            (b"etc/apache", Directory, false, Leave),
            (b"var", Directory, false, Way),
            (b"var/a/b/c", Directory, false, Way),
            (b"var/a/keep", Directory, false, Keep),
            (b"home", Directory, false, Leave),
        ] {
            let shown = shown(path);
            assert_eq!(filter.judge(path, kind, in_kept), expected, "{shown}");
        }
        for unbound in ["*.pdf", "docs/", "**/x", "{a/b,c}/d", "\\!x/y"] {
            let mut filter = Filter::new(&[], &lines(&[unbound])).expect("a good pattern");
            assert_eq!(filter.judge(b"any/where", Directory, false), Way, "{unbound}");
        }
    }

    #[test]
    fn braces_stand_for_themselves_as_in_git() {
        let mut filter =
            Filter::new(&lines(&["{a,b}", "c}", "d{", "[{x]y", "\\{e", "[{f"]), &[]).expect("good patterns");
        for (path, expected) in [
            (&b"{a,b}"[..], true),
            (b"a", false),
            (b"b", false),
            (b"c}", true),
            (b"d{", true),
            (b"{y", true),
            (b"xy", true),
            (b"{e", true),
            (b"[{f", true),
        ] {
            let verdict = filter.judge(path, FileKind::File, false);
            assert_eq!(verdict == Verdict::Leave, expected, "{path:?}");
        }
        assert!(Filter::new(&lines(&["x[[:digit:]]"]), &[]).is_err(), "it would match nothing");
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Filter::new(&lines(&["[z-a]"]), &[]).expect_err("not a pattern");
        assert!(error.to_string().contains("[z-a]"), "{error}");
        let error = Filter::new(&[], &lines(&["a\nb"])).expect_err("two patterns");
        assert!(error.to_string().contains("a\\nb"), "{error}");
        let many = vec!["x".to_owned(); PATTERNS_MAX + 1];
        assert!(matches!(Filter::new(&many, &[]), Err(FilesError::TooManyPatterns { .. })));
    }
}

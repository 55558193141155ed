//! What is wrong with a configuration: all of it at once, each with its place, cause and fix.
//!
//! Two printers: [`Problems`]' `Display` for people, `serde` for machines. A line that seems to
//! hold a secret is never shown, and control characters of a file are escaped.

use std::fmt;
use std::ops::Range;

use crate::base::error::{Class, Classified};

/// Whether a problem stops the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It is allowed, but probably not meant.
    Warning,
}

/// The sorts of problem, each with its stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// No configuration folder.
    NotFound,
    /// A file that can't be read, is too large, or isn't UTF-8.
    Unreadable,
    /// Not TOML.
    Syntax,
    /// A key that doesn't exist.
    UnknownKey,
    /// A key or value that a later version will take.
    NotYetSupported,
    /// A wrong type or a value out of range.
    Value,
    /// A key that must be there.
    Missing,
    /// A secret in the file.
    Secret,
    /// Two things in one place.
    Clash,
    /// A name of nothing.
    UnknownName,
    /// A promise that the rest of the file can't keep.
    Promise,
}

impl Sort {
    /// The stable code that `lifeboat explain` expands.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "E0201",
            Self::Unreadable => "E0202",
            Self::Syntax => "E0203",
            Self::UnknownKey => "E0204",
            Self::NotYetSupported => "E0205",
            Self::Value => "E0206",
            Self::Missing => "E0207",
            Self::Secret => "E0208",
            Self::Clash => "E0209",
            Self::UnknownName => "E0210",
            Self::Promise => "E0211",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Whether it stops us.
    pub severity: Severity,
    /// `E` and four digits.
    pub code: &'static str,
    /// Relative to the configuration folder.
    pub file: String,
    /// Counted from 1; 0 when it is about the whole file.
    pub line: usize,
    /// In characters, counted from 1; 0 when it is about the whole file.
    pub column: usize,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
    /// The line and the caret's width in characters. `None` when there is nothing to show.
    #[serde(skip)]
    pub(super) snippet: Option<Snippet>,
}

impl Problem {
    /// An error about a file as a whole, that only a look at the machine finds.
    pub fn in_file(sort: Sort, file: String, cause: String, fix: &str) -> Self {
        Complaint::new(sort, cause, fix).in_file(&file)
    }
}

/// The source line under a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    text: String,
    indent: usize,
    width: usize,
}

/// What is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) sort: Sort,
    pub(super) cause: String,
    pub(super) fix: String,
}

impl Complaint {
    pub(super) fn new(sort: Sort, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { sort, cause: cause.into(), fix: fix.into() }
    }

    /// A wrong value.
    pub(super) fn value(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Sort::Value, cause, fix)
    }

    /// A value that a later version will take.
    pub(super) fn not_yet(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self::new(Sort::NotYetSupported, format!("{what} is not yet supported"), fix)
    }

    /// About a file as a whole.
    pub(super) fn in_file(self, file: &str) -> Problem {
        Problem {
            severity: Severity::Error,
            code: self.sort.code(),
            file: file.to_owned(),
            line: 0,
            column: 0,
            cause: self.cause,
            fix: self.fix,
            snippet: None,
        }
    }

    /// About a stretch of a file's text.
    pub(super) fn at(self, file: &str, text: &str, span: Range<usize>) -> Problem {
        let place = Place::of(text, span);
        let hidden = self.sort == Sort::Secret || looks_secret(place.text);
        Problem {
            line: place.line,
            column: place.column,
            snippet: (!hidden).then(|| place.snippet()),
            ..self.in_file(file)
        }
    }
}

/// A stretch of text as an editor counts it.
struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
    width: usize,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, span: Range<usize>) -> Self {
        let floor =
            |at: usize| (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let (start, end) = (floor(span.start), floor(span.end));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: text[line_start..line_end].trim_end_matches('\r'),
            width: text[start..end.clamp(start, line_end)].chars().count().max(1),
        }
    }

    /// At most 120 characters of the line, so that one long line can't fill a terminal.
    fn snippet(&self) -> Snippet {
        let skipped = self.column.saturating_sub(60);
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let text: String = self.text.chars().skip(skipped).take(120).map(shown).collect();
        let indent = self.column - 1 - skipped.min(self.column - 1);
        let width = self.width.min(120usize.saturating_sub(indent).max(1));
        Snippet { text, indent, width }
    }
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Whether a key promises a secret as its value.
pub(super) fn names_secret(key: &str) -> bool {
    const WORDS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "access_key",
        "api_key",
        "private_key",
        "dsn",
    ];
    let key = key.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().any(|word| key.contains(word)) && !key.ends_with("_file") && !key.ends_with("_command")
}

fn looks_secret(line: &str) -> bool {
    // Inline tables hold several keys on one line, and a URL may carry a user and a password.
    let keys = line.split(['{', ',', '=']).map(|part| part.trim().trim_matches(['"', '\'']));
    let userinfo = line.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '"', '\'']).next().is_some_and(|authority| authority.contains('@'))
    });
    userinfo || keys.into_iter().any(|key| key.len() < 64 && !key.contains(' ') && names_secret(key))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        match self.line {
            0 => write!(f, "{}: ", self.file)?,
            line => write!(f, "{}:{line}:{}: ", self.file, self.column)?,
        }
        write!(f, "{severity}[{}]: {}", self.code, printable(&self.cause))?;
        if let Some(snippet) = &self.snippet {
            let gutter = self.line.to_string();
            write!(f, "\n  {gutter} | {}", snippet.text)?;
            let (blank, indent) = (" ".repeat(gutter.len()), " ".repeat(snippet.indent));
            write!(f, "\n  {blank} | {indent}{}", "^".repeat(snippet.width))?;
        }
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", printable(&self.fix))?;
        }
        Ok(())
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// All that is wrong with a configuration; at least one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|p| p.severity == Severity::Error).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}\n")?;
        }
        let (errors, warnings) = (self.errors(), self.0.len() - self.errors());
        write!(f, "configuration: {}, {}", counted(errors, "error"), counted(warnings, "warning"))
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl std::error::Error for Problems {}

impl Classified for Problems {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn code(&self) -> &'static str {
        self.0.iter().find(|p| p.severity == Severity::Error).map_or(Sort::Value.code(), |p| p.code)
    }

    fn hint(&self) -> Option<String> {
        Some("docs/configuration.md lists every key with its default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, needle: &str) -> String {
        let start = text.find(needle).unwrap();
        Complaint::value("wrong", "mend it").at("a.toml", text, start..start + needle.len()).to_string()
    }

    #[test]
    fn a_problem_points_at_its_characters() {
        assert_eq!(
            shown("x = 1\nnäme = 'völlig' # c\n", "'völlig'"),
            "a.toml:2:8: error[E0206]: wrong\n  2 | näme = 'völlig' # c\n    |        ^^^^^^^^\n  fix: mend it"
        );
    }

    #[test]
    fn long_lines_and_control_characters_do_not_reach_the_terminal() {
        let text = format!("{}\x1b[31m!", "a".repeat(5000));
        let shown = shown(&text, "[31m");
        assert!(shown.lines().all(|l| l.chars().count() < 140), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown}");
    }

    #[test]
    fn lines_with_secrets_are_not_shown() {
        for line in [
            "password = 'hunter2'",
            "t = { secret_key = 'hunter2' }",
            "url = 's3://me:hunter2@host/b'",
            "TOKEN='hunter2'",
        ] {
            assert!(!shown(line, "=").contains("hunter2"), "{line}");
        }
        assert!(shown("credentials_file = '/x'", "/x").contains("credentials_file"));
    }

    #[test]
    fn spans_outside_the_text_are_no_panic() {
        let backwards = Range { start: 3, end: 1 };
        for span in [0..0, backwards, 3..900, 900..901, 1..2] {
            let problem = Complaint::value("wrong", "").at("a.toml", "é\nx", span);
            assert!(problem.line >= 1);
        }
    }
}

//! A Rust file as the house rules see it: tokens with their lines, comments and literals gone.
//!
//! This is far from a parser. It knows just enough to tell code from text, to expand `use` trees
//! into plain paths, and to find where the tests at a file's foot begin.

/// An identifier or one mark of punctuation (`::` counts as one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// `a::b::c`, wherever it stands; a `use` tree gives one path for each of its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

pub(crate) struct Source<'a> {
    /// From the top of the package, with `/`.
    pub(crate) path: &'a str,
    pub(crate) tokens: Vec<Token>,
    /// The first line that belongs to the tests at the foot; one past the end where there are none.
    pub(crate) tests_from_line: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn read(path: &'a str, text: &str) -> Self {
        let tokens = tokens(text);
        let whole_file_is_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
        let tests_from_line = if whole_file_is_tests {
            1
        } else {
            first_test_line(&tokens).unwrap_or(text.lines().count() + 1)
        };
        Self { path, tokens, tests_from_line }
    }

    /// The folder below `src`; for a file right in `src`, its name.
    pub(crate) fn floor(&self) -> Option<&'a str> {
        self.path.strip_prefix("src/")?.split('/').next()
    }

    pub(crate) fn production(&self) -> &[Token] {
        let end = self.tokens.partition_point(|token| token.line < self.tests_from_line);
        &self.tokens[..end]
    }

    /// All paths; `super::` chains that climb to the crate's root are spelled with `crate`.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut depth = ModuleDepth::of_file(self.path);
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            depth.step(&self.tokens, at);
            if !starts_a_path(&self.tokens, at) {
                continue;
            }
            let first = found.len();
            expand(&self.tokens, at, &mut Vec::new(), &mut found);
            found[first..].iter_mut().for_each(|path: &mut Path| depth.resolve(path));
        }
        found
    }

    pub(crate) fn production_paths(&self) -> Vec<Path> {
        let mut paths = self.paths();
        paths.retain(|path| path.line < self.tests_from_line);
        paths
    }
}

/// How many modules stand around a token, so that `super` can be counted.
struct ModuleDepth {
    of_file: usize,
    braces: usize,
    /// The brace depths at which inline modules were opened.
    inline: Vec<usize>,
}

impl ModuleDepth {
    fn of_file(path: &str) -> Self {
        let inside = path.strip_prefix("src/").unwrap_or(path);
        let parts = inside.split('/').count();
        let names_a_module = !matches!(inside.rsplit('/').next(), Some("mod.rs" | "lib.rs" | "main.rs"));
        Self { of_file: parts - 1 + usize::from(names_a_module), braces: 0, inline: Vec::new() }
    }

    fn step(&mut self, tokens: &[Token], at: usize) {
        match tokens[at].text.as_str() {
            "{" => {
                self.braces += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    self.inline.push(self.braces);
                }
            }
            "}" => {
                if self.inline.last() == Some(&self.braces) {
                    self.inline.pop();
                }
                self.braces = self.braces.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn resolve(&self, path: &mut Path) {
        let leading_self = usize::from(path.segments.first().is_some_and(|s| s == "self"));
        let supers = path.segments[leading_self..].iter().take_while(|s| *s == "super").count();
        if supers > 0 && supers >= self.of_file + self.inline.len() {
            path.segments.splice(..leading_self + supers, ["crate".to_owned()]);
        }
    }
}

/// Where the item `#[cfg(test)] mod ...` begins.
fn first_test_line(tokens: &[Token]) -> Option<usize> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    tokens
        .windows(attribute.len() + 1)
        .find(|w| {
            w[attribute.len()].text == "mod"
                && w.iter().zip(attribute).all(|(token, text)| token.text == text)
        })
        .map(|w| w[0].line)
}

/// A path has at least one `::`, or is what a `use` names.
fn starts_a_path(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).map_or("", |i| tokens[i].text.as_str());
    let after = tokens.get(at + 1).map_or("", |token| token.text.as_str());
    // `::tokio::spawn` starts at `tokio`; so does a path after a type's `>`, which is harmless.
    let continues =
        before == "::" && at >= 2 && (is_word(&tokens[at - 2].text) || tokens[at - 2].text == ">");
    is_word(&tokens[at].text) && !continues && (after == "::" || before == "use")
}

/// Appends the paths that begin at `at`; gives back the place of the first token after them.
fn expand(tokens: &[Token], mut at: usize, prefix: &mut Vec<String>, found: &mut Vec<Path>) -> usize {
    let kept = prefix.len();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if token.text == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                let next = expand(tokens, at, prefix, found);
                at = next.max(at + 1);
                if tokens.get(at).is_some_and(|token| token.text == "as") {
                    at += 2;
                }
                if tokens.get(at).is_some_and(|token| token.text == ",") {
                    at += 1;
                }
            }
            prefix.truncate(kept);
            return at + 1;
        }
        if !is_word(&token.text) {
            break;
        }
        prefix.push(token.text.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    if prefix.len() > kept {
        found.push(Path { segments: prefix.clone(), line });
    }
    prefix.truncate(kept);
    at
}

pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// Splits text into tokens. Comments, strings, characters and numbers vanish.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut scan = Scan { rest: text, line: 1 };
    let mut tokens = Vec::new();
    while let Some(c) = scan.rest.chars().next() {
        let line = scan.line;
        if scan.rest.starts_with("//") {
            scan.skip(scan.rest.find('\n').unwrap_or(scan.rest.len()));
        } else if scan.rest.starts_with("/*") {
            scan.block_comment();
        } else if let Some(hashes) = raw_string_hashes(scan.rest) {
            scan.raw_string(hashes);
        } else if c == '"' || scan.rest.starts_with("b\"") || scan.rest.starts_with("c\"") {
            scan.quoted('"');
        } else if c == '\'' || scan.rest.starts_with("b'") {
            scan.character_or_lifetime();
        } else if is_word(scan.rest) {
            let word = scan.skip(word_bytes(scan.rest));
            tokens.push(Token { text: word.to_owned(), line });
        } else if c.is_ascii_digit() {
            scan.skip(word_bytes(scan.rest));
        } else if scan.rest.starts_with("::") {
            scan.skip(2);
            tokens.push(Token { text: "::".to_owned(), line });
        } else {
            let mark = scan.skip(c.len_utf8());
            if !c.is_whitespace() {
                tokens.push(Token { text: mark.to_owned(), line });
            }
        }
    }
    tokens
}

struct Scan<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Scan<'a> {
    fn skip(&mut self, bytes: usize) -> &'a str {
        let (gone, rest) = self.rest.split_at(bytes);
        self.line += gone.matches('\n').count();
        self.rest = rest;
        gone
    }

    fn block_comment(&mut self) {
        self.skip(2);
        let mut depth = 1;
        while depth > 0 && !self.rest.is_empty() {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
            } else {
                self.skip(self.rest.chars().next().map_or(0, char::len_utf8));
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        let open = self.rest.find('"').map_or(self.rest.len(), |at| at + 1);
        self.skip(open);
        let close = format!("\"{}", "#".repeat(hashes));
        self.skip(self.rest.find(&close).map_or(self.rest.len(), |at| at + close.len()));
    }

    fn quoted(&mut self, quote: char) {
        self.skip(self.rest.find(quote).map_or(self.rest.len(), |at| at + 1));
        while let Some(c) = self.rest.chars().next() {
            self.skip(c.len_utf8());
            if c == '\\' {
                self.skip(self.rest.chars().next().map_or(0, char::len_utf8));
            } else if c == quote {
                return;
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        let body = self.rest.trim_start_matches('b').strip_prefix('\'').unwrap_or_default();
        let mut chars = body.chars();
        let is_character = chars.next() == Some('\\') || chars.next() == Some('\'');
        if is_character {
            self.quoted('\'');
        } else {
            self.skip(1);
            self.skip(word_bytes(self.rest));
        }
    }
}

fn word_bytes(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

/// `r"`, `r#"`, `br##"`: how many hashes, if a raw string begins here.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let after =
        text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

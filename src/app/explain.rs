//! What an error code means: the sections of `docs/errors.md`, which is part of the program.

use std::fmt;

const PAGES: &str = include_str!("../../docs/errors.md");

/// What is said of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Page {
    /// `E` and four digits.
    pub code: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What happened, likely causes, what to do: Markdown that reads well as it is.
    pub text: &'static str,
}

/// As a terminal shows it.
impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n\n{}", self.code, self.title, self.text)
    }
}

/// Every page, by code.
pub fn pages() -> impl Iterator<Item = Page> {
    PAGES.split("\n## ").skip(1).filter_map(|section| {
        let (heading, text) = section.split_once('\n')?;
        let (code, title) = heading.split_once(' ')?;
        Some(Page { code, title, text: text.trim() })
    })
}

/// The page of a code, in whatever case it is written.
pub fn page(code: &str) -> Option<Page> {
    pages().find(|page| page.code.eq_ignore_ascii_case(code.trim()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Codes that tests make up.
    const MADE_UP: [&str; 2] = ["E0000", "E9999"];

    /// Every `"E` + four digits + `"` in the source of the program.
    fn codes_of_the_source() -> BTreeSet<String> {
        let mut codes = BTreeSet::new();
        let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("src can be listed") {
                let path = entry.expect("src can be listed").path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let text = fs::read(path).expect("src can be read");
                codes.extend(text.windows(7).filter_map(|bytes| match bytes {
                    [b'"', b'E', digits @ .., b'"'] if digits.iter().all(u8::is_ascii_digit) => {
                        String::from_utf8(bytes[1..6].to_vec()).ok()
                    }
                    _ => None,
                }));
            }
        }
        codes.retain(|code| !MADE_UP.contains(&code.as_str()));
        codes
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let pages: Vec<String> = pages().map(|page| page.code.to_owned()).collect();
        assert!(pages.is_sorted_by(|a, b| a < b), "codes ascend, each once");
        let (pages, codes) = (BTreeSet::from_iter(pages), codes_of_the_source());
        let lacking: Vec<_> = codes.difference(&pages).collect();
        assert!(lacking.is_empty(), "docs/errors.md lacks {lacking:?}");
        let needless: Vec<_> = pages.difference(&codes).collect();
        assert!(needless.is_empty(), "docs/errors.md explains what nothing says: {needless:?}");
    }

    #[test]
    fn every_page_says_what_to_do() {
        for page in pages() {
            assert!(!page.title.is_empty() && !page.title.ends_with('.'), "{}", page.code);
            assert!(page.text.contains("What to do:\n- "), "{}", page.code);
            assert!(!page.text.contains("\n#"), "{}", page.code);
        }
    }

    #[test]
    fn a_page_is_found_however_its_code_is_written() {
        assert_eq!(page("e0106 ").map(|page| page.title), Some("The place cannot be reached"));
        assert_eq!(page("E9999"), None);
        assert_eq!(page(""), None);
    }
}

//! What is left out: rules in gitignore's syntax, and folders that say they are caches.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::SourceError;

/// The name of the file that marks a cache folder.
pub(super) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";
/// What such a file begins with (bford.info/cachedir).
pub(super) const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Rules over paths below a root.
#[derive(Debug)]
pub(super) struct Filter {
    rules: Option<Gitignore>,
}

impl Filter {
    /// Understands the rules.
    pub(super) fn new(rules: &[String]) -> Result<Self, SourceError> {
        if rules.is_empty() {
            return Ok(Self { rules: None });
        }
        let mut builder = GitignoreBuilder::new("/");
        for rule in rules {
            builder
                .add_line(None, rule)
                .map_err(|error| SourceError::Rule { rule: rule.clone(), reason: error.to_string() })?;
        }
        let rules = builder
            .build()
            .map_err(|error| SourceError::Rule { rule: rules.join(", "), reason: error.to_string() })?;
        Ok(Self { rules: Some(rules) })
    }

    /// Whether a path below the root is left out.
    pub(super) fn excludes(&self, path: &[u8], is_folder: bool) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|rules| rules.matched(Path::new(OsStr::from_bytes(path)), is_folder).is_ignore())
    }
}

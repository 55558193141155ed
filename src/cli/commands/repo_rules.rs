//! The rules of `lifeboat repo backup`: what they are, and what they left out.

use std::path::PathBuf;

use crate::base::error::Failure;
use crate::base::size::format_bytes;
use crate::cli::args::RuleArgs;
use crate::cli::output::{Output, escape};
use crate::engine::backup::outcome::LeftOut;
use crate::source::files::WalkOptions;
use crate::source::files::rules::read_patterns;

/// At most this many patterns that decided nothing are named.
const IDLE_NAMED_MAX: usize = 10;

/// The rules that the flags and the files they name make.
pub(super) fn rules(args: RuleArgs) -> Result<WalkOptions, Failure> {
    let all = |mut patterns: Vec<String>, files: &[PathBuf]| -> Result<Vec<String>, Failure> {
        for file in files {
            patterns.append(&mut read_patterns(file)?);
        }
        Ok(patterns)
    };
    Ok(WalkOptions {
        one_file_system: args.one_file_system,
        excludes: all(args.excludes, &args.exclude_files)?,
        includes: all(args.includes, &args.include_files)?,
        larger_than: args.exclude_larger_than,
        if_present: args.if_present,
        exclude_caches: !args.with_caches,
    })
}

/// Names patterns that decided nothing: they may be misspelt.
pub(super) fn name_idle(out: Output, left_out: &LeftOut) {
    let idle = &left_out.idle_patterns;
    for one in idle.iter().take(IDLE_NAMED_MAX) {
        out.talk(&format!("note: the {} pattern `{}` decided nothing", one.list, escape(&one.pattern)));
    }
    if !idle.is_empty() {
        out.talk("  patterns are relative to each folder backed up, as in a .gitignore file in it");
    }
    if let Some(rest) = idle.len().checked_sub(IDLE_NAMED_MAX).filter(|rest| *rest > 0) {
        out.talk(&format!("note: {rest} more patterns decided nothing"));
    }
}

/// What rules left out, by rule; none when that is nothing.
pub(super) fn describe(out: &LeftOut) -> Option<String> {
    let mut parts = Vec::new();
    let mut part = |count: u64, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    part(out.by_pattern - out.folders, "entries by patterns");
    part(out.folders, "folders by patterns with all below them");
    part(out.larger, "files that are too long");
    part(out.caches, "caches");
    part(out.marked, "marked folders");
    part(out.mounts, "other file systems");
    if parts.is_empty() {
        return None;
    }
    let at_least = if out.folders + out.caches + out.marked + out.mounts > 0 { "at least " } else { "" };
    Some(format!("{} ({at_least}{})", parts.join(", "), format_bytes(out.bytes)))
}

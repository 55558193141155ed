//! The source of `lifeboat repo backup`: paths or a stream, the rules, and what they left out.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::error::AppError;
use crate::app::plumbing::absolute;
use crate::app::sources::VIEWS;
use crate::base::display;
use crate::base::error::Failure;
use crate::base::size::format_bytes;
use crate::cli::args::{RuleArgs, SnapshotArgs, SnapshotKindArg, StreamArgs};
use crate::cli::output::{Output, escape};
use crate::engine::backup::outcome::LeftOut;
use crate::engine::backup::request::{Freeze, StreamRequest};
use crate::source::files::rules::read_patterns;
use crate::source::files::{SafePath, WalkOptions};
use crate::source::frozen::hook::Hook;
use crate::source::stream::StreamSource;

/// A hook gets at least this long.
const HOOK_LIMIT_MIN: Duration = Duration::from_secs(1);
/// At most this many patterns that decided nothing are named.
const IDLE_NAMED_MAX: usize = 10;

/// What is read.
pub(super) struct Sourced {
    pub(super) roots: Vec<PathBuf>,
    pub(super) stream: Option<StreamRequest>,
}

/// The paths of a command line, or the stream that stands in their place.
pub(super) fn sourced(stream: &StreamArgs, paths: &[PathBuf], rules: &RuleArgs) -> Result<Sourced, Failure> {
    let (name, source) = match (&stream.stdin, &stream.stdin_command) {
        (Some(name), _) => (name, StreamSource::StandardInput),
        (None, Some(name)) => {
            (name, StreamSource::Command(paths.iter().map(|word| word.clone().into_os_string()).collect()))
        }
        (None, None) => {
            let roots = paths.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
            return Ok(Sourced { roots, stream: None });
        }
    };
    if rules.are_given() {
        return Err(usage("rules hold for folders, and a stream is none", "leave them out"));
    }
    let is_plain = SafePath::root().join(name.as_bytes()).is_ok() && !name.is_empty();
    if !is_plain {
        let what = format!("`{}` is no name of a file", display::path(name.as_bytes()));
        return Err(usage(&what, "write a plain name without a slash, such as shop.sql"));
    }
    let stream = StreamRequest { source, may_be_empty: stream.allow_empty };
    Ok(Sourced { roots: vec![PathBuf::from(name)], stream: Some(stream) })
}

/// Which view is read.
pub(super) fn freeze(args: SnapshotArgs, state: &Path) -> Freeze {
    if let Some(program) = args.snapshot_hook {
        return Freeze::Hook(Hook {
            program,
            limit: args.snapshot_hook_timeout.max(HOOK_LIMIT_MIN),
            records: state.join(VIEWS),
        });
    }
    match args.snapshot {
        SnapshotKindArg::None => Freeze::None,
        SnapshotKindArg::Auto => Freeze::Auto,
        SnapshotKindArg::Btrfs => Freeze::Btrfs,
    }
}

fn usage(what: &str, hint: &str) -> Failure {
    AppError::Usage { what: what.to_owned(), hint: hint.to_owned() }.into()
}

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

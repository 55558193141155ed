//! What a backup leaves out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::base::size::{parse_bytes, parse_duration};

/// Rules of what is left out. Patterns are those of a `.gitignore` file in each folder backed up.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// Leave out what matches, in gitignore's syntax (repeatable); wins over --include
    #[arg(long = "exclude", value_name = "GLOB")]
    pub excludes: Vec<String>,
    /// Leave out what a line of this file matches (repeatable)
    #[arg(long = "exclude-file", value_name = "FILE")]
    pub exclude_files: Vec<PathBuf>,
    /// Back up only what matches, with all below it and the folders that lead to it (repeatable)
    #[arg(long = "include", value_name = "GLOB")]
    pub includes: Vec<String>,
    /// Back up only what a line of this file matches (repeatable)
    #[arg(long = "include-file", value_name = "FILE")]
    pub include_files: Vec<PathBuf>,
    /// Leave out files longer than this, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub exclude_larger_than: Option<u64>,
    /// Keep folders empty that hold an entry of this name (repeatable)
    #[arg(long = "exclude-if-present", value_name = "NAME")]
    pub if_present: Vec<String>,
    /// Back up caches, too: folders with a CACHEDIR.TAG, which are kept empty otherwise
    #[arg(long)]
    pub with_caches: bool,
    /// Don't enter other file systems
    #[arg(long)]
    pub one_file_system: bool,
}

impl RuleArgs {
    /// Whether any rule is given.
    pub fn are_given(&self) -> bool {
        let lists = [&self.excludes, &self.includes, &self.if_present];
        let files = [&self.exclude_files, &self.include_files];
        lists.iter().any(|list| !list.is_empty())
            || files.iter().any(|list| !list.is_empty())
            || self.exclude_larger_than.is_some()
            || self.with_caches
            || self.one_file_system
    }
}

/// Bytes instead of paths.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Back standard input up as one file of this name; a pipe can't say that it was cut, so rather use --stdin-command
    #[arg(long, value_name = "NAME", conflicts_with_all = ["stdin_command", "paths", "snapshot"])]
    pub stdin: Option<OsString>,
    /// Back up what a program prints as one file of this name: `--stdin-command NAME -- PROGRAM ARGUMENTS`, without a
    /// shell; no snapshot when the program fails
    #[arg(long, value_name = "NAME", requires = "paths", conflicts_with = "snapshot")]
    pub stdin_command: Option<OsString>,
    /// Take a stream without a byte for a good one
    #[arg(long)]
    pub allow_empty: bool,
}

/// Which view of the source is read.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Read a frozen view of each path: a snapshot, which is removed at the end
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    pub snapshot: SnapshotKindArg,
    /// Read the view that this program makes: called with `make PATH...` it prints where each stands, called with
    /// `drop PATH...` it takes the view away (`docs/snapshot-hooks.md`)
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["snapshot", "stdin", "stdin_command"])]
    pub snapshot_hook: Option<PathBuf>,
    /// So long a call of it may take
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration, requires = "snapshot_hook")]
    pub snapshot_hook_timeout: Duration,
}

/// The kinds of view that Lifeboat makes itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SnapshotKindArg {
    /// The files as they are when the run comes by
    #[default]
    None,
    /// A snapshot where the file system makes one, else the files
    Auto,
    /// A read-only snapshot of the btrfs subvolume, or the run fails
    Btrfs,
}

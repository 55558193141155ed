//! Commands that look inside snapshots, from configuration and on bare repositories.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::place::OneRepo;
use crate::base::metadata::FileKind;
use crate::base::size::parse_bytes;

/// Which copy of which snapshot of a policy.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The newest snapshot taken at or before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Read from this target (default: the nearest one with a verified copy)
    #[arg(long, value_name = "TARGET")]
    pub from: Option<String>,
}

/// `lifeboat ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// The policy, or a snapshot id (at least 8 digits)
    pub what: String,
    /// Which copy
    #[command(flatten)]
    pub copy: CopyArgs,
    /// What to list
    #[command(flatten)]
    pub list: ListArgs,
}

/// What of a snapshot is listed, and how.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this path and what is below it
    pub path: Option<PathBuf>,
    /// Also type and rights, owner, size, time of change (UTC), and where symbolic links point
    #[arg(long, short)]
    pub long: bool,
}

/// `lifeboat repo ls`.
#[derive(Debug, Args)]
pub struct RepoLsArgs {
    /// The repository
    #[command(flatten)]
    pub at: OneRepo,
    /// A snapshot id (at least 8 digits), or `latest`
    pub snapshot: String,
    /// What to list
    #[command(flatten)]
    pub list: ListArgs,
}

/// `lifeboat find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// The policy (all its snapshots; with --at one), or a snapshot id (at least 8 digits)
    pub what: String,
    /// Which copy
    #[command(flatten)]
    pub copy: CopyArgs,
    /// What to look for
    #[command(flatten)]
    pub rule: FindRuleArgs,
}

/// `lifeboat repo find`.
#[derive(Debug, Args)]
pub struct RepoFindArgs {
    /// The repository
    #[command(flatten)]
    pub at: OneRepo,
    /// Only this snapshot: an id (at least 8 digits), or `latest` (default: all)
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<String>,
    /// What to look for
    #[command(flatten)]
    pub rule: FindRuleArgs,
}

/// What is looked for.
#[derive(Debug, Args)]
pub struct FindRuleArgs {
    /// Names such as '*.conf'; with a slash it is the whole path as `ls` prints it, such as 'etc/**/*.conf'
    #[arg(required = true, value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Take capitals and small letters for the same
    #[arg(long, short)]
    pub ignore_case: bool,
    /// Only of this type (repeatable)
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub kinds: Vec<KindArg>,
    /// Only of this size or larger, such as 10MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub larger: Option<u64>,
    /// Only of this size or smaller
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub smaller: Option<u64>,
    /// Only changed at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub newer: Option<String>,
    /// Only changed at this time or before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub older: Option<String>,
}

/// A type of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Regular files
    #[value(name = "f")]
    File,
    /// Folders
    #[value(name = "d")]
    Folder,
    /// Symbolic links
    #[value(name = "l")]
    Link,
}

impl KindArg {
    /// As manifests have it.
    pub(in crate::cli) fn kind(self) -> FileKind {
        match self {
            Self::File => FileKind::File,
            Self::Folder => FileKind::Directory,
            Self::Link => FileKind::Symlink,
        }
    }
}

/// `lifeboat diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The old side: a snapshot id (at least 8 digits), or a policy (its newest; with --at the newest at that time)
    pub old: String,
    /// The new side: a snapshot id (at least 8 digits), or a policy (its newest)
    pub new: String,
    /// Only this path and what is below it
    pub path: Option<PathBuf>,
    /// Which copy
    #[command(flatten)]
    pub copy: CopyArgs,
}

/// `lifeboat repo diff`.
#[derive(Debug, Args)]
pub struct RepoDiffArgs {
    /// The repository
    #[command(flatten)]
    pub at: OneRepo,
    /// The old side: a snapshot id (at least 8 digits), or `latest`
    pub old: String,
    /// The new side: a snapshot id (at least 8 digits), or `latest`
    pub new: String,
    /// Only this path and what is below it
    pub path: Option<PathBuf>,
}

/// `lifeboat dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The policy, or a snapshot id (at least 8 digits)
    pub what: String,
    /// The file, as `ls` prints it
    pub path: PathBuf,
    /// Which copy
    #[command(flatten)]
    pub copy: CopyArgs,
}

/// `lifeboat repo dump`.
#[derive(Debug, Args)]
pub struct RepoDumpArgs {
    /// The repository
    #[command(flatten)]
    pub at: OneRepo,
    /// A snapshot id (at least 8 digits), or `latest`
    pub snapshot: String,
    /// The file, as `ls` prints it
    pub path: PathBuf,
}

/// `lifeboat mount`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// The policy (a folder for each of its snapshots; with --at one snapshot), or a snapshot id (at least 8 digits)
    pub what: String,
    /// Where
    #[command(flatten)]
    pub point: MountPointArgs,
    /// Which copy
    #[command(flatten)]
    pub copy: CopyArgs,
}

/// `lifeboat repo mount`.
#[derive(Debug, Args)]
pub struct RepoMountArgs {
    /// The repository
    #[command(flatten)]
    pub at: OneRepo,
    /// Only this snapshot: an id (at least 8 digits), or `latest` (default: a folder for each)
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<String>,
    /// Where
    #[command(flatten)]
    pub point: MountPointArgs,
}

/// Where something is mounted, and for whom.
#[derive(Debug, Args)]
pub struct MountPointArgs {
    /// The folder to mount at: an empty one
    pub dir: PathBuf,
    /// Let other users enter, too, with the rights that files had
    #[arg(long)]
    pub allow_other: bool,
}

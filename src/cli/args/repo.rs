//! `lifeboat repo`: commands on bare repositories.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::forget::RepoForgetArgs;
use super::key::{KeyCommand, KitChoice};
use super::later::Later;
use super::look::{RepoDiffArgs, RepoDumpArgs, RepoFindArgs, RepoLsArgs, RepoMountArgs};
use super::place::{ManyRepos, OneRepo, OneRepoKeyOptional, OptionalSecretArgs, S3Args};
use super::policy::{KindArgs, RestoreToArgs};
use super::prune::RepoPruneArgs;
use super::scrub::RepoScrubArgs;
use super::source::{RuleArgs, SnapshotArgs, StreamArgs};
use crate::base::effort::Effort;
use crate::base::limits::PARITY_PERCENT_MAX;
use crate::base::size::parse_duration;
use crate::cli::examples;
use crate::repository::format::removals::REASON_BYTES_MAX;

/// `lifeboat repo`.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Make a repository at one or several places (the same one everywhere)
    #[command(after_help = examples::REPO_INIT)]
    Init {
        /// Where, and what is to open it: a key file that isn't there is made
        #[command(flatten)]
        at: ManyRepos,
        /// Size of packs, 8 MiB to 512 MiB
        #[arg(long, default_value = "16 MiB")]
        pack_size: String,
        /// Parity in each pack for so many per cent of it, 1 to 25: damage up to that mends itself, and
        /// that much more is stored
        #[arg(long, value_name = "PERCENT", default_value_t, value_parser = clap::value_parser!(u8).range(0..=i64::from(PARITY_PERCENT_MAX)))]
        parity: u8,
        /// The recovery kit
        #[command(flatten)]
        kit: KitChoice,
    },
    /// Back folders up: one read, every copy at once
    #[command(after_help = examples::REPO_BACKUP)]
    Backup(Box<RepoBackupArgs>),
    /// List the snapshots
    #[command(after_help = examples::REPO_SNAPSHOTS)]
    Snapshots(OneRepo),
    /// List what is in a snapshot
    #[command(after_help = examples::REPO_LS)]
    Ls(RepoLsArgs),
    /// In which snapshots a file is, and in which versions
    #[command(after_help = examples::REPO_FIND)]
    Find(RepoFindArgs),
    /// What differs between two snapshots
    #[command(after_help = examples::REPO_DIFF)]
    Diff(RepoDiffArgs),
    /// Write one file of a snapshot to standard output
    #[command(after_help = examples::REPO_DUMP)]
    Dump(RepoDumpArgs),
    /// Mount snapshots as a read-only file system, until Ctrl-C
    #[command(after_help = examples::REPO_MOUNT)]
    Mount(RepoMountArgs),
    /// Restore a snapshot, or paths of it
    #[command(after_help = examples::REPO_RESTORE)]
    Restore {
        /// The repository
        #[command(flatten)]
        at: OneRepo,
        /// A snapshot id (at least 8 digits), or `latest`
        snapshot: String,
        /// What and where to
        #[command(flatten)]
        to: RestoreToArgs,
    },
    /// Read every object and compare it with its name; with the key, also find what is missing
    #[command(after_help = examples::REPO_VERIFY)]
    Verify {
        /// The repository
        #[command(flatten)]
        at: OneRepoKeyOptional,
        /// Open and hash every blob, too (needs the key)
        #[arg(long, requires = "secret")]
        deep: bool,
    },
    /// Copy what the snapshots of one place need to another
    #[command(after_help = examples::REPO_SYNC)]
    Sync {
        /// The place to copy from
        #[arg(long, value_name = "URL")]
        from: String,
        /// The place to complete; an empty one gets the repository
        #[arg(long, value_name = "URL")]
        to: String,
        /// What opens the repository
        #[command(flatten)]
        secret: OptionalSecretArgs,
        /// How to reach S3
        #[command(flatten)]
        access: S3Args,
    },
    /// What opens the repository: list, add, replace, remove
    #[command(subcommand)]
    Key(Later<KeyCommand>),
    /// Free what no snapshot needs any more
    #[command(after_help = examples::REPO_PRUNE)]
    Prune(Box<RepoPruneArgs>),
    /// Drop snapshots: those that no rule keeps, or those named
    #[command(after_help = examples::REPO_FORGET)]
    Forget(Box<RepoForgetArgs>),
    /// Put on record that snapshots which went, and which nobody forgot, are known to be gone
    #[command(after_help = examples::REPO_ACCEPT_LOSS)]
    AcceptLoss {
        /// All places of the repository
        #[command(flatten)]
        at: ManyRepos,
        /// What happened, in your words: it is kept with the record
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// Only name what is gone
        #[arg(long)]
        dry_run: bool,
    },
    /// Mend a place: find what is hurt there, and make it whole from the places that have it
    #[command(after_help = examples::REPO_REPAIR)]
    Repair {
        /// The place to mend
        #[command(flatten)]
        at: OneRepo,
        /// A place of the same repository that may have what is hurt (repeatable)
        #[arg(long, value_name = "URL")]
        from: Vec<String>,
        /// Find and plan, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read a share of all objects, so that each is read within a period, and remember what was read
    #[command(after_help = examples::REPO_SCRUB)]
    Scrub(Box<RepoScrubArgs>),
    /// Make lost index runs anew, from the packs alone
    #[command(after_help = examples::REPO_REBUILD_INDEX)]
    RebuildIndex(OneRepo),
    /// Objects, bytes, snapshots
    #[command(after_help = examples::REPO_STATS)]
    Stats(OneRepoKeyOptional),
    /// Try out what a place and these credentials can do, destroying included; only objects of its own are touched
    #[command(after_help = examples::REPO_PROBE)]
    Probe {
        /// A place: /path, file:///path or s3://bucket/prefix (repeatable)
        #[arg(long = "repo", value_name = "URL", required = true)]
        repos: Vec<String>,
        /// How to reach S3
        #[command(flatten)]
        access: S3Args,
    },
    /// Make the Object Locks of everything that snapshots need last longer
    #[command(after_help = examples::REPO_EXTEND_LOCKS)]
    ExtendLocks(ManyRepos),
}

/// A reason that a record can hold.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > REASON_BYTES_MAX {
        return Err(format!("1 to {REASON_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

/// `lifeboat repo backup`.
#[derive(Debug, Args)]
pub struct RepoBackupArgs {
    /// Where and with which secret
    #[command(flatten)]
    pub at: ManyRepos,
    /// Name of the machine in the snapshot (default: this one's)
    #[arg(long)]
    pub host: Option<String>,
    /// A word to find the snapshot by (repeatable)
    #[arg(long = "tag")]
    pub tags: Vec<String>,
    /// Which kind
    #[command(flatten)]
    pub kind: KindArgs,
    /// Compare with this snapshot (default: the newest of the same host and paths)
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// What is left out
    #[command(flatten)]
    pub rules: RuleArgs,
    /// How much work an interruption may cost: a run that is begun again goes on from there
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub checkpoint_every: Duration,
    /// Which view is read
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// Bytes instead of paths
    #[command(flatten)]
    pub stream: StreamArgs,
    /// How hard to compress: auto (level 1 while the processors set the pace, up to 9 while the targets do), none, fast
    /// (level 1), or a zstd level, -7 to 19 without 0
    #[arg(long, value_name = "HOW", default_value = "auto", allow_hyphen_values = true)]
    pub compression: Effort,
    /// What to back up: folders, files, or block devices, whose content becomes one file. Of roots inside each other
    /// each entry is taken once
    #[arg(required_unless_present = "stdin")]
    pub paths: Vec<PathBuf>,
}

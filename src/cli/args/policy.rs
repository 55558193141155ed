//! Commands that work from configuration.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::place::S3Args;
use crate::cli::examples;

/// `lifeboat demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The folder to back up
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// An S3 place for the second copy, such as s3://bucket/prefix (default: another local folder, which is honestly
    /// not off-site)
    #[arg(long, value_name = "URL")]
    pub s3: Option<String>,
    /// How to reach it
    #[command(flatten)]
    pub access: S3Args,
}

/// `lifeboat plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// How many days to look ahead
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub days: u32,
}

/// A policy or nothing, which means all.
#[derive(Debug, Args)]
pub struct PolicyArg {
    /// The policy (default: all)
    pub policy: Option<String>,
}

/// Which kind of backup.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub struct KindArgs {
    /// Read and hash every byte again
    #[arg(long)]
    pub full: bool,
    /// Read what changed since the last snapshot (the default)
    #[arg(long)]
    pub incremental: bool,
    /// Read what changed since the last full
    #[arg(long)]
    pub differential: bool,
}

/// `lifeboat run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The policy, by the name of its file
    pub policy: String,
    /// Which kind
    #[command(flatten)]
    pub kind: KindArgs,
    /// The occurrence this run belongs to; set by the daemon
    #[arg(long, hide = true)]
    pub occurrence: Option<String>,
}

/// `lifeboat status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One policy only
    pub policy: Option<String>,
    /// One line and the exit codes of monitoring plug-ins (0 ok, 1 warning, 2 critical, 3 unknown)
    #[arg(long, conflicts_with = "json")]
    pub nagios: bool,
    /// Only whether a daemon lives and looks at the clock: silence and 0, or a line and 1; for cron
    #[arg(long, conflicts_with_all = ["json", "nagios", "policy"])]
    pub check_daemon: bool,
}

/// `lifeboat exposure`.
#[derive(Debug, Args)]
pub struct ExposureArgs {
    /// One policy only
    pub policy: Option<String>,
    /// How many days to look back
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub days: u32,
}

/// `lifeboat snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// One policy only
    pub policy: Option<String>,
}

/// `lifeboat restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The policy, or a snapshot id (at least 8 digits)
    pub what: String,
    /// The newest snapshot taken at or before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Restore from this target (default: the fastest reachable one with a verified copy)
    #[arg(long, value_name = "TARGET")]
    pub from: Option<String>,
    /// What and where to
    #[command(flatten)]
    pub to: RestoreToArgs,
}

/// What to restore and where to.
#[derive(Debug, Args)]
pub struct RestoreToArgs {
    /// The folder to restore into; made when it doesn't exist
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only this path and what is below it, as `ls` prints it (repeatable)
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Replace what is in the way; files of the recorded size and time are kept, and of others only what differs is fetched
    #[arg(long)]
    pub overwrite: bool,
    /// Remove what is in DIR but not in the snapshot
    #[arg(long, requires = "overwrite", conflicts_with = "paths")]
    pub delete: bool,
    /// Read back and compare; with --overwrite, compare what stands there by its bytes, not its time
    #[arg(long)]
    pub verify: bool,
    /// Say what would be restored; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't restore owners and groups
    #[arg(long)]
    pub no_owner: bool,
}

/// `lifeboat verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The policy (default: all)
    pub policy: Option<String>,
    /// One target only
    #[arg(long)]
    pub target: Option<String>,
    /// Open and hash every blob, too
    #[arg(long)]
    pub deep: bool,
    /// The occurrence this belongs to; set by the daemon
    #[arg(long, hide = true)]
    pub occurrence: Option<String>,
}

/// `lifeboat prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// The policy (default: all that have rules of retention)
    pub policy: Option<String>,
    /// Plan and show only: nothing is removed
    #[arg(long)]
    pub dry_run: bool,
    /// Go on when more than half of the snapshots, or of all bytes, would go
    #[arg(long)]
    pub accept_more_than_half: bool,
    /// Go on when the newest snapshot is over 400 days old, or lies in the future
    #[arg(long)]
    pub accept_clock: bool,
    /// The occurrence this belongs to; set by the daemon
    #[arg(long, hide = true)]
    pub occurrence: Option<String>,
}

/// `lifeboat repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The policy (default: all)
    pub policy: Option<String>,
    /// One target only
    #[arg(long)]
    pub target: Option<String>,
    /// Find and plan, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `lifeboat drill`.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// Run a drill now; exit code 16 when it does not pass
    #[command(after_help = examples::DRILL_RUN)]
    Run {
        /// The drill, by the name of its file, or `POLICY-weekly` for a policy's default drill
        drill: String,
        /// The occurrence this run belongs to; set by the daemon
        #[arg(long, hide = true)]
        occurrence: Option<String>,
    },
    /// The drills of the configuration, when each ran last and what came out
    #[command(after_help = examples::DRILL_LIST)]
    List,
    /// One drill that ran: verdict, checks, where its report is
    #[command(after_help = examples::DRILL_SHOW)]
    Show {
        /// The drill's id, such as D-2026-000143
        id: String,
    },
}

/// `lifeboat evidence`.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Check the chain, the heads, the signatures and the reports; needs no configuration and no network
    #[command(after_help = examples::EVIDENCE_VERIFY)]
    Verify {
        /// The evidence folder (default: the one in the state folder)
        dir: Option<PathBuf>,
        /// The public key that you trust (PEM; default: the one in the folder, which proves less)
        #[arg(long, value_name = "FILE")]
        pub_key: Option<PathBuf>,
        /// A head that you kept elsewhere: shows whether the log was cut or rewritten since (repeatable)
        #[arg(long = "head", value_name = "FILE")]
        heads: Vec<PathBuf>,
    },
}

/// `lifeboat report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The drill's id, such as D-2026-000143 (default: the newest)
    pub id: Option<String>,
}

/// `lifeboat daemon`.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Look at the clock this often, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub tick_seconds: u64,
    /// Do what is due now, then stop
    #[arg(long)]
    pub once: bool,
}

/// `lifeboat explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code, such as E0106
    pub code: String,
}

/// `lifeboat target`.
#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Try out what a policy's targets and their credentials can do, destroying included
    #[command(after_help = examples::TARGET_PROBE)]
    Probe(TargetArgs),
    /// Make the Object Locks of everything that snapshots need last longer
    #[command(after_help = examples::TARGET_EXTEND_LOCKS)]
    ExtendLocks(TargetArgs),
    /// Fill a new medium in an old one's place, or a target that lags, from the best other copy
    #[command(after_help = examples::TARGET_REPLACE)]
    Replace {
        /// The policy
        policy: String,
        /// The target to fill; its URL in the policy may have changed
        target: String,
        /// From this target (default: the one with the most copies that were read back)
        #[arg(long, value_name = "TARGET")]
        from: Option<String>,
    },
}

/// Which targets.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The policy
    pub policy: String,
    /// Only this target (default: all; those without locks are passed over by extend-locks)
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// The occurrence this belongs to; set by the daemon
    #[arg(long, hide = true)]
    pub occurrence: Option<String>,
}

//! What the command line takes, and the help that teaches it. Parsing only; no work.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::examples;
use crate::base::size::parse_duration;

/// Backups in three copies, and proof that they come back.
#[derive(Debug, Parser)]
#[command(
    name = "lifeboat",
    version,
    about = "Backups in three copies, and proof that they come back",
    after_help = "Start with `lifeboat demo`, which does the whole job on a folder of yours and leaves it untouched.\n\
                  With a file in policies/: `lifeboat check`, `lifeboat run POLICY`, `lifeboat status`, `lifeboat daemon`.\n\
                  Without configuration, for scripts and emergencies: `lifeboat repo --help`.\n\n\
                  Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 partial, 10 no repository, 11 state folder in use,\n\
                  12 wrong key, 13 damage or roll-back, 14 refused by a guard, 15 rule or RPO not met, 16 drill not passed, 130 cancelled."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Print the result as JSON on standard output (backups and restores: events, one a line, then the result)
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less: no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Folder of lifeboat.toml, policies/ and drills/ (default: $LIFEBOAT_CONFIG, the working folder, /etc/lifeboat)
    #[arg(long, global = true, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Folder of the catalogue, the index cache and the evidence (default: $LIFEBOAT_STATE_DIR, /var/lib/lifeboat
    /// as root, ~/.local/state/lifeboat)
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Everything `lifeboat` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole main job on a folder of yours: back up twice, verify, drill, judge 3-2-1, report
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Read the configuration and print every problem at once; changes nothing
    #[command(after_help = examples::CHECK)]
    Check,
    /// What will run next, and what would be removed; changes nothing
    #[command(after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Back a policy up now, to all its targets in one pass
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Every policy: proven or not, why, and until when
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// The snapshots of the policies, and which copies of them stand
    #[command(after_help = examples::SNAPSHOTS)]
    Snapshots(SnapshotsArgs),
    /// Restore a policy's newest verified snapshot, or the one you name
    #[command(after_help = examples::RESTORE)]
    Restore(RestoreArgs),
    /// Read copies back and compare every object with its name
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Restore drills: run, list, show
    #[command(subcommand)]
    Drill(DrillCommand),
    /// The evidence log: check it offline
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Print where a drill's signed report is, or its JSON
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Fill the catalogue again from the policies' targets after it was lost
    #[command(after_help = examples::REBUILD)]
    RebuildCatalogue(PolicyArg),
    /// Run the schedule until told to stop
    #[command(after_help = examples::DAEMON)]
    Daemon(DaemonArgs),
    /// What an error code means and what to do about it
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Bare repositories, without configuration: for scripts, tests and emergencies
    #[command(subcommand)]
    Repo(RepoCommand),
}

/// Where S3 places are and what opens them. Holds for every s3 URL of the command; a URL may carry
/// its own as a query: `s3://bucket/prefix?endpoint=http://host:8333`.
#[derive(Clone, Debug, Default, Args)]
pub struct S3Args {
    /// Address of the S3 service, for stores other than AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long)]
    pub region: Option<String>,
    /// Put the bucket into the path of requests, as most self-hosted stores want it (implied by --endpoint)
    #[arg(long)]
    pub path_style: bool,
    /// File (mode 0600) with AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=... lines (default: the usual AWS chain)
    #[arg(long, value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that may vouch for the S3 service, instead of the system's (default:
    /// AWS_CA_BUNDLE, if set)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

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
    /// Replace what is in the way
    #[arg(long)]
    pub overwrite: bool,
    /// Remove what is in DIR but not in the snapshot
    #[arg(long, requires = "overwrite", conflicts_with = "paths")]
    pub delete: bool,
    /// Read back what was written and compare it
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

/// Options of commands on one repository at one place.
#[derive(Debug, Args)]
pub struct OneRepo {
    /// The repository: /path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub repo: String,
    /// File with the passphrase (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

/// Options of commands on one repository at several places.
#[derive(Debug, Args)]
pub struct ManyRepos {
    /// A place of the repository: /path, file:///path or s3://bucket/prefix (repeatable: every copy in one pass)
    #[arg(long = "repo", value_name = "URL", required = true)]
    pub repos: Vec<String>,
    /// File with the passphrase (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

/// How `repo stats` and `repo verify` name the repository: the passphrase is optional.
#[derive(Debug, Args)]
pub struct OneRepoKeyOptional {
    /// The repository: /path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub repo: String,
    /// File with the passphrase (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

/// `lifeboat repo`.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Make a repository at one or several places (the same one everywhere)
    #[command(after_help = examples::REPO_INIT)]
    Init {
        /// Where and with which passphrase
        #[command(flatten)]
        at: ManyRepos,
        /// Size of packs, 8 MiB to 512 MiB
        #[arg(long, default_value = "16 MiB")]
        pack_size: String,
    },
    /// Back folders up: one read, every copy at once
    #[command(after_help = examples::REPO_BACKUP)]
    Backup(RepoBackupArgs),
    /// List the snapshots
    #[command(after_help = examples::REPO_SNAPSHOTS)]
    Snapshots(OneRepo),
    /// List what is in a snapshot
    #[command(after_help = examples::REPO_LS)]
    Ls {
        /// The repository
        #[command(flatten)]
        at: OneRepo,
        /// A snapshot id (at least 8 digits), or `latest`
        snapshot: String,
        /// Only this folder
        path: Option<PathBuf>,
    },
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
        #[arg(long, requires = "password_file")]
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
        /// File with the passphrase (mode 0600)
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// How to reach S3
        #[command(flatten)]
        access: S3Args,
    },
    /// Objects, bytes, snapshots
    #[command(after_help = examples::REPO_STATS)]
    Stats(OneRepoKeyOptional),
}

/// `lifeboat repo backup`.
#[derive(Debug, Args)]
pub struct RepoBackupArgs {
    /// Where and with which passphrase
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
    /// Leave out what matches, in gitignore's syntax (repeatable)
    #[arg(long = "exclude", value_name = "GLOB")]
    pub excludes: Vec<String>,
    /// Don't enter other file systems
    #[arg(long)]
    pub one_file_system: bool,
    /// How much work an interruption may cost: a run that is begun again goes on from there
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub checkpoint_every: Duration,
    /// What to back up
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

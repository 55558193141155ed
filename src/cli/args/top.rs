//! The top of the command line: the options that every command takes, and all commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::hold::{FreezeArgs, HoldCommand};
use super::incident::{IncidentCommand, NotifyCommand};
use super::key::PolicyKeyCommand;
use super::later::Later;
use super::limits::LimitArgs;
use super::look::{DiffArgs, DumpArgs, FindArgs, LsArgs, MountArgs};
use super::operate::{
    CheckArgs, CompletionsArgs, DoctorArgs, InitArgs, ManArgs, MetricsArgs, PolicyCommand, RecoverArgs,
    SupportArgs,
};
use super::policy::{
    DaemonArgs, DemoArgs, DrillCommand, EvidenceCommand, ExplainArgs, ExposureArgs, PlanArgs, PolicyArg,
    PruneArgs, RepairArgs, ReportArgs, RestoreArgs, RunArgs, SnapshotsArgs, StatusArgs, TargetCommand,
    VerifyArgs,
};
use super::repo::RepoCommand;
use super::scrub::ScrubArgs;
use crate::cli::examples;

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
    /// What the command may take.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Everything `lifeboat` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole main job on a folder of yours: back up twice, verify, drill, judge 3-2-1, report
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Write a first policy: five questions, or flags
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// The policies: list them, show every value and its origin, the schema for editors
    #[command(subcommand)]
    Policy(Later<PolicyCommand>),
    /// Read the configuration and print every problem at once; changes nothing
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// What will run next, and what would be removed; changes nothing
    #[command(after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Back a policy up now, to all its targets in one pass
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Every policy: proven or not, why, and until when
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// How much work would have been lost at any time of the last days, and why
    #[command(after_help = examples::EXPOSURE)]
    Exposure(ExposureArgs),
    /// The snapshots of the policies, and which copies of them stand
    #[command(after_help = examples::SNAPSHOTS)]
    Snapshots(SnapshotsArgs),
    /// List what is in a policy's newest verified snapshot, or in the one you name
    #[command(after_help = examples::LS)]
    Ls(LsArgs),
    /// In which snapshots of a policy a file is, and in which versions
    #[command(after_help = examples::FIND)]
    Find(FindArgs),
    /// What differs between two snapshots
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Write one file of a snapshot to standard output
    #[command(after_help = examples::DUMP)]
    Dump(DumpArgs),
    /// Mount a policy's snapshots, or one, as a read-only file system, until Ctrl-C
    #[command(after_help = examples::MOUNT)]
    Mount(MountArgs),
    /// Restore a policy's newest verified snapshot, or the one you name
    #[command(after_help = examples::RESTORE)]
    Restore(RestoreArgs),
    /// Read copies back and compare every object with its name
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Read a share of every copy, so that each byte is read within a period
    #[command(after_help = examples::SCRUB)]
    Scrub(ScrubArgs),
    /// Forget old snapshots by the policies' rules of retention, and free what only they held
    #[command(after_help = examples::PRUNE)]
    Prune(PruneArgs),
    /// Stop all removal of a policy's snapshots, at once: an attack, a lawsuit, a doubt
    #[command(after_help = examples::FREEZE)]
    Freeze(FreezeArgs),
    /// Let removal go on after a freeze
    #[command(after_help = examples::UNFREEZE)]
    Unfreeze(FreezeArgs),
    /// What keeps old snapshots from being removed, and letting it go
    #[command(subcommand)]
    Hold(Later<HoldCommand>),
    /// Look at all promises once: open incidents, tell who has to know (the daemon does, every few minutes)
    #[command(after_help = examples::WATCH)]
    Watch,
    /// Incidents: what is wrong, whom to call, what was done
    #[command(subcommand)]
    Incident(Later<IncidentCommand>),
    /// The ways people are told: try them, see what was told
    #[command(subcommand)]
    Notify(Later<NotifyCommand>),
    /// Mend the targets of a policy, each with what the others have
    #[command(after_help = examples::REPAIR)]
    Repair(RepairArgs),
    /// Restore drills: run, list, show
    #[command(subcommand)]
    Drill(Later<DrillCommand>),
    /// The evidence log: check it offline
    #[command(subcommand)]
    Evidence(Later<EvidenceCommand>),
    /// Print where a drill's signed report is, or its JSON
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Targets: try out what they and their credentials can do, keep their locks from ending
    #[command(subcommand)]
    Target(Later<TargetCommand>),
    /// Make a lost backup host again, from one target and the recovery kit
    #[command(after_help = examples::RECOVER)]
    Recover(RecoverArgs),
    /// Fill the catalogue again from the policies' targets after it was lost
    #[command(after_help = examples::REBUILD)]
    RebuildCatalogue(PolicyArg),
    /// What opens a policy's repository: list, add, remove; and its recovery kit
    #[command(subcommand)]
    Key(Later<PolicyKeyCommand>),
    /// Run the schedule until told to stop
    #[command(after_help = examples::DAEMON)]
    Daemon(DaemonArgs),
    /// Check the configuration and make the running daemon go by it
    #[command(after_help = examples::APPLY)]
    Apply,
    /// When something is wrong: everything worth a look, in order, on one page
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// One text file for whoever helps, without secrets and names
    #[command(after_help = examples::SUPPORT)]
    SupportBundle(SupportArgs),
    /// The facts as Prometheus reads them
    #[command(after_help = examples::METRICS)]
    Metrics(MetricsArgs),
    /// Completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Manual pages
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
    /// What an error code means and what to do about it
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Bare repositories, without configuration: for scripts, tests and emergencies
    #[command(subcommand)]
    Repo(Later<RepoCommand>),
}

//! Arguments of `incident`, `notify` and `watch`.

use clap::{Args, Subcommand, ValueEnum};

use crate::catalog::words::Severity;
use crate::cli::examples;

/// Who says it.
#[derive(Debug, Args)]
pub struct ByArgs {
    /// Who does this (default: the user who runs it)
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SeverityArg {
    /// Whoever is on call handles it
    Minor,
    /// The lead decides
    Serious,
    /// Everybody, now
    Critical,
}

impl SeverityArg {
    /// The record's word.
    pub fn severity(self) -> Severity {
        match self {
            Self::Minor => Severity::Minor,
            Self::Serious => Severity::Serious,
            Self::Critical => Severity::Critical,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StageArg {
    /// It does not spread any more
    Contained,
    /// What was lost is being brought back
    Restoring,
    /// Somebody checks that all is well
    Verifying,
}

/// `lifeboat incident`.
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Incidents that go on, the worst first
    #[command(after_help = examples::INCIDENT_LIST)]
    List {
        /// Those that are over, too
        #[arg(long)]
        all: bool,
    },
    /// One incident: its story, its clock, and whom to call now
    #[command(after_help = examples::INCIDENT_SHOW)]
    Show {
        /// Its id
        id: String,
    },
    /// Open one that Lifeboat can't see: a user called, a disk smells
    #[command(after_help = examples::INCIDENT_OPEN)]
    Open {
        /// One sentence
        title: String,
        /// The policy it is about
        #[arg(long)]
        policy: Option<String>,
        /// How bad it is
        #[arg(long, default_value = "serious")]
        severity: SeverityArg,
        /// Who.
        #[command(flatten)]
        by: ByArgs,
    },
    /// Answer it: you take it, and nobody else is called
    #[command(after_help = examples::INCIDENT_ACK)]
    Ack {
        /// Its id
        id: String,
        /// Who.
        #[command(flatten)]
        by: ByArgs,
    },
    /// Add a line to its story
    #[command(after_help = examples::INCIDENT_NOTE)]
    Note {
        /// Its id
        id: String,
        /// What was seen or done
        text: String,
        /// Who.
        #[command(flatten)]
        by: ByArgs,
    },
    /// Say how far it is
    #[command(after_help = examples::INCIDENT_STAGE)]
    Stage {
        /// Its id
        id: String,
        /// How far
        stage: StageArg,
        /// Who.
        #[command(flatten)]
        by: ByArgs,
    },
    /// It is over, and this shows it
    #[command(after_help = examples::INCIDENT_RESOLVE)]
    Resolve {
        /// Its id
        id: String,
        /// How it was checked that all is well again
        #[arg(long, value_name = "TEXT")]
        verification: String,
        /// Who.
        #[command(flatten)]
        by: ByArgs,
    },
    /// Close it with its report: all four parts
    #[command(after_help = examples::INCIDENT_REPORT)]
    Report {
        /// Its id
        id: String,
        /// Why it happened
        #[arg(long, value_name = "TEXT")]
        cause: String,
        /// What was done, in order
        #[arg(long, value_name = "TEXT")]
        process: String,
        /// What it meant for the business
        #[arg(long, value_name = "TEXT")]
        impact: String,
        /// What keeps it from happening again
        #[arg(long, value_name = "TEXT")]
        prevention: String,
        /// Who.
        #[command(flatten)]
        by: ByArgs,
    },
}

/// `lifeboat notify`.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Tell each way that this is a test, and say which works
    #[command(after_help = examples::NOTIFY_TEST)]
    Test {
        /// One only, by its name
        name: Option<String>,
    },
    /// What was told, and what waits to be
    #[command(after_help = examples::NOTIFY_LIST)]
    List,
}

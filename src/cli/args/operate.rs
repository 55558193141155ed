//! Arguments of what an operator does beside backups: first steps, help, numbers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::place::S3Args;
use crate::cli::examples;
use crate::policy::load::SchemaFile;

/// `lifeboat init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The policy's name
    #[arg(long, default_value = "main", value_name = "NAME")]
    pub name: String,
    /// What to back up (repeatable); without it, five questions are asked
    #[arg(long = "source", value_name = "DIR")]
    pub sources: Vec<PathBuf>,
    /// Where the first copy goes: a folder on another disk
    #[arg(long, value_name = "DIR", requires = "sources")]
    pub disk: Option<PathBuf>,
    /// Where the second copy goes: s3://bucket/prefix, or a folder that stands elsewhere
    #[arg(long, value_name = "URL", requires = "sources")]
    pub away: Option<String>,
    /// How to reach a bucket that is not AWS's
    #[arg(long, value_name = "URL", requires = "away")]
    pub endpoint: Option<String>,
    /// Where the second copy stands
    #[arg(long, value_name = "PLACE", requires = "away")]
    pub location: Option<String>,
    /// How much work may be lost
    #[arg(long, default_value = "2h", value_name = "TIME")]
    pub rpo: String,
}

/// `lifeboat check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Try the targets out, too, with objects of a probe that are removed again
    #[arg(long)]
    pub online: bool,
}

/// `lifeboat recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// One target of the policy that kept the host's records: /path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// The recovery kit's file, or `-` to type its words
    #[arg(long, value_name = "FILE")]
    pub kit: PathBuf,
    /// A new folder, for `config` and `state`
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

/// `lifeboat doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Don't ask the targets
    #[arg(long)]
    pub offline: bool,
}

/// `lifeboat support-bundle`.
#[derive(Debug, Args)]
pub struct SupportArgs {
    /// The file to write; it must not be there
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Leave the names of paths, addresses and people in
    #[arg(long)]
    pub with_names: bool,
}

/// `lifeboat metrics`.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Serve them under /metrics at this address until told to stop, instead of printing them once
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

/// `lifeboat completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: clap_complete::Shell,
}

/// `lifeboat man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write the pages into; made when it isn't there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// Which file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SchemaArg {
    /// lifeboat.toml
    Site,
    /// policies/ID.toml
    Policy,
    /// drills/ID.toml
    Drill,
}

impl SchemaArg {
    /// The loader's word.
    pub fn file(self) -> SchemaFile {
        match self {
            Self::Site => SchemaFile::Site,
            Self::Policy => SchemaFile::Policy,
            Self::Drill => SchemaFile::Drill,
        }
    }
}

/// `lifeboat policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// The policies and what they promise
    #[command(after_help = examples::POLICY_LIST)]
    List,
    /// A policy as it was written, or every value that holds and where it came from
    #[command(after_help = examples::POLICY_SHOW)]
    Show {
        /// The policy
        policy: String,
        /// Defaults, too
        #[arg(long)]
        effective: bool,
    },
    /// The JSON Schema of a file, for editors
    #[command(after_help = examples::POLICY_SCHEMA)]
    Schema {
        /// Of which file
        #[arg(long, default_value = "policy")]
        of: SchemaArg,
    },
}

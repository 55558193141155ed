//! How commands name a repository, and how S3 is reached.

use std::path::PathBuf;

use clap::Args;

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

//! How commands name a repository, and how S3 is reached.

use std::path::PathBuf;

use clap::Args;

use crate::app::secrets::SecretSource;

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

/// The ways to name a secret, which clap wants to be a group of its own where one is needed.
macro_rules! secret_args {
    ($(#[$doc:meta])* $name:ident, required = $required:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Args)]
        #[group(id = "secret", required = $required, multiple = false)]
        pub struct $name {
            /// File with the passphrase (mode 0600), or a key file
            #[arg(long, value_name = "FILE")]
            password_file: Option<PathBuf>,
            /// Key file (mode 0600): opens at once, without the cost of a passphrase
            #[arg(long, value_name = "FILE")]
            key_file: Option<PathBuf>,
            /// Program that prints the passphrase, or a key file's line; words apart, no shell
            #[arg(long, value_name = "PROGRAM")]
            secret_command: Option<String>,
            /// The recovery kit's file, or one with its 24 words or its line; `-` to type them
            #[arg(long, value_name = "FILE")]
            recovery_kit: Option<PathBuf>,
        }

        impl $name {
            fn named(&self) -> Option<SecretSource> {
                let password = self.password_file.clone().map(SecretSource::PasswordFile);
                let key = self.key_file.clone().map(SecretSource::KeyFile);
                let command = self.secret_command.as_deref().map(SecretSource::command);
                let kit = self.recovery_kit.clone().map(SecretSource::RecoveryKit);
                password.or(key).or(command).or(kit)
            }
        }
    };
}

secret_args! {
    /// What opens a repository: one of these.
    SecretArgs, required = true
}
secret_args! {
    /// As [`SecretArgs`], for commands that do something without a secret, too.
    OptionalSecretArgs, required = false
}

impl SecretArgs {
    /// Where the secret comes from.
    pub fn source(&self) -> SecretSource {
        self.named().expect("the parser asks for one of the group")
    }
}

impl OptionalSecretArgs {
    /// Where the secret comes from, if one was named.
    pub fn source(&self) -> Option<SecretSource> {
        self.named()
    }
}

/// Options of commands on one repository at one place.
#[derive(Debug, Args)]
pub struct OneRepo {
    /// The repository: /path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub repo: String,
    /// What opens it
    #[command(flatten)]
    pub secret: SecretArgs,
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
    /// What opens it
    #[command(flatten)]
    pub secret: SecretArgs,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

/// How `repo stats` and `repo verify` name the repository: the secret is optional.
#[derive(Debug, Args)]
pub struct OneRepoKeyOptional {
    /// The repository: /path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub repo: String,
    /// What opens it
    #[command(flatten)]
    pub secret: OptionalSecretArgs,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

//! `lifeboat key`, `lifeboat repo key`: what opens a repository.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::place::{ManyRepos, OptionalSecretArgs, S3Args};
use crate::app::secrets::SecretSource;
use crate::cli::examples;
use crate::repository::format::keys::Role;

/// `lifeboat repo key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List what opens the repository, at which places, and which of it the given secret is
    #[command(after_help = examples::REPO_KEY_LIST)]
    List(ManyReposKeyOptional),
    /// Let one more secret open the repository
    #[command(after_help = examples::REPO_KEY_ADD)]
    Add {
        /// Where, and what opens it now
        #[command(flatten)]
        at: ManyRepos,
        /// What is to open it, too
        #[command(flatten)]
        new: NewSecretArgs,
        /// What it may do
        #[command(flatten)]
        role: RoleArgs,
    },
    /// Put a new secret in the place of the one that is given
    #[command(after_help = examples::REPO_KEY_REPLACE, visible_alias = "passwd")]
    Replace {
        /// Where, and what opens it now
        #[command(flatten)]
        at: ManyRepos,
        /// What is to open it instead
        #[command(flatten)]
        new: NewSecretArgs,
    },
    /// Seal what is stored from now on under a fresh key, which the old secrets don't open
    #[command(after_help = examples::REPO_KEY_ROTATE)]
    Rotate {
        /// Where, and what opens it now
        #[command(flatten)]
        at: ManyRepos,
        /// What is to open the new epoch, and everything before it
        #[command(flatten)]
        new: NewSecretArgs,
    },
    /// Make a recovery kit: a page for paper that opens the repository when everything else is lost
    #[command(after_help = examples::REPO_KEY_KIT)]
    Kit(KitArgs),
    /// Make a recipient: slots can be made for its public line, and only its private file opens them
    #[command(after_help = examples::REPO_KEY_NEW_RECIPIENT)]
    NewRecipient {
        /// Where its private part goes: keep it off this machine
        file: PathBuf,
    },
    /// Take a slot away, so that its secret opens the repository no longer
    #[command(after_help = examples::REPO_KEY_REMOVE)]
    Remove {
        /// Where, and what opens it afterwards
        #[command(flatten)]
        at: ManyRepos,
        /// The slot (at least 8 digits of its id)
        slot: String,
    },
}

/// `lifeboat key`: the site key is given, unless another secret is named.
#[derive(Debug, Subcommand)]
pub enum PolicyKeyCommand {
    /// List what opens a policy's repository, at which targets, and which of it the site key is
    #[command(after_help = examples::KEY_LIST)]
    List {
        /// The policy
        policy: String,
        /// Another secret than the site key
        #[command(flatten)]
        secret: OptionalSecretArgs,
    },
    /// Let one more secret open a policy's repository
    #[command(after_help = examples::KEY_ADD)]
    Add {
        /// The policy
        policy: String,
        /// Another secret than the site key
        #[command(flatten)]
        secret: OptionalSecretArgs,
        /// What is to open it, too
        #[command(flatten)]
        new: NewSecretArgs,
        /// What it may do
        #[command(flatten)]
        role: RoleArgs,
    },
    /// Make a recovery kit: a page for paper that opens the repository when everything else is lost
    #[command(after_help = examples::KEY_KIT)]
    Kit {
        /// The policy
        policy: String,
        /// Where to write it: FILE.html for paper, FILE.txt with the same as text
        #[arg(long = "out", value_name = "FILE")]
        file: PathBuf,
        /// Another secret than the site key
        #[command(flatten)]
        secret: OptionalSecretArgs,
    },
    /// Take a slot away, so that its secret opens the repository no longer
    #[command(after_help = examples::KEY_REMOVE)]
    Remove {
        /// The policy
        policy: String,
        /// The slot (at least 8 digits of its id)
        slot: String,
        /// Another secret than the site key
        #[command(flatten)]
        secret: OptionalSecretArgs,
    },
}

/// Options of a command on one repository at several places that needs no secret.
#[derive(Debug, Args)]
pub struct ManyReposKeyOptional {
    /// A place of the repository: /path, file:///path or s3://bucket/prefix (repeatable)
    #[arg(long = "repo", value_name = "URL", required = true)]
    pub repos: Vec<String>,
    /// What opens it
    #[command(flatten)]
    pub secret: OptionalSecretArgs,
    /// How to reach S3
    #[command(flatten)]
    pub access: S3Args,
}

/// A secret that a slot is made for: one of these.
#[derive(Clone, Debug, Args)]
#[group(id = "new secret", required = true, multiple = false)]
pub struct NewSecretArgs {
    /// File with the new passphrase (mode 0600)
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Key file; one that isn't there is made
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Program that prints the new passphrase, or a key file's line; words apart, no shell
    #[arg(long, value_name = "PROGRAM")]
    new_secret_command: Option<String>,
    /// Public line of a recipient, whose private file need not be here
    #[arg(long, value_name = "LINE")]
    new_recipient: Option<String>,
}

impl NewSecretArgs {
    /// Where the secret comes from.
    pub fn source(&self) -> SecretSource {
        let key = self.new_key_file.as_ref().map(|path| SecretSource::KeyFile(path.clone()));
        let password = self.new_password_file.as_ref().map(|path| SecretSource::PasswordFile(path.clone()));
        let command = self.new_secret_command.as_ref().map(|text| SecretSource::command(text));
        let recipient = self.new_recipient.clone().map(SecretSource::Recipient);
        key.or(password).or(command).or(recipient).expect("the parser asks for one of the group")
    }
}

/// The name of a host: it stands in a certificate for ever, and on command lines.
fn parse_host(text: &str) -> Result<String, &'static str> {
    let is_plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    if (1..=255).contains(&text.len()) && !text.starts_with('-') && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("a host's name has letters, digits, dots, hyphens and underscores, 255 bytes at most")
    }
}

/// What a new secret may do; everything, unless it is a host's.
#[derive(Clone, Debug, Args)]
pub struct RoleArgs {
    /// It is for this host: it adds backups under that name and reads all, but forgets, prunes and
    /// administers nothing
    #[arg(long, value_name = "NAME", value_parser = parse_host)]
    for_host: Option<String>,
    /// The host only adds: it opens nothing that is stored, its own backups included
    #[arg(long, requires = "for_host")]
    write_only: bool,
}

impl RoleArgs {
    /// Which.
    pub fn role(&self) -> Role {
        match (&self.for_host, self.write_only) {
            (None, _) => Role::Admin,
            (Some(host), false) => Role::Host(host.clone()),
            (Some(host), true) => Role::WriteOnly(host.clone()),
        }
    }
}

/// `lifeboat repo key kit`.
#[derive(Debug, Args)]
pub struct KitArgs {
    /// Where, and what opens it now
    #[command(flatten)]
    pub at: ManyRepos,
    /// Where to write it: FILE.html for paper, FILE.txt with the same as text
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What `init` does about a recovery kit.
#[derive(Clone, Debug, Args)]
pub struct KitChoice {
    /// Also make a recovery kit, FILE.html and FILE.txt (at a terminal one is made and asked for anyway)
    #[arg(long, value_name = "FILE")]
    pub recovery_kit_out: Option<PathBuf>,
    /// I have no recovery kit, and know what that means
    #[arg(long, conflicts_with = "recovery_kit_out")]
    pub no_recovery_kit: bool,
}

//! Why a use case failed, where no floor below has said it already.

use std::path::PathBuf;

use crate::base::error::{Class, Classified};
use crate::base::size::format_bytes;
use crate::catalog::words::HoldKind;
use crate::codec::key_text::KeyTextError;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// A file that the command line or a policy names cannot be read.
    #[error("{what} {path} cannot be read")]
    Unreadable {
        /// `the password file`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The password file holds nothing.
    #[error("the password file {path} is empty")]
    EmptyPassword {
        /// Which.
        path: PathBuf,
    },
    /// Others may read the key file.
    #[error("others may read the key file {path} (mode {mode:03o}), and whoever has it reads the backups")]
    ExposedKey {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not a key file, or not a whole one.
    #[error("{path} is no whole key file")]
    NoKeyFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyTextError,
    },
    /// No key slot is meant, or not one alone.
    #[error("no key slot is called {wanted}: {why}")]
    Slot {
        /// As asked for.
        wanted: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A program that was to print the secret failed.
    #[error("the program that prints the secret failed")]
    SecretCommand {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or what was typed holds no recovery code.
    #[error("{what} holds no recovery code")]
    NoRecoveryCode {
        /// `the file /home/kit.html`, `what was typed`.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The question for the recovery kit was left without an answer.
    #[error("the repository and its recovery kit are made, and nobody has shown that he has the kit")]
    KitUnanswered,
    /// An argument makes no sense.
    #[error("{what}")]
    Usage {
        /// What is wrong with it, as a sentence.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// A thing asked for by name does not exist.
    #[error("there is no {what} {name}")]
    Unknown {
        /// `policy`, `drill`, `target`.
        what: &'static str,
        /// As asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A file of our own state cannot be written.
    #[error("{path} cannot be written")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing that could be restored or checked is there yet.
    #[error("{what}")]
    Nothing {
        /// What is missing, as a sentence.
        what: String,
        /// The next thing to do.
        hint: String,
    },
    /// The configuration has problems, which were printed.
    #[error("the configuration has {count} problems")]
    Configuration {
        /// How many.
        count: usize,
    },
    /// A hold forbids it.
    #[error("nothing of policy {policy} is removed: {kind} since hold {id}: {reason}")]
    Held {
        /// Whose snapshots.
        policy: String,
        /// Which hold.
        id: String,
        /// What sort.
        kind: HoldKind,
        /// Why it was placed.
        reason: String,
    },
    /// An address can't be listened at.
    #[error("{address} cannot be listened at")]
    NoListening {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An incident whose cause is still seen, or that is not over, can't be closed.
    #[error("incident {id} is not over: {title}")]
    StillSo {
        /// Which.
        id: String,
        /// What it is about.
        title: String,
    },
    /// The daemon does not go by the configuration that it was told to read.
    #[error("the daemon (process {pid}) has not taken the configuration over")]
    DaemonDeaf {
        /// Its number.
        pid: u32,
        /// Why it could not be told.
        #[source]
        source: Option<std::io::Error>,
    },
    /// So little is free that a backup would fill the place.
    #[error(
        "{what} has {} free at {}, and {} have to stay free",
        format_bytes(*free_bytes), path.display(), format_bytes(*limit_bytes)
    )]
    NoHeadroom {
        /// `the state folder`, `target disk`.
        what: String,
        /// Where.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What has to be.
        limit_bytes: u64,
        /// What to do, and which key says so.
        hint: String,
    },
    /// Another process works on the same thing.
    #[error("{what}")]
    Busy {
        /// Who and on what, as a sentence.
        what: String,
    },
}

impl Classified for AppError {
    fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } | Self::EmptyPassword { .. } | Self::Usage { .. } => Class::Usage,
            Self::Unknown { .. } | Self::Configuration { .. } | Self::ExposedKey { .. } => Class::Usage,
            Self::NoKeyFile { .. } | Self::NoRecoveryCode { .. } => Class::WrongKey,
            Self::Slot { .. } => Class::NotFound,
            Self::SecretCommand { .. } => Class::Failed,
            Self::KitUnanswered | Self::Held { .. } | Self::StillSo { .. } => Class::Refused,
            Self::Unwritable { source, .. } => match Class::of_io(source) {
                Class::NoSpace => Class::NoSpace,
                _ => Class::Failed,
            },
            Self::Nothing { .. } => Class::NotFound,
            Self::DaemonDeaf { .. } | Self::NoListening { .. } => Class::Failed,
            Self::Busy { .. } => Class::StateInUse,
            Self::NoHeadroom { .. } => Class::NoSpace,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "E0801",
            Self::EmptyPassword { .. } => "E0802",
            Self::Usage { .. } => "E0803",
            Self::Unknown { .. } => "E0804",
            Self::Unwritable { .. } => "E0805",
            Self::Nothing { .. } => "E0806",
            Self::Configuration { .. } => "E0807",
            Self::Busy { .. } => "E0808",
            Self::ExposedKey { .. } => "E0810",
            Self::NoKeyFile { .. } => "E0811",
            Self::Slot { .. } => "E0812",
            Self::SecretCommand { .. } => "E0813",
            Self::NoRecoveryCode { .. } => "E0814",
            Self::KitUnanswered => "E0815",
            Self::Held { .. } => "E0816",
            Self::DaemonDeaf { .. } => "E0817",
            Self::StillSo { .. } => "E0818",
            Self::NoListening { .. } => "E0819",
            Self::NoHeadroom { .. } => "E0820",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } => "check the path and its permissions".to_owned(),
            Self::ExposedKey { path, .. } => {
                format!("chmod 600 {}; if others can have read it, replace the key", path.display())
            }
            Self::NoKeyFile { .. } => {
                "put the copy back that was kept of it; a file with a passphrase is named by --password-file"
                    .to_owned()
            }
            Self::KitUnanswered => {
                "print the kit's page and keep it; `lifeboat repo key list` shows its slot, `repo key remove` takes it away".to_owned()
            }
            Self::Slot { .. } => "`lifeboat repo key list` shows them; give at least 8 digits".to_owned(),
            Self::SecretCommand { .. } => {
                "run it by hand: it has to print the secret and end with 0; no shell runs it, so quotes and variables mean nothing".to_owned()
            }
            Self::NoRecoveryCode { .. } => {
                "give all 24 words in their order, or the line that begins with LIFEBOAT-RECOVERY-1".to_owned()
            }
            Self::EmptyPassword { .. } => "put the passphrase into it, on one line".to_owned(),
            Self::Usage { hint, .. } | Self::Nothing { hint, .. } | Self::NoHeadroom { hint, .. } => hint.clone(),
            Self::Unknown { known, .. } if known.is_empty() => return None,
            Self::Unknown { known, .. } => format!("known: {known}"),
            Self::Unwritable { .. } => "check the permissions and the free space there".to_owned(),
            Self::Configuration { .. } => "mend them and run `lifeboat check` again".to_owned(),
            Self::Held { kind: HoldKind::Freeze, policy, .. } => {
                format!("`lifeboat unfreeze {policy} --reason ...` when it is over")
            }
            Self::Held { kind: HoldKind::Weakened, id, .. } => {
                format!("if that is meant, `lifeboat hold release {id} --reason ...`; else write what was there before")
            }
            Self::Held { id, .. } => {
                format!("look at the source and at what changed; if it is well, `lifeboat hold release {id} --reason ...`")
            }
            Self::StillSo { .. } => {
                "mend the cause; `lifeboat watch` sees when it is gone, then `lifeboat incident resolve`, then `report`".to_owned()
            }
            Self::NoListening { .. } => "choose a free port of an address of this machine".to_owned(),
            Self::DaemonDeaf { .. } => "look at its log; a restart reads the files, too".to_owned(),
            Self::Busy { .. } => "wait for it to end, or stop it".to_owned(),
        })
    }
}

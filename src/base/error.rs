//! What kind of failure an error is.
//!
//! Every floor has its own error enum; each answers [`Classified::class`], and the class alone
//! decides the exit code, whether a retry can help, and a run's outcome. The stable code
//! (`E0412`) names the page that `lifeboat explain` prints.

use std::error::Error;
use std::fmt;

/// The kind of a failure. Decides the exit code and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Class {
    /// The command line or the configuration is wrong (exit 2).
    Usage,
    /// There is no repository at the place named (exit 10).
    NoRepository,
    /// A repository stands there already (exit 1).
    Exists,
    /// Another process owns the state folder (exit 11).
    StateInUse,
    /// The passphrase or key opens nothing here (exit 12).
    WrongKey,
    /// Stored bytes are damaged, missing, exchanged or rolled back (exit 13).
    Damage,
    /// Refused by a guard: would overwrite, a hold, a lock (exit 14).
    Refused,
    /// The 3-2-1 rule or the RPO is not met now (exit 15).
    RuleNotMet,
    /// A drill did not pass (exit 16).
    DrillNotPassed,
    /// A person or a signal ended it (exit 130).
    Cancelled,
    /// A medium is full (exit 1).
    NoSpace,
    /// A target or service cannot be reached, or kept failing over the whole retry budget (exit 1).
    Unreachable,
    /// Credentials were refused (exit 1).
    Denied,
    /// A transient answer that a retry may cure (exit 1 when the budget is spent).
    Transient,
    /// A thing named by the caller does not exist: a snapshot, a path, a bucket (exit 1).
    NotFound,
    /// Part of the work is missing, but a snapshot exists (exit 3).
    Partial,
    /// Anything else that failed (exit 1).
    Failed,
}

impl Class {
    /// The process exit code of this class (the table in `README.md`).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Partial => 3,
            Self::NoRepository => 10,
            Self::StateInUse => 11,
            Self::WrongKey => 12,
            Self::Damage => 13,
            Self::Refused => 14,
            Self::RuleNotMet => 15,
            Self::DrillNotPassed => 16,
            Self::Cancelled => 130,
            _ => 1,
        }
    }

    /// Whether the same call may succeed if it is simply repeated a little later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Transient | Self::Unreachable)
    }

    /// The class of an operating-system error.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match error.kind() {
            K::StorageFull | K::QuotaExceeded => Self::NoSpace,
            K::NotFound => Self::NotFound,
            K::PermissionDenied | K::ReadOnlyFilesystem => Self::Denied,
            K::Interrupted | K::WouldBlock | K::TimedOut => Self::Transient,
            _ => Self::Failed,
        }
    }
}

/// An error that knows its class, its stable code, and what to try next.
pub trait Classified: Error {
    /// The kind of failure.
    fn class(&self) -> Class;

    /// The stable code, `E` and four digits.
    fn code(&self) -> &'static str;

    /// The next thing to try, as one sentence for the person at the terminal.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Any error of the house, its type forgotten and its class kept: what use cases return.
pub struct Failure(Box<dyn Classified + Send + Sync>);

impl Failure {
    /// The kind of failure.
    pub fn class(&self) -> Class {
        self.0.class()
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code()
    }

    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    /// The error and its causes on one line.
    pub fn message(&self) -> String {
        struct Erased<'a>(&'a (dyn Classified + Send + Sync));
        impl fmt::Display for Erased<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_chain(f, &self.0, self.0.source())
            }
        }
        Erased(self.0.as_ref()).to_string()
    }
}

impl<E: Classified + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

/// Prints an error and its causes on one line, each cause once: `a: b: c`.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_chain(f, &self.0, self.0.source())
    }
}

fn write_chain(
    f: &mut fmt::Formatter<'_>,
    first: &dyn fmt::Display,
    mut next: Option<&(dyn Error + 'static)>,
) -> fmt::Result {
    let mut said = first.to_string();
    f.write_str(&said)?;
    while let Some(cause) = next {
        let text = cause.to_string();
        // A transparent wrapper repeats its cause's words.
        if text != said {
            write!(f, ": {text}")?;
        }
        said = text;
        next = cause.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_promised_ones() {
        let table = [
            (Class::Usage, 2),
            (Class::Partial, 3),
            (Class::NoRepository, 10),
            (Class::StateInUse, 11),
            (Class::WrongKey, 12),
            (Class::Damage, 13),
            (Class::Refused, 14),
            (Class::RuleNotMet, 15),
            (Class::DrillNotPassed, 16),
            (Class::Cancelled, 130),
            (Class::Exists, 1),
            (Class::Unreachable, 1),
            (Class::NoSpace, 1),
        ];
        for (class, code) in table {
            assert_eq!(class.exit_code(), code, "{class:?}");
        }
    }
}

//! What the rule answers, for people and for machines.

use std::fmt;

use crate::base::clock::Timestamp;
use crate::policy::state::Word;

/// Which snapshot the rule is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The newest of any kind.
    Newest,
    /// The newest full.
    NewestFull,
}

/// One reason against the rule or against a state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Reason {
    /// Stable, for machines: `never-read-back`.
    pub code: &'static str,
    /// For people.
    pub text: String,
    /// The worst word that it allows.
    pub word: Word,
}

impl Reason {
    pub(in crate::policy) fn new(code: &'static str, word: Word, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), word }
    }
}

/// A fact that the answer rests on, and when it is too old.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Expiry {
    /// `the read-back of cloud`.
    pub what: String,
    /// From then on it doesn't count.
    pub at: Timestamp,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The rule in short: `3-2-1`.
    pub rule: String,
    /// Whether it holds.
    pub holds: bool,
    /// The snapshot that was looked at.
    pub snapshot: Option<String>,
    /// Failure domains, the source among them when it counts.
    pub copies: u32,
    /// Failure domains without the source.
    pub stored: u32,
    /// Different media, the source's among them.
    pub media: u32,
    /// Failure domains elsewhere.
    pub offsite: u32,
    /// Failure domains with a probed lock, or offline.
    pub immutable_or_offline: u32,
    /// Every class of copy was restored in a drill, and no finding is open.
    pub zero_errors: bool,
    /// Why it doesn't hold; empty when it does.
    pub reasons: Vec<Reason>,
    /// Until when it holds if nothing else happens; `None` when it doesn't.
    pub valid_until: Option<Timestamp>,
    /// The first of the facts used to grow too old.
    pub expires_next: Option<Expiry>,
}

impl fmt::Display for Verdict {
    /// `3-2-1 does not hold: the disk copy is on the source's device; off-site refuted (loopback)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.valid_until {
            Some(until) if self.holds => return write!(f, "{} holds until {}", self.rule, until.readable()),
            _ if self.holds => return write!(f, "{} holds", self.rule),
            _ => write!(f, "{} does not hold", self.rule)?,
        }
        for (index, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {}", if index == 0 { ":" } else { ";" }, reason.text)?;
        }
        Ok(())
    }
}

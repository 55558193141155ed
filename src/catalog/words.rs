//! The words that records are made of: each is stored and shown as the same text.

use std::fmt;

pub use crate::policy::model::Severity;

/// A closed set of words.
pub trait Word: Sized {
    /// The word.
    fn text(&self) -> std::borrow::Cow<'static, str>;
    /// The value of a word; `None` for a word of another version.
    fn parse(text: &str) -> Option<Self>;
}

/// An enum whose variants are words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word, as stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl Word for $name {
            fn text(&self) -> std::borrow::Cow<'static, str> {
                self.as_str().into()
            }

            fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        spelled! { $name }
    };
}

/// Display, serialisation and binding of a word.
macro_rules! spelled {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.text())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.text())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown word `{text}`")))
            }
        }

        impl From<&$name> for super::sql::Arg {
            fn from(word: &$name) -> Self {
                Self::Text(Some(word.text().into_owned()))
            }
        }

        impl From<&Option<$name>> for super::sql::Arg {
            fn from(word: &Option<$name>) -> Self {
                Self::Text(word.as_ref().map(|word| word.text().into_owned()))
            }
        }
    };
}

words! {
    /// What a backup reads.
    BackupKind {
        /// Every source byte is read and hashed.
        Full = "full",
        /// What changed since the last snapshot.
        Incremental = "incremental",
        /// What changed since the last full one.
        Differential = "differential",
    }
}

/// What is to be done for a policy: `full`, `incremental`, `differential`, `verify`, `scrub`, `prune`,
/// `probe`, `locks`, `drill:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// A backup.
    Backup(BackupKind),
    /// Reading a policy's targets back.
    Verify,
    /// Reading a share of them back.
    Scrub,
    /// Forgetting old snapshots, and freeing what only they held.
    Prune,
    /// Trying out what its targets can do.
    Probe,
    /// Making the locks of its immutable targets last longer.
    Locks,
    /// The drill of this plan.
    Drill(String),
}

impl Job {
    /// Jobs of one lane of a policy never run at the same time.
    pub fn lane(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Verify => "verify",
            Self::Scrub => "scrub",
            Self::Prune => "prune",
            Self::Probe => "probe",
            Self::Locks => "locks",
            Self::Drill(_) => "drill",
        }
    }
}

impl Word for Job {
    fn text(&self) -> std::borrow::Cow<'static, str> {
        match self {
            Self::Backup(kind) => kind.as_str().into(),
            Self::Verify => "verify".into(),
            Self::Scrub => "scrub".into(),
            Self::Prune => "prune".into(),
            Self::Probe => "probe".into(),
            Self::Locks => "locks".into(),
            Self::Drill(plan) => format!("drill:{plan}").into(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match (text, text.strip_prefix("drill:")) {
            ("verify", _) => Some(Self::Verify),
            ("scrub", _) => Some(Self::Scrub),
            ("prune", _) => Some(Self::Prune),
            ("probe", _) => Some(Self::Probe),
            ("locks", _) => Some(Self::Locks),
            (_, Some(plan)) => Some(Self::Drill(plan.to_owned())),
            _ => BackupKind::parse(text).map(Self::Backup),
        }
    }
}

spelled! { Job }

words! {
    /// Where an occurrence stands. `done`, `missed` and `skipped` are final.
    OccurrenceState {
        /// Its time has come; nobody has taken it.
        Due = "due",
        /// Somebody took it.
        Running = "running",
        /// It happened; its run says how it went.
        Done = "done",
        /// Its time passed while nobody was there.
        Missed = "missed",
        /// It was left out on purpose.
        Skipped = "skipped",
    }
}

impl OccurrenceState {
    /// A final state never changes.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Due | Self::Running)
    }
}

words! {
    /// Where a run or an attempt stands. All are final but `running`, and for a run `interrupted`
    /// and `waiting`.
    RunState {
        /// It goes on.
        Running = "running",
        /// All of it was done.
        Succeeded = "succeeded",
        /// A snapshot exists; items are unread or a target lacks it.
        Partial = "partial",
        /// It failed.
        Failed = "failed",
        /// Its process ended without a word. A run may be tried again.
        Interrupted = "interrupted",
        /// Its attempt failed for a reason that passes; it is tried again a little later.
        Waiting = "waiting",
        /// A person or a signal ended it.
        Cancelled = "cancelled",
        /// It took longer than allowed.
        TimedOut = "timed_out",
    }
}

impl RunState {
    /// A final state never changes.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Running | Self::Interrupted | Self::Waiting)
    }
}

words! {
    /// What made a run start.
    Cause {
        /// Its time had come.
        Schedule = "schedule",
        /// Missed occurrences are caught up, once.
        CatchUp = "catch_up",
        /// A person asked.
        Person = "person",
    }
}

words! {
    /// How much is known of a copy, least first. Each level has its own time: a drill that restored
    /// a sample has not read everything back.
    Level {
        /// The target answered the writes.
        Written = "written",
        /// The target confirmed our checksum of every object.
        Acked = "acked",
        /// Every byte was read back from the target and matched.
        ReadBack = "read_back",
        /// A drill restored from this copy and the files matched the manifest.
        Restored = "restored",
        /// Checks by the application passed on what a drill restored.
        Usable = "usable",
    }
}

words! {
    /// How much a verification read.
    VerifyScope {
        /// What a run has just written.
        New = "new",
        /// Every stored object.
        All = "all",
        /// Every stored object, opened and every blob hashed.
        Deep = "deep",
    }
}

words! {
    /// What a drill showed. Only `pass` and `pass_with_findings` are passes.
    Verdict {
        /// Everything held.
        Pass = "pass",
        /// Everything required held.
        PassWithFindings = "pass_with_findings",
        /// The data or the procedure did not hold.
        Fail = "fail",
        /// The sandbox broke; nothing was shown.
        Inconclusive = "inconclusive",
        /// A person ended it.
        Aborted = "aborted",
    }
}

impl Verdict {
    /// Whether the drill may be called passed.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Pass | Self::PassWithFindings)
    }
}

words! {
    /// How one check of a drill went.
    CheckResult {
        /// As expected.
        Pass = "pass",
        /// Not as expected.
        Fail = "fail",
        /// The check itself could not be made.
        Error = "error",
        /// It was not reached.
        Skipped = "skipped",
    }
}

words! {
    /// What sort of hold.
    HoldKind {
        /// A person stopped all change.
        Freeze = "freeze",
        /// A run found its source changed as an accident or an attack would.
        Suspicious = "suspicious",
        /// A change of the configuration made a promise weaker.
        Weakened = "weakened",
    }
}

impl Word for Severity {
    fn text(&self) -> std::borrow::Cow<'static, str> {
        self.as_str().into()
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Minor, Self::Serious, Self::Critical].into_iter().find(|one| one.as_str() == text)
    }
}

spelled! { Severity }

words! {
    /// Where an incident stands. `reported` is final for thirty days and more.
    IncidentState {
        /// It is known here; nobody has been told yet.
        Detected = "detected",
        /// Somebody was told.
        Notified = "notified",
        /// Somebody has answered.
        Responding = "responding",
        /// It does not spread any more.
        Contained = "contained",
        /// What was lost is being brought back.
        Restoring = "restoring",
        /// Somebody checks that all is well.
        Verifying = "verifying",
        /// It was seen to be over.
        Resolved = "resolved",
        /// Its report is written.
        Reported = "reported",
    }
}

impl IncidentState {
    /// Whether it goes on.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Resolved | Self::Reported)
    }
}

words! {
    /// Where a message stands.
    MessageState {
        /// It waits to be sent.
        Queued = "queued",
        /// Whoever it is for has it, as far as the way there says.
        Sent = "sent",
        /// It was given up.
        Failed = "failed",
    }
}

words! {
    /// Where a finding stands. `closed` is final.
    FindingState {
        /// Not shown to be repaired.
        Open = "open",
        /// A later drill passed the same check on the same class of copy.
        Closed = "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_read_as_written() {
        for text in [
            "full",
            "incremental",
            "differential",
            "verify",
            "scrub",
            "prune",
            "probe",
            "locks",
            "drill:weekly",
        ] {
            assert_eq!(Job::parse(text).expect("a job").to_string(), text);
        }
        assert_eq!(Job::parse("compact"), None);
    }
}

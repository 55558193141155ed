//! The report of one drill: exactly the fields of `docs/drill-report.schema.json`.
//!
//! Plain data that somebody else fills from records. Facts that nobody recorded are `None` and
//! left out; nothing is made up. The bytes of [`DrillReport::to_json`] are what is hashed and
//! signed. Times are RFC 3339 in UTC, seconds have milliseconds, sizes are bytes, hashes are
//! lower-case hexadecimal SHA-256.

use serde::{Deserialize, Serialize};

use super::limits;
use crate::base::clock::Timestamp;

/// The form of the report; a reader that doesn't know it must not guess.
pub const SCHEMA: &str = "lifeboat.drill-report/1";

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was looked at is as it should be.
    Pass,
    /// The data came back; something needs mending.
    PassWithFindings,
    /// The data did not come back, or not as promised.
    Fail,
    /// Something that isn't the copy broke.
    Inconclusive,
    /// It was stopped.
    Aborted,
}

/// Whether an objective was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// Measured, and met.
    Yes,
    /// Measured, and not met.
    No,
    /// This drill says nothing about it.
    NotClaimed,
}

/// How much of the snapshot was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    Full,
    /// A sample.
    Partial,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// As expected.
    Pass,
    /// Not as expected.
    Fail,
    /// It could not look.
    Error,
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The drill has failed.
    Fail,
    /// The drill passes with a finding.
    Warn,
}

/// What became of the restored files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupOutcome {
    /// Nothing is left.
    Deleted,
    /// They are kept until `until`.
    Kept,
    /// They could not be removed.
    Failed,
    /// There was no sandbox.
    None,
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])+ $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])+ pub $field: $type,)+
        }
    };
}

record! {
    /// What was to be rehearsed.
    Plan {
        /// The drill's name in the configuration.
        name: String,
        /// `restore`.
        kind: String,
        /// Hash of the plan as it was loaded.
        sha256: String,
        /// What it should show, in a sentence.
        objective: String,
        /// The story it rehearses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scenario: Option<String>,
        /// What must be true for a pass.
        success_criteria: Vec<String>,
        /// Written instructions that were followed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runbook: Option<Runbook>,
        /// The time granted, in seconds.
        time_limit_s: u64,
    }
}
record! {
    /// Written instructions.
    Runbook {
        /// Its name.
        name: String,
        /// Hash of its text.
        sha256: String,
    }
}
record! {
    /// Why it ran.
    Trigger {
        /// `schedule`, `operator`, `surprise`, `change`, `incident`, `retest`.
        by: String,
        /// Who asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<String>,
        /// When it was due.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scheduled_for: Option<Timestamp>,
        /// The drill that this one repeats.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retest_of: Option<String>,
    }
}
record! {
    /// What it was about.
    Subject {
        /// The policy's name.
        policy: String,
        /// Hash of the policy as it was loaded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy_sha256: Option<String>,
        /// `critical`, `important`, `standard`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<String>,
        /// The recovery point, when it was found.
        snapshot: Option<Snapshot>,
        /// Where it was read.
        copy: Copy,
    }
}
record! {
    /// A recovery point.
    Snapshot {
        /// Its id.
        id: String,
        /// `full`, `incremental`, `differential`.
        kind: String,
        /// The snapshots it was taken after, newest first.
        chain: Vec<String>,
        /// Start of the walk that read the source.
        captured_at: Timestamp,
        /// Regular files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Root of its manifest.
        manifest_root: String,
    }
}
record! {
    /// A copy on a target.
    Copy {
        /// The target's name.
        target: String,
        /// Its place, without secrets.
        place: String,
        /// `disk`, `object-store`, `tape`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media: Option<String>,
        /// Where it stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// Whether it is away from the source.
        offsite: bool,
        /// Until when the store refuses to remove it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        immutable_until: Option<Timestamp>,
        /// What was known of the copy before: `uploaded`, `read_back`, `restored`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level_before: Option<String>,
    }
}
record! {
    /// How it was picked.
    Pick {
        /// `all`, or `lowest_sha256`: the files with the lowest SHA-256 of seed, root and path.
        method: String,
        /// Regular files in the snapshot.
        population: u64,
        /// Regular files that were drawn, or all.
        sample: u64,
        /// Entries added by name.
        always: u64,
        /// What was drawn with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<String>,
        /// SHA-256 of the seed's digits, logged before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commitment: Option<String>,
        /// How much damage this can see, as a sentence.
        detects: String,
        /// SHA-256 of the picked paths, each with a line feed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        list_sha256: Option<String>,
    }
}
record! {
    /// When, and how long.
    Times {
        /// The drill began.
        started_at: Timestamp,
        /// The last picked byte was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restored_at: Option<Timestamp>,
        /// The last check had been made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checked_at: Option<Timestamp>,
        /// Everything was over.
        ended_at: Timestamp,
        /// What took how long.
        phases: Vec<Phase>,
    }
}
record! {
    /// A measured part.
    Phase {
        /// `keys`, `locate`, `restore`, `checks`, `cleanup`.
        name: String,
        /// Seconds.
        s: f64,
        /// Bytes read from the target.
        bytes: u64,
    }
}
record! {
    /// Recovery time.
    Rto {
        /// Promised seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objective_s: Option<u64>,
        /// Measured seconds, from the start to the last check.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        measured_s: Option<f64>,
        /// How much was restored in this time.
        scope: Scope,
        /// An estimate of the seconds for everything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        projected_full_s: Option<f64>,
        /// Only a full restore can claim it.
        met: Met,
    }
}
record! {
    /// Recovery point.
    Rpo {
        /// Promised seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objective_s: Option<u64>,
        /// Seconds from the recovery point to the start of the drill.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exposure_s: Option<u64>,
        /// The newest modification time among restored files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest_data_at: Option<Timestamp>,
        /// Whether it was met at the start of the drill.
        met: Met,
    }
}
record! {
    /// What came back.
    Restore {
        /// `complete`, `incomplete`, `failed`, `sandbox_broken`, `stopped`.
        outcome: String,
        /// Regular files written.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Entries with other content than recorded.
        mismatched: u64,
        /// Picked entries that did not come back.
        missing: u64,
        /// Things that nobody asked for; only counted after a full restore.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extra: Option<u64>,
        /// Entries with the right content and other metadata.
        metadata_differences: u64,
        /// Bytes that really came from the target.
        bytes_read_from_target: u64,
        /// Whether anything came from a cache of the machine.
        used_local_cache: bool,
        /// The first entries with something wrong; the counts have all.
        worst: Vec<Problem>,
    }
}
record! {
    /// What was wrong with an entry.
    Problem {
        /// Its path, readable.
        path: String,
        /// What was wrong.
        problem: String,
    }
}
record! {
    /// A check that was made.
    Check {
        /// Its id in the drill.
        id: String,
        /// Its kind.
        kind: String,
        /// What it found.
        result: CheckResult,
        /// What must be there for a pass.
        expected: String,
        /// What was there, or why it could not look.
        observed: String,
        /// Seconds.
        s: f64,
        /// Whether the drill needs it. Always so for the manifest check.
        required: bool,
        /// What its failure means.
        on_fail: OnFail,
        /// What made it: the program and its version.
        by: String,
        /// SHA-256 of all that a program printed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_sha256: Option<String>,
        /// The end of what a program printed, secrets taken out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
        /// More for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    }
}
record! {
    /// Something that must be mended.
    Finding {
        /// Its id.
        id: String,
        /// `critical`, `serious`, `minor`.
        severity: String,
        /// What is wrong.
        title: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root_cause: Option<String>,
        /// What will be done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action: Option<String>,
        /// By whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// Until when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
        /// `open`, `assigned`, `in_progress`, `awaiting_retest`, `closed`, `risk_accepted`.
        status: String,
        /// The drill that closed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed_by: Option<String>,
    }
}
record! {
    /// Where it ran.
    Environment {
        /// The machine's name.
        host: String,
        /// The sandbox: `private folder`.
        sandbox: String,
        /// Whether the source machine was another one.
        isolated_from_source: bool,
        /// `host`, `none`.
        network: String,
        /// Our version.
        version: String,
        /// Hash of our program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary_sha256: Option<String>,
        /// What of this machine's state was used: `catalogue`, `key file`.
        state_used: Vec<String>,
        /// Where the key came from: `key file`, `recovery kit`.
        keys_from: String,
        /// What became of the restored files.
        cleanup: Cleanup,
    }
}
record! {
    /// The outcome of the cleanup alone.
    Cleanup {
        /// The word.
        outcome: CleanupOutcome,
        /// Until when they are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// What went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    }
}
record! {
    /// What it can be proven with.
    Evidence {
        /// The log line of the drill's start.
        log_seq_first: u64,
        /// The last log line before the report.
        log_seq_last: u64,
        /// SHA-256 of that line.
        log_head: String,
        /// SHA-256 of the public key (DER) that signs report and log.
        key_id: String,
        /// Files that belong to the report.
        attachments: Vec<Attachment>,
    }
}
record! {
    /// A file that belongs to the report.
    Attachment {
        /// Its name.
        name: String,
        /// Its hash.
        sha256: String,
    }
}
record! {
    /// The report of one drill.
    DrillReport {
        /// [`SCHEMA`].
        schema: String,
        /// The drill's id.
        id: String,
        /// The report that this one corrects; reports are never edited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        supersedes: Option<String>,
        /// The judgement.
        verdict: Verdict,
        /// What decided; never empty.
        verdict_reasons: Vec<String>,
        /// What was to be rehearsed.
        plan: Plan,
        /// Why it ran.
        trigger: Trigger,
        /// What it was about.
        subject: Subject,
        /// How it was picked, when it came so far.
        pick: Option<Pick>,
        /// When, and how long.
        times: Times,
        /// Recovery time.
        rto: Rto,
        /// Recovery point.
        rpo: Rpo,
        /// What came back.
        restore: Restore,
        /// The checks.
        checks: Vec<Check>,
        /// What must be mended.
        findings: Vec<Finding>,
        /// Where it ran.
        environment: Environment,
        /// What this drill did not show; never empty. [`DrillReport::state_limits`] fills it.
        limits: Vec<String>,
        /// What it can be proven with.
        evidence: Evidence,
    }
}

impl DrillReport {
    /// Fills `limits` from the other fields.
    #[must_use]
    pub fn state_limits(mut self) -> Self {
        self.limits = limits::of(&self);
        self
    }

    /// The bytes that are hashed and signed: indented JSON with a line feed at its end.
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("text, numbers and lists always serialise");
        bytes.push(b'\n');
        bytes
    }
}

impl Scope {
    /// Whether everything was restored.
    pub fn is_full(self) -> bool {
        self == Self::Full
    }
}

impl Verdict {
    /// Whether the copy is proven by it.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Pass | Self::PassWithFindings)
    }
}

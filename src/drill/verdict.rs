//! What a drill has shown: a pure judgement over its three outcomes.
//!
//! Restore, checks and cleanup are kept apart. What is known to be broken is never hidden by
//! what could not be looked at, so the order is: fail, aborted, inconclusive, findings, pass.
//! A drill over its time limit has failed: bytes that don't come back in the time that the plan
//! grants are not a recovery. A check that could not run says nothing, so the drill is
//! inconclusive and resets no clock. Without a passed manifest check there is no pass.

use super::checks::{CheckOutcome, CheckResult};
use super::runner::RtoMet;
use super::sandbox::Cleanup;
use crate::policy::model::OnFail;

/// The judgement in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was looked at is as it should be.
    Pass,
    /// The data came back; something needs mending.
    PassWithFindings,
    /// The data did not come back, or not as promised.
    Fail,
    /// Something that isn't the copy broke; nothing was shown.
    Inconclusive,
    /// A person or a signal ended it.
    Aborted,
}

impl Verdict {
    /// The word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::PassWithFindings => "pass_with_findings",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Aborted => "aborted",
        }
    }

    /// Whether the copy is proven by it.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Pass | Self::PassWithFindings)
    }
}

/// How the drill came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, within the limit.
    InTime,
    /// The time limit passed.
    OverLimit,
    /// A person or a signal stopped it.
    Cancelled,
}

/// The outcome of the restore alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// Everything that was picked was written.
    Complete,
    /// So many entries could not be brought back.
    Incomplete(u64),
    /// The copy could not be restored from; why.
    Failed(String),
    /// The sandbox broke; why. Says nothing about the copy.
    Broken(String),
    /// It was stopped before its end.
    Stopped,
}

impl RestoreOutcome {
    /// The word in records.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete(_) => "incomplete",
            Self::Failed(_) => "failed",
            Self::Broken(_) => "sandbox_broken",
            Self::Stopped => "stopped",
        }
    }
}

/// All that is judged.
#[derive(Debug)]
pub struct Facts<'a> {
    /// How it ended.
    pub ended: Ended,
    /// The restore.
    pub restore: &'a RestoreOutcome,
    /// Named paths that are not in the snapshot.
    pub absent: &'a [String],
    /// Whether anything was read from a cache of this machine and not from the copy.
    pub used_local_cache: bool,
    /// The checks, as far as they ran.
    pub checks: &'a [CheckOutcome],
    /// The cleanup, once it has happened.
    pub cleanup: Option<&'a Cleanup>,
    /// Whether the promised recovery time was met.
    pub rto: RtoMet,
}

/// A verdict and the sentences that give its reasons; never without a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The word.
    pub verdict: Verdict,
    /// What decided.
    pub reasons: Vec<String>,
}

/// The reasons for one verdict; none means that another one holds.
type Reasons = fn(&Facts<'_>) -> Vec<String>;

/// Judges a drill.
pub fn judge(facts: &Facts<'_>) -> Judgement {
    let layers: [(Verdict, Reasons); 4] = [
        (Verdict::Fail, failures),
        (Verdict::Aborted, aborts),
        (Verdict::Inconclusive, doubts),
        (Verdict::PassWithFindings, findings),
    ];
    for (verdict, reasons_of) in layers {
        let reasons = reasons_of(facts);
        if !reasons.is_empty() {
            return Judgement { verdict, reasons };
        }
    }
    Judgement {
        verdict: Verdict::Pass,
        reasons: vec![format!("the restore is complete and {}", passed(facts.checks.len()))],
    }
}

fn passed(checks: usize) -> String {
    if checks == 1 { "its check passed".to_owned() } else { format!("all {checks} checks passed") }
}

fn failures(facts: &Facts<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    match facts.restore {
        RestoreOutcome::Failed(why) => reasons.push(format!("the copy could not be restored: {why}")),
        RestoreOutcome::Incomplete(count) => {
            reasons.push(format!("{count} entries could not be brought back from this copy"));
        }
        _ => {}
    }
    for path in facts.absent {
        reasons.push(format!("`{path}` must always be restored and is not in the snapshot"));
    }
    let failed = facts.checks.iter().filter(|check| check.fails_the_drill());
    reasons.extend(failed.map(|check| format!("the check `{}` failed: {}", check.id, check.observed)));
    if facts.ended == Ended::OverLimit {
        reasons.push("the drill took longer than its time limit".to_owned());
    }
    reasons
}

fn aborts(facts: &Facts<'_>) -> Vec<String> {
    match facts.ended {
        Ended::Cancelled => vec!["a person or a signal stopped the drill".to_owned()],
        _ => Vec::new(),
    }
}

fn doubts(facts: &Facts<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    match facts.restore {
        RestoreOutcome::Broken(why) => reasons.push(format!("the sandbox broke: {why}")),
        RestoreOutcome::Stopped => reasons.push("the restore did not come to its end".to_owned()),
        _ => {}
    }
    if facts.used_local_cache {
        reasons.push("data came from a cache of this machine and not from the copy".to_owned());
    }
    let broken = |check: &&CheckOutcome| check.is_required() && check.result == CheckResult::Error;
    reasons.extend(
        facts
            .checks
            .iter()
            .filter(broken)
            .map(|check| format!("the check `{}` could not run: {}", check.id, check.observed)),
    );
    let has_manifest = facts.checks.iter().any(|c| c.is_manifest() && c.result == CheckResult::Pass);
    if reasons.is_empty() && !has_manifest {
        reasons.push("no manifest check passed: nothing shows that the bytes are the right ones".to_owned());
    }
    reasons
}

fn findings(facts: &Facts<'_>) -> Vec<String> {
    let mut reasons: Vec<String> = facts
        .checks
        .iter()
        .filter(|check| check.result != CheckResult::Pass)
        .map(|check| format!("the check `{}` did not pass: {}", check.id, check.observed))
        .collect();
    if facts.rto == RtoMet::No {
        reasons.push("the data came back later than the recovery time objective allows".to_owned());
    }
    if let Some(Cleanup::Failed(why)) = facts.cleanup {
        reasons.push(format!("the restored files could not be removed: {why}"));
    }
    reasons
}

impl CheckOutcome {
    /// The manifest check cannot be made optional.
    pub fn is_required(&self) -> bool {
        self.required || self.is_manifest()
    }

    fn is_manifest(&self) -> bool {
        self.kind == "manifest"
    }

    fn fails_the_drill(&self) -> bool {
        let counts = self.is_manifest() || (self.required && self.on_fail == OnFail::Fail);
        counts && self.result == CheckResult::Fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &'static str, result: CheckResult) -> CheckOutcome {
        CheckOutcome {
            id: format!("the-{kind}"),
            kind,
            required: true,
            on_fail: OnFail::Fail,
            result,
            expected: "something".to_owned(),
            observed: "something else".to_owned(),
            seconds: 0.1,
            output: None,
            message: None,
        }
    }

    fn good() -> Vec<CheckOutcome> {
        vec![check("manifest", CheckResult::Pass), check("count", CheckResult::Pass)]
    }

    fn verdict(
        ended: Ended,
        restore: &RestoreOutcome,
        checks: &[CheckOutcome],
        cleanup: &Cleanup,
        rto: RtoMet,
    ) -> Verdict {
        let judged = judge(&Facts {
            ended,
            restore,
            absent: &[],
            used_local_cache: false,
            checks,
            cleanup: Some(cleanup),
            rto,
        });
        assert!(!judged.reasons.is_empty(), "a verdict has reasons");
        judged.verdict
    }

    fn of_checks(checks: &[CheckOutcome]) -> Verdict {
        verdict(Ended::InTime, &RestoreOutcome::Complete, checks, &Cleanup::Deleted, RtoMet::NotClaimed)
    }

    #[test]
    fn only_a_whole_restore_with_a_passed_manifest_check_passes() {
        assert_eq!(of_checks(&good()), Verdict::Pass);
        assert_eq!(of_checks(&[]), Verdict::Inconclusive);
        assert_eq!(of_checks(&[check("count", CheckResult::Pass)]), Verdict::Inconclusive);
        assert_eq!(of_checks(&[check("manifest", CheckResult::Fail)]), Verdict::Fail);
    }

    #[test]
    fn the_manifest_check_cannot_be_made_optional() {
        for result in [CheckResult::Fail, CheckResult::Error] {
            let mut manifest = check("manifest", result);
            manifest.required = false;
            manifest.on_fail = OnFail::Warn;
            let verdict = of_checks(&[manifest, check("count", CheckResult::Pass)]);
            assert!(!verdict.is_pass(), "{result:?} gave {verdict:?}");
        }
    }

    #[test]
    fn a_check_that_could_not_run_is_neither_pass_nor_fail() {
        let mut checks = good();
        checks[1].result = CheckResult::Error;
        assert_eq!(of_checks(&checks), Verdict::Inconclusive);
        checks[1].required = false;
        assert_eq!(of_checks(&checks), Verdict::PassWithFindings);
    }

    #[test]
    fn warnings_are_findings_and_failures_are_failures() {
        let mut checks = good();
        checks[1].result = CheckResult::Fail;
        assert_eq!(of_checks(&checks), Verdict::Fail);
        checks[1].on_fail = OnFail::Warn;
        assert_eq!(of_checks(&checks), Verdict::PassWithFindings);
    }

    #[test]
    fn the_three_outcomes_are_kept_apart() {
        let (complete, deleted) = (RestoreOutcome::Complete, Cleanup::Deleted);
        let failed = RestoreOutcome::Failed("the target is away".to_owned());
        let broken = RestoreOutcome::Broken("no space".to_owned());
        let left = Cleanup::Failed("busy".to_owned());
        let none = RtoMet::NotClaimed;
        let cases = [
            (Ended::InTime, &failed, &deleted, none, Verdict::Fail),
            (Ended::InTime, &RestoreOutcome::Incomplete(1), &deleted, none, Verdict::Fail),
            (Ended::InTime, &broken, &deleted, none, Verdict::Inconclusive),
            (Ended::InTime, &complete, &left, none, Verdict::PassWithFindings),
            (Ended::InTime, &complete, &deleted, RtoMet::No, Verdict::PassWithFindings),
            (Ended::InTime, &complete, &deleted, RtoMet::Yes, Verdict::Pass),
            (Ended::OverLimit, &RestoreOutcome::Stopped, &deleted, none, Verdict::Fail),
            (Ended::OverLimit, &complete, &deleted, none, Verdict::Fail),
            (Ended::Cancelled, &RestoreOutcome::Stopped, &deleted, none, Verdict::Aborted),
            (Ended::Cancelled, &RestoreOutcome::Incomplete(1), &deleted, none, Verdict::Fail),
        ];
        for (ended, restore, cleanup, rto, expected) in cases {
            assert_eq!(verdict(ended, restore, &good(), cleanup, rto), expected, "{ended:?} {restore:?}");
        }
    }

    #[test]
    fn what_came_from_a_cache_proves_nothing_about_the_copy() {
        let judged = judge(&Facts {
            ended: Ended::InTime,
            restore: &RestoreOutcome::Complete,
            absent: &[],
            used_local_cache: true,
            checks: &good(),
            cleanup: None,
            rto: RtoMet::NotClaimed,
        });
        assert_eq!(judged.verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_named_path_that_is_absent_fails_the_drill() {
        let absent = ["etc/app.conf".to_owned()];
        let judged = judge(&Facts {
            ended: Ended::InTime,
            restore: &RestoreOutcome::Complete,
            absent: &absent,
            used_local_cache: false,
            checks: &good(),
            cleanup: None,
            rto: RtoMet::NotClaimed,
        });
        assert_eq!(judged.verdict, Verdict::Fail);
        assert!(judged.reasons[0].contains("etc/app.conf"));
    }
}

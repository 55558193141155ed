//! The word that `status` shows for a policy, its reasons, and until when.
//!
//! The worst of what is known wins. Nothing is PROVEN because nothing ran, and nothing is PROVEN
//! before a recovery kit exists: encrypted backups with a lost key are no backups.

use std::fmt;

use super::copies::{Expiry, Reason, Verdict};
use crate::base::clock::Timestamp;

/// The words, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    /// Every promise is kept by a fact that isn't too old.
    Proven,
    /// It will not be, before the next planned check looks.
    #[serde(rename = "AT RISK")]
    AtRisk,
    /// A fact is missing or too old.
    Unproven,
    /// A fact says no.
    Broken,
    /// Somebody stopped all change.
    Frozen,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Proven => "PROVEN",
            Self::AtRisk => "AT RISK",
            Self::Unproven => "UNPROVEN",
            Self::Broken => "BROKEN",
            Self::Frozen => "FROZEN",
        })
    }
}

/// The answer to a question that may not have been asked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A fact says yes.
    Yes,
    /// A fact says no.
    No,
    /// There is no fact.
    Unknown,
}

/// What the word is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The 3-2-1 rule's.
    pub verdict: &'a Verdict,
    /// Whether the exposure is within the RPO now.
    pub rpo_met: Answer,
    /// Whether the evidence log's chain and head verify.
    pub evidence_intact: Answer,
    /// Whether a recovery kit exists and a drill opened a copy with it.
    pub recovery_kit: Answer,
    /// Whether somebody froze the policy.
    pub frozen: bool,
    /// Whether a run found its source changed as an accident or an attack would, and nobody has looked.
    pub suspicious: bool,
    /// Whether a change made the promise weaker, and nobody has agreed.
    pub weakened: bool,
    /// Whether what is promised changed after the newest drill that passed.
    pub changed_since_drill: bool,
    /// What is short, and what will be broken soon if things go on as they have: codes and sentences.
    pub ahead: &'a [(&'static str, String)],
    /// When a planned run, verification or drill renews facts next.
    pub next_check: Option<Timestamp>,
}

/// The word, why, and until when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct State {
    /// The worst that the reasons allow.
    pub word: Word,
    /// Worst first; empty when PROVEN.
    pub reasons: Vec<Reason>,
    /// Until when the word stands if nothing else happens; only for PROVEN and AT RISK.
    pub until: Option<Timestamp>,
    /// The first fact to grow too old.
    pub expires_next: Option<Expiry>,
}

/// Finds the word.
pub fn state(facts: &Facts<'_>) -> State {
    let verdict = facts.verdict;
    let mut reasons = verdict.reasons.clone();
    let mut say = |code, word, text: &str| reasons.push(Reason::new(code, word, text));
    if facts.frozen {
        say("frozen", Word::Frozen, "somebody froze this policy");
    }
    if facts.changed_since_drill {
        say("changed-since-drill", Word::Unproven, "the policy changed, and no drill has passed since");
    }
    if facts.suspicious {
        say(
            "source-suspicious",
            Word::AtRisk,
            "a run looked like an accident or an attack, and nobody has looked",
        );
    }
    if facts.weakened {
        let text = "a change made the promise weaker, and nobody has agreed (`lifeboat hold list`)";
        say("promise-weakened", Word::AtRisk, text);
    }
    for (code, text) in facts.ahead {
        say(code, Word::AtRisk, text);
    }
    match facts.rpo_met {
        Answer::Yes => {}
        Answer::No => say("rpo-exceeded", Word::Broken, "more work than the rpo allows would be lost now"),
        Answer::Unknown => say("rpo-unknown", Word::Unproven, "no usable snapshot, so no rpo"),
    }
    match facts.evidence_intact {
        Answer::Yes => {}
        Answer::No => say("evidence-broken", Word::Broken, "the evidence log does not verify"),
        Answer::Unknown => say("evidence-unchecked", Word::Unproven, "the evidence log was not verified yet"),
    }
    match facts.recovery_kit {
        Answer::Yes => {}
        Answer::No => say("recovery-kit-failed", Word::Broken, "the recovery kit did not open a copy"),
        Answer::Unknown => {
            say("no-recovery-kit", Word::Unproven, "no recovery kit exists that a drill has used")
        }
    }
    let expires_first =
        verdict.valid_until.is_some_and(|until| facts.next_check.is_none_or(|check| until <= check));
    if verdict.holds && expires_first {
        say("expires-unchecked", Word::AtRisk, "a fact grows too old before the next planned check");
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.word));
    let unexplained = if verdict.holds { Word::Proven } else { Word::Unproven };
    let word = reasons.first().map_or(unexplained, |reason| reason.word);
    let stands = matches!(word, Word::Proven | Word::AtRisk);
    State {
        word,
        reasons,
        until: verdict.valid_until.filter(|_| stands),
        expires_next: verdict.expires_next.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(holds: bool) -> Verdict {
        let until = Timestamp::from_unix_ms(1_000_000);
        let broken = Reason::new("on-source-device", Word::Broken, "the disk copy is on the source's device");
        Verdict {
            stored: 2,
            rule: "3-2-1".to_owned(),
            holds,
            snapshot: None,
            copies: 3,
            media: 2,
            offsite: 1,
            immutable_or_offline: 0,
            zero_errors: true,
            reasons: if holds { vec![] } else { vec![broken] },
            valid_until: holds.then_some(until),
            expires_next: Some(Expiry { what: "the read-back of disk".to_owned(), at: until }),
        }
    }

    fn good(verdict: &Verdict) -> Facts<'_> {
        Facts {
            suspicious: false,
            weakened: false,
            changed_since_drill: false,
            verdict,
            rpo_met: Answer::Yes,
            evidence_intact: Answer::Yes,
            recovery_kit: Answer::Yes,
            frozen: false,
            ahead: &[],
            next_check: Some(Timestamp::from_unix_ms(500_000)),
        }
    }

    #[test]
    fn proven_needs_every_fact_and_says_until_when() {
        let verdict = verdict(true);
        let proven = state(&good(&verdict));
        assert_eq!((proven.word, proven.until), (Word::Proven, verdict.valid_until));
        assert!(proven.reasons.is_empty());
        let word = |facts: Facts<'_>| (state(&facts).word, state(&facts).reasons[0].code);
        let base = good(&verdict);
        let cases = [
            (Facts { recovery_kit: Answer::Unknown, ..base }, (Word::Unproven, "no-recovery-kit")),
            (Facts { recovery_kit: Answer::No, ..base }, (Word::Broken, "recovery-kit-failed")),
            (Facts { rpo_met: Answer::Unknown, ..base }, (Word::Unproven, "rpo-unknown")),
            (Facts { rpo_met: Answer::No, ..base }, (Word::Broken, "rpo-exceeded")),
            (Facts { evidence_intact: Answer::Unknown, ..base }, (Word::Unproven, "evidence-unchecked")),
            (Facts { evidence_intact: Answer::No, ..base }, (Word::Broken, "evidence-broken")),
            (Facts { frozen: true, rpo_met: Answer::No, ..base }, (Word::Frozen, "frozen")),
            (Facts { next_check: None, ..base }, (Word::AtRisk, "expires-unchecked")),
            (Facts { next_check: verdict.valid_until, ..base }, (Word::AtRisk, "expires-unchecked")),
        ];
        for (facts, expected) in cases {
            assert_eq!(word(facts), expected);
        }
    }

    #[test]
    fn the_worst_reason_decides_and_stands_first() {
        let verdict = verdict(false);
        let found = state(&Facts { recovery_kit: Answer::Unknown, ..good(&verdict) });
        assert_eq!((found.word, found.until), (Word::Broken, None));
        assert_eq!(
            found.reasons.iter().map(|r| r.code).collect::<Vec<_>>(),
            ["on-source-device", "no-recovery-kit"]
        );
    }

    #[test]
    fn what_lies_ahead_is_a_risk_and_makes_nothing_better() {
        let ahead = [("full-soon", "disk is full about then".to_owned())];
        let (holds, broken) = (verdict(true), verdict(false));
        let found = state(&Facts { ahead: &ahead, ..good(&holds) });
        assert_eq!((found.word, found.reasons[0].code), (Word::AtRisk, "full-soon"));
        let found = state(&Facts { ahead: &ahead, ..good(&broken) });
        assert_eq!((found.word, found.reasons.len()), (Word::Broken, 2));
    }

    #[test]
    fn a_rule_that_does_not_hold_is_never_proven_even_without_a_reason() {
        let silent = Verdict { reasons: vec![], ..verdict(false) };
        assert_eq!(state(&good(&silent)).word, Word::Unproven);
    }

    #[test]
    fn words_are_written_as_promised() {
        assert_eq!(serde_json::to_value(Word::AtRisk).unwrap(), "AT RISK");
        assert_eq!(serde_json::to_value(Word::Proven).unwrap(), "PROVEN");
        assert_eq!(Word::AtRisk.to_string(), "AT RISK");
    }
}

//! When a job that failed for a reason that passes is tried again.
//!
//! A run has at most [`Retry::attempts`] attempts. Between them lies a wait that grows and is spread
//! over its whole range, so that policies which failed together don't come back together. The
//! spread follows from the job's name: a plan can be computed again. No attempt begins in the time
//! of the next occurrence: that one does the work. Whether a reason passes is the error's class
//! (`base::error`); a wrong configuration, key or password never does.

use std::time::Duration;

use crate::base::clock::Timestamp;

/// After the first attempt the longest wait is so many times the shortest.
const FIRST_RANGE: u32 = 5;
/// How fast the longest wait grows.
const GROWTH: u32 = 3;

/// How often, and after what, a run is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts of one run, the first among them, whatever ended them; at least 1.
    pub attempts: u32,
    /// The shortest wait.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, first: Duration::from_secs(60), max: Duration::from_secs(15 * 60) }
    }
}

impl Retry {
    /// Whether a run with so many attempts may have another.
    pub fn leaves(self, attempts: u64) -> bool {
        attempts < u64::from(self.attempts)
    }
}

/// A run whose newest attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// What spreads the wait: the occurrence's name.
    pub name: &'a str,
    /// Attempts made, at least 1.
    pub attempts: u64,
    /// When the newest one ended.
    pub at: Timestamp,
    /// When the next occurrence is due that does the same work; `None` when there is none.
    pub next_occurrence: Option<Timestamp>,
    /// What was configured.
    pub rule: Retry,
}

/// When the next attempt begins; `None` when there is none.
pub fn next_attempt(failed: &Failed<'_>) -> Option<Timestamp> {
    if !failed.rule.leaves(failed.attempts) {
        return None;
    }
    let at = failed.at.plus(wait(failed.rule, failed.name, failed.attempts));
    failed.next_occurrence.is_none_or(|next| at < next).then_some(at)
}

/// The wait after this attempt: from [`Retry::first`] to a longest that grows to [`Retry::max`].
fn wait(rule: Retry, name: &str, attempt: u64) -> Duration {
    let steps = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let growing = FIRST_RANGE.saturating_mul(GROWTH.saturating_pow(steps));
    let longest = rule.first.saturating_mul(growing).min(rule.max);
    let range = u64::try_from(longest.saturating_sub(rule.first).as_millis()).unwrap_or(u64::MAX);
    rule.first.saturating_add(Duration::from_millis(spread(name, attempt) % range.max(1)))
}

/// FNV-1a with 64 bits: any function that scatters names would do.
pub(super) fn spread(name: &str, attempt: u64) -> u64 {
    let bytes = name.bytes().chain(attempt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(name: &str, attempts: u64) -> Failed<'_> {
        let rule = Retry::default();
        Failed { name, attempts, at: Timestamp::from_unix_ms(0), next_occurrence: None, rule }
    }

    #[test]
    fn waits_grow_are_spread_and_stay_between_a_minute_and_a_quarter_of_an_hour() {
        let names: Vec<String> = (0..500).map(|n| format!("full of p{n}")).collect();
        for (attempt, longest) in [(1, 5), (2, 15)] {
            let waits: Vec<u64> =
                names.iter().map(|name| wait(Retry::default(), name, attempt).as_secs()).collect();
            let longest = longest * 60;
            assert!(waits.iter().all(|wait| (60..=longest).contains(wait)), "{waits:?}");
            let quarter = (longest - 60) / 4;
            for part in 0..4 {
                let from = 60 + part * quarter;
                let here = waits.iter().filter(|wait| (from..from + quarter).contains(wait)).count();
                assert!((80..180).contains(&here), "{here} of 500 waits in quarter {part} after {attempt}");
            }
        }
        assert!(wait(Retry::default(), "x", 90) <= Retry::default().max, "no overflow");
        let odd = Retry { attempts: 9, first: Duration::from_secs(600), max: Duration::from_secs(60) };
        assert_eq!(wait(odd, "x", 2), odd.first, "a longest below the shortest");
    }

    #[test]
    fn the_third_attempt_is_the_last() {
        assert!(next_attempt(&failed("x", 2)).is_some());
        assert_eq!(next_attempt(&failed("x", 3)), None);
    }

    #[test]
    fn an_attempt_that_would_begin_at_the_next_occurrence_is_left_to_it() {
        let alone = next_attempt(&failed("x", 1)).expect("a time");
        let before = |next| next_attempt(&Failed { next_occurrence: Some(next), ..failed("x", 1) });
        assert_eq!(before(alone), None);
        assert_eq!(before(alone.plus(Duration::from_millis(1))), Some(alone));
    }
}

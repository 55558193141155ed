//! RPO and RTO, measured.
//!
//! Exposure at a moment is how much work would be lost then: the time since the newest snapshot
//! that was usable at that moment began to look at the source. Where there is no usable snapshot
//! the exposure has no bound, and that is a breach: missing monitoring is not a gap.

use std::time::Duration;

use crate::base::clock::Timestamp;

/// An RTO proven longer ago than this is no proof.
pub const RTO_AGE_DAYS_MAX: u64 = 400;

/// A snapshot as a recovery point. Those of failed runs don't belong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When its view of the source began.
    pub captured_at: Timestamp,
    /// When the first target confirmed it. For the curve of site loss: the first target elsewhere.
    pub usable_from: Timestamp,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its start.
    pub from: Timestamp,
    /// Its end; not before its start.
    pub until: Timestamp,
}

/// A stretch of time in which more than the RPO would have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Breach {
    /// Its start.
    pub from: Timestamp,
    /// Its end, or the period's.
    pub until: Timestamp,
}

/// How an RPO was kept over a period.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Attainment {
    /// Share of the period within the RPO, 0 to 1; 0 for an empty period.
    pub share: f64,
    /// Largest exposure. `None`: at some moment there was no usable snapshot at all.
    pub worst: Option<Duration>,
    /// In order.
    pub breaches: Vec<Breach>,
}

/// What would be lost now. `None`: everything.
pub fn exposure(points: &[Point], now: Timestamp) -> Option<Duration> {
    let usable = points.iter().filter(|p| p.usable_from <= now);
    usable.map(|p| p.captured_at).max().map(|captured_at| now.since(captured_at))
}

/// How an RPO was kept. Points in any order; those from before the period count for its start.
pub fn attainment(points: &[Point], rpo: Duration, period: Period) -> Attainment {
    let mut points = points.to_vec();
    points.sort_unstable_by_key(|p| (p.usable_from, p.captured_at));
    let mut newest = points.iter().filter(|p| p.usable_from <= period.from).map(|p| p.captured_at).max();
    let changes = points.iter().filter(|p| p.usable_from > period.from && p.usable_from < period.until);
    let ends = changes.map(|p| (p.usable_from, Some(p.captured_at))).chain([(period.until, None)]);
    let mut from = period.from;
    let (mut within, mut worst, mut breaches) = (Duration::ZERO, Some(Duration::ZERO), Vec::new());
    for (until, captured_at) in ends {
        // Between two changes the exposure grows with the clock: it is too large from one moment on.
        let too_large_from = newest.map_or(from, |at| at.plus(rpo)).clamp(from, until);
        within += too_large_from.since(from);
        if too_large_from < until {
            join(&mut breaches, Breach { from: too_large_from, until });
        }
        if until > from {
            worst = worst.zip(newest).map(|(worst, at)| worst.max(until.since(at)));
        }
        newest = newest.max(captured_at);
        from = until;
    }
    let whole = period.until.since(period.from);
    let share = if whole.is_zero() { 0.0 } else { within.as_secs_f64() / whole.as_secs_f64() };
    Attainment { share, worst, breaches }
}

/// A snapshot that came too late to help does not split a breach in two.
fn join(breaches: &mut Vec<Breach>, next: Breach) {
    match breaches.last_mut() {
        Some(last) if last.until == next.from => last.until = next.until,
        _ => breaches.push(next),
    }
}

/// A measured restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// All files, not a sample.
    pub full_scope: bool,
    /// The drill passed.
    pub passed: bool,
    /// From its declaration to the last required check.
    pub took: Duration,
    /// When it ended.
    pub at: Timestamp,
    /// Bytes restored.
    pub bytes: u64,
}

/// Whether an RTO is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "met")]
pub enum Rto {
    /// A full drill of at least today's bytes was fast enough.
    Yes {
        /// How long it took.
        seconds: u64,
    },
    /// The newest full drill was too slow.
    No {
        /// How long it took.
        seconds: u64,
    },
    /// No full drill says either.
    Unproven {
        /// Why not.
        reason: NoProof,
        /// By bytes from the newest passed drill of any scope; an estimate, never a proof.
        estimated_seconds: Option<u64>,
    },
}

/// Why an RTO is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoProof {
    /// No drill restored everything and passed.
    NoFullDrill,
    /// The newest is older than [`RTO_AGE_DAYS_MAX`].
    TooOld,
    /// There is more data now than was restored then.
    DataGrew,
}

/// Judges an RTO. Only a passed drill of all files can prove it, and only for as much data.
pub fn rto(promised: Duration, bytes_now: u64, rehearsals: &[Rehearsal], now: Timestamp) -> Rto {
    let passed = || rehearsals.iter().filter(|r| r.passed && r.at <= now);
    let estimated_seconds =
        passed().max_by_key(|r| (r.at, r.full_scope)).and_then(|r| projected(r, bytes_now));
    let unproven = |reason| Rto::Unproven { reason, estimated_seconds };
    let Some(newest) = passed().filter(|r| r.full_scope).max_by_key(|r| r.at) else {
        return unproven(NoProof::NoFullDrill);
    };
    let seconds = newest.took.as_secs();
    if now.since(newest.at) > Duration::from_secs(RTO_AGE_DAYS_MAX * 86_400) {
        unproven(NoProof::TooOld)
    } else if newest.took > promised {
        // Less data would not have made it fast enough for more.
        Rto::No { seconds }
    } else if newest.bytes < bytes_now {
        unproven(NoProof::DataGrew)
    } else {
        Rto::Yes { seconds }
    }
}

fn projected(rehearsal: &Rehearsal, bytes_now: u64) -> Option<u64> {
    let milliseconds = rehearsal.took.as_millis().checked_mul(u128::from(bytes_now))?;
    u64::try_from(milliseconds.checked_div(u128::from(rehearsal.bytes))? / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-01T00:00:00Z").unwrap()
    }

    /// A day of hourly runs, each usable this long after its start.
    fn hourly(delay: Duration) -> (Vec<Point>, Period) {
        let captured = (0..26u32).map(|hour| start().plus(HOUR * hour));
        let points = captured.map(|at| Point { captured_at: at, usable_from: at.plus(delay) }).collect();
        (points, Period { from: start().plus(HOUR), until: start().plus(HOUR * 25) })
    }

    #[test]
    fn hourly_runs_attain_what_the_design_measured() {
        let table = [(0, [100, 100, 100]), (6, [90, 100, 100]), (15, [75, 100, 100]), (40, [33, 83, 100])];
        for (delay, expected) in table {
            let (points, period) = hourly(MINUTE * delay);
            let percent = [60, 90, 120].map(|rpo| {
                // The share is compared in whole percent, rounded down, as the design's table has it.
                let share = attainment(&points, MINUTE * rpo, period).share * 100.0 + 1e-6;
                (1..=100u32).rev().find(|p| f64::from(*p) <= share).unwrap_or(0)
            });
            assert_eq!(percent, expected, "{delay}");
        }
    }

    #[test]
    fn the_worst_moment_and_each_breach_are_told() {
        let (points, period) = hourly(MINUTE * 6);
        let kept = attainment(&points, HOUR * 2, period);
        assert_eq!((kept.worst, kept.breaches.len()), (Some(MINUTE * 66), 0));
        let missed: Vec<_> = points
            .into_iter()
            .filter(|p| ![10, 11].contains(&(p.captured_at.since(start()).as_secs() / 3600)))
            .collect();
        let broken = attainment(&missed, HOUR * 2, period);
        assert_eq!(broken.worst, Some(MINUTE * 186));
        let breach = Breach { from: start().plus(HOUR * 11), until: start().plus(HOUR * 12 + MINUTE * 6) };
        assert_eq!(broken.breaches, [breach]);
        assert!((broken.share - (1.0 - 66.0 / 1440.0)).abs() < 1e-9);
    }

    #[test]
    fn without_a_snapshot_everything_is_a_breach() {
        let period = Period { from: start(), until: start().plus(HOUR) };
        let nothing = attainment(&[], HOUR, period);
        assert_eq!((nothing.share, nothing.worst), (0.0, None));
        assert_eq!(nothing.breaches, [Breach { from: period.from, until: period.until }]);
        assert_eq!(exposure(&[], start()), None);
    }

    #[test]
    fn a_snapshot_counts_only_once_it_is_usable() {
        let point = Point { captured_at: start(), usable_from: start().plus(MINUTE * 10) };
        assert_eq!(exposure(&[point], start().plus(MINUTE * 9)), None);
        assert_eq!(exposure(&[point], start().plus(MINUTE * 10)), Some(MINUTE * 10));
        // An older snapshot that becomes usable later takes nothing back.
        let late = Point { captured_at: start().minus(HOUR), usable_from: start().plus(HOUR) };
        assert_eq!(exposure(&[point, late], start().plus(HOUR)), Some(HOUR));
    }

    #[test]
    fn only_a_full_drill_of_as_much_data_proves_an_rto() {
        let now = start();
        let good = Rehearsal { full_scope: true, passed: true, took: HOUR, at: now.minus(HOUR), bytes: 1000 };
        let judge = |rehearsal, bytes| rto(HOUR * 4, bytes, &[rehearsal], now);
        let unproven = |reason, estimated_seconds| Rto::Unproven { reason, estimated_seconds };
        assert_eq!(judge(good, 1000), Rto::Yes { seconds: 3600 });
        assert_eq!(judge(good, 2000), unproven(NoProof::DataGrew, Some(7200)));
        assert_eq!(judge(Rehearsal { took: HOUR * 5, ..good }, 2000), Rto::No { seconds: 18_000 });
        let sample = Rehearsal { full_scope: false, bytes: 10, took: MINUTE, ..good };
        assert_eq!(judge(sample, 1000), unproven(NoProof::NoFullDrill, Some(6000)));
        assert_eq!(judge(Rehearsal { passed: false, ..good }, 1000), unproven(NoProof::NoFullDrill, None));
        let old = Rehearsal { at: now.minus(HOUR * 24 * 401), ..good };
        assert_eq!(judge(old, 1000), unproven(NoProof::TooOld, Some(3600)));
        assert_eq!(judge(Rehearsal { bytes: 0, ..good }, 1), unproven(NoProof::DataGrew, None));
    }
}

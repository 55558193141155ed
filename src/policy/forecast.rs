//! When a promise will be broken if things go on as they have, from recorded facts alone.
//!
//! All of them are one line through the worst value of each day, laid by the median of slopes (Theil and
//! Sen), so that single bad days move nothing. Only days that lie at least half of the whole span apart
//! are compared: what goes up all week and down on Sunday has the slope of the weeks. Where the facts are
//! too few, too old or show no growth, there is no forecast. Pure: facts and `now` are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use super::room::MinFree;
use crate::base::clock::Timestamp;
use crate::base::room::Room;

/// What lies further ahead than this is in the numbers, and worries nobody yet.
pub const WORRY_DAYS: u64 = 30;
/// Further ahead nothing is said.
const HORIZON_DAYS: f64 = 3650.0;
/// So large a share of the slopes has to go up before a time that is noise counts as one that grows.
const RISING_MIN: f64 = 2.0 / 3.0;
const DAY_MS: i64 = 86_400_000;
const DAY: Duration = Duration::from_secs(86_400);

/// Which facts a line is laid through.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Not older than so many days.
    days: u32,
    /// On so many days at least.
    values_min: usize,
    /// The first and the last at least so many days apart.
    days_min: u32,
    /// The newest at most so old.
    fresh_days: u32,
}

/// For what is measured every day.
const DAILY: Span = Span { days: 28, values_min: 7, days_min: 6, fresh_days: 3 };
/// For drills, which are rare.
const RARE: Span = Span { days: 400, values_min: 5, days_min: 28, fresh_days: 100 };

/// What is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A place reaches its limit.
    Full,
    /// Runs that are confirmed too late break the RPO.
    Rpo,
    /// A restore of everything takes longer than the RTO.
    Rto,
    /// A run takes longer than the time to the next one.
    Window,
    /// Credentials end.
    Credentials,
    /// A certificate ends.
    Certificate,
}

impl Kind {
    /// Stable, for machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Rpo => "rpo",
            Self::Rto => "rto",
            Self::Window => "window",
            Self::Credentials => "credentials",
            Self::Certificate => "certificate",
        }
    }

    /// The code of the reason that it is for AT RISK.
    pub fn code(self) -> &'static str {
        match self {
            Self::Full => "full-soon",
            Self::Rpo => "rpo-soon",
            Self::Rto => "rto-soon",
            Self::Window => "window-soon",
            Self::Credentials => "credentials-end",
            Self::Certificate => "certificate-ends",
        }
    }
}

/// A value that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// Bytes or seconds: more is worse.
    pub value: f64,
}

/// The room of a place at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomThen {
    /// When.
    pub at: Timestamp,
    /// What there was.
    pub room: Room,
}

/// The line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    /// What is added in a day.
    per_day: f64,
    /// Where the line is now.
    now: f64,
    /// Share of the slopes that go up.
    rising: f64,
}

/// When a place reaches its limit; it is there already when less is free now.
pub fn full(rooms: &[RoomThen], limit: MinFree, now: Timestamp) -> Option<Timestamp> {
    let mut known: Vec<&RoomThen> = rooms.iter().filter(|one| one.at <= now).collect();
    known.sort_by_key(|one| one.at);
    let newest = known.last()?.room;
    let used = |room: Room| room.total_bytes.saturating_sub(room.free_bytes);
    // Another disk, or one that was emptied, says nothing of the one before. One that was enlarged holds
    // as much as before.
    let begun = known.windows(2).rposition(|pair| used(pair[1].room) < used(pair[0].room) / 2);
    let values: Vec<Measured> = known[begun.map_or(0, |at| at + 1)..]
        .iter()
        .map(|one| Measured { at: one.at, value: number(used(one.room)) })
        .collect();
    let line = line(&values, DAILY, now)?;
    let left = newest.free_bytes.checked_sub(limit.of(newest.total_bytes))?;
    ahead(number(left), line.per_day, now)
}

/// When the time until a run is confirmed will have grown so that more than the RPO would be lost: of the
/// most that would have been lost at one time on each day.
pub fn rpo(exposed: &[Measured], promised: Duration, now: Timestamp) -> Option<Timestamp> {
    grown(exposed, promised, DAILY, now)
}

/// When restoring everything will take longer than promised; each value is a passed drill's, measured
/// when it restored all and projected when it did not.
pub fn rto(seconds: &[Measured], promised: Duration, now: Timestamp) -> Option<Timestamp> {
    grown(seconds, promised, RARE, now)
}

/// When runs will take longer than the time to the next one.
pub fn overrun(seconds: &[Measured], interval: Duration, now: Timestamp) -> Option<Timestamp> {
    grown(seconds, interval, DAILY, now)
}

/// When a time that grows reaches a limit. Where it is over it already there is nothing to foretell.
fn grown(seconds: &[Measured], limit: Duration, span: Span, now: Timestamp) -> Option<Timestamp> {
    let line = line(seconds, span, now).filter(|line| line.rising >= RISING_MIN)?;
    let left = limit.as_secs_f64() - line.now;
    if left > 0.0 { ahead(left, line.per_day, now) } else { None }
}

/// When so much is used up at this pace.
fn ahead(left: f64, per_day: f64, now: Timestamp) -> Option<Timestamp> {
    let days = (per_day > 0.0).then(|| left / per_day).filter(|days| *days <= HORIZON_DAYS)?;
    Some(now.plus(DAY.mul_f64(days.max(0.0))))
}

/// Lays the line.
fn line(values: &[Measured], span: Span, now: Timestamp) -> Option<Line> {
    let from = now.minus(DAY * span.days);
    let mut days: BTreeMap<i64, Measured> = BTreeMap::new();
    for one in values.iter().filter(|one| one.at > from && one.at <= now && one.value.is_finite()) {
        let worst = days.entry(one.at.unix_ms().div_euclid(DAY_MS)).or_insert(*one);
        if one.value > worst.value {
            *worst = *one;
        }
    }
    let (first, last) = (days.values().next()?, days.values().next_back()?);
    let whole = last.at.since(first.at);
    let enough = days.len() >= span.values_min && whole >= DAY * span.days_min - DAY / 2;
    if !enough || now.since(last.at) > DAY * span.fresh_days {
        return None;
    }
    let in_days = |of: Duration| of.as_secs_f64() / DAY.as_secs_f64();
    let mut slopes = Vec::new();
    for (place, one) in days.values().enumerate() {
        for later in days.values().skip(place + 1) {
            let apart = later.at.since(one.at);
            if apart >= whole / 2 {
                slopes.push((later.value - one.value) / in_days(apart));
            }
        }
    }
    let rising = slopes.iter().filter(|slope| **slope > 0.0).count();
    let rising = number(rising as u64) / number(slopes.len() as u64);
    let per_day = median(slopes)?;
    let levels = days.values().map(|one| one.value + per_day * in_days(now.since(one.at))).collect();
    Some(Line { per_day, now: median(levels)?, rising })
}

/// The middle one, or between the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper))
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 53 bits")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").expect("a time")
    }

    /// The days before now, the oldest first, this one with them.
    fn days(count: u32) -> impl Iterator<Item = (u32, Timestamp)> {
        (0..count).map(move |day| (day, now().minus(DAY * (count - 1 - day))))
    }

    /// A disk of 1000 GiB with so much used on each day.
    fn disk(count: u32, used_gib: impl Fn(u32) -> u64) -> Vec<RoomThen> {
        let room =
            |used: u64| Room { free_bytes: (1000 * GIB).saturating_sub(used), total_bytes: 1000 * GIB };
        days(count).map(|(day, at)| RoomThen { at, room: room(used_gib(day) * GIB) }).collect()
    }

    const LIMIT: MinFree = MinFree::Bytes(10 * GIB);

    fn in_days(at: Option<Timestamp>) -> Option<u64> {
        at.map(|at| (at.since(now()) + DAY / 2).as_secs() / 86_400)
    }

    fn noise(day: u32) -> u64 {
        u64::from(day.wrapping_mul(2_654_435_761) >> 28)
    }

    #[test]
    fn a_disk_that_fills_evenly_is_at_its_limit_when_arithmetic_says_so() {
        // 900 of 1000 are used now, 10 have to stay free, 10 are added each day.
        let even = disk(28, |day| 630 + 10 * u64::from(day));
        assert_eq!(in_days(full(&even, LIMIT, now())), Some(9));
        // Only what is free above the limit counts.
        assert_eq!(in_days(full(&even, MinFree::Bytes(0), now())), Some(10));
        assert_eq!(full(&even, MinFree::Share(20), now()), None, "it is below that already");
    }

    #[test]
    fn there_is_no_forecast_from_too_few_too_old_or_falling_values() {
        let even = |count| disk(count, |day| 500 + 10 * u64::from(day));
        assert_eq!(full(&even(6), LIMIT, now()), None, "six days are too few");
        assert!(full(&even(7), LIMIT, now()).is_some());
        assert_eq!(full(&even(20), LIMIT, now().plus(DAY * 4)), None, "four days old");
        assert_eq!(full(&disk(28, |day| 900 - u64::from(day)), LIMIT, now()), None);
        assert_eq!(full(&disk(28, |_| 900), LIMIT, now()), None);
        assert_eq!(full(&[], LIMIT, now()), None);
        // Seven values of one day are one value.
        let hourly: Vec<RoomThen> = even(7)
            .into_iter()
            .zip(0u64..)
            .map(|(one, hour)| RoomThen { at: now().minus(Duration::from_secs(60 * hour)), ..one })
            .collect();
        assert_eq!(full(&hourly, LIMIT, now()), None);
    }

    #[test]
    fn a_prune_each_week_leaves_the_pace_of_the_weeks() {
        // 10 a day, 60 freed on each seventh day: 10 a week.
        let teeth = disk(28, |day| 800 + 10 * u64::from(day) - 60 * u64::from(day / 7));
        let last = 800 + 270 - 180;
        let expected = (990 - last) * 7 / 10;
        let found = in_days(full(&teeth, LIMIT, now())).expect("a forecast");
        assert!(found.abs_diff(expected) <= expected / 2, "{found} days, by the weeks it is {expected}");
        assert!(found > 40, "{found}: by the days alone it would be 10");
    }

    #[test]
    fn noise_gaps_and_single_bad_days_move_it_little() {
        let even = |day: u32| 630 + 10 * u64::from(day);
        let noisy = disk(28, |day| even(day) + noise(day));
        let found = in_days(full(&noisy, LIMIT, now())).expect("a forecast");
        assert!((7..=10).contains(&found), "{found}");
        let mut gaps = disk(28, even);
        gaps.retain(|one| ![3, 4, 5, 9, 15, 16, 20].contains(&(now().since(one.at).as_secs() / 86_400)));
        assert_eq!(in_days(full(&gaps, LIMIT, now())), Some(9));
        let outlier = disk(28, |day| if day == 12 { 985 } else { even(day) });
        let found = in_days(full(&outlier, LIMIT, now())).expect("a forecast");
        assert!((8..=10).contains(&found), "{found}");
    }

    #[test]
    fn a_disk_that_was_enlarged_goes_on_and_another_one_begins_anew() {
        let mut enlarged = disk(28, |day| 630 + 10 * u64::from(day));
        for one in enlarged.iter_mut().skip(20) {
            one.room.free_bytes += 1000 * GIB;
            one.room.total_bytes += 1000 * GIB;
        }
        assert_eq!(in_days(full(&enlarged, LIMIT, now())), Some(109));
        let replaced = |at| disk(28, move |day| if day < at { 900 } else { 10 + 10 * u64::from(day - at) });
        assert_eq!(full(&replaced(23), LIMIT, now()), None, "five days of the new one are too few");
        assert!(full(&replaced(18), LIMIT, now()).is_some());
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_while_changes_nothing() {
        let mut stepped = disk(28, |day| 630 + 10 * u64::from(day));
        let expected = full(&stepped, LIMIT, now());
        stepped.push(RoomThen {
            at: now().plus(DAY * 3000),
            room: Room { free_bytes: 0, total_bytes: 1000 * GIB },
        });
        stepped.insert(
            0,
            RoomThen {
                at: Timestamp::from_unix_ms(0),
                room: Room { free_bytes: 0, total_bytes: 1000 * GIB },
            },
        );
        assert_eq!(full(&stepped, LIMIT, now()), expected);
        stepped.reverse();
        assert_eq!(full(&stepped, LIMIT, now()), expected, "their order means nothing");
        let absurd = [f64::NAN, f64::INFINITY].map(|value| Measured { at: now(), value }).repeat(40);
        assert_eq!(overrun(&absurd, DAY, now()), None);
    }

    /// A run each hour, confirmed after so many seconds on each day: what would have been lost just before.
    fn hourly(count: u32, delay: impl Fn(u32) -> u64) -> Vec<Measured> {
        let run = |day, at: Timestamp, hour| Measured {
            at: at.minus(Duration::from_secs(3600) * (24 - hour)).plus(Duration::from_secs(delay(day))),
            value: number(3600 + delay(day)),
        };
        days(count)
            .flat_map(|(day, at)| (0..24u32).map(move |hour| (day, at, hour)))
            .map(|(d, a, h)| run(d, a, h))
            .collect()
    }

    #[test]
    fn runs_that_are_confirmed_later_each_day_break_the_rpo_on_a_day_that_is_told() {
        let two_hours = Duration::from_secs(7200);
        // An hour between runs and 300 s more each day: 2100 s now, 3600 are left for it.
        let growing = hourly(28, |day| 600 + 100 * u64::from(day) / 2);
        let found = in_days(rpo(&growing, two_hours, now())).expect("a forecast");
        assert!((31..=34).contains(&found), "{found}");
        assert_eq!(rpo(&hourly(28, |_| 600), two_hours, now()), None);
        assert_eq!(rpo(&hourly(28, |day| 600 + noise(day)), two_hours, now()), None, "noise is no trend");
        assert_eq!(rpo(&growing, Duration::from_secs(3600), now()), None, "it is broken already");
        // One outage is a breach, not a trend.
        let mut outage = hourly(28, |_| 600);
        outage[400].value = 20.0 * 3600.0;
        assert_eq!(rpo(&outage, two_hours, now()), None);
    }

    #[test]
    fn runs_that_grow_into_the_next_one_and_drills_that_grow_past_the_rto_are_foretold() {
        let of = |at, value: u32| Measured { at, value: f64::from(value) };
        let runs: Vec<Measured> = days(28).map(|(day, at)| of(at, 1000 + 50 * day)).collect();
        // 2350 s now, 50 more each day, 3600 s are between runs.
        assert_eq!(in_days(overrun(&runs, Duration::from_secs(3600), now())), Some(25));
        let drill = |back: u32, value| of(now().minus(DAY * back), value);
        let drills: Vec<Measured> = (0..8u32).map(|week| drill(7 * (7 - week), 3600 + 70 * week)).collect();
        assert_eq!(in_days(rto(&drills, Duration::from_secs(4490), now())), Some(40));
        assert_eq!(rto(&drills[..4], Duration::from_secs(4490), now()), None, "four drills are too few");
    }
}

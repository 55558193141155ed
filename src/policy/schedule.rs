//! When things are due: a spec, a zone, and the moments they name.
//!
//! The scanner walks local calendar days and turns each wall time of a day into UTC. It, and
//! not the `cron` crate's iterator, decides at clock changes: that one skips a 02:30 job on the
//! spring change, fires 01:30 twice in autumn and can go backwards. The crate only reads the
//! five fields and says which values they hold.
//!
//! Invariants: occurrences are strictly increasing; a fixed-hour job runs exactly once on each
//! local date it names. Not here: what to do about an occurrence ([`super::due`]).

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use cron::TimeUnitSpec;

use crate::base::clock::Timestamp;

/// Time of day of `half-yearly` and `yearly` without one.
const QUIET_TIME: &str = "03:30";
/// 29 February is eight years apart around 2100; a spec without any moment in this span never happens.
const SPAN_YEARS_MAX: u32 = 9;
/// The first day of the span that answers questions about a schedule as such. Any would do.
const REFERENCE_DAY: NaiveDate = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day of the calendar");

/// A spec that names no schedule, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{spec}` is no schedule: {cause}")]
pub struct SpecError {
    spec: String,
    cause: String,
}

/// A spec in a zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    spec: String,
    zone: Tz,
    fields: cron::Schedule,
    nth: Option<Nth>,
    hours: Hours,
    /// Hour and minute of each wall time of a day, ascending.
    times: Vec<(u32, u32)>,
    /// Each occurrence comes so much later than its wall time says.
    offset: Duration,
}

/// Which of a month's five or four such weekdays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nth {
    /// 0 is the first.
    FromStart(u32),
    Last,
}

/// What clock changes do to a wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hours {
    /// Named hours: in a gap once at the first valid minute after it; in an overlap the first pass only.
    Fixed,
    /// `*` or `*/n`: what lies in a gap doesn't exist; both passes of an overlap.
    Every,
}

/// One moment of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Occurrence {
    /// The moment; the identity of the occurrence within its policy and kind.
    pub at: Timestamp,
    /// The same as the zone's clocks show it: `2026-03-29 03:00 CEST`.
    pub local: String,
    /// The zone's name: `Europe/Berlin`.
    pub zone: String,
}

impl Schedule {
    /// Reads `hourly`, `daily HH:MM`, `weekly sun HH:MM`, `monthly first-wed HH:MM`,
    /// `half-yearly [HH:MM]`, `yearly [HH:MM]` (1 January, 1 July; 03:30) or five cron fields
    /// (minute hour day-of-month month day-of-week; Sunday is 0 or 7).
    ///
    /// # Errors
    /// When the text is none of these, sets both day fields, or never happens.
    pub fn parse(spec: &str, zone: Tz) -> Result<Self, SpecError> {
        let wrong = |cause: String| SpecError { spec: spec.to_owned(), cause };
        let (fields, nth) = fields_of(spec).map_err(wrong)?;
        let hours = if fields[1].contains('*') { Hours::Every } else { Hours::Fixed };
        let text = format!("0 {}", fields.join(" "));
        let fields = cron::Schedule::from_str(&text)
            .map_err(|_| wrong("a field holds a value outside its range, or an unknown name".to_owned()))?;
        let hour_set: Vec<u32> = fields.hours().iter().collect();
        let times = hour_set.iter().flat_map(|h| fields.minutes().iter().map(move |m| (*h, m))).collect();
        let offset = Duration::ZERO;
        let schedule = Self { spec: spec.trim().to_owned(), zone, fields, nth, hours, times, offset };
        if schedule.next(reference(zone)).is_none() {
            return Err(wrong("no date of the calendar fits it".to_owned()));
        }
        Ok(schedule)
    }

    /// The same schedule with each occurrence so much later.
    #[must_use]
    pub fn shifted(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }

    /// The spec as written.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// The zone whose wall clock it follows.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// All occurrences after `after` up to and including `until`, in order, made as they are asked for.
    pub fn occurrences(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Occurrence> {
        self.moments(after, until).map(|(at, local)| Occurrence {
            at,
            local: local.format("%Y-%m-%d %H:%M %Z").to_string(),
            zone: self.zone.name().to_owned(),
        })
    }

    fn moments(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = (Timestamp, DateTime<Tz>)> {
        let offset = self.offset;
        let later = move |(at, local): (Timestamp, DateTime<Tz>)| (at.plus(offset), local + offset);
        self.moments_as_written(after.minus(offset), until.minus(offset)).map(later)
    }

    fn moments_as_written(&self, after: Timestamp, until: Timestamp) -> Moments<'_> {
        let local_day = after.to_utc().with_timezone(&self.zone).date_naive();
        Moments {
            schedule: self,
            // A day early: around a midnight change an instant can belong to the day before.
            day: local_day.pred_opt(),
            ready: VecDeque::new(),
            last: after,
            until,
        }
    }

    /// The first occurrence after `after`, if there is one within nine years.
    pub fn next(&self, after: Timestamp) -> Option<Occurrence> {
        let until = after.to_utc().checked_add_months(Months::new(12 * SPAN_YEARS_MAX))?;
        self.occurrences(after, Timestamp::from_unix_ms(until.timestamp_millis())).next()
    }

    fn names(&self, day: NaiveDate) -> bool {
        self.fields.months().includes(day.month())
            && self.fields.days_of_month().includes(day.day())
            && self.fields.days_of_week().includes(day.weekday().number_from_sunday())
            && match self.nth {
                None => true,
                Some(Nth::FromStart(nth)) => day.day0() / 7 == nth,
                Some(Nth::Last) => {
                    day.checked_add_days(Days::new(7)).is_none_or(|d| d.month() != day.month())
                }
            }
    }

    fn instants(&self, day: NaiveDate) -> Vec<DateTime<Tz>> {
        let mut instants = Vec::with_capacity(self.times.len());
        for local in self.times.iter().filter_map(|(hour, minute)| day.and_hms_opt(*hour, *minute, 0)) {
            match (self.zone.from_local_datetime(&local), self.hours) {
                (chrono::LocalResult::Single(at), _) => instants.push(at),
                (chrono::LocalResult::Ambiguous(first, _), Hours::Fixed) => instants.push(first),
                (chrono::LocalResult::Ambiguous(first, second), Hours::Every) => {
                    instants.extend([first, second]);
                }
                (chrono::LocalResult::None, Hours::Fixed) => instants.extend(after_gap(self.zone, local)),
                (chrono::LocalResult::None, Hours::Every) => {}
            }
        }
        instants.sort_unstable();
        instants
    }
}

/// All that decides when it happens.
impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.spec, self.zone)?;
        match self.offset.as_secs() {
            0 => Ok(()),
            seconds => write!(f, " + {seconds} s"),
        }
    }
}

/// The moments of a [`Schedule`] in a window, also as the zone's clocks show them.
struct Moments<'a> {
    schedule: &'a Schedule,
    day: Option<NaiveDate>,
    ready: VecDeque<DateTime<Tz>>,
    last: Timestamp,
    until: Timestamp,
}

impl Iterator for Moments<'_> {
    type Item = (Timestamp, DateTime<Tz>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(local) = self.ready.pop_front() {
                let at = Timestamp::from_unix_ms(local.timestamp_millis());
                if at > self.until {
                    self.day = None;
                    self.ready.clear();
                } else if at > self.last {
                    self.last = at;
                    return Some((at, local));
                }
            }
            let day = self.day?;
            let past_end = self.until.to_utc().date_naive().checked_add_days(Days::new(2));
            if past_end.is_none_or(|end| day > end) {
                return None;
            }
            self.day = day.succ_opt();
            if self.schedule.names(day) {
                self.ready.extend(self.schedule.instants(day));
            }
        }
    }
}

/// The longest time without a run when all of these schedules run, clock changes included.
/// `None` when there are no two runs within nine years.
pub fn longest_gap(schedules: &[&Schedule]) -> Option<Duration> {
    // 13 months hold every gap of a yearly calendar; the long look is for 29 February.
    [13, 12 * SPAN_YEARS_MAX].into_iter().find_map(|months| {
        let mut moments = Vec::new();
        for schedule in schedules {
            let from = reference(schedule.zone);
            let until = from.to_utc().checked_add_months(Months::new(months))?;
            let until = Timestamp::from_unix_ms(until.timestamp_millis());
            moments.extend(schedule.moments(from, until).map(|(at, _)| at));
        }
        moments.sort_unstable();
        moments.windows(2).map(|pair| pair[1].since(pair[0])).max()
    })
}

fn reference(zone: Tz) -> Timestamp {
    let midnight = REFERENCE_DAY.and_time(chrono::NaiveTime::MIN);
    let at =
        zone.from_local_datetime(&midnight).earliest().map_or(midnight.and_utc(), |t| t.with_timezone(&Utc));
    // A minute early, so that the first of January itself is inside.
    Timestamp::from_unix_ms(at.timestamp_millis()).minus(Duration::from_secs(60))
}

/// The first minute after a wall time that the zone's clocks do show.
fn after_gap(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Tz>> {
    // The longest gap there ever was is a whole day (Samoa, December 2011).
    (1..=25 * 60).find_map(|minutes| {
        zone.from_local_datetime(&local.checked_add_signed(TimeDelta::minutes(minutes))?).earliest()
    })
}

/// The five fields in the crate's dialect, and which of the month's weekdays.
fn fields_of(spec: &str) -> Result<([String; 5], Option<Nth>), String> {
    let words: Vec<&str> = spec.split_whitespace().collect();
    let all = || "*".to_owned();
    match words.as_slice() {
        ["hourly"] => Ok((["0".to_owned(), all(), all(), all(), all()], None)),
        ["daily", time] => {
            let (minute, hour) = time_of(time)?;
            Ok(([minute, hour, all(), all(), all()], None))
        }
        ["weekly", day, time] => {
            let (minute, hour) = time_of(time)?;
            Ok(([minute, hour, all(), all(), weekdays_of(day)?], None))
        }
        ["monthly", nth_day, time] => {
            let (minute, hour) = time_of(time)?;
            let (nth, day) =
                nth_day.split_once('-').ok_or("`monthly` takes first-wed .. fourth-wed or last-wed")?;
            let nth = match nth {
                "first" => Nth::FromStart(0),
                "second" => Nth::FromStart(1),
                "third" => Nth::FromStart(2),
                "fourth" => Nth::FromStart(3),
                "last" => Nth::Last,
                _ => return Err("`monthly` takes first-wed .. fourth-wed or last-wed".to_owned()),
            };
            Ok(([minute, hour, all(), all(), weekdays_of(day)?], Some(nth)))
        }
        ["half-yearly" | "yearly"] | ["half-yearly" | "yearly", _] => {
            let (minute, hour) = time_of(words.get(1).unwrap_or(&QUIET_TIME))?;
            let months = if words[0] == "yearly" { "1" } else { "1,7" };
            Ok(([minute, hour, "1".to_owned(), months.to_owned(), all()], None))
        }
        [minute, hour, day, month, weekday] => {
            if *day != "*" && *weekday != "*" {
                return Err("day-of-month and day-of-week are both set; leave one of them `*`".to_owned());
            }
            let own = |field: &str| field.to_owned();
            Ok(([own(minute), own(hour), own(day), own(month), weekdays_of(weekday)?], None))
        }
        _ => {
            Err("write hourly, daily 01:00, weekly sun 03:30, monthly first-wed 14:00, half-yearly, yearly, \
                  or five cron fields"
                .to_owned())
        }
    }
}

/// Minute and hour of `HH:MM`.
fn time_of(text: &str) -> Result<(String, String), String> {
    let two_digits = |part: &str| {
        Some(part)
            .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|p| p.parse().ok())
    };
    let parsed = text.split_once(':').and_then(|(h, m)| Some((two_digits(h)?, two_digits(m)?)));
    match parsed {
        Some((hour @ 0..=23u32, minute @ 0..=59u32)) => Ok((minute.to_string(), hour.to_string())),
        _ => Err(format!("`{text}` is no time of day such as 01:00 (00:00 to 23:59)")),
    }
}

/// A day-of-week field as the crate numbers it (Sunday is 1), from cron's (Sunday is 0 or 7) or names.
fn weekdays_of(field: &str) -> Result<String, String> {
    const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    if field == "*" {
        return Ok(field.to_owned());
    }
    let wrong = || format!("`{field}` names no weekday: sun mon tue wed thu fri sat, or 0 to 7");
    let number = |text: &str| {
        let named = NAMES.iter().position(|n| n.eq_ignore_ascii_case(text));
        named.or_else(|| text.parse().ok().filter(|n| *n <= 7)).ok_or_else(wrong)
    };
    let mut chosen = [false; 7];
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|s| *s > 0).ok_or_else(wrong)?),
            None => (part, 1usize),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((first, last)) => (number(first)?, number(last)?),
            None if part.contains('/') => (number(range)?, 6),
            None => (number(range)?, number(range)?),
        };
        // `fri-mon` goes round the week.
        let last = if last < first { last + 7 } else { last };
        (first..=last).step_by(step).for_each(|day| chosen[day % 7] = true);
    }
    let numbers: Vec<String> = (0..7).filter(|d| chosen[*d]).map(|d| (d + 1).to_string()).collect();
    Ok(numbers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const ZONES: [Tz; 6] = [
        Tz::America__New_York,
        Tz::Europe__Berlin,
        Tz::America__Santiago,
        Tz::Africa__Cairo,
        Tz::Asia__Shanghai,
        Tz::Australia__Lord_Howe,
    ];

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    /// The local year 2026 of a zone.
    fn year(zone: Tz) -> (Timestamp, Timestamp) {
        let from = reference(zone);
        let end = zone.with_ymd_and_hms(2026, 12, 31, 23, 59, 59).unwrap();
        (from, Timestamp::from_unix_ms(end.timestamp_millis()))
    }

    fn locals(spec: &str, zone: Tz, from: &str, until: &str) -> Vec<String> {
        let schedule = Schedule::parse(spec, zone).unwrap();
        schedule.occurrences(at(from), at(until)).map(|o| o.local).collect()
    }

    #[test]
    fn a_daily_job_runs_exactly_once_on_every_local_date_of_2026() {
        for zone in ZONES {
            let (from, until) = year(zone);
            for minute_of_day in (0..1440).step_by(12) {
                let spec = format!("daily {:02}:{:02}", minute_of_day / 60, minute_of_day % 60);
                let schedule = Schedule::parse(&spec, zone).unwrap();
                let mut last = from;
                let mut dates: BTreeMap<NaiveDate, u32> = BTreeMap::new();
                for occurrence in schedule.occurrences(from, until) {
                    assert!(occurrence.at > last, "{zone} {spec} {occurrence:?}");
                    last = occurrence.at;
                    *dates.entry(last.to_utc().with_timezone(&zone).date_naive()).or_default() += 1;
                }
                assert_eq!(dates.len(), 365, "{zone} {spec}");
                assert!(dates.values().all(|n| *n == 1), "{zone} {spec}: {dates:?}");
            }
        }
    }

    #[test]
    fn hourly_is_sixty_minutes_apart_except_at_half_hour_changes() {
        for zone in ZONES {
            let (from, until) = year(zone);
            let schedule = Schedule::parse("hourly", zone).unwrap();
            let moments: Vec<_> = schedule.occurrences(from, until).map(|o| o.at).collect();
            let odd: Vec<_> =
                moments.windows(2).map(|w| w[1].since(w[0]).as_secs() / 60).filter(|m| *m != 60).collect();
            let expected: &[u64] = if zone == Tz::Australia__Lord_Howe { &[90, 90] } else { &[] };
            assert_eq!(odd, expected, "{zone}");
        }
    }

    #[test]
    fn a_time_in_the_gap_runs_at_the_first_valid_minute_after_it() {
        let spring = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        let berlin = |spec| locals(spec, Tz::Europe__Berlin, spring.0, spring.1);
        assert_eq!(berlin("daily 02:30"), ["2026-03-29 03:00 CEST"]);
        assert_eq!(berlin("0,30 2 * * *"), ["2026-03-29 03:00 CEST"]);
        let midnight = ("2026-09-06T00:00:00Z", "2026-09-06T20:00:00Z");
        let santiago = locals("daily 00:00", Tz::America__Santiago, midnight.0, midnight.1);
        assert_eq!(santiago, ["2026-09-06 01:00 -03"]);
    }

    #[test]
    fn an_overlap_runs_fixed_hours_once_and_every_hour_jobs_twice() {
        let autumn = ("2026-10-24T23:30:00Z", "2026-10-25T01:30:00Z");
        let berlin = |spec| locals(spec, Tz::Europe__Berlin, autumn.0, autumn.1);
        assert_eq!(berlin("daily 02:30"), ["2026-10-25 02:30 CEST"]);
        assert_eq!(
            berlin("*/30 * * * *"),
            [
                "2026-10-25 02:00 CEST",
                "2026-10-25 02:30 CEST",
                "2026-10-25 02:00 CET",
                "2026-10-25 02:30 CET"
            ]
        );
    }

    #[test]
    fn specs_name_the_days_they_say() {
        let november = ("2026-10-31T23:59:00Z", "2026-11-30T23:59:00Z");
        let utc = |spec| {
            let found = locals(spec, Tz::UTC, november.0, november.1);
            found.into_iter().map(|l| l[8..16].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(utc("weekly sun 03:30"), ["01 03:30", "08 03:30", "15 03:30", "22 03:30", "29 03:30"]);
        assert_eq!(utc("30 3 * * 0"), utc("weekly sun 03:30"));
        assert_eq!(utc("30 3 * * 7"), utc("weekly sun 03:30"));
        assert_eq!(utc("0 9 * * fri-mon/3"), utc("0 9 * * 1,5"));
        assert_eq!(utc("monthly first-wed 14:00"), ["04 14:00"]);
        assert_eq!(utc("monthly last-mon 00:05"), ["30 00:05"]);
        assert_eq!(utc("0 22 1 * *"), ["01 22:00"]);
        assert!(utc("half-yearly").is_empty());
        let half_years = locals("half-yearly", Tz::UTC, "2025-12-31T00:00:00Z", "2026-12-31T00:00:00Z");
        assert_eq!(half_years, ["2026-01-01 03:30 UTC", "2026-07-01 03:30 UTC"]);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_a_reason() {
        let refused = [
            "",
            "never",
            "hourly 5",
            "daily",
            "daily 24:00",
            "daily 1:00",
            "daily +1:00",
            "weekly someday 01:00",
            "monthly fifth-wed 01:00",
            "0 1 1 * 1",
            "0 0 31 2 *",
            "61 * * * *",
            "0 1 * * 8",
            "* * * *",
            "0 0 * * */0",
            "monthly wed 01:00",
            "@daily",
            "0 0 * 13 *",
            "ÿ é ñ ö ü",
        ];
        for spec in refused {
            assert!(Schedule::parse(spec, Tz::UTC).is_err(), "{spec}");
        }
    }

    #[test]
    fn the_longest_gap_counts_all_schedules_together() {
        let parse = |spec| Schedule::parse(spec, Tz::Europe__Berlin).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(longest_gap(&[&parse("hourly")]), Some(hour));
        assert_eq!(longest_gap(&[&parse("daily 01:00")]), Some(hour * 25));
        assert_eq!(longest_gap(&[&parse("daily 01:00"), &parse("daily 13:00")]), Some(hour * 13));
        assert_eq!(longest_gap(&[&parse("0 0 29 2 *")]), Some(hour * 24 * 1461));
        assert_eq!(longest_gap(&[]), None);
    }

    #[test]
    fn bounds_are_exclusive_below_and_inclusive_above() {
        let hourly = Schedule::parse("hourly", Tz::UTC).unwrap();
        let (one, two) = (at("2026-05-05T01:00:00Z"), at("2026-05-05T02:00:00Z"));
        assert_eq!(hourly.occurrences(one, two).map(|o| o.at).collect::<Vec<_>>(), [two]);
        assert_eq!(hourly.occurrences(two, one).count(), 0);
    }
}

//! How many bytes a second may go to a target or come from it, by the clock on the wall.
//!
//! A limit is a list of rules; the first whose days and hours hold the moment decides, and where
//! none does there is no limit. Wall time is looked up for each moment anew, so clock changes need
//! no rule of their own: what a gap swallows was never there, and an hour that comes twice is
//! limited twice.

use std::fmt;

use chrono_tz::Tz;

use super::window::{Wall, Window};
use crate::base::clock::Timestamp;
use crate::base::size::parse_bytes;

/// The least that may be asked for, in bytes a second: below, one pack would take hours.
pub const BYTES_PER_SECOND_MIN: u64 = 10_000;

/// Text that is no limit, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no limit: {cause}")]
pub struct NotALimit {
    text: String,
    cause: String,
}

/// A limit in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    zone: Tz,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    text: String,
    /// `None`: unlimited.
    bytes_per_second: Option<u64>,
    window: Window,
}

impl Limit {
    /// Reads rules of the form `50MB/s`, `5MB/s mon-fri 08:00-18:00`, `unlimited 22:00-06:00` or
    /// `1MB/s sat,sun`. Hours that cross midnight belong to the day on which they begin.
    ///
    /// # Errors
    /// When one is none, or there is none.
    pub fn parse<'t>(rules: impl IntoIterator<Item = &'t str>, zone: Tz) -> Result<Self, NotALimit> {
        let rules = rules.into_iter().map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            let cause = "the list is empty".to_owned();
            return Err(NotALimit { text: "[]".to_owned(), cause });
        }
        Ok(Self { zone, rules })
    }

    /// Bytes a second at this moment; `None` when as many as will go.
    pub fn at(&self, moment: Timestamp) -> Option<u64> {
        let at = Wall::at(moment, self.zone);
        self.rules.iter().find(|rule| rule.window.holds(at)).and_then(|rule| rule.bytes_per_second)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.text.as_str()).collect();
        write!(f, "{}", rules.join(", else "))
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, NotALimit> {
        let wrong = |cause: &str| {
            let shown = text.chars().filter(|c| !c.is_control()).take(60).collect();
            NotALimit { text: shown, cause: cause.to_owned() }
        };
        let trimmed = text.trim();
        let (rate, rest) = match (trimmed.strip_prefix("unlimited"), trimmed.split_once("/s")) {
            (Some(rest), _) => (None, rest),
            (None, Some((rate, rest))) => {
                let rate = parse_bytes(rate)
                    .map_err(|_| wrong("write bytes a second with their unit, such as 5MB/s or 400 KiB/s"))?;
                (Some(rate), rest)
            }
            (None, None) => return Err(wrong("write a rate such as 5MB/s, or unlimited")),
        };
        if rate.is_some_and(|rate| rate < BYTES_PER_SECOND_MIN) {
            return Err(wrong("less than 10KB/s would take hours for each object"));
        }
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return Err(wrong("behind the rate come days and hours, such as mon-fri 08:00-18:00"));
        }
        let window = Window::parse(rest).map_err(wrong)?;
        Ok(Self { text: trimmed.to_owned(), bytes_per_second: rate, window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, TimeZone, Timelike, Weekday};

    fn limit(rules: &[&str], zone: Tz) -> Limit {
        Limit::parse(rules.iter().copied(), zone).expect("a limit")
    }

    fn utc(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    /// The first moment of each stretch with one rate, as the zone's clocks show it, over some hours.
    fn changes(limit: &Limit, from: &str, hours: u64) -> Vec<(String, Option<u64>)> {
        let mut found: Vec<(String, Option<u64>)> = Vec::new();
        for minute in 0..hours * 60 {
            let moment = utc(from).plus(std::time::Duration::from_secs(minute * 60));
            let rate = limit.at(moment);
            if found.last().is_none_or(|(_, last)| *last != rate) {
                let local = moment.to_utc().with_timezone(&limit.zone);
                found.push((local.format("%a %H:%M %Z").to_string(), rate));
            }
        }
        found
    }

    fn shown(changes: &[(String, Option<u64>)]) -> Vec<(&str, Option<u64>)> {
        changes.iter().map(|(at, rate)| (at.as_str(), *rate)).collect()
    }

    #[test]
    fn the_first_rule_that_holds_the_moment_decides() {
        let limit = limit(&["5MB/s mon-fri 08:00-18:00", "unlimited sat,sun", "50 MB/s"], Tz::UTC);
        // 2026-11-27 is a Friday.
        let found = changes(&limit, "2026-11-27T00:00:00Z", 80);
        let (five, fifty) = (Some(5_000_000), Some(50_000_000));
        let expected = [
            ("Fri 00:00 UTC", fifty),
            ("Fri 08:00 UTC", five),
            ("Fri 18:00 UTC", fifty),
            ("Sat 00:00 UTC", None),
            ("Mon 00:00 UTC", fifty),
        ];
        assert_eq!(shown(&found), expected);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let limit = limit(&["1MB/s fri 22:00-06:00"], Tz::Europe__Berlin);
        let found = changes(&limit, "2026-11-26T00:00:00Z", 72);
        let expected = [("Thu 01:00 CET", None), ("Fri 22:00 CET", Some(1_000_000)), ("Sat 06:00 CET", None)];
        assert_eq!(shown(&found), expected);
    }

    #[test]
    fn clock_changes_move_a_window_with_the_wall() {
        let berlin = |rule: &str| limit(&[rule], Tz::Europe__Berlin);
        let one = Some(1_000_000);
        // Spring: 02:00 becomes 03:00. What began in the gap begins behind it, and the night is short.
        let spring = changes(&berlin("1MB/s 02:30-04:00"), "2026-03-28T23:00:00Z", 8);
        let expected = [("Sun 00:00 CET", None), ("Sun 03:00 CEST", one), ("Sun 04:00 CEST", None)];
        assert_eq!(shown(&spring), expected);
        let swallowed = changes(&berlin("1MB/s 02:10-02:50"), "2026-03-28T23:00:00Z", 8);
        assert_eq!(shown(&swallowed), [("Sun 00:00 CET", None)]);
        // Autumn: 03:00 becomes 02:00 again. The hour that comes twice is limited twice.
        let autumn = changes(&berlin("1MB/s 02:30-03:00"), "2026-10-24T22:00:00Z", 8);
        let expected = [
            ("Sun 00:00 CEST", None),
            ("Sun 02:30 CEST", one),
            ("Sun 02:00 CET", None),
            ("Sun 02:30 CET", one),
            ("Sun 03:00 CET", None),
        ];
        assert_eq!(shown(&autumn), expected);
        // A long window is as long as the wall says: nine hours of eight, ten, nine.
        let night = berlin("1MB/s 20:00-06:00");
        let minutes = |from: &str| {
            let minute = |n: u64| utc(from).plus(std::time::Duration::from_secs(n * 60));
            (0..24 * 60).filter(|n| night.at(minute(*n)).is_some()).count()
        };
        assert_eq!(minutes("2026-03-28T12:00:00Z"), 9 * 60);
        assert_eq!(minutes("2026-06-28T12:00:00Z"), 10 * 60);
        assert_eq!(minutes("2026-10-24T12:00:00Z"), 11 * 60);
    }

    #[test]
    fn every_minute_of_a_year_has_the_rate_of_its_wall_clock() {
        // A zone whose clocks change at midnight, against the plain definition.
        let zone = Tz::America__Santiago;
        let limit = limit(&["1MB/s sat 23:30-00:30", "2MB/s mon-fri 00:00-24:00"], zone);
        let start = zone.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).earliest().expect("a time");
        for step in 0..365 * 48u64 {
            let moment = Timestamp::from_unix_ms(start.timestamp_millis())
                .plus(std::time::Duration::from_secs(step * 1800 + 60));
            let local = moment.to_utc().with_timezone(&zone);
            let minute = local.hour() * 60 + local.minute();
            let expected = match local.weekday() {
                Weekday::Sat if minute >= 23 * 60 + 30 => Some(1_000_000),
                Weekday::Sun if minute < 30 => Some(1_000_000),
                Weekday::Sat | Weekday::Sun => None,
                _ => Some(2_000_000),
            };
            assert_eq!(limit.at(moment), expected, "{local}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_would_be() {
        for (text, word) in [
            ("", "rate"),
            ("50MB", "rate"),
            ("50Mbit/s", "unit"),
            ("-5MB/s", "unit"),
            ("0MB/s", "10KB/s"),
            ("9KB/s", "10KB/s"),
            ("5MB/sec", "days and hours"),
            ("5MB/s weekdays", "mon to sun"),
            ("5MB/s 8:00-18:00", "HH:MM"),
            ("5MB/s 08:00-08:00", "HH:MM"),
            ("5MB/s 24:00-08:00", "HH:MM"),
            ("5MB/s mon 08:00 18:00", "days and hours"),
            ("unlimitedly", "days and hours"),
        ] {
            let error = Limit::parse([text], Tz::UTC).expect_err(text);
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        assert!(Limit::parse([], Tz::UTC).is_err());
        let limit = limit(&[" 400 KiB/s  Fri-Mon 18:00-24:00 ", "unlimited"], Tz::UTC);
        assert_eq!(limit.to_string(), "400 KiB/s  Fri-Mon 18:00-24:00, else unlimited");
        assert_eq!(limit.at(utc("2026-11-30T23:59:00Z")), Some(400 * 1024));
        assert_eq!(limit.at(utc("2026-12-01T23:59:00Z")), None);
    }
}

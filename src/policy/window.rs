//! Days and hours by the clock on the wall: when something may be done, or at which rate.
//!
//! Wall time is looked up for each moment anew, so clock changes need no rule of their own: what a gap
//! swallows was never there, and an hour that comes twice counts twice.

use std::fmt;
use std::time::Duration;

use chrono::{Datelike, Timelike};
use chrono_tz::Tz;

use crate::base::clock::Timestamp;

const DAY_MINUTES: u32 = 24 * 60;
/// What doesn't end within this never ends.
const WEEK_AND_A_DAY_MINUTES: u32 = 8 * DAY_MINUTES;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A moment on the wall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    /// From Monday.
    day: usize,
    minute: u32,
}

impl Wall {
    /// As the clocks of a zone show it.
    pub(super) fn at(moment: Timestamp, zone: Tz) -> Self {
        let local = moment.to_utc().with_timezone(&zone);
        let day = local.weekday().num_days_from_monday() as usize;
        Self { day, minute: local.hour() * 60 + local.minute() }
    }
}

/// Days of the week and hours of the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// From Monday.
    days: [bool; 7],
    /// Minutes of the day, the second one exclusive; across midnight when it is not the later one.
    hours: Option<(u32, u32)>,
}

impl Window {
    /// Reads `mon-fri 08:00-18:00`, `22:00-06:00`, `sat,sun`; nothing is always. Hours that cross
    /// midnight belong to the day on which they begin.
    ///
    /// # Errors
    /// What would be one.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, hours) = match words.as_slice() {
            [] => (None, None),
            [hours] if hours.contains(':') => (None, Some(*hours)),
            [days] => (Some(*days), None),
            [days, hours] => (Some(*days), Some(*hours)),
            _ => return Err("days and hours are written like mon-fri 08:00-18:00"),
        };
        let days = days.map_or(Some([true; 7]), days_of);
        let days = days.ok_or("days are mon to sun, as in mon-fri or sat,sun")?;
        let hours = hours.map(|hours| hours_of(hours).ok_or(hours)).transpose();
        let hours = hours.map_err(|_| "hours are HH:MM-HH:MM, such as 08:00-18:00 or 22:00-06:00")?;
        Ok(Self { days, hours })
    }

    /// Whether a moment is in it.
    pub(super) fn holds(&self, at: Wall) -> bool {
        let yesterday = (at.day + 6) % 7;
        match self.hours {
            None => self.days[at.day],
            Some((from, to)) if from < to => self.days[at.day] && (from..to).contains(&at.minute),
            Some((from, to)) => {
                self.days[at.day] && at.minute >= from || self.days[yesterday] && at.minute < to
            }
        }
    }
}

/// Text that is no window, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no window: {cause}")]
pub struct NotAWindow {
    text: String,
    cause: &'static str,
}

/// Windows in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    zone: Tz,
    windows: Vec<(String, Window)>,
}

impl Windows {
    /// Reads windows of the form `mon-fri 22:00-06:00`, `22:00-06:00` or `sat,sun`; `None` when there
    /// is none, which is always.
    ///
    /// # Errors
    /// When one is none.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>, zone: Tz) -> Result<Option<Self>, NotAWindow> {
        let mut windows = Vec::new();
        for text in texts {
            let wrong = |cause| {
                let shown = text.chars().filter(|c| !c.is_control()).take(60).collect();
                NotAWindow { text: shown, cause }
            };
            if text.trim().is_empty() {
                return Err(wrong("days and hours are written like mon-fri 08:00-18:00"));
            }
            windows.push((text.trim().to_owned(), Window::parse(text).map_err(wrong)?));
        }
        Ok((!windows.is_empty()).then_some(Self { zone, windows }))
    }

    /// Whether a moment is in one of them.
    pub fn hold(&self, moment: Timestamp) -> bool {
        let at = Wall::at(moment, self.zone);
        self.windows.iter().any(|(_, window)| window.holds(at))
    }

    /// The first minute from `moment` on that is in none of them; `None` when they fill the whole week.
    pub fn end(&self, moment: Timestamp) -> Option<Timestamp> {
        if !self.hold(moment) {
            return Some(moment);
        }
        let minute = Duration::from_secs(60);
        let past = Duration::from_millis(u64::try_from(moment.unix_ms().rem_euclid(60_000)).unwrap_or(0));
        let mut at = moment.minus(past);
        for _ in 0..WEEK_AND_A_DAY_MINUTES {
            at = at.plus(minute);
            if !self.hold(at) {
                return Some(at);
            }
        }
        None
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.windows.iter().map(|(text, _)| text.as_str()).collect();
        write!(f, "{} ({})", texts.join(", "), self.zone)
    }
}

/// `mon-fri`, `sat,sun`, `fri-mon,wed`.
fn days_of(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|known| known.eq_ignore_ascii_case(name));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days[at] = true;
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Some(days)
}

fn hours_of(text: &str) -> Option<(u32, u32)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let two = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<u32>().ok() } else { None }
        };
        let (hour, minute) = (two(hour)?, two(minute)?);
        (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < DAY_MINUTES && from != to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn windows_end_at_the_first_minute_outside_all_of_them() {
        let windows = Windows::parse(["mon-fri 09:00-11:30", "11:30-12:00"], Tz::Europe__Berlin);
        let windows = windows.expect("windows").expect("two");
        assert_eq!(windows.end(at("2026-11-27T08:10:30Z")), Some(at("2026-11-27T11:00:00Z")));
        assert_eq!(windows.end(at("2026-11-27T12:00:30Z")), Some(at("2026-11-27T12:00:30Z")));
        let always = Windows::parse(["00:00-24:00"], Tz::UTC).expect("a window").expect("one");
        assert_eq!(always.end(at("2026-11-27T12:00:30Z")), None);
    }

    #[test]
    fn a_moment_is_in_one_of_several_windows_or_in_none() {
        let windows = Windows::parse(["22:00-06:00", "sat,sun"], Tz::Europe__Berlin).expect("windows");
        let windows = windows.expect("two");
        // 2026-11-27 is a Friday.
        assert!(windows.hold(at("2026-11-27T04:59:00Z")));
        assert!(!windows.hold(at("2026-11-27T05:00:00Z")));
        assert!(windows.hold(at("2026-11-27T21:00:00Z")));
        assert!(windows.hold(at("2026-11-28T11:00:00Z")));
        assert_eq!(windows.to_string(), "22:00-06:00, sat,sun (Europe/Berlin)");
        assert_eq!(Windows::parse([], Tz::UTC), Ok(None));
        for wrong in ["", "25:00-26:00", "noon", "mon 8-9", "mon tue 08:00-09:00", "08:00-08:00"] {
            assert!(Windows::parse([wrong], Tz::UTC).is_err(), "{wrong}");
        }
    }
}

//! Parsers of single values: text, numbers, durations, schedules, paths, names.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Parsed, meant, wrong_type};
use crate::base::effort::Effort;
use crate::base::size;
use crate::policy::model::Bound;
use crate::policy::problem::{Complaint, Sort};
use crate::policy::room::MinFree;
use crate::policy::schedule::Schedule;

/// Text without control characters.
pub(super) fn text(value: &Value) -> Parsed<String> {
    let text = value.as_str().ok_or_else(|| wrong_type(value, "text in quotes"))?;
    if text.chars().any(char::is_control) {
        return Err(Complaint::value("the text holds a control character", "write it on one plain line"));
    }
    Ok(text.to_owned())
}

/// Text that isn't empty.
pub(super) fn word(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    if text.trim().is_empty() {
        return Err(Complaint::value("the text is empty", "write something, or remove the key"));
    }
    Ok(text)
}

/// `true` or `false`.
pub(super) fn switch(value: &Value) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| wrong_type(value, "true or false"))
}

/// A number that isn't negative.
pub(super) fn number(value: &Value) -> Parsed<u64> {
    let number = value.as_integer().ok_or_else(|| wrong_type(value, "a whole number"))?;
    u64::try_from(number).map_err(|_| Complaint::value("the number is negative", "write 0 or more"))
}

/// A number within a range.
pub(super) fn small(value: &Value, range: std::ops::RangeInclusive<u32>) -> Parsed<u32> {
    let number = number(value)?;
    u32::try_from(number).ok().filter(|n| range.contains(n)).ok_or_else(|| {
        let (low, high) = (range.start(), range.end());
        Complaint::value(format!("{number} is out of range"), format!("write {low} to {high}"))
    })
}

/// A duration of at least a second.
pub(super) fn duration(value: &Value) -> Parsed<Duration> {
    const EXAMPLE: &str = "a duration with its unit, such as \"90m\", \"36h\" or \"35d\"";
    let text = value.as_str().ok_or_else(|| wrong_type(value, EXAMPLE))?;
    let duration = size::parse_duration(text)
        .map_err(|_| Complaint::value(format!("`{text}` is no duration"), format!("write {EXAMPLE}")))?;
    if duration.is_zero() {
        return Err(Complaint::value("the duration is zero", format!("write {EXAMPLE}")));
    }
    Ok(duration)
}

/// `"30%"`, 1 to 100.
pub(super) fn percent(value: &Value) -> Parsed<u8> {
    const EXAMPLE: &str = "a share such as \"30%\", 1% to 100%";
    let text = value.as_str().ok_or_else(|| wrong_type(value, EXAMPLE))?;
    let share = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    share
        .filter(|share| (1..=100).contains(share))
        .ok_or_else(|| Complaint::value(format!("`{text}` is no share"), format!("write {EXAMPLE}")))
}

/// A duration, or `0`.
pub(super) fn duration_or_none(value: &Value) -> Parsed<Duration> {
    if value.as_str() == Some("0") { Ok(Duration::ZERO) } else { duration(value) }
}

/// A size in bytes.
pub(super) fn bytes(value: &Value) -> Parsed<u64> {
    const EXAMPLE: &str = "a size with its unit, such as \"64 MiB\" or \"5GB\"";
    let text = value.as_str().ok_or_else(|| wrong_type(value, EXAMPLE))?;
    size::parse_bytes(text)
        .map_err(|_| Complaint::value(format!("`{text}` is no size"), format!("write {EXAMPLE}")))
}

/// What has to stay free: a share, a size, or `auto`.
pub(super) fn min_free(value: &Value) -> Parsed<MinFree> {
    match value.as_str() {
        Some("auto") => Ok(MinFree::Auto),
        Some(text) if text.trim_end().ends_with('%') => percent(value).map(MinFree::Share),
        _ => bytes(value).map(MinFree::Bytes),
    }
}

/// `>= N`, `<= N`, `= N`, with N read by `amount`.
pub(super) fn bound(value: &Value, amount: impl Fn(&str) -> Option<u64>) -> Parsed<Bound> {
    const EXAMPLE: &str = "a bound such as \">= 1000\", \"<= 5GB\" or \"= 0\"";
    let text = value.as_str().ok_or_else(|| wrong_type(value, EXAMPLE))?.trim();
    let signed = |sign| text.strip_prefix(sign).and_then(|rest: &str| amount(rest.trim()));
    signed(">=")
        .map(Bound::AtLeast)
        .or_else(|| signed("<=").map(Bound::AtMost))
        .or_else(|| signed("=").map(Bound::Exactly))
        .ok_or_else(|| Complaint::value(format!("`{text}` is no bound"), format!("write {EXAMPLE}")))
}

/// An absolute path without `.` and `..` parts and without a NUL.
pub(super) fn path(value: &Value) -> Parsed<PathBuf> {
    let text = word(value)?;
    absolute(&text)?;
    Ok(PathBuf::from(text))
}

/// The same, kept as text because it may be a glob.
pub(super) fn path_pattern(value: &Value) -> Parsed<String> {
    let text = word(value)?;
    absolute(&text)?;
    globset::Glob::new(&text).map_err(|error| {
        Complaint::value(
            format!("`{text}` is no glob: {}", error.kind()),
            "mask special characters: [[], [*], [?]",
        )
    })?;
    Ok(text)
}

/// Refuses a path whose meaning depends on where the process stands.
pub(super) fn absolute(text: &str) -> Parsed<()> {
    if !text.starts_with('/') {
        let fix = "write the whole path from `/`: a daemon has no working directory of yours";
        return Err(Complaint::value(format!("`{text}` is relative"), fix));
    }
    if text.split('/').any(|part| part == ".." || part == ".") {
        return Err(Complaint::value(
            format!("`{text}` goes through `.` or `..`"),
            "write the path it leads to",
        ));
    }
    Ok(())
}

/// A zone of the tz database.
pub(super) fn zone(value: &Value) -> Parsed<Tz> {
    let text = word(value)?;
    Tz::from_str(&text).map_err(|_| {
        let names = chrono_tz::TZ_VARIANTS.iter().map(|z| z.name());
        let fix = match meant(&text, names) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write a name of the tz database such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
        };
        Complaint::value(format!("`{text}` is no time zone"), fix)
    })
}

/// A schedule in a zone.
pub(super) fn schedule(value: &Value, zone: Tz) -> Parsed<Schedule> {
    let text = word(value)?;
    Schedule::parse(&text, zone).map_err(|error| {
        Complaint::value(error.to_string(), "write for example \"daily 01:00\", \"hourly\" or \"0 1 * * *\"")
    })
}

/// A schedule, or `off`.
pub(super) fn schedule_or_off(value: &Value, zone: Tz) -> Parsed<Option<Schedule>> {
    if value.as_str() == Some("off") { Ok(None) } else { schedule(value, zone).map(Some) }
}

/// How hard to compress: a word, or a level as a number.
pub(super) fn effort(value: &Value) -> Parsed<Effort> {
    let text = value.as_integer().map_or_else(|| word(value), |level| Ok(level.to_string()))?;
    text.parse().map_err(|_| {
        let fix = "write \"auto\", \"none\", \"fast\" or a level, -7 to 19 without 0";
        Complaint::value(format!("`{text}` is no way to compress"), fix)
    })
}

/// One of some words; `later` are words that a later version will take.
pub(super) fn one_of<T: Copy>(value: &Value, words: &[(&str, T)], later: &[&str]) -> Parsed<T> {
    let text = word(value)?;
    if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*found);
    }
    let all = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    if later.iter().any(|word| text == *word || text.strip_prefix(word).is_some_and(|r| r.starts_with(' '))) {
        return Err(Complaint::not_yet(format!("`{text}`"), format!("write one of {all}")));
    }
    let fix = match meant(&text, words.iter().map(|(word, _)| *word)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write one of {all}"),
    };
    Err(Complaint::value(format!("`{text}` is not known here"), fix))
}

/// The name of a thing that doesn't exist.
pub(super) fn unknown_name<'w>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'w str> + Clone,
) -> Complaint {
    let fix = match meant(name, known.clone()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => {
            let all = known.collect::<Vec<_>>().join(", ");
            format!("there is: {}", if all.is_empty() { "none" } else { &all })
        }
    };
    Complaint::new(Sort::UnknownName, format!("there is no {what} `{name}`"), fix)
}

//! `[limits]`, and the rates of a target.

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Parsed, Section, wrong_type};
use super::values;
use crate::base::priority::IoPriority;
use crate::policy::limit::Limit;
use crate::policy::model::Limits;
use crate::policy::problem::Complaint;

/// Most threads that may be asked for.
const WORKERS_MAX: u32 = 64;

pub(super) fn read(section: Section<'_>) -> Limits {
    let workers = section.optional("workers", |value| values::small(value, 1..=WORKERS_MAX));
    let nice = section.optional("nice", |value| values::small(value, 0..=19));
    let io = section.optional("ionice", io);
    section.finish(&[]);
    Limits {
        workers: workers.map(|found| found.value),
        nice: nice.and_then(|found| u8::try_from(found.value).ok()),
        io: io.map(|found| found.value),
    }
}

fn io(value: &Value) -> Parsed<IoPriority> {
    let text = values::word(value)?;
    text.parse().map_err(|_| {
        let fix = "write \"idle\", or \"best-effort 0\" to \"best-effort 7\"";
        Complaint::value(format!("`{text}` is no priority for disks"), fix)
    })
}

/// One rule, or a list of them of which the first that holds decides.
pub(super) fn rate(value: &Value, zone: Tz) -> Parsed<Limit> {
    const EXAMPLE: &str = "\"50MB/s\", or [\"5MB/s mon-fri 08:00-18:00\", \"50MB/s\"]";
    let wrong = |cause: String| Complaint::value(cause, format!("write {EXAMPLE}"));
    let rules = match value.as_array() {
        Some(list) => list.iter().map(values::word).collect::<Parsed<Vec<_>>>()?,
        None if value.is_str() => vec![values::word(value)?],
        None => return Err(wrong_type(value, EXAMPLE)),
    };
    Limit::parse(rules.iter().map(String::as_str), zone).map_err(|error| wrong(error.to_string()))
}

//! `[[check]]` of a drill.

use std::time::Duration;

use toml_edit::Value;

use super::reader::{Parsed, Section, wrong_type};
use super::values;
use crate::base::size;
use crate::policy::model::{Check, CheckKind, OnFail};
use crate::policy::problem::{Complaint, Sort};

const KINDS: [(&str, &str); 5] = [
    ("manifest", "manifest"),
    ("count", "count"),
    ("exists", "exists"),
    ("freshness", "freshness"),
    ("command", "command"),
];
const KINDS_LATER: [&str; 19] = [
    "metadata",
    "canary",
    "source-compare",
    "postgres",
    "mysql",
    "sqlite",
    "sql",
    "http",
    "archive",
    "malware",
    "entropy",
    "each-copy",
    "lock",
    "key-escrow",
    "cold-start",
    "log-replay",
    "confirm",
    "runbook",
    "throughput",
];
const TIMEOUT_DEFAULT: &str = "5m";
const TIMEOUT_DEFAULT_SECONDS: u64 = 300;

/// The check that no passing drill goes without.
pub(super) fn manifest() -> Check {
    Check {
        id: "manifest".to_owned(),
        kind: CheckKind::Manifest,
        required: true,
        on_fail: OnFail::Fail,
        timeout: Duration::from_secs(TIMEOUT_DEFAULT_SECONDS),
    }
}

/// Reads the check at this place of the file, counted from 1.
pub(super) fn read(section: Section<'_>, number: usize) -> Option<Check> {
    // Without its kind, what else such a check holds can't be judged.
    let kind = section.required("kind", "\"count\"", |v| values::one_of(v, &KINDS, &KINDS_LATER))?.value;
    let default_id = match (kind, number) {
        ("manifest", _) | (_, 1) => kind.to_owned(),
        _ => format!("{kind}-{number}"),
    };
    let id = section.or("id", default_id, id);
    let required = section.or("required", true, values::switch);
    let words = [("fail", OnFail::Fail), ("warn", OnFail::Warn)];
    let on_fail = section.or("on_fail", "fail", |v| values::one_of(v, &words, &[]));
    let timeout = section.or("timeout", TIMEOUT_DEFAULT, values::duration);
    let read = match kind {
        "count" => count(&section),
        "exists" => exists(&section),
        "freshness" => freshness(&section),
        "command" => command(&section),
        _ => Some(CheckKind::Manifest),
    };
    let (span, reader) = (section.span.clone(), section.reader());
    section.finish(&[]);
    let check = Check {
        id: id?.value,
        kind: read?,
        required: required?.value,
        on_fail: on_fail?.value,
        timeout: timeout?.value,
    };
    if check.kind == CheckKind::Manifest && (!check.required || check.on_fail == OnFail::Warn) {
        let complaint = Complaint::value(
            "the manifest check can't be made optional: no drill passes without it",
            "remove `required` and `on_fail` from it",
        );
        reader.complain(complaint, span);
        return None;
    }
    Some(check)
}

fn id(value: &Value) -> Parsed<String> {
    let text = values::word(value)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.len() > 64 || !text.bytes().all(plain) {
        return Err(Complaint::value(
            format!("`{text}` is no id of a check"),
            "use 1 to 64 of a-z, 0-9 and -",
        ));
    }
    Ok(text)
}

fn count(section: &Section<'_>) -> Option<CheckKind> {
    let files = section.optional("files", |v| values::bound(v, |n| n.parse().ok()));
    let bytes = section.optional("bytes", |v| values::bound(v, |n| size::parse_bytes(n).ok()));
    if !section.has("files") && !section.has("bytes") {
        let fix = "add `files = \">= 1000\"` or `bytes = \">= 5GB\"`";
        let complaint = Complaint::new(Sort::Missing, "the check `count` counts nothing", fix);
        section.reader().complain(complaint, section.span.clone());
        return None;
    }
    let wrong = (section.has("files") && files.is_none()) || (section.has("bytes") && bytes.is_none());
    (!wrong).then_some(CheckKind::Count { files: files.map(|f| f.value), bytes: bytes.map(|f| f.value) })
}

fn exists(section: &Section<'_>) -> Option<CheckKind> {
    let paths = section.required_list("paths", "[\"/etc/hosts\"]", values::path_pattern);
    let min_bytes = section.or("min_size", "0 B", values::bytes);
    Some(CheckKind::Exists { paths: paths?, min_bytes: min_bytes?.value })
}

fn freshness(section: &Section<'_>) -> Option<CheckKind> {
    let path = section.required("path", "\"/srv/data/**\"", values::path_pattern);
    let newest = section.required("newest", "\"<= 26h before snapshot\"", |value| {
        let expected = "\"<= 26h before snapshot\"";
        let text = value.as_str().ok_or_else(|| wrong_type(value, expected))?;
        let age = text.trim().strip_prefix("<=").and_then(|rest| rest.trim().strip_suffix("before snapshot"));
        age.and_then(|age| size::parse_duration(age.trim()).ok())
            .ok_or_else(|| Complaint::value(format!("`{text}` is no age"), format!("write {expected}")))
    });
    Some(CheckKind::Freshness { path: path?.value, newest_at_most: newest?.value })
}

fn command(section: &Section<'_>) -> Option<CheckKind> {
    let run = section.required_list("run", "[\"/usr/local/bin/smoke\", \"{restore_root}\"]", values::word);
    let exit = section.or("exit", 0, |v| values::small(v, 0..=255));
    Some(CheckKind::Command { run: run?, exit: u8::try_from(exit?.value).ok()? })
}

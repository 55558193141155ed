//! `lifeboat.toml`.

use std::path::PathBuf;

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Found, Parsed, Section};
use super::{limits, people, values};
use crate::policy::model::{Concurrency, Limits, People, Site};
use crate::policy::problem::Complaint;
use crate::policy::room::MinFree;

/// Keys of the site file that come later.
const LATER: [&str; 2] = ["language", "defaults"];
/// Processes of the daemon at a time, at most.
const CONCURRENCY_MAX: u32 = 64;
/// There are no logs of ours to bound: the daemon writes to its standard error.
const SPACE_LATER: [&str; 1] = ["logs_max"];
const EVIDENCE_LATER: [&str; 3] = ["copies", "keep", "timestamp_url"];

/// What the machine says where the file says nothing.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The host's name: the default of `site`.
    pub host: String,
    /// The system's zone: the default of `timezone`.
    pub timezone: Tz,
}

pub(super) fn read(root: Section<'_>, machine: &Machine) -> Option<Site> {
    let name = root.or("site", machine.host.as_str(), place);
    let timezone = root.or("timezone", machine.timezone.name(), values::zone);
    let state_dir = root.optional("state_dir", values::path);
    let key_file = root.optional("key_file", values::path);
    let key_command = key_command(&root, key_file.as_ref());
    let evidence = root.section("evidence");
    let sign_key_file = evidence.optional("sign_key_file", values::path);
    evidence.finish(&EVIDENCE_LATER);
    let space = root.section("space");
    let state_min_free = space.or("state_min_free", "auto", values::min_free);
    space.finish(&SPACE_LATER);
    let concurrency = root.or("concurrency", 2, concurrency);
    let self_backup = root.optional("self_backup", values::word);
    let limits = limits::read(root.section("limits"));
    let zone = timezone.as_ref().map_or(machine.timezone, |found| found.value);
    let people = people::read(&root, zone);
    root.finish(&LATER);
    Some(Site {
        people: people?,
        self_backup: self_backup.map(|found| found.value),
        version: None,
        concurrency: concurrency?.value,
        name: name?.value,
        timezone: timezone?.value,
        state_dir: state_dir.map(|f| f.value),
        key_file: key_file.map(|f| f.value),
        key_command: key_command?,
        sign_key_file: sign_key_file.map(|f| f.value),
        limits,
        state_min_free: state_min_free?.value,
        settings: Vec::new(),
    })
}

/// A program that prints the site key, in place of a file with it.
fn key_command(root: &Section<'_>, file: Option<&Found<PathBuf>>) -> Option<Vec<String>> {
    if !root.has("key_command") {
        return Some(Vec::new());
    }
    let words = root.required_list("key_command", "[\"pass\", \"show\", \"backup\"]", values::word)?;
    if let Some(file) = file {
        let complaint = Complaint::value(
            "`key_file` and `key_command` both give the site key",
            "remove one of them; to change the key, see docs/keys.md",
        );
        root.reader().complain(complaint, file.span.clone());
        return None;
    }
    Some(words)
}

/// `2`, or `{ all = 4, target = 2, source = 1 }`.
fn concurrency(value: &Value) -> Parsed<Concurrency> {
    let count = |value: &Value| values::small(value, 1..=CONCURRENCY_MAX);
    let Some(table) = value.as_inline_table() else {
        return count(value).map(Concurrency::of);
    };
    let known = ["all", "target", "source"];
    if let Some((key, _)) = table.iter().find(|(key, _)| !known.contains(key)) {
        let fix = "write 2, or { all = 4, target = 2, source = 1 }";
        return Err(Complaint::value(format!("`{key}` is not known here"), fix));
    }
    let all = table.get("all").map_or(Ok(Concurrency::default().all), count)?;
    let of = |key| table.get(key).map_or(Ok(all), count);
    Ok(Concurrency { all, target: of("target")?, source: of("source")? })
}

/// One part of a location: targets are elsewhere when theirs begins otherwise.
fn place(value: &Value) -> Parsed<String> {
    let text = values::word(value)?;
    if text.contains('/') || text.trim() != text {
        return Err(Complaint::value(
            format!("`{text}` is more than one place"),
            "write the broadest part: \"hq\"",
        ));
    }
    Ok(text)
}

/// The site of a machine without a file.
pub(super) fn of_machine(machine: &Machine) -> Site {
    Site {
        people: People::default(),
        self_backup: None,
        version: None,
        concurrency: Concurrency::default(),
        name: machine.host.clone(),
        timezone: machine.timezone,
        state_dir: None,
        key_file: None,
        key_command: Vec::new(),
        sign_key_file: None,
        limits: Limits::default(),
        state_min_free: MinFree::default(),
        settings: Vec::new(),
    }
}

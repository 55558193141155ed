//! `lifeboat.toml`.

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Parsed, Section};
use super::{limits, values};
use crate::policy::model::{Limits, Site};
use crate::policy::problem::Complaint;

/// Keys of the site file that come later.
const LATER: [&str; 8] =
    ["language", "concurrency", "space", "response", "contacts", "vendors", "notify", "defaults"];
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
    let evidence = root.section("evidence");
    let sign_key_file = evidence.optional("sign_key_file", values::path);
    evidence.finish(&EVIDENCE_LATER);
    let limits = limits::read(root.section("limits"));
    root.finish(&LATER);
    Some(Site {
        name: name?.value,
        timezone: timezone?.value,
        state_dir: state_dir.map(|f| f.value),
        key_file: key_file.map(|f| f.value),
        sign_key_file: sign_key_file.map(|f| f.value),
        limits,
        settings: Vec::new(),
    })
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
        name: machine.host.clone(),
        timezone: machine.timezone,
        state_dir: None,
        key_file: None,
        sign_key_file: None,
        limits: Limits::default(),
        settings: Vec::new(),
    }
}

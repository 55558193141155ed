//! `drills/ID.toml`, and the weekly drill of a policy that has no file.

use std::collections::BTreeSet;

use toml_edit::Value;

use super::reader::{Parsed, Section, wrong_type};
use super::{check, values};
use crate::base::size;
use crate::policy::model::{
    Check, CheckKind, Cleanup, CopyChoice, CopyClass, DrillId, DrillPlan, Files, Leftover, Policy, PolicyId,
    Scope, Site, TargetName, Version,
};
use crate::policy::problem::{Complaint, Sort};

const LATER: [&str; 11] = [
    "policies",
    "sandbox",
    "owner",
    "runbook",
    "window",
    "announce",
    "participants",
    "scenario",
    "facilitator",
    "questions",
    "keys",
];
const SCOPE_LATER: [&str; 1] = ["dumps"];
const KINDS_LATER: [&str; 7] =
    ["surprise", "full-system", "cold-start", "key-escrow", "provider-loss", "ransomware", "tabletop"];
const COPIES_LATER: [&str; 2] = ["rotate", "random"];
const SNAPSHOTS_LATER: [&str; 3] = ["random", "before", "at"];

/// Weekly, in the quiet of Sunday morning.
const WHEN_DEFAULT: &str = "weekly sun 03:30";
/// Finds damage in 1.5 % of the files or more with 95 % confidence.
const SAMPLE_DEFAULT: u32 = 200;
const SAMPLE_MAX: u32 = 1_000_000;
const CHECKS_MAX: usize = 100;

/// The policies that a drill can name. One whose own file is wrong has an id, but no value.
pub(super) struct Known<'a> {
    pub(super) ids: &'a BTreeSet<PolicyId>,
    pub(super) policies: &'a [Policy],
    pub(super) site: &'a Site,
}

pub(super) fn read(
    id: DrillId,
    version: Option<Version>,
    root: Section<'_>,
    known: &Known<'_>,
) -> Option<DrillPlan> {
    let plural = root.has("policies") && !root.has("policy");
    let named = if plural { None } else { root.required("policy", "\"web\"", |v| policy(v, known)) };
    let found = named.as_ref().and_then(|n| known.policies.iter().find(|p| p.id == n.value));
    let zone = found.map_or(known.site.timezone, |p| p.schedule.timezone);
    let kind = root.or("kind", "restore", |v| values::one_of(v, &[("restore", ())], &KINDS_LATER));
    let when = root.required("when", "\"weekly sun 03:30\"", |v| values::schedule(v, zone));
    let copy = root.or("copy", "each", |v| copy(v, found, known.site));
    let snapshot = root.or("snapshot", "latest", |v| values::one_of(v, &[("latest", ())], &SNAPSHOTS_LATER));
    let scope = scope(root.section("scope"));
    let time_limit = root.or("time_limit", "2h", values::duration);
    let checks = checks(&root);
    let cleanup = cleanup(root.section("cleanup"));
    root.finish(&LATER);
    kind?;
    snapshot?;
    Some(DrillPlan {
        id,
        version,
        policy: named?.value,
        when: when?.value,
        copy: copy?.value,
        scope: scope?,
        time_limit: time_limit?.value,
        checks: checks?,
        cleanup: cleanup?,
        settings: Vec::new(),
    })
}

fn policy(value: &Value, known: &Known<'_>) -> Parsed<PolicyId> {
    let name = values::word(value)?;
    let found = known.ids.iter().find(|id| id.as_str() == name).cloned();
    found.ok_or_else(|| values::unknown_name("policy", &name, known.ids.iter().map(PolicyId::as_str)))
}

fn copy(value: &Value, policy: Option<&Policy>, site: &Site) -> Parsed<CopyChoice> {
    let name = values::word(value)?;
    let choice = match name.as_str() {
        "each" => CopyChoice::Each,
        "local" => CopyChoice::Class(CopyClass::Local),
        "offsite" => CopyChoice::Class(CopyClass::Offsite),
        later if COPIES_LATER.contains(&later) => {
            let fix = "write \"local\", \"offsite\", \"each\" or a target's name";
            return Err(Complaint::not_yet(format!("`{later}`"), fix));
        }
        _ => CopyChoice::Target(TargetName::new(&name).ok_or_else(|| {
            Complaint::value(format!("`{name}` is no name of a target"), "use 1 to 64 of a-z, 0-9 and -")
        })?),
    };
    let Some(policy) = policy else { return Ok(choice) };
    if policy.targets.iter().any(|target| choice.admits(target, &site.name)) {
        return Ok(choice);
    }
    let names = policy.targets.iter().map(|t| t.name.as_str());
    Err(match &choice {
        CopyChoice::Target(name) => values::unknown_name("target", name.as_str(), names),
        other => {
            let cause =
                format!("no target of policy `{}` is {other} (the site is `{}`)", policy.id, site.name);
            Complaint::new(
                Sort::UnknownName,
                cause,
                "declare the target's `location`, or choose another copy",
            )
        }
    })
}

fn scope(section: Section<'_>) -> Option<Scope> {
    let files = section.or("files", format!("sample {SAMPLE_DEFAULT}"), files);
    let always = section.list("always", values::path_pattern);
    section.finish(&SCOPE_LATER);
    Some(Scope { files: files?.value, always: always? })
}

fn files(value: &Value) -> Parsed<Files> {
    let expected = "\"all\" or \"sample 200\"";
    let text = value.as_str().ok_or_else(|| wrong_type(value, expected))?;
    let sample = text.strip_prefix("sample ").and_then(|n| n.trim().parse().ok());
    match (text, sample) {
        ("all", _) => Ok(Files::All),
        (_, Some(n @ 1..=SAMPLE_MAX)) => Ok(Files::Sample(n)),
        _ => Err(Complaint::value(
            format!("`{text}` is no choice of files"),
            format!("write {expected} (1 to {SAMPLE_MAX} files)"),
        )),
    }
}

/// All checks, `manifest` first: without it a drill can't pass.
fn checks(root: &Section<'_>) -> Option<Vec<Check>> {
    let sections = root.each("check");
    let reader = root.reader();
    if sections.len() > CHECKS_MAX {
        let complaint =
            Complaint::value(format!("{} checks", sections.len()), format!("at most {CHECKS_MAX}"));
        reader.complain(complaint, None);
        return None;
    }
    let all = sections.len();
    let mut checks: Vec<Check> = Vec::new();
    let mut good = 0;
    for (index, section) in sections.into_iter().enumerate() {
        let span = section.span.clone();
        let Some(check) = check::read(section, index + 1) else { continue };
        good += 1;
        if checks.iter().any(|other| other.id == check.id) {
            let complaint = Complaint::new(
                Sort::Clash,
                format!("two checks have the id `{}`", check.id),
                "give each an `id`: findings are opened and closed by it",
            );
            reader.complain(complaint, span);
        }
        checks.push(check);
    }
    match checks.iter().position(|check| check.kind == CheckKind::Manifest) {
        Some(at) => checks[..=at].rotate_right(1),
        None => checks.insert(0, check::manifest()),
    }
    (good == all).then_some(checks)
}

fn cleanup(section: Section<'_>) -> Option<Cleanup> {
    let pass = section.or("pass", "delete", leftover);
    let fail = section.or("fail", "keep 72h", leftover);
    section.finish(&[]);
    Some(Cleanup { pass: pass?.value, fail: fail?.value })
}

fn leftover(value: &Value) -> Parsed<Leftover> {
    let expected = "\"delete\" or \"keep 72h\"";
    let text = value.as_str().ok_or_else(|| wrong_type(value, expected))?;
    let kept = text.strip_prefix("keep ").and_then(|rest| size::parse_duration(rest).ok());
    match (text, kept) {
        ("delete", _) => Ok(Leftover::Delete),
        (_, Some(time)) => Ok(Leftover::Keep(time)),
        _ => Err(Complaint::value(format!("`{text}` is not known here"), format!("write {expected}"))),
    }
}

/// The drill file that a policy without one might have had: every copy, a sample, the manifest.
pub(super) fn default_text(policy: &PolicyId) -> String {
    format!("policy = \"{policy}\"\nwhen = \"{WHEN_DEFAULT}\"\n")
}

/// The id of a policy's default drill: one that no file has.
pub(super) fn free_id(policy: &PolicyId, taken: &BTreeSet<DrillId>) -> Option<DrillId> {
    let stem: String = policy.as_str().chars().take(48).collect();
    let names =
        std::iter::once(format!("{stem}-weekly")).chain((2..100).map(|n| format!("{stem}-weekly-{n}")));
    names.filter_map(|name| DrillId::new(&name)).find(|id| !taken.contains(id))
}

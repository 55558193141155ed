//! `policies/ID.toml`.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Found, Parsed, Section, wrong_type};
use super::{limits, source, target, values};
use crate::policy::model::{
    AfterRun, CatchUp, Objective, Plan, Policy, PolicyId, Retention, Rule, Site, Target, Tier, Verify,
    Version,
};
use crate::policy::problem::{Complaint, Sort};
use crate::policy::retention::Rules;

const LATER: [&str; 2] = ["legal_hold", "residency"];
const SCHEDULE_LATER: [&str; 4] = ["jitter", "blackout", "retry", "priority"];
const RULE_LATER: [&str; 1] = ["immutable_or_offline"];

/// Where the values stand that are judged together with others.
pub(super) struct Spots {
    pub(super) rpo: Option<Range<usize>>,
    pub(super) max_verify_age: Option<Range<usize>>,
    /// The URLs, in the order of the policy's targets.
    pub(super) urls: Vec<Option<Range<usize>>>,
}

pub(super) fn read(
    id: PolicyId,
    version: Version,
    root: Section<'_>,
    site: &Site,
) -> Option<(Policy, Spots)> {
    let description = root.or("description", "", values::text);
    let owner = root.optional("owner", values::word);
    let tiers = [("standard", Tier::Standard), ("important", Tier::Important), ("critical", Tier::Critical)];
    let tier = root.or("tier", "standard", |v| values::one_of(v, &tiers, &[]));
    // One hour between runs and the minutes until a run is confirmed: one hour can't be promised.
    let rpo = root.or("rpo", "2h", values::duration);
    let rto = root.optional("rto", values::duration);
    let effort = root.or("compression", "auto", values::effort);
    let source = source::read(&root);
    let schedule = schedule(root.section("schedule"), site.timezone);
    let zone = schedule.as_ref().map_or(site.timezone, |s| s.timezone);
    let targets = targets(&root, zone);
    let rule = rule(root.section("rule"), tier.as_ref().map_or(Tier::Standard, |t| t.value));
    let verify = verify(root.section("verify"), zone);
    let retention =
        if root.has("retention") { Some(retention(root.section("retention"), zone)) } else { None };
    let limits = limits::read(root.section("limits"));
    root.finish(&LATER);
    let (rpo, (rule, max_verify_age), targets) = (rpo?, rule?, targets?);
    let (targets, urls) = targets.into_iter().map(|t| (t.value, t.span)).unzip();
    let policy = Policy {
        id,
        version,
        description: description?.value,
        owner: owner.map(|f| f.value),
        tier: tier?.value,
        objective: Objective { rpo: rpo.value, rto: rto.map(|f| f.value) },
        effort: effort?.value,
        source: source?,
        schedule: schedule?,
        targets,
        rule,
        verify: verify?,
        retention: match retention {
            Some(read) => Some(read?),
            None => None,
        },
        limits,
        settings: Vec::new(),
    };
    Some((policy, Spots { rpo: rpo.span, max_verify_age, urls }))
}

fn schedule(section: Section<'_>, site_zone: Tz) -> Option<Plan> {
    let zone = section.or("timezone", site_zone.name(), values::zone);
    // With a wrong zone the specs are still read, for what else is wrong with them.
    let timezone = zone.as_ref().map_or(site_zone, |f| f.value);
    let full = section.or("full", "daily 01:00", |v| values::schedule(v, timezone));
    let incremental = section.or("incremental", "hourly", |v| values::schedule_or_off(v, timezone));
    let differential = section.or("differential", "off", |v| values::schedule_or_off(v, timezone));
    let words = [("once", CatchUp::Once), ("skip", CatchUp::Skip)];
    let catch_up = section.or("catch_up", "once", |v| values::one_of(v, &words, &[]));
    let timeout = section.or("timeout", "24h", values::duration);
    section.finish(&SCHEDULE_LATER);
    zone?;
    Some(Plan {
        full: full?.value,
        incremental: incremental?.value,
        differential: differential?.value,
        timezone,
        catch_up: catch_up?.value,
        timeout: timeout?.value,
    })
}

fn targets(root: &Section<'_>, zone: Tz) -> Option<Vec<Found<Target>>> {
    let tables = root.named("targets");
    if tables.is_empty() {
        let fix = "add a [targets.disk] with `url = \"file:///mnt/backup\"`";
        let complaint =
            Complaint::new(Sort::Missing, "nowhere to back up to: there is no [targets.NAME]", fix);
        root.reader().complain(complaint, None);
        return None;
    }
    let all = tables.len();
    let good: Vec<_> =
        tables.into_iter().filter_map(|(name, section)| target::read(name, section, zone)).collect();
    (good.len() == all).then_some(good)
}

fn rule(section: Section<'_>, tier: Tier) -> Option<(Rule, Option<Range<usize>>)> {
    let copies = section.or("copies", 3, |v| values::small(v, 1..=16));
    let media = section.or("media", 2, |v| values::small(v, 0..=16));
    let offsite = section.or("offsite", 1, |v| values::small(v, 0..=16));
    let max_verify_age = section.or("max_verify_age", "35d", values::duration);
    let count_source = section.or("count_source", true, values::switch);
    let zero_errors = section.or("zero_errors", true, values::switch);
    section.finish(&RULE_LATER);
    let max_verify_age = max_verify_age?;
    let rule = Rule {
        copies: copies?.value,
        media: media?.value,
        offsite: offsite?.value,
        immutable_or_offline: u32::from(tier == Tier::Critical),
        max_verify_age: max_verify_age.value,
        count_source: count_source?.value,
        zero_errors: zero_errors?.value,
    };
    Some((rule, max_verify_age.span))
}

fn verify(section: Section<'_>, zone: Tz) -> Option<Verify> {
    let after_run = section.or("after_run", "new", after_run);
    // The first of each month is at most 31 days after the one before: inside max_verify_age.
    let deep = section.or("deep", "0 22 1 * *", |v| values::schedule(v, zone));
    let scrub = section.or("scrub", "off", |v| values::schedule_or_off(v, zone));
    let scrub_period = section.or("scrub_period", "28d", values::duration);
    section.finish(&[]);
    Some(Verify {
        after_run: after_run?.value,
        deep: deep?.value,
        scrub: scrub?.value,
        scrub_period: scrub_period?.value,
    })
}

fn retention(section: Section<'_>, zone: Tz) -> Option<Retention> {
    let count = |key| section.or(key, 0, |v| values::small(v, 0..=100_000));
    let counts = ["last", "hourly", "daily", "weekly", "monthly", "yearly"].map(count);
    let within = section.optional("within", values::duration);
    let min_keep = section.or("min_keep", 3, |v| values::small(v, 1..=100_000));
    let prune = section.or("prune", "daily 04:30", |v| values::schedule(v, zone));
    let grace = section.or("grace", "72h", values::duration_or_none);
    let (reader, span) = (section.reader(), section.span.clone());
    section.finish(&[]);
    let [last, hourly, daily, weekly, monthly, yearly] = counts;
    let rules = Rules {
        last: last?.value,
        within: within.map(|found| found.value),
        hourly: hourly?.value,
        daily: daily?.value,
        weekly: weekly?.value,
        monthly: monthly?.value,
        yearly: yearly?.value,
        min_keep: min_keep?.value,
        tags: BTreeSet::new(),
    };
    if rules.is_empty() {
        let fix = "say what to keep, such as `daily = 14`, or take [retention] away: then nothing is removed";
        let complaint = Complaint::new(Sort::Missing, "[retention] keeps nothing but the newest", fix);
        reader.complain(complaint, span);
        return None;
    }
    Some(Retention { rules, prune: prune?.value, grace: grace?.value })
}

fn after_run(value: &Value) -> Parsed<AfterRun> {
    let text = value.as_str().ok_or_else(|| wrong_type(value, "\"new\", \"ack\" or \"sample N%\""))?;
    let share = text.strip_prefix("sample ").and_then(|rest| rest.strip_suffix('%')).map(str::parse);
    match (text, share) {
        ("new", _) => Ok(AfterRun::New),
        ("ack", _) => Ok(AfterRun::Ack),
        (_, Some(Ok(percent @ 1..=100))) => Ok(AfterRun::Sample(percent)),
        _ => Err(Complaint::value(
            format!("`{text}` is not known here"),
            "write \"new\", \"ack\" or \"sample N%\" with N from 1 to 100",
        )),
    }
}

//! `policies/ID.toml`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use chrono::NaiveDate;
use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Found, Parsed, Section, wrong_type};
use super::{limits, source, target, values};
use crate::base::clock::Timestamp;
use crate::base::size::format_duration;
use crate::policy::model::{
    AfterRun, CatchUp, Objective, Plan, Policy, PolicyId, Retention, Rule, Site, Target, Tier, Verify,
    Version,
};
use crate::policy::problem::{Complaint, Sort};
use crate::policy::retention::{Held, Hold, Rules};
use crate::policy::retry::{self, Retry};
use crate::policy::schedule::Schedule;
use crate::policy::window::Windows;

/// Retention's words for the days of a hold.
const HOLD_EXAMPLE: &str = "[\"2026-01-01..2026-03-31\", \"1f0c9a2b\"]";
/// Nobody waits longer between two attempts.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

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
    let shift = Shift { policy: &id, jitter: jitter(&root) };
    let schedule = schedule(root.section("schedule"), site.timezone, &shift);
    let zone = schedule.as_ref().map_or(site.timezone, |s| s.timezone);
    let targets = targets(&root, zone);
    let rule = rule(root.section("rule"), tier.as_ref().map_or(Tier::Standard, |t| t.value));
    let locks = targets.iter().flatten().any(|target| target.value.immutable.is_some());
    let verify = verify(root.section("verify"), zone, &shift, locks);
    let retention =
        if root.has("retention") { Some(retention(root.section("retention"), zone, &shift)) } else { None };
    let legal_hold = root.list("legal_hold", |value| hold(value, zone));
    let residency = root.list("residency", target::country);
    let limits = limits::read(root.section("limits"));
    root.finish(&[]);
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
        legal_hold: legal_hold?,
        residency: residency?,
        limits,
        settings: Vec::new(),
    };
    Some((policy, Spots { rpo: rpo.span, max_verify_age, urls }))
}

/// How much later than written the jobs of a policy come, so that many don't come at once.
struct Shift<'a> {
    policy: &'a PolicyId,
    jitter: Duration,
}

impl Shift<'_> {
    /// All backups of a policy move together: a full still does the work of the incremental due with it.
    fn of(&self, lane: &str, schedule: Schedule) -> Schedule {
        let seconds = retry::spread(&format!("{lane} of {}", self.policy), 0);
        schedule.shifted(Duration::from_secs(seconds % (self.jitter.as_secs() + 1)))
    }
}

/// Read ahead of the schedules that it moves; its problems are told where the section is read.
fn jitter(root: &Section<'_>) -> Duration {
    let section = root.peek("schedule");
    let written = section.and_then(|table| table.get("jitter")).and_then(toml_edit::Item::as_value);
    written.and_then(|value| values::duration_or_none(value).ok()).unwrap_or_default()
}

/// `1f0c9a2b` or `2026-01-01..2026-03-31`, both days inside.
fn hold(value: &Value, zone: Tz) -> Parsed<Hold> {
    let written = values::word(value)?;
    let fix = || format!("write days or the first digits of ids: {HOLD_EXAMPLE}");
    let wrong = || Complaint::value(format!("`{written}` is no hold"), fix());
    let what = if let Some((from, to)) = written.split_once("..") {
        let day = |text: &str| NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok();
        let (from, to) = day(from).zip(day(to)).filter(|(from, to)| from <= to).ok_or_else(wrong)?;
        let after = to.succ_opt().ok_or_else(wrong)?;
        Held::Between(day_begins(from, zone), day_begins(after, zone))
    } else {
        let is_hex = written.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_hex || !(8..=64).contains(&written.len()) {
            return Err(wrong());
        }
        Held::Id(written.clone())
    };
    Ok(Hold { written, what })
}

/// The first moment of a day on a zone's clocks.
fn day_begins(day: NaiveDate, zone: Tz) -> Timestamp {
    let local = (0..=24 * 60).filter_map(|minutes| {
        let wall = day.and_time(chrono::NaiveTime::MIN) + chrono::TimeDelta::minutes(minutes);
        wall.and_local_timezone(zone).earliest()
    });
    let first = local.map(|at| at.timestamp_millis()).next();
    Timestamp::from_unix_ms(
        first.unwrap_or_else(|| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()),
    )
}

fn schedule(section: Section<'_>, site_zone: Tz, shift: &Shift<'_>) -> Option<Plan> {
    let zone = section.or("timezone", site_zone.name(), values::zone);
    // With a wrong zone the specs are still read, for what else is wrong with them.
    let timezone = zone.as_ref().map_or(site_zone, |f| f.value);
    let full = section.or("full", "daily 01:00", |v| values::schedule(v, timezone));
    let incremental = section.or("incremental", "hourly", |v| values::schedule_or_off(v, timezone));
    let differential = section.or("differential", "off", |v| values::schedule_or_off(v, timezone));
    let words = [("once", CatchUp::Once), ("skip", CatchUp::Skip)];
    let catch_up = section.or("catch_up", "once", |v| values::one_of(v, &words, &[]));
    let timeout = section.or("timeout", "24h", values::duration);
    let jitter = section.or("jitter", "0", values::duration_or_none);
    let blackout = blackout(&section, timezone);
    let retry = section.or("retry", inline_retry(), retry_of);
    let priority = section.or("priority", 50, |v| values::small(v, 0..=100));
    section.finish(&[]);
    let (_, _) = (zone?, jitter?);
    let shifted = |schedule| shift.of("backup", schedule);
    Some(Plan {
        full: shifted(full?.value),
        incremental: incremental?.value.map(shifted),
        differential: differential?.value.map(shifted),
        timezone,
        catch_up: catch_up?.value,
        timeout: timeout?.value,
        blackout: blackout?,
        retry: retry?.value,
        priority: u8::try_from(priority?.value).ok()?,
    })
}

/// Windows in which nothing starts; the outer `None` when one is wrong.
fn blackout(section: &Section<'_>, zone: Tz) -> Option<Option<Windows>> {
    let texts = section.list("blackout", values::word)?;
    let fix = "write days and hours, such as [\"mon-fri 09:00-11:30\"]";
    let complain = |cause: String| {
        section.reader().complain(Complaint::value(cause, fix), section.span.clone());
        None
    };
    match Windows::parse(texts.iter().map(String::as_str), zone) {
        Err(error) => complain(error.to_string()),
        Ok(Some(windows)) if windows.end(Timestamp::from_unix_ms(0)).is_none() => {
            complain("the blackout fills the whole week: nothing would ever run".to_owned())
        }
        Ok(windows) => Some(windows),
    }
}

fn inline_retry() -> Value {
    let retry = Retry::default();
    let mut table = toml_edit::InlineTable::new();
    table.insert("attempts", i64::from(retry.attempts).into());
    table.insert("first", format_duration(retry.first).into());
    table.insert("max", format_duration(retry.max).into());
    table.into()
}

fn retry_of(value: &Value) -> Parsed<Retry> {
    let fix = "write { attempts = 3, first = \"1m\", max = \"15m\" }";
    let table = value.as_inline_table().ok_or_else(|| wrong_type(value, "an inline table"))?;
    if let Some((key, _)) = table.iter().find(|(key, _)| !["attempts", "first", "max"].contains(key)) {
        return Err(Complaint::value(format!("`{key}` is not known here"), fix));
    }
    let standard = Retry::default();
    let wait = |key, or| table.get(key).map_or(Ok(or), values::duration);
    let attempts = table.get("attempts").map_or(Ok(standard.attempts), |v| values::small(v, 1..=10))?;
    let (first, max) = (wait("first", standard.first)?, wait("max", standard.max)?);
    if first > max || max > RETRY_WAIT_MAX {
        let cause = "the waits are the wrong way round, or longer than a day";
        return Err(Complaint::value(cause, fix));
    }
    Ok(Retry { attempts, first, max })
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
    let standing = i64::from(tier == Tier::Critical);
    let immutable = section.or("immutable_or_offline", standing, |v| values::small(v, 0..=16));
    section.finish(&[]);
    let max_verify_age = max_verify_age?;
    let rule = Rule {
        copies: copies?.value,
        media: media?.value,
        offsite: offsite?.value,
        immutable_or_offline: immutable?.value,
        max_verify_age: max_verify_age.value,
        count_source: count_source?.value,
        zero_errors: zero_errors?.value,
    };
    Some((rule, max_verify_age.span))
}

fn verify(section: Section<'_>, zone: Tz, shift: &Shift<'_>, locks: bool) -> Option<Verify> {
    let after_run = section.or("after_run", "new", after_run);
    // The first of each month is at most 31 days after the one before: inside max_verify_age.
    let deep = section.or("deep", "0 22 1 * *", |v| values::schedule(v, zone));
    let scrub = section.or("scrub", "off", |v| values::schedule_or_off(v, zone));
    let scrub_period = section.or("scrub_period", "28d", values::duration);
    let probe = section.or("probe", "monthly first-sun 05:00", |v| values::schedule_or_off(v, zone));
    let daily = if locks { "daily 05:30" } else { "off" };
    let extend_locks = section.or("extend_locks", daily, |v| values::schedule_or_off(v, zone));
    section.finish(&[]);
    Some(Verify {
        after_run: after_run?.value,
        deep: shift.of("verify", deep?.value),
        scrub: scrub?.value.map(|schedule| shift.of("scrub", schedule)),
        scrub_period: scrub_period?.value,
        probe: probe?.value.map(|schedule| shift.of("probe", schedule)),
        extend_locks: extend_locks?.value.filter(|_| locks).map(|schedule| shift.of("locks", schedule)),
    })
}

fn retention(section: Section<'_>, zone: Tz, shift: &Shift<'_>) -> Option<Retention> {
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
        holds: Vec::new(),
    };
    if rules.is_empty() {
        let fix = "say what to keep, such as `daily = 14`, or take [retention] away: then nothing is removed";
        let complaint = Complaint::new(Sort::Missing, "[retention] keeps nothing but the newest", fix);
        reader.complain(complaint, span);
        return None;
    }
    Some(Retention { rules, prune: shift.of("prune", prune?.value), grace: grace?.value })
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

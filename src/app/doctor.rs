//! What a tired person looks at first when something is wrong, in that order, on one page: what failed,
//! what is known to be wrong, whether the service lives, what was changed lately, this machine, the
//! targets. Changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::explain;
use super::forecasts::Outlook;
use super::promise::{configuration_in_force, configuration_sha256};
use super::reading::is_away;
use super::site::{Site, Where};
use super::space::{Rooms, StateRoom};
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::size::{format_bytes, format_duration};
use crate::catalog::Catalog;
use crate::catalog::occurrences::Period;
use crate::catalog::words::{OccurrenceState, RunState};
use crate::engine::context::Context;
use crate::evidence::verify::{Trust, verify};
use crate::policy::forecast::WORRY_DAYS;
use crate::repository::format::names::REPO_FMT;
use crate::storage::place::Access;

/// How far back failures and changes are looked for.
const LATELY: Duration = Duration::from_secs(7 * 86_400);
/// Failures that are told one by one.
const FAILURES_MAX: usize = 10;
/// An occurrence that waits longer than this waits for something that is wrong.
const WAITS_LONG: Duration = Duration::from_secs(3600);

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// Somebody should look.
    Doubtful,
    /// It is wrong.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// `failures`, `incidents`, `daemon`, `configuration`, `machine`, `target web/disk`.
    pub about: String,
    /// How it is.
    pub health: Health,
    /// What was seen, as lines.
    pub seen: Vec<String>,
    /// What to do next.
    pub next: Option<String>,
}

impl Finding {
    fn good(about: &str, seen: String) -> Self {
        Self { about: about.to_owned(), health: Health::Good, seen: vec![seen], next: None }
    }

    fn new(about: &str, health: Health, seen: Vec<String>, next: &str) -> Self {
        Self { about: about.to_owned(), health, seen, next: Some(next.to_owned()) }
    }
}

/// Looks at everything; at the targets unless `offline`. What can't be looked at is a finding, too.
pub fn examine(place: &Where, cx: &Context, offline: bool) -> Vec<Finding> {
    let site = match Site::open(place, cx.clone()) {
        Ok(site) => site,
        Err(failure) => {
            let next = "`lifeboat check` shows all problems with their places";
            return vec![Finding::new("configuration", Health::Bad, vec![failure.message()], next)];
        }
    };
    if !site.state.root().exists() {
        let seen = format!("{} is not there: nothing has run yet", site.state.root().display());
        let next = "`lifeboat run POLICY` makes a first backup; --state-dir names another folder";
        return vec![Finding::new("machine", Health::Doubtful, vec![seen], next)];
    }
    let catalogue = match site.catalogue() {
        Ok(catalogue) => catalogue,
        Err(failure) => {
            let next = "docs/recovery.md: move the catalogue aside, then `lifeboat rebuild-catalogue`";
            return vec![Finding::new("machine", Health::Bad, vec![failure.message()], next)];
        }
    };
    let now = cx.clock.now();
    type Look = fn(&Site, &Catalog, Timestamp) -> Result<Finding, Failure>;
    let looks: [(&str, Look); 6] = [
        ("failures", failures),
        ("incidents", incidents),
        ("daemon", daemon),
        ("configuration", changes),
        ("machine", machine),
        ("ahead", ahead),
    ];
    let mut found: Vec<Finding> = looks
        .into_iter()
        .map(|(about, look)| {
            look(&site, &catalogue, now).unwrap_or_else(|failure| {
                Finding::new(
                    about,
                    Health::Bad,
                    vec![failure.message()],
                    "mend this first: the rest rests on it",
                )
            })
        })
        .collect();
    if !offline {
        found.extend(targets(&site));
    }
    found
}

fn failures(_: &Site, catalogue: &Catalog, now: Timestamp) -> Result<Finding, Failure> {
    let period = Period { from: now.minus(LATELY), to: now };
    let bad = [RunState::Failed, RunState::TimedOut, RunState::Interrupted, RunState::Waiting];
    let runs: Vec<_> =
        catalogue.runs_in(period)?.into_iter().filter(|run| bad.contains(&run.state)).collect();
    if runs.is_empty() {
        return Ok(Finding::good("failures", "no run failed in the last 7 days".to_owned()));
    }
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for run in &runs {
        let code = run.failure.as_ref().map_or("no code", |failure| failure.code.as_str());
        *codes.entry(code.to_owned()).or_default() += 1;
    }
    let mut seen = vec![format!("{} runs failed in the last 7 days", runs.len())];
    for (code, count) in &codes {
        let title = explain::page(code).map_or("", |page| page.title);
        seen.push(format!("{count} x {code} {title}"));
    }
    for run in runs.iter().rev().take(FAILURES_MAX) {
        let why = run.failure.as_ref().map_or("", |failure| failure.message.as_str());
        let state = run.state.as_str().replace('_', " ");
        seen.push(format!("{} {} {} {state}: {why}", run.started_at.readable(), run.policy, run.job));
    }
    let first = codes.iter().max_by_key(|(_, count)| **count).map_or("", |(code, _)| code.as_str());
    Ok(Finding::new("failures", Health::Doubtful, seen, &format!("`lifeboat explain {first}`")))
}

fn incidents(_: &Site, catalogue: &Catalog, _: Timestamp) -> Result<Finding, Failure> {
    let open = catalogue.open_incidents()?;
    let holds = catalogue.standing_holds(None)?;
    if open.is_empty() && holds.is_empty() {
        return Ok(Finding::good("incidents", "none goes on, nothing is held".to_owned()));
    }
    let about = |policy: &str| if policy.is_empty() { "site".to_owned() } else { policy.to_owned() };
    let mut seen: Vec<String> = open
        .iter()
        .map(|one| format!("{} {} {} {}: {}", one.id, one.severity, one.state, about(&one.policy), one.title))
        .collect();
    seen.extend(holds.iter().map(|hold| format!("held: {} {}: {}", hold.policy, hold.kind, hold.reason)));
    let health = if open.is_empty() { Health::Doubtful } else { Health::Bad };
    Ok(Finding::new("incidents", health, seen, "`lifeboat incident show ID`, `lifeboat hold list`"))
}

fn daemon(site: &Site, catalogue: &Catalog, now: Timestamp) -> Result<Finding, Failure> {
    let Some(pid) = site.state.daemon()? else {
        let seen = vec!["no daemon runs: nothing happens by schedule".to_owned()];
        return Ok(Finding::new(
            "daemon",
            Health::Bad,
            seen,
            "`systemctl status lifeboat`, or `lifeboat daemon`",
        ));
    };
    let late: Vec<String> = catalogue
        .open_occurrences()?
        .iter()
        .filter(|one| one.state == OccurrenceState::Due && now.since(one.key.scheduled_at) > WAITS_LONG)
        .map(|one| {
            let waits = format_duration(now.since(one.key.scheduled_at));
            format!("{} of {} waits for {waits}", one.key.job, one.key.policy)
        })
        .collect();
    if late.is_empty() {
        return Ok(Finding::good("daemon", format!("process {pid} runs")));
    }
    let next =
        "a job that lasts, a blackout or too low a `concurrency`: `lifeboat status`, docs/configuration.md";
    Ok(Finding::new("daemon", Health::Doubtful, late, next))
}

fn changes(site: &Site, catalogue: &Catalog, now: Timestamp) -> Result<Finding, Failure> {
    let here = configuration_sha256(&site.configuration);
    if configuration_in_force(catalogue)?.is_some_and(|sha256| sha256 != here) {
        let seen = vec!["the files are not those that the daemon goes by".to_owned()];
        return Ok(Finding::new(
            "configuration",
            Health::Doubtful,
            seen,
            "`lifeboat plan`, then `lifeboat apply`",
        ));
    }
    let mut seen = Vec::new();
    for policy in &site.configuration.policies {
        if let Some(known) = catalogue.policy_seen(policy.id.as_str())?
            && now.since(known.changed_at) < LATELY
            && known.changed_at > known.first_seen_at
        {
            seen.push(format!("{} changed {}", policy.id, known.changed_at.readable()));
        }
    }
    if seen.is_empty() {
        return Ok(Finding::good("configuration", "unchanged for 7 days".to_owned()));
    }
    Ok(Finding::new("configuration", Health::Good, seen, "if it began then, look at what was changed"))
}

fn machine(site: &Site, _: &Catalog, _: Timestamp) -> Result<Finding, Failure> {
    let mut seen = Vec::new();
    let mut health = Health::Good;
    let mut next = None;
    let root = site.state.root();
    if let Some(state) = StateRoom::of(site) {
        seen.push(format!("{} free for records in {}", format_bytes(state.room.free_bytes), root.display()));
        if state.is_short() {
            health = Health::Bad;
            let limit = format_bytes(state.limit_bytes);
            next = Some(format!("make room there: below {limit} no backup starts"));
        }
    }
    if site.state.evidence().join("log").exists() {
        match verify(&site.state.evidence(), &Trust::default()) {
            Ok(report) if report.ok => seen.push("the evidence log verifies".to_owned()),
            _ => {
                health = Health::Bad;
                seen.push("the evidence log does NOT verify".to_owned());
                next = Some("`lifeboat evidence verify` says where".to_owned());
            }
        }
    }
    if site.configuration.site.self_backup.is_none() {
        seen.push("its own records are in no backup".to_owned());
        next = Some("`self_backup = \"POLICY\"` in lifeboat.toml".to_owned());
    }
    if !site.has_secret() {
        health = Health::Bad;
        seen.push("the site key is not here".to_owned());
        next = Some("`lifeboat explain E0811`; docs/recovery.md".to_owned());
    }
    Ok(Finding { about: "machine".to_owned(), health, seen, next })
}

/// What will be short or broken soon, and what is short now.
fn ahead(site: &Site, catalogue: &Catalog, now: Timestamp) -> Result<Finding, Failure> {
    let mut seen = Vec::new();
    let outlook = Outlook::new(site, catalogue, now)?;
    for policy in &site.configuration.policies {
        let rooms = Rooms::of(catalogue, policy, now)?;
        let found = outlook.of_policy(policy, &rooms)?;
        let worries = outlook.worries(policy, &rooms, &found);
        seen.extend(worries.into_iter().map(|(_, text)| format!("{}: {text}", policy.id)));
    }
    if seen.is_empty() {
        return Ok(Finding::good("ahead", format!("nothing is foretold for the next {WORRY_DAYS} days")));
    }
    Ok(Finding::new(
        "ahead",
        Health::Doubtful,
        seen,
        "docs/forecasts.md says how each is found and what helps",
    ))
}

fn targets(site: &Site) -> Vec<Finding> {
    let mut found = Vec::new();
    for policy in &site.configuration.policies {
        for planned in &policy.targets {
            let about = format!("target {}/{}", policy.id, planned.name);
            let began = site.cx.clock.monotonic();
            let asked =
                site.target(planned, Access::Read).and_then(|target| Ok(target.storage.head(&REPO_FMT)?));
            let took = site.cx.clock.monotonic().saturating_sub(began).as_millis();
            found.push(match asked {
                Ok(Some(_)) => Finding::good(&about, format!("answers within {took} ms")),
                Ok(None) => {
                    let seen = vec!["answers, and holds no repository".to_owned()];
                    let next = "the first run makes it; if there was one, mount the disk or look at the URL";
                    Finding::new(&about, Health::Doubtful, seen, next)
                }
                Err(failure) if is_away(planned, &failure) => {
                    Finding::good(&about, "is kept apart, and not here now".to_owned())
                }
                Err(failure) => {
                    let next = format!("`lifeboat explain {}`", failure.code());
                    Finding::new(&about, Health::Bad, vec![failure.message()], &next)
                }
            });
        }
    }
    found
}

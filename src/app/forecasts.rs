//! What recorded facts say is ahead of a policy.

use std::time::Duration;

use serde::Serialize;

use super::site::Site;
use super::space::{Rooms, StateRoom};
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::size::{format_bytes, format_duration};
use crate::catalog::Catalog;
use crate::catalog::words::{BackupKind as RecordedKind, Job};
use crate::policy::forecast::{self, Kind, Measured, RoomThen, WORRY_DAYS};
use crate::policy::model::{BackupKind, Place, Policy, Target};
use crate::policy::room::MinFree;
use crate::storage::s3::{certificates_end, credentials_end};

/// As far back as any forecast of daily values looks.
const DAILY_BACK: Duration = Duration::from_secs(29 * 86_400);
/// Newest drills that are looked at.
const DRILLS_MAX: u32 = 400;
/// Times to come by which the time between runs is measured.
const TIMES: usize = 3;
const DAY_SECONDS: u64 = 86_400;
/// What drills call a scope of everything.
const ALL_FILES: &str = "all";
/// What the state folder is called.
pub(super) const STATE: &str = "state folder";

/// What is to be expected, of what, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForecastView {
    /// What it is about.
    pub kind: Kind,
    /// Of what: a target, a kind of backup, the state folder.
    pub of: String,
    /// When, if things go on as they have.
    pub at: Timestamp,
    /// For people.
    pub text: String,
}

impl ForecastView {
    fn new(kind: Kind, of: &str, at: Timestamp, text: String) -> Self {
        Self { kind, of: of.to_owned(), at, text }
    }

    /// Days from now; 0 when it is past.
    pub(super) fn days(&self, now: Timestamp) -> u64 {
        self.at.since(now).as_secs() / DAY_SECONDS
    }

    /// Whether somebody should do something about it.
    pub(super) fn is_near(&self, now: Timestamp) -> bool {
        self.at <= now.plus(Duration::from_secs(WORRY_DAYS * DAY_SECONDS))
    }
}

/// Looks ahead: what is the same for all policies is found out once.
pub(super) struct Outlook<'a> {
    site: &'a Site,
    catalogue: &'a Catalog,
    now: Timestamp,
    state: Vec<RoomThen>,
}

impl<'a> Outlook<'a> {
    pub(super) fn new(site: &'a Site, catalogue: &'a Catalog, now: Timestamp) -> Result<Self, Failure> {
        Ok(Self { site, catalogue, now, state: Rooms::of_state(catalogue, now)? })
    }

    /// All of a policy, the nearest first; those that lie far ahead, too.
    pub(super) fn of_policy(&self, policy: &Policy, rooms: &Rooms) -> Result<Vec<ForecastView>, Failure> {
        let (catalogue, now) = (self.catalogue, self.now);
        let mut found = Vec::new();
        found.extend(full(&self.state, self.site.configuration.site.state_min_free, STATE, now));
        for target in &policy.targets {
            match &target.place {
                Place::Folder(_) => {
                    found.extend(full(rooms.at(target), target.min_free, target.name.as_str(), now));
                }
                Place::Bucket { .. } => found.extend(ends(target)),
            }
        }
        found.extend(rpo(catalogue, policy, now)?);
        overruns(catalogue, policy, now, &mut found)?;
        restores(catalogue, policy, now, &mut found)?;
        found.sort_by(|a, b| (a.at, a.kind, &a.of).cmp(&(b.at, b.kind, &b.of)));
        Ok(found)
    }

    /// What makes a policy's state AT RISK: what is short now, and what lies near.
    pub(super) fn worries(
        &self,
        policy: &Policy,
        rooms: &Rooms,
        ahead: &[ForecastView],
    ) -> Vec<(&'static str, String)> {
        let mut worries = Vec::new();
        let mut short = |what: &str, free: u64, limit: u64| {
            if free < limit {
                let (free, limit) = (format_bytes(free), format_bytes(limit));
                worries
                    .push(("no-headroom", format!("{what} has {free} free, and {limit} have to stay free")));
            }
        };
        if let Some(state) = StateRoom::of(self.site) {
            short("the state folder", state.room.free_bytes, state.limit_bytes);
        }
        for target in &policy.targets {
            if let Some((room, limit)) = rooms.newest(target) {
                short(target.name.as_str(), room.free_bytes, limit);
            }
        }
        let near = ahead.iter().filter(|one| one.is_near(self.now));
        worries.extend(near.map(|one| (one.kind.code(), one.text.clone())));
        worries
    }
}

fn full(rooms: &[RoomThen], limit: MinFree, of: &str, now: Timestamp) -> Option<ForecastView> {
    let at = forecast::full(rooms, limit, now)?;
    let text =
        format!("{of} is at its limit about {} at this pace: backups are refused from then on", day(at));
    Some(ForecastView::new(Kind::Full, of, at, text))
}

/// What a bucket is opened with, and when that ends. A file that can't be read now says nothing; the next
/// run says so.
fn ends(target: &Target) -> Vec<ForecastView> {
    let name = target.name.as_str();
    let mut found = Vec::new();
    let credentials = target.credentials_file.as_deref();
    if let Some(at) = credentials.and_then(|path| credentials_end(path).ok()).flatten() {
        let text = format!("the credentials of {name} end {}", at.readable());
        found.push(ForecastView::new(Kind::Credentials, name, at, text));
    }
    let authorities = target.ca_file.as_deref();
    if let Some(at) = authorities.and_then(|path| certificates_end(path).ok()).flatten() {
        let text = format!("a certificate in the `ca_file` of {name} ends {}", at.readable());
        found.push(ForecastView::new(Kind::Certificate, name, at, text));
    }
    found
}

fn rpo(catalogue: &Catalog, policy: &Policy, now: Timestamp) -> Result<Option<ForecastView>, Failure> {
    let known = catalogue.exposed_days(policy.id.as_str(), now.minus(DAILY_BACK), now)?;
    let exposed: Vec<Measured> = known.into_iter().map(|(at, took)| measured(at, took)).collect();
    let promised = policy.objective.rpo;
    Ok(forecast::rpo(&exposed, promised, now).map(|at| {
        let text = format!(
            "runs are confirmed later and later: the rpo of {} is broken about {} at this pace",
            format_duration(promised),
            day(at)
        );
        ForecastView::new(Kind::Rpo, "", at, text)
    }))
}

/// Runs of each kind against the time until the next one of any kind, or until they are ended.
fn overruns(
    catalogue: &Catalog,
    policy: &Policy,
    now: Timestamp,
    found: &mut Vec<ForecastView>,
) -> Result<(), Failure> {
    let days = catalogue.longest_backups(policy.id.as_str(), now.minus(DAILY_BACK))?;
    for line in policy.schedule.lines() {
        let Some(between) = between(policy, line.kind, now) else { continue };
        let limit = between.min(policy.schedule.timeout);
        let job = Job::Backup(recorded(line.kind));
        let of_kind = days.iter().filter(|(done, _, _)| *done == job);
        let seconds: Vec<Measured> = of_kind.map(|(_, at, took)| measured(*at, *took)).collect();
        if let Some(at) = forecast::overrun(&seconds, limit, now) {
            let word = line.kind.word();
            let text = format!(
                "{word} backups take longer and longer: over {} about {} at this pace",
                format_duration(limit),
                day(at)
            );
            found.push(ForecastView::new(Kind::Window, word, at, text));
        }
    }
    Ok(())
}

fn measured(at: Timestamp, took: Duration) -> Measured {
    Measured { at, value: took.as_secs_f64() }
}

/// The shortest time from a run of this kind to the next one of any kind.
fn between(policy: &Policy, kind: BackupKind, now: Timestamp) -> Option<Duration> {
    let lines = policy.schedule.lines();
    let own = lines.iter().find(|line| line.kind == kind)?.schedule;
    let mut at = now;
    let mut shortest: Option<Duration> = None;
    for _ in 0..TIMES {
        at = own.next(at)?.at;
        let next = lines.iter().filter_map(|line| line.schedule.next(at)).map(|next| next.at.since(at)).min();
        shortest = match (shortest, next) {
            (Some(known), Some(next)) => Some(known.min(next)),
            (known, next) => known.or(next),
        };
    }
    shortest
}

fn recorded(kind: BackupKind) -> RecordedKind {
    match kind {
        BackupKind::Full => RecordedKind::Full,
        BackupKind::Differential => RecordedKind::Differential,
        BackupKind::Incremental => RecordedKind::Incremental,
    }
}

/// Drills of each target that passed: those of all files by what they took, else those of samples by
/// what all would take.
fn restores(
    catalogue: &Catalog,
    policy: &Policy,
    now: Timestamp,
    found: &mut Vec<ForecastView>,
) -> Result<(), Failure> {
    let Some(promised) = policy.objective.rto else { return Ok(()) };
    let drills = catalogue.drills(policy.id.as_str(), DRILLS_MAX)?;
    for target in &policy.targets {
        let name = target.name.as_str();
        let passed = || {
            let is_pass = |drill: &&crate::catalog::drills::Drill| {
                drill.target == name && drill.verdict.is_some_and(|verdict| verdict.is_pass())
            };
            drills.iter().filter(is_pass)
        };
        let times = |full: bool| -> Vec<Measured> {
            let key = if full { "rto_seconds" } else { "rto_projected_seconds" };
            let of = passed().filter(|drill| (drill.scope == ALL_FILES) == full);
            of.filter_map(|drill| {
                Some(Measured { at: drill.ended_at?, value: drill.times.get(key)?.as_f64()? })
            })
            .collect()
        };
        let at = [true, false].into_iter().find_map(|full| forecast::rto(&times(full), promised, now));
        if let Some(at) = at {
            let text = format!(
                "restores from {name} take longer and longer: the rto of {} is broken about {} at this pace",
                format_duration(promised),
                day(at)
            );
            found.push(ForecastView::new(Kind::Rto, name, at, text));
        }
    }
    Ok(())
}

/// A day is as much as an estimate can say.
fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

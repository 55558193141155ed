//! How much work would have been lost over a period: with any one machine, and with the whole site.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::catalog::occurrences::{Occurrence, Period as Recorded};
use crate::catalog::runs::Run;
use crate::catalog::words::{Job, OccurrenceState, RunState};
use crate::policy::model::{CopyClass, Policy};
use crate::policy::objective::{Attainment, Period, Point, attainment};

/// Breaches of a curve that are told one by one; the largest.
const BREACHES_MAX: usize = 100;

/// How a policy's RPO was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Exposure {
    /// The policy.
    pub policy: String,
    /// The promise, in seconds.
    pub rpo_seconds: u64,
    /// The period's start: not before the policy was first seen.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// By any copy.
    pub any: Curve,
    /// By copies elsewhere alone; none where no target is elsewhere.
    pub offsite: Option<Curve>,
}

/// One curve over a period.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Share of the time within the RPO, 0 to 1.
    pub share: f64,
    /// The worst, in seconds; none when at some moment there was nothing at all.
    pub worst_seconds: Option<u64>,
    /// How often it was broken.
    pub breaches: usize,
    /// The longest breaches, in order of time.
    pub named: Vec<NamedBreach>,
}

/// A time in which more than was promised would have been lost.
#[derive(Clone, Debug, Serialize)]
pub struct NamedBreach {
    /// Its start.
    pub from: Timestamp,
    /// Its end, or the period's.
    pub until: Timestamp,
    /// Why, as far as the records say.
    pub cause: String,
}

/// The exposure of a policy, or of all, over the last days.
///
/// # Errors
/// When there is no such policy, or the catalogue cannot be read.
pub fn exposures(site: &Site, policy: Option<&str>, days: u32) -> Result<Vec<Exposure>, Failure> {
    let catalogue = site.catalogue()?;
    let until = site.cx.clock.now();
    let asked = until.minus(Duration::from_secs(u64::from(days) * 86_400));
    let mut found = Vec::new();
    for policy in site.policies(policy)? {
        let seen = catalogue.policy_seen(policy.id.as_str())?;
        let from = seen.map_or(until, |seen| seen.first_seen_at.clamp(asked, until));
        found.push(of_policy(site, &catalogue, policy, Period { from, until })?);
    }
    Ok(found)
}

fn of_policy(site: &Site, catalogue: &Catalog, policy: &Policy, period: Period) -> Result<Exposure, Failure> {
    let id = policy.id.as_str();
    let known = catalogue.points(id, period.from)?;
    let any: Vec<Point> = known
        .iter()
        .map(|point| Point { captured_at: point.captured_at, usable_from: point.confirmed_at })
        .collect();
    let offsite: Vec<Point> = known
        .iter()
        .filter_map(|point| Some(Point { captured_at: point.captured_at, usable_from: point.offsite_at? }))
        .collect();
    let rpo = policy.objective.rpo;
    let name = &site.configuration.site.name;
    let has_offsite = policy.targets.iter().any(|target| target.class(name) == CopyClass::Offsite);
    let curve = |points: &[Point]| curve(catalogue, id, rpo, points, attainment(points, rpo, period));
    Ok(Exposure {
        policy: id.to_owned(),
        rpo_seconds: rpo.as_secs(),
        from: period.from,
        until: period.until,
        any: curve(&any)?,
        offsite: if has_offsite { Some(curve(&offsite)?) } else { None },
    })
}

fn curve(
    catalogue: &Catalog,
    policy: &str,
    rpo: Duration,
    points: &[Point],
    kept: Attainment,
) -> Result<Curve, Failure> {
    let breaches = kept.breaches.len();
    let mut longest = kept.breaches;
    longest.sort_by_key(|breach| std::cmp::Reverse(breach.until.since(breach.from)));
    longest.truncate(BREACHES_MAX);
    longest.sort_by_key(|breach| breach.from);
    let mut named = Vec::new();
    for breach in longest {
        // What went wrong did so before it was felt.
        let period = Recorded { from: breach.from.minus(rpo), to: breach.until };
        let of_policy = |run: &Run| run.policy == policy && matches!(run.job, Job::Backup(_));
        let runs: Vec<Run> = catalogue.runs_in(period)?.into_iter().filter(of_policy).collect();
        let of_policy = |one: &Occurrence| one.key.policy == policy && matches!(one.key.job, Job::Backup(_));
        let times: Vec<Occurrence> =
            catalogue.occurrences_in(period)?.into_iter().filter(of_policy).collect();
        let mut why = cause(&runs, &times);
        if points.iter().all(|point| point.usable_from > breach.from) {
            why = format!("no usable snapshot was there yet; {why}");
        }
        named.push(NamedBreach { from: breach.from, until: breach.until, cause: why });
    }
    Ok(Curve { share: kept.share, worst_seconds: kept.worst.map(|worst| worst.as_secs()), breaches, named })
}

/// Why, by what was recorded: runs that did not succeed, then times at which none took place.
fn cause(runs: &[Run], times: &[Occurrence]) -> String {
    let mut causes: BTreeMap<String, u32> = BTreeMap::new();
    for run in runs.iter().filter(|run| !matches!(run.state, RunState::Succeeded | RunState::Running)) {
        let code = run.failure.as_ref().map_or_else(String::new, |failure| format!(" ({})", failure.code));
        *causes.entry(format!("runs {}{code}", run.state.as_str().replace('_', " "))).or_default() += 1;
    }
    let not_run =
        |state: &OccurrenceState| matches!(state, OccurrenceState::Missed | OccurrenceState::Skipped);
    for one in times.iter().filter(|one| not_run(&one.state) && !one.reason.starts_with("covered")) {
        *causes.entry(format!("{} ({})", one.state, one.reason)).or_default() += 1;
    }
    if causes.is_empty() {
        return match (runs.is_empty(), times.is_empty()) {
            (true, true) => "nothing was scheduled or recorded".to_owned(),
            (true, false) => "no run took place".to_owned(),
            _ => "runs took too long, or a target lacked their snapshots".to_owned(),
        };
    }
    let all: Vec<String> = causes.into_iter().map(|(cause, count)| format!("{count} {cause}")).collect();
    all.join("; ")
}

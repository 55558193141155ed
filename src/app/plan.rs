//! `plan`: what will run, and what would be removed. Changes nothing.

use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::base::size::format_duration;
use crate::policy::model::{Configuration, Policy};

/// One thing that will run.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedRun {
    /// When, in UTC.
    pub at: Timestamp,
    /// When, on the wall clock of the policy.
    pub local: String,
    /// The policy.
    pub policy: String,
    /// `full`, `incremental`, `differential`, `verify`, `drill NAME`.
    pub what: String,
}

/// A look ahead.
#[derive(Clone, Debug, Serialize)]
pub struct PlanView {
    /// What runs, in order.
    pub runs: Vec<PlannedRun>,
    /// What becomes of old snapshots, a line for each policy.
    pub retention: Vec<String>,
}

/// So many occurrences are shown.
pub const RUNS_MAX: usize = 10_000;

/// Everything that falls due within some days.
pub fn plan(configuration: &Configuration, now: Timestamp, days: u32) -> PlanView {
    let until = now.plus(Duration::from_secs(u64::from(days) * 86_400));
    let mut runs = Vec::new();
    for policy in &configuration.policies {
        let mut add = |schedule: &crate::policy::schedule::Schedule, what: String| {
            for occurrence in schedule.occurrences(now, until).take(RUNS_MAX) {
                runs.push(PlannedRun {
                    at: occurrence.at,
                    local: occurrence.local,
                    policy: policy.id.as_str().to_owned(),
                    what: what.clone(),
                });
            }
        };
        for line in policy.schedule.lines() {
            add(line.schedule, line.kind.word().to_owned());
        }
        add(&policy.verify.deep, "verify".to_owned());
        if let Some(scrub) = &policy.verify.scrub {
            add(scrub, "scrub".to_owned());
        }
        if let Some(retention) = &policy.retention {
            add(&retention.prune, "prune".to_owned());
        }
        for drill in configuration.drills_of(&policy.id) {
            add(&drill.when, format!("drill {}", drill.id.as_str()));
        }
    }
    runs.sort_by(|a, b| (a.at, &a.policy, &a.what).cmp(&(b.at, &b.policy, &b.what)));
    runs.truncate(RUNS_MAX);
    let retention = configuration.policies.iter().map(retention).collect();
    PlanView { runs, retention }
}

fn retention(policy: &Policy) -> String {
    let name = policy.id.as_str();
    let Some(retention) = &policy.retention else {
        return format!("{name}: nothing is removed, there is no [retention]");
    };
    let rules = &retention.rules;
    let counted = [
        ("last", rules.last),
        ("hourly", rules.hourly),
        ("daily", rules.daily),
        ("weekly", rules.weekly),
        ("monthly", rules.monthly),
        ("yearly", rules.yearly),
    ];
    let mut kept: Vec<String> = counted
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(rule, count)| format!("{count} {rule}"))
        .collect();
    kept.extend(rules.within.map(|within| format!("all of the last {}", format_duration(within))));
    format!(
        "{name}: keeps {}, never fewer than {}; `lifeboat prune {name} --dry-run` says which",
        kept.join(", "),
        rules.min_keep
    )
}

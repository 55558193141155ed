//! `plan`: what will run, and what would be removed. Changes nothing.

use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::policy::model::{Configuration, RETENTION};

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
    /// What would be removed.
    pub retention: String,
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
        for drill in configuration.drills_of(&policy.id) {
            add(&drill.when, format!("drill {}", drill.id.as_str()));
        }
    }
    runs.sort_by(|a, b| (a.at, &a.policy, &a.what).cmp(&(b.at, &b.policy, &b.what)));
    runs.truncate(RUNS_MAX);
    PlanView { runs, retention: RETENTION.to_owned() }
}

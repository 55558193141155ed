//! The facts as Prometheus reads them.

use std::collections::BTreeMap;

use super::site::Site;
use super::space::StateRoom;
use super::status::{PolicyStatus, statuses_and_head};
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::words::Severity;
use crate::policy::model::Way;

/// One family of numbers.
struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(out: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Self { out, name }
    }

    fn put(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.out.push_str(&format!("{}{labels} {value}\n", self.name));
    }
}

/// A label's value: backslash, quote and line feed as Prometheus wants them.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}

fn seconds(at: Timestamp) -> f64 {
    number(u64::try_from(at.unix_ms().max(0) / 1000).unwrap_or(0))
}

/// All numbers, in the text format 0.0.4.
///
/// # Errors
/// When the state cannot be read: then there are no numbers, and their absence is the alarm.
pub fn metrics(site: &Site) -> Result<String, Failure> {
    let (statuses, head) = statuses_and_head(site, None)?;
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    let mut out = String::new();
    of_policies(&mut out, &statuses, now);
    of_room(&mut out, site, &statuses);
    let mut family = Family::new(
        &mut out,
        "lifeboat_last_drill_timestamp_seconds",
        "gauge",
        "When the newest drill of each verdict ended.",
    );
    for policy in &site.configuration.policies {
        let mut newest: BTreeMap<(String, &str), Timestamp> = BTreeMap::new();
        for drill in catalogue.drills(policy.id.as_str(), 200)? {
            if let (Some(verdict), Some(at)) = (drill.verdict, drill.ended_at) {
                newest.entry((drill.copy_class, verdict.as_str())).or_insert(at);
            }
        }
        for ((class, verdict), at) in newest {
            let labels =
                [("policy", policy.id.as_str()), ("kind", "restore"), ("copy", &class), ("verdict", verdict)];
            family.put(&labels, seconds(at));
        }
    }
    let mut family = Family::new(&mut out, "lifeboat_runs_total", "counter", "Runs that ended, by result.");
    for (policy, job, state, count) in catalogue.count_runs()? {
        let (job, state) = (job.to_string(), state.as_str());
        family.put(&[("policy", &policy), ("kind", &job), ("result", state)], number(count));
    }
    let mut family =
        Family::new(&mut out, "lifeboat_findings_open", "gauge", "Findings that no later drill has closed.");
    let findings = catalogue.open_findings(None)?;
    for severity in [Severity::Minor, Severity::Serious, Severity::Critical] {
        let count = findings.iter().filter(|one| one.severity == severity).count();
        family.put(&[("severity", severity.as_str())], number(count as u64));
    }
    let mut family = Family::new(&mut out, "lifeboat_incidents_open", "gauge", "Incidents that go on.");
    let incidents = catalogue.open_incidents()?;
    for severity in [Severity::Minor, Severity::Serious, Severity::Critical] {
        let count = incidents.iter().filter(|one| one.severity == severity).count();
        family.put(&[("severity", severity.as_str())], number(count as u64));
    }
    Family::new(
        &mut out,
        "lifeboat_audit_head_seq",
        "gauge",
        "Number of the newest line of the evidence log.",
    )
    .put(&[], number(head));
    let mut family = Family::new(
        &mut out,
        "lifeboat_heartbeat_timestamp_seconds",
        "gauge",
        "When a heartbeat was last tried.",
    );
    for one in &site.configuration.site.people.notifiers {
        if let (Way::Heartbeat { .. }, Some(at)) = (&one.way, catalogue.last_beat(&one.name)?) {
            family.put(&[("notifier", &one.name)], seconds(at));
        }
    }
    Family::new(&mut out, "lifeboat_daemon_up", "gauge", "Whether a daemon runs.")
        .put(&[], f64::from(u8::from(site.state.daemon()?.is_some())));
    Family::new(&mut out, "lifeboat_info", "gauge", "Constant 1, with the version.")
        .put(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    Ok(out)
}

fn of_policies(out: &mut String, statuses: &[PolicyStatus], now: Timestamp) {
    let mut family = Family::new(
        out,
        "lifeboat_rpo_exposure_seconds",
        "gauge",
        "Age of the newest usable snapshot; absent where there is none.",
    );
    for status in statuses {
        let scopes = [("any", status.exposure_seconds), ("offsite", status.offsite_exposure_seconds)];
        for (scope, exposure) in scopes {
            if let Some(exposure) = exposure {
                family.put(&[("policy", &status.policy), ("scope", scope)], number(exposure));
            }
        }
    }
    let mut family = Family::new(out, "lifeboat_rpo_seconds", "gauge", "The promised RPO.");
    for status in statuses {
        family.put(&[("policy", &status.policy)], number(status.rpo_seconds));
    }
    let mut family =
        Family::new(out, "lifeboat_rule_ok", "gauge", "Whether a part of what was promised holds now.");
    for status in statuses {
        for (part, ok) in &status.parts {
            family.put(&[("policy", &status.policy), ("part", part)], f64::from(u8::from(*ok)));
        }
    }
    let mut family = Family::new(out, "lifeboat_state", "gauge", "1 for the state word of a policy.");
    for status in statuses {
        family.put(&[("policy", &status.policy), ("state", &status.state)], 1.0);
    }
    let mut family = Family::new(
        out,
        "lifeboat_copy_level_age_seconds",
        "gauge",
        "How long ago the newest copy of a target reached its level.",
    );
    for status in statuses {
        for target in &status.targets {
            if let (Some(level), Some(at)) = (&target.level, target.level_at) {
                let labels =
                    [("policy", status.policy.as_str()), ("target", &target.target), ("level", level)];
                family.put(&labels, number(now.since(at).as_secs()));
            }
        }
    }
}

fn of_room(out: &mut String, site: &Site, statuses: &[PolicyStatus]) {
    let state = StateRoom::of(site);
    if let Some(state) = state {
        Family::new(out, "lifeboat_state_free_bytes", "gauge", "Free bytes where the state folder is.")
            .put(&[], number(state.room.free_bytes));
        Family::new(
            out,
            "lifeboat_state_min_free_bytes",
            "gauge",
            "What has to stay free there: below it no backup starts.",
        )
        .put(&[], number(state.limit_bytes));
    }
    let targets =
        || statuses.iter().flat_map(|status| status.targets.iter().map(move |target| (status, target)));
    let mut family = Family::new(
        out,
        "lifeboat_target_free_bytes",
        "gauge",
        "Free bytes of a folder when that was last looked at.",
    );
    for (status, target) in targets() {
        if let Some(free) = target.free_bytes {
            family.put(&[("policy", &status.policy), ("target", &target.target)], number(free));
        }
    }
    let mut family = Family::new(
        out,
        "lifeboat_target_min_free_bytes",
        "gauge",
        "What has to stay free there: below it the folder counts as full.",
    );
    for (status, target) in targets() {
        if let Some(limit) = target.min_free_bytes {
            family.put(&[("policy", &status.policy), ("target", &target.target)], number(limit));
        }
    }
    let mut family = Family::new(
        out,
        "lifeboat_forecast_timestamp_seconds",
        "gauge",
        "When a limit is reached or a promise broken if things go on as they have; absent where nothing says so.",
    );
    for status in statuses {
        for one in &status.forecasts {
            let labels = [("policy", status.policy.as_str()), ("kind", one.kind.word()), ("of", &one.of)];
            family.put(&labels, seconds(one.at));
        }
    }
}

//! What a drill did not show, from what it did: specific sentences, never none.

use super::drill::{DrillReport, Verdict};
use super::text::percent_left;
use crate::base::size::{format_count, format_duration};

/// The limits of a drill, the weightiest first.
pub fn of(report: &DrillReport) -> Vec<String> {
    let mut limits = Vec::new();
    outcome_limits(report, &mut limits);
    scope_limits(report, &mut limits);
    place_limits(report, &mut limits);
    check_limits(report, &mut limits);
    limits
}

fn outcome_limits(report: &DrillReport, limits: &mut Vec<String>) {
    match report.verdict {
        Verdict::Inconclusive => limits.push(
            "Something that is not the copy broke, so this drill says nothing about whether the copy can be restored."
                .to_owned(),
        ),
        Verdict::Aborted => limits.push("The drill was stopped before its end; nothing was proven.".to_owned()),
        Verdict::Fail => limits
            .push("A failed drill does not say that nothing can be restored: only what is listed was found.".to_owned()),
        Verdict::Pass | Verdict::PassWithFindings => {}
    }
}

fn scope_limits(report: &DrillReport, limits: &mut Vec<String>) {
    if report.rto.scope.is_full() {
        return;
    }
    if let Some(pick) = &report.pick {
        let restored = report.restore.files.min(pick.population);
        let left = pick.population - restored;
        if left > 0 {
            limits.push(format!(
                "{} of {} files ({}) were not restored. {}.",
                format_count(left),
                format_count(pick.population),
                percent_left(left, pick.population),
                capitalised(&pick.detects)
            ));
        }
    }
    limits.push(match report.rto.projected_full_s {
        Some(_) => "A sample shows no recovery time: the time for a full restore is an estimate scaled from this sample.".to_owned(),
        None => "A sample shows no recovery time.".to_owned(),
    });
}

fn place_limits(report: &DrillReport, limits: &mut Vec<String>) {
    let copy = &report.subject.copy;
    limits.push(format!(
        "Only the copy on {} was read; other copies of the same snapshot are not covered.",
        copy.target
    ));
    if let Some(snapshot) = &report.subject.snapshot {
        limits.push(format!("Only the snapshot {} was restored, no other recovery point.", snapshot.id));
    }
    if !copy.offsite {
        limits.push(
            "This copy is not off-site: its drill says nothing about the loss of the whole site.".to_owned(),
        );
    }
    let environment = &report.environment;
    if !environment.isolated_from_source {
        limits.push(format!(
            "It was restored on {}, where the backups are made; a recovery on another machine was not rehearsed.",
            environment.host
        ));
    }
    if environment.keys_from != "recovery kit" {
        limits.push(format!(
            "The key came from the {}; that the recovery kit opens the repository was not shown.",
            environment.keys_from
        ));
    }
    if !environment.state_used.is_empty() {
        limits.push(format!("It relied on state of this machine: {}.", environment.state_used.join(", ")));
    }
    if report.restore.used_local_cache {
        limits.push("Part of the data came from a local cache and not from the copy.".to_owned());
    }
}

fn check_limits(report: &DrillReport, limits: &mut Vec<String>) {
    if report.checks.iter().any(|check| check.kind == "manifest") {
        limits.push(
            "The manifest check compares with what was read at backup time: data that was already wrong at its source came back equally wrong. Extended attributes and inode flags were not compared."
                .to_owned(),
        );
    }
    if !report.checks.iter().any(|check| check.kind == "command") {
        limits.push("No application was started on the restored data.".to_owned());
    }
    limits.push(format!(
        "It ran without people: the time to notice a loss, to decide and to call somebody is not in the measured {}.",
        report
            .rto
            .measured_s
            .map_or_else(|| "time".to_owned(), |s| format_duration(std::time::Duration::from_secs_f64(s.clamp(0.0, 1e9))))
    ));
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

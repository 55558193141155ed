//! Weeks with clock changes, restarts and stepped clocks: every occurrence has one record.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;

use super::stage::{Event, HOUR, MINUTE, Stage, at};
use crate::base::clock::{Clock, Timestamp};
use crate::catalog::words::{BackupKind, Job, OccurrenceState, RunState};

const HOURLY: &str = "full = \"daily 01:30\"\nincremental = \"hourly\"";

/// What the policy's schedules name in a period, and what was recorded of it.
fn assert_each_has_one_record(stage: &Stage, from: Timestamp, until: Timestamp) {
    let configuration = stage.configuration();
    let plan = &configuration.policy("web").expect("the policy").schedule;
    let mut expected = Vec::new();
    for (kind, schedule) in
        [(BackupKind::Full, Some(&plan.full)), (BackupKind::Incremental, plan.incremental.as_ref())]
    {
        let times = schedule.expect("scheduled").occurrences(from, until);
        expected.extend(times.map(|o| (o.at, Job::Backup(kind).to_string())));
    }
    expected.sort();
    let records = stage.occurrences();
    let backups = records.iter().filter(|o| o.key.job.lane() == "backup");
    let mut found: Vec<_> = backups.map(|o| (o.key.scheduled_at, o.key.job.to_string())).collect();
    found.sort();
    assert_eq!(found, expected);
    let mut succeeded: BTreeMap<_, u32> = BTreeMap::new();
    for run in stage.runs().iter().filter(|run| run.state == RunState::Succeeded) {
        *succeeded.entry((run.job.clone(), run.scheduled_at)).or_default() += 1;
    }
    for record in &records {
        let key = (record.key.job.clone(), Some(record.key.scheduled_at));
        let runs = succeeded.get(&key).copied().unwrap_or(0);
        let is_done = record.state == OccurrenceState::Done;
        assert_eq!(runs, u32::from(is_done), "{record:?}");
    }
}

/// A week in which nothing is in the way.
fn assert_all_run_once(zone: Tz, start: &str) {
    let stage = Stage::new(start, zone, HOURLY);
    stage.live(HOUR * 24 * 7);
    assert_each_has_one_record(&stage, at(start), stage.clock.now());
    let records = stage.occurrences();
    assert!(records.len() > 170, "{}", records.len());
    assert!(records.iter().all(|o| o.state == OccurrenceState::Done), "{records:?}");
}

#[test]
fn every_occurrence_of_the_week_that_new_york_sets_its_clocks_back_runs_once() {
    assert_all_run_once(Tz::America__New_York, "2026-10-30T12:10:00Z");
}

#[test]
fn every_occurrence_of_the_week_that_berlin_sets_its_clocks_ahead_runs_once() {
    assert_all_run_once(Tz::Europe__Berlin, "2026-03-27T12:10:00Z");
}

#[test]
fn every_occurrence_of_the_week_that_santiago_skips_midnight_runs_once() {
    assert_all_run_once(Tz::America__Santiago, "2026-09-04T12:10:00Z");
}

#[test]
fn restarts_in_the_middle_of_runs_and_stepped_clocks_double_nothing_and_lose_nothing() {
    let start = "2026-03-27T12:10:00Z";
    let stage = Stage::new(start, Tz::Europe__Berlin, HOURLY);
    // Stopped two minutes into the run of the hour, then off for five hours.
    stage.live(HOUR * 24 - 8 * MINUTE);
    assert_eq!(stage.play().started.last().map(|key| key.scheduled_at), Some(at("2026-03-28T12:00:00Z")));
    stage.clock.clock.advance(5 * HOUR);
    stage.live(HOUR * 11 + 7 * MINUTE);
    // Set back by two hours, which is repaired after an hour; later ahead by three for good.
    let now = stage.clock.now();
    let back = now.plus(HOUR).minus(2 * HOUR);
    stage
        .live_with(&[
            (HOUR, Event::StepTo(back)),
            (2 * HOUR, Event::StepTo(now.plus(2 * HOUR))),
            (9 * HOUR, Event::StepTo(now.plus(12 * HOUR))),
            (20 * HOUR + 30 * MINUTE, Event::Stop),
        ])
        .expect("an orderly life");
    stage.live(Duration::from_secs(3600 * 24 * 3));
    assert_each_has_one_record(&stage, at(start), stage.clock.now());
    let count = |state| stage.occurrences().iter().filter(|o| o.state == state).count();
    assert_eq!(count(OccurrenceState::Due) + count(OccurrenceState::Running), 0);
    assert!(count(OccurrenceState::Missed) >= 5, "{:?}", stage.occurrences());
    let again = stage.runs().into_iter().filter(|r| r.scheduled_at == Some(at("2026-03-28T12:00:00Z")));
    let states: Vec<_> = again.map(|run| run.state).collect();
    assert_eq!(states, [RunState::Cancelled, RunState::Succeeded], "what the stop cut short was done again");
}

#[test]
fn a_night_off_is_one_full_run_and_a_line_of_evidence_for_each_kind_of_miss() {
    let stage = Stage::new("2026-06-02T18:30:00Z", Tz::UTC, HOURLY);
    stage.live(MINUTE);
    stage.clock.clock.advance(HOUR * 12);
    stage.live(10 * MINUTE);
    let started: Vec<_> = stage.play().started.iter().map(|key| key.job.to_string()).collect();
    assert_eq!(started, ["full"]);
    let not_run: Vec<_> = stage
        .evidence()
        .into_iter()
        .filter(|(kind, _)| kind == "occurrences.not_run")
        .map(|(_, data)| (data["outcome"].to_string(), data["count"].as_u64()))
        .collect();
    assert_eq!(not_run, [("\"missed\"".to_owned(), Some(11)), ("\"skipped-covered\"".to_owned(), Some(1))]);
}

#[test]
fn a_schedule_that_is_new_owes_nothing_for_the_time_before_it() {
    let stage = Stage::new("2026-06-01T18:30:00Z", Tz::UTC, HOURLY);
    stage.live(2 * HOUR);
    stage.clock.clock.advance(Duration::from_secs(3600 * 24 * 30));
    stage.add_file("drills/late.toml", "policy = \"web\"\nwhen = \"daily 12:00\"\n");
    stage.live(MINUTE);
    assert!(stage.occurrences().iter().all(|o| o.key.job != Job::Drill("late".to_owned())));
}

/// Of every occurrence that was not run, and of every run that was cut off, the evidence log knows.
fn assert_each_end_is_proven(stage: &Stage) {
    let evidence = stage.evidence();
    let lines = |of: &str| {
        let data: Vec<_> = evidence.iter().filter(|(kind, _)| kind == of).map(|(_, data)| data).collect();
        data
    };
    let time = |value: &serde_json::Value| at(value.as_str().expect("a time"));
    for record in stage.occurrences().iter().filter(|o| o.state != OccurrenceState::Done) {
        let is_of = |data: &&&serde_json::Value| {
            data["job"] == record.key.job.to_string()
                && (time(&data["first"])..=time(&data["last"])).contains(&record.key.scheduled_at)
        };
        assert!(lines("occurrences.not_run").iter().any(|data| is_of(&data)), "{record:?}");
    }
    for run in stage.runs().iter().filter(|run| run.attempt > 1 || run.state == RunState::Interrupted) {
        let is_of = |data: &&&serde_json::Value| data["run"] == run.id.as_str();
        assert!(lines("run.interrupted").iter().any(|data| is_of(&data)), "{run:?}");
    }
}

#[test]
fn a_daemon_that_is_killed_a_hundred_times_in_a_week_doubles_nothing_and_loses_nothing() {
    let start = "2026-06-01T00:10:00Z";
    let stage = Stage::new(start, Tz::UTC, HOURLY);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    for kill in 0..100 {
        // Half of them within the minutes in which something is going on.
        let seconds = if kill % 2 == 0 { below(6000) } else { until_next_hour(&stage) + below(330) };
        let looks = u32::try_from(below(60)).expect("few");
        stage.be_killed(Duration::from_secs(seconds), looks, below(2) == 0);
        stage.clock.clock.advance(Duration::from_secs(below(1800)));
    }
    stage.live(2 * HOUR);
    assert_each_has_one_record(&stage, at(start), stage.clock.now());
    assert_each_end_is_proven(&stage);
    let count = |state| stage.occurrences().iter().filter(|o| o.state == state).count();
    assert_eq!(count(OccurrenceState::Due) + count(OccurrenceState::Running), 0);
    let cut_off =
        stage.runs().iter().filter(|run| run.state == RunState::Cancelled || run.attempt > 1).count();
    assert!(cut_off >= 20, "{cut_off}");
}

#[test]
fn a_start_that_is_cut_off_at_any_moment_leaves_no_end_unproven() {
    let start = "2026-06-01T00:10:00Z";
    let stage = Stage::new(start, Tz::UTC, HOURLY);
    stage.live(MINUTE);
    for looks in 0..100 {
        stage.clock.clock.advance(3 * HOUR);
        stage.be_killed(Duration::ZERO, looks, true);
        stage.live(20 * MINUTE);
    }
    assert_each_has_one_record(&stage, at(start), stage.clock.now());
    assert_each_end_is_proven(&stage);
}

fn until_next_hour(stage: &Stage) -> u64 {
    let since_hour = stage.clock.now().unix_ms().rem_euclid(3_600_000);
    u64::try_from((3_600_000 - since_hour) / 1000).expect("positive")
}

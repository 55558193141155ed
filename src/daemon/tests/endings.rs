//! Children that crash, hang, say nothing or can't be started; daemons that stop or are refused.

use std::time::Duration;

use chrono_tz::Tz;

use super::stage::{Event, Finale, HOUR, MINUTE, Manner, Stage, at};
use crate::base::clock::Clock;
use crate::base::error::{Class, Classified};
use crate::catalog::occurrences::{Claim, OccurrenceKey};
use crate::catalog::process::Holder;
use crate::catalog::runs::NewRun;
use crate::catalog::words::{BackupKind, Cause, Job, OccurrenceState, RunState};
use crate::daemon::lifecycle::Life;

const HOURLY: &str = "full = \"daily 01:30\"\nincremental = \"hourly\"\ntimeout = \"30m\"";
const START: &str = "2026-06-02T10:59:00Z";

fn stage() -> Stage {
    Stage::new(START, Tz::UTC, HOURLY)
}

fn eleven() -> OccurrenceKey {
    OccurrenceKey {
        policy: "web".to_owned(),
        job: Job::Backup(BackupKind::Incremental),
        scheduled_at: at("2026-06-02T11:00:00Z"),
    }
}

fn state_of(stage: &Stage) -> OccurrenceState {
    stage.catalogue.occurrence(&eleven()).expect("read").expect("recorded").state
}

#[test]
fn a_run_whose_process_dies_is_tried_again_and_given_up_after_three_attempts() {
    let stage = stage();
    stage.play().manner = Manner { lasts: MINUTE, end: Finale::Crash };
    stage.live(20 * MINUTE);
    assert_eq!(stage.play().started, vec![eleven(); 3]);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
    let runs = stage.runs();
    assert_eq!(
        runs.iter().map(|run| (run.state, run.attempt)).collect::<Vec<_>>(),
        [(RunState::Interrupted, 3)]
    );
    let lines = stage.evidence();
    let again: Vec<_> = lines
        .iter()
        .filter(|(kind, _)| kind == "run.interrupted")
        .map(|(_, d)| d["again"].as_bool())
        .collect();
    assert_eq!(again, [Some(true), Some(true), Some(false)]);
}

#[test]
fn three_attempts_are_all_also_when_each_is_a_run_of_its_own() {
    let stage = stage();
    stage.play().manner = Manner { lasts: MINUTE, end: Finale::CrashAnew };
    stage.live(20 * MINUTE);
    assert_eq!(stage.play().started, vec![eleven(); 3]);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
}

#[test]
fn what_a_lost_daemon_left_running_is_interrupted_and_done_again() {
    let stage = stage();
    stage.live(Duration::from_secs(10));
    stage.clock.clock.step_to(at("2026-06-02T11:10:00Z"));
    let now = at("2026-06-02T11:00:05Z");
    assert_eq!(stage.catalogue.claim(&eleven(), now).expect("claimed"), Claim::Yours);
    let this = Holder::this_process();
    let key = eleven();
    let new = NewRun {
        policy: key.policy,
        job: key.job,
        scheduled_at: Some(key.scheduled_at),
        cause: Cause::Schedule,
        holder: Holder { started_ticks: this.started_ticks + 1, ..this },
    };
    stage.catalogue.start_run(&new, now).expect("started");
    stage.live(10 * MINUTE);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
    let runs = stage.runs();
    assert_eq!(
        runs.iter().map(|run| (run.state, run.attempt)).collect::<Vec<_>>(),
        [(RunState::Succeeded, 2)]
    );
}

#[test]
fn a_child_that_takes_too_long_is_timed_out_asked_and_killed() {
    let stage = stage();
    stage.play().next.push_back(Manner { lasts: HOUR, end: Finale::Deaf });
    stage.live(40 * MINUTE);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
    let runs = stage.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].state, RunState::TimedOut);
    assert_eq!(runs[0].failure.as_ref().map(|failure| failure.code.as_str()), Some("E0904"));
    assert!(runs[0].ended_at.is_some_and(|at| at.since(runs[0].started_at) < 31 * MINUTE));
    assert!(stage.play().alive.is_empty());
}

#[test]
fn a_timed_out_child_that_calls_itself_cancelled_stays_timed_out() {
    let stage = stage();
    stage.play().next.push_back(Manner { lasts: HOUR, end: Finale::Success });
    stage.live(40 * MINUTE);
    assert_eq!(stage.runs()[0].state, RunState::TimedOut);
}

#[test]
fn a_stop_ends_the_children_within_its_time_and_leaves_their_work_due() {
    // The played deaf process is this one, so that its run can't be seen to be dead.
    for (end, state) in [(Finale::Success, RunState::Cancelled), (Finale::Deaf, RunState::Running)] {
        let stage = stage();
        stage.play().manner = Manner { lasts: 25 * MINUTE, end };
        let before = stage.clock.monotonic();
        stage.live(10 * MINUTE);
        let took = stage.clock.monotonic() - before - 10 * MINUTE;
        assert!(took <= Duration::from_secs(36), "{took:?}");
        assert!(stage.play().alive.is_empty());
        assert_eq!(stage.runs()[0].state, state);
        let lines = stage.evidence();
        let (kind, data) = lines.last().expect("lines");
        assert_eq!(kind, "daemon.stopped");
        assert_eq!(data["ended_early"].as_array().map(Vec::len), Some(1));
        if end == Finale::Success {
            assert_eq!(state_of(&stage), OccurrenceState::Due);
            stage.play().manner.lasts = MINUTE;
            stage.live(5 * MINUTE);
            assert_eq!(state_of(&stage), OccurrenceState::Done);
        }
    }
}

#[test]
fn a_child_that_ends_without_a_run_leaves_a_failed_one() {
    for (end, code) in [(Finale::Mute(2), "E0903"), (Finale::Absent, "E0902")] {
        let stage = stage();
        stage.play().manner = Manner { lasts: Duration::from_secs(1), end };
        stage.live(10 * MINUTE);
        assert_eq!(stage.play().started.len(), 1, "no second try of what can't work");
        assert_eq!(state_of(&stage), OccurrenceState::Done);
        let runs = stage.runs();
        assert_eq!(runs[0].state, RunState::Failed);
        assert_eq!(runs[0].failure.as_ref().map(|failure| failure.code.as_str()), Some(code));
    }
}

#[test]
fn a_run_that_a_person_started_lets_the_occurrence_pass() {
    let stage = stage();
    let by_hand = NewRun {
        policy: "web".to_owned(),
        job: Job::Backup(BackupKind::Full),
        scheduled_at: None,
        cause: Cause::Person,
        holder: Holder::this_process(),
    };
    stage.catalogue.start_run(&by_hand, at("2026-06-02T10:58:00Z")).expect("started");
    stage.live(10 * MINUTE);
    assert!(stage.play().started.is_empty());
    assert_eq!(state_of(&stage), OccurrenceState::Skipped);
}

#[test]
fn one_place_is_kept_for_backups_and_drills_of_a_policy_wait_for_each_other() {
    let stage = stage();
    for name in ["one", "two"] {
        stage.add_file(&format!("drills/{name}.toml"), "policy = \"web\"\nwhen = \"daily 10:59\"\n");
    }
    stage.clock.clock.step_to(at("2026-06-02T10:58:00Z"));
    stage.play().manner.lasts = 10 * MINUTE;
    stage.live(40 * MINUTE);
    let order: Vec<_> = stage.play().started.iter().map(|key| key.job.to_string()).collect();
    assert_eq!(order, ["drill:one", "incremental", "drill:two"]);
    assert!(stage.occurrences().iter().all(|o| o.state == OccurrenceState::Done));
}

#[test]
fn once_does_what_is_due_and_ends() {
    let stage = stage();
    stage.live(Duration::from_secs(10));
    stage.clock.clock.step_to(at("2026-06-02T11:00:30Z"));
    stage.start(Life::Once).expect("done");
    assert_eq!(stage.play().started, [eleven()]);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
}

#[test]
fn a_second_daemon_on_a_state_folder_is_refused_and_starts_nothing() {
    let stage = stage();
    let claim = stage.state().claim_daemon().expect("free");
    let error = stage.live_with(&[(HOUR, Event::Stop)]).expect_err("taken");
    assert_eq!(error.class(), Class::StateInUse);
    assert!(stage.occurrences().is_empty());
    drop(claim);
}

fn fails_at_first(times: usize) -> Stage {
    let stage = stage();
    let failing = Manner { lasts: MINUTE, end: Finale::Unreached };
    stage.play().next.extend(std::iter::repeat_n(failing, times));
    stage
}

/// The attempts of the only run: how each ended, and how long after the one before it began.
fn attempts(stage: &Stage) -> Vec<(RunState, Duration)> {
    let runs = stage.runs();
    assert_eq!(runs.len(), 1, "every attempt belongs to one run");
    let attempts = stage.catalogue.attempts(&runs[0].id).expect("read");
    let waits = attempts
        .windows(2)
        .map(|two| two[1].started_at.since(two[0].ended_at.expect("the one before has ended")));
    let waits = std::iter::once(Duration::ZERO).chain(waits);
    attempts.iter().map(|attempt| attempt.state).zip(waits).collect()
}

#[test]
fn what_fails_for_a_reason_that_passes_is_tried_again_a_little_later() {
    let stage = fails_at_first(2);
    stage.live(45 * MINUTE);
    assert_eq!(stage.play().started, vec![eleven(); 3]);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
    let run = stage.runs().remove(0);
    assert_eq!((run.state, run.attempt, run.failure), (RunState::Succeeded, 3, None));
    let attempts = attempts(&stage);
    let states: Vec<_> = attempts.iter().map(|(state, _)| *state).collect();
    assert_eq!(states, [RunState::Failed, RunState::Failed, RunState::Succeeded]);
    // The clock is looked at every 20 s.
    assert!((MINUTE..=5 * MINUTE + MINUTE).contains(&attempts[1].1), "{attempts:?}");
    assert!((MINUTE..=15 * MINUTE + MINUTE).contains(&attempts[2].1), "{attempts:?}");
}

#[test]
fn the_third_failed_attempt_is_the_last() {
    let stage = fails_at_first(9);
    stage.live(50 * MINUTE);
    assert_eq!(stage.play().started, vec![eleven(); 3]);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
    assert_eq!(stage.runs()[0].state, RunState::Failed);
}

#[test]
fn an_attempt_is_left_to_the_next_occurrence_when_that_comes_first() {
    let stage = Stage::new(START, Tz::UTC, "full = \"daily 01:30\"\nincremental = \"* * * * *\"");
    stage.play().manner = Manner { lasts: Duration::from_secs(5), end: Finale::Unreached };
    stage.live(4 * MINUTE);
    let runs = stage.runs();
    assert!(runs.len() >= 3, "{runs:?}");
    for run in &runs {
        assert_eq!((run.state, run.attempt), (RunState::Failed, 1));
        assert_eq!(run.failure.as_ref().map(|failure| failure.code.as_str()), Some("E0301"));
    }
    assert!(stage.occurrences().iter().all(|o| o.state == OccurrenceState::Done));
    assert!(stage.evidence().iter().any(|(kind, data)| kind == "run.ended" && data["state"] == "failed"));
}

#[test]
fn an_attempt_that_waits_outlives_the_daemon() {
    let stage = fails_at_first(1);
    stage.live(2 * MINUTE + Duration::from_secs(10));
    assert_eq!((state_of(&stage), stage.runs()[0].state), (OccurrenceState::Due, RunState::Waiting));
    stage.live(10 * MINUTE);
    assert_eq!(state_of(&stage), OccurrenceState::Done);
    assert_eq!(attempts(&stage).last().map(|(state, _)| *state), Some(RunState::Succeeded));
}

//! What changes while a daemon lives: its configuration, restores that come first, holds, blackouts.

use std::time::Duration;

use chrono_tz::Tz;

use super::stage::{Event, Finale, HOUR, MINUTE, Manner, Stage, at};
use crate::base::clock::Clock;
use crate::catalog::holds::NewHold;
use crate::catalog::words::{BackupKind, HoldKind, Job, OccurrenceState};

const HOURLY: &str = "full = \"daily 01:30\"\nincremental = \"hourly\"";

fn policy(schedule: &str) -> String {
    format!(
        "rpo = \"30d\"\nsource = [\"/srv/web\"]\n[schedule]\n{schedule}\n[targets.disk]\nurl = \"file:///mnt/b\"\n"
    )
}

fn kinds(stage: &Stage) -> Vec<String> {
    stage.evidence().into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn a_changed_schedule_is_followed_and_starts_nothing() {
    let stage = Stage::new("2026-06-02T10:20:00Z", Tz::UTC, HOURLY);
    // At 10:50 the full becomes due at 09:00 each day: its time has passed today, and nothing runs.
    let nine = Box::leak(policy("full = \"daily 09:00\"\nincremental = \"hourly\"").into_boxed_str());
    stage
        .live_with(&[(30 * MINUTE, Event::Edit("policies/web.toml", nine)), (24 * HOUR, Event::Stop)])
        .expect("an orderly life");
    let started = stage.play().started.clone();
    assert_eq!(started[0].scheduled_at, at("2026-06-02T11:00:00Z"));
    assert_eq!(started[0].job, Job::Backup(BackupKind::Incremental));
    let fulls: Vec<_> = started.iter().filter(|key| key.job == Job::Backup(BackupKind::Full)).collect();
    assert_eq!(fulls.len(), 1, "{fulls:?}");
    assert_eq!(fulls[0].scheduled_at, at("2026-06-03T09:00:00Z"));
    assert_eq!(kinds(&stage).iter().filter(|kind| *kind == "config.loaded").count(), 2);
}

#[test]
fn a_restart_with_a_changed_schedule_starts_nothing_either() {
    let stage = Stage::new("2026-06-02T10:20:00Z", Tz::UTC, HOURLY);
    stage.live(HOUR);
    let before = stage.play().started.len();
    stage.add_file(
        "policies/web.toml",
        &policy("full = \"daily 11:10\"\nincremental = \"off\"\ncatch_up = \"once\""),
    );
    stage.live(HOUR);
    assert_eq!(stage.play().started.len(), before);
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let stage = Stage::new("2026-06-02T10:20:00Z", Tz::UTC, HOURLY);
    stage
        .live_with(&[
            (10 * MINUTE, Event::Edit("policies/web.toml", "source = 7\n")),
            (3 * HOUR, Event::Stop),
        ])
        .expect("an orderly life");
    assert_eq!(stage.play().started.len(), 3, "hourly as before");
    let kinds = kinds(&stage);
    assert!(kinds.contains(&"config.refused".to_owned()), "{kinds:?}");
    assert_eq!(stage.catalogue.events(10).expect("read")[0].kind, "config.refused");
}

#[test]
fn what_waits_and_is_promised_no_more_is_recorded_as_missed() {
    let stage = Stage::new("2026-06-02T10:59:00Z", Tz::UTC, HOURLY);
    stage.add_file("policies/shop.toml", &policy(HOURLY).replace("/mnt/b", "/mnt/c"));
    stage.add_file("lifeboat.toml", "site = \"hq\"\ntimezone = \"UTC\"\nconcurrency = 1\n");
    stage.play().manner = Manner { lasts: 20 * MINUTE, end: Finale::Success };
    let off = Box::leak(policy("full = \"daily 01:30\"\nincremental = \"off\"").into_boxed_str());
    stage
        .live_with(&[(5 * MINUTE, Event::Edit("policies/web.toml", off)), (50 * MINUTE, Event::Stop)])
        .expect("an orderly life");
    let records = stage.occurrences();
    let of = |policy: &str| records.iter().find(|o| o.key.policy == policy).expect("recorded");
    assert_eq!(of("shop").state, OccurrenceState::Done);
    assert_eq!(of("web").state, OccurrenceState::Missed, "{records:?}");
}

#[test]
fn a_restore_comes_first_and_what_gave_way_is_done_afterwards() {
    let stage = Stage::new("2026-06-02T21:50:00Z", Tz::UTC, HOURLY);
    let text = policy(HOURLY) + "[verify]\ndeep = \"daily 22:00\"\n";
    stage.add_file("policies/web.toml", &text);
    stage.play().manner = Manner { lasts: 20 * MINUTE, end: Finale::Success };
    // The restore begins when verification and backup of 22:00 go on, and ends at 22:55.
    stage
        .live_with(&[(15 * MINUTE, Event::Restore(50 * MINUTE)), (5 * HOUR, Event::Stop)])
        .expect("an orderly life");
    let verified: Vec<_> =
        stage.play().started.iter().filter(|key| key.job == Job::Verify).cloned().collect();
    assert_eq!(verified.len(), 2, "once before and once after: {verified:?}");
    let record = stage.catalogue.occurrence(&verified[0]).expect("read").expect("recorded");
    assert_eq!(record.state, OccurrenceState::Done);
    let backups: Vec<_> = stage.runs().into_iter().filter(|run| run.job != Job::Verify).collect();
    assert_eq!(backups[0].attempt, 1, "the backup of 22:00 went on");
}

#[test]
fn a_backup_waits_half_an_hour_for_a_restore_and_no_longer() {
    let stage = Stage::new("2026-06-02T10:50:00Z", Tz::UTC, HOURLY);
    stage
        .live_with(&[(MINUTE, Event::Restore(100 * MINUTE)), (2 * HOUR, Event::Stop)])
        .expect("an orderly life");
    let runs = stage.runs();
    let waited: Vec<Duration> =
        runs.iter().map(|run| run.started_at.since(run.scheduled_at.expect("scheduled"))).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(waited[0] >= 30 * MINUTE && waited[0] < 32 * MINUTE, "{waited:?}");
}

#[test]
fn nothing_is_pruned_while_a_hold_stands_and_the_reason_is_recorded() {
    let stage = Stage::new("2026-06-02T03:00:00Z", Tz::UTC, HOURLY);
    stage.add_file("policies/web.toml", &(policy(HOURLY) + "[retention]\ndaily = 3\n"));
    let hold = NewHold { policy: "web", kind: HoldKind::Freeze, reason: "a ransom note", by: "li.na" };
    stage.catalogue.place_hold(&hold, stage.clock.now()).expect("placed");
    stage.live(3 * HOUR);
    let pruned = stage.occurrences().into_iter().find(|o| o.key.job == Job::Prune).expect("recorded");
    assert_eq!(pruned.state, OccurrenceState::Skipped);
    assert!(pruned.reason.starts_with("freeze: hold "), "{}", pruned.reason);
    assert!(stage.play().started.iter().all(|key| key.job != Job::Prune));
}

#[test]
fn a_blackout_is_kept_also_by_what_was_queued_before_it() {
    let stage = Stage::new("2026-06-02T08:50:00Z", Tz::UTC, HOURLY);
    stage.add_file("lifeboat.toml", "site = \"hq\"\ntimezone = \"UTC\"\nconcurrency = 1\n");
    let shop = policy(HOURLY).replace("/mnt/b", "/mnt/c");
    stage.add_file("policies/shop.toml", &shop);
    stage.add_file("policies/web.toml", &policy(&format!("{HOURLY}\nblackout = [\"09:05-09:25\"]")));
    stage.play().manner = Manner { lasts: 10 * MINUTE, end: Finale::Success };
    stage.live(HOUR);
    let runs = stage.runs();
    let started = |policy: &str| runs.iter().find(|run| run.policy == policy).expect("ran").started_at;
    assert!(started("shop") < at("2026-06-02T09:01:00Z"));
    assert!(started("web") >= at("2026-06-02T09:25:00Z"), "{}", started("web"));
}

#[test]
fn a_higher_priority_goes_first_and_one_disk_does_one_job_at_a_time() {
    let stage = Stage::new("2026-06-02T10:59:00Z", Tz::UTC, HOURLY);
    let site = "site = \"hq\"\ntimezone = \"UTC\"\nconcurrency = { all = 8, target = 1 }\n";
    stage.add_file("lifeboat.toml", site);
    for (name, priority) in [("ant", 10), ("bee", 90), ("cat", 60)] {
        let text =
            policy(&format!("{HOURLY}\npriority = {priority}")).replace("/mnt/b", &format!("/mnt/{name}"));
        stage.add_file(&format!("policies/{name}.toml"), &text);
    }
    stage.play().manner = Manner { lasts: 3 * MINUTE, end: Finale::Success };
    stage.live(30 * MINUTE);
    let play = stage.play();
    let order: Vec<&str> = play.started.iter().map(|key| key.policy.as_str()).collect();
    assert_eq!(order, ["bee", "cat", "web", "ant"], "priorities 90, 60, 50, 10");
    assert_eq!(play.most_alive, 1, "all of them are on the disk of /");
}

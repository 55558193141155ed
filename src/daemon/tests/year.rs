//! A site of many policies in many zones through a long time, with restarts, nights off, crashes and
//! stepped clocks: whatever a reader of calendars finds has one record, and nothing ran twice.
//! `scripts/year-test` plays a year of two hundred policies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use super::stage::{Event, Finale, HOUR, MINUTE, Manner, Stage, at};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::catalog::occurrences::Period;
use crate::catalog::words::{OccurrenceState, RunState};
use crate::daemon::lifecycle::Life;

/// By job and time: the state, and how many runs succeeded.
type Records = BTreeMap<(String, Timestamp), (&'static str, u32)>;

const CHECKED: [&str; 3] = ["full", "incremental", "prune"];
const DAY: Duration = Duration::from_secs(86_400);
const ZONES: [Tz; 12] = [
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Santiago,
    Tz::Africa__Cairo,
    Tz::Asia__Shanghai,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Apia,
    Tz::America__St_Johns,
    Tz::Asia__Kathmandu,
    Tz::Africa__Casablanca,
    Tz::Pacific__Chatham,
    Tz::UTC,
];

/// How much is played.
struct Size {
    policies: usize,
    days: u32,
}

impl Size {
    /// `200x365` in the environment; else what a plain run has time for: the days in which Lord Howe
    /// sets its clocks back by half an hour, Chatham and Santiago by one, the latter at midnight.
    fn wanted() -> Self {
        let text = std::env::var("LIFEBOAT_TEST_YEAR").unwrap_or_default();
        let asked = text.split_once('x').and_then(|(policies, days)| {
            Some(Self { policies: policies.parse().ok()?, days: days.parse().ok()? })
        });
        asked.unwrap_or(Self { policies: 12, days: 4 })
    }
}

/// What a policy's files say, for the reader of calendars.
struct Told {
    name: String,
    zone: Tz,
    /// Hour and minute of the full backups.
    full: (u32, u32),
    late: Duration,
}

fn told(number: usize) -> Told {
    let full = (u32::try_from(number * 7 % 24).unwrap_or(0), u32::try_from(number * 13 % 60).unwrap_or(0));
    let late = if number % 5 == 4 { 10 * MINUTE } else { Duration::ZERO };
    Told { name: format!("p{number}"), zone: ZONES[number % ZONES.len()], full, late }
}

fn is_blacked_out(number: usize) -> bool {
    number % 7 == 6
}

fn write(stage: &Stage, number: usize, told: &Told) {
    let (hour, minute) = told.full;
    let jitter = if told.late.is_zero() { "" } else { "jitter = \"10m\"\n" };
    let blackout = if is_blacked_out(number) { "blackout = [\"mon-fri 09:00-11:30\"]\n" } else { "" };
    let text = format!(
        "source = [\"/srv/{name}\"]\nrpo = \"2d\"\n[schedule]\nfull = \"daily {hour:02}:{minute:02}\"\nincremental = \"hourly\"\n\
         timezone = \"{zone}\"\n{jitter}{blackout}[targets.disk]\nurl = \"file:///mnt/{name}\"\n\
         [verify]\nprobe = \"off\"\n[retention]\nlast = 100\nprune = \"daily 05:30\"\n",
        name = told.name,
        zone = told.zone,
    );
    stage.add_file(&format!("policies/{}.toml", told.name), &text);
    let drill = format!("policy = {:?}\nwhen = \"weekly sun 03:30\"\n", told.name);
    stage.add_file(&format!("drills/{}.toml", told.name), &drill);
}

/// The first moment at which a zone's clocks show this time or a later one of that day, minute by minute.
fn first_at(zone: Tz, wanted: NaiveDateTime) -> Timestamp {
    let around = Utc.from_utc_datetime(&(wanted - chrono::TimeDelta::hours(30)));
    let mut minute: DateTime<Utc> = around;
    loop {
        if minute.with_timezone(&zone).naive_local() >= wanted {
            return Timestamp::from_unix_ms(minute.timestamp_millis());
        }
        minute += chrono::TimeDelta::minutes(1);
    }
}

/// Reads the calendar of a zone without the program's own schedules: every full hour that its clocks show,
/// and each day's first moment at or after a time.
fn calendar(
    zone: Tz,
    from: Timestamp,
    until: Timestamp,
    times: &[(&str, u32, u32)],
) -> BTreeSet<(String, Timestamp)> {
    let utc = |at: Timestamp| Utc.timestamp_millis_opt(at.unix_ms()).single().expect("a time");
    let (mut minute, end) = (utc(from), utc(until));
    let mut found = BTreeSet::new();
    let mut days = BTreeSet::new();
    while minute <= end {
        let local = minute.with_timezone(&zone);
        if local.minute() == 0 {
            found.insert(("incremental".to_owned(), Timestamp::from_unix_ms(minute.timestamp_millis())));
        }
        days.insert(local.date_naive());
        minute += chrono::TimeDelta::minutes(1);
    }
    for day in days {
        for (job, hour, minute) in times {
            let Some(wanted) = day.and_hms_opt(*hour, *minute, 0) else { continue };
            found.insert(((*job).to_owned(), first_at(zone, wanted)));
        }
    }
    found.retain(|(_, at)| *at > from && *at <= until);
    found
}

/// The daemons' lives: a restart each day, a night off each month, a crash now and then, a clock
/// that is set back and one that is set ahead.
fn play(stage: &Stage, days: u32) {
    for day in 0..days {
        if day % 11 == 2 {
            let crash = Manner { lasts: Duration::from_secs(30), end: Finale::Crash };
            stage.play().next.extend([crash; 3]);
        }
        let now = stage.clock.now();
        let back = Event::StepTo(now.plus(6 * HOUR).minus(2 * HOUR));
        let ahead = Event::StepTo(now.plus(6 * HOUR).plus(3 * HOUR));
        let mut events = vec![(DAY, Event::Stop)];
        match day % 30 {
            1 => events.push((6 * HOUR, back)),
            3 => events.push((6 * HOUR, ahead)),
            _ => {}
        }
        stage.live_with(&events).expect("an orderly life");
        if day % 30 == 2 {
            stage.clock.clock.advance(9 * HOUR);
        }
    }
    stage.live(3 * HOUR);
    stage.clock.hurry(1);
}

#[test]
fn a_year_of_many_policies_in_many_zones_loses_no_occurrence_and_doubles_none() {
    let size = Size::wanted();
    let start = "2026-04-03T12:10:00Z";
    let stage = Stage::new(start, Tz::UTC, "full = \"yearly\"\nincremental = \"off\"");
    std::fs::remove_file(stage.config().join("policies/web.toml")).expect("removed");
    stage.add_file("lifeboat.toml", "concurrency = { all = 64, target = 64, source = 64 }\n");
    let site: Vec<Told> = (0..size.policies).map(told).collect();
    site.iter().enumerate().for_each(|(number, told)| write(&stage, number, told));
    stage.play().manner = Manner { lasts: Duration::from_secs(30), end: Finale::Success };
    stage.clock.hurry(20);
    let watch = SystemClock::new();
    let began = watch.monotonic();
    play(&stage, size.days);
    let took = watch.monotonic().saturating_sub(began);
    // What is due now is done, and nothing comes due meanwhile.
    let until = stage.clock.now();
    stage.start(Life::Once).expect("an orderly life");

    let mut calendars = BTreeMap::new();
    for told in &site {
        let key = (told.zone.name(), told.full);
        let times = [("full", told.full.0, told.full.1), ("prune", 5, 30)];
        let read = || calendar(told.zone, at(start).minus(HOUR), until, &times);
        calendars.entry(key).or_insert_with(read);
    }
    let (mut states, mut total, mut undone) = (BTreeMap::<&str, u64>::new(), 0, 0);
    let mut all = recorded(&stage, at(start), until);
    for (number, told) in site.iter().enumerate() {
        let named = &calendars[&(told.zone.name(), told.full)];
        let records = all.remove(&told.name).expect("records");
        // Whatever the jitter of this policy is, it is one for all its backups and one for its prunes.
        let (backups, prunes) =
            (shift(&records, named, "full", told.late), shift(&records, named, "prune", told.late));
        let late = |job: &String| if job == "prune" { prunes } else { backups };
        let mut wanted: BTreeSet<_> =
            named.iter().map(|(job, at)| (job.clone(), at.plus(late(job)))).collect();
        wanted.retain(|(_, time)| *time > at(start) && *time <= until);
        let found: BTreeSet<(String, Timestamp)> = records.keys().cloned().collect();
        let mut lost: Vec<_> = wanted.difference(&found).collect();
        // What waits for the end of a blackout has no record yet.
        lost.retain(|(_, at)| !is_blacked_out(number) || until.since(*at) > 3 * HOUR);
        let invented: Vec<_> = found.difference(&wanted).collect();
        assert!(
            lost.is_empty() && invented.is_empty(),
            "{} in {}: lost {lost:?}, invented {invented:?}",
            told.name,
            told.zone
        );
        total += found.len();
        for (key, (state, succeeded)) in &records {
            *states.entry(state).or_default() += 1;
            let is_done = *state == OccurrenceState::Done.as_str();
            assert!(*succeeded <= u32::from(is_done), "{key:?} {state} {succeeded}");
            undone += u32::from(is_done && *succeeded == 0);
        }
    }
    assert!(undone <= size.days / 11 + 1, "{undone} were given up after their attempts");
    let open = stage.catalogue.open_occurrences().expect("read");
    assert!(open.is_empty(), "{open:?}");
    let bytes = std::fs::metadata(stage.catalogue.path()).expect("there").len();
    println!(
        "{} policies, {} days: {total} occurrences in {} s ({states:?}), longest turn {} ms, catalogue {} MiB",
        size.policies,
        size.days,
        took.as_secs(),
        stage.clock.longest_turn().as_millis(),
        bytes >> 20
    );
}

/// Of each policy: what was recorded of its backups and prunes, and how many runs of each succeeded.
fn recorded(stage: &Stage, from: Timestamp, until: Timestamp) -> BTreeMap<String, Records> {
    let mut found: BTreeMap<String, Records> = BTreeMap::new();
    let mut day = from;
    while day <= until {
        let period = Period { from: day, to: day.plus(DAY) };
        for one in stage.catalogue.occurrences_in(period).expect("read") {
            let job = one.key.job.to_string();
            if CHECKED.contains(&job.as_str()) {
                let records = found.entry(one.key.policy.clone()).or_default();
                let before = records.insert((job, one.key.scheduled_at), (one.state.as_str(), 0));
                assert_eq!(before, None, "two records: {:?}", one.key);
            }
        }
        day = period.to;
    }
    // A clock that was set back makes runs look older than their occurrences.
    let mut day = from.minus(DAY);
    while day <= until.plus(DAY) {
        let period = Period { from: day, to: day.plus(DAY) };
        for run in stage.catalogue.runs_in(period).expect("read") {
            let key = run.scheduled_at.map(|at| (run.job.to_string(), at));
            let record = found.get_mut(&run.policy).zip(key).and_then(|(known, key)| known.get_mut(&key));
            if let Some((_, succeeded)) = record.filter(|_| run.state == RunState::Succeeded) {
                *succeeded += 1;
            }
        }
        day = period.to;
    }
    found
}

/// By how much the times of a policy's jobs are later than written.
fn shift(records: &Records, named: &BTreeSet<(String, Timestamp)>, of: &str, late: Duration) -> Duration {
    if late.is_zero() {
        return Duration::ZERO;
    }
    let first = records.keys().find(|(job, _)| job == of).expect("one");
    let before = named.range(..=first.clone()).next_back().expect("its time");
    let shift = first.1.since(before.1);
    assert!(before.0 == of && shift <= late, "{first:?} {before:?}");
    shift
}

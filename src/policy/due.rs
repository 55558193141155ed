//! What a tick of the clock has to do: which occurrence runs now, and what is recorded of the rest.
//!
//! Every occurrence that passed gets exactly one record, whatever the machine did meanwhile:
//! slept, was off, or had its clock set back. At most one run comes out of a decision, never a
//! burst. Pure: the caller writes the records before it starts the run, so that a crash between
//! the two loses a run but never doubles one; an interrupted run is the caller's to re-queue.

use std::collections::BTreeSet;
use std::time::Duration;

use super::model::CatchUp;
use super::schedule::{Occurrence, Schedule};
use super::window::Windows;
use crate::base::clock::Timestamp;

/// A scheduler ticks at least every 30 s; what is older than four ticks was missed, not late.
pub const ON_TIME_SECONDS: u64 = 120;
/// Occurrences looked at in one decision; the rest follows in the next.
pub const OCCURRENCES_MAX: usize = 10_000;

/// One kind of work and when it is due. Kinds are ordered by strength: a full backup does the
/// work of a differential, that of an incremental.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a, K> {
    /// What runs.
    pub kind: K,
    /// When.
    pub schedule: &'a Schedule,
}

/// The newest run of this policy, still going or over.
#[derive(Clone, Copy, Debug)]
pub struct LastRun<K> {
    /// What it does or did.
    pub kind: K,
    /// When it started.
    pub started: Timestamp,
    /// When it ended; `None` while it goes on.
    pub ended: Option<Timestamp>,
}

/// What is known when the decision is made.
#[derive(Clone, Debug)]
pub struct Facts<'a, K: Ord> {
    /// The wall clock.
    pub now: Timestamp,
    /// Nothing at or before this moment is looked at: when the schedule was first seen, or any
    /// later moment up to which every occurrence has its record.
    pub since: Timestamp,
    /// The keys of recorded occurrences after `since`.
    pub recorded: &'a BTreeSet<(K, Timestamp)>,
    /// The newest run.
    pub last_run: Option<LastRun<K>>,
    /// What to do about occurrences that passed while nobody looked.
    pub catch_up: CatchUp,
    /// When the schedules became what they are. Nothing runs for a time before that: a changed
    /// configuration starts nothing.
    pub changed_at: Timestamp,
    /// Times in which nothing starts.
    pub blackout: Option<&'a Windows>,
}

/// Why an occurrence didn't run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Its time passed while nothing could run it.
    Missed,
    /// A run of the same policy was going on.
    SkippedOverlap,
    /// The stronger run that starts now does its work.
    SkippedCovered,
    /// Its time lay in a blackout that lasts too long to wait for its end.
    SkippedBlackout,
    /// Its time passed before the schedule was as it is.
    MissedBeforeChange,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Missed,
        Self::SkippedOverlap,
        Self::SkippedCovered,
        Self::SkippedBlackout,
        Self::MissedBeforeChange,
    ];
}

/// What to do at this tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<K> {
    /// The occurrence to record as queued, and to run.
    pub run_now: Option<(K, Occurrence)>,
    /// Occurrences to record as not run, oldest first.
    pub not_run: Vec<(K, Occurrence, Outcome)>,
    /// An occurrence that waits, unrecorded: for the run that goes on and is weaker, or for the
    /// blackout's end.
    pub waiting: Option<(K, Occurrence)>,
    /// More occurrences passed than one decision takes: decide again at once.
    pub more: bool,
}

/// Decides. See the module's head for what holds.
pub fn decide<K: Copy + Ord>(lines: &[Line<'_, K>], facts: &Facts<'_, K>) -> Decision<K> {
    let (pending, more) = pending(lines, facts);
    let going_on = facts.last_run.filter(|run| run.ended.is_none());
    let mut decision = Decision { run_now: None, not_run: Vec::new(), waiting: None, more };
    // With occurrences still unseen, the newest seen isn't the newest: record first, run next time.
    let newest_of = |kind: K| pending.iter().rfind(|(k, _)| *k == kind).map(|(_, o)| o.at);
    let eligible = |(kind, occurrence): &&(K, Occurrence)| {
        !more
            && newest_of(*kind) == Some(occurrence.at)
            && occurrence.at > facts.changed_at
            && going_on.is_none_or(|run| *kind > run.kind)
            && (facts.catch_up == CatchUp::Once || on_time(occurrence.at, facts))
    };
    let chosen = pending.iter().filter(eligible).max_by_key(|(kind, _)| *kind).cloned();
    for (kind, occurrence) in &pending {
        let chosen_kind = chosen.as_ref().map(|(kind, _)| *kind);
        if chosen_kind == Some(*kind) && newest_of(*kind) == Some(occurrence.at) {
            continue;
        }
        let overlaps = going_on.is_some_and(|run| occurrence.at >= run.started);
        let covered = chosen_kind.is_some_and(|c| c > *kind) && newest_of(*kind) == Some(occurrence.at);
        let outcome = match (overlaps, covered) {
            _ if occurrence.at <= facts.changed_at => Outcome::MissedBeforeChange,
            (true, _) => Outcome::SkippedOverlap,
            (false, true) => Outcome::SkippedCovered,
            (false, false) => Outcome::Missed,
        };
        decision.not_run.push((*kind, occurrence.clone(), outcome));
    }
    match (chosen, facts.blackout.filter(|blackout| blackout.hold(facts.now))) {
        (chosen, _) if going_on.is_some() => decision.waiting = chosen,
        (chosen, None) => decision.run_now = chosen,
        (None, _) => {}
        (Some((kind, occurrence)), Some(blackout)) => {
            let deadline = deadline(lines, kind, occurrence.at);
            if blackout.end(facts.now).is_some_and(|end| end <= deadline) {
                decision.waiting = Some((kind, occurrence));
            } else {
                decision.not_run.push((kind, occurrence, Outcome::SkippedBlackout));
            }
        }
    }
    decision
}

/// An occurrence waits for a blackout's end at most half the time to the next one that does its work.
fn deadline<K: Copy + Ord>(lines: &[Line<'_, K>], kind: K, at: Timestamp) -> Timestamp {
    let alike = lines.iter().filter(|line| line.kind >= kind);
    let next = alike.filter_map(|line| line.schedule.next(at)).map(|next| next.at).min();
    next.map_or(at, |next| at.plus(next.since(at) / 2))
}

/// What passed and has no record, oldest first, and whether there is more.
fn pending<K: Copy + Ord>(lines: &[Line<'_, K>], facts: &Facts<'_, K>) -> (Vec<(K, Occurrence)>, bool) {
    let mut pending = Vec::new();
    for line in lines {
        let unseen = line
            .schedule
            .occurrences(facts.since, facts.now)
            .filter(|o| !facts.recorded.contains(&(line.kind, o.at)))
            .take(OCCURRENCES_MAX + 1);
        pending.extend(unseen.map(|o| (line.kind, o)));
    }
    pending.sort_by_key(|(kind, occurrence)| (occurrence.at, *kind));
    let more = pending.len() > OCCURRENCES_MAX;
    pending.truncate(OCCURRENCES_MAX);
    (pending, more)
}

/// Whether a tick could not have come sooner: it is recent, or a run was in its way until just now.
fn on_time<K>(at: Timestamp, facts: &Facts<'_, K>) -> bool
where
    K: Ord,
{
    let grace = Duration::from_secs(ON_TIME_SECONDS);
    let recent = |moment: Timestamp| facts.now.since(moment) <= grace;
    let in_the_way =
        facts.last_run.as_ref().is_some_and(|run| at >= run.started && run.ended.is_none_or(recent));
    let blacked_out = || facts.blackout.filter(|b| b.hold(at)).and_then(|b| b.end(at)).is_some_and(recent);
    recent(at) || in_the_way || blacked_out()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;
    use proptest::prelude::{Strategy, any, proptest};

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Kind {
        Incremental,
        Full,
    }

    struct Timeline {
        hourly: Schedule,
        daily: Schedule,
        since: Timestamp,
        recorded: BTreeSet<(Kind, Timestamp)>,
        last_run: Option<LastRun<Kind>>,
        catch_up: CatchUp,
        changed_at: Timestamp,
        blackout: Option<Windows>,
    }

    impl Timeline {
        fn new(since: &str, catch_up: CatchUp) -> Self {
            let parse = |spec| Schedule::parse(spec, Tz::Europe__Berlin).unwrap();
            Self {
                hourly: parse("hourly"),
                daily: parse("daily 01:00"),
                since: at(since),
                recorded: BTreeSet::new(),
                last_run: None,
                catch_up,
                changed_at: at(since),
                blackout: None,
            }
        }

        /// Decides and records as the daemon would; a run that starts goes on until ended.
        fn tick(&mut self, now: Timestamp) -> Decision<Kind> {
            let lines = [
                Line { kind: Kind::Incremental, schedule: &self.hourly },
                Line { kind: Kind::Full, schedule: &self.daily },
            ];
            let facts = Facts {
                now,
                since: self.since,
                recorded: &self.recorded,
                last_run: self.last_run,
                catch_up: self.catch_up,
                changed_at: self.changed_at,
                blackout: self.blackout.as_ref(),
            };
            let decision = decide(&lines, &facts);
            for (kind, occurrence, _) in &decision.not_run {
                assert!(
                    self.recorded.insert((*kind, occurrence.at)),
                    "recorded twice: {kind:?} {occurrence:?}"
                );
            }
            if let Some((kind, occurrence)) = &decision.run_now {
                assert!(self.recorded.insert((*kind, occurrence.at)), "run twice: {kind:?} {occurrence:?}");
                self.last_run = Some(LastRun { kind: *kind, started: now, ended: None });
            }
            decision
        }

        fn end(&mut self, now: Timestamp) {
            if let Some(run) = &mut self.last_run {
                run.ended = run.ended.or(Some(now));
            }
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn run(decision: &Decision<Kind>) -> Option<(Kind, String)> {
        decision.run_now.as_ref().map(|(kind, o)| (*kind, o.local[11..16].to_owned()))
    }

    fn outcomes(decision: &Decision<Kind>) -> Vec<(Kind, String, Outcome)> {
        decision.not_run.iter().map(|(k, o, why)| (*k, o.local[11..16].to_owned(), *why)).collect()
    }

    #[test]
    fn a_first_start_owes_nothing() {
        let mut line = Timeline::new("2026-06-01T10:20:00Z", CatchUp::Once);
        let decision = line.tick(at("2026-06-01T10:20:00Z"));
        assert_eq!(decision, Decision { run_now: None, not_run: vec![], waiting: None, more: false });
        assert_eq!(
            run(&line.tick(at("2026-06-01T11:00:10Z"))),
            Some((Kind::Incremental, "13:00".to_owned()))
        );
    }

    #[test]
    fn after_a_night_off_one_full_runs_and_everything_else_is_recorded() {
        let mut line = Timeline::new("2026-06-01T20:30:00Z", CatchUp::Once);
        let decision = line.tick(at("2026-06-02T01:30:00Z"));
        assert_eq!(run(&decision), Some((Kind::Full, "01:00".to_owned())));
        let missed = |t: &str| (Kind::Incremental, t.to_owned(), Outcome::Missed);
        let covered = (Kind::Incremental, "03:00".to_owned(), Outcome::SkippedCovered);
        assert_eq!(
            outcomes(&decision),
            [missed("23:00"), missed("00:00"), missed("01:00"), missed("02:00"), covered]
        );
        line.end(at("2026-06-02T01:40:00Z"));
        assert_eq!(run(&line.tick(at("2026-06-02T01:40:30Z"))), None);
    }

    #[test]
    fn skip_runs_nothing_late_but_records_it() {
        let mut line = Timeline::new("2026-06-01T20:30:00Z", CatchUp::Skip);
        let decision = line.tick(at("2026-06-02T01:30:00Z"));
        assert_eq!(decision.run_now, None);
        assert_eq!(decision.not_run.len(), 6);
        assert!(decision.not_run.iter().all(|(_, _, why)| *why == Outcome::Missed));
        assert_eq!(
            run(&line.tick(at("2026-06-02T02:01:00Z"))),
            Some((Kind::Incremental, "04:00".to_owned()))
        );
    }

    #[test]
    fn an_incremental_due_during_a_run_is_skipped_and_a_full_waits() {
        for catch_up in [CatchUp::Once, CatchUp::Skip] {
            let mut line = Timeline::new("2026-06-01T20:30:00Z", catch_up);
            assert_eq!(
                run(&line.tick(at("2026-06-01T21:00:05Z"))),
                Some((Kind::Incremental, "23:00".to_owned()))
            );
            let during = line.tick(at("2026-06-01T22:00:05Z"));
            assert_eq!(outcomes(&during), [(Kind::Incremental, "00:00".to_owned(), Outcome::SkippedOverlap)]);
            let full_due = line.tick(at("2026-06-01T23:00:05Z"));
            assert_eq!(full_due.waiting.map(|(kind, _)| kind), Some(Kind::Full));
            assert_eq!(full_due.run_now, None);
            line.end(at("2026-06-01T23:30:00Z"));
            assert_eq!(run(&line.tick(at("2026-06-01T23:30:20Z"))), Some((Kind::Full, "01:00".to_owned())));
        }
    }

    #[test]
    fn a_changed_schedule_runs_nothing_for_the_time_before() {
        let mut line = Timeline::new("2026-06-01T10:20:00Z", CatchUp::Once);
        line.changed_at = at("2026-06-02T01:20:00Z");
        let decision = line.tick(at("2026-06-02T01:30:00Z"));
        assert_eq!(decision.run_now, None);
        assert_eq!(decision.not_run.len(), 16, "15 hours and a day");
        assert!(decision.not_run.iter().all(|(_, _, why)| *why == Outcome::MissedBeforeChange));
        assert_eq!(
            run(&line.tick(at("2026-06-02T02:00:10Z"))),
            Some((Kind::Incremental, "04:00".to_owned()))
        );
    }

    #[test]
    fn a_blackout_delays_for_half_an_interval_and_no_longer() {
        for catch_up in [CatchUp::Once, CatchUp::Skip] {
            let mut line = Timeline::new("2026-06-02T06:30:00Z", catch_up);
            let blackout = Windows::parse(["mon-fri 09:00-11:30"], Tz::Europe__Berlin);
            line.blackout = blackout.expect("a window");
            let skipped = |t: &str| (Kind::Incremental, t.to_owned(), Outcome::SkippedBlackout);
            // 09:00 in Berlin: the end is two and a half hours away.
            assert_eq!(outcomes(&line.tick(at("2026-06-02T07:00:05Z"))), [skipped("09:00")]);
            assert_eq!(outcomes(&line.tick(at("2026-06-02T08:00:05Z"))), [skipped("10:00")]);
            let late = line.tick(at("2026-06-02T09:00:05Z"));
            assert_eq!((late.run_now.clone(), late.not_run.len()), (None, 0));
            assert!(late.waiting.is_some());
            assert!(line.tick(at("2026-06-02T09:29:59Z")).waiting.is_some());
            let after = line.tick(at("2026-06-02T09:30:15Z"));
            assert_eq!(run(&after), Some((Kind::Incremental, "11:00".to_owned())));
        }
    }

    #[test]
    fn a_full_waits_longer_for_a_blackout_than_an_hourly_run() {
        let mut line = Timeline::new("2026-06-01T22:30:00Z", CatchUp::Once);
        line.blackout = Windows::parse(["00:45-05:30"], Tz::Europe__Berlin).expect("a window");
        let early = line.tick(at("2026-06-01T23:00:05Z"));
        assert_eq!(early.waiting.map(|(kind, _)| kind), Some(Kind::Full));
        let covered = (Kind::Incremental, "01:00".to_owned(), Outcome::SkippedCovered);
        assert_eq!(outcomes(&line.tick(at("2026-06-01T23:00:25Z"))), []);
        assert_eq!(
            early.not_run.first().map(|(k, o, why)| (*k, o.local[11..16].to_owned(), *why)),
            Some(covered)
        );
        assert_eq!(run(&line.tick(at("2026-06-02T03:30:10Z"))), Some((Kind::Full, "01:00".to_owned())));
    }

    #[test]
    fn a_clock_set_back_runs_nothing_twice() {
        let mut line = Timeline::new("2026-06-01T10:20:00Z", CatchUp::Once);
        assert!(line.tick(at("2026-06-01T11:00:05Z")).run_now.is_some());
        line.end(at("2026-06-01T11:01:00Z"));
        assert_eq!(run(&line.tick(at("2026-06-01T10:59:00Z"))), None);
        assert_eq!(run(&line.tick(at("2026-06-01T11:00:30Z"))), None);
        assert_eq!(
            run(&line.tick(at("2026-06-01T12:00:00Z"))),
            Some((Kind::Incremental, "14:00".to_owned()))
        );
    }

    #[test]
    fn years_of_absence_are_recorded_in_bounded_steps() {
        let mut line = Timeline::new("2024-01-01T00:00:00Z", CatchUp::Once);
        let now = at("2026-01-01T00:30:00Z");
        let mut decisions = Vec::new();
        while decisions.len() < 10 && decisions.last().is_none_or(|d: &Decision<Kind>| d.more) {
            decisions.push(line.tick(now));
        }
        assert_eq!(decisions.len(), 2);
        assert_eq!(decisions[0].not_run.len(), OCCURRENCES_MAX);
        assert_eq!(decisions.iter().filter(|d| d.run_now.is_some()).count(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Tick,
        Off(u64),
        EndRun,
        ClockBack(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (any::<u8>(), 1u64..50_000).prop_map(|(what, seconds)| match what % 8 {
            0 => Step::Off(seconds),
            1 => Step::EndRun,
            2 => Step::ClockBack(seconds / 10),
            _ => Step::Tick,
        });
        proptest::collection::vec(step, 1..40)
    }

    proptest! {
        #[test]
        fn every_passed_occurrence_has_exactly_one_record_and_no_tick_bursts(
            steps in steps(), skip in any::<bool>()
        ) {
            let catch_up = if skip { CatchUp::Skip } else { CatchUp::Once };
            let mut line = Timeline::new("2026-10-24T20:30:00Z", catch_up);
            let mut now = line.since;
            let mut seen_until = now;
            for step in steps {
                match step {
                    Step::Tick => now = now.plus(Duration::from_secs(30)),
                    Step::Off(seconds) => now = now.plus(Duration::from_secs(seconds)),
                    Step::EndRun => line.end(now),
                    Step::ClockBack(seconds) => now = now.minus(Duration::from_secs(seconds)),
                }
                // `tick` itself fails on a second record or a second run of one occurrence.
                let decision = line.tick(now);
                seen_until = seen_until.max(now);
                let waiting = decision.waiting.map(|(kind, o)| (kind, o.at));
                for (kind, schedule) in [(Kind::Incremental, &line.hourly), (Kind::Full, &line.daily)] {
                    for occurrence in schedule.occurrences(line.since, seen_until) {
                        let key = (kind, occurrence.at);
                        let waits = waiting == Some(key) || (occurrence.at > now && kind == Kind::Full);
                        assert!(line.recorded.contains(&key) || waits, "no record of {kind:?} {occurrence:?}");
                    }
                }
            }
            assert!(line.recorded.iter().all(|(_, at)| *at > line.since && *at <= seen_until));
        }
    }
}

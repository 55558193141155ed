//! The promises of the retention rules.

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

fn now() -> Timestamp {
    at("2026-11-25T12:00:00Z")
}

fn before(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(now().unix_ms() - ms)
}

fn set(host: &str) -> Set {
    Set { host: host.to_owned(), policy: None, roots: vec![b"/data".to_vec()] }
}

/// A good snapshot; its id and its signer are made of numbers.
fn snapshot(id: u16, signer: u8, number: u64, captured_at: Timestamp) -> Candidate {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    Candidate {
        id: ObjectHash::new(bytes),
        set: set("web"),
        signer: WriterId::new([signer; 16]),
        signed: true,
        number,
        captured_at,
        ended_at: captured_at,
        is_checkpoint: false,
        is_full: false,
        is_whole: true,
        tags: Vec::new(),
        places: vec![0],
    }
}

/// One a day, the last one an hour ago, with ids and numbers 1, 2, ...
fn days(count: u16, signer: u8) -> Vec<Candidate> {
    let ago = |at: u16| before(HOUR + i64::from(count - at) * DAY);
    (1..=count).map(|at| snapshot(at + u16::from(signer) * 1000, signer, u64::from(at), ago(at))).collect()
}

fn run(rules: &Rules, snapshots: &[Candidate]) -> Plan {
    plan(now(), chrono_tz::UTC, rules, snapshots)
}

fn kept(plan: &Plan) -> Vec<u16> {
    let number = |id: &ObjectHash| u16::from_be_bytes([id.as_bytes()[0], id.as_bytes()[1]]);
    plan.decisions.iter().filter(|decision| decision.keep).map(|decision| number(&decision.id)).collect()
}

fn daily(daily: u32) -> Rules {
    Rules { daily, ..Rules::default() }
}

fn last(last: u32) -> Rules {
    Rules { last, ..Rules::default() }
}

#[test]
fn each_rule_keeps_what_it_says_and_gives_its_reason() {
    let all = days(60, 0);
    assert_eq!(kept(&run(&last(3), &all)), [58, 59, 60]);
    assert_eq!(kept(&run(&daily(2), &all)), [59, 60]);
    let within = Rules { within: Some(Duration::from_hours(49)), ..Rules::default() };
    assert_eq!(kept(&run(&within, &all)), [58, 59, 60]);
    // 25 November 2026 is a Wednesday: the Sundays before are 22 and 15 November.
    assert_eq!(kept(&run(&Rules { weekly: 3, ..Rules::default() }, &all)), [50, 57, 60]);
    let monthly = run(&Rules { monthly: 2, ..Rules::default() }, &all);
    assert_eq!(kept(&monthly), [35, 60]);
    assert_eq!(monthly.decisions[34].reasons, [Reason::Slot("monthly", "2026-10".to_owned())]);
    assert_eq!(monthly.decisions[33].reasons, [Reason::NoRule]);
    assert_eq!(kept(&run(&Rules { yearly: 9, ..Rules::default() }, &all)), [60]);
    assert_eq!(kept(&run(&Rules { min_keep: 4, ..daily(1) }, &all)), [57, 58, 59, 60]);
    let mut tagged = all;
    tagged[4].tags = vec!["audit".to_owned()];
    let tag = Rules { tags: BTreeSet::from(["audit".to_owned()]), ..last(1) };
    assert_eq!(kept(&run(&tag, &tagged)), [5, 60]);
}

#[test]
fn a_slot_keeps_its_last_full_and_else_its_last() {
    let mut all: Vec<Candidate> =
        (1..=4).map(|n| snapshot(n, 0, u64::from(n), before(DAY - i64::from(n) * HOUR))).collect();
    assert_eq!(kept(&run(&daily(2), &all)), [4]);
    all[1].is_full = true;
    let plan = run(&daily(1), &all);
    assert_eq!(kept(&plan), [2, 4], "the full stands for the day, and the newest always stays");
    assert_eq!(plan.decisions[3].reasons, [Reason::Newest]);
}

#[test]
fn the_calendar_is_that_of_the_zone() {
    let berlin: Tz = "Europe/Berlin".parse().expect("a zone");
    let rules = Rules { hourly: 9, ..Rules::default() };
    // The hour from 02:00 comes twice on 25 October 2026: four slots in four hours.
    let autumn =
        ["00:10", "00:40", "01:10", "01:40", "02:10"].map(|time| at(&format!("2026-10-25T{time}:00Z")));
    let all: Vec<Candidate> = (1..).zip(autumn).map(|(n, at)| snapshot(n, 0, u64::from(n), at)).collect();
    assert_eq!(kept(&plan(now(), berlin, &rules, &all)), [2, 4, 5]);
    // In spring there is no hour from 02:00.
    let spring = ["00:30", "01:10", "01:40"].map(|time| at(&format!("2026-03-29T{time}:00Z")));
    let all: Vec<Candidate> = (1..).zip(spring).map(|(n, at)| snapshot(n, 0, u64::from(n), at)).collect();
    assert_eq!(kept(&plan(now(), berlin, &rules, &all)), [1, 3]);
    // 23:30 UTC is tomorrow in Berlin; a leap day is a day.
    let leap =
        ["2024-02-28T22:30:00Z", "2024-02-28T23:30:00Z", "2024-02-29T22:30:00Z", "2024-02-29T23:30:00Z"];
    let all: Vec<Candidate> =
        (1..).zip(leap).map(|(n, text)| snapshot(n, 0, u64::from(n), at(text))).collect();
    assert_eq!(kept(&plan(now(), berlin, &daily(9), &all)), [1, 3, 4]);
    assert_eq!(kept(&plan(now(), chrono_tz::UTC, &daily(9), &all)), [2, 4]);
}

#[test]
fn snapshots_of_another_signer_push_none_out() {
    let good = days(10, 0);
    let mut garbage: Vec<Candidate> =
        (0..50).map(|n| snapshot(5000 + n, 7, u64::from(n) + 1, before(i64::from(n) * 1000))).collect();
    for rules in [last(3), daily(3)] {
        let alone = kept(&run(&rules, &good));
        let together = kept(&run(&rules, &[good.clone(), garbage.clone()].concat()));
        assert!(alone.iter().all(|id| together.contains(id)), "{rules:?}: {alone:?} {together:?}");
    }
    // Under the right name, without its key.
    garbage.iter_mut().for_each(|s| (s.signer, s.signed) = (good[0].signer, false));
    let together = run(&last(3), &[good, garbage].concat());
    assert!([8, 9, 10].iter().all(|id| kept(&together).contains(id)));
    assert!(kept(&together).contains(&5049), "and no rule removes what nobody vouches for");
}

#[test]
fn many_of_one_slot_push_no_other_slot_out() {
    let mut all = days(10, 0);
    all.extend((0..50u16).map(|n| snapshot(500 + n, 0, u64::from(n) + 11, before(i64::from(n)))));
    let stay = kept(&run(&daily(3), &all));
    assert!([8, 9].iter().all(|id| stay.contains(id)), "{stay:?}");
    let within = Rules { within: Some(Duration::from_hours(72)), ..last(1) };
    assert!(
        [8, 9, 10].iter().all(|id| kept(&run(&within, &all)).contains(id)),
        "within keeps, whatever comes"
    );
}

#[test]
fn what_lies_in_the_future_counts_for_nothing_and_stays() {
    let mut all = days(5, 0);
    all.extend((0..9u16).map(|n| snapshot(600 + n, 0, u64::from(n) + 6, before(-DAY * i64::from(n + 1)))));
    let plan = run(&last(2), &all);
    assert_eq!(kept(&plan), [vec![4, 5], (600..609).collect()].concat());
    assert_eq!(plan.decisions[5].reasons, [Reason::Future]);
}

#[test]
fn a_doubtful_clock_counts_for_nothing_and_stays() {
    let mut all = days(5, 0);
    // A battery ran out: number 6 says 1970. Number 7 claims a run of three weeks.
    all.push(snapshot(6, 0, 6, at("1970-01-02T00:00:00Z")));
    let long = Candidate { ended_at: before(0), ..snapshot(7, 0, 7, before(21 * DAY)) };
    all.push(long);
    let plan = run(&last(2), &all);
    assert_eq!(kept(&plan), [6, 7, 4, 5]);
    assert_eq!(plan.decisions[0].reasons, [Reason::ClockSuspect]);
    assert_eq!(plan.decisions[1].reasons, [Reason::ClockSuspect]);
}

#[test]
fn one_that_lacks_something_displaces_none_that_lacks_nothing() {
    let mut all = days(10, 0);
    all[5..].iter_mut().for_each(|s| s.is_whole = false);
    assert_eq!(kept(&run(&daily(2), &all)), [4, 5, 9, 10]);
}

#[test]
fn the_newest_stays_at_every_place() {
    let mut all = days(10, 0);
    all[8..].iter_mut().for_each(|s| s.places = vec![1]);
    all[..8].iter_mut().for_each(|s| s.places = vec![0, 1]);
    assert_eq!(kept(&run(&last(1), &all)), [8, 10]);
}

#[test]
fn sets_are_counted_apart() {
    let mut all = days(6, 0);
    all[..3].iter_mut().for_each(|s| s.set = set("db"));
    assert_eq!(kept(&run(&last(1), &all)), [3, 6]);
}

#[test]
fn a_checkpoint_goes_when_its_run_went_on_or_it_is_old() {
    let mut all = days(3, 0);
    let point = |id: u16, number: u64, at: Timestamp| Candidate {
        is_checkpoint: true,
        ..snapshot(id, 0, number, at)
    };
    all.push(point(10, 2, before(26 * HOUR)));
    all.push(point(11, 4, before(HOUR / 2)));
    all.push(Candidate { set: set("db"), ..point(12, 5, before(15 * DAY)) });
    let plan = run(&last(9), &all);
    assert_eq!(kept(&plan), [1, 2, 3, 11]);
    let reason = |id: u16| {
        let id = snapshot(id, 0, 0, now()).id;
        plan.decisions.iter().find(|decision| decision.id == id).map(|decision| decision.reasons.clone())
    };
    assert_eq!(reason(10), Some(vec![Reason::CheckpointPassed]));
    assert_eq!(reason(11), Some(vec![Reason::Resumable]));
    assert_eq!(reason(12), Some(vec![Reason::CheckpointOld]));
    // What is at one place only lets nothing go at another.
    all[2].places = vec![1];
    assert!(kept(&run(&last(9), &all)).contains(&10));
}

#[test]
fn more_than_half_of_a_set_is_told() {
    assert_eq!(run(&last(5), &days(10, 0)).halved, []);
    assert_eq!(run(&last(4), &days(10, 0)).halved, [set("web")]);
}

#[test]
fn a_clock_far_from_the_newest_does_not_fit() {
    assert!(clock_fits(now(), before(-HOUR)) && clock_fits(now(), before(400 * DAY)));
    assert!(!clock_fits(now(), before(-HOUR - 1)) && !clock_fits(now(), before(400 * DAY + 1)));
}

/// Signer, hours ago, number, flags, place, hours it lasted.
type Drawn = (u8, i64, u64, [bool; 4], usize, i64);

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0..3u8, 0..400i64, 0..40u64, any::<[bool; 4]>(), 0..3usize, 0..3i64);
    proptest::collection::vec(one, 0..40).prop_map(|rows| {
        let build = |(id, row): (u16, Drawn)| {
            let (signer, hours, number, [full, whole, odd, host], place, lasted) = row;
            let captured_at = before((hours - 20) * HOUR);
            Candidate {
                ended_at: captured_at.plus(Duration::from_hours(lasted.unsigned_abs())),
                is_full: full,
                is_whole: whole,
                signed: odd || signer != 2,
                is_checkpoint: odd && signer == 1,
                set: set(if host { "web" } else { "db" }),
                places: if place == 2 { vec![0, 1] } else { vec![place] },
                ..snapshot(id, signer, number, captured_at)
            }
        };
        (0..).zip(rows).map(build).collect()
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    (0..4u32, 0..4u32, 0..4u32, 0..3u32, 0..3u32, 0..3u32, proptest::option::of(0..100u64), 0..4u32).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, within, min_keep)| Rules {
            holds: Vec::new(),
            last,
            within: within.map(Duration::from_hours),
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            min_keep,
            tags: BTreeSet::new(),
        },
    )
}

proptest! {
    #[test]
    fn the_order_of_the_snapshots_changes_nothing(all in candidates(), rules in rules(), turn in 0..40usize) {
        let mut turned = all.clone();
        turned.reverse();
        turned.rotate_left(turn.min(all.len()));
        prop_assert_eq!(run(&rules, &all), run(&rules, &turned));
    }

    #[test]
    fn no_set_is_emptied_at_any_place(all in candidates(), rules in rules()) {
        let stay = kept(&run(&rules, &all));
        for point in all.iter().filter(|s| !s.is_checkpoint) {
            let is_kept = |other: &&Candidate| stay.contains(&u16::from_be_bytes([other.id.as_bytes()[0], other.id.as_bytes()[1]]));
            for place in &point.places {
                let rest = all.iter().filter(is_kept);
                let mut rest = rest.filter(|s| !s.is_checkpoint && s.set == point.set && s.places.contains(place));
                prop_assert!(rest.next().is_some());
            }
        }
    }

    #[test]
    fn what_is_added_removes_only_older_ones_of_its_lane(all in candidates(), rules in rules()) {
        let Some((added, fewer)) = all.split_last() else { return Ok(()) };
        let (without, with) = (run(&rules, fewer), run(&rules, &all));
        let stay: HashSet<ObjectHash> =
            with.decisions.iter().filter(|decision| decision.keep).map(|decision| decision.id).collect();
        for decision in without.decisions.iter().filter(|decision| decision.keep && !stay.contains(&decision.id)) {
            let gone = fewer.iter().find(|s| s.id == decision.id).expect("it is one of them");
            prop_assert!(added.set == gone.set, "{added:?} {gone:?}");
            if gone.is_checkpoint {
                prop_assert!(added.signer == gone.signer && added.number > gone.number);
            } else {
                // The newest of all signers is kept for being that alone, and another may be it now.
                let was_newest_only = decision.reasons == [Reason::Newest];
                let same_lane = (added.signer, added.is_whole) == (gone.signer, gone.is_whole) && added.signed;
                prop_assert!(same_lane || was_newest_only, "{added:?} {gone:?}");
                prop_assert!(added.captured_at <= now() || was_newest_only);
                prop_assert!(added.captured_at >= gone.captured_at || added.is_full, "{added:?} {gone:?}");
            }
        }
    }
}

#[test]
fn what_is_held_stays_whatever_the_rules_say() {
    let all = days(20, 0);
    let held = all[3].clone();
    let day = |n: usize| all[n].captured_at;
    let hold = |what| Hold { written: "for the court".to_owned(), what };
    let rules = Rules {
        holds: vec![hold(Held::Id(held.id.to_hex()[..8].to_owned())), hold(Held::Between(day(7), day(9)))],
        ..last(1)
    };
    let plan = run(&rules, &all);
    let kept: Vec<_> = plan.decisions.iter().filter(|decision| decision.keep).map(|d| d.id).collect();
    assert_eq!(kept, [held.id, all[7].id, all[8].id, all[19].id]);
    let reasons = &plan.decisions.iter().find(|d| d.id == held.id).expect("there").reasons;
    assert_eq!(reasons[0].to_string(), "legal hold for the court");
}

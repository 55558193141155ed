//! Kill, error, panic and delay at every named step of a backup, a sync, a forget, a prune and a
//! repair. A panic has to end the work as a failure, and no act may make it hang.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::loops::{ground_of, mixed};
use super::points::{Act, Plan, Points, Side};
use super::works::{Clean, Ground, Promise, Work};
use crate::engine::prune::{PruneRequest, prune};
use crate::storage::contract::Storage;
use crate::storage::sim::{Machine, Medium, SimPlace};

/// A work that takes longer hangs: the slowest takes a second.
const HANGS_AFTER: Duration = Duration::from_mins(1);

fn stand(machine: &Arc<Machine>, ground: &Ground) -> Vec<Arc<SimPlace>> {
    ground.places.iter().map(|objects| machine.place(objects.iter().cloned())).collect()
}

fn pointed(points: &Arc<Points>, places: &[Arc<SimPlace>]) -> Vec<Arc<dyn Storage>> {
    places.iter().enumerate().map(|(number, place)| points.at(number, Arc::clone(place))).collect()
}

fn machine(ground: &Ground, seed: u64) -> Arc<Machine> {
    Machine::new(seed, Medium::Disk, ground.stage.clock.clone())
}

/// Each step of a work, and how often it comes.
fn steps(ground: &Ground, work: Work) -> Vec<(String, u64)> {
    let machine = machine(ground, 0);
    let points = Points::watching();
    let places = pointed(&points, &stand(&machine, ground));
    ground.carry_out(work, &places).unwrap_or_else(|error| panic!("{work:?} without a fault: {error}"));
    points.seen().into_iter().collect()
}

/// Aborts the whole run with a word when it is not dropped in time: the work hangs.
fn watchdog(what: String) -> Sender<()> {
    let (alive, ended) = bounded::<()>(0);
    std::thread::spawn(move || {
        if ended.recv_timeout(HANGS_AFTER) == Err(RecvTimeoutError::Timeout) {
            eprintln!("it hangs: {what}");
            std::process::abort();
        }
    });
    alive
}

/// One step, one act: what must hold at once, and after going on.
fn play(ground: &Ground, work: Work, plan: &Plan, seed: u64) -> Result<bool, String> {
    let machine = machine(ground, seed);
    let places = stand(&machine, ground);
    let plain: Vec<Arc<dyn Storage>> = places.iter().map(|place| Arc::clone(place) as _).collect();
    let others = ground.stage.repository.with_targets(Ground::targets(&plain));
    let cx = ground.cx();
    let meanwhile = Box::new(move || {
        // Whoever is held up finds that others went on: a prune that waits for nobody.
        let request = PruneRequest {
            grace: Duration::ZERO,
            accept_more_than_half: true,
            ..PruneRequest::new("other".to_owned())
        };
        drop(prune(&others, &request, &cx));
    });
    let points = Points::planned(plan.clone(), meanwhile);
    let watched = pointed(&points, &places);
    let told = catch_unwind(AssertUnwindSafe(|| ground.carry_out(work, &watched)));
    let has_struck = points.has_struck();
    let mut promises = ground.promises.clone();
    match told {
        Err(_) if plan.act == Act::Panic => {
            promises.retain(|promise| work != Work::Forget || is_kept(promise, ground))
        }
        Err(_) => return Err("a panic".to_owned()),
        Ok(told) => {
            if plan.act == Act::Panic && has_struck && told.is_ok() && work != Work::TwoTargets {
                return Err(format!("a panic was called done: {told:?}"));
            }
            if work == Work::Forget {
                promises.remove(0);
            }
            promises.extend(told.into_iter().flatten());
        }
    }
    if seed & 1 == 1 {
        machine.cut_power();
    }
    machine.start();
    ground
        .hold(&promises, &plain, Clean::WhereNothingWasHurt)
        .map_err(|error| format!("at once: {error}"))?;
    if plan.act == Act::Delay {
        // A sync can't bring what a plan there condemned, before that plan and its tail are over.
        for _ in 0..2 {
            ground.stage.clock.advance(Duration::from_hours(25));
            ground.prune(&plain)?;
        }
    }
    let more = ground.go_on(work, &plain).map_err(|error| format!("it can't go on: {error}"))?;
    promises.extend(more);
    ground.hold(&promises, &plain, Clean::Everywhere).map_err(|error| format!("in the end: {error}"))?;
    Ok(has_struck)
}

/// The first snapshot may be gone when its forget was cut off.
fn is_kept(promise: &Promise, ground: &Ground) -> bool {
    let first = ground.promises.iter().find_map(|promise| match promise {
        Promise::Kept { id, .. } => Some(*id),
        _ => None,
    });
    !matches!(promise, Promise::Kept { id, .. } if Some(*id) == first)
}

/// Both sides of what changes nothing are one to those who look later. An ordinary run tries every
/// step with every act, a long one each on both sides of each occasion.
fn is_tried(step: &str, is_last: bool, act: Act, side: Side, is_long: bool) -> bool {
    let reads = ["read", "look at", "list"].iter().any(|word| step.contains(word));
    match (reads, side) {
        (true, Side::After) => false,
        (false, Side::After) => is_long || is_last && act == Act::Kill,
        (true, Side::Before) => is_long || is_last,
        (false, Side::Before) => is_long || is_last || act == Act::Kill,
    }
}

/// Each step of a work with each act; `named` are the steps without which it is another work.
fn all(work: Work, named: &[&str]) {
    let ground = ground_of(work);
    let steps = steps(&ground, work);
    let came: BTreeSet<&str> = steps.iter().map(|(step, _)| step.as_str()).collect();
    for step in named {
        assert!(came.contains(step), "{work:?} never comes to `{step}`: {came:?}");
    }
    let is_long = std::env::var_os("LIFEBOAT_TORTURE_ROUNDS").is_some();
    let (mut tried, mut struck) = (0u64, 0u64);
    for (step, occasions) in &steps {
        let occasions: BTreeSet<u64> =
            if is_long { (1..=*occasions).collect() } else { [1, *occasions].into() };
        let last = occasions.last().copied().unwrap_or(1);
        for occasion in occasions {
            for act in [Act::Kill, Act::Error, Act::Panic, Act::Delay] {
                for side in [Side::Before, Side::After] {
                    if !is_tried(step, occasion == last, act, side, is_long) {
                        continue;
                    }
                    tried += 1;
                    let plan = Plan { step: step.clone(), occasion, side, act };
                    let _watched = watchdog(format!("{work:?} {plan:?}"));
                    match play(&ground, work, &plan, mixed(0, tried)) {
                        Ok(has_struck) => struck += u64::from(has_struck),
                        Err(error) => panic!("{work:?}, {plan:?}: {error}"),
                    }
                }
            }
        }
    }
    println!("{work:?}: {} steps, {tried} tries, {struck} struck", steps.len());
}

#[test]
fn a_backup_survives_every_act_at_every_named_step() {
    all(
        Work::TwoTargets,
        &[
            "0 put data pack",
            "0 put metadata pack",
            "0 put index run",
            "0 put snapshot",
            "0 put confirmation",
            "0 list plan",
            "0 sync",
            "1 put data pack",
            "1 put confirmation",
            "1 sync",
        ],
    );
}

#[test]
fn a_sync_survives_every_act_at_every_named_step() {
    all(
        Work::Sync,
        &[
            "0 read data pack",
            "1 put format",
            "1 put keys",
            "1 put data pack",
            "1 put metadata pack",
            "1 put index run",
            "1 list plan",
            "1 put snapshot",
            "1 put confirmation",
            "1 sync",
        ],
    );
}

#[test]
fn a_forget_survives_every_act_at_every_named_step() {
    all(Work::Forget, &["0 delete confirmation", "0 delete snapshot", "0 sync"]);
}

#[test]
fn a_prune_survives_every_act_at_every_named_step() {
    all(
        Work::Prune,
        &[
            "0 put plan",
            "0 list plan",
            "0 read data pack",
            "0 put data pack",
            "0 put index run",
            "0 sync",
            "0 delete data pack",
            "0 put done mark",
        ],
    );
}

#[test]
fn a_repair_survives_every_act_at_every_named_step() {
    all(
        Work::Repair,
        &[
            "0 replace data pack",
            "0 replace metadata pack",
            "0 replace index run",
            "0 sync",
            "1 read data pack",
        ],
    );
}

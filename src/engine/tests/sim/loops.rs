//! The loop: each work, each medium, each fault, at each operation.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::works::{Clean, Ground, Promise, Work};
use crate::base::clock::{Clock, SystemClock};
use crate::storage::contract::Storage;
use crate::storage::sim::{Fault, Machine, Medium};

/// States of each test in an ordinary run.
const STATES: u64 = 36;
/// Operations of any work here, at most: a loop without an end is found.
const OPERATIONS_MAX: u64 = 5000;

const MEDIA: [Medium; 3] = [Medium::Disk, Medium::Ordered, Medium::Store];
/// Each fault but the crash.
const FAULTS: [Fault; 9] = [
    Fault::Error,
    Fault::ErrorForGood,
    Fault::Full,
    Fault::Flip,
    Fault::Misdirect,
    Fault::StaleList,
    Fault::LoseAnswer,
    Fault::LatePut,
    Fault::LateDelete,
];

/// One state to try.
#[derive(Clone, Copy, Debug)]
struct Trial {
    medium: Medium,
    fault: Fault,
    at: u64,
    seed: u64,
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A number of its own for each state of a run (SplitMix64's finish).
pub(super) fn mixed(seed: u64, state: u64) -> u64 {
    let mut z = seed ^ state.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Grounds that are drawn before a test gives up.
const DRAWS_MAX: usize = 30;

/// What `work` begins with. Which blobs share a pack is drawn by every repository's own keys: a prune
/// that has nothing to move shows too little, so that its ground is drawn again.
pub(super) fn ground_of(work: Work) -> Ground {
    for _ in 0..DRAWS_MAX {
        let ground = Ground::of(work);
        if work != Work::Prune {
            return ground;
        }
        let machine = Machine::new(0, Medium::Store, ground.stage.clock.clone());
        let places = stand(&machine, &ground);
        ground.carry_out(work, &places).unwrap_or_else(|error| panic!("{work:?} without a fault: {error}"));
        let (deleted, written) = ground.pruned.get();
        if deleted > 1 && written > 0 {
            return ground;
        }
    }
    panic!("{DRAWS_MAX} prunes moved nothing");
}

/// Runs `work` with nothing planned before its end; how many operations it has.
fn operations(ground: &Ground, work: Work) -> u64 {
    let machine = Machine::new(0, Medium::Store, ground.stage.clock.clone());
    let places = stand(&machine, ground);
    machine.plan(u64::MAX, Fault::Crash);
    ground.carry_out(work, &places).unwrap_or_else(|error| panic!("{work:?} without a fault: {error}"));
    if work == Work::Prune {
        let (deleted, written) = ground.pruned.get();
        assert!(deleted > 1 && written > 0, "a prune that deletes {deleted} packs and moves to {written}");
    }
    machine.operations()
}

fn stand(machine: &Arc<Machine>, ground: &Ground) -> Vec<Arc<dyn Storage>> {
    ground.places.iter().map(|objects| machine.place(objects.iter().cloned()) as _).collect()
}

/// Does what may panic, and makes that an error like no other.
fn guarded(
    deed: impl FnOnce() -> Result<Vec<Promise>, String>,
) -> Result<Result<Vec<Promise>, String>, String> {
    catch_unwind(AssertUnwindSafe(deed)).map_err(|_| "a panic".to_owned())
}

/// One state: the fault, the power, a look, going on (sometimes with the power going again), a look.
fn play(ground: &Ground, work: Work, trial: Trial) -> Result<bool, String> {
    let machine = Machine::new(trial.seed, trial.medium, ground.stage.clock.clone());
    let places = stand(&machine, ground);
    machine.plan(trial.at, trial.fault);
    let told = guarded(|| ground.carry_out(work, &places))?;
    let has_struck = machine.has_struck();
    let mut promises = ground.promises.clone();
    if work == Work::Forget && told.is_err() {
        // It may be gone and may be there.
        promises.remove(0);
    }
    match &told {
        Ok(more) => {
            if work == Work::Forget {
                promises.remove(0);
            }
            promises.extend(more.iter().cloned());
            machine.cut_power();
        }
        Err(_) if trial.seed & 2 == 2 => machine.cut_power(),
        Err(_) => {}
    }
    machine.start();
    ground
        .hold(&promises, &places, Clean::WhereNothingWasHurt)
        .map_err(|error| format!("at once (it said {told:?}): {error}"))?;
    if trial.seed & 12 == 12 {
        machine.plan(1 + (trial.seed >> 8) % 60, Fault::Crash);
        if let Ok(more) = guarded(|| ground.go_on(work, &places))? {
            promises.extend(more);
        }
        machine.cut_power();
        machine.start();
        ground
            .hold(&promises, &places, Clean::WhereNothingWasHurt)
            .map_err(|error| format!("after a second crash: {error}"))?;
    }
    let more =
        guarded(|| ground.go_on(work, &places))?.map_err(|error| format!("it can't go on: {error}"))?;
    promises.extend(more);
    machine.cut_power();
    machine.start();
    ground.hold(&promises, &places, Clean::Everywhere).map_err(|error| format!("in the end: {error}"))?;
    Ok(has_struck)
}

/// Tries states spread over all of them: rounds with other draws when there are more than those.
fn all(work: Work, media: &[Medium], faults: &[Fault]) {
    let ground = ground_of(work);
    if let Some(only) = only(media, faults) {
        play(&ground, work, only).unwrap_or_else(|error| panic!("{work:?}, {only:?}: {error}"));
        return;
    }
    let seed = from_environment("LIFEBOAT_SEED", 20_261_125);
    let states = from_environment("LIFEBOAT_SIM_STATES", STATES);
    // One beyond the last: the work passes, and the power goes at once.
    let operations = operations(&ground, work) + 1;
    assert!(operations < OPERATIONS_MAX, "{work:?} has {operations} operations");
    let kinds = media.len() * faults.len();
    let total = operations * u64::try_from(kinds).expect("a few");
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let mut struck = 0;
    for state in 0..states {
        // A step of its own when there are fewer states than all, so that they lie everywhere.
        let place = if states < total { (state * total + mixed(seed, 0) % total) / states } else { state };
        let kind = usize::try_from(place / operations).expect("small") % kinds;
        let trial = Trial {
            medium: media[kind % media.len()],
            fault: faults[kind / media.len()],
            at: place % operations + 1,
            seed: mixed(seed, state),
        };
        match play(&ground, work, trial) {
            Ok(has_struck) => struck += u64::from(has_struck),
            Err(error) => {
                let Trial { medium, fault, at, seed } = trial;
                panic!("{work:?}, {trial:?}, LIFEBOAT_SIM_ONLY={medium:?},{fault:?},{at},{seed}: {error}")
            }
        }
    }
    let seconds = (clock.monotonic() - begun).as_secs_f64();
    let rate = f64::from(u32::try_from(states).unwrap_or(u32::MAX)) / seconds;
    println!(
        "{work:?}: seed {seed}, {operations} operations x {kinds}, {states} states, {struck} struck, {rate:.0}/s"
    );
    assert!(struck * 5 > states, "{work:?}: only {struck} of {states} faults happened");
}

fn only(media: &[Medium], faults: &[Fault]) -> Option<Trial> {
    let text = std::env::var("LIFEBOAT_SIM_ONLY").ok()?;
    let parts: Vec<&str> = text.split(',').collect();
    let [medium, fault, at, seed] = parts[..] else { panic!("`{text}` is no state") };
    Some(Trial {
        medium: *media.iter().find(|known| format!("{known:?}") == medium)?,
        fault: *faults.iter().find(|known| format!("{known:?}") == fault)?,
        at: at.parse().expect("a number"),
        seed: seed.parse().expect("a number"),
    })
}

fn crashes(work: Work) {
    all(work, &MEDIA, &[Fault::Crash]);
}

fn faults(work: Work) {
    all(work, &[Medium::Disk, Medium::Store], &FAULTS);
}

#[test]
fn a_crash_at_any_operation_of_an_init_leaves_none_or_a_whole_one() {
    crashes(Work::Init);
}

#[test]
fn a_crash_at_any_operation_of_a_first_backup_loses_nothing() {
    crashes(Work::First);
}

#[test]
fn a_crash_at_any_operation_of_an_incremental_loses_nothing() {
    crashes(Work::Incremental);
}

#[test]
fn a_crash_at_any_operation_of_a_backup_to_two_places_loses_nothing() {
    crashes(Work::TwoTargets);
}

#[test]
fn a_crash_at_any_operation_of_a_sync_loses_nothing() {
    crashes(Work::Sync);
}

#[test]
fn a_crash_at_any_operation_of_a_forget_loses_nothing_else() {
    crashes(Work::Forget);
}

#[test]
fn a_crash_at_any_operation_of_a_prune_loses_nothing() {
    crashes(Work::Prune);
}

#[test]
fn a_crash_at_any_operation_of_a_repair_makes_nothing_worse() {
    crashes(Work::Repair);
}

#[test]
fn a_fault_at_any_operation_of_a_backup_loses_nothing() {
    faults(Work::Incremental);
}

#[test]
fn a_fault_at_any_operation_of_a_backup_to_two_places_loses_nothing() {
    faults(Work::TwoTargets);
}

#[test]
fn a_fault_at_any_operation_of_a_sync_loses_nothing() {
    faults(Work::Sync);
}

#[test]
fn a_fault_at_any_operation_of_a_forget_loses_nothing_else() {
    faults(Work::Forget);
}

#[test]
fn a_fault_at_any_operation_of_a_prune_loses_nothing() {
    faults(Work::Prune);
}

#[test]
fn a_repair_whose_sync_failed_once_is_not_whole_before_it_is_durable() {
    let ground = Ground::of(Work::Repair);
    for at in 60..operations(&ground, Work::Repair) {
        for seed in [2, 3] {
            let trial = Trial { medium: Medium::Disk, fault: Fault::Error, at, seed };
            play(&ground, Work::Repair, trial).unwrap_or_else(|error| panic!("{trial:?}: {error}"));
        }
    }
}

#[test]
fn a_fault_at_any_operation_of_a_repair_makes_nothing_worse() {
    faults(Work::Repair);
}

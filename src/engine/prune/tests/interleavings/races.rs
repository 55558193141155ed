//! Several pruners, writers, forgetters and verifications at once, each its own thread and nobody
//! waiting for anybody. `LIFEBOAT_RACE_SECONDS` says for how long (an ordinary run: two seconds),
//! `LIFEBOAT_SEED` what is drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::script::{Scene, backup, greedy};
use crate::base::clock::{Clock, SystemClock};
use crate::engine::backup::tests::stage::{draw, snapshots, target};
use crate::engine::error::EngineError;
use crate::engine::prune::PruneRequest;
use crate::engine::prune::tests::stage::Case;
use crate::engine::verify::{Depth, verify};
use crate::repository::error::RepositoryError;
use crate::repository::sweep::SweepError;
use crate::storage::contract::{ObjectName, Storage};

const PRUNERS: u64 = 3;

/// What everybody counts.
#[derive(Default)]
struct Counts {
    over: AtomicBool,
    backups: AtomicU64,
    busy: AtomicU64,
    prunes: AtomicU64,
    unsettled: AtomicU64,
    forgotten: AtomicU64,
    verified: AtomicU64,
}

impl Counts {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn writes(case: &Case, counts: &Counts, seed: &mut u64) {
    while counts.goes_on() {
        // Contents that come and go: what was dead is hit again.
        case.write(&format!("big-{}", draw(seed, 4)), draw(seed, 6));
        match backup(case, case.storage()) {
            Ok(_) => one(&counts.backups),
            Err(EngineError::Repository(RepositoryError::Busy { .. })) => one(&counts.busy),
            Err(error) => panic!("a backup was refused: {error}: {error:?}"),
        }
    }
}

fn prunes(case: &Case, counts: &Counts) {
    while counts.goes_on() {
        // No grace; a proposal is left alone while its writer may live.
        let request = PruneRequest { accept_clock: true, stale: PruneRequest::STALE, ..greedy() };
        match case.prune(&request) {
            Ok(_) => one(&counts.prunes),
            Err(EngineError::Sweep(SweepError::Unsettled { .. })) => one(&counts.unsettled),
            Err(error) => panic!("a prune failed: {error}: {error:?}"),
        }
    }
}

fn forgets(case: &Case, counts: &Counts, seed: &mut u64) {
    while counts.goes_on() {
        let (_, confirmed) = snapshots(&case.memory);
        let mut names: Vec<_> = confirmed.into_iter().collect();
        names.sort();
        if names.len() > 3 {
            let at = draw(seed, names.len() as u64 - 1);
            case.forget(&names[usize::try_from(at).expect("small")].id);
            one(&counts.forgotten);
        } else {
            std::thread::yield_now();
        }
    }
}

/// What a verification says of what is still there must be true: the race loses nothing.
fn verifies(case: &Case, counts: &Counts) {
    while counts.goes_on() {
        let place = target(case.storage());
        let found = verify(&place, Some(&case.stage.repository), Depth::Blobs, &case.cx()).expect("verified");
        for hurt in &found.hurt {
            let (_, confirmed) = snapshots(&case.memory);
            let is_there = confirmed.iter().any(|name| name.id == hurt.snapshot);
            assert!(!is_there, "a false alarm: {found:#?}");
        }
        for problem in &found.problems {
            let name: Option<ObjectName> = problem.object.parse().ok();
            let is_there = name.is_some_and(|name| case.memory.head(&name).expect("looked").is_some());
            assert!(!is_there, "a false alarm: {found:#?}");
        }
        one(&counts.verified);
    }
}

#[test]
fn pruners_writers_forgetters_at_once_lose_nothing_and_refuse_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut seed = number("LIFEBOAT_SEED").unwrap_or(4);
    let seconds = number("LIFEBOAT_RACE_SECONDS").unwrap_or(2);
    println!("LIFEBOAT_SEED={seed}");
    let case = Scene::new().case();
    let counts = Counts::default();
    let clock = SystemClock::new();
    let until = clock.monotonic() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let (case, counts): (&Arc<Case>, &Counts) = (&case, &counts);
        let mut drawn = || draw(&mut seed, u64::MAX);
        let (mut of_writer, mut of_forgetter) = (drawn(), drawn());
        for _ in 0..PRUNERS {
            scope.spawn(|| prunes(case, counts));
        }
        scope.spawn(move || writes(case, counts, &mut of_writer));
        scope.spawn(move || forgets(case, counts, &mut of_forgetter));
        scope.spawn(|| verifies(case, counts));
        while clock.monotonic() < until {
            clock.sleep(Duration::from_millis(50));
        }
        counts.over.store(true, Ordering::SeqCst);
    });
    let left = case.is_whole("after the race");
    println!(
        "{left} snapshots whole; {:?}",
        [
            ("backups", &counts.backups),
            ("busy", &counts.busy),
            ("prunes", &counts.prunes),
            ("unsettled", &counts.unsettled),
            ("forgotten", &counts.forgotten),
            ("verified", &counts.verified),
        ]
    );
    assert!(counts.backups.load(Ordering::SeqCst) > 1 && counts.prunes.load(Ordering::SeqCst) > 1);
    case.settle("after the race");
    assert_eq!(case.is_whole("settled"), left);
}

//! Random histories on the real engine against a naive model: which snapshot each place promised,
//! and which it was told to forget. Whatever happens in between, every promised file comes back.
//!
//! The model knows no packs, plans or graces. A work that failed promises nothing, and what it may
//! have done half is neither demanded nor forbidden.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::between::{Between, Deed};
use super::works::{Clean, Ground, Promise, Work, text};
use crate::base::id::ObjectHash;
use crate::engine::backup::backup;
use crate::engine::backup::request::{BackupRequest, SourceRule};
use crate::engine::context::Context;
use crate::engine::forget::{ForgetRequest, Selection, forget};
use crate::engine::prune::{PruneRequest, prune};
use crate::engine::sync::sync;
use crate::repository::access::{Repository, Target};
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::contract::{Storage, list_all};
use crate::storage::sim::{Fault, Machine, Medium, SimPlace};

/// Histories of an ordinary run, and steps of each.
const HISTORIES: u64 = 8;
const STEPS: u64 = 24;
const PLACES: usize = 2;
/// Prunes, a month apart, after which no plan stands.
const PRUNES_MAX: u64 = 8;
/// Versions of the source that are drawn from: what was backed up once comes again.
const VERSIONS: u64 = 5;
/// Snapshots at a place above which a step forgets rather than backs up.
const SNAPSHOTS_MAX: usize = 7;

/// What a history does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deeds {
    Backup { places: u64, version: u64 },
    Forget { place: usize, which: u64 },
    Prune { places: u64, grace_hours: u64 },
    Sync { from: usize },
    Jump { hours: i64 },
}

/// What goes wrong meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Fault {
        at: u64,
        fault: Fault,
    },
    /// The process is killed: its operations fail from there on, what it wrote stays.
    Kill {
        at: u64,
    },
    /// Before that operation another writer backs up, or another pruner prunes.
    Other {
        at: u64,
        prunes: bool,
        version: u64,
    },
}

struct Draw(u64);

impl Draw {
    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.below(below as u64)).expect("small")
    }
}

/// The naive model of one place: what it promised, by snapshot, and the version that each is of.
#[derive(Default)]
struct Model {
    kept: BTreeMap<ObjectHash, u64>,
    gone: Vec<ObjectHash>,
}

struct History {
    ground: Ground,
    machine: Arc<Machine>,
    places: Vec<Arc<SimPlace>>,
    models: Vec<Model>,
    /// What a place was told to forget, whether or not it did.
    forgotten: BTreeSet<ObjectHash>,
    draw: Draw,
    /// Folder of the second writer.
    other: tempfile::TempDir,
    /// What was drawn, for a failure.
    told: Vec<String>,
    done: Done,
}

/// What a run of histories did.
#[derive(Debug, Default)]
struct Done {
    steps: u64,
    succeeded: u64,
    struck: u64,
    others: u64,
    snapshots: u64,
    forgotten: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let mut ground = Ground::of(Work::First);
        ground.big = 3;
        let medium = [Medium::Disk, Medium::Ordered, Medium::Store][draw.index(3)];
        let machine = Machine::new(seed, medium, ground.stage.clock.clone());
        let places = (0..PLACES).map(|_| machine.place(ground.places[0].iter().cloned())).collect();
        let models = (0..PLACES).map(|_| Model::default()).collect();
        let other = tempfile::tempdir().expect("a folder");
        let told = vec![format!("{medium:?}")];
        Self {
            ground,
            machine,
            places,
            models,
            forgotten: BTreeSet::new(),
            draw,
            other,
            told,
            done: Done::default(),
        }
    }

    fn chosen(places: u64) -> Vec<usize> {
        (0..PLACES).filter(|place| places >> place & 1 == 1).collect()
    }

    fn next(&mut self) -> (Deeds, Trouble) {
        let place = self.draw.index(PLACES);
        let places = 1 + self.draw.below((1 << PLACES) - 1);
        let is_full = self.models[place].kept.len() > SNAPSHOTS_MAX;
        let deed = match self.draw.below(16) {
            0..=5 if !is_full => Deeds::Backup { places, version: self.draw.below(VERSIONS) },
            0..=8 => Deeds::Forget { place, which: self.draw.below(1 << 20) },
            9..=11 => Deeds::Prune { places, grace_hours: [0, 0, 1, 72][self.draw.index(4)] },
            12..=13 => Deeds::Sync { from: place },
            _ => Deeds::Jump { hours: [1, 30, 100, 24 * 30, -2, -24 * 40][self.draw.index(6)] },
        };
        let reach = [12, 60, 60][self.draw.index(3)];
        let at = 1 + self.draw.below(reach);
        let trouble = match self.draw.below(10) {
            0..=3 => Trouble::None,
            4 => Trouble::Kill { at },
            5..=6 => {
                let fault = [
                    Fault::Crash,
                    Fault::Crash,
                    Fault::Crash,
                    Fault::Error,
                    Fault::Full,
                    Fault::StaleList,
                    Fault::LoseAnswer,
                    Fault::LatePut,
                    Fault::LateDelete,
                ];
                Trouble::Fault { at, fault: fault[self.draw.index(fault.len())] }
            }
            _ => Trouble::Other { at, prunes: self.draw.below(2) == 0, version: self.draw.below(VERSIONS) },
        };
        (deed, trouble)
    }

    /// One step, with whatever goes wrong in it, and what holds afterwards.
    fn step(&mut self) -> Result<(), String> {
        let (deed, trouble) = self.next();
        self.told.push(format!("{deed:?} / {trouble:?}"));
        self.done.steps += 1;
        match trouble {
            Trouble::None | Trouble::Other { .. } => {}
            Trouble::Fault { at, fault } => self.machine.plan(at, fault),
            Trouble::Kill { at } => self.machine.plan(at, Fault::ErrorForGood),
        }
        let others = Arc::new(Mutex::new(Vec::new()));
        let storages = self.storages(trouble, &others);
        let told = catch_unwind(AssertUnwindSafe(|| self.carry_out(deed, &storages)))
            .map_err(|_| "a panic".to_owned())?;
        let is_fault = matches!(trouble, Trouble::Fault { .. } | Trouble::Kill { .. });
        self.done.struck += u64::from(is_fault && self.machine.has_struck());
        if matches!(trouble, Trouble::Fault { fault: Fault::Crash, .. }) || self.draw.below(4) == 0 {
            self.machine.cut_power();
        }
        self.machine.start();
        match &told {
            Ok(()) => self.done.succeeded += 1,
            // Who is held up while others prune may be told that something is being removed.
            Err(_) if is_fault || matches!(trouble, Trouble::Other { prunes: true, .. }) => {}
            Err(error) if may_refuse(error) => {}
            Err(error) => return Err(format!("nothing was wrong, and it failed: {error}")),
        }
        let others = std::mem::take(&mut *others.lock().expect("nobody panics"));
        for other in others {
            let (id, version) = other?;
            self.done.others += 1;
            self.models[0].kept.insert(id, version);
        }
        self.hold()
    }

    /// The places as this step sees them.
    fn storages(&self, trouble: Trouble, others: &Arc<Mutex<Vec<Other>>>) -> Vec<Arc<dyn Storage>> {
        let mut storages: Vec<Arc<dyn Storage>> = self.places.iter().map(|p| Arc::clone(p) as _).collect();
        if let Trouble::Other { at, prunes, version } = trouble {
            let target = Self::target(0, Arc::clone(&self.places[0]) as _);
            let repository = self.ground.stage.repository.with_targets(vec![target]);
            let cx = self.ground.cx();
            let deed: Deed<'static> = if prunes {
                Box::new(move || drop(prune(&repository, &prune_now(Duration::ZERO), &cx)))
            } else {
                self.fill_other(version);
                let request = BackupRequest {
                    roots: vec![self.other.path().to_owned()],
                    host: "second".to_owned(),
                    ..self.ground.stage.asked(SnapshotKind::Incremental, SourceRule::default())
                };
                let others = Arc::clone(others);
                Box::new(move || {
                    let made = second_backup(&repository, &request, &cx).map(|id| (id, version));
                    others.lock().expect("nobody panics").push(made);
                })
            };
            storages[0] = Between::new(Arc::clone(&self.places[0]), at, deed);
        }
        storages
    }

    fn target(place: usize, storage: Arc<dyn Storage>) -> Target {
        Target { name: format!("target-{place}"), storage, in_flight: 1 }
    }

    fn fill_other(&self, version: u64) {
        for entry in std::fs::read_dir(self.other.path()).expect("listed") {
            std::fs::remove_file(entry.expect("read").path()).expect("removed");
        }
        for (name, bytes) in self.ground.files(version).iter() {
            std::fs::write(self.other.path().join(name), bytes).expect("written");
        }
    }

    fn carry_out(&mut self, deed: Deeds, storages: &[Arc<dyn Storage>]) -> Result<(), String> {
        match deed {
            Deeds::Backup { places, version } => self.back_up(&Self::chosen(places), version, storages),
            Deeds::Forget { place, which } => self.forget(place, which, storages),
            Deeds::Prune { places, grace_hours } => {
                let targets = Self::chosen(places).into_iter();
                let targets =
                    targets.map(|place| Self::target(place, Arc::clone(&storages[place]))).collect();
                let repository = self.ground.stage.repository.with_targets(targets);
                let request = prune_now(Duration::from_hours(grace_hours));
                let outcome = prune(&repository, &request, &self.ground.cx()).map_err(text)?;
                match outcome.targets.iter().find(|target| target.failed.is_some()) {
                    Some(failed) => Err(text(failed)),
                    None => Ok(()),
                }
            }
            Deeds::Sync { from } => self.sync(from, storages),
            Deeds::Jump { hours } => {
                let clock = &self.ground.stage.clock;
                let by = Duration::from_hours(hours.unsigned_abs());
                if hours > 0 {
                    clock.advance(by);
                } else {
                    use crate::base::clock::Clock;
                    let back = i64::try_from(by.as_millis()).expect("days");
                    let now = clock.now().unix_ms() - back;
                    clock.step_to(crate::base::clock::Timestamp::from_unix_ms(now));
                }
                Ok(())
            }
        }
    }

    fn back_up(
        &mut self,
        places: &[usize],
        version: u64,
        storages: &[Arc<dyn Storage>],
    ) -> Result<(), String> {
        let chosen: Vec<Arc<dyn Storage>> =
            places.iter().map(|place| Arc::clone(&storages[*place])).collect();
        let kept = self.ground.back_up(&chosen, version)?;
        let all = kept.len() == chosen.len();
        for promise in kept {
            // The stage numbers the places that it was given.
            if let Promise::Kept { place, id, version } = promise {
                self.models[places[place]].kept.insert(id, version);
                self.done.snapshots += 1;
            }
        }
        if all { Ok(()) } else { Err("a place did not get it".to_owned()) }
    }

    fn forget(&mut self, place: usize, which: u64, storages: &[Arc<dyn Storage>]) -> Result<(), String> {
        let model = &mut self.models[place];
        let which = usize::try_from(which).expect("small") % model.kept.len().max(1);
        let Some(id) = model.kept.keys().nth(which).copied() else { return Ok(()) };
        // From now on it may be gone.
        model.kept.remove(&id);
        self.forgotten.insert(id);
        let request = ForgetRequest {
            selection: Selection::Ids(vec![id.to_hex()]),
            read_back: std::collections::HashSet::new(),
            dry_run: false,
            accept_more_than_half: true,
            accept_clock: true,
        };
        let target = Self::target(place, Arc::clone(&storages[place]));
        let repository = self.ground.stage.repository.with_targets(vec![target]);
        let outcome = forget(&repository, &request, &self.ground.cx()).map_err(text)?;
        let done = |target: &crate::engine::forget::TargetForget| {
            target.failed.is_none() && target.refused.is_empty() && target.gone.contains(&id)
        };
        if !outcome.targets.iter().all(done) {
            return Err(text(outcome));
        }
        self.models[place].gone.push(id);
        self.done.forgotten += 1;
        Ok(())
    }

    fn sync(&mut self, from: usize, storages: &[Arc<dyn Storage>]) -> Result<(), String> {
        let to = 1 - from;
        let targets = [from, to].map(|place| Self::target(place, Arc::clone(&storages[place])));
        let repository = &self.ground.stage.repository;
        let mut promised = self.models[from].kept.clone();
        // What was forgotten anywhere, or half of it, is not brought back.
        promised.retain(|id, _| !self.forgotten.contains(id));
        let outcome = sync(repository, &targets[0], &targets[1], &self.ground.cx()).map_err(text)?;
        if !outcome.failed.is_empty() {
            return Err(text(outcome));
        }
        self.models[to].kept.extend(promised);
        Ok(())
    }

    fn hold(&self) -> Result<(), String> {
        let mut promises = Vec::new();
        for (place, model) in self.models.iter().enumerate() {
            promises.extend(model.kept.iter().map(|(id, version)| Promise::Kept {
                place,
                id: *id,
                version: *version,
            }));
            promises.extend(model.gone.iter().map(|id| Promise::Gone { place, id: *id }));
        }
        let places: Vec<Arc<dyn Storage>> = self.places.iter().map(|p| Arc::clone(p) as _).collect();
        self.ground.hold(&promises, &places, Clean::Everywhere)
    }

    /// In the end everything works by itself, on both places, however the clock went and whatever
    /// was left half done. Prunes a month apart end all plans; then nothing refuses a sync.
    fn end(&mut self) -> Result<(), String> {
        let storages: Vec<Arc<dyn Storage>> = self.places.iter().map(|p| Arc::clone(p) as _).collect();
        let prune = Deeds::Prune { places: 3, grace_hours: 0 };
        let has_plans =
            || storages.iter().any(|place| list_all(place.as_ref(), "g/").map_or(true, |g| !g.is_empty()));
        let mut rounds = 0;
        while rounds < 2 || has_plans() {
            self.carry_out(Deeds::Jump { hours: 24 * 30 }, &storages)?;
            self.carry_out(prune, &storages).map_err(|error| format!("in the end, a prune: {error}"))?;
            rounds += 1;
            if rounds > PRUNES_MAX {
                return Err(format!("{rounds} prunes leave a plan"));
            }
        }
        let backup = Deeds::Backup { places: 3, version: 0 };
        for deed in [backup, Deeds::Sync { from: 0 }, Deeds::Sync { from: 1 }, prune] {
            self.carry_out(deed, &storages).map_err(|error| format!("in the end, {deed:?}: {error}"))?;
        }
        self.hold()
    }

    fn play(&mut self, steps: u64) -> Result<(), String> {
        (0..steps).try_for_each(|_| self.step())?;
        self.end()
    }
}

/// Guards against strange clocks, and a sync of what a plan at its destination condemns: both end
/// without anybody's hand.
fn may_refuse(error: &str) -> bool {
    ["Clock", "Busy", "a sweep at the destination"].iter().any(|word| error.contains(word))
}

/// What the second writer got: a snapshot and its version.
type Other = Result<(ObjectHash, u64), String>;

fn prune_now(grace: Duration) -> PruneRequest {
    PruneRequest {
        grace,
        accept_more_than_half: true,
        accept_clock: true,
        ..PruneRequest::new("stage".to_owned())
    }
}

/// A backup by another machine.
fn second_backup(
    repository: &Repository,
    request: &BackupRequest,
    cx: &Context,
) -> Result<ObjectHash, String> {
    let outcome = backup(repository, request, cx).map_err(|error| format!("the second writer: {error:?}"))?;
    if outcome.targets.iter().all(|target| target.complete) {
        Ok(outcome.snapshot)
    } else {
        Err("the second writer's backup is not complete".to_owned())
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_happens_in_a_random_history_every_promised_file_comes_back() {
    let only = std::env::var("LIFEBOAT_HISTORY_ONLY").ok().map(|text| text.parse().expect("a number"));
    let first = only.unwrap_or_else(|| from_environment("LIFEBOAT_SEED", 20_261_125));
    let histories = if only.is_some() { 1 } else { from_environment("LIFEBOAT_HISTORIES", HISTORIES) };
    let steps = from_environment("LIFEBOAT_HISTORY_STEPS", STEPS);
    let mut sum = Done::default();
    for seed in first..first + histories {
        let mut history = History::new(seed);
        if let Err(error) = history.play(steps) {
            let told = history.told.join("\n  ");
            panic!("LIFEBOAT_HISTORY_ONLY={seed} LIFEBOAT_HISTORY_STEPS={steps}: {error}\n  {told}");
        }
        let Done { steps, succeeded, struck, others, snapshots, forgotten } = history.done;
        sum.steps += steps;
        sum.succeeded += succeeded;
        sum.struck += struck;
        sum.others += others;
        sum.snapshots += snapshots;
        sum.forgotten += forgotten;
    }
    println!("histories: seeds {first} to {}, {sum:?}", first + histories - 1);
    let is_alive = sum.snapshots > 0 && sum.forgotten > 0 && sum.struck > 0 && sum.others > 0;
    assert!(only.is_some() || is_alive, "nothing happened: {sum:?}");
}

#[test]
fn a_machine_whose_first_backup_falls_into_a_sync_is_known_at_the_other_place() {
    for at in 1..=24 {
        let mut history = History::new(1);
        let plain: Vec<Arc<dyn Storage>> = history.places.iter().map(|p| Arc::clone(p) as _).collect();
        history.back_up(&[0], 0, &plain).expect("backed up");
        let others = Arc::default();
        let storages = history.storages(Trouble::Other { at, prunes: false, version: 1 }, &others);
        history.sync(0, &storages).expect("synced");
        history.hold().unwrap_or_else(|error| panic!("before operation {at} of the sync: {error}"));
    }
}

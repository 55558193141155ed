//! The works that are interrupted, what each of them promises, and how promises are held to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::id::ObjectHash;
use crate::codec::kdf::KdfParams;
use crate::engine::backup::tests::stage::{Stage, target};
use crate::engine::context::Context;
use crate::engine::dump::dump;
use crate::engine::forget::{ForgetRequest, Selection, forget};
use crate::engine::prune::{PruneRequest, prune};
use crate::engine::repair::{RepairRequest, repair};
use crate::engine::sync::sync;
use crate::engine::verify::{Depth, verify};
use crate::repository::access::{CreateOptions, Repository, Target};
use crate::repository::format::slot::SlotSecret;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::reader::BlobReader;
use crate::repository::{load, snapshots};
use crate::storage::contract::{ObjectName, Read, Span, Storage, list_all};
use crate::storage::memory::MemoryStorage;

/// What can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Init,
    First,
    Incremental,
    TwoTargets,
    Sync,
    Forget,
    Prune,
    Repair,
}

/// Something that must be true from the moment on that a work said it was done.
#[derive(Clone, Debug)]
pub(super) enum Promise {
    /// The snapshot of this version of the source comes back, byte for byte.
    Kept { place: usize, id: ObjectHash, version: u64 },
    /// The snapshot was forgotten, and stays so.
    Gone { place: usize, id: ObjectHash },
    /// The place is a repository that opens.
    Opens,
    /// The place has no damage.
    Whole { place: usize },
}

type Files = BTreeMap<String, Vec<u8>>;
type Objects = Vec<(ObjectName, Bytes)>;
type Told = Result<Vec<Promise>, String>;

/// Where a work begins: the objects of each place, and what holds already.
pub(super) struct Ground {
    pub(super) stage: Arc<Stage>,
    pub(super) places: Vec<Objects>,
    pub(super) promises: Vec<Promise>,
    /// The snapshots that are there, oldest first.
    ids: Vec<ObjectHash>,
    /// What is hurt at the first place, for repair: verification is clean only afterwards.
    is_hurt: bool,
    /// Files of a chunk of their own, every other one changed in each version: packs get sparse.
    pub(super) big: u64,
    made: RefCell<BTreeMap<u64, Rc<Files>>>,
    /// Packs that the last prune deleted and wrote.
    pub(super) pruned: Cell<(u64, u64)>,
}

/// The files of a version of the source: most are as they were, one is new, one is changed.
fn files(version: u64, big: u64) -> Files {
    let random = |number: u64, bytes: usize| {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.take(bytes / 8).flatten().collect::<Vec<u8>>()
    };
    let mut files = BTreeMap::from([
        ("same".to_owned(), random(1000, 24 * 1024)),
        ("changed".to_owned(), random(2000 + version, 16 * 1024)),
        ("file-0".to_owned(), vec![0; 2000]),
    ]);
    files.insert(format!("new-{version}"), random(3000 + version, 4096));
    for number in 0..big {
        let bytes = random(4000 + number * 64 + if number % 2 == 1 { version + 1 } else { 0 }, 300 * 1024);
        files.insert(format!("big-{number}"), bytes);
    }
    files
}

pub(super) fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn objects_of(storage: &dyn Storage) -> Objects {
    let read = |name: ObjectName| {
        let bytes = storage.get(&name, Span::Whole, Read::Quick).expect("read");
        (name, bytes)
    };
    list_all(storage, "").expect("listed").into_iter().map(|stat| read(stat.name)).collect()
}

impl Ground {
    pub(super) fn of(work: Work) -> Self {
        let stage = Stage::new();
        let mut ground = Self {
            stage,
            places: Vec::new(),
            promises: Vec::new(),
            ids: Vec::new(),
            is_hurt: false,
            pruned: Cell::default(),
            big: if work == Work::Prune { 6 } else { 0 },
            made: RefCell::default(),
        };
        let (versions, places) = match work {
            Work::Init => return Self { places: vec![Objects::new()], ..ground },
            Work::First => (0, 1),
            Work::Incremental => (2, 1),
            Work::TwoTargets => (1, 2),
            Work::Sync => (2, 1),
            Work::Forget | Work::Prune => (3, 1),
            Work::Repair => (2, 2),
        };
        let storages: Vec<Arc<MemoryStorage>> = (0..places).map(|_| ground.stage.fresh_dated()).collect();
        for version in 0..versions {
            let storages: Vec<Arc<dyn Storage>> = storages.iter().map(|s| Arc::clone(s) as _).collect();
            let kept = ground.back_up(&storages, version).expect("backed up");
            ground.ids.extend(kept.iter().find_map(|promise| match promise {
                Promise::Kept { id, .. } => Some(*id),
                _ => None,
            }));
            ground.promises.extend(kept);
        }
        ground.places = storages.iter().map(|storage| objects_of(storage.as_ref())).collect();
        match work {
            // An empty place to be filled.
            Work::Sync => ground.places.push(Objects::new()),
            Work::Prune => {
                let repository = ground.stage.repository.with_targets(vec![target(storages[0].clone())]);
                ground.forget_first(&repository).expect("forgotten");
                ground.places[0] = objects_of(storages[0].as_ref());
                let first = ground.ids.remove(0);
                ground.promises.retain(|p| !matches!(p, Promise::Kept { id, .. } if *id == first));
                ground.promises.push(Promise::Gone { place: 0, id: first });
            }
            Work::Repair => ground.hurt(),
            _ => {}
        }
        ground
    }

    /// One pack of each class is damaged and an index run is missing at the first place.
    fn hurt(&mut self) {
        for prefix in ["p/", "m/"] {
            let pack = self.places[0].iter_mut().find(|(name, _)| name.as_str().starts_with(prefix));
            let (_, bytes) = pack.expect("a pack");
            let mut hurt = bytes.to_vec();
            let middle = hurt.len() / 2;
            hurt[middle..].fill(0);
            *bytes = hurt.into();
        }
        let run = self.places[0].iter().position(|(name, _)| name.as_str().starts_with("i/"));
        self.places[0].remove(run.expect("a run"));
        self.promises.retain(|promise| !matches!(promise, Promise::Kept { place: 0, .. }));
        self.is_hurt = true;
    }

    pub(super) fn files(&self, version: u64) -> Rc<Files> {
        Rc::clone(self.made.borrow_mut().entry(version).or_insert_with(|| Rc::new(files(version, self.big))))
    }

    pub(super) fn cx(&self) -> Context {
        Context { clock: self.stage.clock.clone(), workers: 1, ..Context::quiet() }
    }

    pub(super) fn targets(places: &[Arc<dyn Storage>]) -> Vec<Target> {
        let named = |(number, place): (usize, &Arc<dyn Storage>)| Target {
            name: format!("target-{number}"),
            storage: place.clone(),
            in_flight: 1,
        };
        places.iter().enumerate().map(named).collect()
    }

    /// A backup of that version of the source; what complete targets promise.
    pub(super) fn back_up(&self, storages: &[Arc<dyn Storage>], version: u64) -> Told {
        let folder = self.stage.source.path();
        for entry in std::fs::read_dir(folder).expect("listed") {
            std::fs::remove_file(entry.expect("read").path()).expect("removed");
        }
        for (name, bytes) in self.files(version).iter() {
            std::fs::write(folder.join(name), bytes).expect("written");
        }
        let outcome = self.stage.backup(storages, SnapshotKind::Incremental).map_err(text)?;
        assert_eq!(outcome.unread.count, 0, "an error of a place is no unread file");
        // A target that failed early comes last: the name says which it is.
        let place = |name: &str| name.strip_prefix("target-").and_then(|number| number.parse().ok());
        let complete = outcome.targets.iter().filter(|target| target.complete);
        Ok(complete
            .filter_map(|target| place(&target.target))
            .map(|place| Promise::Kept { place, id: outcome.snapshot, version })
            .collect())
    }

    fn forget_first(&self, repository: &Repository) -> Told {
        let id = self.ids[0];
        let request = ForgetRequest {
            selection: Selection::Ids(vec![id.to_hex()]),
            read_back: std::collections::HashSet::new(),
            dry_run: false,
            accept_more_than_half: true,
            accept_clock: true,
        };
        let outcome = forget(repository, &request, &self.cx()).map_err(text)?;
        let is_done = |target: &crate::engine::forget::TargetForget| {
            target.failed.is_none() && target.refused.is_empty() && target.gone.contains(&id)
        };
        if outcome.targets.iter().all(is_done) {
            Ok(vec![Promise::Gone { place: 0, id }])
        } else {
            Err(text(outcome))
        }
    }

    pub(super) fn prune(&self, places: &[Arc<dyn Storage>]) -> Told {
        let repository = self.stage.repository.with_targets(Self::targets(places));
        let request = PruneRequest {
            grace: std::time::Duration::ZERO,
            join_runs_at: 2,
            accept_more_than_half: true,
            ..PruneRequest::new("stage".to_owned())
        };
        let outcome = prune(&repository, &request, &self.cx()).map_err(text)?;
        if outcome.targets.iter().any(|target| target.failed.is_some()) {
            return Err(text(outcome));
        }
        let done =
            outcome.targets.iter().map(|target| (target.done.packs_deleted, target.done.packs_written));
        let (deleted, written) = done.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.pruned.set((deleted, written));
        Ok(Vec::new())
    }

    fn sync(&self, places: &[Arc<dyn Storage>]) -> Told {
        let targets = Self::targets(places);
        let outcome = sync(&self.stage.repository, &targets[0], &targets[1], &self.cx()).map_err(text)?;
        if !outcome.failed.is_empty() {
            return Err(text(outcome));
        }
        let to_other = |promise: &Promise| match *promise {
            Promise::Kept { place: 0, id, version } => Some(Promise::Kept { place: 1, id, version }),
            _ => None,
        };
        Ok(self.promises.iter().filter_map(to_other).collect())
    }

    fn repair(&self, places: &[Arc<dyn Storage>]) -> Told {
        let targets = Self::targets(places);
        let request =
            RepairRequest { target: &targets[0], sources: &targets[1..], host: "stage", dry_run: false };
        let outcome = repair(&self.stage.repository, &request, &self.cx()).map_err(text)?;
        if !outcome.is_whole() {
            return Err(text(outcome));
        }
        let to_first = |promise: &Promise| match *promise {
            Promise::Kept { place: 1, id, version } => Some(Promise::Kept { place: 0, id, version }),
            _ => None,
        };
        Ok(self.promises.iter().filter_map(to_first).chain([Promise::Whole { place: 0 }]).collect())
    }

    fn init(place: &Arc<dyn Storage>) -> Told {
        let kdf = KdfParams { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
        let options = CreateOptions { pack_bytes: 8 * 1024 * 1024, kdf, parity: 0 };
        let made = Repository::create(target(place.clone()), &SlotSecret::passphrase("stage"), options);
        made.map(|_| vec![Promise::Opens]).map_err(text)
    }

    /// The work itself: what it promises when it says that it is done.
    pub(super) fn carry_out(&self, work: Work, places: &[Arc<dyn Storage>]) -> Told {
        match work {
            Work::Init => Self::init(&places[0]),
            Work::First | Work::Incremental | Work::TwoTargets => self.back_up(places, 7),
            Work::Sync => self.sync(places),
            Work::Forget => self.forget_first(&self.stage.repository.with_targets(Self::targets(places))),
            Work::Prune => self.prune(places),
            Work::Repair => self.repair(places),
        }
    }

    /// What a person would do next: the same again where nothing else ends it, a backup, a prune.
    pub(super) fn go_on(&self, work: Work, places: &[Arc<dyn Storage>]) -> Told {
        match work {
            Work::Init => {
                let opened =
                    Repository::open(vec![target(places[0].clone())], &SlotSecret::passphrase("stage"));
                return if opened.is_ok() { Ok(vec![Promise::Opens]) } else { Self::init(&places[0]) };
            }
            Work::Sync | Work::Repair => drop(self.carry_out(work, places)?),
            Work::First | Work::Incremental | Work::TwoTargets | Work::Forget | Work::Prune => {}
        }
        let kept = self.back_up(places, 8)?;
        if kept.len() != places.len() {
            return Err("the next backup is not complete everywhere".to_owned());
        }
        self.prune(places)?;
        Ok(kept)
    }

    /// Holds a place to the promises: verified to the last blob, every promised file compared.
    pub(super) fn hold(
        &self,
        promises: &[Promise],
        places: &[Arc<dyn Storage>],
        clean: Clean,
    ) -> Result<(), String> {
        let repairs = self.is_hurt && clean == Clean::WhereNothingWasHurt;
        for (number, target) in Self::targets(places).iter().enumerate() {
            let of_place = |p: &&Promise| match p {
                Promise::Kept { place, .. } | Promise::Gone { place, .. } | Promise::Whole { place } => {
                    *place == number
                }
                Promise::Opens => true,
            };
            let promises: Vec<&Promise> = promises.iter().filter(of_place).collect();
            if promises.iter().any(|promise| matches!(promise, Promise::Opens)) {
                Repository::open(vec![target.clone()], &SlotSecret::passphrase("stage")).map_err(text)?;
                continue;
            }
            if list_all(target.storage.as_ref(), "repo.fmt").map_err(text)?.is_empty() {
                if promises.is_empty() { continue } else { return Err("there is no repository".to_owned()) }
            }
            let is_whole = promises.iter().any(|promise| matches!(promise, Promise::Whole { .. }));
            if is_whole || !(repairs && number == 0) {
                let found =
                    verify(target, Some(&self.stage.repository), Depth::Blobs, &self.cx()).map_err(text)?;
                if !found.is_clean() {
                    return Err(format!("place {number} is not clean: {found:#?}"));
                }
            }
            self.compare(&promises, target)?;
        }
        Ok(())
    }

    fn compare(&self, promises: &[&Promise], target: &Target) -> Result<(), String> {
        let repository = self.stage.repository.with_targets(vec![target.clone()]);
        let (found, _) = snapshots::load_all(&repository, target).map_err(text)?;
        let loaded = load::load(&repository, repository.targets()).map_err(text)?;
        let blobs = BlobReader::new(&repository, &loaded.index, vec![target], Read::Quick);
        for promise in promises {
            match promise {
                Promise::Gone { id, .. } if found.iter().any(|snapshot| snapshot.id == *id) => {
                    return Err(format!("{} was forgotten and is back", id.short()));
                }
                Promise::Kept { id, version, .. } => {
                    let snapshot = found.iter().find(|snapshot| snapshot.id == *id);
                    let snapshot = snapshot.ok_or_else(|| format!("snapshot {} is lost", id.short()))?;
                    for (name, bytes) in self.files(*version).iter() {
                        let mut restored = Vec::new();
                        let mut take = |part: &[u8]| {
                            restored.extend_from_slice(part);
                            ControlFlow::Continue(())
                        };
                        dump(&blobs, snapshot, name.as_bytes(), &self.cx(), &mut take)
                            .map_err(|error| format!("{name} of {}: {error:?}", id.short()))?;
                        if restored != *bytes {
                            return Err(format!("{name} of {} has other bytes", id.short()));
                        }
                    }
                }
                Promise::Gone { .. } | Promise::Opens | Promise::Whole { .. } => {}
            }
        }
        Ok(())
    }
}

/// Where verification has to find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clean {
    /// Everywhere but where damage was put.
    WhereNothingWasHurt,
    /// Everywhere.
    Everywhere,
}

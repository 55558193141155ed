//! A repository in memory, a small source, a storage in which something happens before an
//! operation of one's choice, and a sweeper that does what docs/format.md lets sweepers do.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::base::clock::{ManualClock, Timestamp};
use crate::base::id::ObjectHash;
use crate::codec::kdf::KdfParams;
use crate::codec::sign::Signer;
use crate::engine::backup::backup;
use crate::engine::backup::outcome::BackupOutcome;
use crate::engine::backup::request::{BackupRequest, CheckpointRule, Freeze, ParentChoice, SourceRule};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::history::Sight;
use crate::repository::access::{CreateOptions, Repository, Target};
use crate::repository::format::forget::ForgetRequest;
use crate::repository::format::names::{
    KeyKind, PackClass, SnapshotEntry, SnapshotName, pack_name, parse_key_name, parse_snapshot_name,
};
use crate::repository::format::object::Object;
use crate::repository::format::plan::PlanBody;
use crate::repository::format::slot::{self, SlotSecret};
use crate::repository::format::snapshot::{PackSetRef, SnapshotBody, SnapshotKind};
use crate::source::files::WalkOptions;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError, list_all};
use crate::storage::memory::MemoryStorage;

/// Something that happens between two operations of the writer.
pub(in crate::engine) type Deed = Box<dyn FnOnce(&MemoryStorage) + Send>;

/// A storage that counts operations and lets things happen before them.
pub(in crate::engine) struct Meddled {
    pub(in crate::engine) memory: Arc<MemoryStorage>,
    operations: AtomicU64,
    deeds: Mutex<BTreeMap<u64, Vec<Deed>>>,
}

impl Meddled {
    pub(in crate::engine) fn new(memory: Arc<MemoryStorage>) -> Self {
        Self { memory, operations: AtomicU64::new(0), deeds: Mutex::default() }
    }

    /// Lets `deed` happen before the operation of that number, counted from 1.
    pub(in crate::engine) fn before(&self, operation: u64, deed: Deed) {
        self.deeds.lock().expect("no deed panics").entry(operation).or_default().push(deed);
    }

    pub(in crate::engine) fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    /// Whatever has not happened yet happens now, in its order.
    pub(in crate::engine) fn let_the_rest_happen(&self) {
        let deeds = std::mem::take(&mut *self.deeds.lock().expect("no deed panics"));
        deeds.into_values().flatten().for_each(|deed| deed(&self.memory));
    }

    fn step(&self) {
        // One at a time: what happens is over before the next operation begins.
        let mut deeds = self.deeds.lock().expect("no deed panics");
        let number = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        for deed in deeds.remove(&number).unwrap_or_default() {
            deed(&self.memory);
        }
    }
}

impl Storage for Meddled {
    fn label(&self) -> &str {
        self.memory.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.step();
        // A copy, as a disk has it: what stays in memory would keep the writer's buffer from coming back.
        self.memory.put_new(name, Bytes::copy_from_slice(&bytes))
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.step();
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.step();
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.step();
        self.memory.list(prefix, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        panic!("a backup deleted {name}");
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// A repository, its administrator's key and a source folder.
pub(in crate::engine) struct Stage {
    pub(in crate::engine) repository: Repository,
    admin: Signer,
    pub(in crate::engine) source: tempfile::TempDir,
    pub(in crate::engine) clock: Arc<ManualClock>,
    /// The repository's objects as they were put aside last.
    kept: Mutex<Vec<(ObjectName, Bytes)>>,
}

impl Stage {
    pub(in crate::engine) fn new() -> Arc<Self> {
        let passphrase = SlotSecret::passphrase("stage");
        let kdf = KdfParams { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
        let options = CreateOptions { pack_bytes: 8 * 1024 * 1024, kdf, parity: 0 };
        let memory = Arc::new(MemoryStorage::new());
        let repository = Repository::create(target(memory.clone()), &passphrase, options).expect("made");
        let slots = list_all(memory.as_ref(), "keys/").expect("listed");
        let is_slot = |stat: &&Stat| matches!(parse_key_name(&stat.name), Some((KeyKind::Slot, _)));
        let name = &slots.iter().find(is_slot).expect("a slot").name;
        let bytes = memory.get(name, Span::Whole, Read::Quick).expect("read");
        let format = repository.format();
        let root = slot::open_slot(&bytes, &format.encode(), format, &passphrase).expect("opened");
        let admin = Signer::from_seed(root.admin().expect("granted").expose());
        let source = tempfile::tempdir().expect("a folder");
        for number in 0..4u8 {
            std::fs::write(source.path().join(format!("file-{number}")), [number; 2000]).expect("written");
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_800_000_000_000)));
        let stage = Self { repository, admin, source, clock, kept: Mutex::default() };
        stage.keep(&memory);
        Arc::new(stage)
    }

    /// Puts the objects aside for [`Stage::fresh`].
    pub(in crate::engine) fn keep(&self, memory: &MemoryStorage) {
        let all = list_all(memory, "").expect("listed").into_iter().map(|stat| {
            let bytes = memory.get(&stat.name, Span::Whole, Read::Quick).expect("read");
            (stat.name, bytes)
        });
        *self.kept.lock().expect("nobody panics") = all.collect();
    }

    /// A storage with what was put aside.
    pub(in crate::engine) fn fresh(&self) -> Arc<MemoryStorage> {
        let memory = MemoryStorage::new();
        for (name, bytes) in self.kept.lock().expect("nobody panics").iter() {
            memory.put_new(name, bytes.clone()).expect("put");
        }
        Arc::new(memory)
    }

    /// The same, dated by the stage's clock.
    pub(in crate::engine) fn fresh_dated(&self) -> Arc<MemoryStorage> {
        let memory = MemoryStorage::with_clock(self.clock.clone());
        for (name, bytes) in self.kept.lock().expect("nobody panics").iter() {
            memory.put_new(name, bytes.clone()).expect("put");
        }
        Arc::new(memory)
    }

    /// A backup of the source to these storages.
    pub(in crate::engine) fn backup(
        &self,
        storages: &[Arc<dyn Storage>],
        kind: SnapshotKind,
    ) -> Result<BackupOutcome, EngineError> {
        self.backup_by(storages, kind, SourceRule::default())
    }

    /// The same, of a source that has to look like this.
    pub(in crate::engine) fn backup_by(
        &self,
        storages: &[Arc<dyn Storage>],
        kind: SnapshotKind,
        rule: SourceRule,
    ) -> Result<BackupOutcome, EngineError> {
        let targets = (0..).zip(storages).map(|(number, storage)| Target {
            name: format!("target-{number}"),
            storage: Arc::clone(storage),
            in_flight: 1,
        });
        let repository = self.repository.with_targets(targets.collect());
        self.clock.advance(std::time::Duration::from_secs(60));
        let request = self.asked(kind, rule);
        backup(&repository, &request, &Context { clock: self.clock.clone(), workers: 1, ..Context::quiet() })
    }

    /// What such a backup asks for.
    pub(in crate::engine) fn asked(&self, kind: SnapshotKind, rule: SourceRule) -> BackupRequest {
        BackupRequest {
            roots: vec![self.source.path().to_owned()],
            kind,
            host: "stage".to_owned(),
            policy: None,
            tags: Vec::new(),
            parent: ParentChoice::Newest,
            walk: WalkOptions { exclude_caches: true, ..WalkOptions::default() },
            freeze: Freeze::None,
            stream: None,
            rule,
            effort: crate::base::effort::Effort::Auto,
            checkpoint: CheckpointRule::default(),
            run_id: None,
            occurrence: None,
            sight: Sight::All,
        }
    }

    /// A plan over these packs and proposals becomes visible.
    pub(in crate::engine) fn plan(
        &self,
        memory: &MemoryStorage,
        packs: Vec<(PackClass, ObjectHash)>,
        proposals: Vec<String>,
    ) {
        let plan = PlanBody::new(packs, proposals);
        let (bytes, id) =
            plan.seal(&self.repository.id(), &self.admin, self.repository.keys()).expect("sealed");
        memory.put_new(&name(&format!("g/20270115T080000Z-{id}")), Bytes::from(bytes)).expect("put");
    }

    fn plans(&self, memory: &MemoryStorage) -> Vec<(ObjectName, PlanBody)> {
        let open = |stat: Stat| {
            let bytes = memory.get(&stat.name, Span::Whole, Read::Quick).expect("read");
            let admin = &self.repository.format().admin_public;
            let plan = PlanBody::open(&bytes, &self.repository.id(), admin, self.repository.keys());
            (stat.name, plan.expect("a plan of ours"))
        };
        list_all(memory, "g/").expect("listed").into_iter().map(open).collect()
    }

    /// The packs that a snapshot object names.
    pub(in crate::engine) fn packs_of(
        &self,
        memory: &MemoryStorage,
        name: &SnapshotName,
    ) -> Vec<(PackClass, ObjectHash)> {
        let bytes = memory.get(&name.proposal(), Span::Whole, Read::Quick).expect("read");
        let object = Object::decode(&bytes, &self.repository.id(), Some(self.repository.keys()));
        match SnapshotBody::decode(&object.expect("sound").body).expect("a snapshot").pack_set {
            PackSetRef::Inline(packs) => packs,
            PackSetRef::Blob(_) => panic!("the source is too small for a long pack set"),
        }
    }

    /// Puts a request to forget that the administrator signed.
    pub(in crate::engine) fn request(&self, memory: &MemoryStorage, id: &ObjectHash) {
        let bytes = ForgetRequest { snapshot: *id }.encode(&self.repository.id(), &self.admin);
        let bytes = Bytes::from(bytes.expect("encoded"));
        memory.put_new(&name(&format!("f/{id}")), bytes).expect("put");
    }

    /// A sweeper's look: what it will delete, in its order. Roots are all snapshot objects but
    /// those that a plan names and that are not confirmed, and those to be forgotten. Packs that a
    /// root needs are left alone, where a real sweeper would move what is live in them.
    pub(in crate::engine) fn look(&self, memory: &MemoryStorage) -> Vec<ObjectName> {
        let plans = self.plans(memory);
        let (proposals, confirmed) = snapshots(memory);
        let forgotten: HashSet<String> =
            list_all(memory, "f/").expect("listed").iter().map(|s| s.name.last().to_owned()).collect();
        let mut doomed = Vec::new();
        let mut needed = HashSet::new();
        for proposal in &proposals {
            let is_condemned = plans.iter().any(|(_, plan)| plan.names_proposal(proposal));
            if forgotten.contains(&proposal.id.to_hex()) {
                doomed.extend([proposal.confirmation(), proposal.proposal()]);
            } else if is_condemned && !confirmed.contains(proposal) {
                doomed.push(proposal.proposal());
            } else {
                needed.extend(self.packs_of(memory, proposal).into_iter().map(|(_, hash)| hash));
            }
        }
        for hash in plans.iter().flat_map(|(_, plan)| plan.packs()).filter(|hash| !needed.contains(hash)) {
            doomed.extend([PackClass::Data, PackClass::Meta].map(|class| pack_name(class, &hash)));
        }
        doomed
    }

    /// Plans all of whose packs are gone are taken away, as early as any sweeper could.
    pub(in crate::engine) fn end_plans(&self, memory: &MemoryStorage) {
        for (name, plan) in self.plans(memory) {
            let stands = plan.packs().any(|hash| {
                [PackClass::Data, PackClass::Meta]
                    .iter()
                    .any(|class| memory.head(&pack_name(*class, &hash)).expect("looked").is_some())
            });
            let (proposals, _) = snapshots(memory);
            if !stands && !proposals.iter().any(|proposal| plan.names_proposal(proposal)) {
                memory.delete(&name).expect("deleted");
            }
        }
    }

    /// Every snapshot that is valid now has all its packs. Says which are valid.
    pub(in crate::engine) fn check(&self, memory: &MemoryStorage, case: &str) -> BTreeSet<ObjectHash> {
        let mut valid = BTreeSet::new();
        let (proposals, confirmed) = snapshots(memory);
        for proposal in proposals.iter().filter(|proposal| confirmed.contains(*proposal)) {
            if memory.head(&name(&format!("f/{}", proposal.id))).expect("looked").is_some() {
                continue;
            }
            for (class, hash) in self.packs_of(memory, proposal) {
                let there = memory.head(&pack_name(class, &hash)).expect("looked").is_some();
                assert!(there, "{case}: snapshot {} is valid without pack {hash}", proposal.id.short());
            }
            valid.insert(proposal.id);
        }
        valid
    }
}

/// Proposals, and those of them that are confirmed.
pub(in crate::engine) fn snapshots(memory: &MemoryStorage) -> (Vec<SnapshotName>, HashSet<SnapshotName>) {
    let (mut proposals, mut confirmed) = (Vec::new(), HashSet::new());
    for stat in list_all(memory, "s/").expect("listed") {
        match parse_snapshot_name(&stat.name).expect("a name of ours") {
            SnapshotEntry::Proposal(name) => proposals.push(name),
            SnapshotEntry::Confirmation(name) => drop(confirmed.insert(name)),
        }
    }
    (proposals, confirmed)
}

/// All packs that a storage holds.
pub(in crate::engine) fn packs(memory: &MemoryStorage) -> Vec<(PackClass, ObjectHash)> {
    let of = |class, prefix| {
        let stats = list_all(memory, prefix).expect("listed");
        stats.into_iter().map(move |stat| (class, stat.name.last().parse().expect("a hash")))
    };
    of(PackClass::Data, "p/").chain(of(PackClass::Meta, "m/")).collect()
}

pub(in crate::engine) fn target(storage: Arc<dyn Storage>) -> Target {
    Target { name: "memory".to_owned(), storage, in_flight: 1 }
}

pub(in crate::engine) fn name(text: &str) -> ObjectName {
    text.parse().expect("a name")
}

/// The next number of a seed's sequence (SplitMix64).
pub(in crate::engine) fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

//! The damage matrix, in one process: each kind of object, each kind of damage, each operation.
//!
//! Damage is noticed and named by `verify`; nothing ever says that it succeeded and gives other
//! bytes; nothing panics; and a repair from the twin makes the place whole again, byte for byte.
//!
//! The ordinary run tries some fifty cells of the matrix, with a seed that it prints.
//! `LIFEBOAT_TORTURE_ROUNDS=N` tries all of them N times, `LIFEBOAT_SEED=S` those of that seed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use lifeboat::app::plumbing::repair_at;
use lifeboat::base::effort::Effort;
use lifeboat::base::error::Chain;
use lifeboat::codec::kdf::KdfParams;
use lifeboat::codec::sign::Signer;
use lifeboat::engine::backup::backup;
use lifeboat::engine::backup::request::{BackupRequest, CheckpointRule, Freeze, ParentChoice, SourceRule};
use lifeboat::engine::context::Context;
use lifeboat::engine::history::Sight;
use lifeboat::engine::ls;
use lifeboat::engine::repair::{RepairOutcome, StepEnd};
use lifeboat::engine::restore::request::{Mode, Others, RestoreRequest};
use lifeboat::engine::restore::restore;
use lifeboat::engine::sync::{sync, sync_keyless};
use lifeboat::engine::verify::{Depth, VerifyOutcome, verify};
use lifeboat::repository::access::{CreateOptions, Repository, Target};
use lifeboat::repository::format::forget::ForgetRequest;
use lifeboat::repository::format::names::PackClass;
use lifeboat::repository::format::plan::PlanBody;
use lifeboat::repository::format::repo_fmt::RepoFmt;
use lifeboat::repository::format::slot::{SlotSecret, open_slot};
use lifeboat::repository::format::snapshot::SnapshotKind;
use lifeboat::repository::load;
use lifeboat::repository::reader::BlobReader;
use lifeboat::repository::snapshots;
use lifeboat::source::files::{Existing, Owner, WalkOptions};
use lifeboat::storage::contract::{ObjectName, Read, Span, Storage, list_all};
use lifeboat::storage::memory::MemoryStorage;

use crate::lab::{files, noise};

/// A tree, or a place: names and bytes.
type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    RepoFmt,
    Slot,
    Cert,
    DataPack,
    MetaPack,
    Run,
    Snapshot,
    Confirmation,
    Plan,
    Forget,
}

const KINDS: [Kind; 10] = [
    Kind::RepoFmt,
    Kind::Slot,
    Kind::Cert,
    Kind::DataPack,
    Kind::MetaPack,
    Kind::Run,
    Kind::Snapshot,
    Kind::Confirmation,
    Kind::Plan,
    Kind::Forget,
];

impl Kind {
    fn has(self, name: &str) -> bool {
        match self {
            Self::RepoFmt => name == "repo.fmt",
            Self::Slot => name.starts_with("keys/slot-"),
            Self::Cert => name.starts_with("keys/cert-"),
            Self::DataPack => name.starts_with("p/"),
            Self::MetaPack => name.starts_with("m/"),
            Self::Run => name.starts_with("i/"),
            Self::Snapshot => name.starts_with("s/") && !name.ends_with(".ok"),
            Self::Confirmation => name.starts_with("s/") && name.ends_with(".ok"),
            Self::Plan => name.starts_with("g/"),
            Self::Forget => name.starts_with("f/"),
        }
    }

    /// Without it the repository cannot be opened at all, so nobody can name more than the place.
    fn opens(self) -> bool {
        matches!(self, Self::RepoFmt | Self::Slot)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    FlipHeader,
    FlipMiddle,
    FlipTrailer,
    FlipAnywhere,
    Empty,
    Half,
    LastByte,
    Appended,
    ZeroPage,
    Missing,
    Exchanged,
    Doubled,
    Older,
}

const HARMS: [Harm; 13] = [
    Harm::FlipHeader,
    Harm::FlipMiddle,
    Harm::FlipTrailer,
    Harm::FlipAnywhere,
    Harm::Empty,
    Harm::Half,
    Harm::LastByte,
    Harm::Appended,
    Harm::ZeroPage,
    Harm::Missing,
    Harm::Exchanged,
    Harm::Doubled,
    Harm::Older,
];

/// What can be known of a damage from the place alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// `verify` names it.
    Named,
    /// There is one snapshot less than before: what lacks its confirmation is no backup.
    Fewer,
    /// None: a place without a plan, or without a request to forget, is a sound place.
    None,
}

fn trace(kind: Kind, harm: Harm) -> Trace {
    match (kind, harm) {
        (Kind::Confirmation, Harm::Missing) => Trace::Fewer,
        (Kind::Plan, Harm::Missing) => Trace::None,
        // One that is damaged is none: the snapshot is seen again, and nothing is lost.
        (Kind::Forget, _) => Trace::None,
        _ => Trace::Named,
    }
}

/// SplitMix64.
fn draw(seed: &mut u64, below: u64) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) % below.max(1)).expect("small")
}

fn name(text: &str) -> ObjectName {
    text.parse().expect("a name")
}

fn target(label: &str, storage: &Arc<MemoryStorage>) -> Target {
    Target { name: label.to_owned(), storage: storage.clone(), in_flight: 2 }
}

fn dump(storage: &MemoryStorage) -> Files {
    let read = |name: &ObjectName| storage.get(name, Span::Whole, Read::Quick).expect("read").to_vec();
    let all = list_all(storage, "").expect("listed");
    all.into_iter().map(|stat| (stat.name.to_string(), read(&stat.name))).collect()
}

fn filled(files: &Files) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    for (text, bytes) in files {
        storage.put_new(&name(text), Bytes::copy_from_slice(bytes)).expect("put");
    }
    Arc::new(storage)
}

fn tree(dir: &Path) -> Files {
    let relative = |path: &Path| path.strip_prefix(dir).expect("below").to_str().expect("UTF-8").to_owned();
    files(dir).iter().map(|path| (relative(path), std::fs::read(path).expect("read"))).collect()
}

/// Three snapshots of two hosts at two places, a fourth that is forgotten, and a plan at one.
struct Stage {
    folder: tempfile::TempDir,
    passphrase: SlotSecret,
    /// The place that gets hurt.
    place: Files,
    /// Its twin.
    twin: Arc<MemoryStorage>,
    /// What each valid snapshot restores to.
    expected: BTreeMap<String, Files>,
    cx: Context,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let passphrase = SlotSecret::passphrase("matrix");
        let options = CreateOptions {
            pack_bytes: 8 << 20,
            kdf: KdfParams { memory_kib: 8 * 1024, passes: 1, lanes: 1 },
            parity: 0,
        };
        let (one, two) = (Arc::new(MemoryStorage::new()), Arc::new(MemoryStorage::new()));
        let cx = Context { workers: 1, ..Context::quiet() };
        let first = Repository::create(target("one", &one), &passphrase, options).expect("made");
        let both = first.extend_to(&target("two", &two)).expect("made");
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("below")).expect("made");
        for number in 0..6u64 {
            std::fs::write(source.join(format!("small-{number}")), noise(number, 3000)).expect("written");
        }
        std::fs::write(source.join("large"), noise(77, 700_000)).expect("written");
        std::fs::write(source.join("below/file"), b"in the folder below").expect("written");
        let mut stage =
            Self { folder, passphrase, place: Files::new(), twin: two, expected: BTreeMap::new(), cx };
        for (number, host) in ["alpha", "alpha", "beta", "beta"].into_iter().enumerate() {
            std::fs::write(source.join("changing"), noise(100 + number as u64, 200_000)).expect("written");
            let id = stage.backup(&both, host).expect("backed up");
            stage.expected.insert(id.clone(), tree(&source));
            if number == 3 {
                stage.expected.remove(&id);
                let request = ForgetRequest { snapshot: id.parse().expect("an id") };
                let admin = first.admin().expect("granted");
                let request = Bytes::from(request.encode(&first.id(), &admin).expect("encoded"));
                for place in [&one, &stage.twin] {
                    place.put_new(&name(&format!("f/{id}")), request.clone()).expect("put");
                }
            }
        }
        stage.announce(&first, &one);
        stage.place = dump(&one);
        stage
    }

    /// A plan over a pack that is nowhere, signed by the administrator.
    fn announce(&self, repository: &Repository, place: &MemoryStorage) {
        let format = repository.format();
        let slot = list_all(place, "keys/slot-").expect("listed").remove(0).name;
        let slot = place.get(&slot, Span::Whole, Read::Quick).expect("read");
        let root = open_slot(&slot, &format.encode(), format, &self.passphrase).expect("opened");
        let admin = Signer::from_seed(root.admin().expect("granted").expose());
        let nowhere = lifeboat::codec::hash::object(b"nowhere");
        let plan = PlanBody::new(vec![(PackClass::Data, nowhere)], Vec::new());
        let (bytes, id) = plan.seal(&repository.id(), &admin, repository.keys()).expect("sealed");
        place.put_new(&name(&format!("g/20270115T080000Z-{id}")), Bytes::from(bytes)).expect("put");
    }

    fn backup(&self, repository: &Repository, host: &str) -> Result<String, String> {
        let request = BackupRequest {
            roots: vec![self.folder.path().join("source")],
            kind: SnapshotKind::Incremental,
            host: host.to_owned(),
            policy: None,
            tags: Vec::new(),
            parent: ParentChoice::Newest,
            walk: WalkOptions::default(),
            freeze: Freeze::None,
            stream: None,
            rule: SourceRule::default(),
            effort: Effort::Auto,
            checkpoint: CheckpointRule::default(),
            run_id: None,
            occurrence: None,
            sight: Sight::All,
        };
        let outcome = backup(repository, &request, &self.cx).map_err(|error| Chain(&error).to_string())?;
        match outcome.targets.iter().find(|target| !target.complete) {
            Some(lagging) => Err(lagging.reason.clone().unwrap_or_default()),
            None => Ok(outcome.snapshot.to_hex()),
        }
    }

    fn open(&self, place: &Arc<MemoryStorage>) -> Result<Repository, String> {
        let opened = Repository::open(vec![target("hurt", place)], &self.passphrase);
        opened.map_err(|error| Chain(&error).to_string())
    }

    /// What a restore gives, or why it gives nothing or not all.
    fn restore(&self, repository: &Repository, id: &str) -> Result<Files, String> {
        let said = |error: &dyn std::error::Error| Chain(error).to_string();
        let place = &repository.targets()[0];
        let snapshot = snapshots::find(repository, place, id).map_err(|error| said(&error))?;
        let to = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let request = RestoreRequest {
            to: to.path().join("back"),
            paths: Vec::new(),
            existing: Existing::Refuse,
            owner: Owner::Keep,
            others: Others::Keep,
            mode: Mode::Write,
            ours: Vec::new(),
        };
        let outcome = restore(repository, &snapshot, &request, Read::Medium, &self.cx);
        let outcome = outcome.map_err(|error| said(&error))?;
        match outcome.failed.named.first() {
            Some(failed) => Err(format!("{}: {}", failed.path, failed.reason)),
            None => Ok(tree(&request.to)),
        }
    }

    fn list(&self, repository: &Repository, id: &str) -> Result<usize, String> {
        let said = |error: &dyn std::error::Error| Chain(error).to_string();
        let place = &repository.targets()[0];
        let snapshot = snapshots::find(repository, place, id).map_err(|error| said(&error))?;
        let loaded = load::load(repository, repository.targets()).map_err(|error| said(&error))?;
        let reader = BlobReader::new(repository, &loaded.index, vec![place], Read::Quick);
        let mut count = 0;
        let mut visit = |_: &[u8], _: &lifeboat::repository::manifest::Entry| {
            count += 1;
            ControlFlow::Continue(())
        };
        ls::entries(&reader, &snapshot, &mut visit).map_err(|error| said(&error))?;
        Ok(count)
    }

    fn repair(&self, place: &Arc<MemoryStorage>, twin: bool, dry_run: bool) -> Result<RepairOutcome, String> {
        let sources = if twin { vec![target("twin", &self.twin)] } else { Vec::new() };
        repair_at(&target("hurt", place), &sources, &self.passphrase, dry_run, &self.cx)
            .map_err(|failure| failure.message())
    }

    /// Everything that a place with this repository promises, kept or refused with a word.
    fn is_honest(&self, place: &Arc<MemoryStorage>, case: &str) {
        let Ok(repository) = self.open(place) else { return };
        for (id, expected) in &self.expected {
            match self.restore(&repository, id) {
                Ok(files) => {
                    assert!(files == *expected, "{case}: {id} came back otherwise, and nobody said so");
                }
                Err(why) => assert!(!why.is_empty(), "{case}: failed without a word"),
            }
            if let Ok(count) = self.list(&repository, id) {
                assert_eq!(count, expected.len() + 1, "{case}: the listing of {id} lacks something");
            }
        }
    }

    /// Whether every snapshot restores, signed and all.
    fn misses_nothing(&self, files: &Files) -> bool {
        let place = filled(files);
        let Ok(repository) = self.open(&place) else { return false };
        let Ok((found, _)) = snapshots::load_all(&repository, &repository.targets()[0]) else { return false };
        let all_signed = found.iter().filter(|snapshot| snapshot.signed).count() == self.expected.len();
        all_signed && self.expected.keys().all(|id| self.restore(&repository, id).is_ok())
    }

    fn is_whole(&self, place: &Arc<MemoryStorage>, case: &str) {
        let repository = self.open(place).unwrap_or_else(|why| panic!("{case}: {why}"));
        let found = verify(&repository.targets()[0], Some(&repository), Depth::Blobs, &self.cx);
        let found = found.unwrap_or_else(|error| panic!("{case}: {}", Chain(&error)));
        assert!(found.is_clean(), "{case}: {found:#?}");
        assert_eq!(found.whole.len(), self.expected.len(), "{case}");
        for (id, expected) in &self.expected {
            let files = self.restore(&repository, id).unwrap_or_else(|why| panic!("{case}: {why}"));
            assert!(files == *expected, "{case}: {id} came back otherwise");
        }
    }
}

/// Harms a place: the names that are hurt, or nothing where that cannot be done.
fn harm(place: &mut Files, kind: Kind, harm: Harm, seed: &mut u64) -> Option<Vec<String>> {
    let forgotten = place.keys().find_map(|name| name.strip_prefix("f/")).unwrap_or_default().to_owned();
    let fits = |name: &&String| {
        kind.has(name) && (kind == Kind::Forget || harm != Harm::Missing || !name.contains(&forgotten))
    };
    let all: Vec<String> = place.keys().filter(fits).cloned().collect();
    let victim = all[draw(seed, all.len() as u64)].clone();
    let whole = place[&victim].clone();
    let mut bytes = whole.clone();
    let (len, middle) = (bytes.len(), bytes.len() / 2);
    let bit = 1 << draw(seed, 8);
    match harm {
        Harm::FlipHeader => bytes[draw(seed, len.min(64) as u64)] ^= bit,
        Harm::FlipMiddle => bytes[middle] ^= bit,
        Harm::FlipTrailer => bytes[len - 1 - draw(seed, len.min(100) as u64)] ^= bit,
        Harm::FlipAnywhere => bytes[draw(seed, len as u64)] ^= bit,
        Harm::Empty => bytes.clear(),
        Harm::Half => bytes.truncate(middle),
        Harm::LastByte => drop(bytes.pop()),
        Harm::Appended => bytes.push(0),
        Harm::ZeroPage => {
            let page = draw(seed, len.div_ceil(4096) as u64) * 4096;
            bytes[page..(page + 4096).min(len)].fill(0);
        }
        Harm::Missing => {
            place.remove(&victim);
            return Some(vec![victim]);
        }
        Harm::Exchanged => {
            let other = all.iter().find(|other| place[*other] != whole)?.clone();
            bytes.clone_from(&place[&other]);
            place.insert(victim.clone(), bytes);
            place.insert(other.clone(), whole);
            return Some(vec![victim, other]);
        }
        Harm::Doubled => {
            let (start, _) = victim.rmatch_indices('-').next().or(victim.rmatch_indices('/').next())?;
            let mut double = victim.clone().into_bytes();
            double[start + 5] = if double[start + 5] == b'0' { b'1' } else { b'0' };
            let double = String::from_utf8(double).expect("ASCII");
            place.insert(double.clone(), whole);
            return Some(vec![double]);
        }
        Harm::Older if kind == Kind::RepoFmt => {
            let mut format = RepoFmt::decode(&whole).expect("sound");
            format.pack_bytes *= 2;
            bytes = format.encode();
        }
        Harm::Older => {
            bytes.clone_from(all.iter().map(|older| &place[older]).find(|older| **older != whole)?)
        }
    }
    (bytes != whole).then(|| {
        place.insert(victim.clone(), bytes);
        vec![victim]
    })
}

/// Says how `verify` told of the damage.
fn noticed(
    stage: &Stage,
    place: &Arc<MemoryStorage>,
    cell: (Kind, Harm, Trace),
    hurt: &[String],
    case: &str,
) {
    let (kind, harm, trace) = cell;
    let repository = match stage.open(place) {
        Ok(repository) => repository,
        Err(why) => {
            assert!(kind.opens() && !why.is_empty(), "{case}: {why}");
            if harm != Harm::Missing {
                let keyless = verify(&target("hurt", place), None, Depth::Objects, &stage.cx);
                let found = keyless.unwrap_or_else(|error| panic!("{case}: {}", Chain(&error)));
                // Without the key nobody knows that a sound `repo.fmt` is not the one it was.
                let replaced = kind == Kind::RepoFmt && harm == Harm::Older;
                assert!(replaced || all_named(&found, hurt), "{case}: {found:#?}");
            }
            return;
        }
    };
    for depth in [Depth::Objects, Depth::Blobs] {
        let found = verify(&repository.targets()[0], Some(&repository), depth, &stage.cx);
        let found = found.unwrap_or_else(|error| panic!("{case}: {}", Chain(&error)));
        let all = u64::try_from(stage.expected.len()).expect("few");
        match trace {
            Trace::Named if kind == Kind::Cert && harm == Harm::Missing => {
                let says = found.problems.iter().any(|problem| problem.what.contains("no signature"));
                assert!(says, "{case}: {found:#?}");
            }
            Trace::Named => assert!(all_named(&found, hurt), "{case}: {found:#?}"),
            Trace::Fewer => assert_eq!(found.snapshots, all - 1, "{case}"),
            Trace::None => assert_eq!(found.problem_count, 0, "{case}: {found:#?}"),
        }
        // A pack of the forgotten snapshot alone hurts none that counts.
        let hurt_paths = found.hurt.iter().any(|hurt| hurt.paths > 0);
        if matches!(kind, Kind::DataPack | Kind::MetaPack | Kind::Run) && !hurt_paths {
            for id in stage.expected.keys() {
                let back = stage.restore(&repository, id);
                assert!(back.is_ok(), "{case}: no path is named, and {back:?}\n{found:#?}");
            }
        }
    }
}

fn all_named(found: &VerifyOutcome, hurt: &[String]) -> bool {
    let is_named = |name: &String| {
        let id = name.rsplit(['/', '-']).next().unwrap_or(name);
        found.problems.iter().any(|problem| problem.object.contains(id) || problem.object == *name)
    };
    hurt.iter().all(is_named)
}

fn cell(stage: &Stage, kind: Kind, of: Harm, seed: &mut u64) -> Option<&'static str> {
    let case = format!("{kind:?} {of:?}, seed {seed:#x}");
    let mut hurt_place = stage.place.clone();
    // Of a request to forget and a plan there is one: nothing to be exchanged with.
    let hurt = harm(&mut hurt_place, kind, of, seed)?;
    let trace = match trace(kind, of) {
        // What only the forgotten snapshot needed nobody misses; `noticed` sees to it that nobody does.
        Trace::Named if of == Harm::Missing && stage.misses_nothing(&hurt_place) => Trace::None,
        trace => trace,
    };
    noticed(stage, &filled(&hurt_place), (kind, of, trace), &hurt, &case);
    stage.is_honest(&filled(&hurt_place), &case);
    let place = filled(&hurt_place);
    if let Ok(repository) = stage.open(&place)
        && stage.backup(&repository, "alpha").is_ok()
    {
        stage.is_honest(&place, &case);
    }
    nothing_hurt_is_copied(stage, &hurt_place, &case);
    let place = filled(&hurt_place);
    let planned = stage.repair(&place, true, true).unwrap_or_else(|why| panic!("{case}: {why}"));
    assert!(dump(&place) == hurt_place, "{case}: a dry run changed something");
    let done = stage.repair(&place, true, false).unwrap_or_else(|why| panic!("{case}: {why}"));
    let plan = |outcome: &RepairOutcome| -> Vec<_> {
        outcome.steps.iter().map(|step| (step.object.clone(), step.means.clone())).collect()
    };
    assert_eq!(plan(&planned), plan(&done), "{case}: the plan was another one");
    match trace {
        // A plan is one target's own. Only a sweep may take it away.
        Trace::Named if kind == Kind::Plan => {
            assert!(!done.is_whole(), "{case}: {done:#?}");
            assert!(done.remaining.iter().any(|problem| hurt.contains(&problem.object)), "{case}");
            Some("named  stays")
        }
        Trace::Named => {
            assert!(done.is_whole(), "{case}: {done:#?}");
            assert!(!planned.is_whole(), "{case}: {planned:#?}");
            stage.is_whole(&place, &case);
            let after = dump(&place);
            for (name, bytes) in &stage.place {
                let same = after.get(name).is_none_or(|now| now == bytes);
                assert!(same, "{case}: {name} is another one now");
            }
            let ends = done.steps.iter().all(|step| !matches!(step.end, StepEnd::Failed { .. }));
            assert!(ends, "{case}: {done:#?}");
            let again = stage.repair(&place, true, false).unwrap_or_else(|why| panic!("{case}: {why}"));
            assert!(again.steps.is_empty() && again.is_whole(), "{case}: {again:#?}");
            Some("named  mended")
        }
        Trace::Fewer => {
            assert!(done.is_whole() && done.steps.is_empty(), "{case}: {done:#?}");
            Some("fewer  sound")
        }
        Trace::None => {
            assert!(done.is_whole(), "{case}: {done:#?}");
            Some("       sound")
        }
    }
}

/// What a sync makes of a hurt place is whole, or was refused with a word.
fn nothing_hurt_is_copied(stage: &Stage, hurt: &Files, case: &str) {
    for keyed in [true, false] {
        let (place, fresh) = (filled(hurt), Arc::new(MemoryStorage::new()));
        let (from, to) = (target("hurt", &place), target("fresh", &fresh));
        if keyed {
            let Ok(repository) = stage.open(&place) else { continue };
            drop(sync(&repository, &from, &to, &stage.cx));
        } else {
            drop(sync_keyless(&from, &to, &stage.cx));
        }
        if let Ok(bytes) = fresh.get(&name("repo.fmt"), Span::Whole, Read::Quick) {
            assert!(RepoFmt::decode(&bytes).is_ok(), "{case}: sync ({keyed}) copied a damaged repo.fmt");
        }
        let Ok(repository) = stage.open(&fresh) else { continue };
        let (valid, _) =
            snapshots::load_all(&repository, &to).unwrap_or_else(|error| panic!("{case}: {error}"));
        for snapshot in valid {
            if let Some(expected) = stage.expected.get(&snapshot.id.to_hex()) {
                match stage.restore(&repository, &snapshot.id.to_hex()) {
                    Ok(files) => assert!(files == *expected, "{case}: sync ({keyed}) copied other bytes"),
                    Err(why) => assert!(!keyed, "{case}: sync confirmed what is not whole: {why}"),
                }
            }
        }
    }
}

#[test]
fn each_damage_of_each_kind_of_object_is_noticed_named_and_mended() {
    let rounds: Option<u64> =
        std::env::var("LIFEBOAT_TORTURE_ROUNDS").ok().and_then(|text| text.parse().ok());
    let given = std::env::var("LIFEBOAT_SEED").ok().and_then(|text| text.parse().ok());
    let first: u64 = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("LIFEBOAT_SEED={first}");
    let stage = Stage::new();
    let (mut cells, mut failed) = (0, 0);
    for round in 0..rounds.unwrap_or(1) {
        let mut seed = first.wrapping_add(round);
        for kind in KINDS {
            for (number, of) in HARMS.into_iter().enumerate() {
                // The ordinary run takes every fourth of them, and always what differs most.
                let always = matches!(of, Harm::Missing | Harm::Doubled | Harm::Exchanged);
                let chosen = draw(&mut seed, 4) == 0 || always || rounds.is_some();
                if !chosen || (kind == Kind::Forget && number % 4 != 0 && rounds.is_none()) {
                    continue;
                }
                let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    cell(&stage, kind, of, &mut seed)
                }));
                let end = match tried {
                    Ok(None) => continue,
                    Ok(Some(end)) => end,
                    Err(_) => "FAILED",
                };
                cells += 1;
                failed += u32::from(end == "FAILED");
                println!("{:<14} {:<14} {end}", format!("{kind:?}"), format!("{of:?}"));
            }
        }
    }
    // Which are tried is drawn: 50 on average.
    assert!(cells >= 30, "only {cells} cells of the matrix were tried");
    assert_eq!(failed, 0, "of {cells} cells; see above, each with its seed");
    println!("{cells} cells of the matrix: none silent, none wrong");
}

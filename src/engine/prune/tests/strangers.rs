//! A host that only adds and means ill: it can name any content it knows, and store anything under
//! that name. Nobody else may lose a byte by it.

use std::sync::Arc;

use bytes::Bytes;

use super::stage::Case;
use crate::base::clock::Clock;
use crate::base::id::{BlobId, ObjectHash};
use crate::base::secret::Secret;
use crate::codec::compress::Compression;
use crate::codec::kdf::KdfParams;
use crate::codec::sign::Signer;
use crate::engine::backup::backup;
use crate::engine::backup::outcome::BackupOutcome;
use crate::engine::backup::request::SourceRule;
use crate::engine::backup::tests::stage::{Stage, packs, target};
use crate::engine::error::EngineError;
use crate::engine::verify::{Depth, verify};
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::format::error::FormatError;
use crate::repository::format::index_run::{IndexRun, RunPack};
use crate::repository::format::keys::{BlobKind, Role};
use crate::repository::format::names::{PackClass, SnapshotName, index_name, pack_name};
use crate::repository::format::object::{ObjectHeader, ObjectKind, Sealing, encode};
use crate::repository::format::pack::{BlobRow, PackBuilder};
use crate::repository::format::slot::SlotSecret;
use crate::repository::format::snapshot::{SnapshotKind, confirmation_body};
use crate::repository::index::Index;
use crate::repository::reader::BlobReader;
use crate::repository::{load, needs, slots, snapshots};
use crate::storage::contract::{Read, Storage};

const HOST: &str = "stranger";

/// A host that only adds, with its key.
struct Stranger {
    repository: Repository,
    signer: Signer,
}

impl Stranger {
    fn new(case: &Case) -> Self {
        let admin = case.stage.repository.with_targets(vec![target(case.storage())]);
        let (secret, role) = (SlotSecret::KeyFile(Secret::new([5; 32])), Role::WriteOnly(HOST.to_owned()));
        let made = slots::make(&admin, &role, &secret, KdfParams::default()).expect("a slot");
        slots::certify(&admin, &admin.targets()[0], &role).expect("certified");
        slots::put(&admin, &admin.targets()[0], &made, &secret).expect("put");
        let repository = Repository::open(vec![target(case.storage())], &secret).expect("opened");
        assert_eq!(repository.role(), role);
        let signer = repository.signer(HOST).expect("its key");
        Self { repository, signer }
    }

    /// A pack of garbage that claims to be these chunks, and the run that lists it.
    fn claim(&self, case: &Case, ids: &[BlobId], seed: u8) -> RunPack {
        let identity = self.repository.pack_identity(PackClass::Data, self.signer.id());
        let mut builder = PackBuilder::new(identity, Vec::new());
        for id in ids {
            let row = BlobRow {
                id: *id,
                kind: BlobKind::Chunk,
                plain_bytes: 1000,
                compression: Compression::Raw,
                level: 0,
            };
            builder.push(&row, &[seed; 1000]).expect("pushed");
        }
        let made = builder.finish(&self.signer, self.repository.keys()).expect("finished");
        let pack = RunPack {
            hash: made.name,
            class: PackClass::Data,
            signer: self.signer.id(),
            bytes: u64::try_from(made.bytes.len()).expect("small"),
            foot_offset: made.foot_offset,
        };
        let mut run = IndexRun { packs: vec![pack.clone()], entries: made.entries(), ..IndexRun::default() };
        run.entries.sort_unstable();
        case.memory.put_new(&pack_name(PackClass::Data, &made.name), Bytes::from(made.bytes)).expect("put");
        self.publish(case, &run);
        pack
    }

    fn publish(&self, case: &Case, run: &IndexRun) {
        let (bytes, id) =
            run.seal(&self.repository.id(), &self.signer, self.repository.keys()).expect("sealed");
        case.memory.put_new(&index_name(0, &id), Bytes::from(bytes)).expect("put");
    }

    fn backup(&self, case: &Case) -> Result<BackupOutcome, EngineError> {
        let asked = case.stage.asked(SnapshotKind::Incremental, SourceRule::default());
        let request = crate::engine::backup::request::BackupRequest { host: HOST.to_owned(), ..asked };
        case.stage.clock.advance(std::time::Duration::from_secs(60));
        backup(&self.repository, &request, &case.cx())
    }
}

fn index(case: &Case) -> Index {
    load::load(&case.stage.repository, &[target(case.storage())]).expect("loaded").index
}

/// The chunks of the files that the case wrote.
fn chunks(case: &Case) -> Vec<BlobId> {
    let index = index(case);
    let mut ids: Vec<BlobId> = index
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("an entry"))
        .filter(|(_, at)| {
            index.pack(at.pack).expect("asked").is_some_and(|pack| pack.class == PackClass::Data)
        })
        .map(|(id, _)| id)
        .collect();
    ids.dedup();
    ids
}

/// How many snapshots are whole; none is hurt. The stranger's garbage is a problem of its packs alone.
#[track_caller]
fn whole(case: &Case) -> usize {
    let found = verify(&target(case.storage()), Some(&case.stage.repository), Depth::Blobs, &case.cx());
    let found = found.expect("verified");
    assert!(found.hurt.is_empty(), "{found:#?}");
    found.whole.len()
}

fn writes_only(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Format(FormatError::WritesOnly))
}

#[test]
fn it_opens_nothing_that_is_stored_its_own_included() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    let outcome = stranger.backup(&case).expect("backed up");
    assert!(outcome.targets[0].complete, "{outcome:?}");
    let place = &stranger.repository.targets()[0];
    let loaded = load::load(&stranger.repository, std::slice::from_ref(place)).expect("it deduplicates");
    let reader = BlobReader::new(&stranger.repository, &loaded.index, vec![place], Read::Quick);
    let mut asked = 0;
    for pack in loaded.index.packs() {
        let (number, _) = pack.expect("a pack");
        assert!(reader.directory(number).is_err_and(|error| writes_only(&error)));
        asked += 1;
    }
    assert!(asked >= 3, "its own and others': {asked}");
    let writers = stranger.repository.writers(place).expect("certificates");
    for name in snapshots::list(place, None).expect("listed").valid {
        let read = snapshots::load(&stranger.repository, place, &writers, &name);
        assert!(read.is_err_and(|error| writes_only(&error)));
    }
    assert!(stranger.repository.admin().is_err());
    assert_eq!(case.is_whole("a reader opens all of it"), 2);
}

#[test]
fn what_readers_stored_is_not_stored_again_and_what_it_stored_is_nobody_elses() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    let data =
        |case: &Case| packs(&case.memory).iter().filter(|(class, _)| *class == PackClass::Data).count();
    let before = data(&case);
    stranger.backup(&case).expect("backed up");
    assert_eq!(data(&case), before, "every byte of it was there");
    case.write("theirs", 500);
    stranger.backup(&case).expect("backed up");
    let with_theirs = data(&case);
    assert_eq!(with_theirs, before + 1);
    stranger.backup(&case).expect("backed up");
    assert_eq!(data(&case), with_theirs, "its own counts for itself");
    case.backup();
    assert_eq!(data(&case), with_theirs + 1, "for nobody else");
    assert_eq!(case.is_whole("all"), 5);
}

#[test]
fn garbage_under_a_known_name_takes_nobodys_place() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    let known = chunks(&case);
    assert!(known.len() > 8);
    let sound = packs(&case.memory);
    // Of equal copies the lowest-named counts: so it takes care to be below all others.
    for seed in 0..40 {
        let claimed = stranger.claim(&case, &known, seed);
        if sound.iter().all(|(_, hash)| claimed.hash < *hash) && seed > 3 {
            break;
        }
    }
    case.settle("with garbage");
    assert_eq!(whole(&case), 1);
    let index = index(&case);
    let strange = |hash: &ObjectHash| {
        let number = index.number_of(hash).expect("asked").expect("listed");
        index.is_strange(number)
    };
    for id in &known {
        let me = stranger.signer.id();
        let readers = snapshots::load_all(&case.stage.repository, &target(case.storage())).expect("loaded");
        let reader = readers.0[0].writer;
        let home = |writer| needs::lowest(&index, writer, &strange, id).expect("asked");
        assert!(home(&reader).is_none(), "garbage is no home for what a reader's snapshot needs");
        assert!(home(&me).is_some());
    }
    // A reader that finds the garbage first goes on to what is sound.
    let place = target(case.storage());
    let reader = BlobReader::new(&case.stage.repository, &index, vec![&place], Read::Quick);
    for id in &known {
        let kind = [BlobKind::Chunk, BlobKind::Group];
        assert!(kind.iter().any(|kind| reader.get(*kind, id).is_ok()), "{id:?}");
    }
}

#[test]
fn a_name_that_it_takes_beforehand_is_not_believed() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    // What the host will store, as somebody knows who has the same file.
    case.write("soon", 900);
    let twin = case.stage.fresh_dated();
    let elsewhere: [Arc<dyn Storage>; 1] = [twin.clone()];
    case.stage.backup(&elsewhere, SnapshotKind::Full).expect("backed up elsewhere");
    let soon: Vec<BlobId> = {
        let index = load::load(&case.stage.repository, &[target(twin)]).expect("loaded").index;
        let known = chunks(&case);
        let all = index.entries().expect("entries").map(|entry| entry.expect("an entry").0);
        all.filter(|id| !known.contains(id)).collect()
    };
    stranger.claim(&case, &soon, 1);
    let stored = case.try_backup().expect("backed up");
    let place = target(case.storage());
    let writers = case.stage.repository.writers(&place).expect("certificates");
    let name = snapshots::list(&place, None).expect("listed").valid;
    let name = name.iter().find(|name| name.id == stored).expect("it is there");
    let snapshot = snapshots::load(&case.stage.repository, &place, &writers, name).expect("read");
    let index = index(&case);
    let home = |id: &BlobId| needs::lowest(&index, &snapshot.writer, &|_| true, id);
    let needed = needs::packs_now(&case.stage.repository, &place, &index, &snapshot, &home).expect("walked");
    assert!(!needed.is_empty());
    for (_, hash) in needed {
        let number = index.number_of(&hash).expect("asked").expect("listed");
        assert!(!index.is_strange(number), "the host's snapshot leans on a stranger's pack");
    }
    assert_eq!(whole(&case), 2);
}

#[test]
fn it_cannot_crowd_out_a_sound_copy_by_numbers() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    let known = chunks(&case);
    let one = &known[..1];
    // More rows than are ever looked at, in few packs.
    let many: Vec<BlobId> = std::iter::repeat_n(one[0], 150).collect();
    for seed in 0..4 {
        stranger.claim(&case, &many, seed);
    }
    let index = index(&case);
    let places = index.locations(&one[0]).expect("asked");
    assert!(places.len() > 200, "{}", places.len());
    assert!(!index.is_strange(places[0].pack), "what is sound comes first");
    assert_eq!(index.first(&one[0]).expect("asked"), Some(places[0]));
}

#[test]
fn a_run_that_speaks_for_others_packs_counts_as_damaged() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    let own = stranger.claim(&case, &[BlobId::new([7; 32])], 0);
    let index_before = index(&case);
    let all = index_before.packs().map(|pack| pack.expect("a pack").1);
    let theirs = all.filter(|pack| pack.signer != stranger.signer.id()).last().expect("one");
    let entry = crate::repository::format::index_run::RunEntry {
        id: BlobId::new([9; 32]),
        pack: 0,
        ordinal: 0,
        stored_bytes: 10,
    };
    let foreign = RunPack {
        hash: theirs.hash,
        class: theirs.class,
        signer: theirs.signer,
        bytes: theirs.bytes,
        foot_offset: theirs.foot_offset,
    };
    let runs = [
        ("another's pack", IndexRun { packs: vec![foreign], entries: vec![entry], ..IndexRun::default() }),
        (
            "a row that is not there",
            IndexRun {
                packs: vec![own.clone()],
                entries: vec![crate::repository::format::index_run::RunEntry { ordinal: 5, ..entry }],
                ..IndexRun::default()
            },
        ),
        (
            "packs that were moved",
            IndexRun { moved: vec![(theirs.hash, own.hash)], packs: vec![own], entries: vec![entry] },
        ),
    ];
    for (number, (what, run)) in (1usize..).zip(runs) {
        stranger.publish(&case, &run);
        let loaded = load::load(&case.stage.repository, &[target(case.storage())]).expect("loaded");
        assert_eq!(loaded.damaged.len(), number, "{what}");
        assert!(loaded.index.locations(&entry.id).expect("asked").is_empty(), "{what}");
    }
    // A run that nobody signed who is known is none, either.
    let nobody = Signer::from_seed(&[3; 32]);
    let run = IndexRun::default();
    let (bytes, id) =
        run.seal(&stranger.repository.id(), &nobody, stranger.repository.keys()).expect("sealed");
    case.memory.put_new(&index_name(0, &id), Bytes::from(bytes)).expect("put");
    let loaded = load::load(&case.stage.repository, &[target(case.storage())]).expect("loaded");
    assert_eq!(loaded.damaged.len(), 4);
}

#[test]
fn it_speaks_for_no_host_but_its_own() {
    let case = Case::new();
    let stranger = Stranger::new(&case);
    assert!(matches!(stranger.repository.signer("stage").err(), Some(RepositoryError::OtherHost { .. })));
    // A snapshot that names another host all the same is nobody's.
    let place = target(case.storage());
    let (found, _) = snapshots::load_all(&case.stage.repository, &place).expect("loaded");
    let header = ObjectHeader {
        kind: ObjectKind::Snapshot,
        sealing: Sealing::Readers,
        epoch: 0,
        repo: stranger.repository.id(),
        signer: stranger.signer.id(),
        number: 1,
    };
    let body = found[0].body.encode();
    let (bytes, done) =
        encode(&header, &[], &body, &stranger.signer, Some(stranger.repository.keys())).expect("sealed");
    let name = SnapshotName::new(case.stage.clock.now(), &stranger.signer.id(), done, [1; 8]);
    case.memory.put_new(&name.proposal(), Bytes::from(bytes)).expect("put");
    let confirmation = Bytes::copy_from_slice(&confirmation_body(&done));
    case.memory.put_new(&name.confirmation(), confirmation).expect("put");
    let (found, _) = snapshots::load_all(&case.stage.repository, &place).expect("loaded");
    let forged = found.iter().find(|one| one.id == done).expect("it is there");
    assert_eq!(forged.body.host, "stage");
    assert!(!forged.signed);
}

#[test]
fn plans_are_made_so_that_it_can_obey_them_and_one_it_cannot_read_stops_it() {
    let case = Case::new();
    let stage: &Stage = &case.stage;
    let first = crate::engine::backup::tests::stage::snapshots(&case.memory).0[0].id;
    for number in 0..6 {
        case.write(&format!("big-{number}"), 700 + number);
    }
    case.backup();
    case.forget(&first);
    // Sealed as plans are while every host reads.
    stage.plan(&case.memory, vec![packs(&case.memory)[0]], Vec::new());
    let stranger = Stranger::new(&case);
    let busy = stranger.backup(&case).expect_err("it cannot know what goes");
    assert!(busy.to_string().contains("sealed before this host had a key"), "{busy}");
    case.settle("the old plan is carried out");
    stranger.backup(&case).expect("nothing stands in the way");
    // One of now.
    let before = crate::engine::backup::tests::stage::snapshots(&case.memory).0;
    for number in 0..6 {
        case.write(&format!("big-{number}"), 800 + number);
    }
    case.backup();
    before.iter().for_each(|name| case.forget(&name.id));
    let grace = std::time::Duration::from_hours(1);
    stage.clock.advance(2 * grace);
    case.prune(&crate::engine::prune::PruneRequest { grace, ..Case::request() }).expect("planned");
    assert_eq!(case.count("g/"), 1, "a plan stands");
    let condemned: Vec<_> =
        crate::repository::commit::plans(&stranger.repository, &stranger.repository.targets()[0])
            .expect("it reads it")
            .iter()
            .flat_map(|plan| plan.packs().collect::<Vec<_>>())
            .collect();
    assert!(!condemned.is_empty());
    let outcome = stranger.backup(&case).expect("it goes on beside the plan");
    assert!(outcome.targets[0].complete);
    case.settle("carried out");
    case.is_whole("after the plan");
}

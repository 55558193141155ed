//! Many blobs in little memory. `LIFEBOAT_TORTURE_BLOBS` sets how many.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::entropy;
use crate::base::id::{BlobId, ObjectHash};
use crate::base::metadata::{FileKind, FileTime, Metadata};
use crate::codec::compress::Compression;
use crate::codec::kdf::KdfParams;
use crate::codec::sign::Signer;
use crate::engine::backup::tests::stage::target;
use crate::engine::context::Context;
use crate::engine::prune::{PruneRequest, prune};
use crate::repository::access::{CreateOptions, Repository};
use crate::repository::error::RepositoryError;
use crate::repository::format::index_run::{ENTRIES_MAX, IndexRun, RunEntry, RunPack};
use crate::repository::format::keys::BlobKind;
use crate::repository::format::names::{PackClass, SnapshotName, index_name, pack_name};
use crate::repository::format::object::{ObjectHeader, ObjectKind, Sealing, encode};
use crate::repository::format::pack::{BlobRow, PackBuilder};
use crate::repository::format::slot::SlotSecret;
use crate::repository::format::snapshot::{
    PackSetRef, SnapshotBody, SnapshotKind, SnapshotRoot, SnapshotStats, UnreadItems, confirmation_body,
};
use crate::repository::manifest::{
    BlobSink, ChunkListBuilder, ChunkRef, Entry, ManifestBuilder, NodeKind, State,
};
use crate::repository::sweep::Reason;
use crate::storage::contract::Storage;
use crate::storage::local::LocalStorage;

const ASKED: &str = "LIFEBOAT_TEST_PRUNE_BLOBS";
const BLOBS: u64 = 300_000;
/// Of ten million the hard limit is 700 MiB; what doesn't grow is nearly all of this.
const PEAK_KIB_MAX: u64 = 160 * 1024;
const BLOBS_A_PACK: u32 = 500;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn id(number: u64) -> BlobId {
    BlobId::new(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Puts parts of a manifest into packs, and those into runs.
struct Sink<'s> {
    repository: &'s Repository,
    storage: &'s LocalStorage,
    signer: &'s Signer,
    open: Option<PackBuilder>,
    run: IndexRun,
}

impl Sink<'_> {
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let done = open.finish(self.signer, self.repository.keys()).expect("finished");
        let number = u32::try_from(self.run.packs.len()).expect("few");
        self.run.entries.extend(done.entries().into_iter().map(|entry| RunEntry { pack: number, ..entry }));
        self.run.packs.push(RunPack {
            hash: done.name,
            class: PackClass::Meta,
            signer: self.signer.id(),
            bytes: done.bytes.len() as u64,
            foot_offset: done.foot_offset,
        });
        self.storage.put_new(&pack_name(PackClass::Meta, &done.name), done.bytes.into()).expect("put");
    }
}

impl BlobSink for Sink<'_> {
    type Error = RepositoryError;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, RepositoryError> {
        let kind = match kind {
            NodeKind::Leaf => BlobKind::Leaf,
            NodeKind::Node => BlobKind::Node,
            NodeKind::ChunkList => BlobKind::ChunkList,
            NodeKind::Attr => BlobKind::Attr,
        };
        let id = self.repository.keys().ids().id(kind, plain);
        let identity = self.repository.pack_identity(PackClass::Meta, self.signer.id());
        let open = self.open.get_or_insert_with(|| PackBuilder::new(identity, Vec::new()));
        let plain_bytes = u32::try_from(plain.len()).expect("short");
        open.push(&BlobRow { id, kind, plain_bytes, compression: Compression::Raw, level: 0 }, plain)?;
        if open.bytes() > 2 * 1024 * 1024 {
            self.close();
        }
        Ok(id)
    }
}

fn put_run(repository: &Repository, storage: &LocalStorage, signer: &Signer, mut run: IndexRun) {
    run.entries.sort_unstable();
    let (bytes, id) = run.seal(&repository.id(), signer, repository.keys()).expect("sealed");
    storage.put_new(&index_name(0, &id), Bytes::from(bytes)).expect("put");
}

/// Packs of which only names and index entries are there, for these blobs.
fn put_data(repository: &Repository, storage: &LocalStorage, signer: &Signer, blobs: u64) {
    let (mut run, mut next) = (IndexRun::default(), 0);
    while next < blobs {
        let hash = ObjectHash::new(entropy::random());
        storage.put_new(&pack_name(PackClass::Data, &hash), Bytes::from_static(&[0; 4096])).expect("put");
        let pack = u32::try_from(run.packs.len()).expect("few");
        let (signer_id, bytes) = (signer.id(), 600_000_000);
        run.packs.push(RunPack { hash, class: PackClass::Data, signer: signer_id, bytes, foot_offset: 5 });
        for ordinal in 0..BLOBS_A_PACK {
            run.entries.push(RunEntry { id: id(next), pack, ordinal, stored_bytes: 1_000_000 });
            next += 1;
        }
        if run.entries.len() + usize::try_from(BLOBS_A_PACK).expect("small") > ENTRIES_MAX {
            put_run(repository, storage, signer, std::mem::take(&mut run));
        }
    }
    put_run(repository, storage, signer, run);
}

fn entry(name: &str, kind: FileKind) -> Entry {
    let time = FileTime { seconds: 1_700_000_000, nanos: 0 };
    Entry {
        dir: Vec::new(),
        name: name.as_bytes().to_vec(),
        meta: Metadata {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            owner: Vec::new(),
            group: Vec::new(),
            size: 0,
            mtime: time,
            ctime: time,
            btime: None,
            dev: 1,
            ino: 1,
            rdev: 0,
            hard_link_group: 0,
            link_target: Vec::new(),
            flags: 0,
            xattrs: Vec::new(),
        },
        content: crate::repository::manifest::Content::None,
        hash16: [0; 16],
        extents: None,
        state: State::Ok,
    }
}

fn measure(blobs: u64) {
    let dir = tempfile::tempdir_in(std::env::temp_dir()).expect("a folder");
    let storage = LocalStorage::create(dir.path()).expect("made");
    let kdf = KdfParams { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
    let options = CreateOptions { pack_bytes: 16 * 1024 * 1024, kdf, parity: 0 };
    let place = target(Arc::new(LocalStorage::open(dir.path()).expect("opened")));
    let repository = Repository::create(place, &SlotSecret::passphrase("size"), options).expect("made");
    let signer = repository.signer("size").expect("granted");
    repository.certify(&repository.targets()[0], "size", &signer).expect("certified");
    put_data(&repository, &storage, &signer, blobs);
    let mut sink = Sink {
        repository: &repository,
        storage: &storage,
        signer: &signer,
        open: None,
        run: IndexRun::default(),
    };
    // Every third pack is dead, of the others nine in ten blobs are needed.
    let is_needed =
        |number: &u64| !(number / u64::from(BLOBS_A_PACK)).is_multiple_of(3) && !number.is_multiple_of(10);
    let mut list = ChunkListBuilder::new();
    for number in (0..blobs).filter(is_needed) {
        list.push(ChunkRef { id: id(number), len: 1_000_000 }, &mut sink).expect("taken");
    }
    let content = list.finish(&mut sink).expect("finished");
    let mut tree = ManifestBuilder::new([7; 32], sink);
    tree.push(&entry("", FileKind::Directory)).expect("taken");
    let size = (0..blobs).filter(is_needed).count() as u64 * 1_000_000;
    let mut large = Entry { content, ..entry("large", FileKind::File) };
    large.meta.size = size;
    tree.push(&large).expect("taken");
    let (root, mut sink) = tree.finish().expect("finished");
    sink.close();
    let run = std::mem::take(&mut sink.run);
    put_run(&repository, &storage, &signer, run);
    commit(
        &repository,
        &storage,
        &signer,
        SnapshotRoot { path: b"/large".to_vec(), node: root.id, entries: 2, bytes: size },
    );
    let clock = SystemClock::new();
    let (before, begun) = (peak_kib(), clock.monotonic());
    let request = PruneRequest {
        grace: std::time::Duration::ZERO,
        dry_run: true,
        ..PruneRequest::new("size".to_owned())
    };
    let outcome = prune(&repository, &request, &Context::quiet()).expect("planned");
    let plan = outcome.targets[0].plan.as_ref().expect("planned");
    let dead = plan.condemned.iter().filter(|choice| choice.reason == Reason::Dead).count() as u64;
    assert_eq!(dead, blobs.div_ceil(u64::from(BLOBS_A_PACK)).div_ceil(3), "{} packs", plan.packs);
    println!(
        "{blobs} blobs in {} packs, planned in {:.1} s, peak {} KiB, {before} KiB before.",
        plan.packs,
        (clock.monotonic() - begun).as_secs_f64(),
        peak_kib()
    );
    assert!(peak_kib() <= PEAK_KIB_MAX, "peak {} KiB", peak_kib());
}

fn commit(repository: &Repository, storage: &LocalStorage, signer: &Signer, root: SnapshotRoot) {
    let now = Timestamp::from_unix_ms(SystemClock::new().now().unix_ms());
    let body = SnapshotBody {
        kind: SnapshotKind::Full,
        host: "size".to_owned(),
        policy: None,
        tags: Vec::new(),
        started_at: now,
        ended_at: now,
        parent: None,
        base_full: None,
        roots: vec![root],
        index_runs: Vec::new(),
        pack_set: PackSetRef::Inline(Vec::new()),
        excludes_hash: [0; 32],
        tool: "test".to_owned(),
        stats: SnapshotStats::default(),
        unread: UnreadItems::default(),
        run_id: None,
        occurrence: None,
        asked: SnapshotKind::Full,
        captured_at: now,
    };
    let header = ObjectHeader {
        kind: ObjectKind::Snapshot,
        sealing: Sealing::Epoch,
        epoch: 0,
        repo: repository.id(),
        signer: signer.id(),
        number: 1,
    };
    let (bytes, id) = encode(&header, &[], &body.encode(), signer, Some(repository.keys())).expect("sealed");
    let name = SnapshotName::new(now, &signer.id(), id, entropy::random());
    storage.put_new(&name.proposal(), Bytes::from(bytes)).expect("put");
    storage.put_new(&name.confirmation(), Bytes::copy_from_slice(&confirmation_body(&id))).expect("put");
    storage.sync().expect("synced");
}

#[test]
fn a_prune_of_many_blobs_is_planned_in_little_memory() {
    if let Ok(blobs) = std::env::var(ASKED) {
        measure(blobs.parse().expect("a number"));
        return;
    }
    let blobs = std::env::var("LIFEBOAT_TORTURE_BLOBS").unwrap_or_else(|_| BLOBS.to_string());
    // A process of its own: the peak is one of the whole process.
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "engine::prune::tests::size::a_prune_of_many_blobs_is_planned_in_little_memory"])
        .arg("--nocapture")
        .env(ASKED, blobs)
        .output()
        .expect("a child runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("peak "), "the child measured nothing");
}

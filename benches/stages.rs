//! What each stage costs by itself: cut, hash, compress, seal, pack, manifest, index.
//!
//! ```text
//! cargo bench --bench stages               every stage, with its throughput
//! cargo bench --bench stages -- manifest   those whose name has the word
//! ```
//!
//! Wall time on a quiet machine; for a comparison that needs none, see `benches/instructions`.
//! Only what the library offers to everybody is called, and every input is made from a constant.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::id::{BlobId, ObjectHash, RepoId};
use lifeboat::base::metadata::{FileKind, FileTime, Metadata};
use lifeboat::base::secret::Secret;
use lifeboat::codec::chunker::{Chunker, ChunkerParams};
use lifeboat::codec::compress::{Compression, Compressor, Decompressor};
use lifeboat::codec::hash;
use lifeboat::codec::seal;
use lifeboat::codec::sign::Signer;
use lifeboat::repository::error::RepositoryError;
use lifeboat::repository::format::index_run::{IndexRun, RunEntry, RunPack};
use lifeboat::repository::format::keys::{BlobKind, EpochKeys, RootKeys};
use lifeboat::repository::format::names::PackClass;
use lifeboat::repository::format::pack::{BlobRow, FinishedPack, PackBuilder, PackDirectory, PackIdentity};
use lifeboat::repository::index::{Ground, Index, RunSource};
use lifeboat::repository::manifest::{
    BlobSink, BlobSource, Content, Entry, Key, ManifestBuilder, ManifestReader, NodeKind, Root, State,
};

const MIB: usize = 1 << 20;
const REPO: RepoId = RepoId::new([7; 16]);
const KEY: [u8; 32] = [3; 32];
const MANIFEST_FILES: u64 = 100_000;
const INDEX_BLOBS: u64 = 500_000;

static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..).flat_map(eight).take(8 * MIB).collect());
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| text(MIB));
static KEYS: LazyLock<EpochKeys> =
    LazyLock::new(|| EpochKeys::derive(&RootKeys::new(Secret::new(KEY), None), &REPO));

fn main() {
    divan::main();
}

/// Eight bytes of noise for a number.
fn eight(number: u64) -> [u8; 8] {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (mixed >> 32)).to_le_bytes()
}

/// Words of a small vocabulary, the frequent ones more frequent: about a quarter after zstd.
fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 64);
    for number in 0u64.. {
        if text.len() >= bytes {
            break;
        }
        let draw = u64::from_le_bytes(eight(number));
        let rank = (draw % 4096) >> ((draw >> 12) % 7);
        text.extend(format!("{:x} ", rank * 2_654_435_761 % 16_777_213).bytes());
        if draw.is_multiple_of(9) {
            text.push(b'\n');
        }
    }
    text.truncate(bytes);
    text
}

#[divan::bench]
fn cut(bencher: Bencher) {
    let mut chunker = Chunker::new(ChunkerParams::default(), Arc::clone(KEYS.ids().gear()));
    bencher.counter(BytesCount::new(NOISE.len())).bench_local(|| {
        let (mut rest, mut chunks) = (&NOISE[..], 0);
        while let Some(end) = chunker.cut(rest) {
            rest = &rest[end..];
            chunks += 1;
        }
        chunker.start_over();
        chunks
    });
}

#[divan::bench(args = [MIB, 16 << 10, 4 << 10, 1 << 10])]
fn hash_keyed_id(bencher: Bencher, bytes: usize) {
    let plain = &NOISE[..bytes];
    bencher.counter(BytesCount::new(bytes)).bench(|| KEYS.ids().id(BlobKind::Chunk, black_box(plain)));
}

#[divan::bench(args = [MIB, 64 << 10, 4 << 10])]
fn seal_blob(bencher: Bencher, bytes: usize) {
    let mut plain = NOISE[..bytes].to_vec();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| seal::seal_blob(&KEY, &[1; 44], &mut plain));
}

#[divan::bench(args = [MIB, 64 << 10])]
fn open_blob(bencher: Bencher, bytes: usize) {
    let mut sealed = NOISE[..bytes].to_vec();
    let tag = seal::seal_blob(&KEY, &[1; 44], &mut sealed);
    sealed.extend(tag);
    let mut plain = Vec::new();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        seal::open_blob(&KEY, &[1; 44], &sealed, &mut plain).expect("it was sealed under this key");
    });
}

#[divan::bench(args = [1, 3, 9])]
fn compress_text(bencher: Bencher, level: i32) {
    let (mut compressor, mut out) = (Compressor::new(level), Vec::new());
    bencher.counter(BytesCount::new(TEXT.len())).bench_local(|| compressor.compress(&TEXT, &mut out));
}

/// The samples that find noise, and the copy of it.
#[divan::bench]
fn compress_noise(bencher: Bencher) {
    let (mut compressor, mut out) = (Compressor::new(1), Vec::new());
    let noise = &NOISE[..MIB];
    assert_eq!(compressor.compress(noise, &mut out), Compression::Raw);
    bencher.counter(BytesCount::new(noise.len())).bench_local(|| compressor.compress(noise, &mut out));
}

#[divan::bench]
fn decompress_text(bencher: Bencher) {
    let (mut stored, mut plain) = (Vec::new(), Vec::new());
    let how = Compressor::new(1).compress(&TEXT, &mut stored);
    let mut decompressor = Decompressor::new();
    bencher.counter(BytesCount::new(TEXT.len())).bench_local(|| {
        decompressor.decompress(how, &stored, TEXT.len(), &mut plain).expect("it was just compressed");
    });
}

/// Sixteen blobs of half a MiB, already compressed: seal, footer, sums, signature, name.
fn pack(signer: &Signer, buffer: Vec<u8>) -> FinishedPack {
    let mut builder = PackBuilder::new(identity(signer), buffer);
    for blob in NOISE.chunks(MIB / 2) {
        let plain_bytes = u32::try_from(blob.len()).expect("half a MiB");
        let id = BlobId::new(hash::plain(&[&blob[..64]]));
        let row = BlobRow { id, kind: BlobKind::Chunk, plain_bytes, compression: Compression::Raw, level: 0 };
        builder.push(&row, blob).expect("the blob fits");
    }
    builder.finish(signer, &KEYS).expect("8 MiB fit a pack")
}

fn identity(signer: &Signer) -> PackIdentity {
    PackIdentity { class: PackClass::Data, parity: 0, epoch: 0, repo: REPO, writer: signer.id() }
}

#[divan::bench]
fn pack_build(bencher: Bencher) {
    let signer = Signer::from_seed(&KEY);
    bencher
        .counter(BytesCount::new(NOISE.len()))
        .with_inputs(|| Vec::with_capacity(9 * MIB))
        .bench_local_values(|buffer| pack(&signer, buffer));
}

#[divan::bench]
fn pack_open_footer(bencher: Bencher) {
    let signer = Signer::from_seed(&KEY);
    let pack = pack(&signer, Vec::new());
    let total = u64::try_from(pack.bytes.len()).expect("a pack's length");
    let tail = &pack.bytes[usize::try_from(pack.foot_offset).expect("within the pack")..];
    bencher.counter(ItemsCount::new(pack.rows.len())).bench_local(|| {
        PackDirectory::open(tail, total, &identity(&signer), &KEYS).expect("it was just written")
    });
}

/// Manifest blobs by kind and id, as they are; storing them is not this measurement's business.
#[derive(Default)]
struct Memory(RefCell<HashMap<(NodeKind, BlobId), Bytes>>);

#[derive(Debug)]
struct Never(Infallible);

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {}
    }
}

impl Error for Never {}

impl Classified for Never {
    fn class(&self) -> Class {
        match self.0 {}
    }

    fn code(&self) -> &'static str {
        match self.0 {}
    }
}

impl BlobSink for &Memory {
    type Error = Never;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, Never> {
        let id = BlobId::new(hash::keyed(&KEY, &[plain]));
        self.0.borrow_mut().insert((kind, id), Bytes::copy_from_slice(plain));
        Ok(id)
    }
}

impl BlobSource for Memory {
    type Error = Never;

    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, Never> {
        Ok(self.0.borrow()[&(kind, *id)].clone())
    }
}

fn entry(path: &str, kind: FileKind, number: u64) -> Entry {
    let draw = u64::from_le_bytes(eight(number));
    let key = Key::of_path(path.as_bytes());
    let time = FileTime {
        seconds: 1_700_000_000 + i64::try_from(draw % 1_000_000).expect("small"),
        nanos: u32::try_from(draw % 1_000_000_000).expect("small"),
    };
    Entry {
        dir: key.dir.to_vec(),
        name: key.name.to_vec(),
        meta: Metadata {
            kind,
            mode: if kind == FileKind::Directory { 0o755 } else { 0o644 },
            uid: 1000,
            gid: 1000,
            owner: b"ada".to_vec(),
            group: b"users".to_vec(),
            size: 0,
            mtime: time,
            ctime: time,
            btime: None,
            dev: 2049,
            ino: 500_000 + number,
            rdev: 0,
            hard_link_group: 0,
            link_target: Vec::new(),
            flags: 0,
            xattrs: Vec::new(),
        },
        content: Content::None,
        hash16: [0; 16],
        extents: None,
        state: State::Ok,
    }
}

/// Small files in groups of a hundred, five hundred a folder, in the manifest's order.
fn entries() -> Vec<Entry> {
    let file = |number: u64| {
        let path = format!("folder-{:04}/source-{number:06}.rs", number / 500);
        let mut made = entry(&path, FileKind::File, number);
        made.meta.size = 1 + number * 7919 % 16_000;
        let len = u32::try_from(made.meta.size).expect("small");
        let blob = BlobId::new(hash::plain(&[&(number / 100).to_le_bytes()]));
        let offset = u32::try_from(number % 100 * 16_000).expect("small");
        made.content = Content::Group { blob, offset, len };
        made.hash16 = *hash::plain(&[&number.to_le_bytes()]).first_chunk().expect("32 bytes");
        made
    };
    let folder =
        |number: u64| entry(&format!("folder-{number:04}"), FileKind::Directory, MANIFEST_FILES + number);
    let mut entries = vec![entry("", FileKind::Directory, 2 * MANIFEST_FILES)];
    entries.extend((0..MANIFEST_FILES / 500).map(folder));
    entries.extend((0..MANIFEST_FILES).map(file));
    entries.sort_by(|a, b| a.key().cmp(&b.key()));
    entries
}

fn write(entries: &[Entry], memory: &Memory) -> Root {
    let mut builder = ManifestBuilder::new(*KEYS.ids().cut(), memory);
    for entry in entries {
        builder.push(entry).expect("entries are in order and fit");
    }
    builder.finish().expect("a root is there").0
}

#[divan::bench(sample_count = 20)]
fn manifest_encode(bencher: Bencher) {
    let entries = entries();
    bencher.counter(ItemsCount::new(entries.len())).bench_local(|| write(&entries, &Memory::default()));
}

#[divan::bench(sample_count = 20)]
fn manifest_decode(bencher: Bencher) {
    let memory = Memory::default();
    let root = write(&entries(), &memory);
    bencher.counter(ItemsCount::new(MANIFEST_FILES)).bench_local(|| {
        let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
        let mut bytes = 0;
        while let Some(view) = reader.peek().expect("it was just written") {
            bytes += view.size();
            reader.skip_entry().expect("it was just read");
        }
        bytes
    });
}

#[divan::bench]
fn manifest_look_up(bencher: Bencher) {
    let memory = Memory::default();
    let root = write(&entries(), &memory);
    let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        reader
            .lookup(black_box(b"folder-0077/source-038777.rs"))
            .expect("it was just written")
            .expect("there")
    });
}

fn blob_id(number: u64) -> BlobId {
    BlobId::new(hash::plain(&[&number.to_le_bytes()]))
}

/// As many blobs as one run may nearly hold, a hundred in each pack.
fn run() -> IndexRun {
    let writer = Signer::from_seed(&KEY).id();
    let packs = (0..INDEX_BLOBS / 100).map(|number| RunPack {
        hash: ObjectHash::new(hash::plain(&[b"pack", &number.to_le_bytes()])),
        class: PackClass::Data,
        signer: writer,
        bytes: 16 << 20,
        foot_offset: 16_000_000,
    });
    let small = |number: u64| u32::try_from(number).expect("small");
    let mut entries: Vec<RunEntry> = (0..INDEX_BLOBS)
        .map(|n| RunEntry {
            id: blob_id(n),
            pack: small(n / 100),
            ordinal: small(n % 100),
            stored_bytes: 160_000,
        })
        .collect();
    entries.sort_unstable();
    IndexRun { packs: packs.collect(), entries, ..IndexRun::default() }
}

/// Gives one run over and over.
struct OneRun(IndexRun);

impl RunSource for OneRun {
    fn run(&self, _: &ObjectHash) -> Result<IndexRun, RepositoryError> {
        Ok(self.0.clone())
    }
}

fn index(source: &Arc<OneRun>) -> Index {
    let source: Arc<dyn RunSource> = Arc::<OneRun>::clone(source);
    Index::open(Ground::new(None), &KEYS, &REPO, source, &[ObjectHash::new([1; 32])]).expect("it opens").0
}

#[divan::bench(sample_count = 10)]
fn index_build(bencher: Bencher) {
    let source = Arc::new(OneRun(run()));
    bencher.counter(ItemsCount::new(INDEX_BLOBS)).bench_local(|| index(&source));
}

#[divan::bench(args = [true, false])]
fn index_look_up(bencher: Bencher, there: bool) {
    let index = index(&Arc::new(OneRun(run())));
    let first = if there { 0 } else { INDEX_BLOBS };
    let wanted: Vec<BlobId> = (0..1000).map(|n| blob_id(first + n * 397)).collect();
    bencher.counter(ItemsCount::new(wanted.len())).bench_local(|| {
        let found = wanted.iter().filter(|id| index.first(id).expect("it is read").is_some()).count();
        assert_eq!(found, if there { wanted.len() } else { 0 });
    });
}

#[divan::bench(sample_count = 10)]
fn index_open_run(bencher: Bencher) {
    let (sealed, _) = run().seal(&REPO, &Signer::from_seed(&KEY), &KEYS).expect("it fits a run");
    bencher
        .counter(ItemsCount::new(INDEX_BLOBS))
        .bench_local(|| IndexRun::open(&sealed, &REPO, &KEYS).expect("it was just sealed"));
}

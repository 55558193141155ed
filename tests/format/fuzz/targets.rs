//! One function a decoder. Each says whether it took the input, and checks what was taken: it is
//! written again as it was read. Sealed bodies are spoilt in the clear and then sealed and signed
//! by the key holder, because a flipped bit of a sealed body never gets past the seal.

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;
use lifeboat::base::clock::Timestamp;
use lifeboat::base::display;
use lifeboat::base::id::{BlobId, ObjectHash};
use lifeboat::base::metadata::{FileKind, FileTime, Metadata};
use lifeboat::codec::chunker::{Chunker, ChunkerParams, NOMINAL_BYTES_MIN};
use lifeboat::codec::hash;
use lifeboat::codec::kdf::MEMORY_KIB_MIN;
use lifeboat::policy::schedule::Schedule;
use lifeboat::repository::format::error::FormatError;
use lifeboat::repository::format::index_run::IndexRun;
use lifeboat::repository::format::names::{
    parse_forget_name, parse_index_name, parse_key_name, parse_snapshot_name,
};
use lifeboat::repository::format::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use lifeboat::repository::format::pack::{BlobOpener, PackDirectory, PackIdentity, hurt_shards, mend};
use lifeboat::repository::format::pack_set::{self, PackSet};
use lifeboat::repository::format::plan::PlanBody;
use lifeboat::repository::format::repo_fmt::RepoFmt;
use lifeboat::repository::format::slot::{SlotSecret, open_slot};
use lifeboat::repository::format::snapshot::SnapshotBody;
use lifeboat::repository::manifest::{
    BlobSink, BlobSource, ChunkRef, Content, Entry, ManifestBuilder, ManifestReader, NodeKind, State, Visit,
    visit_blobs,
};
use lifeboat::storage::contract::ObjectName;
use lifeboat::storage::place::{Place, PlaceOptions};

use crate::support::{Repo, repo};

/// A key holder's bytes as an object that opens and whose signature fits.
pub(crate) fn resealed(repo: &Repo, kind: ObjectKind, sealing: Sealing, body: &[u8]) -> Vec<u8> {
    let admin = repo.admin();
    let header = ObjectHeader { kind, sealing, epoch: 0, repo: repo.id, signer: admin.id(), number: 0 };
    encode(&header, &[], body, &admin, Some(&repo.keys)).expect("it is small").0
}

pub(crate) fn object(bytes: &[u8]) -> bool {
    let repo = repo();
    let Ok(object) = Object::decode(bytes, &repo.id, Some(&repo.keys)) else { return false };
    let admin = repo.admin();
    if object.verify(admin.public()).is_ok() && object.header.sealing == Sealing::Clear {
        let again = encode(&object.header, &object.links, &object.body, &admin, None).expect("it was one");
        assert!(again.0 == bytes, "an object is written as it was read");
    }
    true
}

pub(crate) fn pack_trailer(bytes: &[u8]) -> bool {
    let total = u64::try_from(bytes.len()).expect("small");
    let hurt = hurt_shards(bytes);
    // No mutation comes back under a hash that it hasn't.
    let name = ObjectHash::new([7; 32]);
    assert!(mend(bytes, &name).is_none(), "nothing has this hash");
    PackIdentity::of_tail(bytes, total, &repo().id).is_ok() && hurt.is_ok_and(|hurt| hurt.is_empty())
}

pub(crate) fn pack_footer(bytes: &[u8]) -> bool {
    let repo = repo();
    let total = u64::try_from(bytes.len()).expect("small");
    let Ok(identity) = PackIdentity::of_header(bytes, &repo.id) else { return false };
    let Ok(directory) = PackDirectory::open(bytes, total, &identity, &repo.keys) else { return false };
    let mut opener = BlobOpener::default();
    for ordinal in 0..directory.len() {
        let range = directory.sealed_range(ordinal).expect("a row of that number");
        assert!(range.start <= range.end && range.end <= directory.foot_offset(), "a blob outside its pack");
        let at = |offset: u64| usize::try_from(offset).expect("inside the pack");
        let sealed = &bytes[at(range.start)..at(range.end)];
        if let Ok(plain) = directory.open_blob(ordinal, sealed, repo.keys.ids(), &mut opener) {
            let row = directory.row(ordinal).expect("a row of that number");
            assert_eq!(repo.keys.ids().id(row.kind, plain), row.id, "a blob is what its id says");
        }
    }
    true
}

pub(crate) fn index_run(body: &[u8]) -> bool {
    let repo = repo();
    let bytes = resealed(&repo, ObjectKind::Index, Sealing::Epoch, body);
    let Ok(run) = IndexRun::open(&bytes, &repo.id, &repo.keys) else { return false };
    assert!(run.entries.iter().all(|entry| usize::try_from(entry.pack).is_ok_and(|p| p < run.packs.len())));
    let again = run.seal(&repo.id, &repo.admin(), &repo.keys).expect("it was one").0;
    assert_eq!(IndexRun::open(&again, &repo.id, &repo.keys).as_ref(), Ok(&run));
    true
}

pub(crate) fn pack_list(bytes: &[u8]) -> bool {
    let Ok(set) = PackSet::decode(bytes) else { return false };
    assert_eq!(pack_set::encode(&set.packs), bytes);
    true
}

pub(crate) fn snapshot(body: &[u8]) -> bool {
    let Ok(snapshot) = SnapshotBody::decode(body) else { return false };
    let mut again = snapshot.encode();
    again.resize(again.len().div_ceil(4096) * 4096, 0);
    assert_eq!(SnapshotBody::decode(&again).as_ref(), Ok(&snapshot));
    true
}

/// The input lacks the hash at the end, which would refuse every change.
pub(crate) fn repo_fmt(content: &[u8]) -> bool {
    let bytes = [content, &hash::plain(&[content])].concat();
    RepoFmt::decode(&bytes).is_ok_and(|format| {
        assert_eq!(format.encode(), bytes);
        true
    })
}

/// The cost is set to the cheapest, or left when it must be refused: no input buys a second of work.
pub(crate) fn key_slot(body: &[u8]) -> bool {
    let repo = repo();
    let mut body = body.to_vec();
    if let Some(cost) = body.get_mut(33..45)
        && cost[3] == 0
    {
        let cheap = [MEMORY_KIB_MIN, 1, 1].map(u32::to_le_bytes).concat();
        cost.copy_from_slice(&cheap);
    }
    let bytes = resealed(&repo, ObjectKind::Slot, Sealing::Clear, &body);
    let passphrase = SlotSecret::passphrase("correct horse");
    open_slot(&bytes, &repo.format.encode(), &repo.format, &passphrase).is_ok()
}

pub(crate) fn plan(body: &[u8]) -> bool {
    let repo = repo();
    let bytes = resealed(&repo, ObjectKind::Plan, Sealing::Epoch, body);
    let public = *repo.admin().public();
    let Ok(plan) = PlanBody::open(&bytes, &repo.id, &public, &repo.keys) else { return false };
    assert!(plan.packs().all(|pack| plan.names_pack(&pack)));
    true
}

/// Blobs in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blobs {
    pub(crate) all: HashMap<(NodeKind, BlobId), Bytes>,
    pub(crate) root: Option<BlobId>,
}

impl BlobSink for Blobs {
    type Error = FormatError;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, FormatError> {
        let id = BlobId::new(hash::plain(&[&[kind as u8], plain]));
        self.all.insert((kind, id), Bytes::copy_from_slice(plain));
        Ok(id)
    }
}

impl BlobSource for Blobs {
    type Error = FormatError;

    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, FormatError> {
        self.all.get(&(kind, *id)).cloned().ok_or(FormatError::NotOpened { what: "a blob" })
    }
}

fn file(number: u32) -> Entry {
    let time = FileTime { seconds: 1_700_000_000, nanos: 5 };
    let chunk = ChunkRef { id: BlobId::new([7; 32]), len: 10 };
    let (kind, name, content, size) = match number {
        0 => (FileKind::Directory, Vec::new(), Content::None, 0),
        n if n % 5 == 1 => (FileKind::Symlink, format!("f{n:05}").into_bytes(), Content::None, 6),
        n => (FileKind::File, format!("f{n:05}").into_bytes(), Content::Chunks(vec![chunk]), 10),
    };
    let link_target = if kind == FileKind::Symlink { b"f00002".to_vec() } else { Vec::new() };
    Entry {
        dir: Vec::new(),
        name,
        meta: Metadata {
            kind,
            mode: 0o755,
            uid: 1000,
            gid: 1000,
            owner: b"ada".to_vec(),
            group: b"users".to_vec(),
            size,
            mtime: time,
            ctime: time,
            btime: None,
            dev: 2049,
            ino: u64::from(number) + 1,
            rdev: 0,
            hard_link_group: 0,
            link_target,
            flags: 0,
            xattrs: Vec::new(),
        },
        content,
        hash16: if kind == FileKind::File { [3; 16] } else { [0; 16] },
        extents: None,
        state: State::Ok,
    }
}

pub(crate) fn tree(entries: u32) -> Blobs {
    let mut builder = ManifestBuilder::new([9; 32], Blobs::default());
    (0..entries).for_each(|number| builder.push(&file(number)).expect("in order"));
    let (root, mut blobs) = builder.finish().expect("memory takes all");
    blobs.root = Some(root.id);
    blobs
}

/// The largest blob of a kind: the one that is replaced.
pub(crate) fn largest(blobs: &Blobs, kind: NodeKind) -> (BlobId, Bytes) {
    let of_kind = blobs.all.iter().filter(|((k, _), _)| *k == kind);
    let ((_, id), plain) = of_kind.max_by_key(|((_, id), plain)| (plain.len(), *id)).expect("one of them");
    (*id, plain.clone())
}

/// Said here once more, so that a decoder that forgets it does not judge itself.
fn single(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

fn manifest(entries: u32, made: &OnceLock<Blobs>, kind: NodeKind, bytes: &[u8]) -> bool {
    let mut blobs = made.get_or_init(|| tree(entries)).clone();
    let root = blobs.root.expect("a root");
    let (id, _) = largest(&blobs, kind);
    blobs.all.insert((kind, id), Bytes::copy_from_slice(bytes));
    let visited = visit_blobs(&root, &blobs, &mut |_| Visit::Enter).is_ok();
    let Ok(mut reader) = ManifestReader::open(&root, &blobs) else { return false };
    let mut whole = true;
    let good: Vec<Entry> = reader.by_ref().map_while(|entry| entry.map_err(|_| whole = false).ok()).collect();
    assert!(good.is_sorted_by(|a, b| a.key() < b.key()), "each name once, in order");
    assert!(good.iter().skip(1).all(|entry| single(&entry.name)), "a name that could leave the folder");
    whole && visited
}

pub(crate) const LEAF_ENTRIES: u32 = 24;
pub(crate) const NODE_ENTRIES: u32 = 1500;

pub(crate) fn tree_leaf(bytes: &[u8]) -> bool {
    static MADE: OnceLock<Blobs> = OnceLock::new();
    manifest(LEAF_ENTRIES, &MADE, NodeKind::Leaf, bytes)
}

pub(crate) fn tree_node(bytes: &[u8]) -> bool {
    static MADE: OnceLock<Blobs> = OnceLock::new();
    manifest(NODE_ENTRIES, &MADE, NodeKind::Node, bytes)
}

/// Cut points are those of the bytes, however they come.
pub(crate) fn chunker(bytes: &[u8]) -> bool {
    let repo = repo();
    let params = ChunkerParams::new(NOMINAL_BYTES_MIN).expect("in bounds");
    let stream: Vec<u8> = bytes.iter().copied().cycle().take(bytes.len() * 3).collect();
    let cuts = |mut sizes: Box<dyn Iterator<Item = usize>>| {
        let mut chunker = Chunker::new(params, repo.keys.ids().gear().clone());
        let (mut cuts, mut done) = (Vec::new(), 0);
        while done < stream.len() {
            let end = (done + sizes.next().expect("endless")).min(stream.len());
            while done < end {
                match chunker.cut(&stream[done..end]) {
                    Some(taken) => {
                        assert!(taken > 0, "a cut takes a byte");
                        done += taken;
                        cuts.push(done);
                    }
                    None => done = end,
                }
            }
        }
        cuts
    };
    let pieces: Vec<usize> = bytes.iter().take(97).map(|byte| usize::from(*byte) * 7 + 1).collect();
    let whole = cuts(Box::new(std::iter::repeat(usize::MAX / 2)));
    let split = cuts(Box::new(pieces.into_iter().chain([4096]).cycle()));
    assert_eq!(whole, split);
    true
}

pub(crate) fn path_display(bytes: &[u8]) -> bool {
    let shown = display::path(bytes);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    let meant = display::bytes_of(shown.as_bytes()).unwrap_or_else(|| shown.clone().into_bytes());
    assert_eq!(meant, bytes, "what is shown names one path");
    let mut appended = Vec::new();
    display::path_into(bytes, &mut appended);
    assert_eq!(appended, shown.as_bytes());
    true
}

pub(crate) fn place_url(bytes: &[u8]) -> bool {
    Place::parse(&String::from_utf8_lossy(bytes), &PlaceOptions::default()).is_ok()
}

pub(crate) fn schedule(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(schedule) = Schedule::parse(&text, chrono_tz::Tz::Europe__Berlin) else { return false };
    assert!(Schedule::parse(schedule.spec(), schedule.zone()).is_ok(), "a spec is read as it is shown");
    let at = |days: i64| Timestamp::from_unix_ms(1_795_485_182_123 + days * 86_400_000);
    assert!(schedule.occurrences(at(0), at(2)).count() <= 2 * 24 * 60, "more than one a minute");
    true
}

pub(crate) fn object_name(bytes: &[u8]) -> bool {
    let Ok(name) = String::from_utf8_lossy(bytes).parse::<ObjectName>() else { return false };
    let forgets: Option<ObjectHash> = parse_forget_name(&name);
    let known = parse_index_name(&name).is_some() || parse_key_name(&name).is_some() || forgets.is_some();
    parse_snapshot_name(&name).is_some() || known
}

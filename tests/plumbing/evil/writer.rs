//! The hostile writer: makes any blob, row, run, snapshot and plan, all sealed and signed.

use std::path::PathBuf;

use lifeboat::base::clock::Timestamp;
use lifeboat::base::id::{BlobId, ObjectHash, RepoId};
use lifeboat::base::metadata::{FileKind, FileTime, Metadata};
use lifeboat::codec::compress::{Compression, Compressor};
use lifeboat::codec::sign::Signer;
use lifeboat::repository::format::cert::WriterCert;
use lifeboat::repository::format::error::FormatError;
use lifeboat::repository::format::index_run::{IndexRun, RunPack};
use lifeboat::repository::format::keys::{BlobKind, EpochKeys, writer_seed};
use lifeboat::repository::format::names::{
    KeyKind, PackClass, SnapshotName, index_name, key_name, pack_name,
};
use lifeboat::repository::format::object::{ObjectHeader, ObjectKind, Sealing, encode};
use lifeboat::repository::format::pack::{BlobRow, PackBuilder, PackIdentity};
use lifeboat::repository::format::repo_fmt::RepoFmt;
use lifeboat::repository::format::slot::{SlotSecret, open_slot};
use lifeboat::repository::format::snapshot::{
    PackSetRef, SnapshotBody, SnapshotKind, SnapshotRoot, SnapshotStats, UnreadItems, confirmation_body,
};
use lifeboat::repository::manifest::{
    BlobSink, ChunkRef, Content, Entry, ManifestBuilder, NodeKind, Root, State,
};

use crate::lab::{Lab, files};

/// The names that are written are of this length, so that one can stand for another in a leaf.
pub(super) const NAME: &[u8; 6] = b"victim";

pub(super) struct Evil {
    place: PathBuf,
    pub(super) repo: RepoId,
    pub(super) keys: EpochKeys,
    pub(super) signer: Signer,
    pub(super) admin: Signer,
}

/// A blob with what its row says of it.
#[derive(Clone)]
pub(super) struct Blob {
    pub(super) row: BlobRow,
    pub(super) stored: Vec<u8>,
}

/// The run and the packs that hold some blobs.
pub(super) struct Stock {
    pub(super) name: ObjectHash,
    pub(super) packs: Vec<(PackClass, ObjectHash)>,
}

/// Bytes in leaves, and what stands there instead, of the same length.
pub(super) type Swap<'s> = (&'s [u8], &'s [u8]);

/// Takes blobs as they come, but for leaves, in which bytes are replaced.
struct Spoilt<'e> {
    evil: &'e Evil,
    swaps: &'e [Swap<'e>],
    blobs: Vec<Blob>,
}

impl BlobSink for Spoilt<'_> {
    type Error = FormatError;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, FormatError> {
        let mut plain = plain.to_vec();
        for (from, to) in self.swaps.iter().filter(|(from, to)| kind == NodeKind::Leaf && from != to) {
            while let Some(at) = plain.windows(from.len()).position(|window| window == *from) {
                plain[at..at + to.len()].copy_from_slice(to);
            }
        }
        let kind = match kind {
            NodeKind::Leaf => BlobKind::Leaf,
            NodeKind::Node => BlobKind::Node,
            NodeKind::ChunkList => BlobKind::ChunkList,
            NodeKind::Attr => BlobKind::Attr,
        };
        let blob = self.evil.blob(kind, &plain);
        self.blobs.push(blob);
        Ok(self.blobs.last().expect("just pushed").row.id)
    }
}

pub(super) fn entry(path: &str, kind: FileKind, link_target: &[u8]) -> Entry {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let time = FileTime { seconds: 1_700_000_000, nanos: 0 };
    Entry {
        dir: dir.into(),
        name: name.into(),
        meta: Metadata {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            owner: Vec::new(),
            group: Vec::new(),
            size: u64::try_from(link_target.len()).expect("short"),
            mtime: time,
            ctime: time,
            btime: None,
            dev: 1,
            ino: 0,
            rdev: 0,
            hard_link_group: 0,
            link_target: link_target.to_vec(),
            flags: 0,
            xattrs: Vec::new(),
        },
        content: Content::None,
        hash16: [0; 16],
        extents: None,
        state: State::Ok,
    }
}

/// A regular file of this content.
pub(super) fn file(path: &str, content: Content, bytes: u64) -> Entry {
    let mut file = entry(path, FileKind::File, b"");
    (file.content, file.meta.size) = (content, bytes);
    file
}

/// Content of these chunks.
pub(super) fn chunks(blobs: &[&Blob]) -> Content {
    let chunk = |blob: &&Blob| ChunkRef { id: blob.row.id, len: blob.row.plain_bytes };
    Content::Chunks(blobs.iter().map(chunk).collect())
}

impl Evil {
    /// The key holder of a repository of the lab.
    pub(super) fn of(lab: &Lab, place: &str) -> Self {
        let place = lab.path(place);
        let format_bytes = std::fs::read(place.join("repo.fmt")).expect("a repository");
        let format = RepoFmt::decode(&format_bytes).expect("sound");
        let is_slot = |path: &&PathBuf| path.to_string_lossy().contains("keys/slot-");
        let slot = files(&place).iter().find(is_slot).map(std::fs::read).expect("a slot").expect("read");
        let passphrase = SlotSecret::passphrase("correct horse battery staple");
        let root = open_slot(&slot, &format_bytes, &format, &passphrase).expect("the passphrase");
        let repo = format.repo_id;
        let seed = root.admin().expect("an administrator");
        let admin = Signer::from_seed(seed.expose());
        let signer = Signer::from_seed(writer_seed(seed, &repo, b"evil").expose());
        let cert = WriterCert::host(signer.public(), "evil");
        let cert = cert.encode(&repo, &admin).expect("short");
        let evil = Self { place, repo, keys: EpochKeys::derive(&root, &repo), signer, admin };
        evil.write(key_name(KeyKind::Cert, &cert.name).as_str(), &cert.bytes);
        evil
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.place.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// A blob as every writer makes it.
    pub(super) fn blob(&self, kind: BlobKind, plain: &[u8]) -> Blob {
        let mut stored = Vec::new();
        let mut compressor = Compressor::new(1);
        let compression = compressor.compress(plain, &mut stored);
        let level = compressor.level_of(compression);
        let plain_bytes = u32::try_from(plain.len()).expect("small");
        let id = self.keys.ids().id(kind, plain);
        Blob { row: BlobRow { id, kind, plain_bytes, compression, level }, stored }
    }

    /// A blob whose row says that these stored bytes are a frame of so many plain bytes.
    pub(super) fn frame(&self, kind: BlobKind, plain: &[u8], plain_bytes: u32, stored: Vec<u8>) -> Blob {
        let id = self.keys.ids().id(kind, plain);
        Blob { row: BlobRow { id, kind, plain_bytes, compression: Compression::Zstd, level: 1 }, stored }
    }

    /// The tree of these entries, in whose leaves these bytes are replaced.
    pub(super) fn tree(&self, entries: &[Entry], swaps: &[Swap<'_>]) -> (Root, Vec<Blob>) {
        let sink = Spoilt { evil: self, swaps, blobs: vec![] };
        let mut builder = ManifestBuilder::new(*self.keys.ids().cut(), sink);
        entries.iter().for_each(|entry| builder.push(entry).expect("a builder takes it"));
        let (root, spoilt) = builder.finish().expect("memory takes all");
        (root, spoilt.blobs)
    }

    /// Packs of these blobs, one a class, and the run that would list them, which is not written.
    pub(super) fn packed(&self, blobs: &[Blob]) -> (IndexRun, Vec<(PackClass, ObjectHash)>) {
        let mut run = IndexRun::default();
        let mut packs = Vec::new();
        for class in [PackClass::Data, PackClass::Meta] {
            let identity =
                PackIdentity { class, parity: 0, epoch: 0, repo: self.repo, writer: self.signer.id() };
            let mut pack = PackBuilder::new(identity, Vec::new());
            for blob in blobs.iter().filter(|blob| blob.row.kind.class() == class) {
                pack.push(&blob.row, &blob.stored).expect("in bounds");
            }
            if pack.is_empty() {
                continue;
            }
            let pack = pack.finish(&self.signer, &self.keys).expect("in bounds");
            self.write(pack_name(class, &pack.name).as_str(), &pack.bytes);
            let number = u32::try_from(run.packs.len()).expect("two");
            run.entries.extend(pack.entries().into_iter().map(|mut entry| {
                entry.pack = number;
                entry
            }));
            let bytes = u64::try_from(pack.bytes.len()).expect("small");
            let (hash, signer, foot_offset) = (pack.name, self.signer.id(), pack.foot_offset);
            run.packs.push(RunPack { hash, class, signer, bytes, foot_offset });
            packs.push((class, pack.name));
        }
        run.entries.sort_unstable();
        (run, packs)
    }

    /// Writes a run.
    pub(super) fn list(&self, run: &IndexRun) -> ObjectHash {
        let (bytes, name) = run.seal(&self.repo, &self.signer, &self.keys).expect("small");
        self.write(index_name(0, &name).as_str(), &bytes);
        name
    }

    /// Stores blobs and lists them.
    pub(super) fn stow(&self, blobs: &[Blob]) -> Stock {
        let (run, packs) = self.packed(blobs);
        Stock { name: self.list(&run), packs }
    }

    /// Commits a snapshot of these entries, in whose leaves `name` stands for [`NAME`].
    pub(super) fn commit(&self, entries: &[Entry], name: [u8; 6], claimed: u64) -> ObjectHash {
        let (root, blobs) = self.tree(entries, &[(NAME, &name)]);
        let root =
            SnapshotRoot { path: b"/evil".to_vec(), node: root.id, entries: claimed, bytes: root.bytes };
        let body = self.body(root, &self.stow(&blobs));
        self.confirm(&body)
    }

    /// Commits a snapshot of these entries with these blobs beside the tree's own.
    pub(super) fn commit_with(&self, entries: &[Entry], swaps: &[Swap<'_>], more: &[Blob]) -> ObjectHash {
        let (root, mut blobs) = self.tree(entries, swaps);
        blobs.extend_from_slice(more);
        self.commit_root(root.id, root.entries, root.bytes, &blobs)
    }

    /// Commits a snapshot whose root is this node, stored with these blobs.
    pub(super) fn commit_root(&self, node: BlobId, entries: u64, bytes: u64, blobs: &[Blob]) -> ObjectHash {
        let root = SnapshotRoot { path: b"/evil".to_vec(), node, entries, bytes };
        self.confirm(&self.body(root, &self.stow(blobs)))
    }

    /// What a snapshot of this root says.
    pub(super) fn body(&self, root: SnapshotRoot, stock: &Stock) -> SnapshotBody {
        let at = Timestamp::from_unix_ms(1_795_485_182_123);
        SnapshotBody {
            kind: SnapshotKind::Full,
            host: "evil".into(),
            policy: None,
            tags: Vec::new(),
            started_at: at,
            ended_at: at,
            parent: None,
            base_full: None,
            roots: vec![root],
            index_runs: vec![stock.name],
            pack_set: PackSetRef::Inline(stock.packs.clone()),
            excludes_hash: [0; 32],
            tool: "evil".into(),
            stats: SnapshotStats::default(),
            unread: UnreadItems::default(),
            run_id: None,
            occurrence: None,
            asked: SnapshotKind::Full,
            captured_at: at,
        }
    }

    /// Writes a snapshot and its confirmation.
    pub(super) fn confirm(&self, body: &SnapshotBody) -> ObjectHash {
        self.confirm_bytes(&body.encode(), |_| ())
    }

    /// Writes a snapshot of this body whose bytes are spoilt, named by what it is then.
    pub(super) fn confirm_bytes(&self, body: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) -> ObjectHash {
        let header = self.header(ObjectKind::Snapshot, &self.signer, 1);
        let (mut bytes, mut id) = encode(&header, &[], body, &self.signer, Some(&self.keys)).expect("small");
        let before = bytes.len();
        spoil(&mut bytes);
        if bytes.len() != before {
            id = lifeboat::codec::hash::object(&bytes);
        }
        let name =
            SnapshotName::new(Timestamp::from_unix_ms(1_795_485_182_123), &self.signer.id(), id, [7; 8]);
        self.write(name.proposal().as_str(), &bytes);
        self.write(name.confirmation().as_str(), &confirmation_body(&id));
        id
    }

    pub(super) fn header(&self, kind: ObjectKind, signer: &Signer, number: u64) -> ObjectHeader {
        let (repo, signer) = (self.repo, signer.id());
        ObjectHeader { kind, sealing: Sealing::Epoch, epoch: 0, repo, signer, number }
    }
}

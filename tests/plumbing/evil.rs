//! Snapshots by a hostile writer who holds the key: everything is sealed, signed, named and
//! confirmed as it must be, and only what is said is evil. The real binary reads them in 512 MiB.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat::base::clock::Timestamp;
use lifeboat::base::id::{BlobId, ObjectHash, RepoId};
use lifeboat::base::metadata::{FileKind, FileTime, Metadata};
use lifeboat::codec::compress::Compressor;
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
use lifeboat::repository::manifest::{BlobSink, Content, Entry, ManifestBuilder, NodeKind, State};

use crate::lab::{Lab, Said, files, run};

/// The names that are written are of this length, so that one can stand for another in a leaf.
const NAME: &[u8; 6] = b"victim";

struct Evil {
    place: PathBuf,
    repo: RepoId,
    keys: EpochKeys,
    signer: Signer,
}

/// Takes blobs as they come, but for leaves, in which a name is replaced.
struct Spoilt<'e> {
    evil: &'e Evil,
    name: [u8; 6],
    blobs: Vec<(BlobId, BlobKind, Vec<u8>)>,
}

impl BlobSink for Spoilt<'_> {
    type Error = FormatError;

    fn put(&mut self, kind: NodeKind, plain: &[u8]) -> Result<BlobId, FormatError> {
        let mut plain = plain.to_vec();
        while kind == NodeKind::Leaf
            && self.name != *NAME
            && let Some(at) = plain.windows(NAME.len()).position(|window| window == NAME)
        {
            plain[at..at + NAME.len()].copy_from_slice(&self.name);
        }
        let kind = match kind {
            NodeKind::Leaf => BlobKind::Leaf,
            NodeKind::Node => BlobKind::Node,
            NodeKind::ChunkList => BlobKind::ChunkList,
            NodeKind::Attr => BlobKind::Attr,
        };
        let id = self.evil.keys.ids().id(kind, &plain);
        self.blobs.push((id, kind, plain));
        Ok(id)
    }
}

fn entry(path: &str, kind: FileKind, link_target: &[u8]) -> Entry {
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

impl Evil {
    /// The key holder of a repository of the lab.
    fn of(lab: &Lab, place: &str) -> Self {
        let place = lab.path(place);
        let format_bytes = std::fs::read(place.join("repo.fmt")).expect("a repository");
        let format = RepoFmt::decode(&format_bytes).expect("sound");
        let is_slot = |path: &&PathBuf| path.to_string_lossy().contains("keys/slot-");
        let slot = files(&place).iter().find(is_slot).map(std::fs::read).expect("a slot").expect("read");
        let passphrase = SlotSecret::passphrase("correct horse battery staple");
        let root = open_slot(&slot, &format_bytes, &format, &passphrase).expect("the passphrase");
        let repo = format.repo_id;
        let admin = root.admin().expect("an administrator");
        let signer = Signer::from_seed(writer_seed(admin, &repo, b"evil").expose());
        let cert = WriterCert::host(signer.public(), "evil");
        let cert = cert.encode(&repo, &Signer::from_seed(admin.expose())).expect("short");
        let evil = Self { place, repo, keys: EpochKeys::derive(&root, &repo, 0), signer };
        evil.write(key_name(KeyKind::Cert, &cert.name).as_str(), &cert.bytes);
        evil
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.place.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// Commits a snapshot of these entries, in whose leaves `name` stands for [`NAME`].
    fn commit(&self, entries: &[Entry], name: [u8; 6], claimed: u64) -> ObjectHash {
        let mut builder =
            ManifestBuilder::new(*self.keys.ids().cut(), Spoilt { evil: self, name, blobs: vec![] });
        entries.iter().for_each(|entry| builder.push(entry).expect("a builder takes it"));
        let (root, spoilt) = builder.finish().expect("memory takes all");
        let identity =
            PackIdentity { class: PackClass::Meta, epoch: 0, repo: self.repo, writer: self.signer.id() };
        let mut pack = PackBuilder::new(identity, Vec::new());
        let (mut compressor, mut stored) = (Compressor::new(1), Vec::new());
        for (id, kind, plain) in &spoilt.blobs {
            let compression = compressor.compress(plain, &mut stored);
            let plain_bytes = u32::try_from(plain.len()).expect("small");
            let level = compressor.level_of(compression);
            let row = BlobRow { id: *id, kind: *kind, plain_bytes, compression, level };
            pack.push(&row, &stored).expect("in bounds");
        }
        let pack = pack.finish(&self.signer, &self.keys).expect("in bounds");
        self.write(pack_name(PackClass::Meta, &pack.name).as_str(), &pack.bytes);
        let mut entries = pack.entries();
        entries.sort_unstable();
        let bytes = u64::try_from(pack.bytes.len()).expect("small");
        let row = RunPack {
            hash: pack.name,
            class: PackClass::Meta,
            signer: self.signer.id(),
            bytes,
            foot_offset: pack.foot_offset,
        };
        let run = IndexRun { packs: vec![row], entries, moved: Vec::new() };
        let (bytes, run) = run.seal(&self.repo, &self.signer, &self.keys).expect("small");
        self.write(index_name(0, &run).as_str(), &bytes);
        let root =
            SnapshotRoot { path: b"/evil".to_vec(), node: root.id, entries: claimed, bytes: root.bytes };
        self.confirm(root, run, pack.name)
    }

    fn confirm(&self, root: SnapshotRoot, run: ObjectHash, pack: ObjectHash) -> ObjectHash {
        let at = Timestamp::from_unix_ms(1_795_485_182_123);
        let body = SnapshotBody {
            kind: SnapshotKind::Full,
            host: "evil".into(),
            policy: None,
            tags: Vec::new(),
            started_at: at,
            ended_at: at,
            parent: None,
            base_full: None,
            roots: vec![root],
            index_runs: vec![run],
            pack_set: PackSetRef::Inline(vec![(PackClass::Meta, pack)]),
            excludes_hash: [0; 32],
            tool: "evil".into(),
            stats: SnapshotStats::default(),
            unread: UnreadItems::default(),
            run_id: None,
            occurrence: None,
            asked: SnapshotKind::Full,
            captured_at: at,
        };
        let header = ObjectHeader {
            kind: ObjectKind::Snapshot,
            sealing: Sealing::Epoch,
            epoch: 0,
            repo: self.repo,
            signer: self.signer.id(),
            number: 1,
        };
        let (bytes, id) =
            encode(&header, &[], &body.encode(), &self.signer, Some(&self.keys)).expect("small");
        let name = SnapshotName::new(at, &self.signer.id(), id, [7; 8]);
        self.write(name.proposal().as_str(), &bytes);
        self.write(name.confirmation().as_str(), &confirmation_body(&id));
        id
    }
}

/// The binary in 512 MiB and 60 s.
fn limited(lab: &Lab, verb: &str, arguments: &[&OsStr]) -> Said {
    let whole = lab.command(verb, &["one"], arguments);
    let mut command = Command::new("timeout");
    command.args(["60", "prlimit", "--data=536870912"]).arg(whole.get_program()).args(whole.get_args());
    run(command.env("LIFEBOAT_STATE_DIR", lab.path("state")))
}

fn restored(lab: &Lab, id: &ObjectHash) -> (Said, PathBuf) {
    let to = lab.path("cage/inner/back");
    let _gone = std::fs::remove_dir_all(lab.path("cage"));
    std::fs::create_dir_all(lab.path("cage/inner")).expect("made");
    std::fs::write(lab.path("cage/canary"), b"sings").expect("written");
    let text = id.to_string();
    (limited(lab, "restore", &[OsStr::new(&text), OsStr::new("--to"), to.as_os_str()]), to)
}

/// Nothing but the canary is outside of the place restored to.
fn nothing_escaped(lab: &Lab, to: &Path, what: &str) {
    let strays: Vec<PathBuf> = walk(&lab.path("cage")).into_iter().filter(|at| !at.starts_with(to)).collect();
    assert_eq!(strays, [lab.path("cage/canary"), lab.path("cage/inner")], "{what}");
    assert_eq!(std::fs::read(lab.path("cage/canary")).expect("there"), b"sings", "{what}");
}

/// Every name below a folder, links not followed, sorted.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for found in std::fs::read_dir(dir).expect("a folder").flatten() {
        if found.file_type().expect("known").is_dir() {
            all.extend(walk(&found.path()));
        }
        all.push(found.path());
    }
    all.sort();
    all
}

fn no_defect(said: &Said, what: &str) {
    let fine = said.code.is_some_and(|code| code != 124 && code != 101);
    assert!(fine && !said.err.contains("panicked") && !said.err.contains("E9999"), "{what}: {said:#?}");
}

#[test]
fn snapshots_of_a_hostile_key_holder_escape_nowhere() {
    let lab = Lab::new();
    lab.init(&["one"]);
    let evil = Evil::of(&lab, "one");
    let root = || entry("", FileKind::Directory, b"");
    let plain = [root(), entry("victim", FileKind::Directory, b"")];
    // The writer itself is sound: what it says honestly is read and restored.
    let honest = evil.commit(&plain, *NAME, 2);
    let (said, to) = restored(&lab, &honest);
    said.exits(0);
    assert!(to.join("victim").is_dir());
    nothing_escaped(&lab, &to, "an honest snapshot");
    let names: [&[u8; 6]; 10] = [
        b"../../",
        b"../esc",
        b"/tmp/x",
        b"a/../b",
        b"./././",
        b"..//..",
        b"a\0b\0cd",
        b"\0\0\0\0\0\0",
        b"//////",
        b"a/b/cd",
    ];
    let link = [root(), entry("victim", FileKind::Symlink, b"/etc")];
    let below =
        [root(), entry("folder", FileKind::Directory, b""), entry("folder/victim", FileKind::Fifo, b"")];
    for (entries, kind) in [(&plain[..], "folder"), (&link[..], "link"), (&below[..], "pipe below")] {
        for name in names {
            let what = format!("{kind} {}", name.escape_ascii());
            let id = evil.commit(entries, *name, entries.len() as u64);
            let (said, to) = restored(&lab, &id);
            no_defect(&said, &what);
            assert_ne!(said.code, Some(0), "{what}: {said:#?}");
            nothing_escaped(&lab, &to, &what);
            let text = id.to_string();
            let listed = limited(&lab, "ls", &[OsStr::new(&text)]);
            no_defect(&listed, &what);
            assert_ne!(listed.code, Some(0), "{what}: {listed:#?}");
        }
    }
    let through = [
        root(),
        entry("victim", FileKind::Symlink, b"../.."),
        entry("victim/escaped", FileKind::Directory, b""),
    ];
    let id = evil.commit(&through, *NAME, 3);
    let (said, to) = restored(&lab, &id);
    no_defect(&said, "below a link");
    assert_ne!(said.code, Some(0), "{said:#?}");
    nothing_escaped(&lab, &to, "below a link");
    for claimed in [0, 1, 1_000_000_000, 1 << 40, u64::MAX] {
        let id = evil.commit(&plain, *NAME, claimed);
        let (said, to) = restored(&lab, &id);
        no_defect(&said, "entries claimed");
        nothing_escaped(&lab, &to, "entries claimed");
    }
    let verify = limited(&lab, "verify", &[]);
    no_defect(&verify, "verify");
    assert_ne!(verify.code, Some(0), "{verify:#?}");
}

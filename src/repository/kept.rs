//! What a host that only adds keeps of its own backups: it cannot read them back, and has to compare
//! with them.
//!
//! A folder of the local cache holds its newest snapshots and the blobs of their manifests (names,
//! sizes, times and ids of its files, which it has before its eyes anyway). It may be deleted or lied
//! in at any time: every blob is checked against its keyed id, every snapshot against a sum, and what
//! is missing is only read again from the source.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;

use super::access::Repository;
use super::error::RepositoryError;
use super::format::keys::{BlobKind, EpochKeys};
use super::format::names::SnapshotName;
use super::format::snapshot::{PackSetRef, SnapshotBody, SnapshotKind};
use super::manifest::{BlobRef, BlobSource, NodeKind, Visit, visit_blobs};
use super::manifest_source::blob_kind;
use super::snapshots::Snapshot;
use crate::base::clock::Timestamp;
use crate::base::durable;
use crate::base::id::{BlobId, ObjectHash, WriterId};
use crate::base::limits::BLOB_PLAIN_BYTES_MAX;
use crate::codec::compress::{Compression, Compressor, Decompressor};
use crate::codec::hash;

const MAGIC: &[u8; 8] = b"LBKEPT\0\x01";
/// Magic, id, number, time.
const HEAD_BYTES: usize = 8 + 32 + 8 + 8;
const SUM_BYTES: usize = 32;
/// The folder is tidied when it has grown by half, and by this many files.
const GROWTH_MIN: usize = 64;

/// The folder of one host and its roots.
pub struct Kept {
    dir: PathBuf,
    keys: EpochKeys,
    compressor: Mutex<Compressor>,
}

impl Kept {
    /// For backups of these roots by a host; `None` for keys that read, and where there is no cache.
    pub fn of(repository: &Repository, host: &str, roots: &[Vec<u8>]) -> Option<Self> {
        let cache = repository.cache().filter(|_| repository.keys().writes_only())?;
        let mut what = host.as_bytes().to_vec();
        for root in roots {
            what.push(0);
            what.extend_from_slice(root);
        }
        let name = hex::encode(&hash::plain(&[&what])[..16]);
        let dir = cache.join(repository.id().to_hex()).join("own").join(name);
        durable::create_dir_all(&dir).ok()?;
        let compressor = Mutex::new(Compressor::new(1));
        Some(Self { dir, keys: repository.keys().clone(), compressor })
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.dir.join(id.to_hex())
    }

    /// A blob, when it is there and is what its id says.
    pub fn get(&self, kind: BlobKind, id: &BlobId) -> Option<Bytes> {
        let file = fs::read(self.path(id)).ok()?;
        let (head, stored) = file.split_first_chunk::<5>()?;
        let plain_bytes = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let plain_bytes = usize::try_from(plain_bytes).ok().filter(|bytes| *bytes <= BLOB_PLAIN_BYTES_MAX)?;
        let mut plain = Vec::new();
        Decompressor::new()
            .decompress(Compression::from_number(head[0])?, stored, plain_bytes, &mut plain)
            .ok()?;
        (self.keys.ids().id(kind, &plain) == *id).then(|| plain.into())
    }

    /// Keeps a blob. Where it finds no room the next backup reads more.
    pub fn put(&self, id: &BlobId, plain: &[u8]) {
        let path = self.path(id);
        let Ok(plain_bytes) = u32::try_from(plain.len()) else { return };
        if path.exists() {
            return;
        }
        let mut stored = Vec::new();
        let compression =
            self.compressor.lock().unwrap_or_else(PoisonError::into_inner).compress(plain, &mut stored);
        let head = [&[compression.number()][..], &plain_bytes.to_le_bytes()].concat();
        // A file that was cut off by a crash is not what its id says.
        drop(fs::write(path, [head, stored].concat()));
    }

    /// The snapshots that are kept.
    pub fn snapshots(&self, me: &WriterId) -> Vec<Snapshot> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Vec::new() };
        let paths = files.filter_map(Result::ok).map(|file| file.path());
        paths.filter(|path| is_snapshot(path)).filter_map(|path| read(&path, me)).collect()
    }

    /// Keeps a snapshot that was confirmed somewhere, and lets go of those that nobody compares with
    /// any more.
    pub fn note(&self, snapshot: &Snapshot) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(snapshot.id.as_bytes());
        bytes.extend_from_slice(&snapshot.number.to_le_bytes());
        bytes.extend_from_slice(&snapshot.body.captured_at.unix_ms().to_le_bytes());
        bytes.extend_from_slice(&snapshot.body.encode());
        bytes.extend_from_slice(&hash::plain(&[&bytes]));
        if durable::replace(&self.dir.join(file_name(&snapshot.id)), &bytes).is_err() {
            return;
        }
        let mut all = self.snapshots(&snapshot.writer);
        all.sort_by_key(|one| (one.number, one.body.captured_at));
        let is_lasting = |one: &&Snapshot| one.body.kind != SnapshotKind::Checkpoint;
        let is_full =
            |one: &&Snapshot| matches!(one.body.kind, SnapshotKind::Full | SnapshotKind::FullIndependent);
        let newest = all.last().map(|one| one.id);
        let lasting = all.iter().rfind(is_lasting).map(|one| one.id);
        let full = all.iter().rfind(is_full).map(|one| one.id);
        let is_wanted = |id: &ObjectHash| [newest, lasting, full].contains(&Some(*id));
        for one in all.iter().filter(|one| !is_wanted(&one.id)) {
            drop(fs::remove_file(self.dir.join(file_name(&one.id))));
        }
        all.retain(|one| is_wanted(&one.id));
        self.tidy(&all);
    }

    /// Removes blobs that no kept snapshot leads to, once there are many.
    fn tidy(&self, snapshots: &[Snapshot]) {
        let mark = self.dir.join("tidied");
        let before = fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse::<usize>().ok());
        let Ok(files) = fs::read_dir(&self.dir) else { return };
        let files: Vec<PathBuf> = files.filter_map(Result::ok).map(|file| file.path()).collect();
        let before = before.unwrap_or(0);
        if files.len() <= before + before / 2 + GROWTH_MIN {
            return;
        }
        let mut needed = HashSet::new();
        for snapshot in snapshots {
            if let PackSetRef::Blob(id) = &snapshot.body.pack_set {
                needed.insert(*id);
            }
            for root in &snapshot.body.roots {
                let walked = visit_blobs(&root.node, &self, &mut |blob| match blob {
                    BlobRef::Manifest(_, id) if needed.insert(id) => Visit::Enter,
                    _ => Visit::Skip,
                });
                // What it leads to is unknown, so nothing goes; a blob is missing, and the next
                // backup that reads all makes it anew.
                if walked.is_err() {
                    return;
                }
            }
        }
        let needed: HashSet<String> = needed.iter().map(BlobId::to_hex).collect();
        let mut left = 0;
        for path in &files {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.len() == 64 && !needed.contains(name) {
                drop(fs::remove_file(path));
            } else {
                left += 1;
            }
        }
        drop(fs::write(mark, left.to_string()));
    }
}

impl BlobSource for &Kept {
    type Error = RepositoryError;

    fn get(&self, kind: NodeKind, id: &BlobId) -> Result<Bytes, RepositoryError> {
        Kept::get(self, blob_kind(kind), id)
            .ok_or_else(|| RepositoryError::MissingBlob { id: *id, place: self.dir.display().to_string() })
    }
}

fn file_name(id: &ObjectHash) -> String {
    format!("snapshot-{}", id.to_hex())
}

fn is_snapshot(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("snapshot-"))
}

fn read(path: &Path, me: &WriterId) -> Option<Snapshot> {
    let bytes = fs::read(path).ok()?;
    let (rest, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    let (head, body) = rest.split_at_checked(HEAD_BYTES)?;
    if hash::plain(&[rest]) != *sum || head[..8] != *MAGIC {
        return None;
    }
    let id = ObjectHash::new(head[8..40].try_into().ok()?);
    let number = u64::from_le_bytes(head[40..48].try_into().ok()?);
    let at = Timestamp::from_unix_ms(i64::from_le_bytes(head[48..56].try_into().ok()?));
    Some(Snapshot {
        id,
        name: SnapshotName::new(at, me, id, [0; 8]),
        writer: *me,
        signed: true,
        number,
        links: Vec::new(),
        body: SnapshotBody::decode_plain(body).ok()?,
        bytes: Bytes::new(),
    })
}

//! Snapshots (docs/format.md, "Snapshots"): one recovery point.

use serde::Serialize;

use super::error::FormatError;
use super::names::{PackClass, SnapshotEntry, parse_snapshot_name};
use super::pack_set::{self, PackSet};
use super::tlv::{self, Reader, TlvWriter};
use crate::base::clock::Timestamp;
use crate::base::id::{BlobId, ObjectHash};
use crate::storage::contract::ObjectName;

const WHAT: &str = "a snapshot";
/// More packs than this go into a blob of their own.
pub const PACKS_INLINE_MAX: usize = 64;

/// What a snapshot is, and what it was asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SnapshotKind {
    /// Files were compared with the last snapshot by their metadata.
    Incremental = 1,
    /// Files were compared with the last full by their metadata.
    Differential = 2,
    /// Every byte was read and hashed.
    Full = 3,
    /// A full that shares no pack with older ones.
    FullIndependent = 4,
    /// A stage of a long first backup.
    Checkpoint = 5,
}

impl SnapshotKind {
    fn from_u8(number: u8) -> Option<Self> {
        [Self::Incremental, Self::Differential, Self::Full, Self::FullIndependent, Self::Checkpoint]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Full => "full",
            Self::FullIndependent => "independent full",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A folder or file that was backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRoot {
    /// Its absolute path on the source.
    pub path: Vec<u8>,
    /// The root of its manifest.
    pub node: BlobId,
    /// Entries in it.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The packs a snapshot needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackSetRef {
    /// At most [`PACKS_INLINE_MAX`], sorted.
    Inline(Vec<(PackClass, ObjectHash)>),
    /// In a blob of kind 7.
    Blob(BlobId),
}

/// Figures of the run that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// Regular files.
    pub files: u64,
    /// Files whose content was read.
    pub files_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Plain bytes of new blobs.
    pub bytes_new: u64,
    /// Files that changed while they were read.
    pub changed: u64,
    /// Items left out by rules.
    pub excluded: u64,
}

/// Items that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreadItems {
    /// How many.
    pub count: u64,
}

/// What a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotBody {
    /// What it is (tag 1).
    pub kind: SnapshotKind,
    /// The machine (2).
    pub host: String,
    /// The policy, when one asked (3).
    pub policy: Option<String>,
    /// Words of the person (4).
    pub tags: Vec<String>,
    /// Start and end of the run (5).
    pub started_at: Timestamp,
    /// End of the run.
    pub ended_at: Timestamp,
    /// What it was compared with (6).
    pub parent: Option<ObjectHash>,
    /// The full it builds on; none for a full (7).
    pub base_full: Option<ObjectHash>,
    /// What was backed up (8).
    pub roots: Vec<SnapshotRoot>,
    /// The runs that list its packs, sorted (9).
    pub index_runs: Vec<ObjectHash>,
    /// Its packs (10).
    pub pack_set: PackSetRef,
    /// blake3 of the rules that left things out (11).
    pub excludes_hash: [u8; 32],
    /// The program and its version (12).
    pub tool: String,
    /// Figures (13).
    pub stats: SnapshotStats,
    /// What could not be read (14).
    pub unread: UnreadItems,
    /// The run's id (15).
    pub run_id: Option<String>,
    /// The scheduled occurrence (16).
    pub occurrence: Option<String>,
    /// What was asked for (17).
    pub asked: SnapshotKind,
    /// Start of the walk: what the RPO counts from (18).
    pub captured_at: Timestamp,
}

impl SnapshotBody {
    /// Its bytes. Tags, index runs and packs are stored sorted, each once.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = TlvWriter::new();
        out.put(1, &[self.kind as u8]).put(2, self.host.as_bytes());
        put_some(&mut out, 3, self.policy.as_deref().map(str::as_bytes));
        let words = sorted(&self.tags);
        let mut tags = count(words.len());
        words.iter().for_each(|tag| counted(&mut tags, tag.as_bytes()));
        out.put(4, &tags).put(5, &[ms(self.started_at), ms(self.ended_at)].concat());
        put_some(&mut out, 6, self.parent.as_ref().map(|id| &id.as_bytes()[..]));
        put_some(&mut out, 7, self.base_full.as_ref().map(|id| &id.as_bytes()[..]));
        let mut roots = count(self.roots.len());
        for root in &self.roots {
            counted(&mut roots, &root.path);
            roots.extend_from_slice(root.node.as_bytes());
            roots.extend_from_slice(&root.entries.to_le_bytes());
            roots.extend_from_slice(&root.bytes.to_le_bytes());
        }
        let runs: Vec<u8> = sorted(&self.index_runs).iter().flat_map(|id| *id.as_bytes()).collect();
        let packs = match &self.pack_set {
            PackSetRef::Inline(packs) => [&[0][..], &pack_set::encode(&sorted(packs))].concat(),
            PackSetRef::Blob(id) => [&[1][..], id.as_bytes()].concat(),
        };
        out.put(8, &roots).put(9, &runs).put(10, &packs).put(11, &self.excludes_hash);
        let s = &self.stats;
        let stats = [s.files, s.files_read, s.bytes_read, s.bytes_new, s.changed, s.excluded];
        let stats: Vec<u8> = stats.iter().flat_map(|number| number.to_le_bytes()).collect();
        out.put(12, self.tool.as_bytes()).put(13, &stats);
        // The byte says that no list of the items is stored.
        out.put(14, &[&self.unread.count.to_le_bytes()[..], &[0]].concat());
        put_some(&mut out, 15, self.run_id.as_deref().map(str::as_bytes));
        put_some(&mut out, 16, self.occurrence.as_deref().map(str::as_bytes));
        out.put(17, &[self.asked as u8]).put(18, &ms(self.captured_at));
        out.finish()
    }

    /// Reads an opened body with its fill.
    ///
    /// # Errors
    /// When a field is missing, unknown and critical, or not as it would be written.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::of_fields(tlv::read_filled(WHAT, bytes)?)
    }

    /// Reads a body as [`SnapshotBody::encode`] gives it, without a fill.
    ///
    /// # Errors
    /// As [`SnapshotBody::decode`].
    pub fn decode_plain(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::of_fields(tlv::read(WHAT, bytes)?)
    }

    fn of_fields(fields: Vec<(u16, &[u8])>) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::Malformed { what: WHAT, why };
        let mut by_tag: [Option<&[u8]>; 19] = [None; 19];
        for (tag, value) in fields {
            match by_tag.get_mut(usize::from(tag)) {
                Some(field) => *field = Some(value),
                None => tlv::unknown(WHAT, tag)?,
            }
        }
        let optional = |tag: usize| by_tag[tag];
        let field = |tag: usize| by_tag[tag].ok_or(wrong("a field is missing"));
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| wrong("a text is not UTF-8"))
        };
        let kind = |bytes: &[u8]| match bytes {
            [number] => SnapshotKind::from_u8(*number).ok_or(wrong("its kind is unknown")),
            _ => Err(wrong("its kind is not one byte")),
        };
        let hash = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| wrong("a hash has not 32 bytes"));
        let id = |bytes: &[u8]| hash(bytes).map(ObjectHash::new);
        let times = field(5)?;
        let (started, ended) = times.split_at_checked(8).ok_or(wrong("its times are cut off"))?;
        Ok(Self {
            kind: kind(field(1)?)?,
            host: text(field(2)?)?,
            policy: optional(3).map(text).transpose()?,
            tags: read_tags(field(4)?)?,
            started_at: time(started)?,
            ended_at: time(ended)?,
            parent: optional(6).map(id).transpose()?,
            base_full: optional(7).map(id).transpose()?,
            roots: read_roots(field(8)?)?,
            index_runs: read_runs(field(9)?)?,
            pack_set: read_pack_set(field(10)?)?,
            excludes_hash: hash(field(11)?)?,
            tool: text(field(12)?)?,
            stats: read_stats(field(13)?)?,
            unread: read_unread(field(14)?)?,
            run_id: optional(15).map(text).transpose()?,
            occurrence: optional(16).map(text).transpose()?,
            asked: kind(field(17)?)?,
            captured_at: time(field(18)?)?,
        })
    }
}

fn count(len: usize) -> Vec<u8> {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes().to_vec()
}

fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&count(bytes.len()));
    out.extend_from_slice(bytes);
}

fn ms(at: Timestamp) -> [u8; 8] {
    at.unix_ms().to_le_bytes()
}

fn put_some(out: &mut TlvWriter, tag: u16, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.put(tag, value);
    }
}

fn time(bytes: &[u8]) -> Result<Timestamp, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    let ms = reader.i64()?;
    reader.end()?;
    let at = Timestamp::from_unix_ms(ms);
    if at.unix_ms() == ms { Ok(at) } else { Err(reader.wrong("a time is out of bounds")) }
}

fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}

fn read_unread(bytes: &[u8]) -> Result<UnreadItems, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    let unread = UnreadItems { count: reader.u64()? };
    // A later version stores the items in a blob of kind 5 and its id here.
    match reader.u8()? {
        0 => {}
        1 => drop(reader.array::<32>()?),
        _ => return Err(reader.wrong("its list of unread items is in an unknown form")),
    }
    reader.end()?;
    Ok(unread)
}

fn read_tags(bytes: &[u8]) -> Result<Vec<String>, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    let mut tags = Vec::new();
    for _ in 0..reader.u32()? {
        let tag = std::str::from_utf8(reader.counted()?).map_err(|_| reader.wrong("a tag is not UTF-8"))?;
        tags.push(tag.to_owned());
    }
    reader.end()?;
    if tags.is_sorted_by(|a, b| a < b) { Ok(tags) } else { Err(reader.wrong("its tags are not sorted")) }
}

fn read_roots(bytes: &[u8]) -> Result<Vec<SnapshotRoot>, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    let mut roots = Vec::new();
    for _ in 0..reader.u32()? {
        roots.push(SnapshotRoot {
            path: reader.counted()?.to_vec(),
            node: BlobId::new(reader.array()?),
            entries: reader.u64()?,
            bytes: reader.u64()?,
        });
    }
    reader.end()?;
    Ok(roots)
}

fn read_runs(bytes: &[u8]) -> Result<Vec<ObjectHash>, FormatError> {
    let (ids, slack) = bytes.as_chunks::<32>();
    let runs: Vec<ObjectHash> = ids.iter().map(|id| ObjectHash::new(*id)).collect();
    if slack.is_empty() && runs.is_sorted_by(|a, b| a < b) {
        Ok(runs)
    } else {
        Err(FormatError::Malformed { what: WHAT, why: "its index runs are not sorted" })
    }
}

fn read_pack_set(bytes: &[u8]) -> Result<PackSetRef, FormatError> {
    let wrong = FormatError::Malformed { what: WHAT, why: "its pack set is in an unknown form" };
    match bytes.split_first() {
        Some((0, list)) => {
            let packs = PackSet::decode(list)?.packs;
            if packs.len() <= PACKS_INLINE_MAX { Ok(PackSetRef::Inline(packs)) } else { Err(wrong) }
        }
        Some((1, id)) => Ok(PackSetRef::Blob(BlobId::new(id.try_into().map_err(|_| wrong)?))),
        _ => Err(wrong),
    }
}

fn read_stats(bytes: &[u8]) -> Result<SnapshotStats, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    let stats = SnapshotStats {
        files: reader.u64()?,
        files_read: reader.u64()?,
        bytes_read: reader.u64()?,
        bytes_new: reader.u64()?,
        changed: reader.u64()?,
        excluded: reader.u64()?,
    };
    reader.end()?;
    Ok(stats)
}

/// What a confirmation holds: the id of the snapshot it confirms.
pub fn confirmation_body(id: &ObjectHash) -> [u8; 32] {
    *id.as_bytes()
}

/// Whether an object is the confirmation that its name says, or no confirmation at all.
pub fn confirmation_matches(name: &ObjectName, bytes: &[u8]) -> bool {
    match parse_snapshot_name(name) {
        Some(SnapshotEntry::Confirmation(snapshot)) => bytes == confirmation_body(&snapshot.id),
        _ => true,
    }
}

//! Packs (docs/format.md, "Packs"): many sealed blobs in one object that anybody can check and
//! only the key holder can read.

use std::ops::Range;

use super::error::FormatError;
use super::index_run::RunEntry;
use super::keys::{BlobKind, EpochKeys, IdKeys};
use super::names::PackClass;
use super::tlv::Reader;
use crate::base::entropy;
use crate::base::id::{BlobId, ObjectHash, RepoId, WriterId};
use crate::base::limits::BLOB_PLAIN_BYTES_MAX;
use crate::base::secret::{Key, Secret};
use crate::codec::compress::{Compression, Decompressor};
use crate::codec::hash;
use crate::codec::seal::{self, SEAL_BYTES, TAG_BYTES};
use crate::codec::sign::{self, SIGNATURE_BYTES, Signer};

const MAGIC: &[u8; 8] = b"LBPACK\0\x01";
const TRAIL_MAGIC: &[u8; 8] = b"LBTRAIL\x01";
const VERSION: u16 = 1;
/// Length of the header in clear.
pub const HEADER_BYTES: usize = 64;
/// Length of the trailer at the end.
pub const TRAIL_BYTES: usize = 256;
/// Length of a footer row.
pub const ROW_BYTES: usize = 48;
/// Length of a shard, for sums and parity.
pub const SHARD_BYTES: usize = 64 * 1024;
/// One read of this many last bytes gives the footer of most packs.
pub const TAIL_BYTES_FIRST: u64 = 64 * 1024;
const PAGE: usize = 4096;
const DOMAIN: &str = "lifeboat v1 pack";
const ROLE_FOOT: u8 = 1;
const ROLE_DATA: u8 = 2;
const BOX_SEAL: u8 = 1;
const AEAD_AES_256_GCM: u8 = 1;
const BOX_BYTES: usize = 32 + SEAL_BYTES;

/// Who and what a pack is.
#[derive(Clone, Copy, Debug)]
pub struct PackIdentity {
    /// Data or metadata.
    pub class: PackClass,
    /// Epoch of its key boxes; 0 in version 1.
    pub epoch: u32,
    /// Its repository.
    pub repo: RepoId,
    /// Who signs it.
    pub writer: WriterId,
}

impl PackIdentity {
    /// From the first bytes of a pack.
    ///
    /// # Errors
    /// When they are not those of a pack of this repository.
    pub fn of_header(header: &[u8], repo: &RepoId) -> Result<Self, FormatError> {
        let what = "a pack's header";
        let mut reader = Reader::new(what, header.get(..HEADER_BYTES).unwrap_or(header));
        if reader.array::<8>()? != *MAGIC {
            return Err(reader.wrong("it does not begin as a pack does"));
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(FormatError::TooNew { what, version });
        }
        let class = PackClass::from_u8(reader.u8()?).ok_or(reader.wrong("its class is unknown"))?;
        let _parity = reader.u8()?;
        let identity = Self {
            class,
            epoch: reader.u32()?,
            repo: RepoId::new(reader.array()?),
            writer: WriterId::new(reader.array()?),
        };
        if identity.repo != *repo {
            return Err(reader.wrong("it belongs to another repository"));
        }
        Ok(identity)
    }
}

/// A blob to be stored.
#[derive(Clone, Copy, Debug)]
pub struct BlobRow {
    /// Keyed id of its plaintext.
    pub id: BlobId,
    /// What it is.
    pub kind: BlobKind,
    /// Length of its plaintext.
    pub plain_bytes: u32,
    /// How it is compressed.
    pub compression: Compression,
    /// At which level; 0 when raw.
    pub level: i8,
}

/// A row of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Keyed id of the plaintext.
    pub id: BlobId,
    /// What it is.
    pub kind: BlobKind,
    /// Length of the plaintext.
    pub plain_bytes: u32,
    /// Length as stored, without the tag.
    pub stored_bytes: u32,
    /// How it is compressed.
    pub compression: Compression,
    /// At which level.
    pub level: i8,
    /// Which data key box opens it.
    pub key_box: u16,
}

impl Row {
    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut out = [0u8; ROW_BYTES];
        out[..32].copy_from_slice(self.id.as_bytes());
        out[32..36].copy_from_slice(&self.plain_bytes.to_le_bytes());
        out[36..40].copy_from_slice(&self.stored_bytes.to_le_bytes());
        out[40] = self.kind as u8;
        out[41] = self.compression.number();
        out[42] = self.level.to_le_bytes()[0];
        out[43] = AEAD_AES_256_GCM;
        out[44..46].copy_from_slice(&self.key_box.to_le_bytes());
        out
    }

    fn sealed_under(&self) -> [u8; 44] {
        let row = self.encode();
        let mut out = [0u8; 44];
        out.copy_from_slice(&row[..44]);
        out
    }

    fn decode(bytes: &[u8; ROW_BYTES]) -> Result<Self, FormatError> {
        let mut reader = Reader::new("a pack's footer", bytes);
        let id = BlobId::new(reader.array()?);
        let (plain_bytes, stored_bytes) = (reader.u32()?, reader.u32()?);
        let kind = BlobKind::from_u8(reader.u8()?).ok_or(reader.wrong("a row has an unknown kind"))?;
        let compression = Compression::from_number(reader.u8()?)
            .ok_or(reader.wrong("a row is compressed in an unknown way"))?;
        let level = i8::from_le_bytes(reader.array()?);
        if reader.u8()? != AEAD_AES_256_GCM {
            return Err(reader.wrong("a row is sealed in an unknown way"));
        }
        let key_box = reader.u16()?;
        let row = Self { id, kind, plain_bytes, stored_bytes, compression, level, key_box };
        let fits = |len: u32| usize::try_from(len).is_ok_and(|len| len <= BLOB_PLAIN_BYTES_MAX);
        let raw_is_equal = compression != Compression::Raw || (plain_bytes == stored_bytes && level == 0);
        if reader.u16()? != 0 || !fits(plain_bytes) || !fits(stored_bytes) || !raw_is_equal {
            return Err(reader.wrong("a row has a length that no writer makes"));
        }
        Ok(row)
    }
}

/// A finished pack.
#[derive(Debug)]
pub struct FinishedPack {
    /// The object.
    pub bytes: Vec<u8>,
    /// Its name.
    pub name: ObjectHash,
    /// Its footer's rows.
    pub rows: Vec<Row>,
    /// Where the footer begins.
    pub foot_offset: u64,
}

impl FinishedPack {
    /// Its blobs as an index run lists them, with 0 as the pack's number.
    pub fn entries(&self) -> Vec<RunEntry> {
        let entry = |(ordinal, row): (usize, &Row)| RunEntry {
            id: row.id,
            pack: 0,
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            stored_bytes: row.stored_bytes,
        };
        self.rows.iter().enumerate().map(entry).collect()
    }
}

/// A pack being filled.
#[derive(Debug)]
pub struct PackBuilder {
    identity: PackIdentity,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    pack_key: Key,
    foot_key: Key,
}

impl PackBuilder {
    /// An empty pack in this buffer.
    pub fn new(identity: PackIdentity, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.extend_from_slice(&[identity.class as u8, 0]);
        buffer.extend_from_slice(&identity.epoch.to_le_bytes());
        buffer.extend_from_slice(identity.repo.as_bytes());
        buffer.extend_from_slice(identity.writer.as_bytes());
        buffer.resize(HEADER_BYTES, 0);
        Self {
            identity,
            bytes: buffer,
            rows: Vec::new(),
            pack_key: Secret::new(entropy::random()),
            foot_key: Secret::new(entropy::random()),
        }
    }

    /// Data or metadata.
    pub fn class(&self) -> PackClass {
        self.identity.class
    }

    /// Bytes so far, without footer.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Seals a blob into the pack; gives its row's number.
    ///
    /// # Errors
    /// When it is longer than any blob may be.
    pub fn push(&mut self, blob: &BlobRow, stored: &[u8]) -> Result<u32, FormatError> {
        let unfit = FormatError::Unfit { what: "a blob", why: "it is too long" };
        if stored.len() > BLOB_PLAIN_BYTES_MAX {
            return Err(unfit);
        }
        let row = Row {
            id: blob.id,
            kind: blob.kind,
            plain_bytes: blob.plain_bytes,
            stored_bytes: u32::try_from(stored.len()).map_err(|_| unfit)?,
            compression: blob.compression,
            level: blob.level,
            key_box: 0,
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(stored);
        let tag = seal::seal_blob(self.pack_key.expose(), &row.sealed_under(), &mut self.bytes[start..]);
        self.bytes.extend_from_slice(&tag);
        self.rows.push(row);
        Ok(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
    }

    /// Closes the pack: padding, footer, key boxes, sums, trailer.
    ///
    /// # Errors
    /// When the pack holds too many blobs.
    pub fn finish(mut self, signer: &Signer, keys: &EpochKeys) -> Result<FinishedPack, FormatError> {
        let repo = self.identity.repo;
        let header: [u8; HEADER_BYTES] =
            self.bytes[..HEADER_BYTES].try_into().expect("a pack begins with its header");
        self.pad(&repo);
        let ec_offset = self.bytes.len();
        let foot_offset = ec_offset;
        let mut foot: Vec<u8> = self.rows.iter().flat_map(Row::encode).collect();
        foot.resize((foot.len() + SEAL_BYTES).div_ceil(PAGE).max(1) * PAGE - SEAL_BYTES, 0);
        self.bytes.extend_from_slice(&seal::seal(self.foot_key.expose(), &repo, "foot", &header, &foot));
        let wrap_offset = self.bytes.len();
        self.bytes.extend_from_slice(&self.wrap(keys));
        let sums_offset = self.bytes.len();
        let sums: Vec<u8> = self.bytes[..foot_offset].chunks(SHARD_BYTES).flat_map(shard_sum).collect();
        self.bytes.extend_from_slice(&sums);
        let total = (self.bytes.len() + TRAIL_BYTES).div_ceil(PAGE) * PAGE;
        self.bytes.resize(total - TRAIL_BYTES, 0);
        let digest = hash::plain(&[&header, &self.bytes[foot_offset..sums_offset]]);
        let trail =
            Trail { pack: total, ec: ec_offset, foot: foot_offset, wrap: wrap_offset, sums: sums_offset };
        self.bytes.extend_from_slice(&trail.encode(&signer.sign(DOMAIN, &digest)));
        let name = hash::object(&self.bytes);
        let foot_offset = u64::try_from(foot_offset).unwrap_or(u64::MAX);
        Ok(FinishedPack { name, bytes: self.bytes, rows: self.rows, foot_offset })
    }

    /// Fills the blob area so that its end tells nothing about the blobs' lengths.
    fn pad(&mut self, repo: &RepoId) {
        let blobs = self.bytes.len();
        // u = 2^ceil(log2 blobs) / 16, within 4 to 64 KiB.
        let unit = (blobs.next_power_of_two() / 16).clamp(PAGE, SHARD_BYTES);
        let jitter = entropy::below(u32::try_from(unit).unwrap_or(u32::MAX));
        let jitter = usize::try_from(jitter).unwrap_or(0);
        let end = (blobs + jitter).div_ceil(unit) * unit;
        self.bytes.resize(end, 0);
        hash::derive_into("pad", self.foot_key.expose(), repo, &[], &mut self.bytes[blobs..]);
    }

    fn wrap(&self, keys: &EpochKeys) -> Vec<u8> {
        let mut out = 2u16.to_le_bytes().to_vec();
        let boxes =
            [(ROLE_FOOT, keys.meta_box(), &self.foot_key), (ROLE_DATA, keys.data_box(), &self.pack_key)];
        for (role, box_key, key) in boxes {
            let header = box_header(&self.identity.repo, role, self.identity.epoch);
            let sealed = seal::seal(box_key.expose(), &self.identity.repo, "box", &header, key.expose());
            out.extend_from_slice(&[role, BOX_SEAL]);
            out.extend_from_slice(&self.identity.epoch.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&u16::try_from(sealed.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(&sealed);
        }
        out
    }
}

fn box_header(repo: &RepoId, role: u8, epoch: u32) -> Vec<u8> {
    [&repo.as_bytes()[..], &[role], &epoch.to_le_bytes()].concat()
}

fn shard_sum(shard: &[u8]) -> [u8; 8] {
    xxhash_rust::xxh3::xxh3_64(shard).to_le_bytes()
}

/// Offsets of a pack's parts, from its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trail {
    pack: usize,
    ec: usize,
    foot: usize,
    wrap: usize,
    sums: usize,
}

impl Trail {
    fn encode(&self, signature: &[u8; SIGNATURE_BYTES]) -> [u8; TRAIL_BYTES] {
        let mut out = [0u8; TRAIL_BYTES];
        out[..8].copy_from_slice(TRAIL_MAGIC);
        for (number, offset) in [self.pack, self.ec, self.foot, self.wrap, self.sums].into_iter().enumerate()
        {
            let at = 8 + 8 * number;
            out[at..at + 8].copy_from_slice(&u64::try_from(offset).unwrap_or(u64::MAX).to_le_bytes());
        }
        let sig_at = TRAIL_BYTES - 4 - SIGNATURE_BYTES;
        out[sig_at..TRAIL_BYTES - 4].copy_from_slice(signature);
        let crc = crc32c::crc32c(&out[..TRAIL_BYTES - 4]);
        out[TRAIL_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(tail: &[u8], total: u64) -> Result<(Self, [u8; SIGNATURE_BYTES]), FormatError> {
        let wrong = |why| FormatError::Malformed { what: "a pack's trailer", why };
        let start = tail.len().checked_sub(TRAIL_BYTES).ok_or(wrong("it is cut off"))?;
        let trail = &tail[start..];
        let (body, crc) = trail.split_last_chunk::<4>().ok_or(wrong("it is cut off"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(wrong("its checksum does not fit"));
        }
        let mut reader = Reader::new("a pack's trailer", body);
        if reader.array::<8>()? != *TRAIL_MAGIC {
            return Err(wrong("it does not begin as a trailer does"));
        }
        let mut offsets = [0usize; 5];
        for offset in &mut offsets {
            *offset = usize::try_from(reader.u64()?).map_err(|_| wrong("an offset is too large"))?;
        }
        let [pack, ec, foot, wrap, sums] = offsets;
        let zeros = reader.slice(body.len() - 8 - 40 - SIGNATURE_BYTES)?;
        let signature = reader.array()?;
        let ordered = HEADER_BYTES <= ec && ec <= foot && foot < wrap && wrap < sums && sums < pack;
        if u64::try_from(pack) != Ok(total) || !ordered || pack % PAGE != 0 || zeros.iter().any(|b| *b != 0) {
            return Err(wrong("its offsets are not those of a pack"));
        }
        Ok((Self { pack, ec, foot, wrap, sums }, signature))
    }
}

/// An opened footer: what a pack holds, and the key to it.
#[derive(Debug)]
pub struct PackDirectory {
    rows: Vec<Row>,
    offsets: Vec<u64>,
    pack_key: Key,
    digest_tail: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    foot_offset: u64,
}

impl PackDirectory {
    /// Opens the footer out of a pack's last bytes, which must begin at or before the footer.
    /// `header` are the pack's first 64 bytes; they are rebuilt from what is known of the pack.
    ///
    /// # Errors
    /// `Malformed`, `NotOpened`.
    pub fn open(
        tail: &[u8],
        total: u64,
        identity: &PackIdentity,
        keys: &EpochKeys,
    ) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::Malformed { what: "a pack's footer", why };
        let (trail, signature) = Trail::decode(tail, total)?;
        let skipped = trail.pack.checked_sub(tail.len()).ok_or(wrong("more bytes came than the pack has"))?;
        let at = |offset: usize| offset.checked_sub(skipped).ok_or(wrong("it lies before the bytes given"));
        let (foot, wrap, sums) = (at(trail.foot)?, at(trail.wrap)?, at(trail.sums)?);
        let (foot_key, pack_key) = open_boxes(&tail[wrap..sums], identity, keys)?;
        let header = PackBuilder::new(*identity, Vec::new()).bytes;
        let foot_bytes = seal::open(foot_key.expose(), &identity.repo, "foot", &header, &tail[foot..wrap])
            .map_err(|_| FormatError::NotOpened { what: "a pack's footer" })?;
        let (rows, offsets) = read_rows(&foot_bytes, trail.ec)?;
        Ok(Self {
            rows,
            offsets,
            pack_key,
            digest_tail: tail[foot..sums].to_vec(),
            signature,
            foot_offset: u64::try_from(trail.foot).unwrap_or(u64::MAX),
        })
    }

    /// Checks the pack's signature.
    ///
    /// # Errors
    /// `NotSigned`.
    pub fn verify(&self, identity: &PackIdentity, public: &[u8; 32]) -> Result<(), FormatError> {
        let header = PackBuilder::new(*identity, Vec::new()).bytes;
        let digest = hash::plain(&[&header, &self.digest_tail]);
        let wrong = FormatError::NotSigned { what: "a pack" };
        if sign::writer_id(public) != identity.writer {
            return Err(wrong);
        }
        sign::verify(public, DOMAIN, &digest, &self.signature).map_err(|_| wrong)
    }

    /// How many blobs the pack holds.
    pub fn len(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where the footer begins.
    pub fn foot_offset(&self) -> u64 {
        self.foot_offset
    }

    /// A row.
    pub fn row(&self, ordinal: u32) -> Option<&Row> {
        self.rows.get(usize::try_from(ordinal).ok()?)
    }

    /// Where a sealed blob lies in the pack, tag included.
    pub fn sealed_range(&self, ordinal: u32) -> Option<Range<u64>> {
        let number = usize::try_from(ordinal).ok()?;
        let (start, row) = (*self.offsets.get(number)?, self.rows.get(number)?);
        Some(start..start + u64::from(row.stored_bytes) + TAG_BYTES as u64)
    }

    /// Opens a blob in place, decompresses it into `plain` and checks its id.
    ///
    /// # Errors
    /// When any of that fails: nothing of `plain` may be used then.
    pub fn open_into(
        &self,
        ordinal: u32,
        sealed: &mut [u8],
        ids: &IdKeys,
        decompressor: &mut Decompressor,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let what = "a blob";
        let row = self.row(ordinal).ok_or(FormatError::Malformed { what, why: "its row does not exist" })?;
        let len = seal::open_blob(self.pack_key.expose(), &row.sealed_under(), sealed)
            .map_err(|_| FormatError::NotOpened { what })?;
        let plain_bytes = usize::try_from(row.plain_bytes).unwrap_or(usize::MAX);
        plain.clear();
        decompressor
            .decompress(row.compression, &sealed[..len], plain_bytes, plain)
            .map_err(|_| FormatError::Malformed { what, why: "it does not decompress to its length" })?;
        let found = match row.kind {
            BlobKind::Group => super::group::id(plain, ids)?,
            kind => ids.id(kind, plain),
        };
        if found == row.id {
            Ok(())
        } else {
            Err(FormatError::Malformed { what, why: "its content is not its id's" })
        }
    }

    /// As [`PackDirectory::open_into`], out of shared bytes.
    ///
    /// # Errors
    /// The same.
    pub fn open_blob(
        &self,
        ordinal: u32,
        sealed: &[u8],
        ids: &IdKeys,
        decompressor: &mut Decompressor,
    ) -> Result<Vec<u8>, FormatError> {
        let mut plain = Vec::new();
        self.open_into(ordinal, &mut sealed.to_vec(), ids, decompressor, &mut plain)?;
        Ok(plain)
    }
}

fn open_boxes(wrap: &[u8], identity: &PackIdentity, keys: &EpochKeys) -> Result<(Key, Key), FormatError> {
    let mut reader = Reader::new("a pack's key boxes", wrap);
    let (mut foot, mut data) = (None, None);
    for _ in 0..reader.u16()? {
        let (role, algorithm, epoch) = (reader.u8()?, reader.u8()?, reader.u32()?);
        let _recipient: [u8; 8] = reader.array()?;
        let len = usize::from(reader.u16()?);
        let sealed = reader.slice(len)?;
        if algorithm != BOX_SEAL || epoch != identity.epoch || len != BOX_BYTES {
            continue;
        }
        let (box_key, slot) = match role {
            ROLE_FOOT => (keys.meta_box(), &mut foot),
            ROLE_DATA => (keys.data_box(), &mut data),
            _ => continue,
        };
        let header = box_header(&identity.repo, role, epoch);
        let opened = seal::open(box_key.expose(), &identity.repo, "box", &header, sealed)
            .map_err(|_| FormatError::NotOpened { what: "a pack's key box" })?;
        let key: [u8; 32] =
            opened.try_into().map_err(|_| FormatError::NotOpened { what: "a pack's key box" })?;
        *slot = Some(Secret::new(key));
    }
    reader.end()?;
    match (foot, data) {
        (Some(foot), Some(data)) => Ok((foot, data)),
        _ => Err(FormatError::NotGranted { what: "a pack's key boxes" }),
    }
}

fn read_rows(foot: &[u8], blobs_end: usize) -> Result<(Vec<Row>, Vec<u64>), FormatError> {
    let wrong = |why| FormatError::Malformed { what: "a pack's footer", why };
    let (chunks, slack) = foot.as_chunks::<ROW_BYTES>();
    let mut rows = Vec::new();
    let mut offsets = Vec::new();
    let mut offset = HEADER_BYTES as u64;
    let mut ended = false;
    for chunk in chunks {
        if chunk.iter().all(|byte| *byte == 0) {
            ended = true;
            continue;
        }
        if ended {
            return Err(wrong("a row follows its end"));
        }
        let row = Row::decode(chunk)?;
        offsets.push(offset);
        offset += u64::from(row.stored_bytes) + TAG_BYTES as u64;
        rows.push(row);
    }
    if slack.iter().any(|byte| *byte != 0) || offset > u64::try_from(blobs_end).unwrap_or(0) {
        return Err(wrong("its rows do not fit the pack"));
    }
    Ok((rows, offsets))
}

/// The shards of a pack whose sums do not fit: where damage lies, found without a key.
///
/// # Errors
/// When the trailer cannot be read.
pub fn hurt_shards(pack: &[u8]) -> Result<Vec<usize>, FormatError> {
    let (trail, _) = Trail::decode(pack, u64::try_from(pack.len()).unwrap_or(u64::MAX))?;
    let sums = &pack[trail.sums..];
    let shards = pack[..trail.foot].chunks(SHARD_BYTES).zip(sums.chunks(8)).enumerate();
    Ok(shards.filter(|(_, (shard, sum))| shard_sum(shard) != **sum).map(|(number, _)| number).collect())
}

//! Reading a pack: from its footer to a blob that is what its id says.

use std::ops::Range;

use zeroize::Zeroizing;

use super::super::error::FormatError;
use super::super::group;
use super::super::keys::{BlobKind, EpochKeys, IdKeys};
use super::super::tlv::Reader;
use super::head::{
    self, BOX_READERS, BOX_SEAL, DOMAIN, HEADER_BYTES, PackIdentity, READERS, ROLE_DATA, ROLE_FOOT,
    box_header,
};
use super::row::{BlobRow, ROW_BYTES, Row, foot_bytes};
use super::trail::{TRAIL_BYTES, Trail, Trailer};
use crate::base::secret::{Key, Secret};
use crate::codec::compress::{Compression, Decompressor};
use crate::codec::hash;
use crate::codec::seal::{self, TAG_BYTES};
use crate::codec::sign::{self, SIGNATURE_BYTES};

/// An opened footer: what a pack holds, and the key to it.
#[derive(Debug)]
pub struct PackDirectory {
    rows: Vec<Row>,
    offsets: Vec<u64>,
    pack_keys: Vec<Key>,
    digest_tail: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    epoch: u32,
    foot_offset: u64,
}

impl PackDirectory {
    /// Opens the footer out of a pack's last bytes, which must begin at or before the footer. The
    /// pack's header, to which the footer is bound, is rebuilt from its identity.
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
        let Trailer { offsets: trail, header, signature } = Trail::decode(tail, total)?;
        // The epoch is the pack's own word: its boxes open under that epoch's keys or not at all, and
        // the signature is over it.
        let identity = &PackIdentity { epoch: PackIdentity::epoch_of(&header), ..*identity };
        if header != identity.header() {
            return Err(wrong("its trailer repeats another header"));
        }
        let skipped = trail.pack.checked_sub(tail.len()).ok_or(wrong("more bytes came than the pack has"))?;
        let at = |offset: usize| offset.checked_sub(skipped).ok_or(wrong("it lies before the bytes given"));
        let (foot, wrap, sums) = (at(trail.foot)?, at(trail.wrap)?, at(trail.sums)?);
        let (foot_key, pack_keys) = open_boxes(&tail[wrap..sums], identity, keys)?;
        let foot_bytes = seal::open(foot_key.expose(), &identity.repo, "foot", &header, &tail[foot..wrap])
            .map_err(|_| FormatError::NotOpened { what: "a pack's footer" })?;
        let (rows, offsets) = read_rows(&foot_bytes, trail.ec)?;
        let belongs =
            |row: &Row| row.kind.class() == identity.class && usize::from(row.key_box) < pack_keys.len();
        if !rows.iter().all(belongs) {
            return Err(wrong("a row is for another class of pack, or for a key box that it lacks"));
        }
        if tail[at(trail.sums_end())?..].iter().rev().skip(TRAIL_BYTES).any(|byte| *byte != 0) {
            return Err(wrong("bytes that must be zero are not"));
        }
        Ok(Self {
            rows,
            offsets,
            pack_keys,
            digest_tail: tail[foot..sums].to_vec(),
            signature,
            epoch: identity.epoch,
            foot_offset: u64::try_from(trail.foot).unwrap_or(u64::MAX),
        })
    }

    /// Checks the pack's signature.
    ///
    /// # Errors
    /// `NotSigned`.
    pub fn verify(&self, identity: &PackIdentity, public: &[u8; 32]) -> Result<(), FormatError> {
        let header = PackIdentity { epoch: self.epoch, ..*identity }.header();
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

    /// The key that a blob is sealed under, for moving it to another pack as it is.
    pub(crate) fn key_of(&self, ordinal: u32) -> Option<&Key> {
        self.pack_keys.get(usize::from(self.row(ordinal)?.key_box))
    }

    /// Opens a blob: deciphered, decompressed, and its id computed again. `sealed` are the bytes at
    /// [`PackDirectory::sealed_range`]; the plain bytes are `opener`'s until its next blob.
    ///
    /// # Errors
    /// When the row does not exist, or the bytes are not the blob that it names.
    pub fn open_blob<'o>(
        &self,
        ordinal: u32,
        sealed: &[u8],
        ids: &IdKeys,
        opener: &'o mut BlobOpener,
    ) -> Result<&'o [u8], FormatError> {
        let what = "a blob";
        let row = self.row(ordinal).ok_or(FormatError::Malformed { what, why: "its row does not exist" })?;
        let key = self.pack_keys.get(usize::from(row.key_box)).ok_or(FormatError::NotOpened { what })?;
        let plain_bytes = usize::try_from(row.plain_bytes).unwrap_or(usize::MAX);
        opener.open(key, row, sealed, plain_bytes)?;
        let plain = opener.plain.as_slice();
        let found = match row.kind {
            BlobKind::Group => group::id(plain, ids)?,
            kind => ids.id(kind, plain),
        };
        if found == row.id {
            Ok(plain)
        } else {
            Err(FormatError::Malformed { what, why: "its content is not its id's" })
        }
    }
}

impl PackDirectory {
    /// A blob as it was before it was sealed, compressed as it is: to be sealed into another pack.
    /// It is not checked against its id; [`PackDirectory::open_blob`] does that.
    ///
    /// # Errors
    /// When the row does not exist, or the bytes do not open.
    pub fn stored_blob(
        &self,
        ordinal: u32,
        sealed: &[u8],
        stored: &mut Vec<u8>,
    ) -> Result<BlobRow, FormatError> {
        let what = "a blob";
        let row = self.row(ordinal).ok_or(FormatError::Malformed { what, why: "its row does not exist" })?;
        let key = self.pack_keys.get(usize::from(row.key_box)).ok_or(FormatError::NotOpened { what })?;
        seal::open_blob(key.expose(), &row.sealed_under(), sealed, stored)
            .map_err(|_| FormatError::NotOpened { what })?;
        let Row { id, kind, plain_bytes, compression, level, .. } = *row;
        Ok(BlobRow { id, kind, plain_bytes, compression, level })
    }
}

/// Opens one blob after the other, in buffers that are used again.
#[derive(Debug, Default)]
pub struct BlobOpener {
    decompressor: Decompressor,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl BlobOpener {
    fn open(&mut self, key: &Key, row: &Row, sealed: &[u8], plain_bytes: usize) -> Result<(), FormatError> {
        let what = "a blob";
        let stored = match row.compression {
            // What was stored as it is needs no second place, if it has the right length.
            Compression::Raw if sealed.len() == plain_bytes.saturating_add(TAG_BYTES) => &mut self.plain,
            _ => &mut self.stored,
        };
        seal::open_blob(key.expose(), &row.sealed_under(), sealed, stored)
            .map_err(|_| FormatError::NotOpened { what })?;
        if row.compression == Compression::Raw && self.plain.len() == plain_bytes {
            return Ok(());
        }
        self.decompressor
            .decompress(row.compression, &self.stored, plain_bytes, &mut self.plain)
            .map_err(|_| FormatError::Malformed { what, why: "it does not decompress to its length" })
    }
}

/// The key of the footer, and the keys of the blobs in the order of their boxes.
fn open_boxes(
    wrap: &[u8],
    identity: &PackIdentity,
    keys: &EpochKeys,
) -> Result<(Key, Vec<Key>), FormatError> {
    let mut reader = Reader::new("a pack's key boxes", wrap);
    let (mut foot, mut data) = (None, Vec::new());
    for _ in 0..reader.u16()? {
        let (role, algorithm, epoch) = (reader.u8()?, reader.u8()?, reader.u32()?);
        let recipient: [u8; 8] = reader.array()?;
        let len = usize::from(reader.u16()?);
        let sealed = reader.slice(len)?;
        if role != ROLE_DATA && (role != ROLE_FOOT || foot.is_some()) {
            return Err(reader.wrong("a box has a role that it cannot have"));
        }
        let for_whom = match algorithm {
            BOX_SEAL => [0; 8],
            BOX_READERS => head::recipient(&keys.readers(identity.epoch)?),
            _ => return Err(FormatError::TooNew { what: "a pack's key box", version: algorithm.into() }),
        };
        if epoch != identity.epoch || recipient != for_whom {
            return Err(reader.wrong("a box is of another epoch, or for another recipient"));
        }
        let header = box_header(&identity.repo, role, epoch);
        let open =
            |under: &Key, sealed: &[u8]| seal::open(under.expose(), &identity.repo, "box", &header, sealed);
        let opened = match (algorithm, role) {
            (BOX_READERS, _) => {
                let mut reader = Reader::new("a pack's key box", sealed);
                let under = keys.as_reader(READERS, epoch, &reader.array()?)?;
                open(&under, reader.rest())
            }
            (_, ROLE_FOOT) => open(keys.meta_box(epoch)?, sealed),
            _ => open(keys.data_box(epoch)?, sealed),
        };
        let opened =
            opened.map(Zeroizing::new).map_err(|_| FormatError::NotOpened { what: "a pack's key box" })?;
        let key: [u8; 32] =
            opened.as_slice().try_into().map_err(|_| reader.wrong("a key has not 32 bytes"))?;
        if role == ROLE_FOOT {
            foot = Some(Secret::new(key));
        } else {
            data.push(Secret::new(key));
        }
    }
    reader.end()?;
    match foot {
        Some(foot) if !data.is_empty() => Ok((foot, data)),
        _ => Err(reader.wrong("it lacks a box for its footer or its blobs")),
    }
}

fn read_rows(foot: &[u8], blobs_end: usize) -> Result<(Vec<Row>, Vec<u64>), FormatError> {
    let wrong = |why| FormatError::Malformed { what: "a pack's footer", why };
    let (chunks, slack) = foot.as_chunks::<ROW_BYTES>();
    let count = chunks.iter().position(|chunk| *chunk == [0; ROW_BYTES]).unwrap_or(chunks.len());
    let (filled, fill) = chunks.split_at(count);
    if fill.as_flattened().iter().chain(slack).any(|byte| *byte != 0) || foot.len() != foot_bytes(count) {
        return Err(wrong("its fill is not the shortest, of zeros"));
    }
    let (mut rows, mut offsets) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut offset = HEADER_BYTES as u64;
    for chunk in filled {
        let row = Row::decode(chunk)?;
        offsets.push(offset);
        offset += u64::from(row.stored_bytes) + TAG_BYTES as u64;
        rows.push(row);
    }
    if offset > u64::try_from(blobs_end).unwrap_or(0) {
        return Err(wrong("its rows do not fit the pack"));
    }
    Ok((rows, offsets))
}

//! Rows of a footer: one for each blob, in the order of the blobs.

use super::super::error::FormatError;
use super::super::keys::BlobKind;
use super::super::tlv::Reader;
use super::head::PAGE;
use crate::base::id::BlobId;
use crate::base::limits::BLOB_PLAIN_BYTES_MAX;
use crate::codec::compress::Compression;
use crate::codec::seal::SEAL_BYTES;

/// Length of a footer row.
pub const ROW_BYTES: usize = 48;
const AEAD_AES_256_GCM: u8 = 1;

/// Length of a footer of so many rows before it is sealed: with the seal, whole pages.
pub(super) fn foot_bytes(rows: usize) -> usize {
    (rows * ROW_BYTES + SEAL_BYTES).next_multiple_of(PAGE) - SEAL_BYTES
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
    pub(super) fn encode(&self) -> [u8; ROW_BYTES] {
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

    pub(super) fn sealed_under(&self) -> [u8; 44] {
        let row = self.encode();
        let mut out = [0u8; 44];
        out.copy_from_slice(&row[..44]);
        out
    }

    pub(super) fn decode(bytes: &[u8; ROW_BYTES]) -> Result<Self, FormatError> {
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

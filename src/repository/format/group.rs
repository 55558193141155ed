//! Small-file groups: a count, the lengths, the bytes.

use std::ops::Range;

use super::error::FormatError;
use super::keys::IdKeys;
use super::tlv::Reader;
use crate::base::id::BlobId;

/// A group has at most this many files.
pub const FILES_MAX: usize = 4096;

/// Where each file's bytes lie in a group's plaintext.
///
/// # Errors
/// When the lengths do not add up to the group.
pub fn files(plain: &[u8]) -> Result<Vec<Range<usize>>, FormatError> {
    let mut reader = Reader::new("a group of files", plain);
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if count == 0 || count > FILES_MAX {
        return Err(reader.wrong("it has a number of files that no writer makes"));
    }
    let mut ranges = Vec::with_capacity(count);
    let mut at = bytes_start(count);
    for _ in 0..count {
        let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let end = at
            .checked_add(len)
            .filter(|end| *end <= plain.len())
            .ok_or(reader.wrong("a file ends behind it"))?;
        ranges.push(at..end);
        at = end;
    }
    if at == plain.len() { Ok(ranges) } else { Err(reader.wrong("bytes follow its last file")) }
}

/// Where the bytes of the files begin: offsets in a manifest count from here.
pub fn bytes_start(count: usize) -> usize {
    4 + 4 * count
}

/// The bytes of one file, as a manifest names them: `offset` counts from where the bytes of the
/// files begin. `None` when the group does not have them.
pub fn part(plain: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    let count = u32::from_le_bytes(*plain.first_chunk::<4>()?);
    let bytes = bytes_start(usize::try_from(count).ok().filter(|count| *count <= FILES_MAX)?);
    let start = bytes.checked_add(usize::try_from(offset).ok()?)?;
    plain.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// The id of a group, computed from the blob alone.
///
/// # Errors
/// As [`files`].
pub fn id(plain: &[u8], ids: &IdKeys) -> Result<BlobId, FormatError> {
    let hashes: Vec<(u32, [u8; 32])> = files(plain)?
        .into_iter()
        .map(|range| (u32::try_from(range.len()).unwrap_or(u32::MAX), ids.file_hash(&plain[range])))
        .collect();
    Ok(ids.group_id(&hashes))
}

/// Joins files into a group's plaintext.
pub fn join(lens: &[u32], bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&u32::try_from(lens.len()).unwrap_or(u32::MAX).to_le_bytes());
    for len in lens {
        out.extend_from_slice(&len.to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

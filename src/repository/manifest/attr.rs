//! Attribute blobs: what few entries have, or many share. Extended attributes, or extents.

use super::error::ManifestError;
use super::store::{BlobSource, NodeKind, get};
use super::wire::{Fault, Input, ensure, malformed, put_bytes, put_varint};
use crate::base::id::BlobId;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::metadata::{Extent, Xattr};

const VERSION: u8 = 1;
const XATTRS: u8 = 1;
const EXTENTS: u8 = 2;

/// The longest value of one attribute: what Linux allows.
pub(super) const XATTR_VALUE_BYTES_MAX: usize = 64 * 1024;
/// All attributes of one entry, names and values.
pub(super) const XATTRS_BYTES_MAX: usize = 1024 * 1024;
/// Extents of one file. A source that finds more joins those with the smallest holes.
pub(super) const EXTENTS_MAX: usize = 256 * 1024;
/// More attributes than fit their bytes.
const XATTRS_MAX: usize = 65_536;
/// Extents at 20 bytes each, and the head.
const ATTR_BYTES_MAX: usize = 20 * EXTENTS_MAX + 16;

/// The blob of attributes, which are sorted and unique already.
pub(super) fn encode_xattrs(xattrs: &[Xattr]) -> Result<Vec<u8>, &'static str> {
    let mut out = vec![VERSION, XATTRS];
    put_varint(&mut out, xattrs.len() as u64);
    let mut bytes = 0;
    for xattr in xattrs {
        if xattr.name.is_empty() || xattr.name.len() > NAME_BYTES_MAX {
            return Err("an extended attribute has no name, or one over 255 bytes");
        }
        bytes += xattr.name.len() + xattr.value.len();
        if xattr.value.len() > XATTR_VALUE_BYTES_MAX || bytes > XATTRS_BYTES_MAX {
            return Err("its extended attributes are too long");
        }
        put_bytes(&mut out, &xattr.name);
        put_bytes(&mut out, &xattr.value);
    }
    if !xattrs.is_sorted_by(|a, b| a.name < b.name) || xattrs.len() > XATTRS_MAX {
        return Err("its extended attributes are not sorted and unique, or too many");
    }
    Ok(out)
}

/// The blob of extents.
pub(super) fn encode_extents(extents: &[Extent]) -> Result<Vec<u8>, &'static str> {
    if extents.len() > EXTENTS_MAX {
        return Err("it has too many extents");
    }
    let mut out = vec![VERSION, EXTENTS];
    put_varint(&mut out, extents.len() as u64);
    let mut end = 0;
    for extent in extents {
        let gap = extent.offset.checked_sub(end).filter(|_| extent.len > 0);
        let next = extent.offset.checked_add(extent.len);
        let (Some(gap), Some(next)) = (gap, next) else {
            return Err("its extents are empty, overlapping or out of order");
        };
        put_varint(&mut out, gap);
        put_varint(&mut out, extent.len);
        end = next;
    }
    Ok(out)
}

/// The extended attributes in a blob that an entry names.
///
/// # Errors
/// As for [`super::ManifestReader::open`].
pub fn xattrs_of<S: BlobSource>(source: &S, id: &BlobId) -> Result<Vec<Xattr>, ManifestError> {
    decode_xattrs(id, &get(source, NodeKind::Attr, id)?)
}

/// The extents in a blob that an entry names.
///
/// # Errors
/// As for [`super::ManifestReader::open`].
pub fn extents_of<S: BlobSource>(source: &S, id: &BlobId) -> Result<Vec<Extent>, ManifestError> {
    decode_extents(id, &get(source, NodeKind::Attr, id)?)
}

/// Reads a blob of attributes.
pub(super) fn decode_xattrs(id: &BlobId, plain: &[u8]) -> Result<Vec<Xattr>, ManifestError> {
    read_xattrs(plain).map_err(|fault| fault.of(NodeKind::Attr, id))
}

/// Reads a blob of extents.
pub(super) fn decode_extents(id: &BlobId, plain: &[u8]) -> Result<Vec<Extent>, ManifestError> {
    read_extents(plain).map_err(|fault| fault.of(NodeKind::Attr, id))
}

fn open(plain: &[u8], what: u8) -> Result<Input<'_>, Fault> {
    ensure(plain.len() <= ATTR_BYTES_MAX, "it is too long")?;
    let mut input = Input::new(plain);
    let version = input.u8()?;
    if version != VERSION {
        return Err(Fault::TooNew(u16::from(version)));
    }
    ensure(input.u8()? == what, "it holds something else than its reference says")?;
    Ok(input)
}

fn read_xattrs(plain: &[u8]) -> Result<Vec<Xattr>, Fault> {
    let mut input = open(plain, XATTRS)?;
    let count = input.count(XATTRS_MAX, "too many attributes")?;
    ensure(count > 0, "no attribute")?;
    let mut xattrs: Vec<Xattr> = Vec::new();
    let mut bytes = 0;
    for _ in 0..count {
        let name = input.bytes(NAME_BYTES_MAX, "the name of an attribute is too long")?;
        let value = input.bytes(XATTR_VALUE_BYTES_MAX, "an attribute is too long")?;
        let ascends = xattrs.last().is_none_or(|before| before.name.as_slice() < name);
        ensure(ascends && !name.is_empty(), "attributes out of order or without a name")?;
        bytes += name.len() + value.len();
        ensure(bytes <= XATTRS_BYTES_MAX, "its attributes are too long")?;
        xattrs.push(Xattr { name: name.to_vec(), value: value.to_vec() });
    }
    input.end()?;
    Ok(xattrs)
}

fn read_extents(plain: &[u8]) -> Result<Vec<Extent>, Fault> {
    let mut input = open(plain, EXTENTS)?;
    let count = input.count(EXTENTS_MAX, "too many extents")?;
    let mut extents = Vec::new();
    let mut end = 0u64;
    for _ in 0..count {
        let (gap, len) = (input.varint()?, input.varint()?);
        ensure(len > 0, "an extent is empty")?;
        let Some(offset) = end.checked_add(gap) else { return malformed("an extent out of range") };
        end = offset.checked_add(len).ok_or(Fault::Malformed("an extent out of range"))?;
        extents.push(Extent { offset, len });
    }
    input.end()?;
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: BlobId = BlobId::new([7; 32]);

    proptest! {
        #[test]
        fn extents_round_trip(gaps in proptest::collection::vec((0u64..1 << 40, 1u64..1 << 40), 0..50)) {
            let mut end = 0;
            let extents: Vec<Extent> = gaps.iter().map(|(gap, len)| {
                let extent = Extent { offset: end + gap, len: *len };
                end = extent.offset + len;
                extent
            }).collect();
            let plain = encode_extents(&extents).expect("they ascend");
            prop_assert_eq!(decode_extents(&ID, &plain).expect("it was just written"), extents);
            prop_assert!(decode_xattrs(&ID, &plain).is_err());
        }

        #[test]
        fn whatever_is_read_is_what_would_be_written(plain: Vec<u8>, what in 1u8..3) {
            let plain = [&[1, what], plain.as_slice()].concat();
            if let Ok(xattrs) = decode_xattrs(&ID, &plain) {
                prop_assert_eq!(encode_xattrs(&xattrs).expect("it was read"), plain.clone());
            }
            if let Ok(extents) = decode_extents(&ID, &plain) {
                prop_assert_eq!(encode_extents(&extents).expect("it was read"), plain);
            }
        }
    }

    #[test]
    fn attributes_and_extents_that_no_file_has_are_refused() {
        let xattr = |name: &str, bytes: usize| Xattr { name: name.into(), value: vec![1; bytes] };
        assert!(encode_xattrs(&[xattr("user.a", 65_536), xattr("user.b", 0)]).is_ok());
        assert!(encode_xattrs(&[xattr("user.a", 65_537)]).is_err());
        assert!(encode_xattrs(&[xattr("user.b", 1), xattr("user.a", 1)]).is_err());
        assert!(encode_xattrs(&[xattr("user.a", 1), xattr("user.a", 2)]).is_err());
        let extent = |offset, len| Extent { offset, len };
        assert!(encode_extents(&[]).is_ok());
        assert!(encode_extents(&[extent(4, 4), extent(8, 1)]).is_ok());
        assert!(encode_extents(&[extent(4, 4), extent(7, 1)]).is_err());
        assert!(encode_extents(&[extent(4, 0)]).is_err());
        assert!(encode_extents(&[extent(u64::MAX, 2)]).is_err());
    }
}

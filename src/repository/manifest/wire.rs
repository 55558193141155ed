//! Numbers as bytes and back: LEB128 in its shortest form, zigzag, and a reader that never
//! looks past the end. Part of the stored format.

use super::error::ManifestError;
use super::store::NodeKind;
use crate::base::id::BlobId;

/// What is wrong with bytes, before it is known which blob they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(&'static str),
    TooNew(u16),
}

impl Fault {
    pub(super) fn of(self, kind: NodeKind, id: &BlobId) -> ManifestError {
        match self {
            Self::Malformed(what) => ManifestError::Malformed { kind, id: *id, what },
            Self::TooNew(part) => ManifestError::TooNew { kind, id: *id, part },
        }
    }
}

/// A short cut for the many places that refuse.
pub(super) fn malformed<T>(what: &'static str) -> Result<T, Fault> {
    Err(Fault::Malformed(what))
}

/// Refuses unless `holds`.
pub(super) fn ensure(holds: bool, what: &'static str) -> Result<(), Fault> {
    if holds { Ok(()) } else { malformed(what) }
}

/// Appends a number as LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Bytes of a number as LEB128.
pub(super) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends a byte string with its length before it.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small magnitudes of either sign to small numbers: 0, -1, 1, -2 to 0, 1, 2, 3.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// [`zigzag`] backwards.
pub(super) fn unzigzag(code: u64) -> i64 {
    ((code >> 1) ^ 0u64.wrapping_sub(code & 1)).cast_signed()
}

/// The zigzag of `value - from`, modulo 2^64.
pub(super) fn delta(value: u64, from: u64) -> u64 {
    zigzag(value.wrapping_sub(from).cast_signed())
}

/// [`delta`] backwards.
pub(super) fn undelta(code: u64, from: u64) -> u64 {
    from.wrapping_add(unzigzag(code).cast_unsigned())
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        ensure(self.0.is_empty(), "bytes follow its end")
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        match self.0.split_at_checked(len) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => malformed("it ends too early"),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.0.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(*taken)
            }
            None => malformed("it ends too early"),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn id(&mut self) -> Result<BlobId, Fault> {
        self.array().map(BlobId::new)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            ensure(shift < 63 || byte <= 1, "a number is larger than 64 bits")?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                ensure(byte != 0 || shift == 0, "a number is longer than it needs to be")?;
                return Ok(value);
            }
        }
        malformed("a number is larger than 64 bits")
    }

    /// A number that counts or measures, at most `max`.
    pub(super) fn count(&mut self, max: usize, what: &'static str) -> Result<usize, Fault> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= max => Ok(count),
            _ => malformed(what),
        }
    }

    /// A byte string with its length before it.
    pub(super) fn bytes(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], Fault> {
        let len = self.count(max, what)?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip_in_their_shortest_form(value: u64, from: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut input = Input::new(&out);
            prop_assert_eq!(input.varint(), Ok(value));
            prop_assert!(input.is_empty());
            prop_assert_eq!(undelta(delta(value, from), from), value);
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn long_and_overlong_numbers_are_refused() {
        for bytes in [&[0x80, 0x00][..], &[0xff; 10], &[0xff], &[], &[0x80; 11]] {
            assert!(Input::new(bytes).varint().is_err(), "{bytes:?}");
        }
        let mut max = [0xff; 10];
        max[9] = 1;
        assert_eq!(Input::new(&max).varint(), Ok(u64::MAX));
        max[9] = 2;
        assert!(Input::new(&max).varint().is_err());
    }
}

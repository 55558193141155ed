//! The packs that a snapshot needs, when they are too many for the snapshot itself.

use super::error::FormatError;
use super::names::PackClass;
use super::tlv::Reader;
use crate::base::id::ObjectHash;

const WHAT: &str = "a pack set";
/// Packs in one list: 16 MiB of plaintext hold half a million.
pub const PACKS_MAX: usize = 500_000;

/// Names of packs, sorted by class and hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackSet {
    /// The packs.
    pub packs: Vec<(PackClass, ObjectHash)>,
}

/// Encodes sorted pack names: count, then class and hash of each.
pub fn encode(packs: &[(PackClass, ObjectHash)]) -> Vec<u8> {
    let mut out = u32::try_from(packs.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    for (class, hash) in packs {
        out.push(*class as u8);
        out.extend_from_slice(hash.as_bytes());
    }
    out
}

impl PackSet {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is not sorted or has slack.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(WHAT, bytes);
        let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if count > PACKS_MAX || reader.rest().len() != count * 33 {
            return Err(reader.wrong("its length does not fit its count"));
        }
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            let class = PackClass::from_u8(reader.u8()?).ok_or(reader.wrong("a class is unknown"))?;
            packs.push((class, ObjectHash::new(reader.array()?)));
        }
        if packs.is_sorted_by(|a, b| a < b) {
            Ok(Self { packs })
        } else {
            Err(reader.wrong("it is not sorted"))
        }
    }
}

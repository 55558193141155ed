//! Records of removed snapshots: `f/<time>-<id>`, the administrator's word that a snapshot which is
//! nowhere any more was not stolen.
//!
//! One object names many snapshots, sorted, so that years of them are a handful of objects. It says
//! nothing of snapshots that are still there: it hides none and removes none.

use super::error::FormatError;
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::tlv::{self, Reader, TlvWriter};
use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::sign::Signer;

const WHAT: &str = "a record of removals";
const TAG_FORGOTTEN: u16 = 2;
const TAG_ACCEPTED: u16 = 3;
const TAG_AT: u16 = 4;
const TAG_REASON: u16 = 5;
/// Snapshots that one record names, of each sort, at most.
pub const REMOVALS_MAX: usize = 262_144;
/// Bytes of the reason, at most.
pub const REASON_BYTES_MAX: usize = 1024;
/// Bytes of a record, at most: two full lists, and the rest.
pub const REMOVALS_BYTES_MAX: u64 = (2 * REMOVALS_MAX * 32 + 8 * 1024) as u64;

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovalsBody {
    /// Snapshots that were forgotten. They are not copied back from a place that still has them.
    pub forgotten: Vec<ObjectHash>,
    /// Snapshots whose loss somebody looked into and accepted. One that turns up again is welcome.
    pub accepted: Vec<ObjectHash>,
    /// When it was written.
    pub at: Timestamp,
    /// Why the loss was accepted, in somebody's words; empty without one.
    pub reason: String,
}

impl RemovalsBody {
    /// Signs it; gives its bytes and the hash that ends its name.
    ///
    /// # Errors
    /// When it names more than a record may, or its reason is too long.
    pub fn encode(&self, repo: &RepoId, admin: &Signer) -> Result<(Vec<u8>, ObjectHash), FormatError> {
        let unfit = |why| FormatError::Unfit { what: WHAT, why };
        if self.forgotten.len().max(self.accepted.len()) > REMOVALS_MAX {
            return Err(unfit("it names too many snapshots"));
        }
        if self.reason.len() > REASON_BYTES_MAX {
            return Err(unfit("its reason is longer than 1024 bytes"));
        }
        let mut body = TlvWriter::new();
        for (tag, ids) in [(TAG_FORGOTTEN, &self.forgotten), (TAG_ACCEPTED, &self.accepted)] {
            if !ids.is_empty() {
                body.put(tag, &joined(ids));
            }
        }
        body.put(TAG_AT, &self.at.unix_ms().to_le_bytes());
        if !self.reason.is_empty() {
            body.put(TAG_REASON, self.reason.as_bytes());
        }
        let header = ObjectHeader {
            kind: ObjectKind::Forget,
            sealing: Sealing::Clear,
            epoch: 0,
            repo: *repo,
            signer: admin.id(),
            number: 0,
        };
        encode(&header, &[], &body.finish(), admin, None)
    }

    /// Reads and verifies one. No secret is needed.
    ///
    /// # Errors
    /// When it is malformed, of another repository, or the administrator did not sign it.
    pub fn decode(bytes: &[u8], repo: &RepoId, admin_public: &[u8; 32]) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::Malformed { what: WHAT, why };
        let object = Object::decode(bytes, repo, None)?;
        object.verify(admin_public)?;
        if object.header.kind != ObjectKind::Forget || object.header.sealing != Sealing::Clear {
            return Err(wrong("it is another kind of object"));
        }
        let (mut record, mut at) = (Self::default(), None);
        for (tag, value) in tlv::read(WHAT, &object.body)? {
            match tag {
                TAG_FORGOTTEN => record.forgotten = split(value)?,
                TAG_ACCEPTED => record.accepted = split(value)?,
                TAG_AT => {
                    let mut reader = Reader::new(WHAT, value);
                    at = Some(Timestamp::from_unix_ms(i64::from_le_bytes(reader.array()?)));
                    reader.end()?;
                }
                TAG_REASON if value.is_empty() || value.len() > REASON_BYTES_MAX => {
                    return Err(wrong("its reason has a length that none may have"));
                }
                TAG_REASON => {
                    let text = std::str::from_utf8(value).map_err(|_| wrong("its reason is no text"))?;
                    text.clone_into(&mut record.reason);
                }
                tag => tlv::unknown(WHAT, tag)?,
            }
        }
        record.at = at.ok_or(wrong("it has no time"))?;
        Ok(record)
    }
}

fn joined(ids: &[ObjectHash]) -> Vec<u8> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

fn split(value: &[u8]) -> Result<Vec<ObjectHash>, FormatError> {
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let (ids, rest) = value.as_chunks::<32>();
    if ids.is_empty() || !rest.is_empty() || ids.len() > REMOVALS_MAX {
        return Err(wrong("a list has a length that none may have"));
    }
    if !ids.is_sorted_by(|a, b| a < b) {
        return Err(wrong("a list is not sorted"));
    }
    Ok(ids.iter().map(|id| ObjectHash::new(*id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RemovalsBody {
        RemovalsBody {
            forgotten: vec![ObjectHash::new([3; 32]), ObjectHash::new([9; 32])],
            accepted: vec![ObjectHash::new([5; 32])],
            at: Timestamp::from_unix_ms(1_764_000_000_000),
            reason: "the disk of June was thrown away".to_owned(),
        }
    }

    #[test]
    fn a_record_comes_back_and_counts_with_the_administrators_signature_only() {
        let (repo, admin) = (RepoId::new([7; 16]), Signer::from_seed(&[3; 32]));
        let (bytes, id) = record().encode(&repo, &admin).expect("encoded");
        assert_eq!(id, crate::codec::hash::object(&bytes));
        assert_eq!(RemovalsBody::decode(&bytes, &repo, admin.public()).expect("decoded"), record());
        let (foreign, _) = record().encode(&repo, &Signer::from_seed(&[4; 32])).expect("encoded");
        assert!(RemovalsBody::decode(&foreign, &repo, admin.public()).is_err());
        assert!(RemovalsBody::decode(&bytes, &RepoId::new([8; 16]), admin.public()).is_err());
        for at in 0..bytes.len() {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            assert!(RemovalsBody::decode(&harmed, &repo, admin.public()).is_err(), "byte {at}");
        }
        let long = RemovalsBody { reason: "x".repeat(REASON_BYTES_MAX + 1), ..record() };
        assert!(long.encode(&repo, &admin).is_err());
    }

    #[test]
    fn the_bytes_of_a_record_are_frozen() {
        let (bytes, id) =
            record().encode(&RepoId::new([7; 16]), &Signer::from_seed(&[3; 32])).expect("encoded");
        assert_eq!(bytes.len(), 72 + (6 + 64) + (6 + 32) + (6 + 8) + (6 + 32) + 2 + 64);
        assert_eq!(&bytes[72..78], [2, 0, 64, 0, 0, 0]);
        assert_eq!(id.to_hex(), "c7f143d7aa13c208f8fef2c5ced678bd6538304df4acae78183ef906ba8862df");
    }
}

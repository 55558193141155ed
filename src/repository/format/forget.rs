//! Requests to forget a snapshot: the administrator's word, kept under `f/<id>`.
//!
//! The name alone says nothing: whoever may put objects may put any name. A request is in force when
//! its body, which the administrator signed for this repository, names the id that its own name has.

use super::error::FormatError;
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::tlv::{self, TlvWriter};
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::sign::Signer;

const WHAT: &str = "a request to forget";
const TAG_SNAPSHOT: u16 = 1;
/// Bytes of a request, at most. One of this version has 176.
pub const FORGET_BYTES_MAX: u64 = 4096;

/// What a request to forget says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgetRequest {
    /// The snapshot that is to be forgotten.
    pub snapshot: ObjectHash,
}

impl ForgetRequest {
    /// Signs it. The same content gives the same bytes.
    ///
    /// # Errors
    /// None that this content can meet; those of every object.
    pub fn encode(&self, repo: &RepoId, admin: &Signer) -> Result<Vec<u8>, FormatError> {
        let mut body = TlvWriter::new();
        body.put(TAG_SNAPSHOT, self.snapshot.as_bytes());
        let header = ObjectHeader {
            kind: ObjectKind::Forget,
            sealing: Sealing::Clear,
            epoch: 0,
            repo: *repo,
            signer: admin.id(),
            number: 0,
        };
        Ok(encode(&header, &[], &body.finish(), admin, None)?.0)
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
        let mut snapshot = None;
        for (tag, value) in tlv::read(WHAT, &object.body)? {
            match tag {
                TAG_SNAPSHOT => snapshot = value.try_into().ok().map(ObjectHash::new),
                tag => tlv::unknown(WHAT, tag)?,
            }
        }
        let snapshot = snapshot.ok_or(wrong("it names no snapshot"))?;
        Ok(Self { snapshot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: [u8; 16] = [7; 16];

    fn admin() -> Signer {
        Signer::from_seed(&[3; 32])
    }

    #[test]
    fn a_request_counts_with_the_administrators_signature_only() {
        let (repo, request) = (RepoId::new(REPO), ForgetRequest { snapshot: ObjectHash::new([9; 32]) });
        let admin = admin();
        let bytes = request.encode(&repo, &admin).expect("encoded");
        assert_eq!(bytes.len(), 176);
        let public = admin.public();
        assert_eq!(ForgetRequest::decode(&bytes, &repo, public).expect("decoded"), request);
        let foreign = request.encode(&repo, &Signer::from_seed(&[4; 32])).expect("encoded");
        assert!(ForgetRequest::decode(&foreign, &repo, public).is_err());
        assert!(ForgetRequest::decode(&bytes, &RepoId::new([8; 16]), public).is_err());
        assert!(ForgetRequest::decode(&[], &repo, public).is_err());
        for at in 0..bytes.len() {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            assert!(ForgetRequest::decode(&harmed, &repo, public).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_bytes_of_a_request_are_frozen() {
        let request = ForgetRequest { snapshot: ObjectHash::new([9; 32]) };
        let bytes = request.encode(&RepoId::new(REPO), &admin()).expect("encoded");
        let digest = crate::codec::hash::object(&bytes).to_hex();
        assert_eq!(digest, "ba8cbc597bef6d0ccf770174a5b3394be2fb810af37947b67dbfb5387f2e3f9d");
        assert_eq!(&bytes[72..78], [1, 0, 32, 0, 0, 0]);
        assert_eq!((&bytes[78..110], &bytes[110..112]), (&[9; 32][..], &[0, 0][..]));
    }
}

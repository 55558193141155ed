//! The administrator's word that a later epoch has begun: whoever lacks its key reads what was stored
//! before, and stores nothing any more.

use super::error::FormatError;
use super::object::{Closed, ObjectHeader, ObjectKind, Sealing, encode};
use super::slot::KeyObject;
use super::tlv::{self, TlvWriter};
use crate::base::entropy;
use crate::base::id::RepoId;
use crate::codec::sign::Signer;

const WHAT: &str = "an epoch's announcement";
const TAG_NONCE: u16 = 1;

/// Announces an epoch. Two announcements of one number differ: whoever sees both knows that two
/// rotations ran at once.
///
/// # Errors
/// None that this content can meet; those of every object.
pub fn announce(number: u32, repo: &RepoId, admin: &Signer) -> Result<KeyObject, FormatError> {
    let mut body = TlvWriter::new();
    body.put(TAG_NONCE, &entropy::random::<16>());
    let header = ObjectHeader {
        kind: ObjectKind::Epoch,
        sealing: Sealing::Clear,
        epoch: number,
        repo: *repo,
        signer: admin.id(),
        number: 0,
    };
    let (bytes, name) = encode(&header, &[], &body.finish(), admin, None)?;
    Ok(KeyObject { bytes, name })
}

/// The number of an announced epoch.
///
/// # Errors
/// When it is malformed or the administrator did not sign it.
pub fn announced(bytes: &[u8], repo: &RepoId, admin_public: &[u8; 32]) -> Result<u32, FormatError> {
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let closed = Closed::decode(bytes, repo)?;
    closed.verify(admin_public)?;
    if closed.header.kind != ObjectKind::Epoch || closed.header.sealing != Sealing::Clear {
        return Err(wrong("it is another kind of object"));
    }
    let number = closed.header.epoch;
    for (tag, _) in tlv::read(WHAT, &closed.open(None)?.body)? {
        if tag != TAG_NONCE {
            tlv::unknown(WHAT, tag)?;
        }
    }
    if number == 0 { Err(wrong("the first epoch is announced by nobody")) } else { Ok(number) }
}

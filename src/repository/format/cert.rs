//! Writers' certificates: the administrator vouches for a host's public key.

use super::error::FormatError;
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::slot::KeyObject;
use super::tlv::{self, TlvWriter};
use crate::base::id::RepoId;
use crate::codec::sign::Signer;

const WHAT: &str = "a writer's certificate";
const TAG_PUBLIC: u16 = 1;
const TAG_ROLE: u16 = 2;
const TAG_LABEL: u16 = 3;
const ROLE_HOST: u8 = 1;
const ROLE_WRITE_ONLY: u8 = 2;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterCert {
    /// The writer's public key.
    pub public: [u8; 32],
    /// The host's name.
    pub label: String,
    /// Whether the host reads nothing. What it stores is its own affair: nobody else builds on it,
    /// and it speaks for no host but itself.
    pub write_only: bool,
}

impl WriterCert {
    /// For a host that reads all.
    pub fn host(public: &[u8; 32], label: &str) -> Self {
        Self { public: *public, label: label.to_owned(), write_only: false }
    }

    /// For a host that only adds.
    pub fn write_only(public: &[u8; 32], label: &str) -> Self {
        Self { write_only: true, ..Self::host(public, label) }
    }

    /// Signs it. The same content gives the same bytes.
    ///
    /// # Errors
    /// When the label is absurdly long.
    pub fn encode(&self, repo: &RepoId, admin: &Signer) -> Result<KeyObject, FormatError> {
        let mut body = TlvWriter::new();
        let role = if self.write_only { ROLE_WRITE_ONLY } else { ROLE_HOST };
        body.put(TAG_PUBLIC, &self.public).put(TAG_ROLE, &[role]).put(TAG_LABEL, self.label.as_bytes());
        let header = ObjectHeader {
            kind: ObjectKind::Cert,
            sealing: Sealing::Clear,
            epoch: 0,
            repo: *repo,
            signer: admin.id(),
            number: 0,
        };
        let (bytes, name) = encode(&header, &[], &body.finish(), admin, None)?;
        Ok(KeyObject { bytes, name })
    }

    /// Reads and verifies one.
    ///
    /// # Errors
    /// When it is malformed or the administrator did not sign it.
    pub fn decode(bytes: &[u8], repo: &RepoId, admin_public: &[u8; 32]) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::Malformed { what: WHAT, why };
        let object = Object::decode(bytes, repo, None)?;
        if object.header.kind != ObjectKind::Cert {
            return Err(wrong("it is another kind of object"));
        }
        object.verify(admin_public)?;
        let (mut public, mut role, mut label) = (None, None, None);
        for (tag, value) in tlv::read(WHAT, &object.body)? {
            match tag {
                TAG_PUBLIC => public = value.try_into().ok(),
                TAG_ROLE => role = Some(value),
                TAG_LABEL => label = std::str::from_utf8(value).ok().map(str::to_owned),
                tag => tlv::unknown(WHAT, tag)?,
            }
        }
        let write_only = match role {
            Some([ROLE_HOST]) => false,
            Some([ROLE_WRITE_ONLY]) => true,
            _ => return Err(wrong("its role is unknown")),
        };
        match (public, label) {
            (Some(public), Some(label)) => Ok(Self { public, label, write_only }),
            _ => Err(wrong("its key or label is missing or not as written")),
        }
    }
}

//! Signed objects: `keys/`, `i/`, `s/`, `g/`, `f/` (docs/format.md, "Signed objects").

use super::error::FormatError;
use super::keys::EpochKeys;
use super::tlv::{FILL_BYTES, Reader};
use crate::base::id::{ObjectHash, RepoId, WriterId};
use crate::base::limits::{OBJECT_BYTES_MAX, OBJECT_PART_BYTES_MAX};
use crate::codec::hash;
use crate::codec::seal::{self, SEAL_BYTES};
use crate::codec::sign::{self, SIGNATURE_BYTES, Signer};

const MAGIC: &[u8; 8] = b"LBOBJ\0\0\x01";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 72;
/// What S and the tag of a part bind: all of the header but the body's length.
const BOUND_BYTES: usize = 64;
const DOMAIN: &str = "lifeboat v1 object";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// A key slot.
    Slot = 2,
    /// A writer's certificate.
    Cert = 3,
    /// A later epoch.
    Epoch = 4,
    /// An index run.
    Index = 5,
    /// A snapshot.
    Snapshot = 6,
    /// A sweep plan.
    Plan = 8,
    /// A request to forget.
    Forget = 9,
}

impl ObjectKind {
    fn from_u8(number: u8) -> Option<Self> {
        [Self::Slot, Self::Cert, Self::Epoch, Self::Index, Self::Snapshot, Self::Plan, Self::Forget]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    fn key(self, keys: &EpochKeys, epoch: u32) -> Result<&[u8; 32], FormatError> {
        match self {
            // The index is one over all epochs.
            Self::Index if epoch == 0 => Ok(keys.index().expose()),
            Self::Index => Err(FormatError::TooNew { what: "an index run's epoch", version: u16::MAX }),
            _ => Ok(keys.snapshot(epoch)?.expose()),
        }
    }
}

/// How the body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sealing {
    /// Readable by everybody.
    Clear = 0,
    /// Under a key of the epoch.
    Epoch = 1,
    /// Under a key that only readers can make: whoever sealed it cannot open it.
    Readers = 2,
}

/// The label of keys for bodies sealed in the third way.
const READERS: &str = "readers object";

/// The head of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// What it is.
    pub kind: ObjectKind,
    /// How its body is stored.
    pub sealing: Sealing,
    /// Epoch of its key; 0 of what is clear, and of index runs.
    pub epoch: u32,
    /// Its repository.
    pub repo: RepoId,
    /// Who signed it.
    pub signer: WriterId,
    /// Place in the signer's chain; 0 for objects outside of chains.
    pub number: u64,
}

/// A decoded object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its head.
    pub header: ObjectHeader,
    /// Hashes of the objects it links to, sorted.
    pub links: Vec<ObjectHash>,
    /// Its body, opened; for sealed objects with the zeros that fill it.
    pub body: Vec<u8>,
    digest: [u8; 32],
    signature: [u8; SIGNATURE_BYTES],
}

/// Encodes, seals and signs an object. `links` must be sorted and unique. Gives its bytes and its
/// hash, which ends its name.
///
/// # Errors
/// When it would be larger than any object may be.
pub fn encode(
    header: &ObjectHeader,
    links: &[ObjectHash],
    body: &[u8],
    signer: &Signer,
    keys: Option<&EpochKeys>,
) -> Result<(Vec<u8>, ObjectHash), FormatError> {
    let unfit = |why| FormatError::Unfit { what: "an object", why };
    debug_assert_eq!(header.signer, signer.id(), "an object names the one who signs it");
    if !links.is_sorted_by(|a, b| a < b) {
        return Err(unfit("its links are not sorted"));
    }
    if body.len() > OBJECT_BYTES_MAX / 2 {
        return Err(unfit("its body is too long"));
    }
    let links_count = u16::try_from(links.len()).map_err(|_| unfit("it has too many links"))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + 2 * FILL_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[header.kind as u8, header.sealing as u8]);
    bytes.extend_from_slice(&header.epoch.to_le_bytes());
    bytes.extend_from_slice(header.repo.as_bytes());
    bytes.extend_from_slice(header.signer.as_bytes());
    bytes.extend_from_slice(&header.number.to_le_bytes());
    bytes.extend_from_slice(&links_count.to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    let bound = bytes.clone();
    debug_assert_eq!(bound.len(), BOUND_BYTES);
    let stored = match (header.sealing, keys) {
        (Sealing::Clear, _) => body.to_vec(),
        (Sealing::Epoch, Some(keys)) => {
            seal_parts(header.kind.key(keys, header.epoch)?, &header.repo, &bound, body)
        }
        (Sealing::Readers, Some(keys)) => {
            let (once, key) = keys.for_readers(READERS)?;
            [&once[..], &seal_parts(key.expose(), &header.repo, &bound, body)].concat()
        }
        (Sealing::Epoch | Sealing::Readers, None) => {
            return Err(FormatError::NotGranted { what: "the key of this epoch" });
        }
    };
    bytes.extend_from_slice(&u64::try_from(stored.len()).unwrap_or(u64::MAX).to_le_bytes());
    for link in links {
        bytes.extend_from_slice(link.as_bytes());
    }
    bytes.extend_from_slice(&stored);
    let signature = signer.sign(DOMAIN, &hash::plain(&[&bytes]));
    bytes.extend_from_slice(&signature);
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(unfit("it is too long"));
    }
    let id = hash::object(&bytes);
    Ok((bytes, id))
}

fn seal_parts(key: &[u8; 32], repo: &RepoId, bound: &[u8], body: &[u8]) -> Vec<u8> {
    let count = body.len().div_ceil(OBJECT_PART_BYTES_MAX).max(1);
    let mut out = Vec::with_capacity(body.len() + count * (FILL_BYTES + SEAL_BYTES));
    for number in 0..count {
        let start = number * OBJECT_PART_BYTES_MAX;
        let end = (start + OBJECT_PART_BYTES_MAX).min(body.len());
        let mut part = body.get(start..end).unwrap_or_default().to_vec();
        part.resize(part.len().div_ceil(FILL_BYTES).max(1) * FILL_BYTES, 0);
        let sealed = seal::seal(key, repo, "object", &part_header(bound, number, number + 1 == count), &part);
        out.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&sealed);
    }
    out
}

fn part_header(bound: &[u8], number: usize, last: bool) -> Vec<u8> {
    let mut header = bound.to_vec();
    header.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    header.push(u8::from(last));
    header
}

fn open_parts(key: &[u8; 32], repo: &RepoId, bound: &[u8], stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut reader = Reader::new("an object", stored);
    let mut body = Vec::new();
    let mut number = 0;
    while !reader.rest().is_empty() {
        let sealed = reader.counted()?;
        let plain_bytes = sealed.len().saturating_sub(SEAL_BYTES);
        let last = reader.rest().is_empty();
        let full = plain_bytes == OBJECT_PART_BYTES_MAX;
        if plain_bytes == 0
            || plain_bytes % FILL_BYTES != 0
            || plain_bytes > OBJECT_PART_BYTES_MAX
            || !(last || full)
        {
            return Err(reader.wrong("a part has a length that no writer makes"));
        }
        let part = seal::open(key, repo, "object", &part_header(bound, number, last), sealed)
            .map_err(|_| FormatError::NotOpened { what: "an object" })?;
        body.extend_from_slice(&part);
        number += 1;
    }
    if number == 0 { Err(reader.wrong("its body has no part")) } else { Ok(body) }
}

/// An object whose body was not opened: what it says to everybody.
#[derive(Debug)]
pub struct Closed<'b> {
    /// Its head.
    pub header: ObjectHeader,
    /// Hashes of the objects it links to, sorted.
    pub links: Vec<ObjectHash>,
    bound: &'b [u8],
    stored: &'b [u8],
    digest: [u8; 32],
    signature: [u8; SIGNATURE_BYTES],
}

impl<'b> Closed<'b> {
    /// Reads an object of a repository. No key is needed. The signature is checked by
    /// [`Closed::verify`], because whose it must be depends on the kind.
    ///
    /// # Errors
    /// When the bytes break a rule or belong to another repository.
    pub fn decode(bytes: &'b [u8], repo: &RepoId) -> Result<Self, FormatError> {
        let mut reader = Reader::new("an object", bytes);
        if bytes.len() > OBJECT_BYTES_MAX {
            return Err(reader.wrong("it is too long"));
        }
        if reader.array::<8>()? != *MAGIC {
            return Err(reader.wrong("it does not begin as an object does"));
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(FormatError::TooNew { what: "an object", version });
        }
        let kind = ObjectKind::from_u8(reader.u8()?).ok_or(reader.wrong("its kind is unknown"))?;
        let sealing = match reader.u8()? {
            0 => Sealing::Clear,
            1 => Sealing::Epoch,
            2 => Sealing::Readers,
            _ => return Err(reader.wrong("it is sealed in an unknown way")),
        };
        let epoch = reader.u32()?;
        if epoch != 0 && sealing == Sealing::Clear && kind != ObjectKind::Epoch {
            return Err(reader.wrong("it is clear, and of a later epoch"));
        }
        let header = ObjectHeader {
            kind,
            sealing,
            epoch,
            repo: RepoId::new(reader.array()?),
            signer: WriterId::new(reader.array()?),
            number: reader.u64()?,
        };
        if header.repo != *repo {
            return Err(reader.wrong("it belongs to another repository"));
        }
        let links_count = reader.u16()?;
        if reader.array::<6>()? != [0; 6] {
            return Err(reader.wrong("bytes that must be zero are not"));
        }
        let body_bytes = reader.u64()?;
        let mut links = Vec::new();
        for _ in 0..links_count {
            links.push(ObjectHash::new(reader.array()?));
        }
        if !links.is_sorted_by(|a, b| a < b) {
            return Err(reader.wrong("its links are not sorted"));
        }
        let len = usize::try_from(body_bytes).map_err(|_| reader.wrong("its body is too long"))?;
        let stored = reader.slice(len)?;
        let signature = reader.array()?;
        reader.end()?;
        let digest = hash::plain(&[&bytes[..bytes.len() - SIGNATURE_BYTES]]);
        Ok(Self { header, links, bound: &bytes[..BOUND_BYTES], stored, digest, signature })
    }

    /// Opens the body.
    ///
    /// # Errors
    /// When it doesn't open; `WritesOnly`, `NotGranted` when the keys don't open such a body.
    pub fn open(self, keys: Option<&EpochKeys>) -> Result<Object, FormatError> {
        let repo = &self.header.repo;
        let body = match (self.header.sealing, keys) {
            (Sealing::Clear, _) => self.stored.to_vec(),
            (Sealing::Epoch, Some(keys)) => {
                open_parts(self.header.kind.key(keys, self.header.epoch)?, repo, self.bound, self.stored)?
            }
            (Sealing::Readers, Some(keys)) => {
                let mut reader = Reader::new("an object", self.stored);
                let key = keys.as_reader(READERS, self.header.epoch, &reader.array()?)?;
                open_parts(key.expose(), repo, self.bound, reader.rest())?
            }
            (Sealing::Epoch | Sealing::Readers, None) => {
                return Err(FormatError::NotGranted { what: "the key of this epoch" });
            }
        };
        let Self { header, links, digest, signature, .. } = self;
        Ok(Object { header, links, body, digest, signature })
    }

    /// Checks the signature against a public key, and that the key is the signer's.
    ///
    /// # Errors
    /// When either does not fit.
    pub fn verify(&self, public: &[u8; 32]) -> Result<(), FormatError> {
        verify(&self.header, &self.digest, &self.signature, public)
    }
}

fn verify(
    header: &ObjectHeader,
    digest: &[u8; 32],
    signature: &[u8; SIGNATURE_BYTES],
    public: &[u8; 32],
) -> Result<(), FormatError> {
    let wrong = FormatError::NotSigned { what: "an object" };
    if sign::writer_id(public) != header.signer {
        return Err(wrong);
    }
    sign::verify(public, DOMAIN, digest, signature).map_err(|_| wrong)
}

impl Object {
    /// Reads an object of a repository and opens its body. The signature is checked by
    /// [`Object::verify`], because whose it must be depends on the kind.
    ///
    /// # Errors
    /// When the bytes break a rule, belong to another repository, or don't open.
    pub fn decode(bytes: &[u8], repo: &RepoId, keys: Option<&EpochKeys>) -> Result<Self, FormatError> {
        Closed::decode(bytes, repo)?.open(keys)
    }

    /// Checks the signature against a public key, and that the key is the signer's.
    ///
    /// # Errors
    /// When either does not fit.
    pub fn verify(&self, public: &[u8; 32]) -> Result<(), FormatError> {
        verify(&self.header, &self.digest, &self.signature, public)
    }
}

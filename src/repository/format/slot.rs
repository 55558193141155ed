//! Key slots (docs/format.md, "Key slots"): a secret that a person has opens the repository's keys.

use zeroize::Zeroizing;

use super::error::FormatError;
use super::keys::RootKeys;
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::repo_fmt::RepoFmt;
use super::tlv::{self, Reader, TlvWriter};
use crate::base::entropy;
use crate::base::id::ObjectHash;
use crate::base::secret::{Key, Secret};
use crate::codec::hash;
use crate::codec::kdf::{KdfError, KdfParams, passphrase_secret};
use crate::codec::seal;
use crate::codec::sign::Signer;

const WHAT: &str = "a key slot";
const METHOD_PASSPHRASE: u8 = 1;
const PARAMS_BYTES: usize = 45;
const TAG_ROOT: u16 = 1;
const TAG_ADMIN: u16 = 2;
const TAG_FORMAT: u16 = 4;

/// A stored key object: its bytes and the hash that ends its name.
#[derive(Debug)]
pub struct KeyObject {
    /// The object.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub name: ObjectHash,
}

/// Makes a slot that a passphrase opens and that grants everything.
///
/// # Errors
/// When the passphrase is no text or empty.
pub fn create_passphrase_slot(
    format_bytes: &[u8],
    format: &RepoFmt,
    root: &RootKeys,
    passphrase: &Secret<Vec<u8>>,
    kdf: KdfParams,
) -> Result<KeyObject, FormatError> {
    let salt = entropy::random::<32>();
    let mut params = vec![METHOD_PASSPHRASE];
    params.extend_from_slice(&salt);
    for number in [kdf.memory_kib, kdf.passes, kdf.lanes] {
        params.extend_from_slice(&number.to_le_bytes());
    }
    let secret = passphrase_secret(passphrase.expose(), &salt, kdf).map_err(unfit)?;
    let kek = hash::derive("kek", secret.expose(), &format.repo_id, &salt);
    let mut grant = TlvWriter::new();
    grant.put(TAG_ROOT, root.root().expose());
    grant.put(TAG_ADMIN, root.admin()?.expose());
    grant.put(TAG_FORMAT, &hash::plain(&[format_bytes]));
    let grant = Zeroizing::new(grant.finish());
    let mut body = params.clone();
    body.extend_from_slice(&seal::seal(kek.expose(), &format.repo_id, "slot", &params, &grant));
    let signer = Signer::from_seed(root.admin()?.expose());
    let header = ObjectHeader {
        kind: ObjectKind::Slot,
        sealing: Sealing::Clear,
        epoch: 0,
        repo: format.repo_id,
        signer: signer.id(),
        number: 0,
    };
    let (bytes, name) = encode(&header, &[], &body, &signer, None)?;
    Ok(KeyObject { bytes, name })
}

fn unfit(error: KdfError) -> FormatError {
    FormatError::Unfit {
        what: "the passphrase",
        why: match error {
            KdfError::NotText => "it is not UTF-8 text",
            KdfError::Empty => "it is empty",
            KdfError::OutOfBounds(_) => "the cost asked for is out of bounds",
            KdfError::NoMemory => "there is not enough memory to derive its key",
        },
    }
}

/// Opens a slot with a passphrase.
///
/// # Errors
/// `WrongKey` when the passphrase is another one; `Malformed`, `NotSigned` when the slot is hurt
/// or does not belong to this repository; `NotGranted` for slots that take no passphrase.
pub fn open_passphrase_slot(
    bytes: &[u8],
    format_bytes: &[u8],
    format: &RepoFmt,
    passphrase: &Secret<Vec<u8>>,
) -> Result<RootKeys, FormatError> {
    let object = Object::decode(bytes, &format.repo_id, None)?;
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    if object.header.kind != ObjectKind::Slot {
        return Err(wrong("it is another kind of object"));
    }
    object.verify(&format.admin_public)?;
    let mut reader = Reader::new(WHAT, &object.body);
    let params = reader.slice(PARAMS_BYTES)?;
    let sealed = reader.rest();
    let mut reader = Reader::new(WHAT, params);
    let method = reader.u8()?;
    let salt: [u8; 32] = reader.array()?;
    let kdf = KdfParams { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
    if method != METHOD_PASSPHRASE {
        return Err(FormatError::NotGranted { what: "opening with a passphrase" });
    }
    let secret = passphrase_secret(passphrase.expose(), &salt, kdf).map_err(|error| match error {
        KdfError::OutOfBounds(_) => wrong("its cost is out of bounds"),
        other => unfit(other),
    })?;
    let kek = hash::derive("kek", secret.expose(), &format.repo_id, &salt);
    let grant = seal::open(kek.expose(), &format.repo_id, "slot", params, sealed)
        .map(Zeroizing::new)
        .map_err(|_| FormatError::WrongKey)?;
    read_grant(&grant, format_bytes, format)
}

fn read_grant(grant: &[u8], format_bytes: &[u8], format: &RepoFmt) -> Result<RootKeys, FormatError> {
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let (mut root, mut admin, mut pinned) = (None, None, false);
    for (tag, value) in tlv::read(WHAT, grant)? {
        match tag {
            TAG_ROOT => root = Some(key(value)?),
            TAG_ADMIN => admin = Some(key(value)?),
            TAG_FORMAT => pinned = value == hash::plain(&[format_bytes]),
            tag => tlv::unknown(WHAT, tag)?,
        }
    }
    if !pinned {
        return Err(wrong("it was made for another repo.fmt"));
    }
    let keys = RootKeys::new(root.ok_or(FormatError::NotGranted { what: "the root key" })?, admin);
    match keys.admin_public() {
        Ok(public) if public != format.admin_public => Err(wrong("its administrator is not repo.fmt's")),
        _ => Ok(keys),
    }
}

fn key(value: &[u8]) -> Result<Key, FormatError> {
    let bytes: [u8; 32] =
        value.try_into().map_err(|_| FormatError::Malformed { what: WHAT, why: "a key has not 32 bytes" })?;
    Ok(Secret::new(bytes))
}

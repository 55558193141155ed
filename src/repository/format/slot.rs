//! Key slots (docs/format.md, "Key slots"): a secret that a person has opens the repository's keys.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::error::FormatError;
use super::keys::{AddKeys, Role, RootKeys, WriterGrant};
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::repo_fmt::RepoFmt;
use super::tlv::{self, Reader, TlvWriter};
use crate::base::entropy;
use crate::base::id::ObjectHash;
use crate::base::secret::{Key, Secret};
use crate::codec::agree;
use crate::codec::hash;
use crate::codec::kdf::{KdfError, KdfParams, passphrase_secret};
use crate::codec::seal;
use crate::codec::sign::Signer;

const WHAT: &str = "a key slot";
const PARAMS_BYTES: usize = 45;
const OUT_OF_BOUNDS: &str = "the cost asked for is out of bounds";
const TAG_ROOT: u16 = 1;
const TAG_ADMIN: u16 = 2;
const TAG_WRITER: u16 = 3;
const TAG_FORMAT: u16 = 4;
const TAG_DOMAIN: u16 = 5;
const TAG_INDEX: u16 = 6;
const TAG_READERS: u16 = 7;
const TAG_HOST: u16 = 8;
const TAG_EPOCH: u16 = 9;
const TAG_OLDER: u16 = 10;
const OLDER_BYTES: usize = 4 + 32;

/// A stored key object: its bytes and the hash that ends its name.
#[derive(Clone, Debug)]
pub struct KeyObject {
    /// The object.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub name: ObjectHash,
}

/// What a person has that opens a slot. Each opens the slots of its own method alone, so that no
/// text is tried as two things.
#[derive(Debug)]
pub enum SlotSecret {
    /// Method 1: a text, of which Argon2id makes a key.
    Passphrase(Secret<Vec<u8>>),
    /// Method 2: what a key file holds, 32 random bytes.
    KeyFile(Key),
    /// Method 3: what a recovery kit holds.
    RecoveryCode {
        /// 32 random bytes.
        code: Key,
        /// The slot that they open, where the kit has it: for a place that lost all of its slots.
        spare: Option<Vec<u8>>,
    },
    /// Method 4: the private part of a recipient.
    RecipientKey(Key),
    /// Its public part, for which slots can be made; it opens none.
    Recipient([u8; 32]),
}

/// How a slot is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotMethod {
    /// By a passphrase.
    Passphrase = 1,
    /// By a key file.
    KeyFile = 2,
    /// By the code of a recovery kit.
    RecoveryCode = 3,
    /// By a recipient's private key (X25519).
    Recipient = 4,
}

impl SlotMethod {
    /// From the stored number.
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Passphrase, Self::KeyFile, Self::RecoveryCode, Self::Recipient]
            .into_iter()
            .find(|method| *method as u8 == number)
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
            Self::RecoveryCode => "recovery code",
            Self::Recipient => "recipient",
        }
    }
}

/// What a slot says of itself to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotHead {
    /// How it is opened; `None` for methods of later versions.
    pub method: Option<SlotMethod>,
    /// What trying a passphrase costs; zeros where nothing is derived.
    pub kdf: KdfParams,
}

impl SlotSecret {
    /// A passphrase.
    pub fn passphrase(text: impl Into<Vec<u8>>) -> Self {
        Self::Passphrase(Secret::new(text.into()))
    }

    /// A fresh secret for a key file.
    pub fn new_key_file() -> Self {
        Self::KeyFile(Secret::new(entropy::random()))
    }

    /// A fresh code for a recovery kit.
    pub fn new_recovery_code() -> Self {
        Self::recovery_code(Secret::new(entropy::random()))
    }

    /// The code of a recovery kit, without more.
    pub fn recovery_code(code: Key) -> Self {
        Self::RecoveryCode { code, spare: None }
    }

    /// The slot that came with the secret.
    pub fn spare(&self) -> Option<&[u8]> {
        match self {
            Self::RecoveryCode { spare, .. } => spare.as_deref(),
            _ => None,
        }
    }

    /// The method of the slots that it opens.
    pub fn method(&self) -> SlotMethod {
        match self {
            Self::Passphrase(_) => SlotMethod::Passphrase,
            Self::KeyFile(_) => SlotMethod::KeyFile,
            Self::RecoveryCode { .. } => SlotMethod::RecoveryCode,
            Self::RecipientKey(_) | Self::Recipient(_) => SlotMethod::Recipient,
        }
    }

    /// Whether it opens the slots that are made for it.
    pub fn opens(&self) -> bool {
        !matches!(self, Self::Recipient(_))
    }

    /// What its slots say of the derivation: random bytes need none.
    fn costs(&self, kdf: KdfParams) -> KdfParams {
        match self {
            Self::Passphrase(_) => kdf,
            _ => KdfParams { memory_kib: 0, passes: 0, lanes: 0 },
        }
    }

    /// The key that opens the grant.
    fn kek(&self, format: &RepoFmt, salt: &[u8; 32], kdf: KdfParams) -> Result<Key, FormatError> {
        let derive = |secret: &Key| hash::derive("kek", secret.expose(), &format.repo_id, salt);
        if !matches!(self, Self::Passphrase(_)) && kdf != self.costs(kdf) {
            return Err(FormatError::Malformed { what: WHAT, why: "its cost is out of bounds" });
        }
        Ok(match self {
            Self::Passphrase(text) => derive(&passphrase_secret(text.expose(), salt, kdf).map_err(unfit)?),
            Self::KeyFile(key) | Self::RecoveryCode { code: key, .. } => derive(key),
            // The salt is the public part of a key that was made for this slot and thrown away.
            Self::RecipientKey(private) => {
                let public = agree::public(private).map_err(|_| FormatError::WrongKey)?;
                let shared = agree::shared(private, salt).map_err(|_| FormatError::WrongKey)?;
                derive(&between(&shared, format, salt, &public))
            }
            Self::Recipient(_) => return Err(FormatError::WrongKey),
        })
    }

    /// A fresh salt, and the key that seals a grant under it.
    fn fresh(&self, format: &RepoFmt, kdf: KdfParams) -> Result<([u8; 32], Key), FormatError> {
        let Self::Recipient(public) = self else {
            let salt = entropy::random::<32>();
            return Ok((salt, self.kek(format, &salt, kdf)?));
        };
        let none = |_| FormatError::Unfit { what: "a slot for this recipient", why: "it is no X25519 key" };
        let once = Secret::new(entropy::random());
        let salt = agree::public(&once).map_err(none)?;
        let shared = agree::shared(&once, public).map_err(none)?;
        let secret = between(&shared, format, &salt, public);
        Ok((salt, hash::derive("kek", secret.expose(), &format.repo_id, &salt)))
    }
}

/// What both sides of an agreement know and nobody else, bound to both of them.
fn between(shared: &Key, format: &RepoFmt, once: &[u8; 32], public: &[u8; 32]) -> Key {
    hash::derive("x25519", shared.expose(), &format.repo_id, &[&once[..], public].concat())
}

/// Makes a slot that this secret opens and that grants everything.
///
/// # Errors
/// As [`create_slot_for`].
pub fn create_slot(
    format_bytes: &[u8],
    format: &RepoFmt,
    root: &RootKeys,
    secret: &SlotSecret,
    kdf: KdfParams,
) -> Result<KeyObject, FormatError> {
    create_slot_for(&Role::Admin, format_bytes, format, root, secret, kdf)
}

/// Makes a slot that this secret opens and that grants a role what it needs. `root` are the
/// administrator's keys; `kdf` is what it costs to try a passphrase.
///
/// # Errors
/// When the passphrase is no text or empty; when `root` is less than the administrator's.
pub fn create_slot_for(
    role: &Role,
    format_bytes: &[u8],
    format: &RepoFmt,
    root: &RootKeys,
    secret: &SlotSecret,
    kdf: KdfParams,
) -> Result<KeyObject, FormatError> {
    let kdf = secret.costs(kdf);
    let (salt, kek) = secret.fresh(format, kdf)?;
    let mut params = vec![secret.method() as u8];
    params.extend_from_slice(&salt);
    for number in [kdf.memory_kib, kdf.passes, kdf.lanes] {
        params.extend_from_slice(&number.to_le_bytes());
    }
    let grant = write_grant(&root.granted_to(role, &format.repo_id)?, format_bytes);
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

fn write_grant(granted: &RootKeys, format_bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut grant = TlvWriter::new();
    if let Ok(root) = granted.root() {
        grant.put(TAG_ROOT, root.expose());
    }
    if let Ok(admin) = granted.admin() {
        grant.put(TAG_ADMIN, admin.expose());
    }
    if let Some(writer) = granted.writer() {
        grant.put(TAG_WRITER, writer.seed.expose());
    }
    grant.put(TAG_FORMAT, &hash::plain(&[format_bytes]));
    if let Some(keys) = granted.add_keys() {
        grant.put(TAG_DOMAIN, keys.domain.expose());
        grant.put(TAG_INDEX, keys.index.expose());
        grant.put(TAG_READERS, &keys.readers);
    }
    if let Some(writer) = granted.writer() {
        grant.put(TAG_HOST, writer.host.as_bytes());
    }
    if granted.epoch() > 0 {
        grant.put(TAG_EPOCH, &granted.epoch().to_le_bytes());
        let older = granted.older();
        if !older.is_empty() {
            let mut all = Zeroizing::new(Vec::with_capacity(older.len() * OLDER_BYTES));
            for (epoch, root) in older {
                all.extend_from_slice(&epoch.to_le_bytes());
                all.extend_from_slice(root.expose());
            }
            grant.put(TAG_OLDER, &all);
        }
    }
    Zeroizing::new(grant.finish())
}

fn unfit(error: KdfError) -> FormatError {
    FormatError::Unfit {
        what: "the passphrase",
        why: match error {
            KdfError::NotText => "it is not UTF-8 text",
            KdfError::Empty => "it is empty",
            KdfError::OutOfBounds(_) => OUT_OF_BOUNDS,
            KdfError::NoMemory => "there is not enough memory to derive its key",
        },
    }
}

/// Opens a slot.
///
/// # Errors
/// `WrongKey` when the secret is another one; `Malformed`, `NotSigned` when the slot is hurt or
/// does not belong to this repository; `NotGranted` for slots of another method.
pub fn open_slot(
    bytes: &[u8],
    format_bytes: &[u8],
    format: &RepoFmt,
    secret: &SlotSecret,
) -> Result<RootKeys, FormatError> {
    let object = decode(bytes, format)?;
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let Parts { method, salt, kdf, params, sealed } = parts(&object)?;
    if method != secret.method() as u8 {
        return Err(FormatError::NotGranted { what: "opening with this kind of secret" });
    }
    let kek = secret.kek(format, &salt, kdf).map_err(|error| match error {
        FormatError::Unfit { why, .. } if why == OUT_OF_BOUNDS => wrong("its cost is out of bounds"),
        other => other,
    })?;
    let grant = seal::open(kek.expose(), &format.repo_id, "slot", params, sealed)
        .map(Zeroizing::new)
        .map_err(|_| FormatError::WrongKey)?;
    read_grant(&grant, format_bytes, format)
}

/// What a slot says of itself, without a secret; its signature is checked.
///
/// # Errors
/// When it is hurt or does not belong to this repository.
pub fn head(bytes: &[u8], format: &RepoFmt) -> Result<SlotHead, FormatError> {
    let object = decode(bytes, format)?;
    let Parts { method, kdf, .. } = parts(&object)?;
    Ok(SlotHead { method: SlotMethod::from_u8(method), kdf })
}

fn decode(bytes: &[u8], format: &RepoFmt) -> Result<Object, FormatError> {
    let object = Object::decode(bytes, &format.repo_id, None)?;
    if object.header.kind != ObjectKind::Slot {
        return Err(FormatError::Malformed { what: WHAT, why: "it is another kind of object" });
    }
    object.verify(&format.admin_public)?;
    Ok(object)
}

struct Parts<'a> {
    method: u8,
    salt: [u8; 32],
    kdf: KdfParams,
    /// All of the above, as stored.
    params: &'a [u8],
    sealed: &'a [u8],
}

fn parts(object: &Object) -> Result<Parts<'_>, FormatError> {
    let mut reader = Reader::new(WHAT, &object.body);
    let params = reader.slice(PARAMS_BYTES)?;
    let sealed = reader.rest();
    let mut reader = Reader::new(WHAT, params);
    Ok(Parts {
        method: reader.u8()?,
        salt: reader.array()?,
        kdf: KdfParams { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? },
        params,
        sealed,
    })
}

fn read_grant(grant: &[u8], format_bytes: &[u8], format: &RepoFmt) -> Result<RootKeys, FormatError> {
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let (mut root, mut admin, mut seed, mut host) = (None, None, None, None);
    let (mut domain, mut index, mut readers, mut pinned) = (None, None, None, false);
    let (mut epoch, mut roots) = (0, BTreeMap::new());
    for (tag, value) in tlv::read(WHAT, grant)? {
        match tag {
            TAG_ROOT => root = Some(key(value)?),
            TAG_ADMIN => admin = Some(key(value)?),
            TAG_WRITER => seed = Some(key(value)?),
            TAG_FORMAT => pinned = value == hash::plain(&[format_bytes]),
            TAG_DOMAIN => domain = Some(key(value)?),
            TAG_INDEX => index = Some(key(value)?),
            TAG_READERS => readers = Some(*key(value)?.expose()),
            TAG_HOST => {
                let text = std::str::from_utf8(value).map_err(|_| wrong("its host is no text"))?;
                host = Some(text.to_owned());
            }
            TAG_EPOCH => {
                let bytes = value.try_into().map_err(|_| wrong("its epoch has not 4 bytes"))?;
                epoch = u32::from_le_bytes(bytes);
            }
            TAG_OLDER => roots = read_older(value)?,
            tag => tlv::unknown(WHAT, tag)?,
        }
    }
    if !pinned {
        return Err(wrong("it was made for another repo.fmt"));
    }
    let writer = match (seed, host) {
        (Some(seed), Some(host)) => Some(WriterGrant { seed, host }),
        (None, None) => None,
        _ => return Err(wrong("it names a host without its key, or a key without its host")),
    };
    let keys = match (root, writer, domain, index, readers) {
        (Some(root), writer, ..) => {
            if roots.last_key_value().is_some_and(|(older, _)| *older >= epoch) {
                return Err(wrong("an older epoch is not older"));
            }
            roots.insert(epoch, root);
            if !roots.contains_key(&0) {
                return Err(wrong("it lacks the key of the first epoch"));
            }
            let writer = writer.filter(|_| admin.is_none());
            RootKeys::of_slot(roots, admin, writer)
        }
        (None, Some(writer), Some(domain), Some(index), Some(readers)) => {
            RootKeys::of_write_only(AddKeys { domain, index, readers, epoch }, writer)
        }
        _ => return Err(FormatError::NotGranted { what: "the root key" }),
    };
    match keys.admin_public() {
        Ok(public) if public != format.admin_public => Err(wrong("its administrator is not repo.fmt's")),
        _ => Ok(keys),
    }
}

fn read_older(value: &[u8]) -> Result<BTreeMap<u32, Key>, FormatError> {
    let wrong = |why| FormatError::Malformed { what: WHAT, why };
    let (all, slack) = value.as_chunks::<OLDER_BYTES>();
    let mut roots = BTreeMap::new();
    for one in all {
        let epoch = u32::from_le_bytes([one[0], one[1], one[2], one[3]]);
        if roots.last_key_value().is_some_and(|(last, _)| *last >= epoch) {
            return Err(wrong("its older keys are not sorted"));
        }
        roots.insert(epoch, key(&one[4..])?);
    }
    if slack.is_empty() { Ok(roots) } else { Err(wrong("its older keys are cut off")) }
}

fn key(value: &[u8]) -> Result<Key, FormatError> {
    let bytes: [u8; 32] =
        value.try_into().map_err(|_| FormatError::Malformed { what: WHAT, why: "a key has not 32 bytes" })?;
    Ok(Secret::new(bytes))
}

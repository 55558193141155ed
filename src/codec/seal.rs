//! AES-256-GCM in two constructions in which a key seals one message, so that no nonce is ever
//! chosen and none can repeat (docs/format.md, "Sealing").

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::hash;
use crate::base::id::RepoId;

/// Bytes that [`seal_blob`] adds.
pub const TAG_BYTES: usize = 16;
/// Bytes that [`seal`] adds: the synthetic key input S and the tag.
pub const SEAL_BYTES: usize = 32 + TAG_BYTES;

const BLOB_INFO: &[u8; 16] = b"lifeboat1 blob\0\0";

/// Sealed bytes that do not open under this key and these inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open: another key, or damage")]
pub struct NotOpened;

/// The key that seals one blob: from its pack's key and the first 44 bytes of its footer row, so
/// that what additional data would bind is bound by the key itself.
fn blob_key(pack_key: &[u8; 32], row: &[u8; 44]) -> [u8; 32] {
    hash::keyed(pack_key, &[BLOB_INFO, row, &[0; 4]])
}

/// Seals a blob in place and returns its tag. `row` are the first 44 bytes of its footer row.
pub fn seal_blob(pack_key: &[u8; 32], row: &[u8; 44], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
    encrypt(&blob_key(pack_key, row), &[], bytes)
}

/// Replaces `out` by the opened part of a blob; `sealed` ends in the tag. Past a copy: the bytes go
/// from one place to the other while they are deciphered.
///
/// # Errors
/// When it does not open under this key and row. `out` is unspecified then.
pub fn open_blob(
    pack_key: &[u8; 32],
    row: &[u8; 44],
    sealed: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NotOpened> {
    let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(NotOpened)?;
    // Only what is longer than before is cleared.
    out.resize(bytes.len(), 0);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    aes(&blob_key(pack_key, row))
        .open_separate_gather(nonce, Aad::empty(), bytes, tag, out)
        .map_err(|_| NotOpened)
}

/// `SEAL(key, label, header, message)`: S || AES-256-GCM(key from S, header as additional data) || tag,
/// with S = keyed hash of label, header and message. Deterministic: a retry gives equal bytes.
/// `key` is expanded for `repo`.
pub fn seal(key: &[u8; 32], repo: &RepoId, label: &str, header: &[u8], message: &[u8]) -> Vec<u8> {
    let s = synthetic(key, repo, label, header, message);
    let message_key = hash::keyed(hash::derive("enc", key, repo, &[]).expose(), &[&s]);
    let mut out = Vec::with_capacity(message.len() + SEAL_BYTES);
    out.extend_from_slice(&s);
    out.extend_from_slice(message);
    let tag = encrypt(&message_key, header, &mut out[32..]);
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`seal`] made under the same key, label and header.
///
/// # Errors
/// When anything differs; S is computed again, which commits to the key and all inputs.
pub fn open(
    key: &[u8; 32],
    repo: &RepoId,
    label: &str,
    header: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, NotOpened> {
    let (s, rest) = sealed.split_first_chunk::<32>().ok_or(NotOpened)?;
    let message_key = hash::keyed(hash::derive("enc", key, repo, &[]).expose(), &[s]);
    let mut message = rest.to_vec();
    let len = decrypt(&message_key, header, &mut message)?;
    message.truncate(len);
    // The comparison may take data-dependent time: whoever can vary S already passed the tag.
    if synthetic(key, repo, label, header, &message) == *s { Ok(message) } else { Err(NotOpened) }
}

fn synthetic(key: &[u8; 32], repo: &RepoId, label: &str, header: &[u8], message: &[u8]) -> [u8; 32] {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    hash::keyed(
        hash::derive("siv", key, repo, &[]).expose(),
        &[&len(label.as_bytes()), label.as_bytes(), &len(header), header, message],
    )
}

fn aes(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key"))
}

fn encrypt(key: &[u8; 32], header: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let tag = aes(key)
        .seal_in_place_separate_tag(nonce, Aad::from(header), bytes)
        .expect("a message is far below the limit of AES-GCM");
    tag.as_ref().try_into().expect("the tag of AES-256-GCM has 16 bytes")
}

fn decrypt(key: &[u8; 32], header: &[u8], bytes: &mut [u8]) -> Result<usize, NotOpened> {
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    aes(key).open_in_place(nonce, Aad::from(header), bytes).map(|m| m.len()).map_err(|_| NotOpened)
}

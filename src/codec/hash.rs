//! BLAKE3 in its three modes: keyed for ids, plain for object names, derivation for keys.

use crate::base::id::{ObjectHash, RepoId};
use crate::base::secret::{Key, Secret};

/// Everything derived carries this in front of its label.
const DOMAIN: &str = "lifeboat v1 ";

/// `D(label, key, context)`: blake3 derive_key("lifeboat v1 " + label, key || repo || context).
pub fn derive(label: &str, key: &[u8; 32], repo: &RepoId, context: &[u8]) -> Key {
    let mut out = [0u8; 32];
    derive_into(label, key, repo, context, &mut out);
    Secret::new(out)
}

/// [`derive()`] with an output of any length (blake3's extendable output).
pub fn derive_into(label: &str, key: &[u8; 32], repo: &RepoId, context: &[u8], out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("{DOMAIN}{label}"));
    hasher.update(key).update(repo.as_bytes()).update(context);
    hasher.finalize_xof().fill(out);
}

/// Keyed BLAKE3 of a message in parts.
pub fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Plain BLAKE3 of a message in parts.
pub fn plain(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The name of a stored object.
pub fn object(bytes: &[u8]) -> ObjectHash {
    ObjectHash::new(plain(&[bytes]))
}

/// A hash that is fed piece by piece.
#[derive(Debug)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Plain, for object names.
    pub fn plain() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Keyed, for ids.
    pub fn keyed(key: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(key))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The hash of all bytes taken.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

//! Ed25519 over domain-separated messages.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::hash;
use crate::base::id::WriterId;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A signature that does not belong to the message and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct NotVerified;

/// A signing key. Not printable; the provider wipes it when dropped.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.id())
    }
}

impl Signer {
    /// The key of a 32-byte seed (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
        let public = pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        Self { pair, public }
    }

    /// The public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// blake3 of the public key, its first 16 bytes.
    pub fn id(&self) -> WriterId {
        writer_id(&self.public)
    }

    /// Signs `domain` (filled with zeros to 32 bytes) || `digest`.
    pub fn sign(&self, domain: &str, digest: &[u8; 32]) -> [u8; SIGNATURE_BYTES] {
        self.sign_bytes(&message(domain, digest))
    }

    /// Signs the bytes themselves. Only for files that begin with their own domain (evidence).
    pub fn sign_bytes(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.pair.sign(bytes).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// The writer id of a public key.
pub fn writer_id(public: &[u8; 32]) -> WriterId {
    let digest = hash::plain(&[public]);
    let mut id = [0u8; 16];
    id.copy_from_slice(&digest[..16]);
    WriterId::new(id)
}

/// Checks a signature made by [`Signer::sign`].
///
/// # Errors
/// When it does not verify.
pub fn verify(
    public: &[u8; 32],
    domain: &str,
    digest: &[u8; 32],
    signature: &[u8],
) -> Result<(), NotVerified> {
    verify_bytes(public, &message(domain, digest), signature)
}

/// Checks a signature made by [`Signer::sign_bytes`].
///
/// # Errors
/// When it does not verify.
pub fn verify_bytes(public: &[u8; 32], bytes: &[u8], signature: &[u8]) -> Result<(), NotVerified> {
    UnparsedPublicKey::new(&ED25519, public).verify(bytes, signature).map_err(|_| NotVerified)
}

fn message(domain: &str, digest: &[u8; 32]) -> [u8; 64] {
    debug_assert!(domain.len() <= 32, "a domain fits its 32 bytes");
    let mut message = [0u8; 64];
    let len = domain.len().min(32);
    message[..len].copy_from_slice(&domain.as_bytes()[..len]);
    message[32..].copy_from_slice(digest);
    message
}

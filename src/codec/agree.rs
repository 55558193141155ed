//! X25519 (RFC 7748): two keys make one secret, of which either side needs only its own private part
//! and the other's public one.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};

use crate::base::secret::{Key, Secret};

/// A key that is none, or one whose agreement is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no X25519 key")]
pub struct NotAgreed;

/// The public part of a private key: any 32 bytes are one.
///
/// # Errors
/// When the provider refuses it.
pub fn public(private: &Key) -> Result<[u8; 32], NotAgreed> {
    let key = key(private)?.compute_public_key().map_err(|_| NotAgreed)?;
    key.as_ref().try_into().map_err(|_| NotAgreed)
}

/// The secret between a private key and somebody's public one.
///
/// # Errors
/// When the public key is of small order, so that everybody would know it.
pub fn shared(private: &Key, public: &[u8; 32]) -> Result<Key, NotAgreed> {
    agree(&key(private)?, UnparsedPublicKey::new(&X25519, public), NotAgreed, |material| {
        Ok(Secret::new(material.try_into().map_err(|_| NotAgreed)?))
    })
}

fn key(private: &Key) -> Result<PrivateKey, NotAgreed> {
    PrivateKey::from_private_key(&X25519, private.expose()).map_err(|_| NotAgreed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> [u8; 32] {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).expect("hex");
        out
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn the_vectors_of_the_rfc_agree() {
        let alice = Secret::new([7; 32]);
        let bob = Secret::new(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let (a, b) = (public(&alice).expect("a key"), public(&bob).expect("a key"));
        assert_eq!(b, bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let one = shared(&alice, &b).expect("agreed");
        assert_eq!(one.expose(), shared(&bob, &a).expect("agreed").expose());
    }

    #[test]
    fn a_public_key_of_small_order_gives_no_secret() {
        let private = Secret::new([9; 32]);
        assert_eq!(shared(&private, &[0; 32]).map(|_| ()), Err(NotAgreed));
        assert_eq!(
            shared(&private, &bytes("0100000000000000000000000000000000000000000000000000000000000000"))
                .map(|_| ()),
            Err(NotAgreed)
        );
    }
}

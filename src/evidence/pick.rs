//! The seed of a random pick: its hash stands in the log before the pick, the seed itself in the
//! report afterwards, so that nobody can choose it. What is drawn with it is the drill's
//! (`drill::pick`).

use super::sha256;
use crate::base::entropy;

/// What a pick is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Draws a new one.
    pub fn draw() -> Self {
        Self(entropy::random())
    }

    /// From 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 32];
        (sha256::is_hex(text) && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }

    /// As 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// SHA-256 of [`Seed::to_hex`]: what `printf %s SEED | sha256sum` prints.
    pub fn commitment(self) -> String {
        sha256::hex(self.to_hex().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commitment_is_the_hash_of_the_digits() {
        let seed = Seed::draw();
        assert_eq!(Seed::from_hex(&seed.to_hex()), Some(seed));
        assert_eq!(seed.commitment(), sha256::hex(seed.to_hex().as_bytes()));
        assert_ne!(seed, Seed::draw());
    }
}

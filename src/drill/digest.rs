//! SHA-256 (FIPS 180-4) of everything that an auditor computes again with `sha256sum`.

use aws_lc_rs::digest::{Context, SHA256};

/// The hash of bytes in parts. Hashes compare in the same order as their hexadecimal digits.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finish()
}

/// A hash that is fed piece by piece.
pub(super) struct Sha256(Context);

impl Sha256 {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

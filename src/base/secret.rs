//! Values that must not be printed, logged, compared in the open or left in memory.

use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Wipes its content when dropped and prints as `[secret]`. Deliberately neither `Clone`,
/// `Display` nor serialisable.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

/// A 32-byte key.
pub type Key = Secret<[u8; 32]>;

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of a secret value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call is a place to look at in a review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

//! From a passphrase to a key: Argon2id, version 0x13 (RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::base::secret::{Key, Secret};

/// Least memory that is taken from a stored slot.
pub const MEMORY_KIB_MIN: u32 = 8 * 1024;
/// Most memory that is taken from a stored slot: whoever can replace it must not exhaust the reader.
pub const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Most passes.
pub const PASSES_MAX: u32 = 64;
/// Most lanes.
pub const LANES_MAX: u32 = 8;

/// What one derivation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for KdfParams {
    /// 64 MiB, 3 passes, 1 lane: RFC 9106's second recommendation with one lane, 0.2 s on one core.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

impl KdfParams {
    /// Whether a reader accepts them.
    pub fn in_bounds(self) -> bool {
        (MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (1..=PASSES_MAX).contains(&self.passes)
            && (1..=LANES_MAX).contains(&self.lanes)
    }
}

/// Why no key comes out of a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KdfError {
    /// Not UTF-8.
    #[error("the passphrase is not UTF-8 text")]
    NotText,
    /// Nothing left after the final newline was cut.
    #[error("the passphrase is empty")]
    Empty,
    /// Memory, passes or lanes outside the bounds.
    #[error("{} KiB of memory, {} passes and {} lanes are outside the bounds", .0.memory_kib, .0.passes, .0.lanes)]
    OutOfBounds(KdfParams),
    /// The memory asked for can't be had.
    #[error("the key derivation failed for want of memory")]
    NoMemory,
}

/// The secret of a passphrase: Argon2id of its NFC form without one final newline. Takes the
/// memory that `params` names and, at the defaults, a fraction of a second.
///
/// # Errors
/// When the passphrase is no text or empty, or the parameters are out of bounds.
pub fn passphrase_secret(passphrase: &[u8], salt: &[u8; 32], params: KdfParams) -> Result<Key, KdfError> {
    if !params.in_bounds() {
        return Err(KdfError::OutOfBounds(params));
    }
    let text = std::str::from_utf8(passphrase).map_err(|_| KdfError::NotText)?;
    let text = text.strip_suffix('\n').map_or(text, |t| t.strip_suffix('\r').unwrap_or(t));
    if text.is_empty() {
        return Err(KdfError::Empty);
    }
    let normal = Zeroizing::new(text.nfc().collect::<String>());
    let argon = Params::new(params.memory_kib, params.passes, params.lanes, Some(32))
        .map_err(|_| KdfError::OutOfBounds(params))?;
    let mut out = [0u8; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, argon)
        .hash_password_into(normal.as_bytes(), salt, &mut out)
        .map_err(|_| KdfError::NoMemory)?;
    Ok(Secret::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: KdfParams = KdfParams { memory_kib: MEMORY_KIB_MIN, passes: 1, lanes: 1 };

    fn secret(passphrase: &str) -> [u8; 32] {
        *passphrase_secret(passphrase.as_bytes(), &[1; 32], CHEAP).expect("a key").expose()
    }

    #[test]
    fn spelling_in_unicode_and_one_final_newline_do_not_matter() {
        assert_eq!(secret("caf\u{e9}"), secret("cafe\u{301}"));
        assert_eq!(secret("open"), secret("open\n"));
        assert_eq!(secret("open"), secret("open\r\n"));
        assert_ne!(secret("open"), secret("open\n\n"));
        assert_ne!(secret("open"), secret("Open"));
    }

    #[test]
    fn what_is_no_passphrase_is_refused() {
        let refused = |bytes: &[u8]| passphrase_secret(bytes, &[1; 32], CHEAP).map(|_| ()).unwrap_err();
        assert_eq!(refused(b""), KdfError::Empty);
        assert_eq!(refused(b"\n"), KdfError::Empty);
        assert_eq!(refused(b"\xff"), KdfError::NotText);
    }

    #[test]
    fn costs_out_of_bounds_are_refused_before_memory_is_taken() {
        for params in [
            KdfParams { memory_kib: u32::MAX, ..CHEAP },
            KdfParams { memory_kib: 8, ..CHEAP },
            KdfParams { passes: 65, ..CHEAP },
            KdfParams { passes: 0, ..CHEAP },
            KdfParams { lanes: 9, ..CHEAP },
        ] {
            let refused = passphrase_secret(b"x", &[1; 32], params).map(|_| ()).unwrap_err();
            assert_eq!(refused, KdfError::OutOfBounds(params));
        }
    }
}

//! The one source of randomness: the system's, through the cryptographic provider.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Fills an array with random bytes from the operating system.
///
/// # Panics
/// When the system has no randomness: nothing that needs keys can go on then, and a fallback
/// would be worse than a stop.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Sixteen bytes that no other call gives, for names and never for keys. They cost nothing, where
/// the first [`random`] of a process takes 20 ms to collect noise.
pub fn unique() -> [u8; 16] {
    let half = || RandomState::new().build_hasher().finish().to_le_bytes();
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&half());
    bytes[8..].copy_from_slice(&half());
    bytes
}

/// A random number below `bound` (which must not be 0). The bias is below 2^-32 for small bounds.
pub fn below(bound: u32) -> u32 {
    let draw = u64::from_le_bytes(random());
    u32::try_from(draw % u64::from(bound.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn what_is_unique_never_comes_twice() {
        let draw = || (0..500).map(|_| super::unique()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all = threads.into_iter().flat_map(|thread| thread.join().expect("drawn"));
        assert_eq!(all.collect::<HashSet<_>>().len(), 2000);
    }
}

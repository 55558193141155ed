//! The one source of randomness: the kernel's.
//!
//! The cryptographic provider would first gather jitter of its own, which costs each process
//! about 15 ms and adds nothing to what the kernel has.

use rustix::rand::{GetRandomFlags, getrandom};

/// Fills an array with random bytes from the operating system.
///
/// # Panics
/// When the system has no randomness: nothing that needs keys can go on then, and a fallback
/// would be worse than a stop.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the operating system gives no randomness: {error}"),
        }
    }
    bytes
}

/// A random number below `bound` (which must not be 0). The bias is below 2^-32 for small bounds.
pub fn below(bound: u32) -> u32 {
    let draw = u64::from_le_bytes(random());
    u32::try_from(draw % u64::from(bound.max(1))).unwrap_or(0)
}

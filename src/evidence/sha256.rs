//! SHA-256 (FIPS 180-4), the hash of everything that an auditor checks: `sha256sum` is on every
//! machine. Data in repositories stays on BLAKE3.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// What stands where there is no predecessor: 64 zeros.
pub const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hash as 64 lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    hex::encode(raw(bytes))
}

/// The hash as bytes; they compare in the same order as their digits.
pub fn raw(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The hash of a file of any size.
///
/// # Errors
/// Whatever the file system says.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(context.finish())),
            Ok(count) => context.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether text is a hash in the only spelling we write.
pub fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sha_256_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(b"abc"), abc);
        assert!(is_hex(abc) && is_hex(NONE) && !is_hex("abc") && !is_hex(&abc.to_uppercase()));
    }
}

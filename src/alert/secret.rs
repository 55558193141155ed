//! Files with one secret: an address, a key, a name and a password.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::AlertError;

/// Longest such file.
const BYTES_MAX: u64 = 16 * 1024;

/// The text of a file that nobody else may read, without blanks around it.
pub(super) fn read(what: &'static str, path: &Path) -> Result<Zeroizing<String>, AlertError> {
    let fail = |cause: String| AlertError::Secret { what, path: path.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let about = file.metadata().map_err(|error| fail(error.to_string()))?;
    if !about.is_file() {
        return Err(fail("it is no file".to_owned()));
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err(fail(format!("others may read it (mode {:03o})", about.permissions().mode() & 0o777)));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() {
        return Err(fail("it is empty".to_owned()));
    }
    Ok(text)
}

/// Longest file of certificates: a system's whole store is a fifth of it.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// The certificates of a file, as they are; anybody may read it.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, AlertError> {
    let fail =
        |cause: String| AlertError::Secret { what: "the file of certificates", path: path.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err(fail("it is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(CERTIFICATES_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > CERTIFICATES_BYTES_MAX {
        return Err(fail("it is longer than 1 MiB".to_owned()));
    }
    Ok(bytes)
}

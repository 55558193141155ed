//! Secrets come from files, never from arguments.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::AppError;
use crate::base::progress::Progress;
use crate::base::secret::Secret;

/// No passphrase is longer.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// The passphrase in a file. A file that others may read works, with a warning: a restore at night
/// must not fail over a mode.
///
/// # Errors
/// When it cannot be read or is empty.
pub fn read_password(path: &Path, progress: &dyn Progress) -> Result<Secret<Vec<u8>>, AppError> {
    let wrong = |source| AppError::Unreadable { what: "the password file", path: path.to_owned(), source };
    let file = File::open(path).map_err(wrong)?;
    let mode = file.metadata().map_err(wrong)?.permissions().mode();
    if mode & 0o077 != 0 {
        progress.warn(format!("others can read {}; chmod 600 it", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(PASSWORD_BYTES_MAX).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(AppError::EmptyPassword { path: path.to_owned() });
    }
    Ok(Secret::new(bytes))
}

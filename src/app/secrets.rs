//! Secrets come from files, never from arguments.
//!
//! A key file says in its text what it is, so it is one wherever a file with a secret is named: a
//! passphrase can't look like it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::AppError;
use crate::base::durable::{self, Created};
use crate::base::progress::Progress;
use crate::base::secret::Secret;
use crate::codec::key_text::KeyText;
use crate::repository::format::slot::SlotSecret;

/// No secret is longer.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Rights of anybody but the owner.
const OTHERS: u32 = 0o077;

/// Where a command gets the secret of a repository from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file with a passphrase, or a key file.
    PasswordFile(PathBuf),
    /// A key file.
    KeyFile(PathBuf),
}

impl SecretSource {
    /// Reads it. A password file that others may read works, with a warning: a restore at night must
    /// not fail over a mode. A key file that others may read is refused: no Argon2id slows down
    /// who copies it.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or is no whole key file of ours alone.
    pub fn read(&self, progress: &dyn Progress) -> Result<SlotSecret, AppError> {
        let (path, what) = match self {
            Self::PasswordFile(path) => (path, "the password file"),
            Self::KeyFile(path) => (path, "the key file"),
        };
        let (bytes, mode) = read_file(path, what)?;
        if bytes.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(AppError::EmptyPassword { path: path.clone() });
        }
        let text = std::str::from_utf8(&bytes).ok();
        let is_key = matches!(self, Self::KeyFile(_)) || text.is_some_and(|t| KeyText::KeyFile.claims(t));
        if !is_key {
            if mode & OTHERS != 0 {
                progress.warn(format!("others can read {}; chmod 600 it", path.display()));
            }
            return Ok(SlotSecret::Passphrase(Secret::new(bytes.to_vec())));
        }
        if mode & OTHERS != 0 {
            return Err(AppError::ExposedKey { path: path.clone(), mode: mode & 0o777 });
        }
        let key = KeyText::KeyFile.read(text.unwrap_or_default());
        key.map(SlotSecret::KeyFile).map_err(|source| AppError::NoKeyFile { path: path.clone(), source })
    }

    /// As [`Self::read`]; a key file that isn't there is made, and comes back with the word that it
    /// is new.
    ///
    /// # Errors
    /// As [`Self::read`]; when the file cannot be written.
    pub fn read_or_make(&self, progress: &dyn Progress) -> Result<(SlotSecret, Created), AppError> {
        let created = match self {
            Self::KeyFile(path) if !path.exists() => make_key_file(path)?,
            _ => Created::Existing,
        };
        Ok((self.read(progress)?, created))
    }
}

fn read_file(path: &Path, what: &'static str) -> Result<(Zeroizing<Vec<u8>>, u32), AppError> {
    let wrong = |source| AppError::Unreadable { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(wrong)?;
    let about = file.metadata().map_err(wrong)?;
    // Room for all of it at once: a vector that grows leaves copies behind that nobody wipes.
    let room = usize::try_from(about.len().min(SECRET_BYTES_MAX)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(wrong)?;
    Ok((bytes, about.permissions().mode()))
}

/// Makes a key file of a fresh secret, which is durable before anything is sealed with it. One that
/// somebody made meanwhile is left as it is.
///
/// # Errors
/// When it cannot be written.
pub fn make_key_file(path: &Path) -> Result<Created, AppError> {
    let unwritable = |source| AppError::Unwritable { path: path.to_owned(), source };
    let SlotSecret::KeyFile(key) = SlotSecret::new_key_file() else { return Ok(Created::Existing) };
    let line = Zeroizing::new(format!("{}\n", *KeyText::KeyFile.write(&key)));
    let created = durable::create_new(path, line.as_bytes()).map_err(unwritable)?;
    if let Some(parent) = path.parent() {
        durable::sync_dir(parent).map_err(unwritable)?;
    }
    Ok(created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{Class, Classified};
    use crate::base::progress::Silent;

    fn written(folder: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        path
    }

    #[test]
    fn a_key_file_is_made_once_private_and_reads_back_however_it_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let source = SecretSource::KeyFile(path.clone());
        let (made, created) = source.read_or_make(&Silent).expect("made");
        assert_eq!(created, Created::New);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let (read, created) = source.read_or_make(&Silent).expect("read");
        assert_eq!(created, Created::Existing);
        let named = SecretSource::PasswordFile(path).read(&Silent).expect("read");
        for other in [read, named] {
            let (SlotSecret::KeyFile(made), SlotSecret::KeyFile(other)) = (&made, &other) else {
                panic!("{other:?} is no key file's");
            };
            assert_eq!(made.expose(), other.expose());
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused_and_a_password_file_works() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        make_key_file(&path).expect("made");
        for mode in [0o640, 0o604, 0o660, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            for source in [SecretSource::KeyFile(path.clone()), SecretSource::PasswordFile(path.clone())] {
                let error = source.read(&Silent).unwrap_err();
                assert_eq!((error.code(), error.class()), ("E0810", Class::Usage), "{mode:o}");
            }
        }
        let open = written(folder.path(), "password", b"open\n", 0o644);
        assert!(matches!(SecretSource::PasswordFile(open).read(&Silent), Ok(SlotSecret::Passphrase(_))));
    }

    #[test]
    fn a_damaged_key_file_is_a_wrong_key_and_never_a_passphrase() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        make_key_file(&path).expect("made");
        let whole = std::fs::read(&path).expect("read");
        for (name, text) in
            [("cut", &whole[..40]), ("begun", b"lifeboat-key-1"), ("long", &[&whole[..], b"x"].concat())]
        {
            let path = written(folder.path(), name, text, 0o600);
            let error = SecretSource::PasswordFile(path).read(&Silent).unwrap_err();
            assert_eq!((error.code(), error.class()), ("E0811", Class::WrongKey), "{name}");
            assert!(!format!("{error:?} {error}").contains("lifeboat-key-1"), "{error:?}");
        }
        let path = written(folder.path(), "password", b"a passphrase\n", 0o600);
        assert_eq!(SecretSource::KeyFile(path).read(&Silent).unwrap_err().code(), "E0811");
    }
}

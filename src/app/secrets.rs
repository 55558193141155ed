//! Secrets come from files, from programs, and, in an emergency, from a keyboard; never from
//! arguments or the environment.
//!
//! A key file and a recovery code say in their text what they are, so they are that wherever a
//! secret is read: a passphrase can't look like them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::AppError;
use crate::base::durable::{self, Created};
use crate::base::progress::Progress;
use crate::base::secret::Secret;
use crate::codec::agree;
use crate::codec::key_text::{KeyText, KeyTextError};
use crate::codec::words::{self, WORDS};
use crate::engine::context::Context;
use crate::repository::format::slot::SlotSecret;
use crate::source::stream::{Stream, StreamSource};

/// No secret is longer.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// And no recovery kit.
const KIT_BYTES_MAX: u64 = 1024 * 1024;
/// How the slot's object is named in a kit.
pub(super) const SLOT_NAME: &str = "keys/slot-";
/// Rights of anybody but the owner.
const OTHERS: u32 = 0o077;

/// Where a command gets the secret of a repository from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file with a passphrase, or a key file.
    PasswordFile(PathBuf),
    /// A key file.
    KeyFile(PathBuf),
    /// What a program prints: the program and its arguments, no shell.
    Command(Vec<OsString>),
    /// A recovery kit, or a file with its words or its line; `-` for what is typed.
    RecoveryKit(PathBuf),
    /// A recipient's public line: no secret, and nothing is opened by it.
    Recipient(String),
}

impl SecretSource {
    /// A program and its arguments, in one text: white space parts them, and nothing else means
    /// anything.
    pub fn command(text: &str) -> Self {
        Self::Command(text.split_whitespace().map(OsString::from).collect())
    }

    /// Reads it. A password file that others may read works, with a warning: a restore at night must
    /// not fail over a mode. A key file that others may read is refused: no Argon2id slows down
    /// who copies it.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or is no whole key file of ours alone; when the
    /// program fails; when a kit has no code.
    pub fn read(&self, cx: &Context) -> Result<SlotSecret, AppError> {
        match self {
            Self::PasswordFile(path) => {
                let found = Found::file(path, "the password file")?;
                let secret = of_text(&found.bytes, path)?;
                found.guard(&secret, path, cx.progress.as_ref())?;
                Ok(secret)
            }
            Self::KeyFile(path) => {
                let found = Found::file(path, "the key file")?;
                let text = std::str::from_utf8(&found.bytes).unwrap_or_default();
                let secret = key_file(text, path)?;
                found.guard(&secret, path, cx.progress.as_ref())?;
                Ok(secret)
            }
            Self::Recipient(text) => {
                let public = KeyText::Recipient.read(text).map_err(|source| AppError::Usage {
                    what: format!("that is no recipient: {source}"),
                    hint: "`lifeboat repo key new-recipient FILE` prints the line that begins with lifeboat-recipient-".to_owned(),
                })?;
                Ok(SlotSecret::Recipient(*public.expose()))
            }
            Self::Command(words) => {
                let bytes = printed(words, cx).map_err(|source| AppError::SecretCommand { source })?;
                of_text(&bytes, &PathBuf::from(words.first().cloned().unwrap_or_default()))
            }
            Self::RecoveryKit(path) if path.as_os_str() == "-" => {
                let text = typed(&mut std::io::stdin().lock()).map_err(|source| AppError::Unreadable {
                    what: "standard input",
                    path: path.clone(),
                    source,
                })?;
                recovery_code(&text, "what was typed")
            }
            Self::RecoveryKit(path) => {
                let found = Found::file(path, "the recovery kit")?;
                let text = std::str::from_utf8(&found.bytes).unwrap_or_default();
                let secret = recovery_code(text, &path.display().to_string())?;
                found.guard(&secret, path, cx.progress.as_ref())?;
                Ok(secret)
            }
        }
    }

    /// As [`Self::read`]; a key file that isn't there is made, and comes back with the word that it
    /// is new.
    ///
    /// # Errors
    /// As [`Self::read`]; when the file cannot be written.
    pub fn read_or_make(&self, cx: &Context) -> Result<(SlotSecret, Created), AppError> {
        let created = match self {
            Self::KeyFile(path) if !path.exists() => make_key_file(path)?,
            _ => Created::Existing,
        };
        Ok((self.read(cx)?, created))
    }
}

/// The bytes of a file with a secret, and who may read it.
struct Found {
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Found {
    fn file(path: &Path, what: &'static str) -> Result<Self, AppError> {
        let wrong = |source| AppError::Unreadable { what, path: path.to_owned(), source };
        let most = if what == "the recovery kit" { KIT_BYTES_MAX } else { SECRET_BYTES_MAX };
        let file = File::open(path).map_err(wrong)?;
        let about = file.metadata().map_err(wrong)?;
        // Room for all of it at once: a vector that grows leaves copies behind that nobody wipes.
        let room = usize::try_from(about.len().min(most)).unwrap_or_default() + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(most).read_to_end(&mut bytes).map_err(wrong)?;
        Ok(Self { bytes, mode: about.permissions().mode() })
    }

    /// Refuses a key file that others may read; warns of anything else that they may.
    fn guard(&self, secret: &SlotSecret, path: &Path, progress: &dyn Progress) -> Result<(), AppError> {
        if self.mode & OTHERS == 0 {
            return Ok(());
        }
        if matches!(secret, SlotSecret::KeyFile(_) | SlotSecret::RecipientKey(_)) {
            return Err(AppError::ExposedKey { path: path.to_owned(), mode: self.mode & 0o777 });
        }
        progress.warn(format!("others can read {}; chmod 600 it", path.display()));
        Ok(())
    }
}

/// What a text is the secret of, by what it says of itself.
fn of_text(bytes: &[u8], path: &Path) -> Result<SlotSecret, AppError> {
    if bytes.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(AppError::EmptyPassword { path: path.to_owned() });
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if KeyText::KeyFile.claims(text) || KeyText::RecipientKey.claims(text) {
        return key_file(text, path);
    }
    if KeyText::RecoveryCode.claims(text) {
        return recovery_code(text, &path.display().to_string());
    }
    Ok(SlotSecret::Passphrase(Secret::new(bytes.to_vec())))
}

/// What a key file holds: its own key, or a recipient's private part.
fn key_file(text: &str, path: &Path) -> Result<SlotSecret, AppError> {
    let key = if KeyText::RecipientKey.claims(text) {
        KeyText::RecipientKey.read(text).map(SlotSecret::RecipientKey)
    } else {
        KeyText::KeyFile.read(text).map(SlotSecret::KeyFile)
    };
    key.map_err(|source| AppError::NoKeyFile { path: path.to_owned(), source })
}

/// Makes a recipient: its private part goes into a new private file, durably, and its public line
/// comes back. A file that is there is left as it is.
///
/// # Errors
/// When the file is there or cannot be written.
pub fn make_recipient(path: &Path) -> Result<String, AppError> {
    let unwritable = |source| AppError::Unwritable { path: path.to_owned(), source };
    let private = Secret::new(crate::base::entropy::random());
    let public = agree::public(&private).map_err(|error| unwritable(std::io::Error::other(error)))?;
    let line = Zeroizing::new(format!("{}\n", *KeyText::RecipientKey.write(&private)));
    if durable::create_new(path, line.as_bytes()).map_err(unwritable)? == Created::Existing {
        return Err(unwritable(std::io::ErrorKind::AlreadyExists.into()));
    }
    if let Some(parent) = path.parent() {
        durable::sync_dir(parent).map_err(unwritable)?;
    }
    Ok(KeyText::Recipient.write(&Secret::new(public)).to_string())
}

/// The code in a kit: its line, or else its 24 words alone.
fn recovery_code(text: &str, what: &str) -> Result<SlotSecret, AppError> {
    let none = |source: Box<dyn std::error::Error + Send + Sync>| AppError::NoRecoveryCode {
        what: what.to_owned(),
        source,
    };
    match KeyText::RecoveryCode.find(text) {
        Ok(code) => Ok(SlotSecret::RecoveryCode { code, spare: spare_slot(text) }),
        Err(KeyTextError::Foreign) => {
            words::from_words(text).map(SlotSecret::recovery_code).map_err(|error| none(error.into()))
        }
        Err(error) => Err(none(error.into())),
    }
}

/// The slot's object in a kit: base64 behind its name. Whether it is whole its signature shows.
fn spare_slot(text: &str) -> Option<Vec<u8>> {
    let (_, behind) = text.split_once(SLOT_NAME)?;
    let word = behind.split_whitespace().nth(1)?;
    let end = word.find(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c)).unwrap_or(word.len());
    STANDARD.decode(&word[..end]).ok()
}

/// Lines until there are all words, a line with the code, or the end.
fn typed(input: &mut dyn BufRead) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    loop {
        let got = input.take(4096).read_line(&mut text)?;
        let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).count();
        if got == 0 || words >= WORDS || KeyText::RecoveryCode.claims(&text) || text.len() > 4096 {
            return Ok(text);
        }
    }
}

/// All that a program prints, if it ends well.
fn printed(words: &[OsString], cx: &Context) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let source = StreamSource::Command(words.to_vec());
    let stream = Stream::open(&source, cx.cancel.clone(), std::sync::Arc::clone(&cx.clock))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    stream.take(SECRET_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
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
        let (made, created) = source.read_or_make(&Context::quiet()).expect("made");
        assert_eq!(created, Created::New);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let (read, created) = source.read_or_make(&Context::quiet()).expect("read");
        assert_eq!(created, Created::Existing);
        let named = SecretSource::PasswordFile(path).read(&Context::quiet()).expect("read");
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
                let error = source.read(&Context::quiet()).unwrap_err();
                assert_eq!((error.code(), error.class()), ("E0810", Class::Usage), "{mode:o}");
            }
        }
        let open = written(folder.path(), "password", b"open\n", 0o644);
        assert!(matches!(
            SecretSource::PasswordFile(open).read(&Context::quiet()),
            Ok(SlotSecret::Passphrase(_))
        ));
    }

    #[test]
    fn a_program_prints_any_kind_of_secret_and_one_that_fails_gives_none() {
        let read = |script: &str| {
            let words = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
            SecretSource::Command(words).read(&Context::quiet())
        };
        let key = KeyText::KeyFile.write(&Secret::new([7; 32]));
        let code = KeyText::RecoveryCode.write(&Secret::new([7; 32]));
        assert!(matches!(read("echo open sesame"), Ok(SlotSecret::Passphrase(_))));
        assert!(matches!(read(&format!("echo {}", *key)), Ok(SlotSecret::KeyFile(_))));
        assert!(matches!(read(&format!("echo {}", *code)), Ok(SlotSecret::RecoveryCode { .. })));
        assert_eq!(read("echo open; exit 3").unwrap_err().code(), "E0813");
        assert_eq!(read("true").unwrap_err().code(), "E0802");
        let missing = SecretSource::Command(vec!["/no/such/program".into()]);
        assert_eq!(missing.read(&Context::quiet()).unwrap_err().code(), "E0813");
    }

    #[test]
    fn a_recovery_code_is_read_from_a_page_from_words_and_from_what_is_typed() {
        let key = Secret::new([9; 32]);
        let line = KeyText::RecoveryCode.write(&key).to_uppercase();
        let words = words::to_words(&key);
        let rows: Vec<String> = words.chunks(4).map(|row| row.join(" ")).collect();
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in
            [("page", format!("<html><b>{line}</b> and more words")), ("words", rows.join("\n"))]
        {
            let path = written(folder.path(), name, text.as_bytes(), 0o644);
            let Ok(SlotSecret::RecoveryCode { code: read, .. }) =
                SecretSource::RecoveryKit(path).read(&Context::quiet())
            else {
                panic!("{name}");
            };
            assert_eq!(read.expose(), key.expose(), "{name}");
        }
        // Typing ends with the last word, without an end of input.
        let mut input = std::io::Cursor::new(format!("{}\nnot read", rows.join("\n")));
        let text = typed(&mut input).expect("typed");
        assert!(recovery_code(&text, "what was typed").is_ok() && !text.contains("not read"));
        let path = written(folder.path(), "wrong", rows[1..].join(" ").as_bytes(), 0o600);
        let error = SecretSource::RecoveryKit(path).read(&Context::quiet()).unwrap_err();
        assert_eq!((error.code(), error.class()), ("E0814", Class::WrongKey));
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
            let error = SecretSource::PasswordFile(path).read(&Context::quiet()).unwrap_err();
            assert_eq!((error.code(), error.class()), ("E0811", Class::WrongKey), "{name}");
            assert!(!format!("{error:?} {error}").contains("lifeboat-key-1"), "{error:?}");
        }
        let path = written(folder.path(), "password", b"a passphrase\n", 0o600);
        assert_eq!(SecretSource::KeyFile(path).read(&Context::quiet()).unwrap_err().code(), "E0811");
    }
}

//! The key that signs heads and reports: random, made at first use, in files that openssl reads.
//!
//! The private key is PKCS#8 PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it,
//! readable by its owner only; the public key is SubjectPublicKeyInfo PEM. It is never derived
//! from a repository's key and signs only what begins with `lifeboat.evidence/1` or `{`.
//! Changing the key of a log that exists is not supported yet.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::EvidenceError;
use super::sha256;
use crate::base::durable::{self, Created};
use crate::base::entropy;
use crate::codec::sign::{SIGNATURE_BYTES, Signer};

/// DER before the 32 bytes of a private Ed25519 key (RFC 8410, section 7).
const PRIVATE_DER: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// DER before the 32 bytes of a public Ed25519 key (RFC 8410, section 4).
const PUBLIC_DER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// A PEM file of ours has about 120 bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// A public key: checks heads and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its 32 bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its 32 bytes as hexadecimal digits, as the log's first line has them.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// SHA-256 of the DER form: what `openssl pkey -pubin -outform DER | sha256sum` prints.
    pub fn fingerprint(&self) -> String {
        sha256::hex(&self.der())
    }

    /// The PEM file, byte for byte as openssl writes it.
    pub fn to_pem(self) -> String {
        pem("PUBLIC KEY", &self.der())
    }

    /// Reads [`PublicKey::to_pem`]'s form.
    pub fn from_pem(text: &str) -> Option<Self> {
        let der = un_pem("PUBLIC KEY", text)?;
        Some(Self(der.strip_prefix(PUBLIC_DER.as_slice())?.try_into().ok()?))
    }

    /// Whether a signature over these bytes is this key's.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        crate::codec::sign::verify_bytes(&self.0, bytes, signature).is_ok()
    }

    fn der(&self) -> Vec<u8> {
        [PUBLIC_DER.as_slice(), &self.0].concat()
    }
}

/// The signing key of one evidence folder.
#[derive(Debug)]
pub struct EvidenceKey(Signer);

impl EvidenceKey {
    /// Makes a random key. An existing file is left alone and loaded.
    ///
    /// # Errors
    /// When the file cannot be written, or what is there is no usable key.
    pub fn create(path: &Path) -> Result<Self, EvidenceError> {
        let seed = Zeroizing::new(entropy::random::<32>());
        let der = Zeroizing::new([PRIVATE_DER.as_slice(), seed.as_slice()].concat());
        let text = Zeroizing::new(pem("PRIVATE KEY", &der));
        let fail = |error| EvidenceError::io("create", path)(error);
        if let Some(parent) = path.parent() {
            durable::create_dir_all(parent).map_err(fail)?;
        }
        match durable::create_new(path, text.as_bytes()).map_err(fail)? {
            Created::New => {
                durable::sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(fail)?;
                Ok(Self(Signer::from_seed(&seed)))
            }
            Created::Existing => Self::load(path),
        }
    }

    /// Loads a key that this or openssl made.
    ///
    /// # Errors
    /// Usage: others can read the file, or it holds no Ed25519 key.
    pub fn load(path: &Path) -> Result<Self, EvidenceError> {
        let bad = |what| EvidenceError::BadKey { path: path.to_owned(), what };
        let file = std::fs::File::open(path).map_err(EvidenceError::io("open", path))?;
        let metadata = file.metadata().map_err(EvidenceError::io("read", path))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(bad("group or others may read it"));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(EvidenceError::io("read", path))?;
        let der = un_pem("PRIVATE KEY", &text).map(Zeroizing::new).ok_or_else(|| bad("not PKCS#8 PEM"))?;
        let seed = der
            .strip_prefix(PRIVATE_DER.as_slice())
            .and_then(|seed| <&[u8; 32]>::try_from(seed).ok())
            .ok_or_else(|| bad("not an Ed25519 key"))?;
        Ok(Self(Signer::from_seed(seed)))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.public())
    }

    /// Signs a head or a report.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        debug_assert!(bytes.starts_with(super::head::MAGIC.as_bytes()) || bytes.starts_with(b"{"));
        self.0.sign_bytes(bytes)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    // Our keys fit one line of the 64 characters that RFC 7468 allows.
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn un_pem(label: &str, text: &str) -> Option<Vec<u8>> {
    let inside = text
        .trim_end()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?
        .strip_suffix(&format!("-----END {label}-----"))?;
    STANDARD.decode(inside.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_private_and_comes_back_the_same() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("keys/evidence.key");
        let made = EvidenceKey::create(&path).expect("made").public();
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(EvidenceKey::load(&path).expect("loaded").public(), made);
        assert_eq!(EvidenceKey::create(&path).expect("kept").public(), made);
        assert_eq!(PublicKey::from_pem(&made.to_pem()), Some(made));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("evidence.key");
        drop(EvidenceKey::create(&path).expect("made"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        let error = EvidenceKey::load(&path).expect_err("refused");
        assert!(matches!(error, EvidenceError::BadKey { .. }), "{error}");
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let path = dir.path().join("key");
            drop(std::fs::remove_file(&path));
            durable::create_new(&path, text.as_bytes()).expect("written");
            assert!(matches!(EvidenceKey::load(&path), Err(EvidenceError::BadKey { .. })), "{text:?}");
        }
    }
}

//! Certificates that nobody here vouches for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A key and a certificate that it signed itself, made in a folder.
pub(crate) fn self_signed(dir: &Path, subject: &str, extensions: &[&str]) -> (PathBuf, PathBuf) {
    let (key, certificate) = (dir.join("certificate.key"), dir.join("certificate.pem"));
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", subject])
        .args(extensions.iter().flat_map(|extension| ["-addext", extension]))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null());
    assert!(command.status().is_ok_and(|status| status.success()), "this test needs openssl");
    (key, certificate)
}

//! When what opens a store stops doing so: credentials that say how long they hold, and the certificates
//! of a file. Nothing of a secret leaves this room.

use std::io;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::credentials;
use super::trust;
use crate::base::clock::Timestamp;

/// What `aws configure export-credentials --format env` writes beside a session's keys.
const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";
/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// When the credentials of a file end, where the file says so.
///
/// # Errors
/// Whatever the file system says; permission denied, when others may read the file.
pub fn credentials_end(path: &Path) -> io::Result<Option<Timestamp>> {
    let text = credentials::read_text(path)?;
    Ok(credentials::value_of(&text, EXPIRATION).and_then(|end| Timestamp::parse_rfc3339(&end)))
}

/// When the first of the certificates in a file ends; `None` when there is none that can be read.
///
/// # Errors
/// Whatever the file system says.
pub fn certificates_end(path: &Path) -> io::Result<Option<Timestamp>> {
    let pem = trust::read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    Ok(certificates.filter_map(|certificate| not_after(&certificate)).min())
}

/// The end of a certificate's validity: RFC 5280, 4.1.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (whole, _) = value_of(certificate, SEQUENCE)?;
    let (mut fields, _) = value_of(whole, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (validity, _) = value_of(fields, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// `YYMMDDHHMMSSZ`, or with four digits of the year.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let digits = rest.strip_suffix('Z').filter(|digits| digits.len() == 10)?;
    let part = |at: usize| digits.get(at..at + 2);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    Timestamp::parse_rfc3339(&format!("{year:04}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The value of the first element, which has to have this tag, and what follows it.
fn value_of(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = element(bytes)?;
    (tag == wanted).then_some((value, rest))
}

/// The first element: its tag, its value, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (long, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (long.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    fn certificate(dir: &Path, name: &str, days: &str) -> Vec<u8> {
        let out = dir.join(name);
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", days, "-subj", "/CN=store", "-keyout"])
            .args([dir.join("key"), "-out".into(), out.clone()])
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "this test needs openssl");
        std::fs::read(out).expect("made")
    }

    fn said(path: &Path) -> String {
        let command = ["x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in"];
        let output = Command::new("openssl").args(command).arg(path).output().expect("openssl");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim().trim_start_matches("notAfter=").replacen(' ', "T", 1)
    }

    #[test]
    fn the_first_certificate_of_a_file_to_end_is_told_as_openssl_reads_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let short = certificate(dir.path(), "short", "20");
        // Beyond 2049 a certificate writes its years with four digits.
        let long = certificate(dir.path(), "long", "36500");
        let both = dir.path().join("both");
        std::fs::write(&both, [long, short].concat()).expect("written");
        for (file, like) in [("short", "short"), ("long", "long"), ("both", "short")] {
            let end = certificates_end(&dir.path().join(file)).expect("read").expect("an end");
            let expected = Timestamp::parse_rfc3339(&said(&dir.path().join(like))).expect("a time");
            assert_eq!(end, expected, "{file}");
        }
        assert!(said(&dir.path().join("long")).starts_with("21"));
        std::fs::write(&both, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
            .expect("written");
        assert_eq!(certificates_end(&both).expect("read"), None);
    }

    #[test]
    fn no_bytes_are_more_than_no_certificate() {
        let dir = tempfile::tempdir().expect("a folder");
        certificate(dir.path(), "one", "20");
        let pem = std::fs::read(dir.path().join("one")).expect("read");
        let der = CertificateDer::from_pem_slice(&pem).expect("one").to_vec();
        assert!(not_after(&der).is_some());
        for end in 0..der.len() {
            let _ = not_after(&der[..end]);
            for byte in [0, 0x30, 0x7f, 0x84, 0xff] {
                let mut bad = der.clone();
                bad[end] = byte;
                let _ = not_after(&bad);
            }
        }
    }

    #[test]
    fn credentials_that_say_when_they_end_are_believed_and_others_say_nothing() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let set = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("set");
        };
        set(0o600);
        let keys = "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n";
        std::fs::write(file.path(), keys).expect("written");
        assert_eq!(credentials_end(file.path()).expect("read"), None);
        let text = format!("{keys}export AWS_CREDENTIAL_EXPIRATION=2026-11-30T10:00:00+02:00\n");
        std::fs::write(file.path(), text).expect("written");
        let end = Timestamp::parse_rfc3339("2026-11-30T08:00:00Z");
        assert_eq!(credentials_end(file.path()).expect("read"), end);
        set(0o644);
        assert!(credentials_end(file.path()).is_err());
    }
}

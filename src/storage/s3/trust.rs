//! Whose certificates a store may show: those of the system's authorities, or of one file.
//!
//! The file is `ca_file` of the place, else `AWS_CA_BUNDLE`, the variable that other S3 tools know.
//! It takes the place of the system's authorities: who names the one authority of a private store
//! wants no other to vouch for it. A place's own file holds for the store alone, the variable also
//! for whoever is asked for credentials.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::options::S3Options;
use crate::storage::contract::StorageError;

/// A system's whole bundle has about 250 KiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Clients that trust a file instead of the system; `None` where the system is trusted.
#[derive(Default)]
pub(super) struct Trust {
    /// For the store.
    pub(super) store: Option<SharedHttpClient>,
    /// For whoever gives credentials.
    pub(super) credentials: Option<SharedHttpClient>,
}

/// Finds out whom to trust.
///
/// # Errors
/// `BadUrl` when the file can't be read or holds no certificate of an authority.
pub(super) fn of(options: &S3Options, label: &str) -> Result<Trust, StorageError> {
    let bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let client = |path: &Path, from: &str| {
        let wrong = |reason: String| StorageError::BadUrl {
            url: label.to_owned(),
            reason: format!("{from} {}: {reason}", path.display()),
        };
        let pem = read(path).map_err(|error| wrong(error.to_string()))?;
        check(&pem).map_err(wrong)?;
        let store = TrustStore::empty().with_pem_certificate(pem);
        let context = TlsContext::builder().with_trust_store(store).build();
        let context = context.map_err(|error| wrong(error.to_string()))?;
        let tls = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        Ok(tls.tls_context(context).build_https())
    };
    let credentials = bundle.map(|path| client(&path, "AWS_CA_BUNDLE")).transpose()?;
    let store = options.ca_file.as_deref().map(|path| client(path, "the certificate file")).transpose()?;
    Ok(Trust { store: store.or_else(|| credentials.clone()), credentials })
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The SDK's client ends the process over certificates that it cannot use: it gets none.
fn check(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is no PEM file: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate in it is no authority's: {error}"))?;
    }
    if roots.is_empty() {
        Err("it holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_authority_is_refused_with_its_name() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut options = S3Options::new("bucket");
        options.ca_file = Some(file.path().to_owned());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        for text in ["", "no certificate", broken, cut] {
            std::fs::write(file.path(), text).expect("written");
            let error = of(&options, "s3://bucket").err().expect(text);
            assert!(matches!(error, StorageError::BadUrl { .. }), "{text:?}: {error}");
            assert!(error.to_string().contains(file.path().to_str().expect("plain")), "{error}");
        }
        options.ca_file = Some("/nonexistent/ca.pem".into());
        assert!(of(&options, "s3://bucket").is_err());
    }
}

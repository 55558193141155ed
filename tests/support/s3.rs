//! The S3 server that `scripts/with-s3` started.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use lifeboat::base::entropy;
use lifeboat::storage::s3::{S3Options, S3Storage};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: this test needs the S3 server that `scripts/test` (or `scripts/with-s3 COMMAND`) starts")
    })
}

/// `http://127.0.0.1:PORT`.
pub(crate) fn endpoint() -> String {
    variable("LIFEBOAT_TEST_S3_ENDPOINT")
}

/// `https://127.0.0.1:PORT`: the same server.
pub(crate) fn https_endpoint() -> String {
    variable("LIFEBOAT_TEST_S3_HTTPS_ENDPOINT")
}

/// The certificate of the authority that signed the server's.
pub(crate) fn ca_file() -> PathBuf {
    variable("LIFEBOAT_TEST_S3_CA_FILE").into()
}

/// A private file with credentials that the server takes.
pub(crate) fn credentials_file() -> PathBuf {
    variable("LIFEBOAT_TEST_S3_CREDENTIALS_FILE").into()
}

/// The same over TLS.
pub(crate) fn https_options() -> S3Options {
    S3Options { endpoint: Some(https_endpoint()), ca_file: Some(ca_file()), ..options() }
}

/// A place in the server's bucket that nobody else uses.
pub(crate) fn options() -> S3Options {
    static PLACES: AtomicU32 = AtomicU32::new(0);
    let mut options = S3Options::new(variable("LIFEBOAT_TEST_S3_BUCKET"));
    let place = PLACES.fetch_add(1, Ordering::Relaxed);
    options.prefix = format!("t/{}-{place}", hex::encode(entropy::random::<6>()));
    options.endpoint = Some(endpoint());
    options.credentials_file = Some(credentials_file());
    options
}

/// An empty storage on the server.
pub(crate) fn storage() -> S3Storage {
    S3Storage::open(options()).expect("the test server's credentials are there")
}

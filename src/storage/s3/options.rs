//! Where a bucket is and how to talk to it.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::lock::LockRule;

/// Where a bucket is and how to talk to it. Holds no secret: credentials come from a file or from
/// the usual chain (environment, profile, container, instance role) when the storage is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket, which must exist.
    pub bucket: String,
    /// Where in the bucket, without slashes at its ends; empty for all of it.
    pub prefix: String,
    /// `https://host[:port]` of a store other than AWS.
    pub endpoint: Option<String>,
    /// The region; without one the chain's, and `us-east-1` when there is an endpoint.
    pub region: Option<String>,
    /// `https://host/bucket/` instead of `https://bucket.host/`; by default wherever an endpoint
    /// is given, because few stores outside AWS have a wildcard name and certificate.
    pub path_style: Option<bool>,
    /// A private file of `AWS_ACCESS_KEY_ID=...` lines, instead of the chain.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that may vouch for the store, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How create-only is held.
    pub create: Create,
    /// Every object that is put is locked so. The bucket must have Object Lock.
    pub lock: Option<LockRule>,
    /// The bucket, which must keep versions, is read as it was then; nothing can be written.
    pub as_of: Option<Timestamp>,
    /// How long each wait may last.
    pub timeouts: Timeouts,
}

impl S3Options {
    /// A bucket of AWS with everything else by default.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: None,
            credentials_file: None,
            ca_file: None,
            create: Create::Conditional,
            lock: None,
            as_of: None,
            timeouts: Timeouts::default(),
        }
    }

    /// Whether requests travel in the open. Then each body is signed as well.
    pub fn is_plain_text(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// The place for messages: `s3://bucket/prefix`.
    pub fn label(&self) -> String {
        let Self { bucket, prefix, .. } = self;
        if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") }
    }
}

/// How create-only is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// `If-None-Match: *`, decided by the store. A store that answers that it doesn't know the
    /// header is treated as `LookFirst` from then on.
    Conditional,
    /// Look, then put: for stores without conditional create. Two creators at the same moment may
    /// both succeed; equal names have equal bytes, so only `repo.fmt` could suffer.
    LookFirst,
}

/// How long each wait of one request may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until the answer begins, and between two pieces of its body.
    pub read: Duration,
    /// For everything, body included: 512 MiB at 1 MiB/s still pass.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(60),
            operation: Duration::from_secs(600),
        }
    }
}

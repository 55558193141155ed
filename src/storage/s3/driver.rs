//! The driver: one request an operation.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumMode, ObjectLockEnabled};
use bytes::{Bytes, BytesMut};

use super::credentials;
use super::failure::{Failure, root_cause};
use super::locks::{date, mode_of};
use super::options::{Create, S3Options};
use super::pace::{Pace, Upload};
use super::runtime::block_on;
use super::trust;
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::limits::PACK_BYTES_MAX;
use crate::storage::contract::{Distance, Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::guard::Guard;
use crate::storage::throttle::{Direction, Throttle};

/// No object of any store is as long.
const OBJECT_BYTES_MAX: u64 = 1 << 50;

/// A bucket, or a prefix in one.
pub struct S3Storage {
    pub(super) client: Client,
    pub(super) options: S3Options,
    pub(super) label: String,
    /// Put by a look first, because the options say so or the store doesn't know the condition.
    look_first: AtomicBool,
    /// Whether some answer has shown that the bucket exists.
    bucket_seen: AtomicBool,
    throttle: Option<Arc<Throttle>>,
}

impl S3Storage {
    /// Finds credentials and makes a client. The bucket isn't asked for anything yet.
    ///
    /// # Errors
    /// `Denied` without credentials; `BadUrl`, also for a file of certificates that is none; `Io`.
    pub fn open(options: S3Options) -> Result<Self, StorageError> {
        let label = options.label();
        let trust = trust::of(&options, &label)?;
        let sdk = block_on(credentials::load(&options, trust.credentials, &label)).map_err(|source| {
            StorageError::Io {
                place: label.clone(),
                action: "starting the network threads".to_owned(),
                source,
            }
        })??;
        if sdk.region().is_none() {
            return Err(StorageError::BadUrl { url: label, reason: "it needs a region".to_owned() });
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(options.timeouts.connect)
            .read_timeout(options.timeouts.read)
            .operation_timeout(options.timeouts.operation)
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(&sdk)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .force_path_style(options.path_style.unwrap_or(options.endpoint.is_some()))
            // We send our own checksum of each object; anything else would only add trailers
            // that some stores refuse.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenSupported);
        if let Some(client) = trust.store {
            config = config.http_client(client);
        }
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            label,
            look_first: AtomicBool::new(options.create == Create::LookFirst),
            bucket_seen: AtomicBool::new(false),
            throttle: None,
            options,
        })
    }

    /// The same, with bodies that flow no faster than this.
    #[must_use]
    pub fn throttled(self, throttle: Option<Arc<Throttle>>) -> Self {
        Self { throttle, ..self }
    }

    /// The key of an object in the bucket.
    pub(super) fn key(&self, name: &str) -> String {
        let prefix = &self.options.prefix;
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
    }

    pub(super) fn call<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.call_paced(None, future)
    }

    /// As `call`; the time for which a limit held bytes back comes on top.
    fn call_paced<T>(
        &self,
        pace: Option<&Pace>,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let limited = async {
            // The SDK's own limit doesn't cover the body of an answer.
            let limit = self.options.timeouts.operation;
            let mut future = std::pin::pin!(future);
            let (mut time, mut given) = (limit, Duration::ZERO);
            loop {
                if let Ok(outcome) = tokio::time::timeout(time, future.as_mut()).await {
                    return outcome;
                }
                let held = pace.map(Pace::held).unwrap_or_default();
                if held <= given {
                    let all = limit.saturating_add(given).as_secs();
                    return Err(Failure::Transient(format!("not done after {all} s"), None));
                }
                (time, given) = (held - given, held);
            }
        };
        let outcome = block_on(limited).unwrap_or_else(|error| Err(Failure::Other(error.to_string())));
        if outcome.is_ok() {
            self.bucket_seen.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// An answer to a HEAD has no body, so it can't say whether the object or the bucket is missing.
    fn bucket_exists(&self) -> Result<bool, Failure> {
        if self.bucket_seen.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let head = self.client.head_bucket().bucket(&self.options.bucket).send();
        match self.call(async { head.await.map_err(Failure::from) }) {
            Ok(_) => Ok(true),
            Err(Failure::Absent | Failure::NoBucket) => Ok(false),
            // May be forbidden to those who may read and write objects.
            Err(Failure::Denied(_)) => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    fn put(&self, name: &ObjectName, bytes: Bytes, create: Create) -> Result<(), Failure> {
        let request = self
            .client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.key(name.as_str()))
            .checksum_crc32_c(base64_of(crc32c::crc32c(&bytes).to_be_bytes()))
            .set_if_none_match((create == Create::Conditional).then(|| "*".to_owned()))
            .set_object_lock_mode(self.options.lock.map(|rule| mode_of(rule.mode)))
            .set_object_lock_retain_until_date(
                self.options.lock.map(|rule| date(rule.until(SystemClock::new().now()))),
            )
            .body(ByteStream::from(bytes.clone()));
        let mut request = request.customize();
        // TLS protects the body on the way; a second SHA-256 of it costs 0.57 CPU s a GB.
        if !self.options.is_plain_text() {
            request = request.disable_payload_signing();
        }
        let pace = Pace::of(self.throttle.as_ref(), Direction::Up);
        if let Some(pace) = &pace {
            let upload = Upload { bytes, pace: pace.clone() };
            request = request.config_override(Pace::settings(Direction::Up)).interceptor(upload);
        }
        let sent = self.call_paced(pace.as_ref(), async { request.send().await.map_err(Failure::from) });
        match sent {
            Err(_) if pace.is_some_and(|pace| pace.is_cancelled()) => Err(Failure::Cancelled),
            sent => sent.map(drop),
        }
    }

    fn create(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, Failure> {
        if !self.look_first.load(Ordering::Relaxed) {
            match self.put(name, bytes.clone(), Create::Conditional) {
                Ok(()) => return Ok(Put::Created),
                Err(Failure::Exists) => return Ok(Put::Existing),
                Err(Failure::Unknown(_)) => self.look_first.store(true, Ordering::Relaxed),
                Err(failure) => return Err(failure),
            }
        }
        if self.stat(name)?.is_some() {
            return Ok(Put::Existing);
        }
        self.put(name, bytes, Create::LookFirst).map(|()| Put::Created)
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<Stat>, Failure> {
        if let Some(at) = self.options.as_of {
            let version = self.version_at(name, at)?;
            return Ok(version.map(|v| Stat { name: name.clone(), bytes: v.bytes, modified: v.modified }));
        }
        let request = self.client.head_object().bucket(&self.options.bucket).key(self.key(name.as_str()));
        match self.call(async { request.send().await.map_err(Failure::from) }) {
            Ok(found) => {
                let bytes = found.content_length().and_then(|bytes| u64::try_from(bytes).ok());
                let bytes = bytes.ok_or_else(|| Failure::Other("the answer has no length".to_owned()))?;
                Ok(Some(Stat { name: name.clone(), bytes, modified: modified(found.last_modified()) }))
            }
            Err(Failure::Absent) if self.bucket_exists()? => Ok(None),
            Err(Failure::Absent) => Err(Failure::NoBucket),
            Err(failure) => Err(failure),
        }
    }

    fn read(&self, name: &ObjectName, span: Span) -> Result<Result<Bytes, u64>, Failure> {
        if matches!(span, Span::Range { len: 0, .. } | Span::Last { len: 0 }) {
            // No bytes are wanted, but an absent object must still say so.
            return self.stat(name)?.map(|_| Ok(Bytes::new())).ok_or(Failure::Absent);
        }
        let version = match self.options.as_of {
            Some(at) => self.version_at(name, at)?.ok_or(Failure::Absent)?.id,
            None => None,
        };
        let request = self
            .client
            .get_object()
            .bucket(&self.options.bucket)
            .key(self.key(name.as_str()))
            .set_version_id(version)
            .set_range(range_header(span))
            .checksum_mode(ChecksumMode::Enabled)
            .customize();
        let pace = Pace::of(self.throttle.as_ref(), Direction::Down);
        let request = match &pace {
            Some(_) => request.config_override(Pace::settings(Direction::Down)),
            None => request,
        };
        let read = self.call_paced(pace.as_ref(), async {
            let answer = request.send().await.map_err(Failure::from)?;
            receive(answer, span, self.options.timeouts.read, pace.as_ref()).await
        });
        match read {
            Err(Failure::BeyondEnd) => Ok(Ok(Bytes::new())),
            read => read,
        }
    }
}

impl S3Storage {
    /// What was can't be changed.
    fn refuse_in_the_past(&self, action: &str, name: &ObjectName) -> Result<(), StorageError> {
        match self.options.as_of {
            Some(_) => {
                Err(StorageError::ReadOnly { place: self.label.clone(), action: format!("{action} {name}") })
            }
            None => Ok(()),
        }
    }
}

/// The `Range` header of a span that is not empty; HTTP cannot express one that is.
fn range_header(span: Span) -> Option<String> {
    match span {
        Span::Whole => None,
        Span::Range { offset, len } => match offset.saturating_add(len) - 1 {
            // Some stores count in 63 bits.
            last if last >= OBJECT_BYTES_MAX => Some(format!("bytes={}-", offset.min(OBJECT_BYTES_MAX))),
            last => Some(format!("bytes={offset}-{last}")),
        },
        Span::Last { len } => Some(format!("bytes=-{}", len.min(OBJECT_BYTES_MAX))),
    }
}

/// Reads the body of an answer: exactly as many bytes as it announced, which must be what was
/// asked for. `Err` inside is the length of an object that is too long to be read.
async fn receive(
    mut answer: GetObjectOutput,
    span: Span,
    pause: Duration,
    pace: Option<&Pace>,
) -> Result<Result<Bytes, u64>, Failure> {
    let announced = answer.content_length().and_then(|bytes| u64::try_from(bytes).ok());
    let announced =
        announced.ok_or_else(|| Failure::Transient("the answer has no length".to_owned(), None))?;
    check_span(span, announced, answer.content_range())?;
    let capacity = match usize::try_from(announced) {
        Ok(capacity) if capacity <= PACK_BYTES_MAX => capacity,
        _ => return Ok(Err(announced)),
    };
    let mut bytes = BytesMut::with_capacity(capacity);
    loop {
        let piece = tokio::time::timeout(pause, answer.body.next()).await;
        match piece {
            Ok(Some(Ok(piece))) if piece.len() <= capacity - bytes.len() => {
                bytes.extend_from_slice(&piece);
                if let Some(pace) = pace {
                    pace.came(piece.len()).await?;
                }
            }
            Ok(Some(Ok(_))) => {
                return Err(Failure::Transient("more bytes came than announced".to_owned(), None));
            }
            Ok(Some(Err(error))) => {
                return Err(Failure::Transient(format!("the bytes broke off: {}", root_cause(&error)), None));
            }
            Ok(None) if bytes.len() == capacity => return Ok(Ok(bytes.freeze())),
            Ok(None) => return Err(Failure::Transient("fewer bytes came than announced".to_owned(), None)),
            Err(_) => return Err(Failure::Transient("the bytes stopped coming".to_owned(), None)),
        }
    }
}

/// A store that ignores or misreads the range must not pass other bytes off as the ones wanted.
fn check_span(span: Span, announced: u64, content_range: Option<&str>) -> Result<(), Failure> {
    let wrong = || Failure::Other("the store sent another range than was asked for".to_owned());
    let parsed = content_range.and_then(|text| {
        let (bytes, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    let total = match (span, parsed) {
        (Span::Whole, None) => return Ok(()),
        // Without a content range the answer is the whole object.
        (_, None) => announced,
        (_, Some((_, _, total))) => total,
    };
    let (offset, len) = span.within(total);
    let sent = parsed.map_or(0, |(first, _, _)| first);
    if (sent, announced) == (offset, len) { Ok(()) } else { Err(wrong()) }
}

pub(super) fn modified(at: Option<&DateTime>) -> Timestamp {
    at.and_then(|at| at.to_millis().ok()).map_or_else(Timestamp::default, Timestamp::from_unix_ms)
}

/// Four bytes in base64, as the checksum header wants them (RFC 4648 section 4).
fn base64_of(bytes: [u8; 4]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u64::from(u32::from_be_bytes(bytes)) << 4;
    let digit =
        |at: u32| char::from(DIGITS[usize::try_from(bits >> (6 * at) & 63).expect("6 bits are an index")]);
    (0..6).rev().map(digit).chain("==".chars()).collect()
}

impl Storage for S3Storage {
    fn label(&self) -> &str {
        &self.label
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.refuse_in_the_past("writing", name)?;
        self.create(name, bytes).map_err(|failure| match failure {
            // There is no other reason for a 404 to a PUT.
            Failure::Absent => Failure::NoBucket.into_error(&self.label, "writing", Some(name)),
            failure => failure.into_error(&self.label, "writing", Some(name)),
        })
    }

    /// A PUT without a condition; where the bucket keeps versions, the old one stays.
    fn replace(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StorageError> {
        self.refuse_in_the_past("writing", name)?;
        self.put(name, bytes, Create::LookFirst).map_err(|failure| match failure {
            Failure::Absent => Failure::NoBucket.into_error(&self.label, "writing", Some(name)),
            failure => failure.into_error(&self.label, "writing", Some(name)),
        })
    }

    fn get(&self, name: &ObjectName, span: Span, _read: Read) -> Result<Bytes, StorageError> {
        let read = self.read(name, span).map_err(|f| f.into_error(&self.label, "reading", Some(name)))?;
        read.map_err(|bytes| StorageError::TooLong { place: self.label.clone(), name: name.clone(), bytes })
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.stat(name).map_err(|f| f.into_error(&self.label, "looking at", Some(name)))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.list_after(prefix, None, visit)
    }

    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let listed = match self.options.as_of {
            Some(at) => self.list_as_of(prefix, after, at, visit),
            None => self.list_pages(prefix, after, visit),
        };
        listed.map_err(|failure| failure.into_error(&self.label, &format!("listing `{prefix}`"), None))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.refuse_in_the_past("deleting", name)?;
        let request = self.client.delete_object().bucket(&self.options.bucket).key(self.key(name.as_str()));
        match self.call(async { request.send().await.map_err(Failure::from) }) {
            Ok(_) | Err(Failure::Absent) => Ok(()),
            Err(failure) => Err(failure.into_error(&self.label, "deleting", Some(name))),
        }
    }

    /// The provider acknowledged each object with our checksum; nothing is left to do.
    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn distance(&self) -> Distance {
        Distance::Far
    }

    fn guard(&self) -> Option<&dyn Guard> {
        self.options.as_of.is_none().then_some(self)
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        let bucket = &self.options.bucket;
        let versioning = self.client.get_bucket_versioning().bucket(bucket);
        let versioning = self.call(async { versioning.send().await.map_err(Failure::from) });
        let lock = self.client.get_object_lock_configuration().bucket(bucket);
        let lock = self.call(async { lock.send().await.map_err(Failure::from) });
        let versioning = known(versioning.map(|v| v.status() == Some(&BucketVersioningStatus::Enabled)));
        let object_lock = known(lock.map(|lock| {
            let configuration = lock.object_lock_configuration();
            configuration.and_then(|c| c.object_lock_enabled()) == Some(&ObjectLockEnabled::Enabled)
        }));
        let to_error = |f: Failure| f.into_error(&self.label, "asking for the bucket's settings", None);
        Ok(Facts {
            versioning: versioning.map_err(to_error)?,
            object_lock: object_lock.map_err(to_error)?,
            checksums: true,
            looks_first: self.look_first.load(Ordering::Relaxed),
        })
    }
}

/// Many credentials may not ask, and many stores don't know the question: unknown. Stores without
/// a lock on a bucket answer that its configuration is absent.
fn known(answer: Result<bool, Failure>) -> Result<Option<bool>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Absent) => Ok(Some(false)),
        Err(Failure::Denied(_) | Failure::Unknown(_) | Failure::Other(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_in_the_form_the_header_wants() {
        // RFC 4648 section 10 has no four-byte vector; these are from `printf ... | base64`.
        assert_eq!(base64_of([0, 0, 0, 0]), "AAAAAA==");
        assert_eq!(base64_of([0xff; 4]), "/////w==");
        assert_eq!(base64_of(*b"foob"), "Zm9vYg==");
    }

    #[test]
    fn bytes_of_another_range_are_refused() {
        let range = Span::Range { offset: 5, len: 10 };
        assert!(check_span(range, 10, Some("bytes 5-14/100")).is_ok());
        assert!(check_span(range, 3, Some("bytes 5-7/8")).is_ok());
        assert!(check_span(range, 10, Some("bytes 4-13/100")).is_err());
        assert!(check_span(range, 9, Some("bytes 5-13/100")).is_err());
        assert!(check_span(range, 100, None).is_err(), "the range was ignored");
        assert!(check_span(Span::Last { len: 4 }, 4, Some("bytes 96-99/100")).is_ok());
        assert!(check_span(Span::Last { len: 4 }, 4, Some("bytes 0-3/100")).is_err());
        assert!(check_span(Span::Last { len: 4 }, 3, None).is_ok(), "the object is shorter");
        assert!(check_span(Span::Whole, 3, None).is_ok());
        assert!(check_span(Span::Whole, 3, Some("bytes 1-3/4")).is_err());
    }
}

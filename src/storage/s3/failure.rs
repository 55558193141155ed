//! What the SDK's errors mean to us, in one line for people.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::storage::contract::{ObjectName, StorageError};

/// A store that asks for a longer pause than this is asked again all the same.
const WAIT_SECONDS_MAX: u64 = 300;

/// What a request failed with, before it is known what that means for the operation.
#[derive(Debug)]
pub(super) enum Failure {
    /// The object, or on a HEAD perhaps the bucket, isn't there.
    Absent,
    /// The bucket isn't there.
    NoBucket,
    /// The condition of a conditional create doesn't hold: the object exists.
    Exists,
    /// The range begins behind the object's end.
    BeyondEnd,
    /// Nothing is implemented by that name.
    Unknown(String),
    /// Refused.
    Denied(String),
    /// Full.
    NoSpace,
    /// Not a matter of time: a certificate that isn't trusted.
    Untrusted(String),
    /// Somebody asked to stop.
    Cancelled,
    /// Passing.
    Transient(String, Option<Duration>),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// As the contract's error, where absence and existence have no special meaning.
    pub(super) fn into_error(self, place: &str, action: &str, name: Option<&ObjectName>) -> StorageError {
        let place = place.to_owned();
        let action = name.map_or_else(|| action.to_owned(), |name| format!("{action} {name}"));
        match (self, name) {
            (Self::Absent, Some(name)) => StorageError::NotFound { place, name: name.clone() },
            (Self::Absent | Self::NoBucket, _) => StorageError::NoPlace { place, what: "bucket" },
            (Self::NoSpace, Some(name)) => StorageError::NoSpace { place, name: name.clone() },
            (Self::Denied(reason), _) => StorageError::Denied { place, action, reason },
            (Self::Untrusted(reason), _) => StorageError::Untrusted { place, reason },
            (Self::Cancelled, _) => StorageError::Cancelled { place },
            (Self::Transient(reason, wait), _) => StorageError::Transient { place, action, reason, wait },
            (Self::Unknown(reason) | Self::Other(reason), _) => {
                StorageError::Unsupported { place, reason: format!("{action} failed: {reason}") }
            }
            (Self::Exists | Self::BeyondEnd | Self::NoSpace, _) => StorageError::Unsupported {
                place,
                reason: format!("{action} got an answer that doesn't fit"),
            },
        }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::TimeoutError(_) => Self::Transient("no answer in time".to_owned(), None),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(connector) if connector.is_timeout() => {
                    Self::Transient("no answer in time".to_owned(), None)
                }
                Some(connector) => of_connection(root_cause(connector)),
                None => of_connection(root_cause(&error)),
            },
            SdkError::ResponseError(_) => Self::Transient(
                format!("the answer broke off or makes no sense: {}", root_cause(&error)),
                None,
            ),
            SdkError::ServiceError(service) => {
                let raw = service.raw();
                let wait = raw.headers().get("retry-after").and_then(|text| text.trim().parse().ok());
                of_answer(&Answer {
                    status: raw.status().as_u16(),
                    code: service.err().code().unwrap_or(""),
                    message: service.err().message().unwrap_or(""),
                    wait: wait.map(|seconds: u64| Duration::from_secs(seconds.min(WAIT_SECONDS_MAX))),
                })
            }
            _ => Self::Other(root_cause(&error)),
        }
    }
}

/// What a store answered instead of doing what it was asked.
struct Answer<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    wait: Option<Duration>,
}

impl Answer<'_> {
    /// `AccessDenied: you may not (HTTP 403)`.
    fn text(&self) -> String {
        let words: Vec<&str> =
            [self.code, self.message].into_iter().filter(|word| !word.is_empty()).collect();
        let text = one_line(&words.join(": "));
        if text.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("{text} (HTTP {})", self.status)
        }
    }
}

/// Codes before statuses: stores agree on the codes, and some send them with odd statuses.
fn of_answer(answer: &Answer<'_>) -> Failure {
    match (answer.code, answer.status) {
        ("NoSuchBucket", _) => Failure::NoBucket,
        ("NoSuchKey" | "NotFound", _) => Failure::Absent,
        ("PreconditionFailed", _) => Failure::Exists,
        ("InvalidRange", _) => Failure::BeyondEnd,
        (
            "SlowDown"
            | "RequestTimeout"
            | "InternalError"
            | "ServiceUnavailable"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            | "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody",
            _,
        ) => Failure::Transient(answer.text(), answer.wait),
        ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, 507) => Failure::NoSpace,
        ("NotImplemented", _) | (_, 501) => Failure::Unknown(answer.text()),
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "AccessDenied"
            | "ExpiredToken"
            | "InvalidToken"
            | "RequestTimeTooSkewed",
            _,
        )
        | (_, 401 | 403) => Failure::Denied(answer.text()),
        (_, 404) => Failure::Absent,
        (_, 412) => Failure::Exists,
        (_, 416) => Failure::BeyondEnd,
        (_, 301 | 307) => Failure::Other(format!("the bucket is in another region: {}", answer.text())),
        (_, 408 | 409 | 425 | 429 | 500..=599) => Failure::Transient(answer.text(), answer.wait),
        _ => Failure::Other(answer.text()),
    }
}

fn of_connection(cause: String) -> Failure {
    // A certificate doesn't become good by waiting, and fifteen minutes of silence would hide why.
    if cause.to_lowercase().contains("certificate") {
        Failure::Untrusted(cause)
    } else {
        Failure::Transient(cause, None)
    }
}

/// The innermost cause, which names what happened; the outer ones only say where.
pub(super) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    one_line(&cause.to_string())
}

/// A store's words without line ends and control characters, and not too many of them.
fn one_line(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, code: &str) -> Failure {
        of_answer(&Answer { status, code, message: "", wait: None })
    }

    #[test]
    fn answers_mean_what_the_protocol_says() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(of(status, ""), Failure::Transient(..)), "{status}");
        }
        for code in ["SlowDown", "ConditionalRequestConflict", "BadDigest"] {
            assert!(matches!(of(400, code), Failure::Transient(..)), "{code}");
        }
        for (status, code) in [(403, ""), (401, ""), (400, "ExpiredToken"), (403, "SignatureDoesNotMatch")] {
            assert!(matches!(of(status, code), Failure::Denied(_)), "{status} {code}");
        }
        assert!(matches!(of(404, "NoSuchBucket"), Failure::NoBucket));
        assert!(matches!(of(404, ""), Failure::Absent));
        assert!(matches!(of(412, ""), Failure::Exists));
        assert!(matches!(of(416, ""), Failure::BeyondEnd));
        assert!(matches!(of(501, ""), Failure::Unknown(_)));
        assert!(matches!(of(507, ""), Failure::NoSpace));
        assert!(matches!(of(418, ""), Failure::Other(_)));
    }

    #[test]
    fn a_stores_words_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\n  c"), "a [2Jb c");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 300);
    }
}

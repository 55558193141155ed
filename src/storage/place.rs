//! Places as people write them: a path, `file:///path`, or
//! `s3://bucket/prefix?endpoint=..&region=..&path_style=..&credentials_file=..&ca_file=..&lock=..&as_of=..`.
//!
//! A URL holds no secret: user names and passwords in it are refused, and labels carry neither
//! query nor file names.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::contract::{Storage, StorageError};
use super::local::LocalStorage;
use super::metered::{Meter, Metered};
use super::read_only::ReadOnly;
use super::retry::{Retry, RetryPolicy};
use super::s3::{S3Options, S3Storage};
use super::throttle::{Throttle, Throttled};
use crate::base::clock::{Clock, Timestamp};
use crate::base::lock::LockRule;

/// Options of the command line or a policy that hold for every `s3://` place; a URL's own win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceOptions {
    /// `https://host[:port]` of a store other than AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Bucket in the path instead of the host name.
    pub path_style: Option<bool>,
    /// A private file of `AWS_ACCESS_KEY_ID=...` lines.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that may vouch for the store, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Every object that is put is locked so.
    pub lock: Option<LockRule>,
}

/// A place to store to, not opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Local(PathBuf),
    /// A bucket, or a prefix in one.
    S3(S3Options),
}

/// What a place is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading; nothing can be changed through the handle.
    Read,
    /// Reading and writing where the folder or bucket exists.
    Write,
    /// As `Write`, and a folder is made where there is none. Buckets are never made.
    Create,
}

/// How a place is opened.
#[derive(Clone)]
pub struct Opening {
    /// What for.
    pub access: Access,
    /// The clock of the pauses.
    pub clock: Arc<dyn Clock>,
    /// How long to try again.
    pub retry: RetryPolicy,
    /// Counts what goes over the wire.
    pub meter: Option<Arc<Meter>>,
    /// How fast bytes may go there and come from there.
    pub throttle: Option<Arc<Throttle>>,
}

impl Opening {
    /// With the usual retries, uncounted and unlimited.
    pub fn new(access: Access, clock: Arc<dyn Clock>) -> Self {
        Self { access, clock, retry: RetryPolicy::default(), meter: None, throttle: None }
    }

    /// Puts the usual layers around a driver: counted, retried, and without writes for readers.
    pub fn layer(&self, driver: Arc<dyn Storage>) -> Arc<dyn Storage> {
        let mut storage = driver;
        if let Some(meter) = &self.meter {
            storage = Arc::new(Metered::new(storage, meter.clone()));
        }
        storage = Arc::new(Retry::new(storage, self.clock.clone(), self.retry));
        if self.access == Access::Read {
            storage = Arc::new(ReadOnly::new(storage));
        }
        storage
    }
}

impl Place {
    /// Understands a URL or a path.
    ///
    /// # Errors
    /// `BadUrl`, which never repeats a password.
    pub fn parse(text: &str, options: &PlaceOptions) -> Result<Self, StorageError> {
        match text.split_once("://") {
            None if text.is_empty() => Err(bad(text, "it is empty")),
            None => Ok(Self::Local(text.into())),
            Some(("file", rest)) => parse_file(text, rest),
            Some(("s3", rest)) => parse_s3(text, rest, options),
            Some(_) => Err(bad(text, "only paths, file:// and s3:// are known")),
        }
    }

    /// Opens it with its layers.
    ///
    /// # Errors
    /// `NoPlace` (folders only; a missing bucket shows at the first request), `Denied`, `Io`.
    pub fn open(&self, opening: &Opening) -> Result<Arc<dyn Storage>, StorageError> {
        let driver: Arc<dyn Storage> = match (self, opening.access) {
            (Self::Local(path), Access::Create) => Arc::new(LocalStorage::create(path)?),
            (Self::Local(path), _) => Arc::new(LocalStorage::open(path)?),
            (Self::S3(options), _) => {
                Arc::new(S3Storage::open(options.clone())?.throttled(opening.throttle.clone()))
            }
        };
        let driver = match &opening.throttle {
            Some(throttle) if self.is_local() => Arc::new(Throttled::new(driver, Arc::clone(throttle))),
            _ => driver,
        };
        Ok(opening.layer(driver))
    }

    /// The place for messages and records, without secrets and options.
    pub fn label(&self) -> String {
        match self {
            Self::Local(path) => {
                // Only without a working folder can a path not be made absolute.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                format!("file://{}", path.display())
            }
            Self::S3(options) => options.label(),
        }
    }

    /// Whether it is a folder of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Why this place cannot count as off-site, when its address alone says so. Names are not
    /// looked up: an answer of the network would not be a fact about the place.
    pub fn refutes_offsite(&self) -> Option<String> {
        match self {
            Self::Local(_) => Some("it is a folder of this machine".to_owned()),
            Self::S3(options) => refuted_by_host(host_of(options.endpoint.as_deref()?)),
        }
    }
}

fn parse_file(text: &str, rest: &str) -> Result<Place, StorageError> {
    let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(bad(text, "after file:// comes an absolute path, so three slashes in all"));
    }
    let path =
        percent_decode(path).ok_or_else(|| bad(text, "a % is not followed by two hexadecimal digits"))?;
    Ok(Place::Local(OsString::from_vec(path).into()))
}

fn parse_s3(text: &str, rest: &str, defaults: &PlaceOptions) -> Result<Place, StorageError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.contains('@') {
        return Err(bad(
            text,
            "credentials don't belong into a URL; give them as a file or in the environment",
        ));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || bucket.len() > 63 || !bucket.chars().all(is_name) {
        return Err(bad(text, "after s3:// comes the name of a bucket"));
    }
    let prefix = prefix.trim_matches('/');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if prefix.len() > 700 || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
        return Err(bad(text, "the prefix has an empty part, `.` or `..`, or is too long"));
    }
    let mut options = S3Options { prefix: prefix.to_owned(), ..S3Options::new(bucket) };
    options.endpoint.clone_from(&defaults.endpoint);
    options.region.clone_from(&defaults.region);
    options.path_style = defaults.path_style;
    options.credentials_file.clone_from(&defaults.credentials_file);
    options.ca_file.clone_from(&defaults.ca_file);
    options.lock = defaults.lock;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode(value)
            .and_then(|value| String::from_utf8(value).ok())
            .ok_or_else(|| bad(text, "a value of its query is not percent-encoded UTF-8"))?;
        match key {
            "endpoint" => options.endpoint = Some(value),
            "region" => options.region = Some(value),
            "credentials_file" => options.credentials_file = Some(value.into()),
            "ca_file" => options.ca_file = Some(value.into()),
            "path_style" => options.path_style = Some(parse_bool(text, &value)?),
            "lock" => {
                let wrong = || bad(text, "a lock is such as governance:30d or compliance:35d");
                options.lock = Some(LockRule::parse(&value).ok_or_else(wrong)?);
            }
            "as_of" => {
                let wrong = || bad(text, "a time is written as 2026-11-24T01:00:00Z");
                options.as_of = Some(Timestamp::parse_rfc3339(&value).ok_or_else(wrong)?);
            }
            _ => {
                return Err(bad(
                    text,
                    "its query may hold endpoint, region, path_style, credentials_file, ca_file, lock and as_of",
                ));
            }
        }
    }
    if let Some(endpoint) = &mut options.endpoint {
        check_endpoint(text, endpoint)?;
        endpoint.truncate(endpoint.trim_end_matches('/').len());
    }
    Ok(Place::S3(options))
}

fn check_endpoint(text: &str, endpoint: &str) -> Result<(), StorageError> {
    let Some(rest) = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")) else {
        return Err(bad(text, "the endpoint begins with https:// (or http://)"));
    };
    if rest.contains('@') {
        return Err(bad(text, "credentials don't belong into an endpoint"));
    }
    let rest = rest.trim_end_matches('/');
    if rest.is_empty()
        || rest.contains(['/', '?', '#'])
        || rest.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err(bad(text, "the endpoint is a scheme, a host and perhaps a port"));
    }
    Ok(())
}

fn parse_bool(text: &str, value: &str) -> Result<bool, StorageError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad(text, "path_style is true or false")),
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let mut byte = [0u8];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                byte[0]
            }
            byte => byte,
        });
    }
    Some(decoded)
}

/// The URL as given, but for what may be a secret: user information, and the query.
fn bad(url: &str, reason: &str) -> StorageError {
    let shown = url.split('?').next().unwrap_or(url);
    let shown = match (shown.split_once("://"), shown.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://[hidden]@{rest}"),
        _ => shown.to_owned(),
    };
    let shown = shown.chars().filter(|c| !c.is_control()).take(200).collect();
    StorageError::BadUrl { url: shown, reason: reason.to_owned() }
}

/// The host of `https://host:port`, without brackets.
fn host_of(endpoint: &str) -> &str {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn refuted_by_host(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        let what = kind_of_address(address)?;
        return Some(format!("{host} is {what}"));
    }
    let own = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") || host == own {
        return Some(format!("{host} is this machine"));
    }
    let is_local_name = !host.contains('.')
        || [".local", ".lan", ".internal", ".home.arpa"].iter().any(|end| host.ends_with(end));
    is_local_name.then(|| format!("{host} is a name of the local network"))
}

fn kind_of_address(address: IpAddr) -> Option<&'static str> {
    let (loopback, private, link_local) = match address.to_canonical() {
        IpAddr::V4(v4) => (v4.is_loopback() || v4.is_unspecified(), v4.is_private(), v4.is_link_local()),
        IpAddr::V6(v6) => {
            (v6.is_loopback() || v6.is_unspecified(), v6.is_unique_local(), v6.is_unicast_link_local())
        }
    };
    if loopback {
        Some("an address of this machine")
    } else if private {
        Some("a private address")
    } else if link_local {
        Some("a link-local address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Place, StorageError> {
        Place::parse(text, &PlaceOptions::default())
    }

    fn s3(text: &str) -> S3Options {
        match parse(text) {
            Ok(Place::S3(options)) => options,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn paths_and_file_urls_are_folders() {
        for (text, path) in [
            ("/mnt/backup", "/mnt/backup"),
            ("backup", "backup"),
            ("file:///mnt/my%20disk", "/mnt/my disk"),
            ("file://localhost/mnt", "/mnt"),
        ] {
            assert_eq!(parse(text).expect("a place"), Place::Local(path.into()), "{text}");
        }
        assert_eq!(parse("file:///mnt/a").expect("a place").label(), "file:///mnt/a");
    }

    #[test]
    fn a_bucket_takes_its_own_options_before_the_defaults() {
        let defaults = PlaceOptions {
            endpoint: Some("https://default:9000/".to_owned()),
            region: Some("eu-1".to_owned()),
            path_style: None,
            credentials_file: Some("/etc/key".into()),
            ca_file: Some("/etc/ca.pem".into()),
            lock: None,
        };
        let place = Place::parse("s3://b/x/y/?region=us-2&path_style=false&ca_file=/own.pem", &defaults)
            .expect("a place");
        let Place::S3(options) = &place else { panic!("{place:?}") };
        assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("b", "x/y"));
        assert_eq!(options.endpoint.as_deref(), Some("https://default:9000"));
        assert_eq!(options.region.as_deref(), Some("us-2"));
        assert_eq!(options.path_style, Some(false));
        assert_eq!(options.credentials_file, Some("/etc/key".into()));
        assert_eq!(options.ca_file, Some("/own.pem".into()));
        assert_eq!(place.label(), "s3://b/x/y");
        let encoded = s3("s3://b?endpoint=http%3A%2F%2F127.0.0.1%3A8333");
        assert_eq!(encoded.endpoint.as_deref(), Some("http://127.0.0.1:8333"));
    }

    #[test]
    fn what_is_no_place_is_refused_with_its_reason() {
        for (text, word) in [
            ("", "empty"),
            ("ftp://host/x", "known"),
            ("file://host/x", "absolute"),
            ("file:///a%2", "hexadecimal"),
            ("s3://", "bucket"),
            ("s3:///x", "bucket"),
            ("s3://b/../x", "prefix"),
            ("s3://b/x//y", "prefix"),
            ("s3://b?secret=x", "query"),
            ("s3://b?endpoint=host", "https://"),
            ("s3://b?endpoint=https://host/path", "host"),
            ("s3://b?path_style=maybe", "true or false"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(matches!(error, StorageError::BadUrl { .. }), "{text}: {error}");
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_in_urls_are_refused_and_not_repeated() {
        for text in [
            "s3://key:topsecret@bucket/x",
            "s3://b?endpoint=https://key:topsecret@host",
            "s3://b?secret_key=topsecret",
            "sftp://me:topsecret@host/x",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn addresses_that_are_not_off_site_are_known() {
        for endpoint in [
            "http://127.0.0.1:8333",
            "http://localhost:8333",
            "https://[::1]:9000",
            "https://10.1.2.3",
            "https://192.168.0.5:9000",
            "https://[fd00::1]",
            "https://169.254.1.1",
            "https://[::ffff:10.0.0.1]:1",
            "https://nas",
            "https://nas.local:9000",
        ] {
            assert!(s3(&format!("s3://b?endpoint={endpoint}")).endpoint.is_some());
            assert!(refuted_by_host(host_of(endpoint)).is_some(), "{endpoint}");
        }
        for endpoint in ["https://s3.example.com", "https://203.0.113.7:9000", "https://[2001:db8::1]"] {
            assert_eq!(refuted_by_host(host_of(endpoint)), None, "{endpoint}");
        }
        assert_eq!(parse("s3://b").expect("a place").refutes_offsite(), None);
        assert!(parse("/mnt").expect("a place").refutes_offsite().is_some());
    }
}

//! The contract that every driver and every layer keeps; `conformance` holds them to it.
//!
//! # Guarantees
//! 1. **Create only.** [`Storage::put_new`] never changes an object that exists; it answers
//!    [`Put::Existing`] and leaves it alone. Only [`Storage::replace`] overwrites, for repairs. Where a store has no conditional create (see
//!    `capabilities`) a lost race may replace an object by another of the same name; the
//!    repository gives equal names to equal bytes only, so nothing is lost by it.
//! 2. **Durable when answered.** After `put_new` returned and [`Storage::sync`] has been called
//!    once, the object survives a crash of the machine (local) or is the provider's to keep (S3,
//!    where the acknowledgement carried our checksum and `sync` does nothing). The same holds for
//!    what `head` or a listing showed before that `sync`, whoever put it: its writer may have died
//!    before its own.
//! 3. **Whole or absent.** A reader sees all bytes of an object or none of it.
//! 4. **Read after write, list after write.** What was put is found by `get`, `head` and `list`
//!    at once, by everybody.
//! 5. **Sorted lists** in byte order of the names, each name once; names that are no
//!    [`ObjectName`] (a person's stray files, unfinished temp files) are left out. Some S3 stores
//!    sort folder by folder (`a/b` before `a-b`); where the two orders differ their listing ends
//!    with an error. A repository's layout has no such names.
//! 6. **An absent object is [`StorageError::NotFound`]**, never empty bytes, and never an opinion
//!    about other objects. A missing bucket or base folder is [`StorageError::NoPlace`].
//! 7. **Deleting what is absent succeeds.**
//! 8. **Bounded.** No call reads more than it was asked for; every wait has a limit.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::str::FromStr;

use bytes::Bytes;

use super::guard::Guard;
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Classified};

/// The name of an object: components of `[a-z0-9._-]` joined by `/`, at most 200 bytes; no
/// component is empty, begins with a dot or is longer than 150 bytes. Upper-case `T` and `Z` are
/// allowed for the times in names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct ObjectName(String);

/// Text that cannot be an object's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be an object's name")]
pub struct NotAName(String);

impl ObjectName {
    /// Longest name in bytes.
    pub const BYTES_MAX: usize = 200;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// When the text breaks the rules of the type.
    pub fn new(name: impl Into<String>) -> Result<Self, NotAName> {
        let name = name.into();
        let component_is_good = |c: &str| {
            !c.is_empty()
                && c.len() <= 150
                && !c.starts_with('.')
                && c.bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'T' | b'Z'))
        };
        if name.len() <= Self::BYTES_MAX && name.split('/').all(component_is_good) {
            Ok(Self(name))
        } else {
            Err(NotAName(name.chars().take(80).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `/`.
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        Self::new(text)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `put_new` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object was created.
    Created,
    /// An object of this name was there and was left alone.
    Existing,
}

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of them. Refused as [`StorageError::TooLong`] above
    /// [`PACK_BYTES_MAX`](crate::base::limits::PACK_BYTES_MAX).
    Whole,
    /// `len` bytes from `offset`. Fewer come back only when the object ends before.
    Range {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// The last `len` bytes, or the whole object when it is shorter.
    Last {
        /// How many.
        len: u64,
    },
}

impl Span {
    /// The `(offset, length)` that this means in an object of that many bytes; never beyond its end.
    pub fn within(self, object_bytes: u64) -> (u64, u64) {
        match self {
            Self::Whole => (0, object_bytes),
            Self::Range { offset, len } => {
                let offset = offset.min(object_bytes);
                (offset, len.min(object_bytes - offset))
            }
            Self::Last { len } => {
                let len = len.min(object_bytes);
                (object_bytes - len, len)
            }
        }
    }
}

/// How honest a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// From wherever it is quickest, page cache included.
    Quick,
    /// From the medium itself, past the caches of this machine: for verification.
    Medium,
}

/// What is known of a stored object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub bytes: u64,
    /// When the store says it was written, by the store's clock.
    pub modified: Timestamp,
}

/// Named immutable objects at one place. Blocking; shared between threads.
pub trait Storage: Send + Sync {
    /// The place for messages, without secrets: `file:///mnt/backup`, `s3://bucket/prefix`.
    fn label(&self) -> &str;

    /// Creates an object; never changes one (guarantees 1 to 3).
    ///
    /// # Errors
    /// `NoSpace`, `Denied`, `ReadOnly`, `Unreachable`, `NoPlace`, `Io`. After an error the object
    /// may or may not exist, whole.
    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError>;

    /// Creates an object under a name that nobody has used before, drawn from `name` anew for each
    /// attempt, and answers the name of the attempt that succeeded. For objects whose names must not
    /// appear late: an attempt with an unknown outcome is never repeated under its old name, so what
    /// it may still create stands apart. A layer that repeats, or that lies above one that does, has
    /// to do this itself; for everything else it is one `put_new`.
    ///
    /// # Errors
    /// As [`Storage::put_new`]; objects under the names of failed attempts may exist, whole.
    fn put_fresh(
        &self,
        name: &mut dyn FnMut() -> ObjectName,
        bytes: Bytes,
    ) -> Result<ObjectName, StorageError> {
        let name = name();
        self.put_new(&name, bytes)?;
        Ok(name)
    }

    /// Reads bytes of an object.
    ///
    /// # Errors
    /// `NotFound`, `TooLong`, `Denied`, `Unreachable`, `NoPlace`, `Io`.
    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError>;

    /// Looks at one object; `None` when there is none.
    ///
    /// # Errors
    /// As [`Storage::get`], without `NotFound`.
    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError>;

    /// Visits the objects whose names begin with `prefix` (a string prefix such as `p/ab/` or
    /// empty), sorted. Pages are fetched as the visitor goes on; it may stop early.
    ///
    /// # Errors
    /// As [`Storage::get`]. An error means the listing is incomplete, whatever was visited.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError>;

    /// As [`Storage::list`], but only names greater than `after`: how a broken listing goes on.
    ///
    /// # Errors
    /// As [`Storage::list`].
    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.list(prefix, &mut |stat| {
            if after.is_some_and(|after| stat.name <= *after) {
                ControlFlow::Continue(())
            } else {
                visit(stat)
            }
        })
    }

    /// Deletes an object; one that is absent is no error.
    ///
    /// # Errors
    /// `Denied`, `ReadOnly`, `Unreachable`, `Io`.
    fn delete(&self, name: &ObjectName) -> Result<(), StorageError>;

    /// Puts an object in the place of whatever stands under its name, damaged or not, or where
    /// nothing does: the one call that overwrites, for the probe's own objects and `repository/mend`, which gives it bytes
    /// of the right hash. A reader sees the old bytes or the new ones, and a crash leaves one of them.
    /// (This way of doing it, for drivers that have no better one, is absent in between.)
    ///
    /// # Errors
    /// As [`Storage::put_new`]. After an error the old object, the new one or none is there.
    fn replace(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StorageError> {
        self.delete(name)?;
        self.put_new(name, bytes).map(drop)
    }

    /// Makes everything put so far durable (guarantee 2).
    ///
    /// # Errors
    /// `Io`, `NoSpace`. Nothing put since the last success may be relied on then.
    fn sync(&self) -> Result<(), StorageError>;

    /// What the place says of itself; every layer passes the question on.
    ///
    /// # Errors
    /// As [`Storage::head`]. What may not be asked is unknown, not an error.
    fn facts(&self) -> Result<Facts, StorageError> {
        Ok(Facts::default())
    }

    /// Locks of the place, where it has any; layers through which one may write pass it on.
    fn guard(&self) -> Option<&dyn Guard> {
        None
    }

    /// Keeps a little room for [`Storage::give_room`], where the place is a disk that can get full.
    /// Every layer passes it on.
    ///
    /// # Errors
    /// As [`Storage::put_new`]; without that room everything else works as ever.
    fn keep_room(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Gives back the room that was kept, for small objects without which nothing can be removed
    /// from a full disk. `false` when there was none. Every layer passes it on.
    ///
    /// # Errors
    /// As [`Storage::delete`].
    fn give_room(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// How far away the place is; every layer passes the question on.
    fn distance(&self) -> Distance {
        Distance::Near
    }
}

/// How far away a place is, as far as it shapes how one reads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// A read costs little more than its bytes: few at once, and short gaps are worth skipping.
    Near,
    /// Each read waits for a way there and back: many at once, and long gaps are read over.
    Far,
}

/// What a place says of itself, where trying it out would prove nothing or leave traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether old versions of objects are kept; `None` when it doesn't say.
    pub versioning: Option<bool>,
    /// Whether objects can be locked against deletion; `None` when it doesn't say.
    pub object_lock: Option<bool>,
    /// Whether a checksum goes along with each write and is checked before it is acknowledged.
    pub checksums: bool,
    /// Whether a create looks first and then puts, because the place knows no condition: two at the
    /// same moment may both create.
    pub looks_first: bool,
}

/// Whether any [`ObjectName`] could begin with this text. Drivers list nothing where none can, so
/// that no prefix leads out of the place.
pub fn could_begin_a_name(prefix: &str) -> bool {
    // With one more letter a prefix that ends inside or between components is a name.
    prefix.len() < ObjectName::BYTES_MAX && ObjectName::new(format!("{prefix}0")).is_ok()
        || ObjectName::new(prefix).is_ok()
}

/// All names and sizes under a prefix, collected. For prefixes that are known to be short.
///
/// # Errors
/// As [`Storage::list`].
pub fn list_all(storage: &dyn Storage, prefix: &str) -> Result<Vec<Stat>, StorageError> {
    let mut all = Vec::new();
    storage.list(prefix, &mut |stat| {
        all.push(stat);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Why a storage call failed. `place` is the [`Storage::label`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The object doesn't exist.
    #[error("{place}: there is no object {name}")]
    NotFound {
        /// Where.
        place: String,
        /// Which.
        name: ObjectName,
    },
    /// The bucket, or the folder that should hold everything, doesn't exist.
    #[error("{place}: the {what} doesn't exist")]
    NoPlace {
        /// Where.
        place: String,
        /// `bucket` or `folder`.
        what: &'static str,
    },
    /// The medium is full.
    #[error("{place}: no space left while writing {name}")]
    NoSpace {
        /// Where.
        place: String,
        /// Which.
        name: ObjectName,
    },
    /// Credentials or permissions were refused.
    #[error("{place}: {action} was refused: {reason}")]
    Denied {
        /// Where.
        place: String,
        /// What was tried, as a noun: `reading p/ab/..`.
        action: String,
        /// The store's words.
        reason: String,
    },
    /// This handle only reads.
    #[error("{place} is open for reading only; {action} was not tried")]
    ReadOnly {
        /// Where.
        place: String,
        /// What was asked for.
        action: String,
    },
    /// The place cannot be reached, or kept failing over the whole retry budget.
    #[error("{place} could not be reached: {reason}")]
    Unreachable {
        /// Where.
        place: String,
        /// What the network said, last.
        reason: String,
    },
    /// The server's certificate is not one that is trusted here.
    #[error("{place} was not talked to: its certificate is not trusted: {reason}")]
    Untrusted {
        /// Where.
        place: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// Somebody asked to stop while it waited for its turn under a limit.
    #[error("{place}: stopped while waiting for its turn under a limit")]
    Cancelled {
        /// Where.
        place: String,
    },
    /// A passing fault: worth a retry (the `retry` layer turns the last one into `Unreachable`).
    #[error("{place}: {action} failed for the moment: {reason}")]
    Transient {
        /// Where.
        place: String,
        /// What was tried.
        action: String,
        /// What went wrong.
        reason: String,
        /// How long the store asks to wait, if it does.
        wait: Option<std::time::Duration>,
    },
    /// The object is longer than any object may be.
    #[error("{place}: {name} has {bytes} bytes, more than any object of a repository")]
    TooLong {
        /// Where.
        place: String,
        /// Which.
        name: ObjectName,
        /// Its length.
        bytes: u64,
    },
    /// The store lacks something that is needed, or the request makes no sense to it.
    #[error("{place}: {reason}")]
    Unsupported {
        /// Where.
        place: String,
        /// What, as a sentence.
        reason: String,
    },
    /// The URL or its options are wrong.
    #[error("`{url}` is no place to store to: {reason}")]
    BadUrl {
        /// As given, without secrets.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system or the store said something else.
    #[error("{place}: {action} failed")]
    Io {
        /// Where.
        place: String,
        /// What was tried.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Classified for StorageError {
    fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } => Class::NotFound,
            Self::NoPlace { .. } => Class::NotFound,
            Self::NoSpace { .. } => Class::NoSpace,
            Self::Denied { .. } => Class::Denied,
            Self::ReadOnly { .. } => Class::Refused,
            Self::Unreachable { .. } | Self::Untrusted { .. } => Class::Unreachable,
            Self::Cancelled { .. } => Class::Cancelled,
            Self::Transient { .. } => Class::Transient,
            Self::TooLong { .. } => Class::Damage,
            Self::Unsupported { .. } => Class::Failed,
            Self::BadUrl { .. } => Class::Usage,
            Self::Io { source, .. } => match Class::of_io(source) {
                Class::NotFound => Class::Failed,
                class => class,
            },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "E0101",
            Self::NoPlace { .. } => "E0102",
            Self::NoSpace { .. } => "E0103",
            Self::Denied { .. } => "E0104",
            Self::ReadOnly { .. } => "E0105",
            Self::Unreachable { .. } => "E0106",
            Self::Transient { .. } => "E0107",
            Self::TooLong { .. } => "E0108",
            Self::Unsupported { .. } => "E0109",
            Self::BadUrl { .. } => "E0110",
            Self::Io { .. } => "E0111",
            Self::Untrusted { .. } => "E0112",
            Self::Cancelled { .. } => "E0113",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoPlace { what: "bucket", .. } => "create the bucket, or correct the URL".to_owned(),
            Self::NoPlace { .. } => "mount or create the folder, or correct the path".to_owned(),
            Self::NoSpace { .. } => {
                "free space there; what was stored so far is kept and is not stored again".to_owned()
            }
            Self::Denied { .. } => "check the credentials and what they may do there".to_owned(),
            Self::Unreachable { .. } => {
                "check the network and the endpoint, then run the same command again".to_owned()
            }
            Self::Untrusted { .. } => {
                "name the file with the certificate of the authority that signed the store's: --ca-file FILE, \
                 `ca_file` in the policy, or AWS_CA_BUNDLE"
                    .to_owned()
            }
            Self::TooLong { .. } => "run `verify` on this target".to_owned(),
            Self::Cancelled { .. } => "run the same command again to go on".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_begin_no_name_are_known() {
        for possible in ["", "p", "p/", "p/ab", "s/2026"] {
            assert!(could_begin_a_name(possible), "{possible:?}");
        }
        for hostile in ["/", "../", "p/../", "p//", ".", "\u{0}", "p/\u{0}", "P"] {
            assert!(!could_begin_a_name(hostile), "{hostile:?}");
        }
    }

    #[test]
    fn names_that_could_leave_the_place_are_refused() {
        for bad in
            ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "A", "a b", "a\u{0}", "é", &"a".repeat(201)]
        {
            assert!(ObjectName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["repo.fmt", "p/ab/abcd", "s/20261124T015302Z-00112233-aa.bb.ok"] {
            assert!(ObjectName::new(good).is_ok(), "{good:?}");
        }
    }
}

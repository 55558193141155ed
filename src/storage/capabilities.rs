//! What a store really does, found out by trying.
//!
//! Several stores answer yes to a condition and overwrite all the same, so nothing is believed
//! that can be tried. Run at `repo init` and once a month; the objects lie under `probe/` and
//! are removed again where deleting is allowed.

use std::time::Duration;

use bytes::Bytes;

use super::contract::{ObjectName, Put, Read, Span, Storage, StorageError, list_all};
use super::guard::Guard;
use crate::base::clock::Clock;
use crate::base::entropy;

/// Where the objects of a probe lie.
pub const PROBE_PREFIX: &str = "probe/";

/// What a store was seen to do. Reading what was written and listing it at once is not in here:
/// a store without that is refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Version of this record; 1.
    pub version: u32,
    /// A second put of a name is told that the object exists and changes nothing. Stores that
    /// lack this look first, and two creators at one moment may both succeed; this matters to
    /// `repo.fmt` alone.
    pub conditional_create: bool,
    /// A checksum goes along with each write and is checked before the write is acknowledged.
    pub checksums: bool,
    /// Old versions of objects are kept; `None` when the store doesn't say.
    pub versioning: Option<bool>,
    /// Objects can be locked against deletion; `None` when the store doesn't say.
    pub object_lock: Option<bool>,
    /// These credentials may delete. An attacker who has them can, too.
    pub can_delete: bool,
    /// These credentials wrote over an object so that its old bytes are gone. None: not known, as of
    /// records before this was tried.
    #[serde(default)]
    pub can_overwrite: Option<bool>,
    /// These credentials took an object away for good, every version of it, although it was locked
    /// where the target has a lock rule.
    #[serde(default)]
    pub can_destroy: Option<bool>,
    /// With a lock rule: whether a locked object withstood both.
    #[serde(default)]
    pub lock_holds: Option<bool>,
    /// The store's clock minus ours, in seconds; within a second or two it means nothing.
    pub clock_skew_seconds: i64,
}

/// Tries a place out.
///
/// # Errors
/// `Unsupported` when it lacks what is needed, with what that is; otherwise what the storage says.
pub fn probe(storage: &dyn Storage, clock: &dyn Clock) -> Result<Capabilities, StorageError> {
    let probe = Probe { storage, folder: format!("{PROBE_PREFIX}{}", hex::encode(entropy::random::<8>())) };
    let tried = probe.run(clock);
    // Removed also after a failure; the failure is the news then.
    let can_delete = probe.clean();
    let mut capabilities = tried?;
    capabilities.can_delete = can_delete?;
    Ok(capabilities)
}

impl Capabilities {
    /// What whoever has these credentials, or steals them, could do to what is stored. None when they
    /// can do no harm, as far as it was tried.
    pub fn danger(&self) -> Option<&'static str> {
        match (self.lock_holds, self.can_destroy, self.can_overwrite) {
            (Some(false), _, _) => {
                Some("its lock does not hold: a locked object could be destroyed or written over")
            }
            (_, Some(true), _) => {
                Some("these credentials can destroy what is stored: who steals them can, too")
            }
            (_, _, Some(true)) => {
                Some("these credentials can write over what is stored: who steals them can, too")
            }
            _ => None,
        }
    }
}

struct Probe<'a> {
    storage: &'a dyn Storage,
    folder: String,
}

impl Probe<'_> {
    fn run(&self, clock: &dyn Clock) -> Result<Capabilities, StorageError> {
        let (first, second) = (self.name("1"), self.name("2"));
        let bytes = Bytes::copy_from_slice(&entropy::random::<64>());
        let before = clock.now();
        self.storage.put_new(&first, bytes.clone())?;
        self.storage.sync()?;
        let after = clock.now();
        if self.read(&first)?.as_ref() != Some(&bytes) {
            return Err(self.lacks("an object that was just written cannot be read back"));
        }
        let Some(stat) = self.storage.head(&first)? else {
            return Err(self.lacks("an object that was just written is not seen"));
        };
        self.expect_listed(&[&first])?;
        self.storage.put_new(&second, Bytes::new())?;
        self.expect_listed(&[&first, &second])?;
        let facts = self.storage.facts()?;
        let found = Capabilities {
            version: 1,
            conditional_create: !facts.looks_first && self.create_is_conditional(&first, &bytes)?,
            checksums: facts.checksums,
            versioning: facts.versioning,
            object_lock: facts.object_lock,
            can_delete: false,
            can_overwrite: None,
            can_destroy: None,
            lock_holds: None,
            clock_skew_seconds: skew_seconds(stat.modified.unix_ms(), before.unix_ms(), after.unix_ms()),
        };
        match self.storage.guard() {
            Some(guard) => self.attack(guard, found),
            None => Ok(found),
        }
    }

    /// Does to an object of its own what an attacker would do with these credentials.
    fn attack(&self, guard: &dyn Guard, found: Capabilities) -> Result<Capabilities, StorageError> {
        let canary = self.name("canary");
        let bytes = Bytes::from_static(b"canary");
        self.storage.put_new(&canary, bytes.clone())?;
        let lock = guard.rule().map(|_| guard.lock_of(&canary)).transpose()?.flatten();
        // Where versions are kept, what is written over is still there.
        let is_written = allowed(self.storage.replace(&canary, Bytes::from_static(b"cuckoo")))?;
        let can_overwrite = is_written && found.versioning != Some(true);
        let can_destroy = allowed(guard.destroy(&canary))?;
        let lock_holds = guard.rule().map(|_| lock.is_some() && !can_overwrite && !can_destroy);
        Ok(Capabilities {
            can_overwrite: Some(can_overwrite),
            can_destroy: Some(can_destroy),
            lock_holds,
            ..found
        })
    }

    fn create_is_conditional(&self, name: &ObjectName, bytes: &Bytes) -> Result<bool, StorageError> {
        let again = self.storage.put_new(name, Bytes::from_static(b"changed"))?;
        Ok(again == Put::Existing && self.read(name)?.as_ref() == Some(bytes))
    }

    fn read(&self, name: &ObjectName) -> Result<Option<Bytes>, StorageError> {
        match self.storage.get(name, Span::Whole, Read::Quick) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn expect_listed(&self, expected: &[&ObjectName]) -> Result<(), StorageError> {
        let listed = list_all(self.storage, &format!("{}/", self.folder))?;
        if listed.iter().map(|stat| &stat.name).eq(expected.iter().copied()) {
            return Ok(());
        }
        Err(self.lacks("an object that was just written is not in the list"))
    }

    /// Whether deleting is allowed. What is locked stays until its lock ends.
    fn clean(&self) -> Result<bool, StorageError> {
        for name in ["1", "2"] {
            match self.storage.delete(&self.name(name)) {
                Ok(()) => {}
                Err(StorageError::Denied { .. } | StorageError::Unsupported { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn name(&self, last: &str) -> ObjectName {
        ObjectName::new(format!("{}/{last}", self.folder)).expect("hexadecimal digits make a name")
    }

    fn lacks(&self, what: &str) -> StorageError {
        let reason = format!("{what}; backups there could be lost without a sign, so it cannot be used");
        StorageError::Unsupported { place: self.storage.label().to_owned(), reason }
    }
}

/// Whether these credentials may do it.
fn allowed(done: Result<(), StorageError>) -> Result<bool, StorageError> {
    match done {
        Ok(()) => Ok(true),
        Err(
            StorageError::Denied { .. } | StorageError::Unsupported { .. } | StorageError::NotFound { .. },
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How far the store's time lies outside of the time in which the object was written.
fn skew_seconds(modified: i64, before: i64, after: i64) -> i64 {
    // Stores date in whole seconds, downwards.
    let second = i64::try_from(Duration::from_secs(1).as_millis()).unwrap_or(1000);
    if modified > after {
        (modified - after) / second
    } else if modified < before - second {
        (modified - before) / second
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::{ManualClock, SystemClock, Timestamp};
    use crate::storage::contract::Stat;
    use crate::storage::fault::{Fault, FaultPlan};
    use crate::storage::memory::MemoryStorage;

    /// A store with one thing wrong.
    struct Odd {
        inner: MemoryStorage,
        wrong: Wrong,
    }

    #[derive(PartialEq)]
    enum Wrong {
        Overwrites,
        MayNotDelete,
    }

    impl Storage for Odd {
        fn label(&self) -> &str {
            "odd:"
        }
        fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
            if self.wrong == Wrong::Overwrites {
                self.inner.delete(name)?;
            }
            self.inner.put_new(name, bytes)
        }
        fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
            self.inner.get(name, span, read)
        }
        fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
            self.inner.head(name)
        }
        fn list(
            &self,
            prefix: &str,
            visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
        ) -> Result<(), StorageError> {
            self.inner.list(prefix, visit)
        }
        fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
            if self.wrong == Wrong::MayNotDelete {
                let (place, action) = (String::new(), String::new());
                return Err(StorageError::Denied { place, action, reason: String::new() });
            }
            self.inner.delete(name)
        }
        fn sync(&self) -> Result<(), StorageError> {
            Ok(())
        }
    }

    #[test]
    fn a_good_store_is_seen_as_one_and_left_clean() {
        let memory = MemoryStorage::new();
        let found = probe(&memory, &SystemClock::new()).expect("probed");
        assert!(found.conditional_create && found.checksums && found.can_delete);
        assert_eq!(found.clock_skew_seconds, 0);
        assert!(list_all(&memory, "").expect("listed").is_empty());
        let json = serde_json::to_string(&found).expect("written");
        assert_eq!(serde_json::from_str::<Capabilities>(&json).expect("read"), found);
    }

    #[test]
    fn a_store_that_overwrites_is_noticed() {
        let odd = Odd { inner: MemoryStorage::new(), wrong: Wrong::Overwrites };
        assert!(!probe(&odd, &SystemClock::new()).expect("probed").conditional_create);
    }

    #[test]
    fn credentials_that_may_not_delete_are_no_failure() {
        let odd = Odd { inner: MemoryStorage::new(), wrong: Wrong::MayNotDelete };
        assert!(!probe(&odd, &SystemClock::new()).expect("probed").can_delete);
    }

    #[test]
    fn a_store_that_does_not_list_what_it_has_is_refused() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let plan = FaultPlan { hide_in_list_per_mille: 1000, ..FaultPlan::quiet(1) };
        let memory = Arc::new(MemoryStorage::new());
        let refused =
            probe(&Fault::new(memory.clone(), clock.clone(), plan), clock.as_ref()).expect_err("refused");
        assert!(
            matches!(&refused, StorageError::Unsupported { reason, .. } if reason.contains("list")),
            "{refused}"
        );
        assert!(list_all(memory.as_ref(), "").expect("listed").is_empty(), "cleaned up all the same");
    }

    #[test]
    fn a_store_that_gives_other_bytes_is_refused() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let plan = FaultPlan { flip_per_mille: 1000, ..FaultPlan::quiet(1) };
        let fault = Fault::new(Arc::new(MemoryStorage::new()), clock.clone(), plan);
        assert!(matches!(probe(&fault, clock.as_ref()), Err(StorageError::Unsupported { .. })));
    }

    #[test]
    fn a_clock_that_is_off_is_measured() {
        assert_eq!(skew_seconds(10_000, 9_000, 11_000), 0);
        assert_eq!(skew_seconds(8_100, 9_000, 11_000), 0, "whole seconds, downwards");
        assert_eq!(skew_seconds(71_000, 9_000, 11_000), 60);
        assert_eq!(skew_seconds(-51_000, 9_000, 11_000), -60);
    }
}

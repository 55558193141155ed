//! Counts calls and bytes: what a run cost at each place.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::contract::{Distance, Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use super::guard::Guard;

/// Counters that several storages and threads may share.
#[derive(Debug, Default)]
pub struct Meter {
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    failures: AtomicU64,
    put_bytes: AtomicU64,
    got_bytes: AtomicU64,
}

/// What a [`Meter`] showed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Calls that put, repeated ones included.
    pub puts: u64,
    /// Calls that got.
    pub gets: u64,
    /// Calls that looked at one object.
    pub heads: u64,
    /// Listings, whatever their number of pages.
    pub lists: u64,
    /// Calls that deleted.
    pub deletes: u64,
    /// Those of all these that failed, absent objects included.
    pub failures: u64,
    /// Bytes of objects that were created; what existed isn't counted.
    pub put_bytes: u64,
    /// Bytes that came back.
    pub got_bytes: u64,
}

impl Meter {
    /// The counters now; each exact, together only when nothing is going on.
    pub fn usage(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            puts: read(&self.puts),
            gets: read(&self.gets),
            heads: read(&self.heads),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            failures: read(&self.failures),
            put_bytes: read(&self.put_bytes),
            got_bytes: read(&self.got_bytes),
        }
    }

    fn count<T>(&self, calls: &AtomicU64, outcome: Result<T, StorageError>) -> Result<T, StorageError> {
        calls.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Passes everything on and counts it.
pub struct Metered {
    inner: Arc<dyn Storage>,
    meter: Arc<Meter>,
}

impl Metered {
    /// Around a storage. Below `retry` it counts what really went over the wire.
    pub fn new(inner: Arc<dyn Storage>, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

impl Storage for Metered {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        let len = bytes.len();
        let put = self.meter.count(&self.meter.puts, self.inner.put_new(name, bytes))?;
        if put == Put::Created {
            add(&self.meter.put_bytes, len);
        }
        Ok(put)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        let bytes = self.meter.count(&self.meter.gets, self.inner.get(name, span, read))?;
        add(&self.meter.got_bytes, bytes.len());
        Ok(bytes)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.meter.count(&self.meter.heads, self.inner.head(name))
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
        self.meter.count(&self.meter.lists, self.inner.list_after(prefix, after, visit))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.meter.count(&self.meter.deletes, self.inner.delete(name))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.inner.sync()
    }

    fn guard(&self) -> Option<&dyn Guard> {
        self.inner.guard()
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        self.inner.facts()
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }

    fn keep_room(&self) -> Result<(), StorageError> {
        self.inner.keep_room()
    }

    fn give_room(&self) -> Result<bool, StorageError> {
        self.inner.give_room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn every_call_and_every_byte_is_counted_once() {
        let meter = Arc::new(Meter::default());
        let storage = Metered::new(Arc::new(MemoryStorage::new()), meter.clone());
        let name: ObjectName = "a".parse().expect("a name");
        for _ in 0..2 {
            storage.put_new(&name, Bytes::from_static(b"12345")).expect("put");
        }
        storage.get(&name, Span::Last { len: 2 }, Read::Quick).expect("get");
        storage.head(&name).expect("head");
        storage.list("", &mut |_| ControlFlow::Continue(())).expect("list");
        storage.delete(&name).expect("delete");
        assert!(storage.get(&name, Span::Whole, Read::Quick).is_err());
        let expected = Usage {
            puts: 2,
            gets: 2,
            heads: 1,
            lists: 1,
            deletes: 1,
            failures: 1,
            put_bytes: 5,
            got_bytes: 2,
        };
        assert_eq!(meter.usage(), expected);
    }
}

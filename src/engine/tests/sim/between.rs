//! A place at which somebody else does something, whole, before an operation of one's choice.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::sim::SimPlace;

/// What somebody else does.
pub(super) type Deed<'d> = Box<dyn FnOnce() + Send + 'd>;

/// A place of the simulation whose user is held up once.
pub(super) struct Between {
    place: Arc<SimPlace>,
    /// Operations left before the deed.
    deed: Mutex<Option<(u64, Deed<'static>)>>,
}

impl Between {
    /// Before operation `at`, counted from 1, `deed` happens; not at all when there are fewer.
    pub(super) fn new(place: Arc<SimPlace>, at: u64, deed: Deed<'static>) -> Arc<Self> {
        Arc::new(Self { place, deed: Mutex::new(Some((at, deed))) })
    }

    fn step(&self) {
        let mut held = self.deed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((left, _)) = held.as_mut() else { return };
        *left = left.saturating_sub(1);
        if *left == 0
            && let Some((_, deed)) = held.take()
        {
            deed();
        }
    }
}

impl Storage for Between {
    fn label(&self) -> &str {
        self.place.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.step();
        self.place.put_new(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.step();
        self.place.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.step();
        self.place.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.step();
        self.place.list(prefix, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.step();
        self.place.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.step();
        self.place.sync()
    }
}

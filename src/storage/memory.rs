//! Objects in memory, for tests and for what is thrown away. Keeps the whole contract but durability.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::contract::{Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError, could_begin_a_name};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::limits::PACK_BYTES_MAX;

/// Names a listing takes at a time; between two takes others may write.
const PAGE_NAMES: usize = 1000;

/// Objects in a sorted map.
pub struct MemoryStorage {
    label: String,
    clock: Arc<dyn Clock>,
    objects: Mutex<BTreeMap<ObjectName, Object>>,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified: Timestamp,
}

impl MemoryStorage {
    /// Empty, dated by the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// Empty, dated by this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { label: "memory:".to_owned(), clock, objects: Mutex::default() }
    }

    /// Changes an object in place, as a failing medium would; for damage tests. Says whether it exists.
    pub fn tamper(&self, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut objects = self.objects();
        let Some(object) = objects.get_mut(name) else { return false };
        let mut bytes = object.bytes.to_vec();
        change(&mut bytes);
        object.bytes = bytes.into();
        true
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Object>> {
        // Each change is one insertion or removal, so a panicking holder leaves the map whole.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

fn stat(name: &ObjectName, object: &Object) -> Stat {
    Stat { name: name.clone(), bytes: len_of(&object.bytes), modified: object.modified }
}

fn len_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Storage for MemoryStorage {
    fn label(&self) -> &str {
        &self.label
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        let modified = self.clock.now();
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Ok(Put::Existing);
        }
        objects.insert(name.clone(), Object { bytes, modified });
        Ok(Put::Created)
    }

    fn replace(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StorageError> {
        let modified = self.clock.now();
        self.objects().insert(name.clone(), Object { bytes, modified });
        Ok(())
    }

    fn get(&self, name: &ObjectName, span: Span, _read: Read) -> Result<Bytes, StorageError> {
        let Some(Object { bytes, .. }) = self.objects().get(name).cloned() else {
            return Err(StorageError::NotFound { place: self.label.clone(), name: name.clone() });
        };
        let (offset, len) = span.within(len_of(&bytes));
        match (usize::try_from(offset), usize::try_from(len)) {
            (Ok(offset), Ok(len)) if len <= PACK_BYTES_MAX => Ok(bytes.slice(offset..offset + len)),
            _ => Err(StorageError::TooLong { place: self.label.clone(), name: name.clone(), bytes: len }),
        }
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        Ok(self.objects().get(name).map(|object| stat(name, object)))
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
        if !could_begin_a_name(prefix) {
            return Ok(());
        }
        let mut after = after.cloned();
        loop {
            let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let page: Vec<Stat> = self
                .objects()
                .range((from, Bound::Unbounded))
                .skip_while(|(name, _)| name.as_str() < prefix)
                .take_while(|(name, _)| name.as_str().starts_with(prefix))
                .take(PAGE_NAMES)
                .map(|(name, object)| stat(name, object))
                .collect();
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            for stat in page {
                if visit(stat).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.objects().remove(name);
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        Ok(Facts { versioning: Some(false), object_lock: Some(false), checksums: true, looks_first: false })
    }
}

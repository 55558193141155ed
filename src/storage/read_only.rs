//! A handle that cannot change anything, for drills, restores and verification.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::contract::{Distance, Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError};

/// Reads through; refuses to put and to delete.
pub struct ReadOnly {
    inner: Arc<dyn Storage>,
}

impl ReadOnly {
    /// Around a storage.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner }
    }

    fn refuse<T>(&self, action: &str, name: &ObjectName) -> Result<T, StorageError> {
        Err(StorageError::ReadOnly { place: self.label().to_owned(), action: format!("{action} {name}") })
    }
}

impl Storage for ReadOnly {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn put_new(&self, name: &ObjectName, _bytes: Bytes) -> Result<Put, StorageError> {
        self.refuse("writing", name)
    }

    fn put_fresh(
        &self,
        name: &mut dyn FnMut() -> ObjectName,
        _bytes: Bytes,
    ) -> Result<ObjectName, StorageError> {
        self.refuse("writing", &name())
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.inner.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.inner.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.inner.list(prefix, visit)
    }

    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.inner.list_after(prefix, after, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.refuse("deleting", name)
    }

    /// Nothing was put, so nothing can be lacking.
    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        self.inner.facts()
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }

    fn keep_room(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn a_read_only_handle_changes_nothing_and_reads_everything() {
        let memory = Arc::new(MemoryStorage::new());
        let name: ObjectName = "a".parse().expect("a name");
        memory.put_new(&name, Bytes::from_static(b"x")).expect("put");
        let storage = ReadOnly::new(memory.clone());
        let other: ObjectName = "b".parse().expect("a name");
        assert!(matches!(storage.put_new(&other, Bytes::new()), Err(StorageError::ReadOnly { .. })));
        let fresh = storage.put_fresh(&mut || other.clone(), Bytes::new());
        assert!(matches!(fresh, Err(StorageError::ReadOnly { .. })));
        assert!(matches!(storage.delete(&name), Err(StorageError::ReadOnly { .. })));
        assert_eq!(storage.get(&name, Span::Whole, Read::Medium).expect("get"), &b"x"[..]);
        assert_eq!(memory.head(&other).expect("head"), None);
    }
}

//! Every driver and layer keeps the storage contract.
#![cfg(feature = "testing")]

use std::sync::Arc;

use lifeboat::storage::conformance;
use lifeboat::storage::local::LocalStorage;
use lifeboat::storage::memory::MemoryStorage;

#[test]
fn memory_keeps_the_contract() {
    conformance::run(|| Arc::new(MemoryStorage::new()));
}

#[test]
fn local_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    conformance::run(|| {
        let place = tempfile::tempdir_in(dir.path()).expect("a folder").keep();
        Arc::new(LocalStorage::create(&place).expect("made"))
    });
}

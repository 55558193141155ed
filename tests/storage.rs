//! Every driver and layer keeps the storage contract.
#![cfg(feature = "testing")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use lifeboat::storage::conformance::{self, Except};
use lifeboat::storage::contract::{Storage, list_all};
use lifeboat::storage::local::LocalStorage;
use lifeboat::storage::memory::MemoryStorage;
use lifeboat::storage::s3::{Create, S3Options, S3Storage};

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

#[test]
fn s3_keeps_the_contract() {
    conformance::run_except(&[Except::MixedFolders], || Arc::new(support::s3::storage()));
}

#[test]
fn s3_that_looks_first_keeps_all_but_the_race() {
    conformance::run_except(&[Except::MixedFolders, Except::Races], || {
        let options = S3Options { create: Create::LookFirst, ..support::s3::options() };
        Arc::new(S3Storage::open(options).expect("opened"))
    });
}

#[test]
fn s3_that_sorts_by_folder_is_noticed_and_never_passed_on() {
    let storage = support::s3::storage();
    for name in ["a/b", "a-b"] {
        storage.put_new(&name.parse().expect("a name"), Bytes::new()).expect("put");
    }
    match list_all(&storage, "") {
        Ok(stats) => assert!(stats.is_sorted_by(|a, b| a.name < b.name)),
        Err(error) => assert!(error.to_string().contains("not sorted"), "{error}"),
    }
}

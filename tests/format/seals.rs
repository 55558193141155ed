//! What a seal binds: nothing opens as something else, and no key seals twice.

use std::collections::HashSet;

use lifeboat::codec::hash;
use lifeboat::codec::seal;
use lifeboat::repository::format::keys::BlobKind;
use lifeboat::repository::format::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};

use crate::support::repo;

const KINDS: [ObjectKind; 7] = [
    ObjectKind::Slot,
    ObjectKind::Cert,
    ObjectKind::Epoch,
    ObjectKind::Index,
    ObjectKind::Snapshot,
    ObjectKind::Plan,
    ObjectKind::Forget,
];
/// Where an object's header says its kind.
const KIND_AT: usize = 10;

/// The object signed again by its signer, who may be hostile.
fn resigned(mut bytes: Vec<u8>) -> Vec<u8> {
    let unsigned = bytes.len() - 64;
    bytes.truncate(unsigned);
    let signature = repo().admin().sign("lifeboat v1 object", &hash::plain(&[&bytes]));
    bytes.extend_from_slice(&signature);
    bytes
}

#[test]
fn no_sealed_object_opens_as_another_kind_however_it_is_signed() {
    let repo = repo();
    let mut tried = 0;
    for kind in KINDS {
        let signer = repo.admin().id();
        let header =
            ObjectHeader { kind, sealing: Sealing::Epoch, epoch: 0, repo: repo.id, signer, number: 7 };
        let (bytes, _) = encode(&header, &[], b"a body", &repo.admin(), Some(&repo.keys)).expect("short");
        // Signing again is no change, so that a refusal below is the seal's.
        assert!(Object::decode(&resigned(bytes.clone()), &repo.id, Some(&repo.keys)).is_ok());
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            let mut bytes = bytes.clone();
            bytes[KIND_AT] = other as u8;
            let read = Object::decode(&resigned(bytes), &repo.id, Some(&repo.keys));
            assert!(read.is_err(), "{kind:?} was taken for {other:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 42);
}

/// The first 44 bytes of a footer row: id, lengths, kind, compression, level, seal.
fn row(id: u64, kind: u8) -> [u8; 44] {
    let mut row = [0; 44];
    row[..8].copy_from_slice(&id.to_le_bytes());
    row[32] = 16;
    row[36] = 16;
    row[40] = kind;
    row[43] = 1;
    row
}

#[test]
fn no_blob_opens_as_another_kind_or_under_another_row() {
    let kinds: Vec<u8> = (1..=7).filter(|kind| BlobKind::from_u8(*kind).is_some()).collect();
    assert_eq!(kinds.len(), 7);
    let pack = [5; 32];
    let mut out = Vec::new();
    for kind in &kinds {
        let mut sealed = b"sixteen bytes!!!".to_vec();
        let tag = seal::seal_blob(&pack, &row(1, *kind), &mut sealed);
        sealed.extend_from_slice(&tag);
        seal::open_blob(&pack, &row(1, *kind), &sealed, &mut out).expect("its own row");
        for other in kinds.iter().filter(|other| *other != kind) {
            assert!(seal::open_blob(&pack, &row(1, *other), &sealed, &mut out).is_err(), "{kind} as {other}");
        }
        for bit in 0..44 * 8 {
            let mut row = row(1, *kind);
            row[bit / 8] ^= 1 << (bit % 8);
            assert!(seal::open_blob(&pack, &row, &sealed, &mut out).is_err(), "bit {bit} of the row");
        }
    }
}

/// Equal plain bytes show the key stream: two that are alike are one key. Packs of one repository
/// resumed twice from the same state differ in their pack keys, or in their rows.
/// `LIFEBOAT_TORTURE_ROUNDS` tries a million keys.
#[test]
fn no_two_blobs_are_sealed_under_one_key() {
    let is_long = std::env::var_os("LIFEBOAT_TORTURE_ROUNDS").is_some();
    let rows: u64 = if is_long { 62_500 } else { 3_125 };
    let packs: u64 = 16;
    let mut seen = HashSet::new();
    for pack in 0..packs {
        let pack = hash::plain(&[&pack.to_le_bytes()]);
        for number in 0..rows {
            let mut bytes = [0; 16];
            let tag = seal::seal_blob(&pack, &row(number, 1), &mut bytes);
            assert!(seen.insert((bytes, tag)), "row {number}: its key sealed another blob");
        }
    }
    assert_eq!(seen.len() as u64, packs * rows);
}

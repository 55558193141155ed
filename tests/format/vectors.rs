//! Every line of `fixtures/crypto_vectors.txt`, which an independent implementation (Python's
//! `blake3` and `cryptography`) printed: equal bytes from our code.

use std::collections::BTreeMap;

use lifeboat::base::id::{ObjectHash, RepoId};
use lifeboat::base::secret::{Key, Secret};
use lifeboat::codec::sign::Signer;
use lifeboat::codec::{hash, seal};
use lifeboat::repository::format::keys::{BlobKind, EpochKeys, RootKeys, writer_seed};
use lifeboat::repository::format::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};

const ROW_KEYED_BYTES: usize = 44;

/// Every label of the file with what follows it.
fn vectors() -> BTreeMap<&'static str, &'static str> {
    let labels = [
        "KD",
        "K_id[1]",
        "gear[0]",
        "id chunk",
        "id group",
        "row",
        "blob key",
        "blob",
        "box",
        "writer pk",
        "object len",
        "name",
        "ok",
        "slot body",
    ];
    let text = include_str!("../fixtures/crypto_vectors.txt");
    let label_of = |line: &str| {
        let longest = labels.iter().filter(|label| line.starts_with(**label)).max_by_key(|label| label.len());
        *longest.unwrap_or_else(|| panic!("a line of the file is not tested: {line}"))
    };
    let found: BTreeMap<_, _> =
        text.lines().map(|line| (label_of(line), line[label_of(line).len()..].trim())).collect();
    assert_eq!(found.len(), labels.len(), "every vector stands in the file once");
    found
}

fn repo() -> RepoId {
    RepoId::new(std::array::from_fn(|n| u8::try_from(n).expect("16 is small")))
}

fn root_keys() -> RootKeys {
    RootKeys::new(key(0x11), Some(key(0x55)))
}

fn keys() -> EpochKeys {
    EpochKeys::derive(&root_keys(), &repo())
}

fn key(byte: u8) -> Key {
    Secret::new([byte; 32])
}

fn domain() -> Key {
    hash::derive("domain", &[0x11; 32], &repo(), &0u32.to_le_bytes())
}

fn chunk_row() -> [u8; 48] {
    let mut row = [0; 48];
    row[..32].copy_from_slice(keys().ids().id(BlobKind::Chunk, b"hello chunk").as_bytes());
    row[32] = 11;
    row[36] = 11;
    row[40] = 1;
    row[43] = 1;
    row
}

fn keyed_part(row: &[u8; 48]) -> [u8; ROW_KEYED_BYTES] {
    *row.first_chunk().expect("44 of 48 bytes")
}

#[test]
fn keys_and_ids_are_those_of_the_reference() {
    let v = vectors();
    assert_eq!(hex::encode(domain().expose()), v["KD"]);
    let id_key = hash::derive("id", domain().expose(), &repo(), &[1]);
    assert_eq!(hex::encode(id_key.expose()), v["K_id[1]"]);
    let gear = keys().ids().gear().clone();
    let ends = format!("{:#x} gear[255] {:#x}", gear.number(0), gear.number(255));
    assert_eq!(ends, v["gear[0]"]);
    let keys = keys();
    assert_eq!(keys.ids().id(BlobKind::Chunk, b"hello chunk").to_hex(), v["id chunk"]);
    let files: [&[u8]; 2] = [b"aaa", b"bb"];
    let hashes = files.map(|file| (u32::try_from(file.len()).expect("short"), keys.ids().file_hash(file)));
    assert_eq!(keys.ids().group_id(&hashes).to_hex(), v["id group"]);
}

#[test]
fn a_blob_is_sealed_as_the_reference_seals_it() {
    let v = vectors();
    let row = chunk_row();
    assert_eq!(hex::encode(row), v["row"]);
    let info = [&b"lifeboat1 blob\0\0"[..], &row[..44], &[0; 4]];
    assert_eq!(hex::encode(hash::keyed(&[0x22; 32], &info)), v["blob key"]);
    let mut blob = b"hello chunk".to_vec();
    let tag = seal::seal_blob(&[0x22; 32], &keyed_part(&row), &mut blob);
    blob.extend_from_slice(&tag);
    assert_eq!(hex::encode(&blob), v["blob"]);
    // A repack renumbers the key box and keeps the ciphertext.
    let mut repacked = row;
    repacked[44] = 7;
    assert!(seal::open_blob(&[0x22; 32], &keyed_part(&repacked), &blob, &mut Vec::new()).is_ok());
    // Another kind, length, or id is another key.
    let group = keys().ids().group_id(&[]);
    for (at, value) in [(40, 2), (32, 12), (0, group.as_bytes()[0])] {
        let mut bad = row;
        bad[at] = value;
        assert!(
            seal::open_blob(&[0x22; 32], &keyed_part(&bad), &blob, &mut Vec::new()).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn a_key_box_is_the_one_of_the_reference_and_opens_in_its_place_only() {
    let v = vectors();
    let keys = keys();
    let header = |role: u8, epoch: u32| [&repo().as_bytes()[..], &[role], &epoch.to_le_bytes()].concat();
    let sealed = seal::seal(
        keys.data_box(0).expect("a key that reads").expose(),
        &repo(),
        "box",
        &header(2, 0),
        &[0x22; 32],
    );
    assert_eq!(format!("{} {}", sealed.len(), hex::encode(&sealed)), v["box"]);
    let open = |key: &Key, header: &[u8]| seal::open(key.expose(), &repo(), "box", header, &sealed);
    assert_eq!(open(keys.data_box(0).expect("a key that reads"), &header(2, 0)), Ok(vec![0x22; 32]));
    assert!(open(keys.meta_box(0).expect("a key that reads"), &header(2, 0)).is_err());
    assert!(open(keys.data_box(0).expect("a key that reads"), &header(1, 0)).is_err());
    assert!(open(keys.data_box(0).expect("a key that reads"), &header(2, 1)).is_err());
}

#[test]
fn a_snapshot_object_is_byte_for_byte_the_one_of_the_reference() {
    let v = vectors();
    let writer = Signer::from_seed(writer_seed(&key(0x55), &repo(), b"web1").expose());
    assert_eq!(hex::encode(writer.public()), v["writer pk"]);
    let header = ObjectHeader {
        kind: ObjectKind::Snapshot,
        sealing: Sealing::Epoch,
        epoch: 0,
        repo: repo(),
        signer: writer.id(),
        number: 1,
    };
    // The reference leaves the end mark to the fill, whose first two bytes it is.
    let body = [1, 0, 1, 0, 0, 0, 1];
    let (bytes, name) = encode(&header, &[], &body, &writer, Some(&keys())).expect("in bounds");
    let (head, signature) = (hex::encode(&bytes[..72]), hex::encode(&bytes[bytes.len() - 64..]));
    assert_eq!(format!("{} head {head} sig {signature}", bytes.len()), v["object len"]);
    assert_eq!(name, v["name"].parse::<ObjectHash>().expect("a hash"));
    let object = Object::decode(&bytes, &repo(), Some(&keys())).expect("decodes");
    object.verify(writer.public()).expect("signed");
    assert_eq!(object.body.len(), 4096);
}

#[test]
fn two_writers_with_one_pack_key_never_share_a_blob_key() {
    assert_eq!(vectors()["ok"], "");
    let sealed = |content: &[u8; 9]| {
        let mut row = [0; ROW_KEYED_BYTES];
        row[..32].copy_from_slice(keys().ids().id(BlobKind::Chunk, content).as_bytes());
        let mut zeros = [0; 9];
        seal::seal_blob(&[0x22; 32], &row, &mut zeros);
        zeros
    };
    assert_ne!(sealed(b"XXXXXXXXX"), sealed(b"YYYYYYYYY"));
}

#[test]
fn a_slot_body_is_the_one_of_the_reference() {
    let salt = [0x44; 32];
    let kek = hash::derive("kek", &[0x33; 32], &repo(), &salt);
    let params = [&[2][..], &salt, &[0; 12]].concat();
    let field = |tag: u16, value: [u8; 32]| [&tag.to_le_bytes()[..], &32u32.to_le_bytes(), &value].concat();
    let grant = [field(1, [0x11; 32]), field(2, [0x55; 32]), field(4, [0; 32])].concat();
    let sealed = seal::seal(kek.expose(), &repo(), "slot", &params, &grant);
    assert_eq!(hex::encode([params, sealed].concat()), vectors()["slot body"]);
}

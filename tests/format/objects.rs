//! `repo.fmt`, names, signed objects, key slots and certificates.

use lifeboat::base::clock::Timestamp;
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::id::{ObjectHash, WriterId};
use lifeboat::base::limits::OBJECT_PART_BYTES_MAX;
use lifeboat::codec::hash;
use lifeboat::codec::kdf::{KdfParams, MEMORY_KIB_MIN, passphrase_secret};
use lifeboat::codec::seal::{self, SEAL_BYTES};
use lifeboat::repository::format::cert::WriterCert;
use lifeboat::repository::format::names::{
    KeyKind, PackClass, REPO_FMT, SnapshotEntry, SnapshotName, content_hash, index_name, key_name, pack_name,
    parse_forget_name, parse_index_name, parse_key_name, parse_snapshot_name,
};
use lifeboat::repository::format::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use lifeboat::repository::format::repo_fmt::{REPO_FMT_BYTES, RepoFmt};
use lifeboat::repository::format::slot::{SlotSecret, create_slot, open_slot};
use lifeboat::repository::format::tlv::TlvWriter;
use lifeboat::storage::contract::ObjectName;
use proptest::prelude::*;

use crate::support::{Repo, repo, with_bit_flipped};

const CHEAP: KdfParams = KdfParams { memory_kib: MEMORY_KIB_MIN, passes: 1, lanes: 1 };

fn with_trailer(content: &[u8]) -> Vec<u8> {
    [content, &hash::plain(&[content])].concat()
}

#[test]
fn repo_fmt_comes_back_and_nothing_else_is_taken_for_it() {
    let format = repo().format;
    let bytes = format.encode();
    assert_eq!(bytes.len(), REPO_FMT_BYTES);
    assert_eq!(RepoFmt::decode(&bytes), Ok(format));
    let content = &bytes[..REPO_FMT_BYTES - 32];
    // Reserved bytes, an unknown chunker, sizes out of bounds: refused even with a sound hash.
    for (at, value) in [(10, 2), (12, 1), (15, 0xff), (39, 1), (72, 1), (127, 1)] {
        let mut content = content.to_vec();
        content[at] ^= value;
        assert!(RepoFmt::decode(&with_trailer(&content)).is_err(), "byte {at}");
    }
}

#[test]
fn a_repo_fmt_with_parity_has_a_version_that_older_programs_refuse() {
    let format = RepoFmt { parity: 8, ..repo().format };
    let bytes = format.encode();
    assert_eq!((bytes[8], bytes[72]), (2, 8));
    assert_eq!(RepoFmt::decode(&bytes), Ok(format));
    // Version 2 without parity, version 1 with it, and more parity than there may be.
    for (version, parity) in [(2, 0), (1, 8), (2, 26)] {
        let mut content = bytes[..REPO_FMT_BYTES - 32].to_vec();
        (content[8], content[72]) = (version, parity);
        assert!(RepoFmt::decode(&with_trailer(&content)).is_err(), "{version} {parity}");
    }
}

#[test]
fn a_newer_repo_fmt_is_told_from_a_damaged_one() {
    let mut content = repo().format.encode()[..REPO_FMT_BYTES - 32].to_vec();
    content[8] = 3;
    content.extend_from_slice(b"more than version 2 has");
    assert_eq!(RepoFmt::decode(&with_trailer(&content)).unwrap_err().class(), Class::Usage);
    content.extend_from_slice(&[0; 32]);
    assert_eq!(RepoFmt::decode(&content).unwrap_err().class(), Class::Damage);
}

proptest! {
    #[test]
    fn a_repo_fmt_with_a_flipped_bit_or_cut_short_is_damage(bit in any::<usize>(), cut in 0usize..REPO_FMT_BYTES) {
        let bytes = repo().format.encode();
        prop_assert_eq!(RepoFmt::decode(&with_bit_flipped(&bytes, bit)).unwrap_err().class(), Class::Damage);
        prop_assert!(RepoFmt::decode(&bytes[..cut]).is_err());
    }
}

fn object_name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("a name")
}

#[test]
fn every_name_is_read_back() {
    let hash = ObjectHash::new([0xc5; 32]);
    assert_eq!(pack_name(PackClass::Data, &hash).as_str(), format!("p/c5/{hash}"));
    assert_eq!(pack_name(PackClass::Meta, &hash).as_str(), format!("m/c5/{hash}"));
    assert_eq!(parse_index_name(&index_name(0, &hash)), Some((0, hash)));
    for kind in [KeyKind::Slot, KeyKind::Cert] {
        assert_eq!(parse_key_name(&key_name(kind, &hash)), Some((kind, hash)));
    }
    let at = Timestamp::from_unix_ms(1_795_485_182_123);
    let name = SnapshotName::new(at, &WriterId::new([0xab; 16]), hash, [1; 8]);
    assert_eq!(name.proposal().as_str(), format!("s/20261124T015302Z-abababab-{hash}.0101010101010101"));
    assert_eq!(parse_snapshot_name(&name.proposal()), Some(SnapshotEntry::Proposal(name.clone())));
    assert_eq!(parse_snapshot_name(&name.confirmation()), Some(SnapshotEntry::Confirmation(name.clone())));
    assert_eq!(parse_forget_name(&object_name(&format!("f/{hash}"))), Some(hash));
    assert_eq!(content_hash(&name.proposal()), Some(hash));
    assert_eq!(content_hash(&name.confirmation()), None);
    assert_eq!(content_hash(&REPO_FMT), None);
    assert_eq!(content_hash(&object_name(&format!("g/20261124T015302Z-{hash}"))), Some(hash));
}

#[test]
fn a_name_has_one_spelling() {
    let hash = ObjectHash::new([0xc5; 32]);
    for text in [
        format!("i/00/{hash}"),
        format!("i/256/{hash}"),
        format!("i/0/x/{hash}"),
        format!("keys/slots-{hash}"),
        format!("keys/slot-{hash}-0"),
        format!("s/20261124T015302Z-abababab-{hash}"),
        format!("s/20261124T015302Z-abababab-{hash}.0101010101010101.ok.ok"),
        format!("s/2026112aT015302Z-abababab-{hash}.0101010101010101"),
        format!("s/20261124T015302Z-ababab-{hash}.0101010101010101"),
        format!("s/20261124T015302Z-abababab-{hash}.01010101"),
        format!("f/{hash}.1"),
    ] {
        let name = object_name(&text);
        assert!(parse_index_name(&name).is_none(), "{text}");
        assert!(parse_key_name(&name).is_none(), "{text}");
        assert!(parse_snapshot_name(&name).is_none(), "{text}");
        assert!(parse_forget_name(&name).is_none(), "{text}");
    }
}

fn header(repo: &Repo, kind: ObjectKind, sealing: Sealing) -> ObjectHeader {
    ObjectHeader { kind, sealing, epoch: 0, repo: repo.id, signer: repo.admin().id(), number: 7 }
}

fn sample(body: &[u8]) -> Vec<u8> {
    let repo = repo();
    let links = [ObjectHash::new([4; 32]), ObjectHash::new([5; 32])];
    let header = header(&repo, ObjectKind::Snapshot, Sealing::Epoch);
    encode(&header, &links, body, &repo.admin(), Some(&repo.keys)).expect("in bounds").0
}

fn accept(bytes: &[u8]) -> Result<Object, lifeboat::repository::format::error::FormatError> {
    let repo = repo();
    let object = Object::decode(bytes, &repo.id, Some(&repo.keys))?;
    object.verify(repo.admin().public())?;
    Ok(object)
}

#[test]
fn objects_come_back_in_one_part_or_several() {
    for len in [0, 1, 4096, 4097, OBJECT_PART_BYTES_MAX, OBJECT_PART_BYTES_MAX + 1] {
        let body = vec![6; len];
        let object = accept(&sample(&body)).expect("sound");
        assert_eq!(object.body.len(), len.max(1).next_multiple_of(4096));
        assert!(object.body.starts_with(&body) && object.body[len..].iter().all(|&b| b == 0));
        assert_eq!((object.header.number, object.links.len()), (7, 2));
    }
}

#[test]
fn the_parts_of_a_body_cannot_be_dropped_or_exchanged() {
    let body: Vec<u8> = (0..3u8).flat_map(|n| vec![n; OBJECT_PART_BYTES_MAX]).collect();
    let bytes = sample(&body);
    let (part, start) = (4 + SEAL_BYTES + OBJECT_PART_BYTES_MAX, 72 + 64);
    let mut exchanged = bytes.clone();
    exchanged[start..start + part].copy_from_slice(&bytes[start + part..start + 2 * part]);
    exchanged[start + part..start + 2 * part].copy_from_slice(&bytes[start..start + part]);
    let mut dropped = bytes.clone();
    dropped.drain(start + 2 * part..start + 3 * part);
    dropped[64..72].copy_from_slice(&u64::try_from(2 * part).expect("small").to_le_bytes());
    let repo = repo();
    for bad in [exchanged, dropped] {
        // Decoding alone must refuse: a snapshot may be read before its signer's key is known.
        assert!(Object::decode(&bad, &repo.id, Some(&repo.keys)).is_err());
    }
}

#[test]
fn a_short_part_before_the_last_is_refused() {
    let repo = repo();
    let whole = sample(&[]);
    let bound = &whole[..64];
    let part = |number: u8, last: u8| {
        let header = [bound, &[number, 0, 0, 0, last]].concat();
        let sealed = seal::seal(
            repo.keys.snapshot(0).expect("a key that reads").expose(),
            &repo.id,
            "object",
            &header,
            &[7; 4096],
        );
        [&u32::try_from(sealed.len()).expect("short").to_le_bytes()[..], &sealed].concat()
    };
    let with_body = |parts: &[Vec<u8>]| {
        let body = parts.concat();
        let len = u64::try_from(body.len()).expect("short").to_le_bytes();
        resigned([bound, &len, &whole[72..136], &body].concat())
    };
    assert!(accept(&with_body(&[part(0, 1)])).is_ok());
    assert!(accept(&with_body(&[part(0, 0), part(1, 1)])).is_err());
    assert!(accept(&with_body(&[part(0, 0)])).is_err());
    assert!(accept(&with_body(&[])).is_err());
}

#[test]
fn an_object_that_names_another_signer_is_refused() {
    let repo = repo();
    let header = header(&repo, ObjectKind::Cert, Sealing::Clear);
    let (mut bytes, _) = encode(&header, &[], b"", &repo.admin(), None).expect("in bounds");
    bytes.truncate(bytes.len() - 64);
    assert!(accept(&resigned(bytes.clone())).is_ok());
    bytes[32] ^= 1;
    assert!(accept(&resigned(bytes)).is_err());
}

/// Signed anew by the administrator, so that only the rule under test can refuse it.
fn resigned(mut unsigned: Vec<u8>) -> Vec<u8> {
    let signature = repo().admin().sign("lifeboat v1 object", &hash::plain(&[&unsigned]));
    unsigned.extend_from_slice(&signature);
    unsigned
}

#[test]
fn an_object_under_another_label_key_or_repository_does_not_open() {
    let (bytes, here) = (sample(b"body"), repo());
    for kind in [3u8, 4, 5, 8, 9, 7, 0] {
        let mut relabelled = bytes.clone();
        relabelled[10] = kind;
        assert!(Object::decode(&relabelled, &here.id, Some(&here.keys)).is_err(), "kind {kind}");
    }
    let other = Repo::numbered(2);
    assert!(Object::decode(&bytes, &here.id, Some(&other.keys)).is_err());
    assert!(Object::decode(&bytes, &other.id, Some(&other.keys)).is_err());
    let object = Object::decode(&bytes, &here.id, Some(&here.keys)).expect("sound");
    assert!(object.verify(other.admin().public()).is_err());
}

#[test]
fn a_length_that_claims_the_world_reserves_nothing() {
    let bytes = sample(b"body");
    for claimed in [u64::MAX, 1 << 40, 1 << 32] {
        let mut bad = bytes.clone();
        bad[64..72].copy_from_slice(&claimed.to_le_bytes());
        assert!(accept(&bad).is_err());
    }
    let mut bad = bytes.clone();
    bad[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(accept(&bad).is_err());
    let unsorted = [ObjectHash::new([5; 32]), ObjectHash::new([4; 32])];
    let repo = repo();
    let header = header(&repo, ObjectKind::Snapshot, Sealing::Clear);
    assert!(encode(&header, &unsorted, b"", &repo.admin(), None).is_err());
}

proptest! {
    #[test]
    fn an_object_with_a_flipped_bit_is_never_accepted(bit in any::<usize>()) {
        prop_assert!(accept(&with_bit_flipped(&sample(b"some body"), bit)).is_err());
    }

    #[test]
    fn any_bytes_after_an_objects_magic_give_an_error(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(accept(&[&b"LBOBJ\0\0\x01\x01\0"[..], &tail].concat()).is_err());
        prop_assert!(accept(&tail).is_err());
    }
}

fn passphrase(text: &str) -> SlotSecret {
    SlotSecret::passphrase(text)
}

fn slot(repo: &Repo, text: &str) -> Vec<u8> {
    let bytes = repo.format.encode();
    create_slot(&bytes, &repo.format, &repo.root, &passphrase(text), CHEAP).expect("a slot").bytes
}

fn open(repo: &Repo, slot: &[u8], text: &str) -> Result<[u8; 32], Class> {
    open_slot(slot, &repo.format.encode(), &repo.format, &passphrase(text))
        .map(|keys| *keys.root().expect("a key that reads").expose())
        .map_err(|error| error.class())
}

#[test]
fn a_slot_opens_with_its_passphrase_and_another_is_no_damage() {
    let repo = repo();
    let slots = [slot(&repo, "right"), slot(&repo, "also right\n")];
    assert_eq!(open(&repo, &slots[0], "right\n"), Ok([1; 32]));
    assert_eq!(open(&repo, &slots[1], "also right"), Ok([1; 32]));
    assert_eq!(open(&repo, &slots[0], "wrong"), Err(Class::WrongKey));
    assert_eq!(open(&repo, &slots[0], "also right"), Err(Class::WrongKey));
}

#[test]
fn a_slot_is_bound_to_its_repo_fmt_and_its_administrator() {
    let repo = repo();
    let slot_here = slot(&repo, "right");
    let mut exchanged = Repo::numbered(1);
    exchanged.format.pack_bytes *= 2;
    assert_eq!(open(&exchanged, &slot_here, "right"), Err(Class::Damage));
    let mut usurped = Repo::numbered(1);
    usurped.format.admin_public = *Repo::numbered(2).admin().public();
    assert_eq!(open(&usurped, &slot_here, "right"), Err(Class::Damage));
    assert_eq!(open(&usurped, &slot(&usurped, "right"), "right"), Err(Class::Damage));
}

#[test]
fn a_slot_that_grants_a_foreign_administrator_or_no_root_is_refused() {
    let repo = repo();
    let salt = [9; 32];
    let costs = [CHEAP.memory_kib, CHEAP.passes, CHEAP.lanes].map(u32::to_le_bytes).concat();
    let params = [&[1][..], &salt, &costs].concat();
    let secret = passphrase_secret(b"right", &salt, CHEAP).expect("a key");
    let kek = hash::derive("kek", secret.expose(), &repo.id, &salt);
    let pin = hash::plain(&[&repo.format.encode()]);
    let class = |grants: &[(u16, &[u8; 32])]| {
        let mut grant = TlvWriter::new();
        for (tag, key) in grants {
            grant.put(*tag, *key);
        }
        let sealed = seal::seal(kek.expose(), &repo.id, "slot", &params, &grant.finish());
        let header = header(&repo, ObjectKind::Slot, Sealing::Clear);
        let body = [&params[..], &sealed].concat();
        let (bytes, _) = encode(&header, &[], &body, &repo.admin(), None).expect("in bounds");
        open(&repo, &bytes, "right")
    };
    let admin = repo.root.admin().expect("an administrator's keys").expose();
    assert_eq!(class(&[(1, &[1; 32]), (2, admin), (4, &pin)]), Ok([1; 32]));
    assert_eq!(class(&[(1, &[1; 32]), (4, &pin)]), Ok([1; 32]));
    assert_eq!(class(&[(1, &[1; 32]), (2, &[8; 32]), (4, &pin)]), Err(Class::Damage));
    assert_eq!(class(&[(1, &[1; 32]), (2, admin)]), Err(Class::Damage));
    assert_eq!(class(&[(2, admin), (4, &pin)]), Err(Class::WrongKey));
}

#[test]
fn a_slots_cost_out_of_bounds_is_refused_even_when_signed() {
    // Re-signed by the administrator, so that only the bound can refuse it.
    let repo = repo();
    let slot = Object::decode(&slot(&repo, "right"), &repo.id, None).expect("sound");
    for (at, value) in [(33, u32::MAX), (33, 8), (37, 65), (41, 9), (37, 0)] {
        let mut body = slot.body.clone();
        body[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let header = header(&repo, ObjectKind::Slot, Sealing::Clear);
        let (bytes, _) = encode(&header, &[], &body, &repo.admin(), None).expect("in bounds");
        assert_eq!(open(&repo, &bytes, "right"), Err(Class::Damage), "{value} at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_slot_with_a_flipped_bit_is_never_opened(bit in any::<usize>()) {
        let repo = repo();
        prop_assert!(open(&repo, &with_bit_flipped(&slot(&repo, "right"), bit), "right").is_err());
    }
}

#[test]
fn a_certificate_counts_only_with_the_administrators_signature() {
    let repo = repo();
    let cert = WriterCert::host(repo.writer(b"web1").public(), "web1");
    let stored = cert.encode(&repo.id, &repo.admin()).expect("in bounds");
    assert_eq!(WriterCert::decode(&stored.bytes, &repo.id, &repo.format.admin_public), Ok(cert.clone()));
    assert_eq!(cert.encode(&repo.id, &repo.admin()).expect("in bounds").name, stored.name);
    let forged = cert.encode(&repo.id, &repo.writer(b"web1")).expect("in bounds");
    assert!(WriterCert::decode(&forged.bytes, &repo.id, &repo.format.admin_public).is_err());
}

#[test]
fn a_certificate_without_a_role_or_with_slack_is_refused() {
    let repo = repo();
    let header = header(&repo, ObjectKind::Cert, Sealing::Clear);
    let key = [&[1, 0, 32, 0, 0, 0][..], &[9; 32]].concat();
    let role = [2, 0, 1, 0, 0, 0, 1];
    let label = [3, 0, 1, 0, 0, 0, b'x'];
    let end = [0, 0];
    let decode = |body: &[&[u8]]| {
        let (bytes, _) = encode(&header, &[], &body.concat(), &repo.admin(), None).expect("in bounds");
        WriterCert::decode(&bytes, &repo.id, &repo.format.admin_public)
    };
    assert!(decode(&[&key, &role, &label, &end]).is_ok());
    assert!(decode(&[&key, &label, &end]).is_err());
    assert!(decode(&[&role, &label, &end]).is_err());
    assert!(decode(&[&key, &role, &end]).is_err());
    assert!(decode(&[&key, &role, &label, &end, &[0]]).is_err());
    assert!(decode(&[&role, &key, &label, &end]).is_err());
}

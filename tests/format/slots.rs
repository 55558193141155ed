//! Key slots of every kind of secret, and frozen ones.

use std::collections::BTreeMap;

use lifeboat::base::error::{Class, Classified};
use lifeboat::base::secret::Secret;
use lifeboat::codec::agree;
use lifeboat::codec::kdf::{KdfParams, MEMORY_KIB_MIN};
use lifeboat::repository::format::epoch::{announce, announced};
use lifeboat::repository::format::error::FormatError;
use lifeboat::repository::format::keys::{BlobKind, EpochKeys, Role, RootKeys};
use lifeboat::repository::format::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use lifeboat::repository::format::slot::{SlotSecret, create_slot, create_slot_for, open_slot};

use crate::support::{Repo, repo, with_bit_flipped};

const CHEAP: KdfParams = KdfParams { memory_kib: MEMORY_KIB_MIN, passes: 1, lanes: 1 };

fn key_file(byte: u8) -> SlotSecret {
    SlotSecret::KeyFile(Secret::new([byte; 32]))
}

fn slot(repo: &Repo, secret: &SlotSecret) -> Vec<u8> {
    create_slot(&repo.format.encode(), &repo.format, &repo.root, secret, CHEAP).expect("a slot").bytes
}

fn slot_for(repo: &Repo, role: &Role, secret: &SlotSecret) -> Vec<u8> {
    create_slot_for(role, &repo.format.encode(), &repo.format, &repo.root, secret, CHEAP)
        .expect("a slot")
        .bytes
}

fn open(repo: &Repo, slot: &[u8], secret: &SlotSecret) -> Result<[u8; 32], Class> {
    open_slot(slot, &repo.format.encode(), &repo.format, secret)
        .map(|keys| *keys.root().expect("a key that reads").expose())
        .map_err(|error| error.class())
}

fn signed(repo: &Repo, body: &[u8]) -> Vec<u8> {
    let header = ObjectHeader {
        kind: ObjectKind::Slot,
        sealing: Sealing::Clear,
        epoch: 0,
        repo: repo.id,
        signer: repo.admin().id(),
        number: 0,
    };
    encode(&header, &[], body, &repo.admin(), None).expect("in bounds").0
}

#[test]
fn a_slot_opens_with_secrets_of_its_own_method_alone() {
    let repo = repo();
    // Secrets of the same bytes under other methods.
    let code = SlotSecret::recovery_code(Secret::new([b'k'; 32]));
    let secrets = [key_file(b'k'), SlotSecret::passphrase([b'k'; 32]), code];
    let slots = secrets.each_ref().map(|secret| slot(&repo, secret));
    for (at, slot) in slots.iter().enumerate() {
        for (other, secret) in secrets.iter().enumerate() {
            let expected = if at == other { Ok([1; 32]) } else { Err(Class::WrongKey) };
            assert_eq!(open(&repo, slot, secret), expected, "slot {at}, secret {other}");
        }
    }
    assert_eq!(open(&repo, &slots[0], &key_file(b'l')), Err(Class::WrongKey));
}

#[test]
fn a_slot_of_random_bytes_has_no_costs_and_one_that_claims_some_is_refused() {
    let repo = repo();
    let object = Object::decode(&slot(&repo, &key_file(7)), &repo.id, None).expect("sound");
    assert_eq!(object.body[0], 2);
    assert_eq!(object.body[33..45], [0; 12]);
    for at in 33..45 {
        let mut body = object.body.clone();
        body[at] = 1;
        // Re-signed by the administrator, so that only the rule can refuse it.
        assert_eq!(open(&repo, &signed(&repo, &body), &key_file(7)), Err(Class::Damage), "{at}");
    }
}

#[test]
fn methods_of_later_versions_are_passed_over() {
    let repo = repo();
    let object = Object::decode(&slot(&repo, &key_file(7)), &repo.id, None).expect("sound");
    for method in [0, 5, 6, 255] {
        let mut body = object.body.clone();
        body[0] = method;
        for secret in [key_file(7), SlotSecret::passphrase("x")] {
            assert_eq!(open(&repo, &signed(&repo, &body), &secret), Err(Class::WrongKey), "{method}");
        }
    }
}

/// `LIFEBOAT_FREEZE=slot` prints one for `slots.txt`.
#[test]
fn a_slot_for_a_recipient_is_made_by_the_public_part_and_opened_by_the_private_one_alone() {
    let repo = repo();
    let private = Secret::new([7; 32]);
    let public = agree::public(&private).expect("a key");
    let recipient = SlotSecret::Recipient(public);
    let (one, two) = (slot(&repo, &recipient), slot(&repo, &recipient));
    assert_ne!(one, two, "each has a key of its own");
    if std::env::var("LIFEBOAT_FREEZE").is_ok_and(|what| what == "slot") {
        println!("recipient {}", hex::encode(&one));
    }
    for slot in [&one, &two] {
        assert_eq!(open(&repo, slot, &SlotSecret::RecipientKey(Secret::new([7; 32]))), Ok([1; 32]));
        assert_eq!(open(&repo, slot, &SlotSecret::RecipientKey(Secret::new([8; 32]))), Err(Class::WrongKey));
        assert_eq!(open(&repo, slot, &recipient), Err(Class::WrongKey), "the public part opens nothing");
        assert_eq!(open(&repo, slot, &key_file(7)), Err(Class::WrongKey));
    }
    let none = SlotSecret::Recipient([0; 32]);
    let made = create_slot(&repo.format.encode(), &repo.format, &repo.root, &none, CHEAP);
    assert!(made.is_err(), "what everybody could open is not made");
    for bit in (0..one.len() * 8).step_by(7) {
        let secret = SlotSecret::RecipientKey(Secret::new([7; 32]));
        assert!(open(&repo, &with_bit_flipped(&one, bit), &secret).is_err(), "bit {bit}");
    }
}

#[test]
fn a_key_file_slot_with_any_flipped_bit_is_damage() {
    let repo = repo();
    let slot = slot(&repo, &key_file(7));
    for bit in (0..slot.len() * 8).step_by(5) {
        let class = open(&repo, &with_bit_flipped(&slot, bit), &key_file(7)).expect_err("opened");
        assert!(matches!(class, Class::Damage | Class::Usage), "bit {bit}: {class:?}");
    }
}

/// `tests/fixtures/slots.txt`: slots as this version wrote them, one for each method.
#[test]
fn slots_of_every_method_that_were_ever_written_open() {
    let repo = repo();
    let text = include_str!("../fixtures/slots.txt");
    let frozen: BTreeMap<&str, Vec<u8>> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(label, bytes)| (label, hex::decode(bytes).expect("hexadecimal")))
        .collect();
    let code = SlotSecret::recovery_code(Secret::new([7; 32]));
    let secrets = [
        ("passphrase", SlotSecret::passphrase("fixture\n")),
        ("key-file", key_file(7)),
        ("recovery-code", code),
        ("recipient", SlotSecret::RecipientKey(Secret::new([7; 32]))),
    ];
    assert_eq!(frozen.len(), secrets.len() + 4, "one of each method, role and epoch, and an announcement");
    for (label, secret) in &secrets {
        assert_eq!(open(&repo, &frozen[label], secret), Ok([1; 32]), "{label}");
    }
}

/// The slots of hosts in the same file.
#[test]
fn slots_of_hosts_grant_what_their_role_needs_and_no_more() {
    let repo = repo();
    let text = include_str!("../fixtures/slots.txt");
    let open_line = |label: &str| {
        let line = text.lines().filter_map(|line| line.split_once(' ')).find(|line| line.0 == label);
        let bytes = hex::decode(line.expect("it is frozen").1).expect("hexadecimal");
        open_slot(&bytes, &repo.format.encode(), &repo.format, &key_file(7)).expect("opened")
    };
    let host = open_line("host");
    assert_eq!(host.root().map(|root| *root.expose()), Ok([1; 32]));
    assert!(host.admin().is_err() && host.add_keys().is_none());
    assert_eq!(host.writer().map(|writer| writer.host.as_str()), Some("web"));
    let adds = open_line("write-only");
    assert!(adds.root().is_err() && adds.admin().is_err());
    let keys = EpochKeys::derive(&adds, &repo.id);
    assert!(keys.writes_only() && keys.meta_box(0).is_err() && keys.data_box(0).is_err());
    assert!(keys.snapshot(0).is_err() && keys.as_reader("readers box", 0, &[9; 32]).is_err());
    assert_eq!(keys.index().expose(), repo.keys.index().expose());
    assert_eq!(keys.ids().id(BlobKind::Chunk, b"x"), repo.keys.ids().id(BlobKind::Chunk, b"x"));
    assert_eq!(keys.readers(0), repo.keys.readers(0));
    let seed = |keys: &RootKeys| *keys.writer().expect("granted").seed.expose();
    assert_ne!(seed(&adds), seed(&host), "who only adds signs with a key of its own");
}

/// The slot of a later epoch in the same file, and the epoch's announcement.
#[test]
fn the_slot_of_a_later_epoch_has_the_keys_of_all_before_it() {
    let repo = repo();
    let text = include_str!("../fixtures/slots.txt");
    let bytes = |label: &str| {
        let line = text.lines().filter_map(|line| line.split_once(' ')).find(|line| line.0 == label);
        hex::decode(line.expect("it is frozen").1).expect("hexadecimal")
    };
    let format = repo.format.encode();
    let opened = open_slot(&bytes("epoch"), &format, &repo.format, &key_file(7)).expect("opened");
    assert_eq!(opened.epoch(), 2);
    assert_eq!(opened.root_of(0).map(|root| *root.expose()), Ok([1; 32]));
    assert!(opened.root_of(1).is_err(), "an announced epoch that nobody got a key for");
    assert!(opened.root_of(2).is_ok() && opened.admin().is_ok());
    let keys = EpochKeys::derive(&opened, &repo.id);
    assert_eq!(keys.snapshot(0).map(Secret::expose), repo.keys.snapshot(0).map(Secret::expose));
    assert_eq!(keys.index().expose(), repo.keys.index().expose());
    assert_ne!(keys.snapshot(2).map(Secret::expose), keys.snapshot(0).map(Secret::expose));
    assert_eq!(repo.keys.snapshot(2).map(|_| ()), Err(FormatError::OldEpoch));
    let said = |bytes: &[u8]| announced(bytes, &repo.id, &repo.format.admin_public);
    assert_eq!(said(&bytes("announcement")), Ok(2));
    let other = announce(1, &repo.id, &repo.writer(b"web")).expect("made").bytes;
    assert_eq!(
        said(&other),
        Err(FormatError::NotSigned { what: "an object" }),
        "the administrator's word alone"
    );
    let none = announce(0, &repo.id, &repo.admin()).expect("made").bytes;
    assert!(said(&none).is_err());
    assert!(said(&bytes("key-file")).is_err());
    let hurt = with_bit_flipped(&bytes("announcement"), 12 * 8);
    assert!(said(&hurt).is_err());
}

/// `LIFEBOAT_FREEZE=slots` prints lines for `tests/fixtures/slots.txt`; those that stand there stay.
#[test]
fn frozen_slots_can_be_made_again() {
    let repo = repo();
    let code = SlotSecret::recovery_code(Secret::new([7; 32]));
    let made = [
        ("passphrase", SlotSecret::passphrase("fixture")),
        ("key-file", key_file(7)),
        ("recovery-code", code),
    ]
    .map(|(label, secret)| (label, slot(&repo, &secret)));
    let roles = [("host", Role::Host("web".to_owned())), ("write-only", Role::WriteOnly("web".to_owned()))]
        .map(|(label, role)| (label, slot_for(&repo, &role, &key_file(7))));
    let rotated = Repo { root: repo.root.rotated(2).expect("it reads"), ..self::repo() };
    let epoch = [
        ("epoch", slot(&rotated, &key_file(7))),
        ("announcement", announce(2, &repo.id, &repo.admin()).expect("made").bytes),
    ];
    let roots = |keys: RootKeys| [0, 2].map(|of| *keys.root_of(of).expect("granted").expose());
    let again = open_slot(&epoch[0].1, &repo.format.encode(), &repo.format, &key_file(7)).expect("opened");
    assert_eq!(roots(again), roots(rotated.root.clone()));
    let made: Vec<String> = made
        .into_iter()
        .chain(roles)
        .chain(epoch)
        .map(|(label, bytes)| format!("{label} {}", hex::encode(bytes)))
        .collect();
    if std::env::var_os("LIFEBOAT_FREEZE").is_some_and(|what| what == "slots") {
        println!("{}", made.join("\n"));
    }
    let frozen = include_str!("../fixtures/slots.txt");
    for line in made {
        let label = line.split(' ').next().expect("a label");
        let same = |old: &&str| old.split(' ').next() == Some(label);
        assert_eq!(frozen.lines().find(same).map(str::len), Some(line.len()), "{label}");
    }
}

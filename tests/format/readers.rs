//! What hosts that only add seal for readers, frozen and fresh.

use bytes::Bytes;
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::id::ObjectHash;
use lifeboat::codec::compress::Compression;
use lifeboat::codec::sign::Signer;
use lifeboat::repository::format::error::FormatError;
use lifeboat::repository::format::keys::{BlobKind, EpochKeys, Role, RootKeys};
use lifeboat::repository::format::names::PackClass;
use lifeboat::repository::format::object::{Closed, Object, ObjectHeader, ObjectKind, Sealing, encode};
use lifeboat::repository::format::pack::{BlobOpener, BlobRow, PackBuilder, PackDirectory, PackIdentity};

use crate::support::{Repo, repo, with_bit_flipped};

const PLAIN: &[u8] = b"what a host that only adds stores";
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/for_readers.txt");

struct Adder {
    root: RootKeys,
    keys: EpochKeys,
    signer: Signer,
}

fn adder(repo: &Repo) -> Adder {
    let root =
        repo.root.granted_to(&Role::WriteOnly("web".to_owned()), &repo.id).expect("an administrator's");
    let signer = Signer::from_seed(root.writer().expect("granted").seed.expose());
    Adder { keys: EpochKeys::derive(&root, &repo.id), root, signer }
}

fn identity(repo: &Repo, adder: &Adder) -> PackIdentity {
    PackIdentity { class: PackClass::Data, parity: 0, epoch: 0, repo: repo.id, writer: adder.signer.id() }
}

fn pack(repo: &Repo, adder: &Adder) -> Vec<u8> {
    let mut builder = PackBuilder::new(identity(repo, adder), Vec::new());
    let row = BlobRow {
        id: adder.keys.ids().id(BlobKind::Chunk, PLAIN),
        kind: BlobKind::Chunk,
        plain_bytes: u32::try_from(PLAIN.len()).expect("short"),
        compression: Compression::Raw,
        level: 0,
    };
    builder.push(&row, PLAIN).expect("pushed");
    builder.finish(&adder.signer, &adder.keys).expect("finished").bytes
}

fn snapshot(repo: &Repo, adder: &Adder) -> Vec<u8> {
    let header = ObjectHeader {
        kind: ObjectKind::Snapshot,
        sealing: Sealing::Readers,
        epoch: 0,
        repo: repo.id,
        signer: adder.signer.id(),
        number: 3,
    };
    let links = [ObjectHash::new([4; 32])];
    encode(&header, &links, PLAIN, &adder.signer, Some(&adder.keys)).expect("in bounds").0
}

fn read_pack(repo: &Repo, keys: &EpochKeys, adder: &Adder, bytes: &[u8]) -> Result<Bytes, FormatError> {
    let total = u64::try_from(bytes.len()).expect("small");
    let directory = PackDirectory::open(bytes, total, &identity(repo, adder), keys)?;
    directory.verify(&identity(repo, adder), adder.signer.public())?;
    let range = directory.sealed_range(0).expect("one row");
    let at = |offset: u64| usize::try_from(offset).expect("small");
    let mut opener = BlobOpener::default();
    let plain = directory.open_blob(0, &bytes[at(range.start)..at(range.end)], keys.ids(), &mut opener)?;
    Ok(Bytes::copy_from_slice(plain))
}

/// `LIFEBOAT_FREEZE=for_readers` makes the file anew; until a release has the format.
#[test]
fn what_was_ever_sealed_for_readers_opens_for_them_and_for_nobody_else() {
    let repo = repo();
    let adder = adder(&repo);
    if std::env::var("LIFEBOAT_FREEZE").is_ok_and(|what| what == "for_readers") {
        let lines = [hex::encode(pack(&repo, &adder)), hex::encode(snapshot(&repo, &adder))];
        std::fs::write(PATH, format!("{}\n", lines.join("\n"))).expect("written");
    }
    let text = std::fs::read_to_string(PATH).expect("the fixture is there");
    let frozen: Vec<Vec<u8>> = text.lines().map(|line| hex::decode(line).expect("hexadecimal")).collect();
    let [pack, snapshot] = frozen.as_slice() else { panic!("a pack and a snapshot") };
    assert_eq!(read_pack(&repo, &repo.keys, &adder, pack).expect("opened"), PLAIN);
    assert_eq!(read_pack(&repo, &adder.keys, &adder, pack), Err(FormatError::WritesOnly));
    let opened = Object::decode(snapshot, &repo.id, Some(&repo.keys)).expect("opened");
    opened.verify(adder.signer.public()).expect("signed");
    assert_eq!(&opened.body[..PLAIN.len()], PLAIN);
    let refused = Object::decode(snapshot, &repo.id, Some(&adder.keys)).map(|_| ());
    assert_eq!(refused, Err(FormatError::WritesOnly));
    // Its head says to everybody who made it.
    let closed = Closed::decode(snapshot, &repo.id).expect("decoded");
    assert_eq!((closed.header.number, closed.header.signer), (3, adder.signer.id()));
    // Not another host's key, and not another repository's.
    let other = Repo::numbered(2);
    assert!(Object::decode(snapshot, &repo.id, Some(&other.keys)).is_err());
    assert!(adder.root.root().is_err());
}

#[test]
fn no_two_objects_for_readers_share_a_key_and_every_changed_bit_is_refused() {
    let repo = repo();
    let adder = adder(&repo);
    let (one, two) = (snapshot(&repo, &adder), snapshot(&repo, &adder));
    assert_ne!(one, two, "each has a key of its own");
    let read = |bytes: &[u8]| {
        Object::decode(bytes, &repo.id, Some(&repo.keys))
            .and_then(|object| object.verify(adder.signer.public()).map(|()| object.body))
    };
    assert!(read(&one).is_ok());
    for bit in (0..one.len() * 8).step_by(37) {
        let class = read(&with_bit_flipped(&one, bit)).expect_err("refused").class();
        // A bit of the epoch makes it an object of a time that these keys are not of.
        let is_epoch = (12 * 8..16 * 8).contains(&bit) && class == Class::WrongKey;
        assert!(is_epoch || matches!(class, Class::Damage | Class::Usage), "bit {bit}: {class:?}");
    }
    let pack = pack(&repo, &adder);
    let foot = pack.len() - 4096 - 512;
    for bit in (foot * 8..pack.len() * 8).step_by(61) {
        let flipped = with_bit_flipped(&pack, bit);
        let read = read_pack(&repo, &repo.keys, &adder, &flipped);
        // Sums and fill are checked by whoever hashes the whole.
        assert!(read.is_err() || read.is_ok_and(|plain| plain == PLAIN), "bit {bit}");
    }
}

/// A box for readers of one role doesn't open as the other's, and an agreement that everybody knows
/// is none.
#[test]
fn keys_for_readers_are_bound_to_their_label_and_to_a_real_agreement() {
    let repo = repo();
    let adder = adder(&repo);
    let (once, key) = adder.keys.for_readers("readers box").expect("made");
    let again = repo.keys.as_reader("readers box", 0, &once).expect("the same");
    assert_eq!(key.expose(), again.expose());
    let other = repo.keys.as_reader("readers object", 0, &once).expect("another");
    assert_ne!(key.expose(), other.expose());
    assert!(repo.keys.as_reader("readers box", 0, &[0; 32]).is_err());
    assert!(
        repo.keys
            .as_reader("readers box", 0, &{
                let mut one = [0; 32];
                one[0] = 1;
                one
            })
            .is_err()
    );
}

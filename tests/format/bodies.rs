//! What signed objects hold: fields, snapshots, index runs, pack sets, plans.

use lifeboat::base::clock::Timestamp;
use lifeboat::base::id::{BlobId, ObjectHash, WriterId};
use lifeboat::codec::hash;
use lifeboat::repository::format::error::FormatError;
use lifeboat::repository::format::index_run::{IndexRun, RunEntry, RunPack};
use lifeboat::repository::format::names::{PackClass, SnapshotName};
use lifeboat::repository::format::object::{ObjectHeader, ObjectKind, Sealing, encode};
use lifeboat::repository::format::pack_set::{self, PackSet};
use lifeboat::repository::format::plan::{Condemned, LiveRows, PlanBody};
use lifeboat::repository::format::snapshot::{
    PackSetRef, SnapshotBody, SnapshotKind, SnapshotRoot, SnapshotStats, UnreadItems, confirmation_body,
    confirmation_matches,
};
use lifeboat::repository::format::tlv::{self, CRITICAL, FILL_BYTES, TlvWriter};
use proptest::prelude::*;

use crate::support::{Repo, repo};

fn body(fields: &[(u16, &[u8])]) -> Vec<u8> {
    let mut writer = TlvWriter::new();
    for (tag, value) in fields {
        writer.put(*tag, value);
    }
    writer.finish()
}

pub(crate) fn filled(mut body: Vec<u8>) -> Vec<u8> {
    body.resize(body.len().next_multiple_of(FILL_BYTES), 0);
    body
}

#[test]
fn fields_ascend_and_nothing_follows_their_end() {
    let good = body(&[(1, b"one"), (9, b"")]);
    assert_eq!(tlv::read("test", &good), Ok(vec![(1, &b"one"[..]), (9, &b""[..])]));
    let one = &body(&[(2, b"x")])[..7];
    for bad in [[one, one, &[0, 0]].concat(), [one, &[0, 0, 0]].concat(), one.to_vec(), Vec::new()] {
        assert!(tlv::read("test", &bad).is_err(), "{bad:?}");
    }
    assert!(tlv::read("test", &[1, 0, 255, 255, 255, 255, 1]).is_err());
}

#[test]
fn a_fill_is_the_shortest_of_zeros() {
    let good = filled(body(&[(2, b"x")]));
    assert!(tlv::read_filled("test", &good).is_ok());
    let mut dirty = good.clone();
    dirty[FILL_BYTES - 1] = 1;
    assert!(tlv::read_filled("test", &dirty).is_err());
    assert!(tlv::read_filled("test", &good[..FILL_BYTES - 1]).is_err());
    assert!(tlv::read_filled("test", &[good, vec![0; FILL_BYTES]].concat()).is_err());
}

proptest! {
    #[test]
    fn fields_that_are_read_are_those_that_would_be_written(bytes in prop::collection::vec(0u8..4, 0..40)) {
        if let Ok(fields) = tlv::read("test", &bytes) {
            prop_assert_eq!(body(&fields), bytes);
        }
    }
}

pub(crate) fn snapshot() -> SnapshotBody {
    let pack = |n| ObjectHash::new([n; 32]);
    SnapshotBody {
        kind: SnapshotKind::Incremental,
        host: "web1".into(),
        policy: Some("nightly".into()),
        tags: vec!["a".into(), "b".into()],
        started_at: Timestamp::from_unix_ms(1_795_485_182_123),
        ended_at: Timestamp::from_unix_ms(1_795_485_192_123),
        parent: Some(pack(1)),
        base_full: None,
        roots: vec![SnapshotRoot {
            path: b"/srv/\xff".to_vec(),
            node: BlobId::new([2; 32]),
            entries: 3,
            bytes: u64::MAX,
        }],
        index_runs: vec![pack(3), pack(4)],
        pack_set: PackSetRef::Inline(vec![(PackClass::Data, pack(5)), (PackClass::Meta, pack(5))]),
        excludes_hash: [6; 32],
        tool: "lifeboat 0.1.0".into(),
        stats: SnapshotStats {
            files: 1,
            files_read: 2,
            bytes_read: 3,
            bytes_new: 4,
            changed: 5,
            excluded: 6,
        },
        unread: UnreadItems { count: 7 },
        run_id: None,
        occurrence: Some("2026-11-24T02:00:00Z".into()),
        asked: SnapshotKind::Full,
        captured_at: Timestamp::from_unix_ms(-1),
    }
}

#[test]
fn a_snapshot_comes_back() {
    assert_eq!(SnapshotBody::decode(&filled(snapshot().encode())), Ok(snapshot()));
    let other = SnapshotBody {
        policy: None,
        tags: Vec::new(),
        parent: None,
        base_full: Some(ObjectHash::new([8; 32])),
        roots: Vec::new(),
        index_runs: Vec::new(),
        pack_set: PackSetRef::Blob(BlobId::new([9; 32])),
        run_id: Some("run".into()),
        occurrence: None,
        ..snapshot()
    };
    assert_eq!(SnapshotBody::decode(&filled(other.encode())), Ok(other));
}

#[test]
fn lists_of_a_snapshot_are_stored_sorted_and_once() {
    let untidy = SnapshotBody {
        tags: vec!["b".into(), "a".into(), "b".into()],
        index_runs: vec![ObjectHash::new([4; 32]), ObjectHash::new([3; 32]), ObjectHash::new([4; 32])],
        ..snapshot()
    };
    assert_eq!(untidy.encode(), snapshot().encode());
}

/// The snapshot with the value of one field replaced, or a field added.
fn with_field(tag: u16, value: &[u8]) -> Vec<u8> {
    let encoded = snapshot().encode();
    let mut fields = tlv::read("test", &encoded).expect("sound");
    fields.retain(|(t, _)| *t != tag);
    fields.push((tag, value));
    fields.sort_by_key(|(t, _)| *t);
    filled(body(&fields))
}

#[test]
fn fields_of_a_snapshot_that_no_writer_makes_are_refused() {
    let two = |a: u8, b: u8| [[a; 32], [b; 32]].concat();
    for (tag, bad) in [
        (1, vec![0]),
        (1, vec![6]),
        (1, vec![1, 1]),
        (2, vec![0xff]),
        (4, vec![2, 0, 0, 0, 1, 0, 0, 0, b'b', 1, 0, 0, 0, b'a']),
        (4, u32::MAX.to_le_bytes().to_vec()),
        (5, vec![0; 15]),
        (5, [0x7f; 16].to_vec()),
        (6, vec![0; 31]),
        (8, u32::MAX.to_le_bytes().to_vec()),
        (9, two(4, 3)),
        (9, two(4, 4)),
        (9, vec![0; 33]),
        (10, vec![2]),
        (10, vec![1; 32]),
        (10, [&[0][..], &u32::MAX.to_le_bytes()].concat()),
        (13, vec![0; 47]),
        (14, vec![0; 8]),
        (14, [[0; 8].as_slice(), &[2]].concat()),
        (17, vec![9]),
        (CRITICAL, Vec::new()),
    ] {
        assert!(SnapshotBody::decode(&with_field(tag, &bad)).is_err(), "tag {tag}: {bad:?}");
    }
    let newer = SnapshotBody::decode(&with_field(CRITICAL + 1, b"x"));
    assert!(matches!(newer, Err(FormatError::TooNew { .. })), "{newer:?}");
}

#[test]
fn a_later_field_that_is_not_critical_is_passed_over() {
    assert_eq!(SnapshotBody::decode(&with_field(19, b"later")), Ok(snapshot()));
    let listed = [&7u64.to_le_bytes()[..], &[1], &[9; 32]].concat();
    assert_eq!(SnapshotBody::decode(&with_field(14, &listed)), Ok(snapshot()));
}

#[test]
fn every_field_but_the_optional_ones_must_be_there() {
    let encoded = snapshot().encode();
    let fields = tlv::read("test", &encoded).expect("sound");
    for missing in [1, 2, 4, 5, 8, 9, 10, 11, 12, 13, 14, 17, 18] {
        let rest: Vec<_> = fields.iter().copied().filter(|(tag, _)| *tag != missing).collect();
        assert!(SnapshotBody::decode(&filled(body(&rest))).is_err(), "tag {missing}");
    }
}

#[test]
fn a_confirmation_holds_the_id_of_its_snapshot() {
    let id = ObjectHash::new([1; 32]);
    let name = SnapshotName::new(Timestamp::default(), &WriterId::new([2; 16]), id, [3; 8]);
    assert!(confirmation_matches(&name.confirmation(), &confirmation_body(&id)));
    assert!(!confirmation_matches(&name.confirmation(), &[0; 32]));
    assert!(!confirmation_matches(&name.confirmation(), &[&id.as_bytes()[..], &[0]].concat()));
}

proptest! {
    #[test]
    fn a_snapshot_is_refused_or_is_what_would_be_written(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = filled(snapshot().encode());
        let at = at.index(snapshot().encode().len());
        bytes[at] = byte;
        if let Ok(read) = SnapshotBody::decode(&bytes) {
            // But for tags of later versions and the list of unread items, which this one skips.
            let again = SnapshotBody::decode(&filled(read.encode()));
            prop_assert_eq!(again, Ok(read));
        }
    }

    #[test]
    fn any_bytes_are_no_snapshot(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(SnapshotBody::decode(&filled(bytes)).is_err());
    }
}

fn run(blobs: u32) -> IndexRun {
    let pack = |n: u8, class| RunPack {
        hash: ObjectHash::new([n; 32]),
        class,
        signer: WriterId::new([n; 16]),
        bytes: 16 << 20,
        foot_offset: 15 << 20,
    };
    let mut entries: Vec<RunEntry> = (0..blobs)
        .map(|n| RunEntry {
            id: BlobId::new(hash::plain(&[&n.to_le_bytes()])),
            pack: n % 2,
            ordinal: n / 2,
            stored_bytes: 400_000 + n.wrapping_mul(7919) % 300_000,
        })
        .collect();
    entries.sort();
    IndexRun {
        packs: vec![pack(1, PackClass::Data), pack(2, PackClass::Meta)],
        entries,
        ..IndexRun::default()
    }
}

fn open_run(repo: &Repo, run: &IndexRun) -> Result<IndexRun, FormatError> {
    let (bytes, _) = run.seal(&repo.id, &repo.admin(), &repo.keys)?;
    IndexRun::open(&bytes, &repo.id, &repo.keys)
}

#[test]
fn an_index_run_comes_back() {
    for blobs in [0, 1, 2, 5000] {
        assert_eq!(open_run(&repo(), &run(blobs)), Ok(run(blobs)));
    }
}

#[test]
fn an_index_run_takes_about_forty_bytes_a_blob() {
    let repo = repo();
    let (bytes, _) = run(20_000).seal(&repo.id, &repo.admin(), &repo.keys).expect("in bounds");
    assert!(bytes.len() < 20_000 * 41, "{} bytes a blob", bytes.len() / 20_000);
}

#[test]
fn an_index_run_that_points_outside_its_packs_is_refused() {
    let mut outside = run(4);
    outside.entries[0].pack = 2;
    assert!(open_run(&repo(), &outside).is_err());
    let mut too_long = run(4);
    too_long.entries[0].stored_bytes = u32::MAX;
    assert!(open_run(&repo(), &too_long).is_err());
    let mut no_footer = run(4);
    no_footer.packs[0].foot_offset = no_footer.packs[0].bytes;
    assert!(open_run(&repo(), &no_footer).is_err());
}

fn open_run_body(repo: &Repo, body: &[u8]) -> Result<IndexRun, FormatError> {
    let header = ObjectHeader {
        kind: ObjectKind::Index,
        sealing: Sealing::Epoch,
        epoch: 0,
        repo: repo.id,
        signer: repo.admin().id(),
        number: 0,
    };
    let (bytes, _) = encode(&header, &[], body, &repo.admin(), Some(&repo.keys)).expect("in bounds");
    IndexRun::open(&bytes, &repo.id, &repo.keys)
}

#[test]
fn counts_and_orders_of_an_index_run_that_no_writer_makes_are_refused() {
    let repo = repo();
    let pack = [&[1; 32][..], &[1], &[1; 16], &8192u64.to_le_bytes(), &4096u64.to_le_bytes()].concat();
    let column = |values: &[u32]| -> Vec<u8> {
        [0].into_iter().chain(values.iter().flat_map(|value| value.to_le_bytes())).collect()
    };
    let ids = |order: [u8; 2]| order.map(|n| [n; 32]).concat();
    let zeros = column(&[0, 0]);
    let good = |count: u32, ids: &[u8], ordinals: &[u8]| {
        let fields = [
            (1, &pack[..]),
            (2, &count.to_le_bytes()[..]),
            (3, ids),
            (4, &zeros[..]),
            (5, ordinals),
            (6, &zeros[..]),
        ];
        open_run_body(&repo, &body(&fields)).is_ok()
    };
    assert!(good(2, &ids([1, 2]), &column(&[0, 1])));
    assert!(!good(2, &ids([2, 1]), &column(&[0, 1])));
    assert!(!good(2, &ids([1, 1]), &column(&[0, 0])));
    assert!(!good(3, &ids([1, 2]), &column(&[0, 1])));
    assert!(!good(u32::MAX, &ids([1, 2]), &column(&[0, 1])));
    assert!(!good(2, &ids([1, 2]), &column(&[0])));
    assert!(!good(2, &ids([1, 2]), &[2, 0, 0]));
    assert!(!good(2, &ids([1, 2]), &[]));
}

proptest! {
    #[test]
    fn any_body_is_no_index_run_unless_it_has_all_columns(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open_run_body(&repo(), &bytes).is_err());
    }

    #[test]
    fn a_pack_set_is_refused_or_is_what_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..120), n in 0u32..5) {
        let bytes = [&n.to_le_bytes()[..], &bytes].concat();
        if let Ok(set) = PackSet::decode(&bytes) {
            prop_assert_eq!(pack_set::encode(&set.packs), bytes);
        }
    }
}

#[test]
fn a_pack_set_is_sorted_and_each_pack_stands_once() {
    let pack = |class, n| (class, ObjectHash::new([n; 32]));
    let good = [pack(PackClass::Data, 1), pack(PackClass::Data, 2), pack(PackClass::Meta, 1)];
    assert_eq!(PackSet::decode(&pack_set::encode(&good)).map(|set| set.packs), Ok(good.to_vec()));
    for bad in [[good[1], good[0]], [good[0], good[0]], [good[2], good[0]]] {
        assert!(PackSet::decode(&pack_set::encode(&bad)).is_err());
    }
    assert!(PackSet::decode(&u32::MAX.to_le_bytes()).is_err());
}

/// The bytes of a plan and of a run with moved packs are frozen: sealing draws nothing by lot.
#[test]
fn a_plan_with_its_mark_and_a_run_with_moved_packs_are_stored_as_ever() {
    let repo = repo();
    let mut live = LiveRows::new(11);
    [0, 7, 10].into_iter().for_each(|row| live.insert(row));
    let hash = |n| ObjectHash::new([n; 32]);
    let packs = vec![
        Condemned { class: PackClass::Data, hash: hash(9), live: LiveRows::default() },
        Condemned { class: PackClass::Meta, hash: hash(4), live },
    ];
    let writer = WriterId::new([2; 16]);
    let names =
        |n| vec![SnapshotName::new(Timestamp::default(), &writer, hash(n), [3; 8]).proposal().to_string()];
    let plan = PlanBody::of_mark(packs, names(5), names(6));
    let (bytes, id) = plan.seal(&repo.id, &repo.admin(), &repo.keys).expect("in bounds");
    let opened = PlanBody::open(&bytes, &repo.id, &repo.format.admin_public, &repo.keys).expect("opens");
    assert_eq!(opened, plan);
    assert_eq!(opened.condemned()[0], (PackClass::Data, hash(9)));
    assert_eq!(opened.live()[1].live().collect::<Vec<_>>(), [0, 7, 10]);
    let run = IndexRun { moved: vec![(hash(7), hash(1)), (hash(8), hash(2))], ..run(5) };
    assert_eq!(open_run(&repo, &run), Ok(run.clone()));
    let (_, run_id) = run.seal(&repo.id, &repo.admin(), &repo.keys).expect("in bounds");
    assert_eq!(
        [id.to_hex(), run_id.to_hex()],
        [
            "d55a81a2156fbadd48947ec33cf23e20dded31484dcad931524bee8def6c6689",
            "f9e290e9e76d5b9b05b9ed27685f1994174c5e36437a3ed2af1681fd1c44029e"
        ]
    );
}

#[test]
fn a_plan_counts_only_with_the_administrators_signature() {
    let repo = repo();
    let pack = ObjectHash::new([1; 32]);
    let name = SnapshotName::new(Timestamp::default(), &WriterId::new([2; 16]), pack, [3; 8]);
    let plan = PlanBody::new(vec![(PackClass::Data, pack)], vec![name.proposal().to_string()]);
    let open = |bytes: &[u8]| PlanBody::open(bytes, &repo.id, &repo.format.admin_public, &repo.keys);
    let (bytes, _) = plan.seal(&repo.id, &repo.admin(), &repo.keys).expect("in bounds");
    let opened = open(&bytes).expect("opens");
    assert!(opened.names_pack(&pack) && opened.names_proposal(&name));
    assert!(!opened.names_proposal(&name.with_nonce([4; 8])));
    let (forged, _) = plan.seal(&repo.id, &repo.writer(b"web1"), &repo.keys).expect("in bounds");
    assert!(open(&forged).is_err());
    assert!(open(&run(1).seal(&repo.id, &repo.admin(), &repo.keys).expect("in bounds").0).is_err());
}

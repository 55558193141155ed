//! The guards before anything is forgotten by rules.

use super::*;
use crate::base::error::Classified;
use crate::repository::format::names::SnapshotName;
use crate::repository::format::snapshot::{
    PackSetRef, SnapshotBody, SnapshotRoot, SnapshotStats, UnreadItems,
};

fn day(number: u8) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("2026-11-{number:02}T10:00:00Z")).expect("a time")
}

fn snapshot(number: u8) -> Snapshot {
    let (at, writer, id) = (day(number), WriterId::new([1; 16]), ObjectHash::new([number; 32]));
    let root = SnapshotRoot { path: b"/data".to_vec(), node: Default::default(), entries: 1, bytes: 1 };
    Snapshot {
        id,
        name: SnapshotName::new(at, &writer, id, [0; 8]),
        writer,
        signed: true,
        number: u64::from(number),
        links: Vec::new(),
        body: SnapshotBody {
            kind: SnapshotKind::Full,
            host: "web".to_owned(),
            policy: None,
            tags: Vec::new(),
            started_at: at,
            ended_at: at,
            parent: None,
            base_full: None,
            roots: vec![root],
            index_runs: Vec::new(),
            pack_set: PackSetRef::Inline(Vec::new()),
            excludes_hash: [0; 32],
            tool: "test".to_owned(),
            stats: SnapshotStats::default(),
            unread: UnreadItems::default(),
            run_id: None,
            occurrence: None,
            asked: SnapshotKind::Full,
            captured_at: at,
        },
        bytes: bytes::Bytes::new(),
    }
}

fn found(days: std::ops::RangeInclusive<u8>) -> Found {
    let snapshots = days.map(|number| (ObjectHash::new([number; 32]), (snapshot(number), vec![0])));
    Found { snapshots: snapshots.collect(), ..Found::default() }
}

fn request() -> ForgetRequest {
    let selection = Selection::Ids(Vec::new());
    ForgetRequest {
        selection,
        read_back: HashSet::new(),
        dry_run: false,
        accept_more_than_half: false,
        accept_clock: false,
    }
}

fn decide(found: &Found, last: u32, request: &ForgetRequest, now: Timestamp) -> Result<usize, EngineError> {
    let rules = Rules { last, ..Rules::default() };
    let decisions = ruled(found, &rules, Zone::UTC, &|_| true, request, now)?;
    Ok(decisions.iter().filter(|decision| !decision.keep).count())
}

#[test]
fn a_clock_that_cannot_be_right_forgets_nothing() {
    let found = found(1..=10);
    let yes = ForgetRequest { accept_clock: true, ..request() };
    let behind = Timestamp::parse_rfc3339("2026-11-10T08:59:00Z").expect("a time");
    for wrong in [behind, day(10).plus(std::time::Duration::from_hours(401 * 24))] {
        let error = decide(&found, 5, &request(), wrong).expect_err("refused");
        assert_eq!((error.code(), error.class()), ("E0635", Class::Refused));
        assert!(decide(&found, 5, &yes, wrong).is_ok());
    }
    assert_eq!(decide(&found, 5, &request(), day(11)).expect("planned"), 5);
}

#[test]
fn more_than_half_of_a_set_is_forgotten_by_those_who_mean_it() {
    let found = found(1..=10);
    let error = decide(&found, 4, &request(), day(11)).expect_err("refused");
    assert_eq!((error.code(), error.class()), ("E0636", Class::Refused));
    assert!(error.to_string().contains("web /data"), "{error}");
    let yes = ForgetRequest { accept_more_than_half: true, ..request() };
    assert_eq!(decide(&found, 4, &yes, day(11)).expect("planned"), 6);
    let look = ForgetRequest { dry_run: true, ..request() };
    assert_eq!(decide(&found, 4, &look, day(11)).expect("shown"), 6);
}

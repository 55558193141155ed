//! The blobs of one backup: each is claimed once, wherever it is kept.

use std::collections::HashMap;

use super::super::session::SessionBlobs;
use super::super::spool::Ground;
use super::stage::{blob, ground};

fn claims_once(ground: Ground) {
    let mut blobs = SessionBlobs::with_recent_max(ground, 40);
    let mut model = HashMap::new();
    for step in 0..4000u32 {
        let id = step.wrapping_mul(2_654_435_761) % 2500;
        let is_new = !model.contains_key(&id);
        assert_eq!(blobs.get(&blob(id)).expect("read"), model.get(&id).copied());
        assert_eq!(blobs.claim(&blob(id), step).expect("read"), is_new);
        model.entry(id).or_insert(step);
    }
    for id in 0..2500 {
        assert_eq!(blobs.get(&blob(id)).expect("read"), model.get(&id).copied());
    }
}

#[test]
fn a_blob_is_claimed_once_also_when_it_left_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    claims_once(ground(Some(dir.path())));
    assert!(super::stage::files(dir.path()).is_empty(), "nothing is left behind");
}

#[test]
fn a_blob_is_claimed_once_where_no_file_finds_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a file");
    std::fs::write(&file, b"").expect("written");
    claims_once(Ground::with_temp(None, file.join("temp")));
}

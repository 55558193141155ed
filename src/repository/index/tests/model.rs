//! Any runs, any order of loads: always the answers of an index that holds everything.

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::super::build::Tuning;
use super::stage::{SMALL, World, ground, open};

/// Twelve packs of some blobs out of few, so that many are doubled.
fn packs() -> impl Strategy<Value = Vec<Vec<u32>>> {
    vec(btree_set(0u32..120, 0..30).prop_map(|ids| ids.into_iter().collect()), 12)
}

/// What each of eight runs lists; a pack may be in several.
fn runs() -> impl Strategy<Value = Vec<Vec<u32>>> {
    vec(btree_set(0u32..12, 0..5).prop_map(|packs| packs.into_iter().collect()), 8)
}

/// Which runs a load finds, and which packs are condemned then.
fn loads() -> impl Strategy<Value = Vec<(BTreeSet<u32>, BTreeSet<u32>)>> {
    vec((btree_set(0u32..8, 0..8), btree_set(0u32..12, 0..3)), 1..7)
}

fn tunings() -> impl Strategy<Value = Tuning> {
    prop_oneof![
        Just(SMALL),
        Just(Tuning { memory_bytes: 16 * 4096, memory_runs: 2, ..SMALL }),
        Just(Tuning { sort_rows: 1, parts_max: 1, ..SMALL }),
        Just(Tuning { parts_max: 99, ..SMALL }),
        Just(Tuning::default()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn loads_in_one_folder_answer_like_one_that_holds_everything(
        packs in packs(), runs in runs(), loads in loads(), tuning in tunings(),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("t");
        let packs = (0..).zip(packs).collect();
        let mut world = World { packs, before: runs.clone(), ..World::default() };
        for (listed, condemned) in loads {
            world.runs = listed.into_iter().map(|run| (run, runs[run as usize].clone())).collect();
            let (mut index, _) = open(&world, ground(Some(&folder)), tuning);
            world.compare(&mut index, &condemned);
        }
    }
}

//! The files in the folder: when there are any, which serve, and which go.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::super::build::Tuning;
use super::stage::{SMALL, World, files, ground, open, run};
use crate::base::durable;

const NONE: BTreeSet<u32> = BTreeSet::new();

#[test]
fn a_small_repository_makes_no_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("t");
    for runs in [0, 1, 200] {
        let world = World::plain(runs);
        let (mut index, _) = open(&world, ground(Some(&folder)), Tuning::default());
        index.doubled().expect("known");
        assert!(index.is_in_memory() && files(dir.path()).is_empty());
        if runs < 2 {
            world.compare(&mut index, &NONE);
        }
    }
}

#[test]
fn runs_that_a_file_covers_are_not_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("t");
    let (_, given) = open(&World::plain(5), ground(Some(&folder)), SMALL);
    assert_eq!(given.asked.load(Ordering::Relaxed), 5);
    let (mut index, given) = open(&World::plain(7), ground(Some(&folder)), SMALL);
    assert_eq!(given.asked.load(Ordering::Relaxed), 2);
    World::plain(7).compare(&mut index, &NONE);
    let (_, given) = open(&World::plain(7), ground(Some(&folder)), SMALL);
    assert_eq!(given.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn many_files_become_few() {
    let dir = tempfile::tempdir().expect("a folder");
    for runs in 1..30 {
        let (_, given) = open(&World::plain(runs), ground(Some(dir.path())), SMALL);
        assert_eq!(given.asked.load(Ordering::Relaxed), 1);
        assert!(files(dir.path()).len() <= SMALL.parts_max, "after {runs} runs");
    }
    let world = World::plain(29);
    world.compare(&mut open(&world, ground(Some(dir.path())), SMALL).0, &NONE);
}

#[test]
fn a_run_that_is_listed_no_more_does_not_count() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut world = World::plain(6);
    open(&world, ground(Some(dir.path())), SMALL);
    world.runs.remove(&3);
    let (mut index, given) = open(&world, ground(Some(dir.path())), SMALL);
    assert_eq!(given.asked.load(Ordering::Relaxed), 0);
    world.compare(&mut index, &NONE);
    assert!(index.packs_of_run(&run(3)).expect("read").is_none());
}

#[test]
fn what_an_interrupted_build_left_goes_and_what_is_being_built_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let left = dir.path().join(durable::temp_name());
    let living = dir.path().join(durable::temp_name());
    std::fs::write(&left, b"half a part").expect("written");
    std::fs::write(&living, b"half a part").expect("written");
    let lock = durable::try_lock(&living).expect("tried").expect("alone");
    let world = World::plain(3);
    let (mut index, _) = open(&world, ground(Some(dir.path())), SMALL);
    world.compare(&mut index, &NONE);
    assert!(!left.exists() && living.exists());
    drop(lock);
}

#[test]
fn several_at_once_get_right_answers_from_one_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    std::thread::scope(|scope| {
        for worker in 0..4u32 {
            let folder = dir.path();
            scope.spawn(move || {
                for round in 1..8u32 {
                    // Each sees other runs, as processes over different targets do.
                    let mut world = World::plain(round * 3);
                    world.runs.retain(|number, _| (number + worker) % 5 != 0);
                    let (mut index, _) = open(&world, ground(Some(folder)), SMALL);
                    world.compare(&mut index, &BTreeSet::from([worker]));
                }
            });
        }
    });
}

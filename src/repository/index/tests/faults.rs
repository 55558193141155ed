//! Files that are changed, cut, exchanged, and folders that take none.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::super::page::PAGE_BYTES;
use super::super::spool::Ground;
use super::stage::{SMALL, World, blob, files, ground, open};

const NONE: BTreeSet<u32> = BTreeSet::new();

fn the_part(folder: &Path) -> std::path::PathBuf {
    let all = files(folder);
    assert_eq!(all.len(), 1);
    all.into_iter().next().expect("a part")
}

/// Spoils the one part of a folder, at rest and while it is open.
fn spoil(world: &World, spoil: impl Fn(&Path)) {
    for is_open in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("t");
        let (mut early, _) = open(world, ground(Some(&folder)), SMALL);
        spoil(&the_part(&folder));
        if is_open {
            world.compare(&mut early, &NONE);
        }
        let (mut late, _) = open(world, ground(Some(&folder)), SMALL);
        world.compare(&mut late, &NONE);
        // What replaced it is whole again.
        let (mut again, given) = open(world, ground(Some(&folder)), SMALL);
        assert_eq!(given.asked.load(std::sync::atomic::Ordering::Relaxed), 0);
        world.compare(&mut again, &NONE);
    }
}

fn pages(world: &World) -> usize {
    let dir = tempfile::tempdir().expect("a folder");
    open(world, ground(Some(dir.path())), SMALL);
    let bytes = std::fs::metadata(the_part(dir.path())).expect("there").len();
    usize::try_from(bytes).expect("small") / PAGE_BYTES
}

#[test]
fn a_flip_in_any_page_is_found_and_mended() {
    let world = World::plain(3);
    for page in 0..pages(&world) {
        for at in [3, 17, 21, 30, 600, 4095] {
            spoil(&world, |path| {
                let mut bytes = std::fs::read(path).expect("read");
                bytes[page * PAGE_BYTES + at] ^= 0x10;
                std::fs::write(path, bytes).expect("written");
            });
        }
    }
}

#[test]
fn a_cut_at_any_page_is_found_and_mended() {
    let world = World::plain(3);
    for page in 0..pages(&world) {
        for more in [0, 1, 2000] {
            spoil(&world, |path| {
                let file = std::fs::File::options().write(true).open(path).expect("opened");
                file.set_len((page * PAGE_BYTES + more) as u64).expect("cut");
            });
        }
    }
}

#[test]
fn pages_that_changed_places_are_found_and_mended() {
    let world = World::plain(3);
    for page in 1..pages(&world) {
        spoil(&world, |path| {
            let mut bytes = std::fs::read(path).expect("read");
            let other = bytes[(page - 1) * PAGE_BYTES..page * PAGE_BYTES].to_vec();
            bytes[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].copy_from_slice(&other);
            std::fs::write(path, bytes).expect("written");
        });
    }
}

#[test]
fn a_part_that_is_deleted_or_foreign_is_made_anew() {
    let world = World::plain(3);
    spoil(&world, |path| std::fs::remove_file(path).expect("removed"));
    spoil(&world, |path| std::fs::write(path, vec![0x55; 40 * PAGE_BYTES]).expect("written"));
    spoil(&world, |path| std::fs::write(path, b"").expect("written"));
}

#[test]
fn the_record_of_doubled_packs_may_be_changed_cut_or_deleted() {
    let mut world = World::plain(12);
    world.packs.insert(7, (0..60).collect());
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("t");
    world.compare(&mut open(&world, ground(Some(&folder)), SMALL).0, &NONE);
    let record = folder.with_extension("twice");
    let whole = std::fs::read(&record).expect("a record");
    for at in (0..whole.len()).filter(|at| *at < 60 || at % 40 < 2) {
        let mut bytes = whole.clone();
        if at % 3 == 0 {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 1
        }
        if at % 40 < 3 {
            std::fs::write(&record, bytes).expect("written");
            world.compare_doubled(&open(&world, ground(Some(&folder)), SMALL).0);
        }
    }
    std::fs::remove_file(&record).expect("removed");
    world.compare_doubled(&open(&world, ground(Some(&folder)), SMALL).0);
}

/// A small file system of its own.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mounted = Self(dir);
        mounted.run(&["mount", "-t", "tmpfs", "-o", options, "lifeboat-test"]);
        mounted
    }

    fn run(&self, words: &[&str]) {
        let status = Command::new(words[0]).args(&words[1..]).arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "mounting a tmpfs needs root's rights");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[test]
fn a_full_folder_gives_right_answers_from_the_next_and_from_memory() {
    let world = World::plain(20);
    let full = Mounted::new("size=64k");
    let spare = tempfile::tempdir().expect("a folder");
    for temp in [spare.path(), full.0.path()] {
        let ground = Ground::with_temp(Some(full.0.path().join("t")), temp.to_path_buf());
        let (mut index, _) = open(&world, ground, SMALL);
        world.compare(&mut index, &NONE);
        assert!(files(&full.0.path().join("t")).is_empty(), "nothing unfinished is left");
    }
}

#[test]
fn a_folder_that_may_only_be_read_serves_and_is_left_alone() {
    let world = World::plain(6);
    let place = Mounted::new("size=4m");
    open(&world, ground(Some(place.0.path())), SMALL);
    place.run(&["mount", "-o", "remount,ro"]);
    let (mut index, given) = open(&world, ground(Some(place.0.path())), SMALL);
    world.compare(&mut index, &NONE);
    assert_eq!(given.asked.load(std::sync::atomic::Ordering::Relaxed), 0);
    let more = World::plain(9);
    let (mut index, _) = open(&more, ground(Some(place.0.path())), SMALL);
    more.compare(&mut index, &NONE);
}

#[test]
fn without_any_folder_memory_serves() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a file");
    std::fs::write(&file, b"").expect("written");
    let world = World::plain(6);
    let nowhere = Ground::with_temp(Some(file.join("t")), file.join("temp"));
    let (mut index, _) = open(&world, nowhere, SMALL);
    world.compare(&mut index, &NONE);
}

#[test]
fn a_part_that_cannot_be_made_anew_is_an_error_and_no_answer() {
    let world = World::plain(3);
    let dir = tempfile::tempdir().expect("a folder");
    let (index, _) = open(&world, ground(Some(dir.path())), SMALL);
    // Its runs are gone, and its file is cut.
    let mut index = index;
    index.mending.as_mut().expect("it can be mended").source = std::sync::Arc::new(Nothing);
    std::fs::File::options().write(true).open(the_part(dir.path())).expect("opened").set_len(0).expect("cut");
    let answer = index.first(&blob(1));
    assert!(answer.is_err(), "{answer:?}");
}

struct Nothing;

impl super::super::RunSource for Nothing {
    fn run(
        &self,
        _: &crate::base::id::ObjectHash,
    ) -> Result<crate::repository::format::index_run::IndexRun, crate::repository::error::RepositoryError>
    {
        Err(crate::repository::error::RepositoryError::Cancelled)
    }
}

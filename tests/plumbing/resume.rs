//! A run that was interrupted goes on where its last checkpoint stood; and what a backup reads
//! and keeps only once.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, files, noise, same};

const FILES: u64 = 24_000;

fn many_files(source: &Path) {
    for number in 0..FILES {
        let dir = source.join(format!("dir-{:02}", number / 1000));
        if number % 1000 == 0 {
            std::fs::create_dir_all(&dir).expect("made");
        }
        std::fs::write(dir.join(format!("file-{number:05}")), noise(number, 700)).expect("written");
    }
    std::fs::write(source.join("dir-23/last"), noise(7, 5_000_000)).expect("written");
}

/// Starts a backup that makes a checkpoint whenever it can, and kills it after the first.
fn killed_after_a_checkpoint(lab: &Lab, more: &[&str]) {
    let source = lab.path("source");
    let before = confirmations(lab);
    let mut command = lab.command("backup", &["one", "two"], &["--checkpoint-every", "0s"]);
    let mut child = command.args(more).arg(&source).stdout(Stdio::null()).spawn().expect("started");
    let started = Instant::now();
    while confirmations(lab) == before {
        assert!(started.elapsed() < Duration::from_secs(100), "no checkpoint was made");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it was still at work");
    assert_eq!(child.wait().expect("ended").code(), None, "it was still at work");
}

fn confirmations(lab: &Lab) -> usize {
    let dir = lab.path("two/s");
    if !dir.exists() {
        return 0;
    }
    files(&dir).iter().filter(|path| path.extension().is_some_and(|end| end == "ok")).count()
}

fn listed(lab: &Lab) -> usize {
    let list = lab.repo("snapshots", &["two"], &["--json"]).exits(0).json();
    list["snapshots"].as_array().expect("a list").len()
}

fn figure(outcome: &Value, name: &str) -> u64 {
    outcome["stats"][name].as_u64().unwrap_or_else(|| panic!("{name} in {outcome:#}"))
}

#[test]
fn an_interrupted_first_backup_goes_on_from_its_checkpoint() {
    let lab = Lab::new();
    let source = lab.path("source");
    many_files(&source);
    // Times of the walk's own second are read again: the files must be older than it.
    std::thread::sleep(Duration::from_secs(3));
    lab.init(&["one", "two"]);
    killed_after_a_checkpoint(&lab, &[]);
    assert_eq!(listed(&lab), 0, "a checkpoint is no backup");
    lab.restore("one", "latest", "nothing").exits(1);
    let done = lab.backup_source(&["one", "two"]);
    assert!(done["resumed"].is_string(), "{done:#}");
    assert_eq!(done["kind"], "full", "nothing of it was there before");
    assert!(figure(&done, "files_unchanged") >= 4000, "{done:#}");
    assert_eq!(figure(&done, "files_unchanged") + figure(&done, "files_read"), FILES + 1);
    assert_eq!(listed(&lab), 1);
    for place in ["one", "two"] {
        lab.verify(place, &["--deep"], 0);
        lab.restores_whole(place, "latest", &source);
    }
    // The next run has a parent, and nothing to go on from.
    let again = lab.backup_source(&["one", "two"]);
    assert!(again["resumed"].is_null() && again["kind"] == "incremental", "{again:#}");
    assert_eq!(figure(&again, "files_unchanged"), FILES + 1);
}

#[test]
fn between_large_files_there_are_checkpoints_too_though_the_walk_hands_them_on_together() {
    const LARGE: u64 = 12;
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    for number in 0..LARGE {
        std::fs::write(source.join(format!("large-{number:02}")), noise(number, 6_000_000)).expect("written");
    }
    std::thread::sleep(Duration::from_secs(3));
    lab.init(&["one", "two"]);
    killed_after_a_checkpoint(&lab, &["--upload-limit", "20MB/s"]);
    let done = lab.backup_source(&["one", "two"]);
    assert!(done["resumed"].is_string(), "{done:#}");
    assert!(figure(&done, "files_read") < LARGE, "{done:#}");
    lab.restores_whole("two", "latest", &source);
}

#[test]
fn what_changed_since_the_checkpoint_is_read_again_and_other_work_does_not_count() {
    let lab = Lab::new();
    let source = lab.path("source");
    many_files(&source);
    std::thread::sleep(Duration::from_secs(3));
    lab.init(&["one", "two"]);
    lab.backup_source(&["one", "two"]);
    killed_after_a_checkpoint(&lab, &["--full"]);
    let changed = source.join("dir-00/file-00003");
    std::fs::write(&changed, noise(4711, 700)).expect("written");
    // Another kind of run has its own way.
    let incremental = lab.backup_source(&["one", "two"]);
    assert!(incremental["resumed"].is_null(), "{incremental:#}");
    assert_eq!(figure(&incremental, "files_read"), 1);

    killed_after_a_checkpoint(&lab, &["--full"]);
    std::fs::write(&changed, noise(4712, 700)).expect("written");
    let path = source.to_str().expect("a plain path");
    let full = lab.backup(&["one", "two"], &["--full", path], 0);
    assert!(full["resumed"].is_string() && full["kind"] == "full", "{full:#}");
    assert!(figure(&full, "files_read") < FILES, "{full:#}");
    for place in ["one", "two"] {
        lab.verify(place, &["--deep"], 0);
        lab.restores_whole(place, "latest", &source);
    }
}

#[test]
fn an_inode_is_read_once_whatever_its_names() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir_all(&source).expect("made");
    let (large, small) = (noise(1, 9_000_000), noise(2, 50_000));
    std::fs::write(source.join("a-large"), &large).expect("written");
    std::fs::write(source.join("a-small"), &small).expect("written");
    for number in 0..4 {
        let dir = source.join(format!("dir-{number}"));
        std::fs::create_dir(&dir).expect("made");
        std::fs::write(dir.join("filler"), noise(90 + number, 8_000_000)).expect("written");
        std::fs::hard_link(source.join("a-large"), dir.join("large")).expect("linked");
        std::fs::hard_link(source.join("a-small"), dir.join("small")).expect("linked");
    }
    lab.init(&["one"]);
    let outcome = lab.backup_source(&["one"]);
    let once = (large.len() + small.len() + 4 * 8_000_000) as u64;
    assert!(figure(&outcome, "bytes_read") <= once + 4 * small.len() as u64, "{outcome:#}");
    assert!(figure(&outcome, "bytes_new") < once + 100_000, "{outcome:#}");
    let back = lab.path("back");
    lab.restore("one", "latest", "back").exits(0);
    same(&source, &back);
    lab.verify("one", &["--deep"], 0);
}

#[test]
fn a_full_writes_what_is_left_of_old_groups_anew() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir_all(&source).expect("made");
    for number in 0..200u64 {
        std::fs::write(source.join(format!("file-{number:03}")), noise(number, 40_000)).expect("written");
    }
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    for number in (0..200u64).filter(|number| number % 5 != 0) {
        std::fs::remove_file(source.join(format!("file-{number:03}"))).expect("removed");
    }
    let path = source.to_str().expect("a plain path");
    // The parent's parent used all of each group; from here on a fifth is in use.
    let thinned = lab.backup(&["one"], &["--full", path], 0);
    assert_eq!(figure(&thinned, "files"), 40);
    let regrouped = lab.backup(&["one"], &["--full", path], 0);
    assert!(figure(&regrouped, "bytes_new") >= 40 * 40_000, "{regrouped:#}");
    let settled = lab.backup(&["one"], &["--full", path], 0);
    assert_eq!(figure(&settled, "bytes_new"), 0, "{settled:#}");
    lab.verify("one", &["--deep"], 0);
    lab.restores_whole("one", "latest", &source);
}

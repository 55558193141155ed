//! Full disks: of the repository, of the local state, of the place restored to.

use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, noise, plain_source, run};
use crate::small_disk::SmallDisk;

fn grow(source: &Path) {
    for number in 0..4 {
        std::fs::write(source.join(format!("big-{number}")), noise(number + 40, 8_000_000)).expect("written");
    }
}

#[test]
fn a_full_repository_keeps_what_it_has_and_restores_with_no_byte_free() {
    let lab = Lab::new();
    let disk = SmallDisk::mount(lab.path("disk"), 24);
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["disk/one"]);
    let first = lab.backup_source(&["disk/one"])["snapshot"].as_str().expect("an id").to_owned();
    let status = Command::new("cp").arg("-a").args([&source, &lab.path("first")]).status();
    assert!(status.expect("cp runs").success());
    grow(&source);
    let said = lab.repo("backup", &["disk/one"], &[&source]).exits(1);
    assert!(said.err.contains("no space left"), "{said:#?}");
    disk.fill();
    let found = lab.verify("disk/one", &["--deep"], 0);
    assert_eq!(found["whole"], serde_json::json!([first]), "{found:#}");
    lab.restores_whole("disk/one", "latest", &lab.path("first"));
    disk.free();
}

#[test]
fn a_place_that_fills_up_in_the_middle_lags_and_the_other_is_complete() {
    let lab = Lab::new();
    let _disk = SmallDisk::mount(lab.path("disk"), 20);
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one", "disk/two"]);
    lab.backup_source(&["one", "disk/two"]);
    grow(&source);
    let outcome = lab.backup(&["one", "disk/two"], &[source.to_str().expect("plain")], 3);
    assert!(outcome["lagging"][0].as_str().expect("a name").ends_with("disk/two"), "{outcome:#}");
    lab.restores_whole("one", "latest", &source);
    lab.verify("disk/two", &["--deep"], 0);
    // With room again, the next run copies and reads nothing.
    let status = Command::new("mount").args(["-o", "remount,size=200m"]).arg(lab.path("disk")).status();
    assert!(status.expect("mount runs").success());
    let again = lab.backup_source(&["one", "disk/two"]);
    assert_eq!(again["stats"]["packs_new"], 0, "{again:#}");
    lab.restores_whole("disk/two", "latest", &source);
}

#[test]
fn a_full_state_folder_is_no_obstacle() {
    let lab = Lab::new();
    let disk = SmallDisk::mount(lab.path("state"), 1);
    disk.fill();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn a_full_destination_fails_and_names_what_is_not_there() {
    let lab = Lab::new();
    let _disk = SmallDisk::mount(lab.path("disk"), 2);
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let to = lab.path("disk/back");
    let said = run(lab.command("restore", &["one"], &["latest", "--to"]).arg(&to));
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains("large"), "{said:#?}");
    assert!(said.err.to_lowercase().contains("space"), "{said:#?}");
}

#[test]
fn changed_files_are_replaced_one_by_one_where_there_is_no_room_for_all() {
    let lab = Lab::new();
    let disk = SmallDisk::mount(lab.path("disk"), 48);
    let source = lab.path("source");
    std::fs::create_dir_all(&source).expect("made");
    grow(&source);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let back = disk.path().join("back");
    let restore = || {
        let mut command = lab.command("restore", &["one"], &["latest", "--overwrite", "--to"]);
        run(command.arg(&back)).exits(0);
    };
    restore();
    for number in 0..4 {
        std::fs::write(back.join(format!("big-{number}")), noise(number + 80, 8_000_000)).expect("written");
    }
    restore();
    for number in 0..4 {
        let is_right = std::fs::read(back.join(format!("big-{number}"))).expect("there")
            == noise(number + 40, 8_000_000);
        assert!(is_right, "{number}");
    }
}

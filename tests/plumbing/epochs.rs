//! A new epoch: what is stored from then on opens with the new secrets alone, and everything before it
//! with them, too.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, Said, files, noise, plain_source, run, same};

fn by(lab: &Lab, key: &str, verb: &[&str], places: &[&str], arguments: &[&str]) -> Command {
    let mut command = lab.bare();
    command.arg("repo").args(verb);
    for place in places {
        command.arg("--repo").arg(lab.path(place));
    }
    command.arg("--key-file").arg(lab.path(key)).args(arguments);
    command
}

/// A repository with the key `old`, a snapshot, and the key of a host that only adds.
fn lab(places: &[&str]) -> Lab {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    run(&mut by(&lab, "old", &["init"], places, &["--no-recovery-kit"])).exits(0);
    backup(&lab, "old", places).exits(0);
    add(&lab, "old", "adder", places, &["--for-host", "web", "--write-only"]).exits(0);
    lab
}

fn backup(lab: &Lab, key: &str, places: &[&str]) -> Said {
    let source = lab.path("source");
    let source = source.to_str().expect("plain");
    run(&mut by(lab, key, &["backup"], places, &["--host", "web", source, "--json"]))
}

fn add(lab: &Lab, key: &str, new: &str, places: &[&str], more: &[&str]) -> Said {
    let new = lab.path(new);
    let mut command = by(lab, key, &["key", "add"], places, &["--new-key-file"]);
    run(command.arg(new).args(more))
}

fn rotate(lab: &Lab, places: &[&str]) -> Said {
    let new = lab.path("new");
    run(by(lab, "old", &["key", "rotate"], places, &["--new-key-file"]).arg(new))
}

/// The newest snapshot that a key opens is the source.
fn restores(lab: &Lab, key: &str, place: &str, id: &str) {
    let to = tempfile::tempdir_in(lab.folder.path()).expect("a folder");
    let to = to.path().join("back");
    let arguments = [id, "--to", to.to_str().expect("plain")];
    run(&mut by(lab, key, &["restore"], &[place], &arguments)).exits(0);
    same(&lab.path("source"), &to);
}

/// The packs that say in their header that they are of this epoch.
fn packs_of_epoch(lab: &Lab, place: &str, epoch: u32) -> usize {
    let all = [files(&lab.path(&format!("{place}/p"))), files(&lab.path(&format!("{place}/m")))].concat();
    let of = |path: &Path| {
        let bytes = fs::read(path).expect("read");
        u32::from_le_bytes(bytes[12..16].try_into().expect("four"))
    };
    all.iter().filter(|path| of(path) == epoch).count()
}

#[test]
fn what_is_stored_after_a_rotation_opens_with_the_new_key_alone_and_all_before_it_too() {
    let lab = lab(&["one", "two"]);
    let said = rotate(&lab, &["one", "two"]).exits(0);
    assert!(said.err.contains("a new epoch has begun") && said.err.contains("old: slot"), "{said:#?}");
    fs::write(lab.path("source/secret-of-later"), noise(77, 400_000)).expect("written");
    backup(&lab, "new", &["one", "two"]).exits(0);
    assert!(packs_of_epoch(&lab, "one", 1) >= 2 && packs_of_epoch(&lab, "one", 0) >= 2);
    for place in ["one", "two"] {
        restores(&lab, "new", place, "latest");
        let deep = run(&mut by(&lab, "new", &["verify"], &[place], &["--deep", "--json"])).exits(0).json();
        assert_eq!(deep["verify"]["snapshots"], 2, "{deep:#}");
    }
    // Nothing was stored twice because of it.
    let listed = run(&mut by(&lab, "new", &["snapshots"], &["one"], &["--json"])).exits(0).json();
    assert_eq!(listed["snapshots"].as_array().expect("a list").len(), 2);
    // The old key: what was before, and nothing of later.
    let first = listed["snapshots"][0]["id"].as_str().expect("an id").to_owned();
    let refused = run(&mut by(&lab, "old", &["snapshots"], &["one"], &[]));
    assert!(refused.code == Some(12) && refused.err.contains("E0312"), "{refused:#?}");
    let to = lab.path("stolen");
    let to = to.to_str().expect("plain");
    let stolen = run(&mut by(&lab, "old", &["restore"], &["one"], &["latest", "--to", to]));
    assert_ne!(stolen.code, Some(0));
    assert!(!first.is_empty());
}

#[test]
fn old_keys_store_nothing_any_more_until_their_hosts_get_new_ones() {
    let lab = lab(&["one"]);
    rotate(&lab, &["one"]).exits(0);
    let before = files(&lab.path("one"));
    for key in ["old", "adder"] {
        let refused = backup(&lab, key, &["one"]).exits(12);
        assert!(refused.out.contains("E0312"), "{refused:#?}");
    }
    let refused = run(&mut by(&lab, "old", &["prune"], &["one"], &[]));
    assert!(refused.code == Some(12), "what a prune moves is sealed anew: {refused:#?}");
    let late = add(&lab, "old", "late", &["one"], &[]);
    assert!(late.code == Some(12) && late.err.contains("E0312"), "{late:#?}");
    assert_eq!(files(&lab.path("one")), before, "nothing came");
    add(&lab, "new", "adder-2", &["one"], &["--for-host", "web", "--write-only"]).exits(0);
    fs::write(lab.path("source/another-name"), noise(1, 3000)).expect("written");
    backup(&lab, "adder-2", &["one"]).exits(0);
    restores(&lab, "new", "one", "latest");
    assert!(packs_of_epoch(&lab, "one", 1) >= 1);
    // A prune seals under the new key what it moves, and everything comes back.
    let prune = ["--grace", "0s", "--max-unused", "0", "--accept-more-than-half"];
    run(&mut by(&lab, "new", &["prune"], &["one"], &prune)).exits(0);
    restores(&lab, "new", "one", "latest");
    run(&mut by(&lab, "new", &["verify"], &["one"], &["--deep"])).exits(0);
}

#[test]
fn a_rotation_that_did_not_end_is_gone_on_with_and_two_at_once_are_told_from_each_other() {
    let lab = lab(&["one"]);
    rotate(&lab, &["one"]).exits(0);
    // The slot is taken away again: as if the rotation had been stopped before it was made.
    let listed = run(&mut by(&lab, "new", &["key", "list"], &["one"], &["--json"])).exits(0).json();
    let slots = listed["keys"]["slots"].as_array().expect("a list");
    let new = slots.iter().find(|slot| slot["opened"] == true).expect("the new one");
    let id = new["id"].as_str().expect("an id").to_owned();
    run(&mut by(&lab, "old", &["key", "remove"], &["one"], &[&id])).exits(0);
    fs::remove_file(lab.path("new")).expect("removed");
    assert_eq!(backup(&lab, "old", &["one"]).code, Some(12), "the epoch is announced");
    rotate(&lab, &["one"]).exits(0);
    fs::write(lab.path("source/another-name"), noise(1, 3000)).expect("written");
    backup(&lab, "new", &["one"]).exits(0);
    assert!(packs_of_epoch(&lab, "one", 2) >= 1, "it has a number of its own");
    restores(&lab, "new", "one", "latest");
    // The old key rotates no more under a number that is taken.
    let again = run(by(&lab, "old", &["key", "rotate"], &["one"], &["--new-key-file"]).arg(lab.path("new")));
    assert!(again.code == Some(2) && again.err.contains("opens a slot already"), "{again:#?}");
}

#[test]
fn a_kit_made_after_it_restores_on_its_own_and_a_sync_carries_the_epoch() {
    let lab = lab(&["one"]);
    rotate(&lab, &["one"]).exits(0);
    backup(&lab, "new", &["one"]).exits(0);
    let kit = lab.path("kit");
    run(by(&lab, "new", &["key", "kit"], &["one"], &["--out"]).arg(&kit)).exits(0);
    let mut sync = lab.bare();
    sync.args(["repo", "sync", "--from"]).arg(lab.path("one")).arg("--to").arg(lab.path("two"));
    run(sync.arg("--key-file").arg(lab.path("new"))).exits(0);
    let refused = backup(&lab, "old", &["two"]).exits(12);
    assert!(refused.out.contains("E0312"), "{refused:#?}");
    let to = lab.path("from-kit");
    let mut restore = lab.bare();
    restore.args(["repo", "restore", "--repo"]).arg(lab.path("two")).arg("--recovery-kit");
    restore.arg(lab.path("kit.txt")).args(["latest", "--to"]).arg(&to);
    run(&mut restore).exits(0);
    same(&lab.path("source"), &to);
}

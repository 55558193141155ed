//! Snapshots that were deleted behind our back, and places that were put back to an older state:
//! each such place is whole in itself, and still it is noticed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, Said, files, plain_source, run};

/// Three snapshots at each place.
fn lab(places: &[&str]) -> Lab {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(places);
    for _ in 0..3 {
        lab.backup_source(places);
    }
    lab
}

/// The snapshots of a place, oldest first.
fn ids(lab: &Lab, place: &str) -> Vec<String> {
    let listed = lab.repo("snapshots", &[place], &["--json"]).exits(0).json();
    let all = listed["snapshots"].as_array().expect("a list");
    all.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

/// What somebody does who may delete files: the snapshot and its confirmation are gone.
fn steal(lab: &Lab, place: &str, id: &str) {
    let named = |path: &Path| path.file_name().expect("a name").to_string_lossy().contains(id);
    let all: Vec<_> =
        files(&lab.path(&format!("{place}/s"))).into_iter().filter(|path| named(path)).collect();
    assert_eq!(all.len(), 2, "a snapshot and its confirmation");
    all.into_iter().for_each(|path| fs::remove_file(path).expect("removed"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

fn gone(value: &Value) -> Vec<String> {
    let all = value.as_array().expect("a history");
    let gone = all.iter().filter(|finding| finding["finding"] == "gone");
    gone.map(|finding| finding["snapshot"].as_str().expect("an id").to_owned()).collect()
}

fn backup(lab: &Lab, places: &[&str], code: i32) -> Value {
    let source = lab.path("source");
    lab.backup(places, &[source.to_str().expect("plain")], code)
}

fn prune(lab: &Lab, places: &[&str]) -> Said {
    lab.repo("prune", places, &["--grace", "0s"])
}

#[test]
fn the_newest_snapshot_that_was_deleted_is_noticed_by_everybody_and_backups_go_on() {
    let lab = lab(&["one"]);
    let newest = ids(&lab, "one").pop().expect("three");
    steal(&lab, "one", &newest);
    let found = lab.verify("one", &[], 13);
    assert_eq!(gone(&found["history"]), std::slice::from_ref(&newest), "{found:#}");
    assert_eq!(found["problem_count"], 0, "the place is whole in itself");
    let said = lab.repo("snapshots", &["one"], &[] as &[&str]).exits(0);
    assert!(said.err.contains("nobody forgot it"), "{said:#?}");
    let refused = prune(&lab, &["one"]).exits(13);
    assert!(refused.err.contains("E0470") && refused.err.contains("accept-loss"), "{refused:#?}");
    // A backup is made all the same, and says it.
    let done = backup(&lab, &["one"], 13);
    assert_eq!(gone(&done["history"]), [newest]);
    assert_eq!(ids(&lab, "one").len(), 3);
    lab.restores_whole("one", "latest", &lab.path("source"));
    // It is said until somebody looked into it; then it is on record, for other machines as well.
    lab.verify("one", &[], 13);
    let shown = lab.repo("accept-loss", &["one"], &["--reason", "x", "--dry-run"]).exits(0);
    assert!(shown.out.contains("1 to accept; nothing was put on record"), "{shown:#?}");
    lab.verify("one", &[], 13);
    lab.repo("accept-loss", &["one"], &["--reason", "a colleague tidied up"]).exits(0);
    assert_eq!(gone(&lab.verify("one", &["--deep"], 0)["history"]), Vec::<String>::new());
    backup(&lab, &["one"], 0);
    prune(&lab, &["one"]).exits(0);
    fs::remove_dir_all(lab.path("state")).expect("removed");
    lab.verify("one", &[], 0);
}

#[test]
fn a_snapshot_that_is_deleted_before_anybody_looked_again_is_missed() {
    let lab = lab(&["one"]);
    let newest = backup(&lab, &["one"], 0)["snapshot"].as_str().expect("an id").to_owned();
    steal(&lab, "one", &newest);
    assert_eq!(gone(&backup(&lab, &["one"], 13)["history"]), [newest]);
}

#[test]
fn without_memory_a_snapshot_that_later_ones_link_to_is_missed() {
    let lab = lab(&["one"]);
    let middle = ids(&lab, "one").swap_remove(1);
    steal(&lab, "one", &middle);
    fs::remove_dir_all(lab.path("state")).expect("removed");
    assert_eq!(gone(&lab.verify("one", &[], 13)["history"]), [middle]);
}

#[test]
fn yesterdays_folder_put_back_is_noticed_with_memory_and_named_by_comparison_without() {
    let lab = lab(&["one", "two"]);
    copy(&lab.path("one"), &lab.path("yesterday"));
    backup(&lab, &["one", "two"], 0);
    backup(&lab, &["one", "two"], 0);
    let newest = ids(&lab, "one").split_off(3);
    fs::remove_dir_all(lab.path("one")).expect("removed");
    fs::rename(lab.path("yesterday"), lab.path("one")).expect("put back");
    let mut found = gone(&lab.verify("one", &["--deep"], 13)["history"]);
    found.sort();
    let mut wanted = newest.clone();
    wanted.sort();
    assert_eq!(found, wanted);
    // Without memory it looks like a place that lags, and is named as that.
    fs::rename(lab.path("state"), lab.path("kept")).expect("away");
    let shown = lab.repo("accept-loss", &["one", "two"], &["--reason", "x", "--json"]).exits(0).json();
    assert_eq!(gone(&shown["gone"]), Vec::<String>::new());
    fs::remove_dir_all(lab.path("state")).expect("removed");
    fs::rename(lab.path("kept"), lab.path("state")).expect("back");
    // What another place still has comes back from there.
    let said = backup(&lab, &["one", "two"], 13);
    let words = said["history"].to_string();
    assert!(words.contains("\"still\":[\"") && gone(&said["history"]).len() == 2, "{said:#}");
    let (one, two) = (lab.path("one"), lab.path("two"));
    let paths = ["--from", two.to_str().expect("plain"), "--to", one.to_str().expect("plain")];
    lab.repo("sync", &[], &paths).exits(0);
    lab.verify("one", &["--deep"], 0);
    backup(&lab, &["one", "two"], 0);
}

#[test]
fn what_was_forgotten_is_missed_by_nobody_and_not_brought_back() {
    let lab = lab(&["one", "two"]);
    for _ in 0..2 {
        backup(&lab, &["one", "two"], 0);
    }
    let all = ids(&lab, "one");
    // Only at one place: the other still has it, and a sync leaves it there.
    lab.repo("forget", &["one"], &[&all[1]]).exits(0);
    lab.repo("forget", &["one", "two"], &[&all[2], &all[4]]).exits(0);
    for place in ["one", "two"] {
        assert_eq!(gone(&lab.verify(place, &[], 0)["history"]), Vec::<String>::new(), "{place}");
    }
    let (one, two) = (lab.path("one"), lab.path("two"));
    let paths = ["--from", two.to_str().expect("plain"), "--to", one.to_str().expect("plain"), "--json"];
    let said = lab.repo("sync", &[], &paths).exits(0).json();
    assert_eq!(said["sync"]["snapshots_forgotten"], 1, "{said:#}");
    assert_eq!(ids(&lab, "one").len(), 2);
    prune(&lab, &["one", "two"]).exits(0);
    backup(&lab, &["one", "two"], 0);
    // Nor by a machine that never saw any of it.
    fs::remove_dir_all(lab.path("state")).expect("removed");
    for place in ["one", "two"] {
        lab.verify(place, &["--deep"], 0);
    }
    // Somebody else's word that it was forgotten counts for nothing.
    let victim = ids(&lab, "one").pop().expect("some");
    steal(&lab, "one", &victim);
    let record = files(&lab.path("one/f")).pop().expect("a record");
    let mut bytes = fs::read(&record).expect("read");
    let at = bytes.len() - 80;
    bytes[at] ^= 1;
    fs::write(lab.path("one/f").join(format!("20991231T000000Z-{victim}")), bytes).expect("forged");
    lab.repo("prune", &["one"], &["--grace", "0s"]).exits(13);
}

#[test]
fn a_place_that_lags_and_runs_in_turns_raise_no_alarm() {
    let lab = lab(&["one", "two"]);
    for places in [&["one"][..], &["two"], &["one"], &["one", "two"], &["two"]] {
        backup(&lab, places, 0);
    }
    for place in ["one", "two"] {
        assert_eq!(gone(&lab.verify(place, &[], 0)["history"]), Vec::<String>::new());
    }
    let memory = files(&lab.path("state/seen")).pop().expect("a memory");
    fs::write(&memory, "lifeboat seen 1 nonsense").expect("damaged");
    let said = run(&mut lab.command("verify", &["one"], &[] as &[&str]));
    assert!(said.err.contains("cannot be read"), "{said:#?}");
    let text = fs::read_to_string(&memory).expect("made anew");
    assert!(text.starts_with("lifeboat seen 1 ") && text.contains("\nsum "), "{text}");
}

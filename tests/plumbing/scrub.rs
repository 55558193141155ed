//! `repo scrub`: every byte within a period, a share at each call, and nothing read in vain.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{Lab, files, noise, run};

/// A dozen packs.
fn lab(places: &[&str]) -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("source")).expect("made");
    lab.init(places);
    for number in 0..6 {
        fs::write(lab.path("source").join(format!("file-{number}")), noise(number, 300_000))
            .expect("written");
        lab.backup_source(places);
    }
    lab
}

fn scrub(lab: &Lab, place: &str, arguments: &[&str], code: i32) -> Value {
    let mut command = lab.command("scrub", &[place], &["--json"]);
    run(command.args(arguments)).exits(code).json()["scrub"].clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number: {value:#}"))
}

fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).expect("read");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    crate::lab::set_mode(path, 0o600);
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_flipped_bit_is_found_within_one_round_of_one_object_a_call_and_then_looked_at_first() {
    let lab = lab(&["one", "two"]);
    let victim = files(&lab.path("one/p")).pop().expect("packs");
    flip(&victim);
    let (mut calls, mut found) = (0, Value::Null);
    while found.is_null() {
        calls += 1;
        assert!(calls < 100, "a round has an end");
        // Each call is one object: the budget is smaller than any.
        let said =
            run(&mut lab.command("scrub", &["one"], &["--json", "--bytes-max", "1B", "--period", "1s"]));
        let outcome = said.json()["scrub"].clone();
        assert_eq!(outcome["read"], 1, "{outcome:#}");
        if said.code == Some(13) {
            found = outcome;
        }
    }
    let name = victim.strip_prefix(lab.path("one")).expect("below").to_str().expect("plain");
    assert_eq!(found["problems"][0]["object"], name, "{found:#}");
    assert!(number(&found["hurt"][0]["paths"]) > 0, "{found:#}");
    // What is in doubt comes first; the damage is said until it is mended.
    let again = scrub(&lab, "one", &["--bytes-max", "1B"], 13);
    assert_eq!((&again["problems"][0]["object"], &again["read"]), (&name.into(), &1.into()), "{again:#}");
    let two = lab.path("two");
    let mend = ["--repair", "--from", two.to_str().expect("plain"), "--bytes-max", "1B"];
    lab.repo("scrub", &["one"], &mend).exits(13);
    let clean = scrub(&lab, "one", &["--period", "1s"], 0);
    assert_eq!((&clean["damaged"], &clean["overdue"]), (&0.into(), &0.into()), "{clean:#}");
    assert!(clean["since"].is_string());
    assert_eq!(clean["proven"].as_array().map(Vec::len), Some(6), "{clean:#}");
    lab.verify("one", &["--deep"], 0);
}

#[test]
fn a_share_is_read_at_a_call_and_a_budget_that_is_too_small_is_said() {
    let lab = lab(&["one"]);
    let first = scrub(&lab, "one", &["--period", "2d"], 0);
    let (read, all) = (number(&first["read_bytes"]), number(&first["bytes"]));
    assert!(read * 2 >= all && read < all, "half of it: {first:#}");
    assert!(first["since"].is_null() && first["proven"].as_array().is_some_and(Vec::is_empty));
    // No time has passed: nothing but what is left of a share.
    let second = scrub(&lab, "one", &["--period", "2d"], 0);
    assert!(number(&second["read"]) <= 1, "{second:#}");
    let small = lab.repo("scrub", &["one"], &["--period", "1s", "--requests-max", "1"]).exits(0);
    assert!(small.err.is_empty() || small.err.contains("a round takes"), "{small:#?}");
    // The first call of all takes the share of a day: of a second's period, everything.
    fs::remove_dir_all(lab.path("state/scrubbed")).expect("removed");
    let whole = scrub(&lab, "one", &["--period", "1s"], 0);
    assert_eq!((&whole["read"], &whole["since"].is_string()), (&whole["objects"], &true), "{whole:#}");
}

#[test]
fn outside_of_its_windows_nothing_is_read_and_the_share_is_the_next_calls() {
    let lab = lab(&["one"]);
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    // The first day of 1970 was a Thursday. Three days on is another day in every zone.
    let far = usize::try_from(since_1970.as_secs() / 86_400 + 3 + 3).expect("small") % 7;
    let outside = scrub(&lab, "one", &["--period", "1s", "--window", days[far]], 0);
    assert_eq!((&outside["read"], &outside["outside_windows"]), (&0.into(), &true.into()), "{outside:#}");
    assert!(outside["since"].is_null());
    let inside = scrub(&lab, "one", &["--period", "1s", "--window", days[far], "--window", "mon-sun"], 0);
    assert_eq!(inside["read"], inside["objects"], "{inside:#}");
    assert_eq!(inside["outside_windows"], false);
    let wrong = lab.repo("scrub", &["one"], &["--window", "noon"]).exits(2);
    assert!(wrong.err.contains("is no window") && wrong.err.contains("22:00-06:00"), "{wrong:#?}");
}

#[test]
fn a_memory_that_is_damaged_or_gone_means_unread_and_two_at_once_harm_nothing() {
    let lab = lab(&["one"]);
    scrub(&lab, "one", &["--period", "1s"], 0);
    let memory = files(&lab.path("state/scrubbed")).pop().expect("a memory");
    flip(&memory);
    let said = run(&mut lab.command("scrub", &["one"], &["--bytes-max", "1B"])).exits(0);
    assert!(said.err.contains("everything counts as unread"), "{said:#?}");
    let unread = scrub(&lab, "one", &["--bytes-max", "1B"], 0);
    assert!(unread["since"].is_null(), "{unread:#}");
    let both: Vec<_> = (0..2)
        .map(|_| lab.command("scrub", &["one"], &["--period", "1s"]).spawn().expect("started"))
        .collect();
    for mut child in both {
        assert!(child.wait().expect("ended").success());
    }
    // A place that was emptied is no repository, and a state folder that can't be written is said.
    fs::rename(lab.path("one"), lab.path("away")).expect("moved");
    lab.repo("scrub", &["one"], &[] as &[&str]).exits(10);
}

#[test]
fn snapshots_whose_packs_were_moved_by_a_prune_are_proven_where_their_bytes_are_now() {
    let lab = lab(&["one"]);
    scrub(&lab, "one", &["--period", "1s"], 0);
    lab.repo("forget", &["one"], &["--keep-last", "3", "--accept-more-than-half"]).exits(0);
    lab.repo("prune", &["one"], &["--grace", "0", "--max-unused", "0"]).exits(0);
    let some = scrub(&lab, "one", &["--bytes-max", "1B"], 0);
    let after = scrub(&lab, "one", &["--period", "1s"], 0);
    assert_eq!(after["proven"].as_array().map(Vec::len), Some(3), "{some:#} {after:#}");
}

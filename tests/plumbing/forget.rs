//! `repo forget`: what rules and ids remove, at every place, and what they never touch.

use serde_json::Value;

use crate::lab::{Lab, files, plain_source, run};

/// Five snapshots at both places.
fn lab() -> Lab {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(&["one", "two"]);
    for _ in 0..5 {
        lab.backup_source(&["one", "two"]);
    }
    lab
}

fn forget(lab: &Lab, places: &[&str], arguments: &[&str], code: i32) -> Value {
    let mut command = lab.command("forget", places, &["--json"]);
    run(command.args(arguments)).exits(code).json()["forget"].clone()
}

fn removed(outcome: &Value) -> Vec<String> {
    let plan = outcome["plan"].as_array().expect("a plan");
    let gone = plan.iter().filter(|planned| planned["keep"] == false);
    gone.map(|planned| planned["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn rules_forget_at_every_place_and_what_stays_restores() {
    let lab = lab();
    let before = files(&lab.path("one"));
    let rules = ["--keep-last", "3"];
    let shown = forget(&lab, &["one", "two"], &[&rules[..], &["--dry-run"]].concat(), 0);
    assert_eq!(removed(&shown).len(), 2, "{shown:#}");
    assert_eq!(files(&lab.path("one")), before, "who only looks leaves no trace");
    let done = forget(&lab, &["one", "two"], &rules, 0);
    assert_eq!(removed(&done), removed(&shown), "the dry run was exact");
    for (at, place) in ["one", "two"].into_iter().enumerate() {
        assert_eq!(done["targets"][at]["gone"].as_array().map(Vec::len), Some(2), "{done:#}");
        assert_eq!(lab.verify(place, &["--deep"], 0)["snapshots"], 3);
        lab.restores_whole(place, "latest", &lab.path("source"));
        let left = files(&lab.path(&format!("{place}/s")));
        assert_eq!(left.len(), 6, "three snapshots and their confirmations: {left:?}");
    }
    let again = forget(&lab, &["one", "two"], &rules, 0);
    assert_eq!(removed(&again), Vec::<String>::new());
    lab.backup_source(&["one", "two"]);
}

#[test]
fn more_than_half_is_refused_and_nothing_goes() {
    let lab = lab();
    lab.repo("forget", &["one", "two"], &["--keep-last", "2"]).exits(14);
    assert_eq!(lab.verify("one", &[], 0)["snapshots"], 5);
    forget(&lab, &["one", "two"], &["--keep-last", "2", "--accept-more-than-half"], 0);
    assert_eq!(lab.verify("one", &[], 0)["snapshots"], 2);
}

#[test]
fn ids_are_forgotten_by_name_and_wrong_words_forget_nothing() {
    let lab = lab();
    let shown = forget(&lab, &["one"], &["--keep-last", "1", "--dry-run"], 0);
    let id = removed(&shown).swap_remove(1);
    for (arguments, code) in [
        (vec![], 2),
        (vec!["--min-keep", "3"], 2),
        (vec![&id[..], "--keep-last", "1"], 2),
        (vec![&id[..], "--host", "x"], 2),
        (vec!["--keep-daily", "1", "--zone", "Berlin"], 2),
        (vec!["00000000"], 1),
        (vec![&id[..7]], 1),
        (vec!["latest"], 1),
        (vec![&id[..], "00000000"], 1),
    ] {
        lab.repo("forget", &["one"], &arguments).exits(code);
        assert_eq!(lab.verify("one", &[], 0)["snapshots"], 5, "{arguments:?}");
    }
    let others = forget(&lab, &["one"], &["--keep-last", "1", "--host", "elsewhere"], 0);
    assert_eq!(others["plan"].as_array().map(Vec::len), Some(0), "{others:#}");
    let done = forget(&lab, &["one"], &[&id[..10]], 0);
    assert_eq!(removed(&done), [id]);
    assert_eq!(lab.verify("one", &[], 0)["snapshots"], 4);
    assert_eq!(lab.verify("two", &[], 0)["snapshots"], 5, "a place that is not named keeps it");
}

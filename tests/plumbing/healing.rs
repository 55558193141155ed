//! Packs that somebody deleted everywhere: the next backup that needs them stores anew what they
//! held, and says that older snapshots are hurt.

use serde_json::Value;

use crate::lab::{Lab, files, noise, plain_source, run};

const PLACES: [&str; 2] = ["one", "two"];

/// Two places with one snapshot, whose packs of this class are gone from both.
fn robbed(class: &str) -> (Lab, String) {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(&PLACES);
    let first = lab.backup_source(&PLACES)["snapshot"].as_str().expect("an id").to_owned();
    for place in PLACES {
        for pack in files(&lab.path(place).join(class)) {
            std::fs::remove_file(pack).expect("removed");
        }
    }
    (lab, first)
}

/// A backup that heals: it succeeds, says what is wrong, and its snapshot is whole at both places.
fn heals(lab: &Lab, first: &str, arguments: &[&str]) -> Value {
    let source = lab.path("source");
    let mut command = lab.command("backup", &PLACES, &["--json"]);
    let said = run(command.args(arguments).arg(&source)).exits(0);
    assert!(
        said.out.contains("count as lost") && said.out.contains("stored anew"),
        "nobody was told: {said:#?}"
    );
    let outcome = said.json()["outcome"].clone();
    is_whole(lab, &outcome, first);
    outcome
}

fn is_whole(lab: &Lab, outcome: &Value, first: &str) {
    let newest = outcome["snapshot"].as_str().expect("an id");
    for place in PLACES {
        let said = lab.repo("verify", &[place], &["--deep", "--json"]);
        let found = said.json()["verify"].clone();
        let whole = found["whole"].as_array().expect("a list");
        assert!(whole.iter().any(|id| id == newest), "{place}: {found:#}");
        lab.restores_whole(place, newest, &lab.path("source"));
        // What was stored anew heals older snapshots as well, and verify says of which that is so.
        let back = lab.restore(place, first, "older");
        drop(std::fs::remove_dir_all(lab.path("older")));
        if whole.iter().any(|id| id == first) {
            back.exits(0);
        } else {
            let hurt = found["hurt"].as_array().expect("a list");
            assert!(hurt.iter().any(|h| h["snapshot"] == first), "{place}: {found:#}");
            assert_eq!((said.code, back.code), (Some(13), Some(13)), "{place}: {found:#}\n{back:#?}");
        }
    }
}

#[test]
fn a_full_stores_anew_what_is_gone_from_every_place() {
    for class in ["p", "m"] {
        let (lab, first) = robbed(class);
        heals(&lab, &first, &["--full"]);
        // And that is the end of it: what comes next neither stores nor relies on the lost ones.
        for arguments in [&[][..], &["--full"]] {
            let mut command = lab.command("backup", &PLACES, &["--json"]);
            let said = run(command.args(arguments).arg(lab.path("source"))).exits(0);
            assert!(!said.out.contains("warning"), "{said:#?}");
            let outcome = said.json()["outcome"].clone();
            assert_eq!(outcome["stats"]["packs_new"], 0, "{outcome:#}");
            is_whole(&lab, &outcome, &first);
        }
    }
}

#[test]
fn an_incremental_that_meets_lost_packs_stores_anew_what_they_held() {
    let (lab, first) = robbed("p");
    // The same bytes under another name: stored already, as far as the index knows.
    std::fs::copy(lab.path("source/large"), lab.path("source/large again")).expect("copied");
    heals(&lab, &first, &[]);
}

#[test]
fn an_incremental_takes_the_parents_word_and_the_next_full_does_not() {
    let (lab, first) = robbed("p");
    std::fs::write(lab.path("source/new"), noise(12, 5000)).expect("written");
    let taken = lab.backup_source(&PLACES);
    // What the parent holds is taken over without a look, so its loss is inherited, and verify says so.
    let found = lab.verify("one", &[], 13);
    let hurt = found["hurt"].as_array().expect("a list");
    assert!(hurt.iter().any(|h| h["snapshot"] == taken["snapshot"]), "{found:#}");
    heals(&lab, &first, &["--full"]);
}

#[test]
fn what_one_place_lost_and_the_other_has_damaged_is_stored_anew() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(&PLACES);
    let first = lab.backup_source(&PLACES)["snapshot"].as_str().expect("an id").to_owned();
    for pack in files(&lab.path("two/p")) {
        std::fs::remove_file(pack).expect("removed");
    }
    for pack in files(&lab.path("one/p")) {
        let mut bytes = std::fs::read(&pack).expect("read");
        bytes[500] ^= 4;
        crate::lab::set_mode(&pack, 0o600);
        std::fs::write(&pack, bytes).expect("written");
    }
    heals(&lab, &first, &["--full"]);
}

//! Packs that somebody deleted everywhere: the next backup that needs them stores anew what they
//! held, and older snapshots that had lost it are whole again.

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
        let said = run(&mut lab.command("verify", &[place], &["--json", "--deep"]));
        let found = said.json()["verify"].clone();
        let is_in = |list: &str, id: &str| {
            let list = found[list].as_array().expect("a list");
            list.iter().any(|one| one == id || one["snapshot"] == id)
        };
        assert!(is_in("whole", newest), "{place}: {found:#}");
        // What was stored anew is the first snapshot's as well. Packs that are still there and
        // damaged are named, with whoever leans on them.
        let is_damaged = said.code == Some(13);
        assert!(is_in(if is_damaged { "hurt" } else { "whole" }, first), "{place}: {found:#}");
        assert!(is_damaged || said.code == Some(0), "{said:#?}");
        if !is_damaged {
            lab.restore(place, first, &format!("{first}-{place}-{newest}")).exits(0);
        }
        lab.restores_whole(place, newest, &lab.path("source"));
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

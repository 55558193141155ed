//! Each kind of object, each kind of damage: verify names it, restore never lies, the other place
//! is whole.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::{Lab, files, noise, plain_source, set_mode};
use crate::odd_tree;

/// The kinds of objects of a repository, by how their names begin and end.
const KINDS: [(&str, &str); 8] = [
    ("repo.fmt", ""),
    ("keys/slot-", ""),
    ("keys/cert-", ""),
    ("p/", ""),
    ("m/", ""),
    ("i/", ""),
    ("s/", "snapshot"),
    ("s/", ".ok"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Flip,
    Empty,
    Half,
    LastByte,
    Append,
    Delete,
    Exchange,
}

const HARMS: [Harm; 7] =
    [Harm::Flip, Harm::Empty, Harm::Half, Harm::LastByte, Harm::Append, Harm::Delete, Harm::Exchange];

/// Two snapshots with packs of their own, at two places.
fn two_snapshots() -> Lab {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["good", "bad"]);
    lab.backup_source(&["good", "bad"]);
    std::fs::write(source.join("second"), noise(7, 400_000)).expect("written");
    std::fs::write(source.join("small-3"), b"changed").expect("written");
    let both = lab.command("backup", &["good", "bad"], &["--host", "other"]).arg(&source).output();
    assert!(both.expect("ran").status.success());
    let status =
        std::process::Command::new("cp").arg("-a").args([lab.path("bad"), lab.path("kept")]).status();
    assert!(status.expect("cp runs").success());
    lab
}

/// Puts the damaged place back as it was.
fn mend(lab: &Lab) {
    let script = "rm -rf \"$1/bad\" && cp -a \"$1/kept\" \"$1/bad\"";
    let status = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(lab.folder.path()).status();
    assert!(status.expect("sh runs").success());
    // A place that is put back is a roll-back, and that is not what is tried here.
    drop(std::fs::remove_dir_all(lab.path("state/seen")));
}

fn objects(place: &Path, kind: (&str, &str)) -> Vec<PathBuf> {
    let matches = |path: &PathBuf| {
        let name = path.strip_prefix(place).expect("below").to_str().expect("plain").to_owned();
        name.starts_with(kind.0)
            && match kind.1 {
                "snapshot" => !name.ends_with(".ok"),
                end => name.ends_with(end),
            }
    };
    files(place).into_iter().filter(matches).collect()
}

/// Harms the last object of a kind; the answer is which, or nothing where it cannot be done.
fn harm(place: &Path, kind: (&str, &str), harm: Harm) -> Option<PathBuf> {
    let all = objects(place, kind);
    let victim = all.last().unwrap_or_else(|| panic!("no object of kind {kind:?}")).clone();
    let mut bytes = std::fs::read(&victim).expect("read");
    let middle = bytes.len() / 2;
    match harm {
        Harm::Flip => bytes[middle] ^= 0x10,
        Harm::Empty => bytes.clear(),
        Harm::Half => bytes.truncate(middle),
        Harm::LastByte => drop(bytes.pop()),
        Harm::Append => bytes.push(0),
        Harm::Delete => {
            std::fs::remove_file(&victim).expect("removed");
            return Some(victim);
        }
        Harm::Exchange => {
            let other = all.first().filter(|first| **first != victim)?;
            bytes = std::fs::read(other).expect("read");
        }
    }
    set_mode(&victim, 0o600);
    std::fs::write(&victim, bytes).expect("written");
    Some(victim)
}

/// What an unharmed restore of each snapshot gives.
fn expected(lab: &Lab) -> Vec<String> {
    let list = lab.repo("snapshots", &["good"], &["--json"]).exits(0).json();
    let ids: Vec<String> = list["snapshots"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|snapshot| snapshot["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    for (number, id) in ids.iter().enumerate() {
        lab.restore("good", id, &format!("expected-{number}")).exits(0);
    }
    ids
}

/// A file that came back has the right bytes; one that didn't was named, with a code that is not 0.
fn restore_is_honest(lab: &Lab, id: &str, number: usize, case: &str) {
    let said = lab.restore("bad", id, "back");
    assert!(!said.err.contains("panicked"), "{case}: {said:#?}");
    let differences = if lab.path("back").exists() {
        odd_tree::compare(&lab.path(&format!("expected-{number}")), &lab.path("back"))
    } else {
        Vec::new()
    };
    if said.code == Some(0) {
        assert!(lab.path("back").exists() && differences.is_empty(), "{case}: {differences:#?}\n{said:#?}");
    }
    for file in files_or_none(&lab.path("back")) {
        let name = file.strip_prefix(lab.path("back")).expect("below").to_owned();
        // What says of itself that it is not finished.
        let shown = name.to_string_lossy().into_owned();
        if shown.contains(".lifeboat-restore-") || shown.contains(".tmp-") {
            assert_ne!(said.code, Some(0), "{case}: {name:?} was left");
            continue;
        }
        let right = std::fs::read(lab.path(&format!("expected-{number}")).join(&name)).expect("read");
        let is_named = said.err.contains(name.to_str().expect("plain"));
        let whole = std::fs::read(&file).expect("read") == right;
        assert!(whole || is_named, "{case}: {name:?} is wrong and nobody said so\n{said:#?}");
    }
    if lab.path("back").exists() {
        std::fs::remove_dir_all(lab.path("back")).expect("removed");
    }
}

fn files_or_none(dir: &Path) -> Vec<PathBuf> {
    if dir.exists() { files(dir) } else { Vec::new() }
}

fn problems(found: &Value) -> String {
    found["problems"].to_string()
}

fn every_harm(kind: (&str, &str)) {
    let lab = two_snapshots();
    let ids = expected(&lab);
    for kind_of_harm in HARMS {
        let case = format!("{kind:?} {kind_of_harm:?}");
        let Some(victim) = harm(&lab.path("bad"), kind, kind_of_harm) else { continue };
        let name = victim.strip_prefix(lab.path("bad")).expect("below").to_str().expect("plain").to_owned();
        names_the_damage(&lab, kind, kind_of_harm, &name);
        for (number, id) in ids.iter().enumerate() {
            restore_is_honest(&lab, id, number, &case);
        }
        backup_works_or_says_why(&lab, kind, &case);
        mend(&lab);
    }
    lab.verify("bad", &["--deep"], 0);
    lab.verify("good", &[], 0);
    lab.restores_whole("good", &ids[1], &lab.path("expected-1"));
}

fn names_the_damage(lab: &Lab, kind: (&str, &str), harm: Harm, name: &str) {
    let keyed = lab.repo("verify", &["bad"], &["--json"]);
    // Without its keys the repository cannot be opened; the other look needs none.
    let unopened = kind.0 == "repo.fmt" || kind.0 == "keys/slot-";
    let wanted: &[i32] = match (kind.0, harm) {
        ("repo.fmt", Harm::Delete) => &[10],
        ("keys/slot-", Harm::Delete) => &[12],
        _ if unopened => &[12, 13],
        _ => &[13],
    };
    let case = format!("{name} {harm:?}");
    let gone_confirmation = kind.1 == ".ok" && harm == Harm::Delete;
    if gone_confirmation {
        // What was never confirmed is no backup: nothing is damaged, there is one snapshot less. The
        // newest is missed by nobody who never saw it, the other by the link to it.
        let found = keyed.json()["verify"].clone();
        assert_eq!((&found["snapshots"], &found["problem_count"]), (&1.into(), &0.into()), "{found:#}");
        let is_missed = found["history"][0]["finding"] == "gone";
        keyed.exits(if is_missed { 13 } else { 0 });
        return;
    }
    assert!(wanted.contains(&keyed.code.unwrap_or(-1)), "{case}: {keyed:#?}");
    if !unopened {
        let found = keyed.json()["verify"].clone();
        // Nobody knows the name of a lost certificate; the snapshot that it vouched for is named.
        let lost_certificate = kind.0 == "keys/cert-" && harm == Harm::Delete;
        let clue = if lost_certificate { "no signature that verifies" } else { name };
        assert!(problems(&found).contains(clue), "{case}: {found:#}");
        if ["p/", "m/"].contains(&kind.0) {
            let hurt = found["hurt"].as_array().expect("a list");
            assert!(!hurt.is_empty(), "{case}: {found:#}");
            assert!(hurt.iter().any(|h| h["paths"].as_u64() > Some(0)), "{case}: {found:#}");
        }
    }
    if harm != Harm::Delete {
        let keyless = lab.bare().args(["repo", "verify", "--json", "--repo"]).arg(lab.path("bad")).output();
        let keyless = keyless.expect("ran");
        let said = String::from_utf8_lossy(&keyless.stdout);
        assert_eq!(keyless.status.code(), Some(13), "{case}: {said}");
        assert!(said.contains(name), "{case}: {said}");
    }
}

fn backup_works_or_says_why(lab: &Lab, kind: (&str, &str), case: &str) {
    let said = lab.repo("backup", &["bad"], &[lab.path("source")]);
    assert!(!said.err.contains("panicked"), "{case}: {said:#?}");
    let unopened = kind.0 == "repo.fmt" || kind.0 == "keys/slot-";
    match said.code {
        Some(0) => {}
        Some(10 | 12 | 13) if unopened => {}
        Some(13) => assert!(said.err.contains("next:"), "{case}: {said:#?}"),
        _ => panic!("{case}: {said:#?}"),
    }
}

#[test]
fn a_hurt_format_object_is_noticed() {
    every_harm(KINDS[0]);
}

#[test]
fn a_hurt_key_slot_is_noticed() {
    every_harm(KINDS[1]);
}

#[test]
fn a_hurt_certificate_is_noticed() {
    every_harm(KINDS[2]);
}

#[test]
fn a_hurt_data_pack_is_noticed() {
    every_harm(KINDS[3]);
}

#[test]
fn a_hurt_metadata_pack_is_noticed() {
    every_harm(KINDS[4]);
}

#[test]
fn a_hurt_index_run_is_noticed() {
    every_harm(KINDS[5]);
}

#[test]
fn a_hurt_snapshot_is_noticed() {
    every_harm(KINDS[6]);
}

#[test]
fn a_hurt_confirmation_is_noticed() {
    every_harm(KINDS[7]);
}

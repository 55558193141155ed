//! Packs with parity by the real binary: what damage mends itself, and what does not.

use std::fs;
use std::path::PathBuf;

use crate::lab::{Lab, files, noise, set_mode};

/// Three megabytes in a repository with parity.
fn lab(percent: &str) -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("source")).expect("made");
    lab.repo("init", &["one"], &["--pack-size", "8MiB", "--parity", percent]).exits(0);
    for number in 0..3 {
        fs::write(lab.path("source").join(format!("file-{number}")), noise(number, 1_000_000))
            .expect("written");
    }
    lab.backup_source(&["one"]);
    lab
}

fn packs(lab: &Lab) -> Vec<PathBuf> {
    [files(&lab.path("one/p")), files(&lab.path("one/m"))].concat()
}

fn write(path: &PathBuf, bytes: &[u8]) {
    set_mode(path, 0o600);
    fs::write(path, bytes).expect("written");
}

#[test]
fn damage_within_the_parity_mends_itself_with_no_other_place() {
    let lab = lab("10");
    lab.verify("one", &["--deep"], 0);
    let before: Vec<(PathBuf, Vec<u8>)> =
        packs(&lab).into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
    for (path, whole) in &before {
        let mut hurt = whole.clone();
        // A stretch in the middle, across two shards, and one in the end.
        let middle = hurt.len() / 3;
        hurt[middle..middle + 5000].fill(0xa5);
        write(path, &hurt);
    }
    lab.verify("one", &[], 13);
    let shown = lab.repo("repair", &["one"], &["--dry-run"]).exits(13);
    assert!(shown.out.contains("from its own parity"), "{shown:#?}");
    let done = lab.repo("repair", &["one"], &[] as &[&str]).exits(0);
    assert!(done.out.contains("from its own parity: mended"), "{done:#?}");
    for (path, whole) in &before {
        assert!(fs::read(path).expect("read") == *whole, "{path:?} is as it was");
    }
    // Cut off, and followed by what isn't its own.
    for (path, whole) in &before {
        write(path, &whole[..whole.len() - 10_000]);
    }
    lab.repo("repair", &["one"], &[] as &[&str]).exits(0);
    for (path, whole) in &before {
        write(path, &[whole, &b"litter"[..]].concat());
    }
    lab.repo("repair", &["one"], &[] as &[&str]).exits(0);
    lab.verify("one", &["--deep"], 0);
    lab.restores_whole("one", "latest", &lab.path("source"));
}

#[test]
fn a_restore_and_a_dump_of_damaged_packs_get_what_they_need_from_the_parity_and_say_so() {
    let lab = lab("10");
    for path in packs(&lab) {
        let mut hurt = fs::read(&path).expect("read");
        let third = hurt.len() / 3;
        hurt[third..third + 5000].fill(0xa5);
        // The footer, too: without its copy nothing would be found in the pack.
        let end = hurt.len();
        hurt[end - 300..].fill(0);
        write(&path, &hurt);
    }
    let before: Vec<Vec<u8>> = packs(&lab).iter().map(|path| fs::read(path).expect("read")).collect();
    let out = lab.path("out");
    let to = out.to_str().expect("plain");
    let said = lab.repo("restore", &["one"], &["latest", "--to", to, "--json"]).exits(0);
    let helped = said.json()["restore"]["read_by_parity"].as_array().expect("a list").len();
    assert_eq!(helped, packs(&lab).len(), "{said:#?}");
    assert!(said.out.contains("lifeboat repo repair"), "{said:#?}");
    crate::lab::same(&lab.path("source"), &out);
    let dumped = lab.repo("dump", &["one"], &["latest", "file-1"]);
    assert_eq!(dumped.code, Some(0), "{dumped:#?}");
    assert!(dumped.err.contains("its parity gave what was needed"), "{dumped:#?}");
    let after: Vec<Vec<u8>> = packs(&lab).iter().map(|path| fs::read(path).expect("read")).collect();
    assert!(before == after, "reading mends nothing at the place");
    lab.verify("one", &[], 13);
}

#[test]
fn damage_beyond_the_parity_is_named_and_stored_anew_by_the_next_full() {
    let lab = lab("5");
    let victim = files(&lab.path("one/p")).into_iter().max_by_key(|p| fs::metadata(p).expect("there").len());
    let victim = victim.expect("packs");
    let whole = fs::read(&victim).expect("read");
    let mut hurt = whole.clone();
    let half = hurt.len() / 2;
    hurt[..half].fill(0);
    write(&victim, &hurt);
    let said = lab.repo("repair", &["one"], &[] as &[&str]).exits(13);
    assert!(!said.out.contains("parity"), "{said:#?}");
    let source = lab.path("source");
    lab.backup(&["one"], &["--full", source.to_str().expect("plain")], 0);
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn everything_else_works_on_packs_with_parity_and_who_does_not_know_it_is_told() {
    let lab = lab("8");
    let first = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    let first = first["snapshots"][0]["id"].as_str().expect("an id").to_owned();
    fs::write(lab.path("source/file-0"), noise(77, 1_000_000)).expect("written");
    lab.backup_source(&["one"]);
    let stats = lab.repo("stats", &["one"], &["--json"]).exits(0).json();
    assert_eq!(stats["stats"]["parity_percent"], 8, "{stats:#}");
    lab.repo("forget", &["one"], &[&first]).exits(0);
    lab.repo("prune", &["one"], &["--grace", "0", "--max-unused", "0"]).exits(0);
    lab.verify("one", &["--deep"], 0);
    // What a prune has moved has parity, too.
    for path in packs(&lab) {
        let mut bytes = fs::read(&path).expect("read");
        assert_eq!(bytes[11], 8, "{path:?}");
        let at = bytes.len() / 4;
        bytes[at] ^= 1;
        write(&path, &bytes);
    }
    fs::remove_dir_all(lab.path("one/i")).expect("removed");
    lab.repo("repair", &["one"], &[] as &[&str]).exits(0);
    lab.verify("one", &["--deep"], 0);
    lab.restores_whole("one", "latest", &lab.path("source"));
    lab.repo(
        "sync",
        &[],
        &[
            "--from",
            lab.path("one").to_str().expect("plain"),
            "--to",
            lab.path("two").to_str().expect("plain"),
        ],
    )
    .exits(0);
    lab.restores_whole("two", "latest", &lab.path("source"));
    for wrong in ["26", "-1", "x"] {
        lab.repo("init", &["three"], &["--parity", wrong]).exits(2);
    }
    let format = fs::read(lab.path("one/repo.fmt")).expect("read");
    assert_eq!((format[8], format[72]), (2, 8), "a version that older programs refuse");
}

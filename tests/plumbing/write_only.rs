//! A host whose key only adds: what it can do, what it cannot, and what readers see of it.

use std::fs;
use std::process::Command;

use crate::lab::{Lab, Said, files, noise, plain_source, run, settle};

/// A repository with the administrator's passphrase, and a key for the host `web` that only adds.
fn lab(places: &[&str]) -> Lab {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(places);
    add(&lab, places, "web.key", &["--for-host", "web", "--write-only"]).exits(0);
    lab
}

fn add(lab: &Lab, places: &[&str], file: &str, role: &[&str]) -> Said {
    let mut command = lab.bare();
    command.args(["repo", "key", "add"]);
    for place in places {
        command.arg("--repo").arg(lab.path(place));
    }
    command.arg("--password-file").arg(lab.path("password"));
    run(command.arg("--new-key-file").arg(lab.path(file)).args(role))
}

/// `lifeboat repo VERB` with the host's key.
fn by_host(lab: &Lab, verb: &str, places: &[&str], arguments: &[&str]) -> Command {
    let mut command = lab.bare();
    command.args(["repo", verb]);
    for place in places {
        command.arg("--repo").arg(lab.path(place));
    }
    command.arg("--key-file").arg(lab.path("web.key")).args(arguments);
    command
}

fn backup(lab: &Lab, places: &[&str], code: i32) -> serde_json::Value {
    let source = lab.path("source");
    let source = source.to_str().expect("plain");
    let mut command = by_host(lab, "backup", places, &["--host", "web", "--json", source]);
    run(&mut command).exits(code).json()["outcome"].clone()
}

#[test]
fn it_backs_up_and_compares_with_its_last_backup_and_readers_restore_it() {
    let lab = lab(&["one", "two"]);
    settle();
    let first = backup(&lab, &["one", "two"], 0);
    assert_eq!(first["kind"], "full");
    fs::write(lab.path("source/new"), noise(7, 5000)).expect("written");
    let second = backup(&lab, &["one", "two"], 0);
    assert_eq!(second["kind"], "incremental");
    assert_eq!(second["stats"]["files_read"], 1, "{second:#}");
    assert_eq!(second["parent"], first["snapshot"]);
    for place in ["one", "two"] {
        lab.restores_whole(place, "latest", &lab.path("source"));
        let found = lab.verify(place, &["--deep"], 0);
        assert_eq!(found["snapshots"], 2);
    }
    let listed = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    assert_eq!(listed["snapshots"][0]["host"], "web");
}

#[test]
fn a_machine_that_lost_its_cache_reads_all_again_and_stores_nothing_twice() {
    let lab = lab(&["one"]);
    backup(&lab, &["one"], 0);
    fs::remove_dir_all(lab.path("state")).expect("removed");
    let again = backup(&lab, &["one"], 0);
    assert_eq!(again["kind"], "full", "there is nothing to compare with");
    assert_eq!(again["stats"]["bytes_new"], 0, "{again:#}");
    // What was kept is hurt: it is noticed and read again, no more.
    let mut hurt = 0;
    for file in files(&lab.path("state/cache")) {
        if file.to_string_lossy().contains("/own/") {
            let mut bytes = fs::read(&file).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            fs::write(&file, bytes).expect("written");
            hurt += 1;
        }
    }
    assert!(hurt >= 3, "a snapshot, a node, a leaf: {hurt}");
    let again = backup(&lab, &["one"], 0);
    assert_eq!(again["kind"], "full", "{again:#}");
    lab.restores_whole("one", "latest", &lab.path("source"));
    assert_eq!(lab.verify("one", &["--deep"], 0)["snapshots"], 3);
}

#[test]
fn it_reads_nothing_and_removes_nothing_and_speaks_for_nobody_else() {
    let lab = lab(&["one"]);
    lab.backup_source(&["one"]);
    backup(&lab, &["one"], 0);
    let out = lab.path("out");
    let out = out.to_str().expect("plain");
    let refused: [(&str, &[&str]); 9] = [
        ("snapshots", &[]),
        ("restore", &["latest", "--to", out]),
        ("ls", &["latest"]),
        ("find", &["small"]),
        ("forget", &["--keep-last", "1"]),
        ("prune", &[]),
        ("scrub", &[]),
        ("rebuild-index", &[]),
        ("accept-loss", &["--reason", "none"]),
    ];
    let before = files(&lab.path("one"));
    for (verb, arguments) in refused {
        let said = run(&mut by_host(&lab, verb, &["one"], arguments));
        assert!(!said.err.contains("panicked"), "{verb}: {said:#?}");
        assert_ne!(said.code, Some(0), "{verb}: {said:#?}");
        assert!(
            ["E0309", "E0306", "E0310", "E0333"].iter().any(|code| said.err.contains(code)),
            "{verb}: {said:#?}"
        );
    }
    assert!(!lab.path("out").exists() || files(&lab.path("out")).is_empty());
    assert_eq!(files(&lab.path("one")), before, "nothing went, and nothing came");
    let source = lab.path("source");
    let source = source.to_str().expect("plain");
    let other = run(&mut by_host(&lab, "backup", &["one"], &["--host", "db", source])).exits(2);
    assert!(other.err.contains("E0310") && other.err.contains("--host web"), "{other:#?}");
    let key = ["--new-key-file", "x.key"];
    let mut more = lab.bare();
    more.args(["repo", "key", "add", "--repo"]).arg(lab.path("one"));
    more.arg("--key-file").arg(lab.path("web.key")).args(key).current_dir(lab.folder.path());
    let more = run(&mut more);
    assert!(more.code != Some(0) && more.err.contains("E0306"), "{more:#?}");
    // Not even by hash is it told what it may not see.
    let keyless = run(lab.bare().args(["repo", "verify", "--repo"]).arg(lab.path("one"))).exits(0);
    assert!(keyless.err.is_empty() || !keyless.err.contains("E0309"), "{keyless:#?}");
}

#[test]
fn a_host_has_a_plain_name() {
    let lab = lab(&["one"]);
    let long = "x".repeat(256);
    for name in ["", "-web", "a b", "a\nb", "x;touch y", "../web", long.as_str()] {
        let said = add(&lab, &["one"], "odd.key", &[&format!("--for-host={name}"), "--write-only"]).exits(2);
        assert!(said.err.contains("a host's name has letters"), "{name:?}: {said:#?}");
    }
    assert!(!lab.path("odd.key").exists());
}

#[test]
fn a_host_that_reads_may_not_administer() {
    let lab = lab(&["one"]);
    add(&lab, &["one"], "web.key", &["--for-host", "web"]).exits(2);
    add(&lab, &["one"], "db.key", &["--for-host", "db"]).exits(0);
    let by_db = |verb: &str, arguments: &[&str]| {
        let mut command = lab.bare();
        command.args(["repo", verb, "--repo"]).arg(lab.path("one"));
        run(command.arg("--key-file").arg(lab.path("db.key")).args(arguments))
    };
    let source = lab.path("source");
    let source = source.to_str().expect("plain");
    by_db("backup", &["--host", "db", source]).exits(0);
    by_db("snapshots", &[]).exits(0);
    backup(&lab, &["one"], 0);
    for verb in ["prune", "forget"] {
        let said = by_db(verb, if verb == "forget" { &["--keep-last", "1"] } else { &[] });
        assert!(said.code != Some(0) && said.err.contains("E0333"), "{said:#?}");
    }
    assert_eq!(lab.verify("one", &["--deep"], 0)["snapshots"], 2);
}

#[test]
fn a_place_without_its_certificate_is_named_and_the_others_take_the_backup() {
    let lab = lab(&["one", "two"]);
    for file in files(&lab.path("two/keys")) {
        if file.to_string_lossy().contains("cert-") {
            fs::remove_file(file).expect("removed");
        }
    }
    let done = backup(&lab, &["one", "two"], 3);
    let two = &done["targets"][1];
    assert!(two["reason"].as_str().expect("a reason").contains("certificate"), "{two:#}");
    // The administrator puts it there with the key.
    add(&lab, &["one", "two"], "web.key", &["--for-host", "web", "--write-only"]).exits(0);
    backup(&lab, &["one", "two"], 0);
    lab.restores_whole("two", "latest", &lab.path("source"));
}

//! Several places: one fails and is completed later by copying, and nothing is read twice.

use std::process::Stdio;

use crate::lab::{Lab, noise, plain_source, run};
use crate::odd_tree;

fn move_away(lab: &Lab, place: &str) {
    std::fs::rename(lab.path(place), lab.path("away")).expect("moved");
}

fn bring_back(lab: &Lab, place: &str) {
    std::fs::rename(lab.path("away"), lab.path(place)).expect("moved");
}

#[test]
fn a_place_that_is_away_lags_and_the_next_backup_completes_it_without_reading() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one", "two"]);
    lab.backup_source(&["one", "two"]);
    std::fs::write(source.join("new"), noise(8, 2_000_000)).expect("written");
    move_away(&lab, "two");
    let path = source.to_str().expect("plain");
    let outcome = lab.backup(&["one", "two"], &[path], 3);
    assert_eq!(outcome["lagging"].as_array().map(Vec::len), Some(1), "{outcome:#}");
    assert!(outcome["lagging"][0].as_str().expect("a name").ends_with("/two"), "{outcome:#}");
    assert!(!lab.path("two").exists(), "a place that is not mounted is not made");
    lab.restores_whole("one", "latest", &source);
    bring_back(&lab, "two");
    let again = lab.backup_source(&["one", "two"]);
    assert_eq!(again["stats"]["packs_new"], 0, "{again:#}");
    lab.verify("two", &["--deep"], 0);
    lab.restores_whole("two", "latest", &source);
}

#[test]
fn sync_completes_a_place_that_lagged() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one", "two"]);
    lab.backup_source(&["one", "two"]);
    std::fs::write(source.join("new"), noise(8, 2_000_000)).expect("written");
    lab.backup_source(&["one"]);
    let said = sync(&lab, "one", "two", true);
    assert_eq!((&said["snapshots_copied"], &said["snapshots_present"]), (&1.into(), &1.into()), "{said:#}");
    lab.verify("two", &["--deep"], 0);
    std::fs::remove_dir_all(lab.path("one")).expect("removed");
    lab.restores_whole("two", "latest", &source);
    assert_eq!(lab.verify("two", &[], 0)["snapshots"], 2);
}

fn sync(lab: &Lab, from: &str, to: &str, keyed: bool) -> serde_json::Value {
    let mut command = lab.bare();
    command.args(["repo", "sync", "--json", "--from"]).arg(lab.path(from)).arg("--to").arg(lab.path(to));
    if keyed {
        command.arg("--password-file").arg(lab.path("password"));
    }
    run(&mut command).exits(0).json()["sync"].clone()
}

#[test]
fn sync_fills_an_empty_place_with_and_without_the_key() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    std::fs::write(source.join("new"), noise(8, 2_000_000)).expect("written");
    lab.backup_source(&["one"]);
    for (to, keyed) in [("keyed", true), ("keyless", false)] {
        let said = sync(&lab, "one", to, keyed);
        assert_eq!(said["snapshots_copied"], 2, "{said:#}");
        assert_eq!(sync(&lab, "one", to, keyed)["snapshots_present"], 2);
        lab.verify(to, &["--deep"], 0);
        lab.restores_whole(to, "latest", &source);
    }
}

#[test]
fn sync_carries_no_damage_over() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let pack = crate::lab::files(&lab.path("one/p")).pop().expect("a pack");
    let mut bytes = std::fs::read(&pack).expect("read");
    bytes[1000] ^= 1;
    crate::lab::set_mode(&pack, 0o600);
    std::fs::write(&pack, bytes).expect("written");
    for password in [true, false] {
        let mut command = lab.bare();
        command.args(["repo", "sync", "--from"]).arg(lab.path("one")).arg("--to").arg(lab.path("two"));
        if password {
            command.arg("--password-file").arg(lab.path("password"));
        }
        let said = run(&mut command);
        assert!(matches!(said.code, Some(3 | 13)), "{said:#?}");
        assert!(said.err.contains("is not what its name says"), "{said:#?}");
        // What is not whole there is no backup there.
        let list = lab.repo("snapshots", &["two"], &["--json"]).exits(0).json();
        assert_eq!(list["snapshots"].as_array().map(Vec::len), Some(0), "{list:#}");
    }
}

#[test]
fn a_backup_waits_for_no_verification() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    std::fs::write(source.join("much"), noise(3, 30_000_000)).expect("written");
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let mut verify = lab.command("verify", &["one"], &["--deep"]);
    let mut verify = verify.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    // Stopped once it reads objects, it holds whatever a verification holds, for ever.
    let io = format!("/proc/{}/io", verify.id());
    let read = || {
        let text = std::fs::read_to_string(&io).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: ").map(str::to_owned));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(u64::MAX)
    };
    while read() < 2_000_000 {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&verify);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
    assert!(verify.try_wait().expect("asked").is_none(), "it was over before it was stopped");
    std::fs::write(source.join("new"), noise(8, 2_000_000)).expect("written");
    lab.backup_source(&["one"]);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("goes on");
    assert_eq!(verify.wait().expect("ended").code(), Some(0), "nor does the backup disturb it");
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn two_backups_at_once_both_succeed() {
    let lab = Lab::new();
    plain_source(&lab.path("a"));
    plain_source(&lab.path("b"));
    std::fs::write(lab.path("b").join("more"), noise(77, 4_000_000)).expect("written");
    lab.init(&["one", "two"]);
    for hosts in [["same", "same"], ["first", "second"]] {
        let children: Vec<_> = ["a", "b"]
            .iter()
            .zip(hosts)
            .map(|(source, host)| {
                lab.command("backup", &["one", "two"], &["--host", host])
                    .arg(lab.path(source))
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("started")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("ended");
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    for place in ["one", "two"] {
        assert_eq!(lab.verify(place, &["--deep"], 0)["snapshots"], 4);
    }
    let list = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    for (number, snapshot) in list["snapshots"].as_array().expect("a list").iter().enumerate() {
        let id = snapshot["id"].as_str().expect("an id");
        let root = snapshot["roots"][0]["path"].as_str().expect("a path");
        lab.restore("two", id, &format!("back-{number}")).exits(0);
        let differences = odd_tree::compare(root.as_ref(), &lab.path(&format!("back-{number}")));
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

#[test]
fn places_of_different_repositories_are_refused() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(&["one"]).init(&["other"]);
    lab.repo("backup", &["one", "other"], &[lab.path("source")]).exits(2);
}

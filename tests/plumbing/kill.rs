//! A backup that is killed, wherever it was: the next one just works, and nothing earlier is hurt.

use std::process::{Command, Stdio};

use crate::lab::{Lab, noise, plain_source, run};

/// A repository at two places with one snapshot, and a source that has changed a lot since.
fn begun() -> Lab {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["one", "two"]);
    lab.backup_source(&["one", "two"]);
    let status = Command::new("cp").arg("-a").args([&source, &lab.path("first")]).status();
    assert!(status.expect("cp runs").success());
    for number in 0..3 {
        std::fs::write(source.join(format!("big-{number}")), noise(500 + number, 6_000_000))
            .expect("written");
    }
    std::fs::write(source.join("small-2"), b"changed").expect("written");
    lab
}

fn ids(lab: &Lab, place: &str) -> Vec<String> {
    let list = lab.repo("snapshots", &[place], &["--json"]).exits(0).json();
    let snapshots = list["snapshots"].as_array().expect("a list");
    snapshots.iter().map(|s| s["id"].as_str().expect("an id").to_owned()).collect()
}

/// What must hold after every death: the first snapshot is whole, what is listed verifies.
fn holds(lab: &Lab, first: &str) {
    for place in ["one", "two"] {
        let found = lab.verify(place, &[], 0);
        assert!(found["whole"].as_array().expect("a list").iter().any(|id| id == first), "{found:#}");
    }
}

#[test]
fn killed_at_a_random_time_the_next_run_just_works() {
    let lab = begun();
    let first = ids(&lab, "one").remove(0);
    let source = lab.path("source");
    for round in 0..20u64 {
        let mut child = lab
            .command("backup", &["one", "two"], &[&source])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        // Spread over the whole run; the seed of a failure is its round.
        std::thread::sleep(std::time::Duration::from_millis(20 + round * 37));
        drop(child.kill());
        child.wait().expect("ended");
        if round % 5 == 4 {
            holds(&lab, &first);
        }
    }
    lab.backup_source(&["one", "two"]);
    holds(&lab, &first);
    for place in ["one", "two"] {
        lab.verify(place, &["--deep"], 0);
        lab.restores_whole(place, "latest", &source);
        lab.restores_whole(place, &first, &lab.path("first"));
    }
}

#[test]
fn killed_at_a_system_call_the_next_run_just_works() {
    let strace = Command::new("strace").arg("-V").output();
    assert!(strace.is_ok_and(|output| output.status.success()), "this test needs strace");
    let lab = begun();
    let first = ids(&lab, "one").remove(0);
    let source = lab.path("source");
    let mut killed = 0;
    // The n-th call of each kind that makes something durable or visible.
    for (call, ordinals) in [
        ("rename,renameat,renameat2,link,linkat", [1, 2, 4, 6, 8, 9, 10, 11]),
        ("fsync,fdatasync", [1, 3, 5, 8, 12, 16, 20, 24]),
    ] {
        for ordinal in ordinals {
            let backup = lab.command("backup", &["one", "two"], &[&source]);
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            command.args(["-e", &format!("inject={call}:signal=KILL:when={ordinal}")]);
            command.arg(backup.get_program()).args(backup.get_args());
            command.env("LIFEBOAT_STATE_DIR", lab.path("state"));
            let said = run(&mut command);
            killed += u32::from(said.code.is_none());
            assert!(matches!(said.code, None | Some(0)), "{call} {ordinal}: {said:#?}");
        }
        holds(&lab, &first);
    }
    assert!(killed >= 8, "only {killed} runs were killed: the points are not where the work is");
    lab.backup_source(&["one", "two"]);
    for place in ["one", "two"] {
        lab.verify(place, &["--deep"], 0);
        lab.restores_whole(place, "latest", &source);
        lab.restores_whole(place, &first, &lab.path("first"));
    }
}

#[test]
fn a_proposal_that_was_never_confirmed_is_no_backup() {
    let lab = begun();
    let before = ids(&lab, "one");
    lab.backup_source(&["one", "two"]);
    let newest = ids(&lab, "one").pop().expect("one");
    for file in crate::lab::files(&lab.path("one/s")) {
        let name = file.to_str().expect("plain");
        if name.contains(&newest) && name.ends_with(".ok") {
            std::fs::remove_file(&file).expect("removed");
        }
    }
    assert_eq!(ids(&lab, "one"), before);
    let stats = lab.repo("stats", &["one"], &["--json"]).exits(0).json();
    assert_eq!((&stats["stats"]["snapshots"], &stats["stats"]["pending"]), (&1.into(), &1.into()));
    lab.restores_whole("one", "latest", &lab.path("first"));
    lab.repo("ls", &["one"], &[newest.as_str()]).exits(1);
}

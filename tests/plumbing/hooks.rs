//! Frozen views that a program of the operator makes: snapshots of btrfs by a script, and copies.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::frozen::Btrfs;
use crate::lab::{Lab, Said, noise, run, set_mode, settle};

/// A hook of these shell lines. They find `$views`, a folder for views, and `$log`.
fn hook(lab: &Lab, lines: &str) -> PathBuf {
    let (path, views, log) = (lab.path("hook"), lab.path("views"), lab.path("log"));
    std::fs::create_dir_all(&views).expect("made");
    let head = format!("#!/bin/sh\nset -eu\nviews='{}'\nlog='{}'\n", views.display(), log.display());
    std::fs::write(&path, format!("{head}{lines}\n")).expect("written");
    set_mode(&path, 0o700);
    path
}

/// Copies every root; the copies are gone after `drop`.
const COPY: &str = r#"
at=$views/$LIFEBOAT_VIEW
echo "$1" >>"$log"
case $1 in
make)
    shift
    mkdir "$at"
    for root; do cp -a "$root" "$at/"; printf '%s\0' "$at/${root##*/}"; done
    ;;
drop) rm -rf "$at" ;;
esac"#;

fn log(lab: &Lab) -> String {
    std::fs::read_to_string(lab.path("log")).unwrap_or_default()
}

fn views(lab: &Lab) -> usize {
    std::fs::read_dir(lab.path("views")).expect("listed").count()
}

fn source(lab: &Lab) -> PathBuf {
    let source = lab.path("a\nsource");
    std::fs::create_dir(&source).expect("made");
    for number in 0..200u64 {
        std::fs::write(source.join(format!("file-{number:03}")), noise(number, 100_000)).expect("written");
    }
    source
}

fn await_word(lab: &Lab, word: &str) {
    let begun = Instant::now();
    while !log(lab).contains(word) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the hook was never called");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_view_of_a_hook_is_read_and_recorded_under_the_root_s_own_path() {
    let lab = Lab::new();
    let disk = Btrfs::new(&lab);
    let data = disk.subvolume("data");
    std::fs::create_dir(data.join("www")).expect("made");
    for number in 0..100u64 {
        std::fs::write(data.join(format!("www/file-{number}")), noise(number, 50_000)).expect("written");
    }
    std::fs::hard_link(data.join("www/file-0"), data.join("www/twin")).expect("linked");
    std::fs::write(data.join("single"), b"a file as a root").expect("written");
    settle();
    // The view stands in the subvolume; after it was made the files change.
    let lines = format!(
        "top='{}'\n{}",
        disk.path("data"),
        r#"at=$top/$LIFEBOAT_VIEW
case $1 in
make)
    shift
    btrfs -q subvolume snapshot -r "$top" "$at" >&2
    for root; do printf '%s\0' "$at${root#"$top"}"; done
    [ ! -e "$log.change" ] || for file in "$top"/www/file-*; do echo torn >"$file"; done
    ;;
drop) [ ! -d "$at" ] || btrfs -q subvolume delete "$at" >&2 ;;
esac"#
    );
    let program = hook(&lab, &lines);
    let roots = [disk.path("data/www"), disk.path("data/single")];
    let arguments = ["--snapshot-hook", program.to_str().expect("plain"), &roots[0], &roots[1]];
    lab.init(&["one"]);
    let first = lab.backup(&["one"], &arguments, 0);
    assert_eq!(first["roots"][0]["view"], "snapshot of a hook", "{first:#}");
    assert_eq!(first["roots"][0]["path"], roots[0].as_str());
    let second = lab.backup(&["one"], &arguments, 0);
    assert_eq!(
        (&second["stats"]["files_read"], &second["stats"]["blobs_new"]),
        (&0.into(), &0.into()),
        "{second:#}"
    );
    let live = lab.backup(&["one"], &[&roots[0], &roots[1]], 0);
    assert_eq!(live["stats"]["files_read"], 0, "the view and the root have one device number: {live:#}");
    lab.backup(&["one"], &arguments[..3], 0);
    lab.restores_whole("one", "latest", &data.join("www"));
    // What changes after the view was made is not in it.
    std::fs::write(lab.path("log.change"), b"").expect("written");
    let frozen = lab.backup(&["one"], &[&arguments[..], &["--full"]].concat(), 0);
    assert_eq!(frozen["stats"]["source_bytes"], 101 * 50_000 + 16, "{frozen:#}");
    assert_eq!(frozen["changed"]["count"], 0, "{frozen:#}");
    assert!(std::fs::read_dir(&data).expect("listed").count() == 2, "no view is left");
}

/// Waits until nobody holds the record of a view.
fn await_end(lab: &Lab) {
    let begun = Instant::now();
    let mut records = std::fs::read_dir(lab.path("state/views")).expect("listed").filter_map(Result::ok);
    let record = records.find(|entry| entry.file_name() != "lock").expect("a record").path();
    let file = std::fs::File::open(record).expect("opened");
    while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the hook never ends");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_view_is_dropped_when_the_run_fails_is_stopped_or_was_killed() {
    let lab = Lab::new();
    let source = source(&lab);
    let program = hook(&lab, COPY);
    lab.init(&["one"]);
    let arguments = ["--snapshot-hook", program.to_str().expect("plain"), source.to_str().expect("plain")];
    let begin = |more: &[&str]| {
        let mut command = lab.command("backup", &["one"], &[&arguments[..], more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    };
    // Killed while the view exists: the next run drops it before it makes its own.
    let slow = COPY.replace("for root; do cp", "for root; do echo copying >>\"$log\"; sleep 1; cp");
    hook(&lab, &slow);
    let mut killed = begin(&[]);
    await_word(&lab, "copying");
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    // What it started goes on for a moment, and keeps its view until it has ended.
    hook(&lab, COPY);
    let first = log(&lab);
    lab.backup(&["one"], &arguments, 0);
    assert_eq!(log(&lab), format!("{first}make\ndrop\n"), "the view is still being made");
    await_end(&lab);
    std::fs::remove_file(lab.path("log")).expect("removed");
    lab.backup(&["one"], &arguments, 0);
    assert_eq!(log(&lab), "drop\nmake\ndrop\n");
    // Stopped while the hook works: it is ended, and asked to drop what it made.
    hook(&lab, &slow.replace("sleep 1", "exec sleep 600"));
    std::fs::remove_file(lab.path("log")).expect("removed");
    let stopped = begin(&[]);
    await_word(&lab, "copying");
    rustix::process::kill_process(rustix::process::Pid::from_child(&stopped), rustix::process::Signal::TERM)
        .expect("asked");
    let said = Said::of(&stopped.wait_with_output().expect("ended"));
    assert_eq!(said.code, Some(130), "{said:#?}");
    assert!(log(&lab).ends_with("copying\ndrop\n"), "{}", log(&lab));
    assert_eq!(views(&lab), 0, "{}", log(&lab));
    // A run that fails after the view was made.
    hook(&lab, COPY);
    std::fs::remove_file(lab.path("log")).expect("removed");
    let failed = lab.repo("backup", &["one"], &[&arguments[..], &["--parent", "00000000"]].concat());
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    assert_eq!(views(&lab), 0, "{} {failed:#?}", log(&lab));
    assert!(matches!(log(&lab).as_str(), "" | "make\ndrop\n"), "{}", log(&lab));
}

#[test]
fn a_bad_hook_fails_the_run_and_the_check_and_nothing_is_backed_up() {
    let lab = Lab::new();
    let source = source(&lab);
    let program = hook(&lab, "echo the pool is full >&2; [ \"$1\" = drop ]");
    lab.init(&["one"]);
    let arguments = ["--snapshot-hook", program.to_str().expect("plain"), source.to_str().expect("plain")];
    let said = lab.repo("backup", &["one"], &arguments).exits(1);
    assert!(said.err.contains("E0447") && said.err.contains("the pool is full"), "{said:#?}");
    set_mode(&program, 0o770);
    let said = lab.repo("backup", &["one"], &arguments).exits(1);
    assert!(said.err.contains("can be changed by its group"), "{said:#?}");
    let listed = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(0), "{listed:#}");
    // By policy: `check` finds it before any run does.
    let site = lab.path("site");
    std::fs::create_dir_all(site.join("policies")).expect("made");
    let write = |more: &str| {
        let text =
            format!("[source]\npaths = [\"/srv\"]\n{more}\n[targets.disk]\nurl = \"file:///nowhere/disk\"\n");
        std::fs::write(site.join("policies/web.toml"), text).expect("written");
    };
    let check = || run(lab.bare().args(["check", "--config"]).arg(&site));
    let named = format!("snapshot = \"hook\"\nsnapshot_hook = \"{}\"", program.display());
    write(&named);
    let said = check().exits(2);
    assert!(
        said.err.contains("snapshot_hook") && said.err.contains("can be changed by its group"),
        "{said:#?}"
    );
    std::fs::set_permissions(Path::new(&program), PermissionsExt::from_mode(0o700)).expect("set");
    let said = check();
    assert!(!said.err.contains("snapshot_hook"), "{said:#?}");
    write("snapshot = \"hook\"");
    assert!(check().exits(2).err.contains("names no hook"));
    write(&format!("snapshot_hook = \"{}\"", program.display()));
    assert!(check().exits(2).err.contains("never called"));
}

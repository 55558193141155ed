//! What cannot be read: each such thing is named, the rest is kept, and what the snapshot before
//! had of it stays. And what may not even be opened: pipes, sockets, devices.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Said, needs_root, noise, plain_source, run, set_mode, settle};
use crate::odd_tree::{self, Rights};

/// A `repo` command of the lab below another program, such as strace.
fn below(lab: &Lab, wrapper: &[&str], verb: &str, arguments: &[&str]) -> Said {
    let command = lab.command(verb, &["one"], arguments);
    let mut wrapped = Command::new(wrapper[0]);
    wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
    run(wrapped.env("LIFEBOAT_STATE_DIR", lab.path("state")))
}

const NOBODY: [&str; 6] = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

fn give_to_nobody(path: &Path) {
    let status = Command::new("chown").args(["-R", "65534:65534"]).arg(path).status();
    assert!(status.expect("chown runs").success());
}

fn named(outcome: &Value) -> Vec<String> {
    let named = outcome["unread"]["named"].as_array().expect("a list");
    named.iter().map(|item| item["path"].as_str().expect("a path").to_owned()).collect()
}

#[test]
fn what_became_unreadable_is_named_and_its_older_version_is_kept() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    std::fs::create_dir_all(source.join("closed/deep")).expect("made");
    std::fs::write(source.join("closed/deep/in it"), b"older").expect("written");
    let sparse = std::fs::File::create(source.join("sparse")).expect("made");
    sparse.set_len(2_000_000).expect("set");
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(5, 300_000), 700_000).expect("written");
    let keep = Command::new("cp").args(["-a", "--sparse=always"]).args([&source, &lab.path("was")]).status();
    assert!(keep.expect("cp runs").success());
    settle();
    lab.init(&["one"]);
    give_to_nobody(lab.folder.path());
    let path = source.to_str().expect("plain");
    below(&lab, &NOBODY, "backup", &[path]).exits(0);
    // Each gets another length, too: what is kept has the older one.
    for (name, len) in [("small-1", 10), ("small-2", 9000), ("large", 100), ("sparse", 10)] {
        std::fs::write(source.join(name), noise(7, len)).expect("written");
        set_mode(&source.join(name), 0o000);
    }
    set_mode(&source.join("closed"), 0o000);
    let outcome = below(&lab, &NOBODY, "backup", &["--json", path]).exits(3).json()["outcome"].clone();
    let mut unread = named(&outcome);
    unread.sort();
    let expected: Vec<_> = ["closed", "large", "small-1", "small-2", "sparse"]
        .iter()
        .map(|name| format!("{path}/{name}"))
        .collect();
    assert_eq!(unread, expected, "{outcome:#}");
    let listed = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    assert_eq!(listed["snapshots"][1]["unread"], 5);
    lab.restore("one", "latest", "back").exits(3);
    for name in ["small-1", "small-2", "large", "sparse", "closed/deep/in it", "small-3", "below/file"] {
        let (back, was) = (lab.path("back").join(name), lab.path("was").join(name));
        assert!(std::fs::read(back).ok() == std::fs::read(was).ok(), "{name} is not what it was");
    }
    // Readable again, it is read, and the next snapshot is whole.
    for name in ["small-1", "small-2", "large", "sparse", "closed"] {
        set_mode(&source.join(name), 0o700);
    }
    below(&lab, &NOBODY, "backup", &[path]).exits(0);
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn a_disk_error_in_the_middle_costs_what_lies_there_and_is_named() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    let path = source.to_str().expect("plain");
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let (small, large, below_it) =
        (format!("{path}/small-3"), format!("{path}/large"), format!("{path}/below"));
    for (call, hurt) in [("read", &small), ("read", &large), ("getdents64", &below_it)] {
        for file in ["small-3", "large"] {
            std::fs::write(source.join(file), noise(u64::from(call == "read"), 2_000_000)).expect("written");
        }
        let inject = format!("inject={call}:error=EIO:when={}", if hurt == &large { 3 } else { 1 });
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", hurt, "-e", &inject];
        let outcome = below(&lab, &strace, "backup", &["--json", path]).exits(3).json()["outcome"].clone();
        assert_eq!(named(&outcome), [hurt.as_str()], "{outcome:#}");
        assert!(outcome["unread"]["named"][0]["reason"].to_string().contains("error"), "{outcome:#}");
        // Everything else is there, and of the hurt one what the snapshot before had.
        let to = format!("back-{}", hurt.len() * 10 + call.len());
        lab.restore("one", "latest", &to).exits(3);
        for file in ["small-4", "below/file", "small-3", "large"] {
            let back = std::fs::read(lab.path(&to).join(file)).expect("restored");
            let is_hurt = Path::new(hurt).ends_with(file);
            assert!(is_hurt || back == std::fs::read(source.join(file)).expect("there"), "{hurt}: {file}");
        }
        lab.backup_source(&["one"]);
    }
}

#[test]
fn pipes_sockets_and_devices_are_recorded_and_never_opened() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    odd_tree::make(&source, Rights::Root);
    lab.init(&["one"]);
    let log = lab.path("opens");
    let strace =
        ["strace", "-f", "-qq", "-o", log.to_str().expect("plain"), "-s", "5000", "-e", "trace=/open"];
    below(&lab, &strace, "backup", &[source.to_str().expect("plain")]).exits(0);
    let opened = std::fs::read_to_string(&log).expect("read");
    assert!(opened.contains("\"131073\""), "the trace does not show what is opened");
    let to = lab.path("back");
    below(&lab, &strace, "restore", &["latest", "--to", to.to_str().expect("plain")]).exits(0);
    let made = std::fs::read_to_string(&log).expect("read");
    // A longer file has another name until it is whole.
    assert!(made.contains("4097\""), "the trace does not show what is opened");
    for name in ["fifo", "socket", "pipe", "a-pipe", "z-pipe", "null", "null again", "big", "disk"] {
        let asks =
            |line: &&str| line.contains(&format!("/{name}\"")) || line.contains(&format!("\"{name}\""));
        assert_eq!(opened.lines().find(asks), None, "{name} was opened by the backup");
        // A descriptor that only names an entry opens nothing.
        let really = |line: &&str| asks(line) && !line.contains("O_PATH");
        assert_eq!(made.lines().find(really), None, "{name} was opened by the restore");
    }
    let listed = lab.repo("ls", &["one"], &["latest"]).exits(0).out;
    for name in ["fifo", "socket", "links/pipe", "root's/null"] {
        assert!(listed.lines().any(|line| line.ends_with(name)), "{name} is not recorded");
    }
}

#[test]
fn a_pipe_or_a_device_as_the_source_itself_is_recorded_and_does_not_hang() {
    needs_root();
    let lab = Lab::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, lab.path("pipe"), rustix::fs::Mode::RWXU).expect("made");
    lab.init(&["one"]);
    let pipe = lab.path("pipe");
    let limited = ["timeout", "60"];
    below(&lab, &limited, "backup", &[pipe.to_str().expect("plain")]).exits(0);
    let to = lab.path("back");
    let arguments = [OsStr::new("latest"), OsStr::new("--to"), to.as_os_str()];
    lab.repo("restore", &["one"], &arguments).exits(0);
    use std::os::unix::fs::FileTypeExt;
    assert!(std::fs::symlink_metadata(to.join("pipe")).expect("there").file_type().is_fifo());
}

/// A repository with one snapshot of `source`, taken by nobody while these could not be read.
fn backed_up_without(lab: &Lab, closed: &[&str]) {
    let source = lab.path("source");
    lab.init(&["one"]);
    give_to_nobody(lab.folder.path());
    let was: Vec<u32> = closed.iter().map(|name| mode(&source.join(name))).collect();
    closed.iter().for_each(|name| set_mode(&source.join(name), 0o000));
    below(lab, &NOBODY, "backup", &[source.to_str().expect("plain")]).exits(3);
    closed.iter().zip(was).for_each(|(name, mode)| set_mode(&source.join(name), mode));
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

fn restored(lab: &Lab, to: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["latest", "--json", "--to", to.to_str().expect("plain")];
    arguments.extend(more);
    lab.repo("restore", &["one"], &arguments).exits(3).json()["restore"].clone()
}

#[test]
fn a_file_that_was_never_read_is_not_made_up_and_what_stands_there_stays() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    backed_up_without(&lab, &["small-1", "large"]);
    // Nothing there: nothing is made, and reading back does not call it right.
    let fresh = lab.path("fresh");
    let outcome = restored(&lab, &fresh, &["--verify"]);
    assert!(!fresh.join("small-1").exists() && !fresh.join("large").exists(), "bytes were made up");
    assert_eq!((&outcome["not_stored"], &outcome["unread_at_backup"]["count"]), (&2.into(), &2.into()));
    assert_eq!((&outcome["files"], &outcome["checked"]), (&20.into(), &20.into()), "{outcome:#}");
    // The live files stay, whatever may be done to others.
    let was = std::fs::read(source.join("large")).expect("read");
    std::fs::write(source.join("other"), b"not in the snapshot").expect("written");
    for more in [&["--overwrite"][..], &["--overwrite", "--delete"], &["--overwrite", "--verify"]] {
        let outcome = restored(&lab, &source, more);
        assert_eq!(outcome["unread_at_backup"]["count"], 2, "{outcome:#}");
        assert!(std::fs::read(source.join("large")).expect("read") == was, "{more:?} hurt a live file");
        assert!(std::fs::read(source.join("small-1")).expect("read") == noise(1, 3000), "{more:?}");
    }
    assert!(!source.join("other").exists(), "the folder itself was read whole");
    let listed = lab.repo("ls", &["one"], &["latest", "--long"]).exits(0).out;
    let marked: Vec<&str> = listed.lines().filter(|line| line.ends_with("  (unread)")).collect();
    assert!(marked.len() == 2 && marked[0].contains(" large "), "{marked:?}");
    let found = lab.repo("find", &["one"], &["small-1", "small-2"]).exits(0).out;
    assert_eq!(found.matches("small-1  (unread)\n").count(), 1, "{found}");
    assert!(found.contains("small-2\n"), "{found}");
    let said = lab.repo("dump", &["one"], &["latest", "large"]).exits(3);
    assert!(said.out.is_empty() && said.err.contains("E0646") && said.err.contains("large"), "{said:#?}");
    assert!(said.err.contains("find"), "{said:#?}");
}

fn unread_in_listing(lab: &Lab) -> Vec<String> {
    let listed = lab.repo("ls", &["one"], &["latest", "--json"]).exits(0).out;
    let rows = listed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.filter(|row| row["state"] == "unread")
        .map(|row| row["path"].as_str().expect("a path").to_owned())
        .collect()
}

#[test]
fn what_could_not_be_listed_is_never_emptied_by_a_restore() {
    needs_root();
    for closed_by in [0o000, 0o300, 0o400] {
        let lab = Lab::new();
        let source = lab.path("source");
        plain_source(&source);
        for name in ["closed/deep/precious", "below/older", "empty/of it"] {
            std::fs::create_dir_all(source.join(name).parent().expect("one")).expect("made");
            std::fs::write(source.join(name), b"precious").expect("written");
        }
        std::fs::remove_file(source.join("empty/of it")).expect("removed");
        lab.init(&["one"]);
        give_to_nobody(lab.folder.path());
        set_mode(&source.join("closed"), closed_by);
        let path = source.to_str().expect("plain");
        below(&lab, &NOBODY, "backup", &[path]).exits(3);
        assert_eq!(unread_in_listing(&lab), ["closed"], "{closed_by:o}");
        // A second one that takes the folder over from the first says the same.
        below(&lab, &NOBODY, "backup", &[path]).exits(3);
        assert_eq!(unread_in_listing(&lab), ["closed"], "{closed_by:o}");
        set_mode(&source.join("closed"), 0o700);
        std::fs::write(source.join("below/other"), b"not in the snapshot").expect("written");
        std::fs::write(source.join("empty/new"), b"new").expect("written");
        let outcome = restored(&lab, &source, &["--overwrite", "--delete"]);
        set_mode(&source.join("closed"), 0o700);
        assert_eq!(std::fs::read(source.join("closed/deep/precious")).ok(), Some(b"precious".to_vec()));
        let named: Vec<&str> = outcome["unread_at_backup"]["named"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| item["path"].as_str().expect("a path"))
            .collect();
        // An empty folder of a partial snapshot may be one that could not be read.
        assert_eq!(named, ["closed", "empty"], "{outcome:#}");
        assert!(source.join("empty/new").exists());
        assert_eq!((&outcome["removed"], source.join("below/other").exists()), (&1.into(), false));
    }
}

#[test]
fn a_listing_that_fails_or_breaks_off_marks_its_folder() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    for number in 0..9000 {
        std::fs::create_dir_all(source.join("wide")).expect("made");
        std::fs::write(source.join(format!("wide/{number:0100}")), b"").expect("written");
    }
    lab.init(&["one"]);
    for (folder, when) in [("below", 1), ("wide", 2), ("below", 1)] {
        let hurt = source.join(folder).to_str().expect("plain").to_owned();
        let inject = format!("inject=getdents64:error=EIO:when={when}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", &hurt, "-e", &inject];
        below(&lab, &strace, "backup", &[source.to_str().expect("plain")]).exits(3);
        let unread = unread_in_listing(&lab);
        assert!(unread.contains(&folder.to_owned()), "{folder}: {unread:?}");
        assert!(!unread.iter().any(|path| path != folder && !path.starts_with("below/")), "{unread:?}");
    }
    std::fs::write(source.join("below/other"), b"live").expect("written");
    restored(&lab, &source, &["--overwrite", "--delete"]);
    assert!(source.join("below/other").exists() && source.join("below/file").exists());
}

#[test]
fn snapshots_of_a_policy_say_that_they_are_partial() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    let config = lab.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let disk = lab.path("disk");
    let text = format!(
        "source = [{source:?}]\nrpo = \"2h\"\n\n[targets.disk]\nurl = \"file://{}\"\n",
        disk.display()
    );
    std::fs::write(config.join("policies/web.toml"), text).expect("written");
    std::fs::create_dir_all(config.join("drills")).expect("made");
    let text = "policy = \"web\"\nwhen = \"weekly sun 03:30\"\nscope.files = \"all\"\n";
    std::fs::write(config.join("drills/whole.toml"), text).expect("written");
    let bare = |arguments: &[&str], wrapper: &[&str]| {
        let command = lab.bare();
        let mut wrapped = Command::new(wrapper[0]);
        wrapped.args(&wrapper[1..]).arg(command.get_program()).args(["--quiet", "--config"]).arg(&config);
        run(wrapped.args(arguments).env("LIFEBOAT_STATE_DIR", lab.path("state")))
    };
    give_to_nobody(lab.folder.path());
    set_mode(&source.join("small-1"), 0o000);
    bare(&["run", "web"], &NOBODY).exits(3);
    let listed = bare(&["snapshots"], &NOBODY).exits(0).out;
    assert!(listed.lines().next().expect("one").ends_with("  partial: 1 unread"), "{listed}");
    // What is not there can't come back: no drill of all of it passes.
    let drill = bare(&["drill", "run", "whole", "--json"], &NOBODY).exits(16);
    assert!(drill.out.contains("1 missing"), "{drill:#?}");
    set_mode(&source.join("small-1"), 0o600);
    bare(&["run", "web"], &NOBODY).exits(0);
    let listed = bare(&["snapshots"], &NOBODY).exits(0).out;
    assert_eq!(listed.matches("partial").count(), 1, "{listed}");
}

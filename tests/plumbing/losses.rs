//! What could not be set is told: by sort, with how often, why and what to do, and the exit code
//! says that not all is as it was.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, needs_root, run, set_mode};
use crate::odd_tree::{self, Rights, acl, set_xattr};

/// A mounted file system, unmounted in the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf, arguments: &[&str]) -> Self {
        needs_root();
        std::fs::create_dir_all(&at).expect("made");
        let status = Command::new("mount").args(arguments).arg(&at).status();
        assert!(status.expect("mount runs").success(), "this test needs the right to mount");
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Restores, which must end with exit code 3, and gives what the report says.
fn losses(lab: &Lab, wrapper: &[&str], to: &Path) -> Vec<(String, String, u64, String)> {
    let command = lab.command("restore", &["one"], &["latest", "--json", "--to"]);
    let mut all: Vec<_> = wrapper.iter().map(std::ffi::OsStr::new).collect();
    all.push(command.get_program());
    let mut wrapped = Command::new(all[0]);
    wrapped.args(&all[1..]).args(command.get_args()).arg(to);
    let outcome =
        run(wrapped.env("LIFEBOAT_STATE_DIR", lab.path("state"))).exits(3).json()["restore"].clone();
    assert_eq!(outcome["failed"]["count"], 0, "{outcome:#}");
    let report = outcome["metadata_report"].as_array().expect("a list");
    let counted: u64 = report.iter().filter_map(|loss| loss["count"].as_u64()).sum();
    assert_eq!(outcome["metadata_issues"]["count"], counted, "{outcome:#}");
    let text = |loss: &Value, key: &str| loss[key].as_str().unwrap_or_default().to_owned();
    let row = |loss: &Value| {
        assert!(loss["first"].as_array().is_some_and(|first| (1..=3).contains(&first.len())), "{loss}");
        (text(loss, "what"), text(loss, "why"), loss["count"].as_u64().unwrap_or(0), text(loss, "next"))
    };
    report.iter().map(row).collect()
}

fn odd() -> Lab {
    needs_root();
    let lab = Lab::new();
    odd_tree::make(&lab.path("source"), Rights::Root);
    // A file system in memory keeps the holes that are read.
    std::fs::remove_dir_all(lab.path("source/sparse")).expect("removed");
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    lab
}

#[test]
fn what_a_file_system_without_attributes_takes_not_is_told_by_sort() {
    let lab = odd();
    let disk = Mounted::new(lab.path("disk"), &["-t", "ramfs", "lifeboat-test"]);
    let told = losses(&lab, &["env"], &disk.0.join("back"));
    let unsupported = "not supported by the file system";
    for what in ["attribute", "access list", "trusted attribute", "capability", "flags"] {
        let found = told.iter().find(|(found, why, ..)| found == what && why == unsupported);
        assert!(
            found.is_some_and(|(_, _, count, next)| *count > 0 && next.contains("file system")),
            "{what}: {told:#?}"
        );
    }
    let lost = std::fs::metadata(disk.0.join("back/attributes/with acl")).expect("there");
    assert_eq!(lost.permissions().mode() & 0o7777, 0o640, "the mask is no right of the group");
    // All the rest is as it was, and nobody gained a right by the loss of a list.
    for difference in odd_tree::compare(&lab.path("source"), &disk.0.join("back")) {
        let (path, what) = (String::from_utf8_lossy(&difference.path).into_owned(), &difference.what);
        let is_listed =
            what.starts_with("attributes") || what.starts_with("flags") || what.starts_with("allocated");
        let is_narrowed = what == "mode is 0640, not 0660" && path.starts_with("attributes/");
        assert!(is_listed || is_narrowed || path.is_empty(), "{difference:?}");
    }
}

#[test]
fn a_time_that_the_file_system_cuts_is_told() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    for (name, seconds, nanos) in
        [("then", 4_294_967_296, 0), ("fraction", 1_000_000_000, 5), ("plain", 1_000_000_000, 0)]
    {
        std::fs::write(source.join(name), b"x").expect("written");
        odd_tree::stamp(&source.join(name), seconds, nanos);
    }
    odd_tree::stamp(&source, 1_000_000_000, 0);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    // Inodes of 128 bytes hold seconds up to 2038 and nothing below a second.
    let image = lab.path("image");
    std::fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("made");
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-I", "128"]).arg(&image).status();
    assert!(made.expect("mkfs.ext4 runs").success());
    let disk = Mounted::new(lab.path("disk"), &["-o", "loop", image.to_str().expect("plain")]);
    let told = losses(&lab, &["env"], &disk.0.join("back"));
    let [(what, why, 2, next)] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((&**what, &**why), ("times", "the file system keeps another value"));
    assert!(next.contains("a file system like the one"), "{next}");
}

#[test]
fn what_a_normal_user_may_not_set_is_told_once_with_what_to_do() {
    let lab = odd();
    let give = |name: &str| {
        let status = Command::new("chown").arg("-R").arg("65534:65534").arg(lab.path(name)).status();
        assert!(status.expect("chown runs").success());
    };
    std::fs::create_dir(lab.path("to")).expect("made");
    ["one", "password", "state", "to"].iter().for_each(|name| give(name));
    set_mode(lab.folder.path(), 0o755);
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let told = losses(&lab, &nobody, &lab.path("to/back"));
    for (what, why) in [
        ("owner", "not permitted"),
        ("mode", "left out: the owner is another"),
        ("trusted attribute", "not permitted"),
        ("capability", "not permitted"),
        ("flags", "not permitted"),
        ("device", "not permitted"),
    ] {
        let found = told.iter().find(|(found, reason, ..)| found == what && reason == why);
        assert!(
            found.is_some_and(|(_, _, count, next)| *count > 0 && next.contains("as root")),
            "{what}: {told:#?}"
        );
    }
    assert!(told.len() <= 12, "each sort once: {told:#?}");
    // For people: one line a sort, and no line for each of hundreds of entries.
    let mut command = Command::new(nobody[0]);
    let restore = lab.command("restore", &["one"], &["latest", "--to"]);
    command.args(&nobody[1..]).arg(restore.get_program()).args(restore.get_args()).arg(lab.path("to/again"));
    let said = run(command.env("LIFEBOAT_STATE_DIR", lab.path("state"))).exits(3);
    assert!(said.out.contains("x owner: not permitted ("), "{said:#?}");
    assert!(said.out.contains("next: run the restore as root, or pass --no-owner"), "{said:#?}");
    assert!(said.out.lines().count() + said.err.lines().count() < 40, "{said:#?}");
}

#[test]
fn a_restore_that_sets_everything_reports_nothing_and_exits_0() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    std::fs::write(source.join("file"), b"x").expect("written");
    set_xattr(&source.join("file"), b"system.posix_acl_access", &acl(77));
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let to = lab.path("back");
    let said =
        lab.repo("restore", &["one"], &["latest", "--json", "--to", to.to_str().expect("plain")]).exits(0);
    let outcome = said.json()["restore"].clone();
    assert_eq!(outcome["metadata_report"], Value::Array(Vec::new()), "{outcome:#}");
    assert_eq!(outcome["metadata_issues"]["count"], 0, "{outcome:#}");
}

//! What a person gets who asks for what cannot be: the right code, a clear word, nothing changed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Said, files, needs_root, plain_source, run, same, set_mode};
use crate::odd_tree::{self, Rights};

/// A repository with one snapshot of a plain source.
fn kept() -> Lab {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    lab
}

fn says(said: &Said, word: &str) {
    assert!(said.err.contains(word), "{word}: {said:#?}");
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let lab = kept();
    std::fs::write(lab.path("password"), "wrong\n").expect("written");
    for verb in ["snapshots", "stats", "verify"] {
        says(&lab.repo::<&str>(verb, &["one"], &[]).exits(12), "next:");
    }
    lab.repo("backup", &["one"], &[lab.path("source")]).exits(12);
    lab.restore("one", "latest", "back").exits(12);
    assert!(!lab.path("back").exists());
}

#[test]
fn a_missing_repository_is_called_that() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    std::fs::create_dir(lab.path("empty")).expect("made");
    for place in ["nowhere", "empty"] {
        lab.repo::<&str>("snapshots", &[place], &[]).exits(10);
        lab.repo("backup", &[place], &[lab.path("source")]).exits(10);
        lab.repo::<&str>("verify", &[place], &[]).exits(10);
    }
    assert!(!lab.path("nowhere").exists());
    assert_eq!(files(&lab.path("empty")).len(), 0);
}

#[test]
fn init_leaves_an_existing_repository_alone() {
    let lab = kept();
    let before = files(&lab.path("one"));
    says(&lab.repo::<&str>("init", &["one"], &[]).exits(1), "already");
    // Nor is anything made at the place named first.
    lab.repo::<&str>("init", &["fresh", "one"], &[]).exits(1);
    assert!(!lab.path("fresh/repo.fmt").exists());
    assert_eq!(files(&lab.path("one")), before);
}

#[test]
fn a_source_that_is_missing_or_empty_makes_no_snapshot() {
    let lab = kept();
    std::fs::create_dir(lab.path("empty")).expect("made");
    for source in ["gone", "empty"] {
        says(&lab.repo("backup", &["one"], &[lab.path(source)]).exits(1), source);
    }
    let list = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    assert_eq!(list["snapshots"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_unreadable_file_is_listed_and_the_rest_is_kept() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    set_mode(&source.join("small-4"), 0o000);
    std::fs::create_dir(source.join("closed")).expect("made");
    std::fs::write(source.join("closed/in it"), b"x").expect("written");
    set_mode(&source.join("closed"), 0o000);
    lab.init(&["one"]);
    // Owned by nobody from here on, and worked on by nobody.
    let status = Command::new("chown").args(["-R", "65534:65534"]).arg(lab.folder.path()).status();
    assert!(status.expect("chown runs").success());
    let as_nobody = |arguments: &[&OsStr]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_lifeboat")).args(["--quiet", "repo", "backup", "--json", "--repo"]);
        command.arg(lab.path("one")).arg("--password-file").arg(lab.path("password")).args(arguments);
        run(command.env("LIFEBOAT_STATE_DIR", lab.path("state")))
    };
    let outcome = as_nobody(&[source.as_os_str()]).exits(3).json()["outcome"].clone();
    assert_eq!(outcome["unread"]["count"], 2, "{outcome:#}");
    let named = outcome["unread"]["named"].to_string();
    assert!(named.contains("small-4") && named.contains("closed"), "{named}");
    let listed = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    assert_eq!(listed["snapshots"][0]["unread"], 2);
    let restored = lab.restore("one", "latest", "back");
    assert!(restored.err.contains("small-4"), "{restored:#?}");
    assert_eq!(std::fs::read(lab.path("back/small-5")).ok(), std::fs::read(source.join("small-5")).ok());
}

#[test]
fn senseless_arguments_are_refused_before_anything_is_done() {
    let lab = kept();
    for size in ["0", "1", "7MiB", "513MiB", "1e99", "many", "-1", ""] {
        let said = lab.repo("init", &["sized"], &["--pack-size", size]);
        assert_eq!(said.code, Some(2), "{size}: {said:#?}");
    }
    assert!(!lab.path("sized").exists());
    let source = lab.path("source");
    let source = source.to_str().expect("plain");
    lab.repo("backup", &["one"], &["--exclude", "[z-a]", source]).exits(2);
    lab.repo("backup", &["one"], &["--full", "--differential", source]).exits(2);
    lab.repo("restore", &["one"], &["latest", "--to", "/nowhere", "--delete"]).exits(2);
    for url in ["s3://", "ftp://host/path", "s3://Bad_Bucket!/x", ""] {
        let said = run(lab.bare().args(["repo", "stats", "--repo", url]));
        assert_eq!(said.code, Some(2), "{url}: {said:#?}");
    }
    std::fs::write(lab.path("password"), "").expect("written");
    lab.repo::<&str>("snapshots", &["one"], &[]).exits(2);
    std::fs::remove_file(lab.path("password")).expect("removed");
    lab.repo::<&str>("snapshots", &["one"], &[]).exits(2);
}

#[test]
fn unknown_snapshots_and_paths_are_named() {
    let lab = kept();
    for id in ["deadbeef", "zz", "", "latest2", "--"] {
        let said = lab.repo("ls", &["one"], &[id]);
        assert!(matches!(said.code, Some(1 | 2)), "{id}: {said:#?}");
    }
    says(&lab.repo("ls", &["one"], &["latest", "no/such"]).exits(1), "no/such");
    let to = lab.path("back");
    let to = to.to_str().expect("plain");
    for path in ["no/such", "../escape", "/etc/passwd"] {
        let said = lab.repo("restore", &["one"], &["latest", "--to", to, "--path", path]);
        assert!(matches!(said.code, Some(1 | 2)), "{path}: {said:#?}");
        assert!(!lab.path("back").exists() || files(&lab.path("back")).is_empty(), "{path}");
    }
}

#[test]
fn restore_changes_nothing_that_is_there_unless_told() {
    let lab = kept();
    let to = lab.path("to");
    std::fs::create_dir(&to).expect("made");
    std::fs::write(to.join("mine"), b"mine").expect("written");
    std::fs::write(to.join("small-1"), b"older").expect("written");
    let target = to.to_str().expect("plain");
    lab.repo("restore", &["one"], &["latest", "--to", target]).exits(14);
    assert_eq!(files(&to).len(), 2);
    assert_eq!(std::fs::read(to.join("small-1")).expect("read"), b"older");
    lab.repo("restore", &["one"], &["latest", "--to", target, "--overwrite", "--dry-run"]).exits(0);
    assert_eq!(files(&to).len(), 2);
    lab.repo("restore", &["one"], &["latest", "--to", target, "--overwrite", "--verify"]).exits(0);
    assert_eq!(std::fs::read(to.join("mine")).expect("read"), b"mine");
    lab.repo("restore", &["one"], &["latest", "--to", target, "--overwrite", "--delete"]).exits(0);
    same(&lab.path("source"), &to);
}

#[test]
fn a_dry_run_writes_nothing() {
    let lab = kept();
    let to = lab.path("to");
    let said =
        lab.repo("restore", &["one"], &["latest", "--to", to.to_str().expect("plain"), "--dry-run"]).exits(0);
    assert!(said.out.contains("would restore 22 files"), "{said:#?}");
    assert!(!to.exists());
}

#[test]
fn owners_are_left_alone_when_asked() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    let status = Command::new("chown").args(["-R", "1234:4321"]).arg(&source).status();
    assert!(status.expect("chown runs").success());
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let owner = |to: &str| {
        let facts = std::fs::metadata(lab.path(to).join("small-1")).expect("there");
        (facts.uid(), facts.gid())
    };
    lab.restore("one", "latest", "with").exits(0);
    assert_eq!(owner("with"), (1234, 4321));
    let to = lab.path("without");
    let to = to.to_str().expect("plain");
    lab.repo("restore", &["one"], &["latest", "--to", to, "--no-owner"]).exits(0);
    assert_eq!(owner("without"), (0, 0));
}

#[test]
fn hostile_names_cannot_reach_the_terminal() {
    let lab = Lab::new();
    let source = lab.path("source");
    odd_tree::make(&source, Rights::User);
    let hostile = source.join(OsStr::from_bytes(b"\x1b[2J\nunread\r"));
    std::fs::write(&hostile, b"x").expect("written");
    lab.init(&["one"]);
    let mut said = vec![lab.repo("backup", &["one"], &[source.as_path()]).exits(0)];
    said.push(lab.repo("ls", &["one"], &["latest"]).exits(0));
    said.push(lab.repo("ls", &["one"], &["latest", "--json"]).exits(0));
    said.push(lab.repo::<&str>("snapshots", &["one"], &[]).exits(0));
    for pack in files(&lab.path("one/p")) {
        std::fs::remove_file(pack).expect("removed");
    }
    said.push(lab.repo::<&str>("verify", &["one"], &[]).exits(13));
    said.push(lab.restore("one", "latest", "back").exits(13));
    for said in &said {
        for text in [&said.out, &said.err] {
            let control = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{text:?}");
            assert!(!text.contains('\u{202e}'), "a name turned the line around: {text:?}");
        }
    }
    for line in said[2].out.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let lab = kept();
    let mut child = lab
        .command("ls", &["one"], &["latest"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_no_obstacle() {
    let lab = kept();
    let source = lab.path("source");
    std::fs::write(lab.path("file"), b"no folder").expect("written");
    for state in ["/proc/lifeboat", lab.path("file").to_str().expect("plain")] {
        run(lab.command("backup", &["one"], &[&source]).env("LIFEBOAT_STATE_DIR", state)).exits(0);
        run(lab.command("snapshots", &["one"], &[] as &[&str]).env("LIFEBOAT_STATE_DIR", state)).exits(0);
    }
}

#[test]
fn a_cache_that_lies_is_not_believed() {
    let lab = kept();
    lab.repo("ls", &["one"], &["latest"]).exits(0);
    let cached = files(&lab.path("state"));
    assert!(!cached.is_empty(), "the index is cached");
    for file in &cached {
        std::fs::write(file, b"lies").expect("written");
    }
    lab.restores_whole("one", "latest", &lab.path("source"));
}

#[test]
fn a_server_that_is_not_there_is_given_up_soon() {
    let lab = kept();
    std::fs::write(lab.path("credentials"), "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n")
        .expect("written");
    set_mode(&lab.path("credentials"), 0o600);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let credentials = lab.path("credentials");
    let s3 = ["--endpoint", &endpoint, "--credentials-file", credentials.to_str().expect("plain")];
    let started = Instant::now();
    says(&lab.repo("init", &["s3://bucket/x"], &s3).exits(1), "next:");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    // The place that answers gets its copy; the other one is named.
    let mut command = lab.command("backup", &["one", "s3://bucket/x"], &["--json"]);
    let outcome = run(command.args(s3).arg(lab.path("source"))).exits(3).json()["outcome"].clone();
    assert_eq!(outcome["lagging"][0], "s3://bucket/x", "{outcome:#}");
    assert!(started.elapsed() < Duration::from_secs(80), "{:?}", started.elapsed());
}

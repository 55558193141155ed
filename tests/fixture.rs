//! Repositories of every format version that was released, frozen: each opens, lists, verifies and
//! restores to what was backed up (tests/fixtures/README.md).

#[path = "fixture/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lifeboat::evidence::sha256;
use serde_json::Value;

/// Every folder of tests/fixtures.
const FIXTURES: [&str; 1] = ["format-v1"];
/// Rows of a snapshot that has more are held by their digest alone.
const ROWS_SHOWN_MAX: usize = 100;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The program, with a state folder and a password file of its own.
struct Lifeboat {
    folder: tempfile::TempDir,
    repo: PathBuf,
}

impl Lifeboat {
    fn at(repo: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = fs::OpenOptions::new();
        let password = options.write(true).create_new(true).mode(0o600).open(folder.path().join("password"));
        std::io::Write::write_all(&mut password.expect("made"), b"fixture\n").expect("written");
        Self { folder, repo }
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .args(["repo", verb, "--quiet", "--repo"])
            .arg(&self.repo)
            .arg("--password-file")
            .arg(self.folder.path().join("password"))
            .args(arguments)
            .env("LIFEBOAT_STATE_DIR", self.folder.path().join("state"))
            .output()
            .expect("the program starts")
    }

    /// Standard output of a run that must end with 0.
    #[track_caller]
    fn ok(&self, verb: &str, arguments: &[&str]) -> String {
        let output = self.run(verb, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb} {arguments:?}: {}\n{said}", output.status);
        String::from_utf8(output.stdout).expect("standard output is UTF-8")
    }

    #[track_caller]
    fn json(&self, verb: &str, arguments: &[&str]) -> Value {
        let text = self.ok(verb, &[arguments, &["--json"]].concat());
        let last = text.lines().last().expect("a result");
        serde_json::from_str(last).expect("the result is JSON")
    }

    /// The snapshots, oldest first.
    fn snapshots(&self) -> Vec<Snapshot> {
        let listed = self.json("snapshots", &[]);
        assert_eq!(listed["damaged"], serde_json::json!([]));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mut snapshots: Vec<Value> = listed["snapshots"].as_array().expect("a list").clone();
        snapshots.sort_by_key(|snapshot| text(&snapshot["captured_at"]));
        let one = |snapshot: &Value| Snapshot {
            id: text(&snapshot["id"]),
            kind: text(&snapshot["kind"]),
            tags: snapshot["tags"].to_string(),
            roots: snapshot["roots"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|root| text(&root["path"]))
                .collect(),
        };
        snapshots.iter().map(one).collect()
    }
}

struct Snapshot {
    id: String,
    kind: String,
    tags: String,
    roots: Vec<String>,
}

impl Snapshot {
    /// Where each root lies below a restored folder: a single one is the folder.
    fn places(&self) -> Vec<&str> {
        match self.roots.as_slice() {
            [_] => vec![""],
            several => several.iter().map(|root| root.trim_start_matches('/')).collect(),
        }
    }

    /// What the frozen page says of this snapshot, whose roots stand at these places.
    fn page(&self, at: &[PathBuf]) -> String {
        let mut rows = Vec::new();
        for (root, dir) in self.roots.iter().zip(at) {
            rows.push(format!("root {root}"));
            // The socket is in the snapshot, but only its process could make it again.
            rows.extend(
                tree::rows(dir)
                    .into_iter()
                    .filter(|row| !row.starts_with("socket") && !row.ends_with(".tmp")),
            );
        }
        let digest = sha256::hex(rows.join("\n").as_bytes());
        let mut page = format!("snapshot {} {} {} {} {digest}\n", self.id, self.kind, self.tags, rows.len());
        if rows.len() <= ROWS_SHOWN_MAX {
            rows.iter().for_each(|row| writeln!(page, "{row}").expect("text takes text"));
        }
        page
    }
}

#[test]
fn every_fixture_is_opened_by_a_test() {
    let folders: BTreeSet<String> = fs::read_dir(fixtures())
        .expect("tests/fixtures can be listed")
        .map(|entry| entry.expect("tests/fixtures can be listed"))
        .filter(|entry| entry.file_type().expect("known").is_dir())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    assert_eq!(folders, FIXTURES.map(str::to_owned).into());
}

#[test]
fn a_repository_of_every_format_version_opens_verifies_and_restores() {
    for name in FIXTURES {
        let fixture = fixtures().join(name);
        let lifeboat = Lifeboat::at(fixture.join("repository"));
        let verified = lifeboat.json("verify", &["--deep"]);
        assert_eq!(verified["verify"]["problem_count"], 0, "{verified}");
        assert!(verified["verify"]["blobs"].as_u64() > Some(0), "{verified}");
        let mut page = String::new();
        for snapshot in lifeboat.snapshots() {
            let to = lifeboat.folder.path().join(&snapshot.id);
            let to_text = to.to_str().expect("UTF-8");
            lifeboat.ok("restore", &[&snapshot.id, "--to", to_text, "--no-owner", "--verify"]);
            let places: Vec<PathBuf> = snapshot.places().into_iter().map(|place| to.join(place)).collect();
            page.push_str(&snapshot.page(&places));
        }
        let expected = fs::read_to_string(fixture.join("expected.txt")).expect("the page is there");
        for (number, (found, expected)) in page.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{name}, line {}", number + 1);
        }
        assert_eq!(page.lines().count(), expected.lines().count(), "{name}");
    }
}

#[test]
fn a_frozen_snapshot_lists_every_kind_of_entry() {
    let lifeboat = Lifeboat::at(fixtures().join("format-v1/repository"));
    let first = &lifeboat.snapshots()[0];
    let listed = lifeboat.ok("ls", &[&first.id, "--json"]);
    let entries: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("an entry is JSON")).collect();
    let kinds: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["directory", "fifo", "file", "socket", "symlink"]));
    let as_bytes = hex::encode(b"names/\xff\xfe not UTF-8");
    assert!(entries.iter().any(|entry| entry["path_hex"] == as_bytes.as_str()), "{listed}");
}

/// Makes the fixture in a folder of its own; with `LIFEBOAT_FREEZE=format-v1`, for good (see
/// tests/fixtures/README.md).
#[test]
fn the_fixture_can_be_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    match std::env::var_os("LIFEBOAT_FREEZE") {
        Some(name) => freeze(&fixtures().join(name), &std::env::temp_dir().join("lifeboat-fixture")),
        None => {
            let fixture = folder.path().join("fixture");
            freeze(&fixture, &folder.path().join("source"));
            assert_eq!(Lifeboat::at(fixture.join("repository")).snapshots().len(), 5);
        }
    }
}

fn freeze(fixture: &Path, source: &Path) {
    fs::create_dir(fixture).expect("a frozen fixture is never replaced; remove the folder first");
    fs::create_dir(source).expect("the folder of the source is new");
    let lifeboat = Lifeboat::at(fixture.join("repository"));
    lifeboat.ok("init", &[]);
    let (site, notes, crowd) = (source.join("site"), source.join("notes"), source.join("crowd"));
    let mut page = String::new();
    let mut back_up = |arguments: &[&str], roots: &[&PathBuf]| {
        let roots_text: Vec<&str> = roots.iter().map(|root| root.to_str().expect("UTF-8")).collect();
        lifeboat.ok("backup", &[&["--host", "harbour"], arguments, &roots_text].concat());
        let snapshot = lifeboat.snapshots().pop().expect("a snapshot was made");
        page.push_str(&snapshot.page(&roots.iter().map(|root| root.to_path_buf()).collect::<Vec<_>>()));
    };
    tree::site(&site);
    back_up(&["--full", "--tag", "first", "--tag", "kept"], &[&site]);
    tree::first_change(&site);
    back_up(&[], &[&site]);
    tree::second_change(&site);
    back_up(&["--differential"], &[&site]);
    tree::notes(&notes);
    back_up(&["--full", "--exclude", "*.tmp"], &[&notes, &site]);
    tree::crowd(&crowd);
    back_up(&["--full"], &[&crowd]);
    fs::write(fixture.join("expected.txt"), page).expect("written");
    fs::remove_dir_all(source).expect("removed");
}

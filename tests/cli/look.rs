//! Looking inside: `ls`, `find`, `diff` and `dump`, on bare repositories and by policy.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::odd_tree::{self, Folder, Rights};
use crate::run::{Bench, of};

/// A repository with two snapshots of a tree, and the tree as each has it.
struct Stage {
    bench: Bench,
    repo: PathBuf,
    tree: PathBuf,
    ids: Vec<String>,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let bench = Bench::new();
        let (repo, tree) = (bench.path("repo"), bench.tree("tree", seed));
        bench.repo("init", &[&repo], &[]).exits(0);
        let mut stage = Self { bench, repo, tree, ids: Vec::new() };
        stage.back_up();
        let tree = stage.tree.clone();
        std::fs::write(tree.join("d1/f1"), b"changed").expect("written");
        std::fs::write(tree.join("d1/new"), b"a new file").expect("written");
        std::fs::remove_file(tree.join("d2/f2")).expect("removed");
        std::fs::remove_file(tree.join("d3/f3")).expect("removed");
        std::os::unix::fs::symlink("f10", tree.join("d3/f3")).expect("linked");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(tree.join("d4/f4"), mode).expect("set");
        stage.back_up();
        stage
    }

    fn back_up(&mut self) {
        let ran = self.repo("backup", &[self.tree.to_str().expect("text"), "--json"]).exits(0);
        self.ids.push(ran.json()["outcome"]["snapshot"].as_str().expect("an id").to_owned());
    }

    fn repo(&self, verb: &str, arguments: &[&str]) -> crate::run::Ran {
        self.bench.repo(verb, &[&self.repo], arguments)
    }

    fn lines(&self, verb: &str, arguments: &[&str]) -> Vec<String> {
        self.repo(verb, arguments).exits(0).out.lines().map(str::to_owned).collect()
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// Every path below a folder, sorted.
fn walked(root: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("listed") {
            let entry = entry.expect("listed");
            if entry.file_type().expect("known").is_dir() {
                open.push(entry.path());
            }
            let path = entry.path();
            found.push(path.strip_prefix(root).expect("below").to_str().expect("text").to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn ls_lists_what_is_there_whole_or_below_a_path() {
    let stage = Stage::new(60);
    let mut listed = stage.lines("ls", &["latest"]);
    listed.sort();
    assert_eq!(listed, walked(&stage.tree));
    let below = stage.lines("ls", &["latest", "/d1/"]);
    assert_eq!(below[0], "d1");
    assert!(below.len() > 2 && below[1..].iter().all(|path| path.starts_with("d1/")), "{below:?}");
    assert_eq!(stage.lines("ls", &["latest", "d1/new"]), ["d1/new"]);
    stage.repo("ls", &["latest", "d1/ne"]).exits(1);
    stage.repo("ls", &["latest", "../tree"]).exits(1);
    let long = stage.lines("ls", &["latest", "d3/f3", "--long"]);
    assert!(long[0].starts_with("lrwxrwxrwx ") && long[0].ends_with(" d3/f3 -> f10"), "{long:?}");
    let ran = stage.repo("ls", &["latest", "--json"]).exits(0);
    let entries = json_lines(&ran.out);
    assert_eq!(entries.len(), listed.len(), "standard output has entries alone");
    assert!(ran.err.contains("taken"), "which snapshot is talk: {}", ran.err);
}

#[test]
fn find_tells_versions_and_the_snapshots_that_have_them() {
    let stage = Stage::new(61);
    let found = json_lines(&stage.repo("find", &["f1", "f2", "new", "--json"]).exits(0).out);
    let row = |entry: &Value| {
        let id = |end: &str| entry[end]["id"].as_str().expect("an id").to_owned();
        let count = entry["snapshots"].as_u64().expect("a number");
        (entry["path"].as_str().expect("text").to_owned(), id("first"), id("last"), count)
    };
    let (old, new) = (stage.ids[0].clone(), stage.ids[1].clone());
    let expected = [
        ("d1/f1".to_owned(), old.clone(), old.clone(), 1),
        ("d1/f1".to_owned(), new.clone(), new.clone(), 1),
        ("d1/new".to_owned(), new.clone(), new.clone(), 1),
        ("d2/f2".to_owned(), old.clone(), old.clone(), 1),
    ];
    assert_eq!(found.iter().map(row).collect::<Vec<_>>(), expected);
    let unchanged = json_lines(&stage.repo("find", &["d0/f7", "--json"]).exits(0).out);
    assert_eq!(row(&unchanged[0]), ("d0/f7".to_owned(), old, new, 2));
    assert_eq!(stage.lines("find", &["d?/F7"]).len(), 0);
    assert_eq!(stage.lines("find", &["d?/F7", "--ignore-case"]).len(), 1);
    assert_eq!(stage.lines("find", &["*", "--type", "l"]).len(), 1);
    assert_eq!(stage.lines("find", &["*", "--type", "d", "--snapshot", "latest"]).len(), 7);
    assert_eq!(stage.lines("find", &["*", "--larger", "900000"]).len(), 3);
    assert_eq!(stage.lines("find", &["*", "--newer", "2100-01-01T00:00:00Z"]).len(), 0);
    let ran = stage.repo("find", &["[a"]).exits(2);
    assert!(ran.err.contains("E0441"), "{}", ran.err);
}

#[test]
fn diff_tells_what_changed_and_counts_it() {
    let stage = Stage::new(62);
    let (old, new) = (stage.ids[0].as_str(), stage.ids[1].as_str());
    let lines = stage.lines("diff", &[old, new]);
    assert_eq!(lines[..5], ["M d1/f1", "+ d1/new", "- d2/f2", "T d3/f3", "U d4/f4 (mode)"]);
    assert!(lines[5].starts_with("1 added (10 B), 1 removed ("), "{lines:?}");
    assert_eq!(lines.len(), 6, "folders whose time alone changed are not listed");
    assert_eq!(stage.lines("diff", &[old, new, "d2"])[0], "- d2/f2");
    assert_eq!(stage.lines("diff", &[new, old, "d2/f2"])[0], "+ d2/f2");
    assert_eq!(stage.lines("diff", &[old, "latest", "d5"]), ["nothing differs"]);
    stage.repo("diff", &[old, new, "nowhere"]).exits(1);
    let told = json_lines(&stage.repo("diff", &[old, new, "--json"]).exits(0).out);
    assert_eq!(told.len(), 6);
    assert_eq!((told[0]["change"].as_str(), told[0]["new"]["size"].as_u64()), (Some("content"), Some(7)));
    assert_eq!(told[5]["differs"], true);
    assert_eq!(told[5]["summary"]["added"], serde_json::json!({ "entries": 1, "bytes": 10 }));
    let same = json_lines(&stage.repo("diff", &[new, new, "--json"]).exits(0).out);
    assert_eq!((same.len(), &same[0]["differs"]), (1, &Value::Bool(false)));
}

#[test]
fn dump_gives_exactly_the_bytes_of_every_file() {
    let bench = Bench::new();
    let (repo, source) = (bench.path("repo"), Folder::new());
    odd_tree::make(&source.join("odd"), Rights::ours());
    let root = source.join("odd");
    let sparse = std::fs::File::create(root.join("holes")).expect("made");
    sparse.set_len(3_000_000).expect("set");
    for at in [0, 200_000, 1_500_000] {
        sparse.write_all_at(&[7; 150_000], at).expect("written");
    }
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[root.to_str().expect("text")]).exits(0);
    let mut compared = 0;
    for name in [
        "sizes/0",
        "sizes/1",
        "sizes/4097",
        "sizes/131072",
        "sizes/131073",
        "sizes/3000000",
        "holes",
        "sizes/zeros",
    ] {
        let mut command = bench.command();
        command.args(["repo", "dump", "--repo"]).arg(&repo).arg("--password-file").arg(bench.path("pw"));
        let output = command.args(["latest", name]).output().expect("starts");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == std::fs::read(root.join(name)).expect("readable"), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 8);
    for (name, code) in [("sizes", 2), ("fifo", 2), ("nowhere", 1), ("sizes/0/x", 1)] {
        let ran = bench.repo("dump", &[&repo], &["latest", name]).exits(code);
        assert_eq!(ran.out, "");
    }
    bench.repo("dump", &[&repo], &["latest", "sizes/1", "--json"]).exits(2);
    // What a stranger named stays one line on a terminal.
    let listed = bench.repo("ls", &[&repo], &["latest", "names", "--long"]).exits(0).out;
    assert!(!listed.contains('\x1b') && listed.contains("\\u{1b}[31mred"), "{listed}");
}

#[test]
fn dump_of_a_damaged_file_ends_with_13_and_never_alters_a_byte() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.path("tree"));
    std::fs::create_dir(&tree).expect("made");
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..12_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    std::fs::write(tree.join("large"), &bytes).expect("written");
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text")]).exits(0);
    for pack in crate::run::objects(&repo, "p") {
        let file = std::fs::File::options().write(true).open(&pack);
        let file = file.or_else(|_| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&pack, mode)?;
            std::fs::File::options().write(true).open(&pack)
        });
        let middle = std::fs::metadata(&pack).expect("there").len() / 2;
        file.expect("opened").write_all_at(b"damage", middle).expect("written");
    }
    let mut command = bench.command();
    command.args(["repo", "dump", "--repo"]).arg(&repo).arg("--password-file").arg(bench.path("pw"));
    let output = command.args(["latest", "large"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(13), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.len() < bytes.len() && bytes.starts_with(&output.stdout));
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_went_away_is_none() {
    let stage = Stage::new(63);
    for (verb, arguments) in [("ls", vec!["latest"]), ("dump", vec!["latest", "d0/f0"]), ("find", vec!["*"])]
    {
        let mut command = stage.bench.command();
        command.args(["repo", verb, "--repo"]).arg(&stage.repo).arg("--password-file");
        command.arg(stage.bench.path("pw")).args(&arguments);
        let full = std::fs::File::options().write(true).open("/dev/full").expect("opened");
        let ran = of(command.stdout(full).output().expect("starts"));
        assert!(ran.err.contains("E0805"), "{verb}: {}", ran.err);
        ran.exits(1);
        let mut gone = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        drop(gone.stdout.take());
        assert_eq!(gone.wait().expect("ends").code(), Some(0), "{verb}");
    }
}

#[test]
fn a_policy_is_looked_into_by_name_time_and_target() {
    let bench = Bench::new();
    let tree = bench.tree("tree", 64);
    let config = bench.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let policy = format!(
        "source = [{:?}]\nrpo = \"2h\"\n\n[targets.disk]\nurl = \"file://{}\"\n\n[targets.other]\nurl = \"file://{}\"\n",
        tree,
        bench.path("disk").display(),
        bench.path("other").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let config_text = config.to_str().expect("text");
    let lifeboat = |arguments: &[&str]| bench.run([&["--config", config_text], arguments].concat());
    lifeboat(&["run", "web"]).exits(0);
    let first = json_lines(&lifeboat(&["snapshots", "--json"]).exits(0).out).remove(0);
    let first = first["snapshots"][0]["snapshot"].clone();
    std::fs::write(tree.join("d1/new"), b"later").expect("written");
    lifeboat(&["run", "web"]).exits(0);
    let (id, at) = (first["id"].as_str().expect("an id"), first["captured_at"].as_str().expect("a time"));
    assert!(lifeboat(&["ls", "web", "d1"]).exits(0).out.contains("d1/new"));
    for what in
        [&["ls", "web", "d1", "--at", at][..], &["ls", id, "d1"], &["ls", &id[..8], "d1", "--from", "other"]]
    {
        let ran = lifeboat(what).exits(0);
        assert!(!ran.out.contains("d1/new") && ran.out.contains("d1/f1"), "{what:?}: {}", ran.out);
    }
    let found = json_lines(&lifeboat(&["find", "web", "f1", "new", "--json"]).exits(0).out);
    assert_eq!(found.iter().map(|row| row["snapshots"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(1)]);
    assert_eq!(lifeboat(&["find", id, "new"]).exits(0).out, "");
    let differing = lifeboat(&["diff", "web", "web", "--at", at, "--from", "other"]).exits(0).out;
    assert!(differing.starts_with("+ d1/new\n1 added"), "{differing}");
    assert_eq!(lifeboat(&["dump", "web", "d1/new"]).exits(0).out, "later");
    lifeboat(&["dump", "web", "d1/new", "--at", at]).exits(1);
    lifeboat(&["ls", "nobody"]).exits(2);
}

#[test]
fn what_is_asked_for_too_shortly_too_early_or_in_vain_is_told_what_it_lacks() {
    let bench = Bench::new();
    let (tree, config) = (bench.tree("tree", 65), bench.path("config"));
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let disk = bench.path("disk");
    let policy = format!("source = [{tree:?}]\n\n[targets.disk]\nurl = \"file://{}\"\n", disk.display());
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let config_text = config.to_str().expect("text");
    let lifeboat = |arguments: &[&str]| bench.run([&["--config", config_text], arguments].concat());
    let early = lifeboat(&["ls", "web"]).exits(1).err;
    assert!(early.contains("no snapshot yet") && early.contains("lifeboat run web"), "{early}");
    lifeboat(&["run", "web"]).exits(0);
    let taken = json_lines(&lifeboat(&["snapshots", "--json"]).exits(0).out).remove(0);
    let id = taken["snapshots"][0]["snapshot"]["id"].as_str().expect("an id").to_owned();
    assert!(lifeboat(&["ls", &id[..7]]).exits(2).err.contains("at least 8 digits"));
    let capitals = id[..16].to_uppercase();
    assert_eq!(lifeboat(&["ls", &capitals]).exits(0).out, lifeboat(&["ls", "web"]).exits(0).out);
    std::fs::remove_dir_all(&disk).expect("lost");
    for more in [&[][..], &["--from", "disk"]] {
        let ran = lifeboat(&[&["ls", "web"], more].concat()).exits(10);
        assert!(!ran.err.contains("trying the next copy"), "{}", ran.err);
    }
}

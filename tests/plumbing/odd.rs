//! Every odd thing goes to two places in one pass and comes back from each alone.

use std::path::Path;

use crate::lab::{Lab, needs_root, noise, plain_source, same, settle};
use crate::odd_tree::{self, Rights};

#[test]
fn the_odd_tree_comes_back_from_each_place_alone() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    odd_tree::make(&source, Rights::Root);
    lab.init(&["one", "two"]);
    let outcome = lab.backup_source(&["one", "two"]);
    assert_eq!(outcome["unread"]["count"], 0, "{outcome:#}");
    std::fs::rename(lab.path("one"), lab.path("hidden")).expect("moved");
    lab.restores_whole("two", "latest", &source);
    std::fs::remove_dir_all(lab.path("two")).expect("removed");
    std::fs::rename(lab.path("hidden"), lab.path("one")).expect("moved");
    lab.restores_whole("one", "latest", &source);
    assert!(lab.verify("one", &["--deep"], 0)["blobs"].as_u64() > Some(0));
}

#[test]
fn a_run_without_changes_reads_nothing_and_stores_no_data() {
    needs_root();
    let lab = Lab::new();
    odd_tree::make(&lab.path("source"), Rights::Root);
    settle();
    lab.init(&["one"]);
    let first = lab.backup_source(&["one"]);
    assert_eq!((&first["kind"], &first["asked"]), (&"full".into(), &"incremental".into()));
    let again = lab.backup_source(&["one"]);
    assert_eq!(again["kind"], "incremental");
    assert_eq!(again["parent"], first["snapshot"]);
    // Times that are still to come say nothing about a change: those fifteen files are read.
    assert_eq!(again["stats"]["files_read"], 15, "{again:#}");
    assert_eq!(again["stats"]["blobs_new"], 0, "{again:#}");
    assert_eq!(again["stats"]["packs_new"], 0, "{again:#}");
    lab.restores_whole("one", "latest", &lab.path("source"));
}

#[test]
fn full_incremental_and_differential_are_what_they_are_called() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    let path = source.to_str().expect("plain");
    lab.init(&["one"]);
    let full = lab.backup_source(&["one"]);
    std::fs::write(source.join("small-1"), b"changed").expect("written");
    let incremental = lab.backup_source(&["one"]);
    let differential = lab.backup(&["one"], &["--differential", path], 0);
    assert_eq!(differential["kind"], "differential");
    assert_eq!(differential["parent"], full["snapshot"], "compared with the full, not the newest");
    let second = lab.backup(&["one"], &["--full", path], 0);
    assert_eq!(second["kind"], "full");
    assert_eq!(second["stats"]["files_read"], 22, "{second:#}");
    let list = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    let kinds: Vec<&str> =
        list["snapshots"].as_array().expect("a list").iter().filter_map(|s| s["kind"].as_str()).collect();
    assert_eq!(kinds, ["full", "incremental", "differential", "full"]);
    assert_eq!(list["snapshots"][1]["id"], incremental["snapshot"]);
}

#[test]
fn a_change_that_keeps_size_and_mtime_is_found() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    settle();
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let file = source.join("small-7");
    let before = std::fs::metadata(&file).expect("there").modified().expect("kept");
    std::fs::write(&file, noise(1234, 3000)).expect("written");
    std::fs::File::options().write(true).open(&file).and_then(|f| f.set_modified(before)).expect("set");
    let outcome = lab.backup_source(&["one"]);
    assert_eq!(outcome["stats"]["files_read"], 1, "{outcome:#}");
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn caches_and_excluded_names_are_left_out_and_counted() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    std::fs::create_dir(source.join("cache")).expect("made");
    std::fs::write(source.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n")
        .expect("written");
    std::fs::write(source.join("cache/heavy"), b"again").expect("written");
    lab.init(&["one"]);
    let outcome = lab.backup(&["one"], &["--exclude", "small-1*", source.to_str().expect("plain")], 0);
    let excluded = outcome["stats"]["excluded"].as_u64().expect("a number");
    assert_eq!(excluded, 12, "eleven names and the cache: {outcome:#}");
    let list = lab.repo("ls", &["one"], &["latest"]).exits(0).out;
    assert!(list.lines().any(|line| line.ends_with("small-2")), "{list}");
    assert!(!list.contains("small-1"), "{list}");
    assert!(!list.contains("heavy"), "{list}");
}

#[test]
fn several_roots_lie_below_the_destination_by_their_paths() {
    let lab = Lab::new();
    let (a, b) = (lab.path("a"), lab.path("b"));
    plain_source(&a);
    plain_source(&b);
    std::fs::write(b.join("only here"), b"b").expect("written");
    lab.init(&["one"]);
    lab.backup(&["one"], &[a.to_str().expect("plain"), b.to_str().expect("plain")], 0);
    lab.restore("one", "latest", "back").exits(0);
    let below = |root: &Path| lab.path("back").join(root.strip_prefix("/").expect("absolute"));
    same(&a, &below(&a));
    same(&b, &below(&b));
}

#[test]
fn a_single_file_is_a_source_too() {
    let lab = Lab::new();
    let file = lab.path("alone");
    std::fs::write(&file, noise(5, 500_000)).expect("written");
    lab.init(&["one"]);
    lab.backup(&["one"], &[file.to_str().expect("plain")], 0);
    lab.restore("one", "latest", "back").exits(0);
    let found = crate::lab::files(&lab.path("back"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(std::fs::read(&found[0]).expect("read"), noise(5, 500_000));
}

#[test]
fn the_projects_own_folder_comes_back() {
    let lab = Lab::new();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.init(&["one", "two"]);
    // Source and documents: what is built below `target` changes while other tests run.
    let copy = lab.path("source");
    std::fs::create_dir(&copy).expect("made");
    for name in ["src", "tests", "docs", "scripts", "policies", "drills", "Cargo.toml", "Cargo.lock"] {
        let status = std::process::Command::new("cp").arg("-a").arg(project.join(name)).arg(&copy).status();
        assert!(status.expect("cp runs").success());
    }
    lab.backup_source(&["one", "two"]);
    lab.restores_whole("one", "latest", &copy);
    lab.restores_whole("two", "latest", &copy);
}

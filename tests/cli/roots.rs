//! Snapshots of one file, and of roots inside each other: one name for everything, everywhere,
//! also as it is shown.

use std::path::Path;

use crate::run::{Bench, Ran, moved, objects, same};

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn backed_up(bench: &Bench, roots: &[&Path]) -> String {
    let arguments: Vec<&str> = roots.iter().map(|root| text(root)).chain(["--json"]).collect();
    let ran = bench.repo("backup", &[&bench.path("repo")], &arguments).exits(0);
    ran.json()["outcome"]["snapshot"].as_str().expect("an id").to_owned()
}

fn repo(bench: &Bench, verb: &str, arguments: &[&str]) -> Ran {
    bench.repo(verb, &[&bench.path("repo")], arguments)
}

#[test]
fn a_snapshot_of_one_file_has_that_file_by_its_name() {
    let bench = Bench::new();
    bench.repo("init", &[&bench.path("repo")], &[]).exits(0);
    let file = bench.path("shop.sql");
    std::fs::write(&file, b"old").expect("written");
    let old = backed_up(&bench, &[&file]);
    std::fs::write(&file, b"newer").expect("written");
    backed_up(&bench, &[&file]);
    assert_eq!(repo(&bench, "ls", &["latest"]).exits(0).out, "shop.sql\n");
    assert_eq!(repo(&bench, "ls", &["latest", "shop.sql"]).exits(0).out, "shop.sql\n");
    repo(&bench, "ls", &["latest", "shop.sql/x"]).exits(1);
    assert_eq!(repo(&bench, "dump", &["latest", "shop.sql"]).exits(0).out, "newer");
    let found = repo(&bench, "find", &["shop.sql"]).exits(0);
    assert_eq!(found.out.lines().filter(|line| line.ends_with(" shop.sql")).count(), 2, "{}", found.out);
    for wanted in [&[&old[..], "latest"][..], &[&old, "latest", "shop.sql"]] {
        let told = repo(&bench, "diff", wanted).exits(0).out;
        assert!(told.starts_with("M shop.sql\n"), "{told}");
    }
    for (number, more) in [&[][..], &["--path", "shop.sql"], &["--verify"]].iter().enumerate() {
        let to = bench.path(&format!("to{number}"));
        repo(&bench, "restore", &[&["latest", "--to", text(&to)], *more].concat()).exits(0);
        assert_eq!(std::fs::read(to.join("shop.sql")).expect("restored"), b"newer");
    }
    std::fs::write(&file, b"").expect("written");
    backed_up(&bench, &[&file]);
    assert_eq!(repo(&bench, "ls", &["latest"]).exits(0).out, "shop.sql\n", "an empty one, too");
    let other = bench.path("other.sql");
    std::fs::write(&other, b"newer").expect("written");
    backed_up(&bench, &[&other]);
    let told = repo(&bench, "diff", &[&old, "latest"]).exits(0).out;
    assert!(told.starts_with("- shop.sql\n+ other.sql\n"), "{told}");
    // One path, whatever folder its file was in.
    let elsewhere = bench.path("folder/shop.sql");
    std::fs::create_dir(bench.path("folder")).expect("made");
    std::fs::write(&elsewhere, b"elsewhere").expect("written");
    backed_up(&bench, &[&elsewhere]);
    let found = repo(&bench, "find", &["shop.sql"]).exits(0);
    assert!(found.err.contains("1 paths, 4 versions in 5 snapshots"), "{}", found.err);
}

#[test]
fn a_drill_of_one_file_picks_it_restores_it_and_checks_it() {
    let bench = Bench::new();
    let (file, config) = (bench.path("shop.sql"), bench.path("config"));
    std::fs::write(&file, b"insert").expect("written");
    for folder in ["policies", "drills"] {
        std::fs::create_dir_all(config.join(folder)).expect("made");
    }
    let policy =
        format!("source = [{file:?}]\n\n[targets.disk]\nurl = \"file://{}\"\n", text(&bench.path("disk")));
    std::fs::write(config.join("policies/db.toml"), policy).expect("written");
    let drill = format!(
        "policy = \"db\"\nwhen = \"weekly sun 03:30\"\n\n[scope]\nfiles = \"sample 5\"\nalways = [{file:?}]\n\n[[check]]\nkind = \"exists\"\npaths = [{file:?}]\n"
    );
    std::fs::write(config.join("drills/db-weekly.toml"), drill).expect("written");
    let lifeboat = |arguments: &[&str]| bench.run([&["--config", text(&config)], arguments].concat());
    lifeboat(&["run", "db"]).exits(0);
    let done = lifeboat(&["drill", "run", "db-weekly", "--json"]).exits(0);
    let report = done.json()["drills"][0]["report_json"].as_str().expect("a path").to_owned();
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).expect("readable")).expect("JSON");
    let (pick, restored) = (&report["pick"], &report["restore"]);
    assert_eq!((&pick["population"], &restored["files"]), (&1.into(), &1.into()), "{report:#}");
}

#[test]
fn roots_inside_each_other_are_listed_and_compared_once() {
    let bench = Bench::new();
    bench.repo("init", &[&bench.path("repo")], &[]).exits(0);
    let (outer, inner) = (bench.path("r2"), bench.path("r2/in"));
    std::fs::create_dir_all(&inner).expect("made");
    std::fs::write(outer.join("top"), b"top").expect("written");
    std::fs::write(inner.join("low"), b"low").expect("written");
    for roots in [[&*outer, &*inner], [&*inner, &*outer]] {
        let old = backed_up(&bench, &roots);
        let listed = repo(&bench, "ls", &["latest"]).exits(0).out;
        let prefix = text(&outer).trim_start_matches('/').to_owned();
        let mut lines: Vec<&str> = listed.lines().collect();
        lines.sort_unstable();
        let expected = ["", "/in", "/in/low", "/top"].map(|rest| format!("{prefix}{rest}"));
        assert_eq!(lines, expected);
        let below = repo(&bench, "ls", &["latest", &format!("{prefix}/in")]).exits(0).out;
        assert_eq!(below.lines().collect::<Vec<_>>(), expected[1..3]);
        let found = repo(&bench, "find", &["in", "--snapshot", "latest"]).exits(0);
        assert_eq!(found.out.lines().count(), 1, "{}", found.out);
        let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
        std::fs::set_permissions(&inner, mode(0o700)).expect("set");
        backed_up(&bench, &roots);
        let told = repo(&bench, "diff", &[&old, "latest"]).exits(0).out;
        assert_eq!(told.lines().next(), Some(&*format!("U {prefix}/in (mode)")));
        assert_eq!(told.lines().count(), 2, "{told}");
        std::fs::set_permissions(&inner, mode(0o755)).expect("set");
        let to = bench.path("to");
        repo(&bench, "restore", &["latest", "--to", text(&to)]).exits(0);
        same(&outer, &to.join(&prefix));
        std::fs::remove_dir_all(&to).expect("removed");
        let several = backed_up(&bench, &roots);
        backed_up(&bench, &[&outer]);
        let told = repo(&bench, "diff", &[&several, "latest"]).exits(0);
        assert!(told.err.contains("is a root of its own in snapshot"), "{}", told.err);
    }
}

#[test]
fn find_tells_of_healthy_snapshots_when_one_is_damaged() {
    let bench = Bench::new();
    bench.repo("init", &[&bench.path("repo")], &[]).exits(0);
    let tree = bench.path("tree");
    std::fs::create_dir(&tree).expect("made");
    std::fs::write(tree.join("good"), b"1").expect("written");
    backed_up(&bench, &[&tree]);
    let before = objects(&bench.path("repo"), "m");
    std::fs::write(tree.join("good"), b"22").expect("written");
    let damaged = backed_up(&bench, &[&tree]);
    let all = objects(&bench.path("repo"), "m");
    std::fs::write(tree.join("good"), b"333").expect("written");
    backed_up(&bench, &[&tree]);
    for pack in all.iter().filter(|pack| !before.contains(pack)) {
        let mut bytes = std::fs::read(pack).expect("readable");
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        moved(pack, bench.path("aside"));
        std::fs::write(pack, bytes).expect("written");
    }
    let found = repo(&bench, "find", &["good"]).exits(13);
    assert_eq!(found.out.lines().count(), 2, "{}", found.out);
    assert!(found.err.contains(&format!("snapshot {} is damaged", &damaged[..8])), "{}", found.err);
    // So with its own object.
    let object = objects(&bench.path("repo"), "s").into_iter().find(|object| {
        let name = object.to_string_lossy();
        name.contains(&damaged) && !name.ends_with(".ok")
    });
    let object = object.expect("it is there");
    moved(&object, bench.path("aside"));
    std::fs::write(&object, b"damage").expect("written");
    let found = repo(&bench, "find", &["good"]).exits(13);
    assert_eq!(found.out.lines().count(), 2, "{}", found.out);
    assert!(found.err.contains(&format!("snapshot {} is damaged", &damaged[..8])), "{}", found.err);
}

#[test]
fn a_path_is_taken_as_ls_shows_it() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    bench.repo("init", &[&bench.path("repo")], &[]).exits(0);
    let tree = bench.path("tree");
    std::fs::create_dir(&tree).expect("made");
    let names: [&[u8]; 4] = [b"back\\slash", b"new\nline", b"\xff\xfe.bin", "\u{202e}right".as_bytes()];
    for name in names {
        std::fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), b"1").expect("written");
    }
    let old = backed_up(&bench, &[&tree]);
    std::fs::write(tree.join("plain"), b"2").expect("written");
    backed_up(&bench, &[&tree]);
    let listed = repo(&bench, "ls", &["latest"]).exits(0).out;
    assert_eq!(listed.lines().count(), 5);
    for (number, shown) in listed.lines().filter(|line| line.contains('\\')).enumerate() {
        assert_eq!(repo(&bench, "ls", &["latest", shown]).exits(0).out, format!("{shown}\n"));
        assert_eq!(repo(&bench, "dump", &["latest", shown]).exits(0).out, "1");
        assert_eq!(repo(&bench, "diff", &[&old, "latest", shown]).exits(0).out, "nothing differs\n");
        let to = bench.path(&format!("to{number}"));
        repo(&bench, "restore", &["latest", "--to", text(&to), "--path", shown]).exits(0);
        assert_eq!(std::fs::read_dir(&to).expect("listed").count(), 1);
    }
    assert_eq!(repo(&bench, "dump", &["latest", "back\\slash"]).exits(0).out, "1", "and as it is");
    let refused = repo(&bench, "ls", &["latest", "no\\\\where"]).exits(1);
    assert!(refused.err.contains(" no\\\\where is not in"), "{}", refused.err);
}

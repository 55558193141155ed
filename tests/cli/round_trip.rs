//! What was backed up comes back, from each place alone.

use crate::odd_tree::{self, Folder, Rights};
use crate::run::{Bench, moved, of, same};
use crate::s3;

#[test]
fn an_odd_tree_comes_back_bit_by_bit_from_each_target_alone() {
    let bench = Bench::new();
    let (source, out) = (Folder::new(), Folder::new());
    odd_tree::make(&source.join("odd"), Rights::ours());
    let (one, two) = (bench.path("one"), bench.path("two"));
    bench.repo("init", &[&one, &two], &[]).exits(0);
    let root = source.join("odd");
    bench.repo("backup", &[&one, &two], &[root.to_str().expect("text")]).exits(0);
    for (number, (kept, gone)) in [(&one, &two), (&two, &one)].into_iter().enumerate() {
        let aside = bench.path("aside");
        moved(gone, &aside);
        std::fs::remove_dir_all(bench.path("state")).ok();
        let to = out.join(&number.to_string());
        let restored = bench
            .repo("restore", &[kept], &["latest", "--to", to.to_str().expect("text"), "--verify"])
            .exits(0);
        assert!(restored.out.contains("1 socket not made"), "{}", restored.out);
        let listed = bench.repo("ls", &[kept], &["latest", "--json"]).exits(0);
        assert_eq!(listed.json()["state"], "ok");
        let differences = odd_tree::compare(&root, &to);
        assert!(differences.is_empty(), "{differences:#?}");
        moved(&aside, gone);
    }
}

#[test]
fn kinds_are_recorded_and_unchanged_files_are_not_read_again() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 1));
    let text = tree.to_str().expect("text");
    bench.repo("init", &[&repo], &[]).exits(0);
    let first = bench.repo("backup", &[&repo], &[text, "--json"]).exits(0).json();
    assert_eq!(first["outcome"]["kind"], "full", "nothing to compare with");
    assert_eq!(first["outcome"]["asked"], "incremental");
    // The racy rule reads files again that changed within two seconds of the walk.
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let touched = std::fs::File::options().append(true).open(tree.join("d0/f0")).expect("opens");
    touched.set_modified(old).expect("set");
    bench.repo("backup", &[&repo], &[text]).exits(0);
    let full = bench.repo("backup", &[&repo], &[text, "--full", "--json"]).exits(0).json();
    assert_eq!(full["outcome"]["kind"], "full");
    assert_eq!(full["outcome"]["stats"]["files_read"], 60, "a full reads every file");
    let differential = bench.repo("backup", &[&repo], &[text, "--differential", "--json"]).exits(0).json();
    assert_eq!(differential["outcome"]["kind"], "differential");
    assert_eq!(
        differential["outcome"]["parent"], full["outcome"]["snapshot"],
        "a differential builds on the full"
    );
    let list = bench.repo("snapshots", &[&repo], &["--json"]).exits(0).json();
    assert_eq!(list["snapshots"].as_array().expect("a list").len(), 4);
}

#[test]
fn one_pass_fills_a_disk_and_s3_and_each_restores_alone() {
    let bench = Bench::new();
    let (disk, tree) = (bench.path("disk"), bench.tree("tree", 2));
    let url = format!(
        "s3://{}/cli-{}",
        std::env::var("LIFEBOAT_TEST_S3_BUCKET").expect("run scripts/test, which starts an S3 server"),
        std::process::id()
    );
    let (endpoint, credentials) = (s3::endpoint(), s3::credentials_file());
    let with = |verb: &str, repos: &[&str], rest: &[&str]| {
        let mut command = bench.command();
        command.args(["repo", verb]);
        for repo in repos {
            command.args(["--repo", repo]);
        }
        command.arg("--password-file").arg(bench.path("pw")).args(["--endpoint", &endpoint]);
        command.arg("--credentials-file").arg(&credentials).args(rest);
        of(command.output().expect("starts"))
    };
    let (disk_url, text) = (disk.to_str().expect("text"), tree.to_str().expect("text"));
    with("init", &[disk_url, &url], &[]).exits(0);
    let ran = with("backup", &[disk_url, &url], &[text]).exits(0);
    assert!(ran.out.contains("saved to 2 of 2 targets"), "{}", ran.out);
    with("verify", &[&url], &["--deep"]).exits(0);
    std::fs::remove_dir_all(&disk).expect("the disk is lost");
    let out = bench.path("out");
    with("restore", &[&url], &["latest", "--to", out.to_str().expect("text"), "--verify"]).exits(0);
    same(&tree, &out);
}

#[test]
fn sync_makes_the_repository_in_an_empty_place() {
    let bench = Bench::new();
    let (one, two, three) = (bench.path("one"), bench.path("two"), bench.path("three"));
    let tree = bench.tree("tree", 3);
    bench.repo("init", &[&one], &[]).exits(0);
    bench.repo("backup", &[&one], &[tree.to_str().expect("text")]).exits(0);
    let sync = |from: &std::path::Path, to: &std::path::Path, key: bool| {
        let mut command = bench.command();
        command.args(["repo", "sync", "--from"]).arg(from).arg("--to").arg(to);
        if key {
            command.arg("--password-file").arg(bench.path("pw"));
        }
        of(command.output().expect("starts")).exits(0)
    };
    sync(&one, &two, true);
    sync(&two, &three, false);
    std::fs::remove_dir_all(&one).expect("lost");
    for (place, out) in [(&two, bench.path("out2")), (&three, bench.path("out3"))] {
        bench.repo("verify", &[place], &["--deep"]).exits(0);
        bench.repo("restore", &[place], &["latest", "--to", out.to_str().expect("text")]).exits(0);
        same(&tree, &out);
    }
}

#[test]
fn a_path_is_restored_as_ls_prints_it() {
    let bench = Bench::new();
    let (repo, tree, other) = (bench.path("repo"), bench.tree("tree", 4), bench.tree("other", 5));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text"), other.to_str().expect("text")]).exits(0);
    let listed = bench.repo("ls", &[&repo], &["latest"]).exits(0).out;
    let wanted = listed.lines().find(|line| line.ends_with("other/d3/f3")).expect("it is listed");
    let out = bench.path("out");
    bench
        .repo("restore", &[&repo], &["latest", "--to", out.to_str().expect("text"), "--path", wanted])
        .exits(0);
    assert_eq!(std::fs::read(out.join(wanted)).ok(), std::fs::read(other.join("d3/f3")).ok());
    assert!(!out.join(wanted).with_file_name("f10").exists(), "only what was asked for");
}

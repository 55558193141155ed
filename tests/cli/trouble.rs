//! Kills, full disks, two at once.

use std::process::{Command, Stdio};

use crate::run::{Bench, objects, of, same};

/// Kills a backup when the repository has this many objects more than before.
fn kill_after(bench: &Bench, repo: &std::path::Path, tree: &std::path::Path, more: usize) {
    let before = objects(repo, "").len();
    let mut command = bench.command();
    command.args(["repo", "backup", "--full", "--repo"]).arg(repo);
    command.arg("--password-file").arg(bench.path("pw")).arg(tree);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    while objects(repo, "").len() < before + more {
        if child.try_wait().expect("asked").is_some() {
            return;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
}

#[test]
fn after_a_kill_the_next_run_just_works_and_older_snapshots_are_whole() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 12));
    let text = tree.to_str().expect("text");
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text]).exits(0);
    let first = bench.repo("snapshots", &[&repo], &["--json"]).exits(0).json();
    let id = first["snapshots"][0]["id"].as_str().expect("an id").to_owned();
    for more in 0..6 {
        bench.tree("tree", 100 + u64::try_from(more).expect("small"));
        kill_after(&bench, &repo, &tree, more);
        bench.repo("verify", &[&repo], &["--deep"]).exits(0);
        bench.repo("backup", &[&repo], &[text]).exits(0);
        let out = bench.path(&format!("out{more}"));
        bench
            .repo("restore", &[&repo], &["latest", "--to", out.to_str().expect("text"), "--verify"])
            .exits(0);
        same(&tree, &out);
    }
    let old = bench.path("old");
    bench.repo("restore", &[&repo], &[&id, "--to", old.to_str().expect("text"), "--verify"]).exits(0);
    same(&bench.tree("again", 12), &old);
}

#[test]
fn two_backups_into_one_repository_at_once_both_stand() {
    let bench = Bench::new();
    let repo = bench.path("repo");
    bench.repo("init", &[&repo], &[]).exits(0);
    let trees = [bench.tree("a", 13), bench.tree("b", 14)];
    let children: Vec<_> = trees
        .iter()
        .map(|tree| {
            let mut command = bench.command();
            command.args(["repo", "backup", "--repo"]).arg(&repo);
            command.arg("--password-file").arg(bench.path("pw")).arg(tree);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
        })
        .collect();
    for child in children {
        of(child.wait_with_output().expect("ends")).exits(0);
    }
    bench.repo("verify", &[&repo], &["--deep"]).exits(0);
    let list = bench.repo("snapshots", &[&repo], &["--json"]).exits(0).json();
    assert_eq!(list["snapshots"].as_array().expect("a list").len(), 2);
}

/// A file system of this size, unmounted in the end.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: std::path::PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&at).expect("made");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(&at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "mounting a tmpfs needs root's rights");
        Self(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_repository_fails_the_run_and_keeps_what_it_has() {
    let bench = Bench::new();
    let small = Small::mount(bench.path("small"), "7m");
    let repo = small.0.join("repo");
    let tree = bench.tree("tree", 15);
    let text = tree.to_str().expect("text");
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text]).exits(0);
    for seed in 16..20 {
        bench.tree(&format!("tree/more{seed}"), seed);
    }
    let full = bench.repo("backup", &[&repo], &[text]);
    full.exits(1);
    std::fs::write(small.0.join("filler"), vec![1u8; 8 << 20]).expect_err("it is full now");
    // No byte is free: reading still works.
    let out = bench.path("out");
    bench.repo("restore", &[&repo], &["latest", "--to", out.to_str().expect("text"), "--verify"]).exits(0);
    same(&bench.tree("again", 15), &out);
}

#[test]
fn a_full_state_folder_is_no_obstacle_to_plumbing() {
    let bench = Bench::new();
    let small = Small::mount(bench.path("state"), "64k");
    std::fs::write(small.0.join("filler"), vec![1u8; 1 << 20]).expect_err("it is full now");
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 21));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text")]).exits(0);
    let out = bench.path("out");
    bench.repo("restore", &[&repo], &["latest", "--to", out.to_str().expect("text")]).exits(0);
    same(&tree, &out);
}

#[test]
fn a_full_destination_ends_the_restore_with_a_word() {
    let bench = Bench::new();
    let small = Small::mount(bench.path("small"), "1m");
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 22));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text")]).exits(0);
    let to = small.0.join("out");
    let ran = bench.repo("restore", &[&repo], &["latest", "--to", to.to_str().expect("text")]).exits(1);
    assert!(ran.err.contains("error[E"), "{}", ran.err);
}

#[test]
fn unread_files_make_the_snapshot_partial() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 23));
    bench.repo("init", &[&repo], &[]).exits(0);
    // Root reads everything: somebody else runs the backup.
    for path in [bench.path(""), bench.path("pw"), repo.clone()] {
        let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(&path).status();
        assert!(owned.is_ok_and(|status| status.success()), "changing owners needs root's rights");
    }
    let secret = tree.join("d1/f1");
    Command::new("chown").arg("0:0").arg(&secret).status().expect("chown");
    Command::new("chmod").arg("000").arg(&secret).status().expect("chmod");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_lifeboat")]);
    command.args(["repo", "backup", "--json", "--repo"]).arg(&repo);
    command.arg("--password-file").arg(bench.path("pw")).arg(&tree);
    command.env("HOME", bench.path("home")).env("LIFEBOAT_STATE_DIR", bench.path("state"));
    let ran = of(command.output().expect("setpriv is there")).exits(3);
    let json = ran.json();
    assert_eq!(json["outcome"]["unread"]["count"], 1);
    assert!(json["outcome"]["unread"]["named"][0]["path"].as_str().expect("a path").ends_with("d1/f1"));
}

//! Mounting: what is shown equals what was backed up, damage is an I/O error, memory is bounded.
//!
//! These tests need /dev/fuse and, for a user other than root, fusermount3; without them they fail
//! with the reason, as the whole of a mount would be untested.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::odd_tree::{self, Folder, Rights};
use crate::run::{Bench, moved, objects, same};
use crate::s3;

/// A mount and the process behind it; unmounted in the end, whatever happens.
struct Mount {
    process: Child,
    dir: PathBuf,
    said: mpsc::Receiver<String>,
}

impl Mount {
    /// `lifeboat ARGUMENT... DIR`, once it is mounted.
    fn new(bench: &Bench, dir: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(dir).expect("made");
        let mut command = bench.command();
        command.args(arguments).arg(dir).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut process = command.spawn().expect("starts");
        let (tell, said) = mpsc::channel();
        let err = BufReader::new(process.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                drop(tell.send(line));
            }
        });
        let mut mount = Self { process, dir: dir.to_owned(), said };
        mount.until("mounted at ");
        mount
    }

    fn repo(bench: &Bench, repo: &str, dir: &Path, more: &[&str]) -> Self {
        let password = bench.path("pw");
        let fixed = ["repo", "mount", "--repo", repo, "--password-file", password.to_str().expect("text")];
        Self::new(bench, dir, &[&fixed, more].concat())
    }

    /// What it says until a line has these words; when none ever has, that is the reason to fail.
    #[track_caller]
    fn until(&mut self, words: &str) -> String {
        let mut all = String::new();
        while let Ok(line) = self.said.recv_timeout(Duration::from_secs(60)) {
            all.push_str(&line);
            if line.contains(words) {
                return all;
            }
            all.push('\n');
        }
        panic!("it never said `{words}`: {all}");
    }

    /// Most memory that it had at once, in KiB.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("alive");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is told");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    /// Told to stop, it unmounts and ends with this code.
    fn ends(mut self) -> i32 {
        self.signal("-TERM");
        self.process.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.process.kill());
            drop(self.process.wait());
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.contains(&*self.dir.to_string_lossy()) {
            drop(Command::new("umount").arg("-l").arg(&self.dir).status());
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn is_mounted(dir: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mounts").expect("readable").contains(text(dir))
}

/// Bytes that don't compress and have no chunk twice.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .collect()
}

#[test]
fn an_odd_tree_is_mounted_as_it_was() {
    let bench = Bench::new();
    let (repo, source, dir) = (bench.path("repo"), Folder::new(), bench.path("mnt"));
    let root = source.join("odd");
    odd_tree::make(&root, Rights::ours());
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text(&root)]).exits(0);
    let mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    let differences = odd_tree::compare(&root, &dir);
    assert!(differences.is_empty(), "{differences:#?}");
    let refused = std::fs::write(dir.join("new"), b"x").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let refused = std::fs::remove_dir(dir.join("empty/emptier")).expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let numbers = |dir: &Path| std::fs::symlink_metadata(dir.join("sizes/4097")).expect("there").ino();
    let before = numbers(&dir);
    assert_eq!(mount.ends(), 0);
    assert!(!is_mounted(&dir));
    let mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    assert_eq!(numbers(&dir), before, "inode numbers are the same every time");
    // Unmounted by hand, the process ends as well.
    assert!(Command::new("umount").arg(&dir).status().expect("runs").success());
    let mut mount = mount;
    assert_eq!(mount.process.wait().expect("it ends").code(), Some(0));
}

#[test]
fn every_snapshot_has_a_folder_and_several_roots_their_paths() {
    let bench = Bench::new();
    let (repo, dir) = (bench.path("repo"), bench.path("mnt"));
    let (tree, other) = (bench.tree("tree", 70), bench.tree("other", 71));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    std::fs::write(tree.join("d1/new"), b"later").expect("written");
    bench.repo("backup", &[&repo], &[text(&tree), text(&other)]).exits(0);
    let mount = Mount::repo(&bench, text(&repo), &dir, &[]);
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .expect("listed")
        .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    assert_eq!((names.len(), names[2].as_str()), (3, "latest"));
    // Both may be of one second.
    let latest = std::fs::read_link(dir.join("latest")).expect("a link");
    let older = names.iter().find(|name| *name != "latest" && Path::new(name) != latest).expect("another");
    assert!(names.iter().any(|name| Path::new(name) == latest));
    assert!(dir.join(older).join("d1").exists() && !dir.join(older).join("d1/new").exists());
    same(&tree, &dir.join("latest").join(text(&tree).trim_start_matches('/')));
    same(&other, &dir.join("latest").join(text(&other).trim_start_matches('/')));
    assert!(!dir.join("latest/nowhere").exists() && !dir.join("none").exists());
    assert_eq!(mount.ends(), 0);
    for (wrong, words) in [(tree.clone(), "not empty"), (bench.path("none"), "not exist")] {
        let ran = bench.repo("mount", &[&repo], &[text(&wrong)]).exits(2);
        assert!(ran.err.contains("E0442") && ran.err.contains(words), "{}", ran.err);
    }
}

#[test]
fn many_read_a_large_file_at_once_within_bounded_memory() {
    let bench = Bench::new();
    let (repo, tree, dir) = (bench.path("repo"), bench.path("tree"), bench.path("mnt"));
    std::fs::create_dir(&tree).expect("made");
    let bytes = noise(300_000_000, 1);
    std::fs::write(tree.join("large"), &bytes).expect("written");
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    let mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    let file = std::fs::File::open(dir.join("large")).expect("opens");
    std::thread::scope(|scope| {
        for reader in 0..4u64 {
            let (file, bytes) = (&file, &bytes);
            scope.spawn(move || {
                let mut buffer = vec![0; 1_000_003];
                for step in 0..60u64 {
                    let at = (reader * 77_777_777 + step * 5_000_011) % (bytes.len() as u64 - 1_000_003);
                    file.read_exact_at(&mut buffer, at).expect("read");
                    let at = usize::try_from(at).expect("small");
                    assert!(buffer == bytes[at..at + buffer.len()], "at {at}");
                }
            });
        }
        let mut whole = std::fs::File::open(dir.join("large")).expect("opens");
        let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
        loop {
            let len = whole.read(&mut buffer).expect("read");
            assert!(buffer[..len] == bytes[at..at + len], "at {at}");
            at += len;
            if len == 0 {
                break;
            }
        }
        assert_eq!(at, bytes.len());
    });
    let peak = mount.peak_kib();
    // The blobs that are kept and the gaps between them, what is being opened on four threads, the
    // program; before that 64 MiB for Argon2id.
    assert!(peak < 150 * 1024, "{peak} KiB");
    assert_eq!(mount.ends(), 0);
}

#[test]
fn a_file_that_was_never_read_is_an_io_error_and_no_zeros() {
    let bench = Bench::new();
    let (repo, tree, dir) = (bench.path("repo"), bench.path("tree"), bench.path("mnt"));
    std::fs::create_dir(&tree).expect("made");
    bench.repo("init", &[&repo], &[]).exits(0);
    std::fs::write(tree.join("lost"), noise(3000, 2)).expect("written");
    std::fs::write(tree.join("good"), noise(3000, 3)).expect("written");
    let bad_spot = tree.join("lost");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-P", text(&bad_spot), "-e", "inject=read:error=EIO"]);
    let plain = bench.command();
    command.arg(plain.get_program()).args(plain.get_args());
    for (key, value) in plain.get_envs() {
        value.map(|value| command.env(key, value));
    }
    command.args(["repo", "backup", "--repo"]).arg(&repo).arg("--password-file").arg(bench.path("pw"));
    assert_eq!(command.arg(&tree).status().expect("strace runs").code(), Some(3));
    let mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    let failed = std::fs::read(dir.join("lost")).expect_err("nothing of it is stored");
    assert_eq!(failed.raw_os_error(), Some(5), "{failed}");
    assert!(std::fs::read(dir.join("good")).expect("whole") == noise(3000, 3));
    assert_eq!(mount.ends(), 0);
}

#[test]
fn what_is_damaged_is_an_io_error_and_named_and_the_rest_is_read() {
    let bench = Bench::new();
    let (repo, tree, dir) = (bench.path("repo"), bench.path("tree"), bench.path("mnt"));
    std::fs::create_dir(&tree).expect("made");
    bench.repo("init", &[&repo], &[]).exits(0);
    std::fs::write(tree.join("good"), noise(3_000_000, 2)).expect("written");
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    let before = objects(&repo, "p");
    std::fs::write(tree.join("bad"), noise(3_000_000, 3)).expect("written");
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    for pack in objects(&repo, "p").iter().filter(|pack| !before.contains(pack)) {
        let mut bytes = std::fs::read(pack).expect("readable");
        // Every chunk: a byte in each 64 KiB.
        bytes.iter_mut().skip(5000).step_by(65_536).for_each(|byte| *byte ^= 1);
        moved(pack, bench.path("aside"));
        std::fs::write(pack, bytes).expect("written");
    }
    let mut mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    let failed = std::fs::read(dir.join("bad")).expect_err("it is damaged");
    assert_eq!(failed.raw_os_error(), Some(5), "{failed}");
    let said = mount.until("bad of ");
    assert!(said.contains("cannot be read: [E"), "{said}");
    assert!(std::fs::read(dir.join("good")).expect("whole") == noise(3_000_000, 2));
    // Asked again it is still an error, never bytes.
    assert!(std::fs::read(dir.join("bad")).is_err());
    assert_eq!(mount.ends(), 0);
}

#[test]
fn a_mount_in_use_or_killed_leaves_nothing_that_cannot_be_cleared() {
    let bench = Bench::new();
    let (repo, tree, dir) = (bench.path("repo"), bench.tree("tree", 72), bench.path("mnt"));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    let mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    let held = std::fs::File::open(dir.join("d0/f0")).expect("opens");
    assert_eq!(mount.ends(), 0);
    assert!(!is_mounted(&dir), "it is taken away from under whoever uses it");
    drop(held);
    let mut mount = Mount::repo(&bench, text(&repo), &dir, &["--snapshot", "latest"]);
    mount.signal("-KILL");
    mount.process.wait().expect("it is dead");
    assert!(is_mounted(&dir));
    let ran = bench.repo("mount", &[&repo], &[text(&dir)]).exits(2);
    assert!(ran.err.contains("whose process ended") && ran.err.contains("umount -l"), "{}", ran.err);
    assert!(Command::new("umount").arg("-l").arg(&dir).status().expect("runs").success());
    assert!(!is_mounted(&dir));
}

#[test]
fn a_copy_on_s3_is_mounted_by_policy_time_and_target() {
    let bench = Bench::new();
    let (tree, config, dir) = (bench.tree("tree", 73), bench.path("config"), bench.path("mnt"));
    let bucket =
        std::env::var("LIFEBOAT_TEST_S3_BUCKET").expect("run scripts/test, which starts an S3 server");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let policy = format!(
        "source = [{:?}]\n\n[targets.disk]\nurl = \"file://{}\"\n\n[targets.cloud]\nurl = \"s3://{bucket}/mount-{}\"\n\
         endpoint = \"{}\"\ncredentials_file = {:?}\n",
        tree,
        bench.path("disk").display(),
        std::process::id(),
        s3::endpoint(),
        s3::credentials_file(),
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let lifeboat = |arguments: &[&str]| bench.run([&["--config", text(&config)], arguments].concat());
    lifeboat(&["run", "web"]).exits(0);
    let taken = lifeboat(&["snapshots", "--json"]).exits(0).json();
    let at = taken["snapshots"][0]["snapshot"]["captured_at"].as_str().expect("a time").to_owned();
    moved(bench.path("disk"), bench.path("lost"));
    let fixed = ["--config", text(&config), "mount", "web"];
    let mount = Mount::new(&bench, &dir, &[&fixed[..], &["--from", "cloud"]].concat());
    same(&tree, &dir.join("latest/"));
    assert_eq!(mount.ends(), 0);
    let mount = Mount::new(&bench, &dir, &[&fixed[..], &["--from", "cloud", "--at", &at]].concat());
    same(&tree, &dir);
    assert_eq!(mount.ends(), 0);
}

#[test]
fn roots_inside_each_other_and_single_files_are_mounted_at_their_places() {
    let bench = Bench::new();
    let (repo, dir) = (bench.path("repo"), bench.path("mnt"));
    let (outer, inner) = (bench.path("r2"), bench.path("r2/in"));
    std::fs::create_dir_all(inner.join("deep")).expect("made");
    std::fs::write(outer.join("top"), b"top").expect("written");
    std::fs::write(inner.join("deep/low"), b"low").expect("written");
    bench.repo("init", &[&repo], &[]).exits(0);
    for roots in [[&outer, &inner], [&inner, &outer]] {
        bench.repo("backup", &[&repo], &roots.map(|root| text(root))).exits(0);
        for (more, top) in [(&["--snapshot", "latest"][..], ""), (&[], "latest")] {
            let mount = Mount::repo(&bench, text(&repo), &dir, more);
            let place = dir.join(top).join(text(&outer).trim_start_matches('/'));
            same(&outer, &place);
            assert_eq!(std::fs::read(place.join("in/deep/low")).expect("read"), b"low");
            assert_eq!(mount.ends(), 0);
        }
    }
    let mut command = bench.command();
    command.args([
        "repo",
        "mount",
        "--json",
        "--repo",
        text(&repo),
        "--password-file",
        text(&bench.path("pw")),
    ]);
    let mut process =
        command.arg(&dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut said = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("mounted at ")));
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    let out = process.wait_with_output().expect("it ends").stdout;
    let told: serde_json::Value = serde_json::from_slice(&out).expect("one object");
    assert_eq!((&told["exit"], &told["snapshots"]), (&0.into(), &2.into()), "{told}");
    bench.repo("backup", &[&repo], &[text(&outer.join("top"))]).exits(0);
    for (more, top) in [(&["--snapshot", "latest"][..], ""), (&[], "latest")] {
        let mount = Mount::repo(&bench, text(&repo), &dir, more);
        assert_eq!(std::fs::read(dir.join(top).join("top")).expect("read"), b"top");
        assert_eq!(mount.ends(), 0);
    }
}

#[test]
fn one_damaged_snapshot_is_listed_with_all_others_and_named() {
    let bench = Bench::new();
    let (repo, tree, dir) = (bench.path("repo"), bench.path("tree"), bench.path("mnt"));
    std::fs::create_dir(&tree).expect("made");
    std::fs::write(tree.join("a"), b"1").expect("written");
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    let before = objects(&repo, "m");
    std::fs::write(tree.join("a"), b"22").expect("written");
    let damaged = bench.repo("backup", &[&repo], &[text(&tree), "--json"]).exits(0).json();
    let damaged = damaged["outcome"]["snapshot"].as_str().expect("an id")[..8].to_owned();
    let all = objects(&repo, "m");
    std::fs::write(tree.join("a"), b"333").expect("written");
    bench.repo("backup", &[&repo], &[text(&tree)]).exits(0);
    for pack in all.iter().filter(|pack| !before.contains(pack)) {
        let mut bytes = std::fs::read(pack).expect("readable");
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        moved(pack, bench.path("aside"));
        std::fs::write(pack, bytes).expect("written");
    }
    let mut mount = Mount::repo(&bench, text(&repo), &dir, &[]);
    let names: Vec<_> = std::fs::read_dir(&dir).expect("opened").map(|name| name.expect("listed")).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let bad = names.iter().find(|name| name.file_name().to_string_lossy().ends_with(&damaged));
    let failed = std::fs::read_dir(bad.expect("it is listed").path())
        .and_then(|mut listed| listed.next().transpose())
        .expect_err("it is damaged");
    assert_eq!(failed.raw_os_error(), Some(5), "{failed}");
    let said = mount.until("cannot be read: [E");
    assert!(said.contains(&format!("in snapshot {damaged} cannot")), "{said}");
    assert_eq!(std::fs::read(dir.join("latest/a")).expect("whole"), b"333");
    assert_eq!(mount.ends(), 0);
}

//! Snapshots of btrfs as the view that a backup reads: on a loop device with a file system of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Said, needs_root, noise, run};
use crate::streams::Loop;

/// A mounted btrfs; gone when dropped.
pub(crate) struct Btrfs {
    pub(crate) at: PathBuf,
    device: Loop,
}

impl Btrfs {
    pub(crate) fn new(lab: &Lab) -> Self {
        needs_root();
        let disk = lab.path("disk");
        std::fs::File::create(&disk).and_then(|file| file.set_len(300 * 1024 * 1024)).expect("made");
        tool("mkfs.btrfs", &["-q", disk.to_str().expect("plain")]);
        let device = Loop::over(&disk);
        let at = lab.path("btrfs");
        std::fs::create_dir(&at).expect("made");
        tool("mount", &[device.device.to_str().expect("plain"), at.to_str().expect("plain")]);
        Self { at, device }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.at.join(name).to_str().expect("plain").to_owned()
    }

    pub(crate) fn subvolume(&self, name: &str) -> PathBuf {
        tool("btrfs", &["-q", "subvolume", "create", &self.path(name)]);
        self.at.join(name)
    }

    /// Names of snapshots in the top folder of a subvolume.
    fn views(&self, top: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.at.join(top)).expect("listed");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("plain"));
        names.filter(|name| name.starts_with(".lifeboat-view-")).collect()
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).status());
    }
}

fn tool(program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

fn settle() {
    std::thread::sleep(Duration::from_millis(3_100));
}

fn listed(lab: &Lab) -> Vec<String> {
    let said = lab.repo("ls", &["one"], &["latest", "--json"]).exits(0);
    let path = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        entry["path"].as_str().map(str::to_owned)
    };
    said.out.lines().filter_map(path).collect()
}

fn views_of(outcome: &Value) -> Vec<&str> {
    outcome["roots"].as_array().expect("a list").iter().filter_map(|root| root["view"].as_str()).collect()
}

#[test]
fn a_frozen_view_is_read_recorded_under_its_own_path_and_removed() {
    let lab = Lab::new();
    let disk = Btrfs::new(&lab);
    let data = disk.subvolume("data");
    std::fs::create_dir_all(data.join("www/deep")).expect("made");
    std::fs::write(data.join("www/deep/page"), noise(1, 300_000)).expect("written");
    std::fs::write(data.join("www/small"), b"small").expect("written");
    std::fs::hard_link(data.join("www/small"), data.join("www/linked")).expect("linked");
    std::fs::write(data.join("single"), b"a file as a root").expect("written");
    settle();
    lab.init(&["one"]);
    let roots = [disk.path("data/www"), disk.path("data/single")];
    let arguments = ["--snapshot", "btrfs", &roots[0], &roots[1]];
    let first = lab.backup(&["one"], &arguments, 0);
    assert_eq!(views_of(&first), ["btrfs snapshot", "btrfs snapshot"]);
    assert_eq!(first["roots"][0]["path"], roots[0].as_str());
    assert_eq!(first["stats"]["files"], 4, "{first:#}");
    assert_eq!(disk.views("data"), [""; 0], "nothing is left");
    // The device number of each view is another one: that is no change.
    let second = lab.backup(&["one"], &arguments, 0);
    assert_eq!(
        (&second["stats"]["files_read"], &second["stats"]["blobs_new"]),
        (&0.into(), &0.into()),
        "{second:#}"
    );
    let live = lab.backup(&["one"], &["--snapshot", "none", &roots[0], &roots[1]], 0);
    assert_eq!(
        (&live["stats"]["files_read"], &live["stats"]["blobs_new"]),
        (&0.into(), &0.into()),
        "{live:#}"
    );
    let auto = lab.backup(&["one"], &["--snapshot", "auto", &roots[0]], 0);
    assert_eq!(views_of(&auto), ["btrfs snapshot"]);
    lab.restores_whole("one", "latest", &data.join("www"));
    // A name that is read later finds its twin, which is kept from an earlier view.
    lab.init(&["two"]);
    lab.backup(&["two"], &["--snapshot", "btrfs", "--exclude", "linked", &roots[0]], 0);
    // Somebody else takes the device number that the first view had.
    std::fs::create_dir(lab.path("other")).expect("made");
    let other = lab.path("other").to_str().expect("plain").to_owned();
    tool("mount", &["-t", "tmpfs", "none", &other]);
    let outcome = lab.backup(&["two"], &["--snapshot", "btrfs", &roots[0]], 0);
    tool("umount", &[&other]);
    assert_eq!(outcome["stats"]["files_read"], 1, "{outcome:#}");
    lab.restores_whole("two", "latest", &data.join("www"));
    // The device below, as a whole: its content moves, and that is said.
    let device = disk.device.device.to_str().expect("plain");
    let raw = lab.repo("backup", &["one"], &["--json", device]).exits(0);
    assert_eq!(views_of(&raw.json()["outcome"]), ["device, mounted for writing"]);
    assert!(raw.out.contains("what is read may be torn"), "{raw:#?}");
}

#[test]
fn what_changes_while_it_is_read_is_read_as_it_was() {
    let lab = Lab::new();
    let disk = Btrfs::new(&lab);
    for number in 0..400u64 {
        std::fs::write(disk.at.join(format!("file-{number:03}")), noise(number, 100_000)).expect("written");
    }
    lab.init(&["one"]);
    let mut command = lab.command("backup", &["one"], &["--json", "--snapshot", "btrfs", &disk.path("")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    await_view(&disk, "");
    // From now on the view holds still, whatever becomes of the files.
    for number in 0..400u64 {
        std::fs::write(disk.at.join(format!("file-{number:03}")), b"torn").expect("written");
    }
    let outcome = Said::of(&child.wait_with_output().expect("ended")).exits(0).json()["outcome"].clone();
    assert_eq!((&outcome["changed"]["count"], &outcome["vanished"]), (&0.into(), &0.into()), "{outcome:#}");
    assert_eq!(outcome["stats"]["source_bytes"], 400 * 100_000, "{outcome:#}");
    assert!(
        listed(&lab).iter().all(|path| !path.contains(".lifeboat-view-")),
        "the view is no part of itself"
    );
}

fn await_view(disk: &Btrfs, top: &str) {
    let begun = Instant::now();
    while disk.views(top).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no view came");
        std::thread::sleep(Duration::from_millis(2));
    }
    // The run holds the subvolume until it has locked the view.
    let folder = std::fs::File::open(disk.at.join(top)).expect("opened");
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).expect("locked");
}

#[test]
fn what_the_view_does_not_hold_is_said_and_never_an_empty_folder_unsaid() {
    let lab = Lab::new();
    let disk = Btrfs::new(&lab);
    std::fs::write(disk.at.join("file"), b"file").expect("written");
    std::fs::create_dir_all(disk.at.join("sub")).expect("made");
    let nested = disk.subvolume("sub/nested");
    std::fs::write(nested.join("inside"), b"inside").expect("written");
    std::fs::create_dir_all(disk.at.join("mnt/point")).expect("made");
    tool("mount", &["-t", "tmpfs", "none", &disk.path("mnt/point")]);
    std::fs::write(disk.at.join("mnt/point/elsewhere"), b"elsewhere").expect("written");
    lab.init(&["one"]);
    let root = disk.path("");
    let root = root.trim_end_matches('/');
    let outcome = lab.backup(&["one"], &["--snapshot", "btrfs", root], 3);
    let unread: Vec<&str> = outcome["unread"]["named"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|i| i["path"].as_str())
        .collect();
    assert_eq!(unread, [format!("{root}/mnt/point"), format!("{root}/sub/nested")], "{outcome:#}");
    let listed = lab.repo("ls", &["one"], &["latest", "--json"]).exits(0).out;
    for path in ["mnt/point", "sub/nested"] {
        let is_unread =
            |line: &str| line.contains(&format!("\"path\":\"{path}\"")) && line.contains("\"unread\"");
        assert!(listed.lines().any(is_unread), "{path} looks like an empty folder: {listed}");
    }
    // Said to be left out, it is no fault.
    let declared = lab.backup(&["one"], &["--snapshot", "btrfs", "--one-file-system", root], 0);
    assert_eq!(declared["left_out"]["mounts"], 2, "{declared:#}");
    lab.backup(
        &["one"],
        &["--snapshot", "btrfs", "--exclude", "nested/", "--exclude", "/mnt/point", root],
        0,
    );
    // Named as roots of their own they are all there, each from the view it can have.
    let nested = nested.to_str().expect("plain");
    let mount = disk.path("mnt/point");
    let whole = lab.backup(&["one"], &["--snapshot", "auto", root, nested, &mount], 0);
    assert_eq!(views_of(&whole), ["btrfs snapshot", "btrfs snapshot", "files"]);
    assert_eq!(whole["stats"]["files"], 3, "{whole:#}");
    // What can't be frozen fails the run that wants it so.
    let said = lab.repo("backup", &["one"], &["--snapshot", "btrfs", root, &mount]).exits(1);
    assert!(said.err.contains("E0447") && said.err.contains("not on btrfs"), "{said:#?}");
    assert_eq!((disk.views(""), disk.views("sub/nested")), (vec![], vec![]));
    tool("umount", &[&mount]);
}

#[test]
fn a_view_that_a_killed_run_left_is_removed_by_the_next_and_nothing_else_is() {
    let lab = Lab::new();
    let disk = Btrfs::new(&lab);
    for number in 0..300u64 {
        std::fs::write(disk.at.join(format!("file-{number:03}")), noise(number, 200_000)).expect("written");
    }
    lab.init(&["one"]);
    let root = disk.path("");
    let begin = || {
        let mut command = lab.command("backup", &["one"], &["--snapshot", "btrfs", &root]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        await_view(&disk, "");
        child
    };
    let mut killed = begin();
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    let left = disk.views("");
    assert_eq!(left.len(), 1, "{left:?}");
    // Like it, but not of this host; of this host, but a folder; and one that can be written to.
    let digits = |name: &str| name.to_owned();
    let mine = &left[0][..".lifeboat-view-".len() + 9];
    let other_host = digits(".lifeboat-view-00000000-0123456789abcdef");
    let folder = format!("{mine}00000000000000aa");
    let writable = format!("{mine}00000000000000bb");
    tool("btrfs", &["-q", "subvolume", "snapshot", "-r", &root, &disk.path(&other_host)]);
    std::fs::create_dir(disk.at.join(&folder)).expect("made");
    tool("btrfs", &["-q", "subvolume", "create", &disk.path(&writable)]);
    lab.backup(&["one"], &["--snapshot", "btrfs", &root], 0);
    let mut others = vec![other_host, folder, writable];
    let mut now = disk.views("");
    others.sort();
    now.sort();
    assert_eq!(now, others);
    // A view in use is nobody's to remove.
    for name in &others {
        let path = disk.path(name);
        if std::fs::remove_dir(&path).is_err() {
            tool("btrfs", &["-q", "subvolume", "delete", &path]);
        }
    }
    let mut running = begin();
    let used = disk.views("");
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::STOP)
        .expect("held");
    run(&mut lab.command("backup", &["one"], &["--snapshot", "btrfs", "--host", "other", &root])).exits(0);
    run(&mut lab.command("backup", &["one"], &["--snapshot", "btrfs", &root])).exits(0);
    assert_eq!(disk.views(""), used);
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::CONT)
        .expect("let go");
    assert_eq!(running.wait().expect("ended").code(), Some(0), "its view was there to the end");
    assert_eq!(disk.views(""), [""; 0]);
    // A signal ends a run in order.
    let mut stopped = begin();
    rustix::process::kill_process(rustix::process::Pid::from_child(&stopped), rustix::process::Signal::TERM)
        .expect("asked");
    assert_eq!(stopped.wait().expect("ended").code(), Some(130));
    assert_eq!(disk.views(""), [""; 0]);
}

#[test]
fn auto_reads_files_where_there_are_no_snapshots() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    std::fs::write(source.join("file"), b"file").expect("written");
    lab.init(&["one"]);
    let path = source.to_str().expect("plain");
    let outcome = lab.backup(&["one"], &["--snapshot", "auto", path], 0);
    assert_eq!(views_of(&outcome), ["files"]);
    let said = lab.repo("backup", &["one"], &["--snapshot", "btrfs", path]).exits(1);
    assert!(said.err.contains("E0447"), "{said:#?}");
    lab.repo("backup", &["one"], &["--snapshot", "zfs", path]).exits(2);
}

#[test]
fn a_link_put_in_the_place_of_a_root_leads_nowhere_out_of_the_view() {
    let lab = Lab::new();
    let disk = Btrfs::new(&lab);
    let outside = lab.path("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("secret"), b"secret").expect("written");
    std::fs::create_dir_all(disk.at.join("a/b")).expect("made");
    std::fs::write(disk.at.join("a/b/file"), b"file").expect("written");
    lab.init(&["one"]);
    // Swapped all the time while backups begin: the folder, or a failure, and never what the link leads to.
    let path = disk.path("a/b");
    let (stop, from) = (std::sync::atomic::AtomicBool::new(false), disk.at.join("a"));
    std::os::unix::fs::symlink(&outside, from.join("link")).expect("made");
    std::thread::scope(|scope| {
        let _end = Raise(&stop);
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                exchange(&from.join("b"), &from.join("link"));
            }
        });
        for _ in 0..12 {
            let said = lab.repo("backup", &["one"], &["--json", "--snapshot", "btrfs", &path]);
            assert!(!said.err.contains("panicked"), "{said:#?}");
            if said.code == Some(0) {
                let outcome = said.json()["outcome"].clone();
                // Named while it was a link, it was followed on purpose and said so; frozen it never was.
                if views_of(&outcome) == ["btrfs snapshot"] {
                    assert!(listed(&lab).iter().all(|path| !path.contains("secret")), "{outcome:#}");
                }
            }
        }
    });
    assert_eq!(disk.views(""), [""; 0]);
}

/// Raises a flag however its scope ends.
struct Raise<'f>(&'f std::sync::atomic::AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn exchange(one: &Path, other: &Path) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags).expect("exchanged");
}

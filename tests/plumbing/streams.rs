//! Streams and devices: bytes that become one file, whole or not at all.

use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Said, needs_root, noise, run};

/// A backup with these bytes on standard input.
fn piped(lab: &Lab, bytes: &[u8], arguments: &[&str]) -> Said {
    let mut command = lab.command("backup", &["one"], arguments);
    let mut child = command
        .arg("--json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let bytes = bytes.to_vec();
    let feed = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let said = Said::of(&child.wait_with_output().expect("ended"));
    feed.join().expect("fed");
    said
}

fn restored(lab: &Lab, name: &str) -> PathBuf {
    restored_with(lab, name, 0)
}

fn restored_with(lab: &Lab, name: &str, code: i32) -> PathBuf {
    let to = lab.path("restored");
    if to.exists() {
        std::fs::remove_dir_all(&to).expect("removed");
    }
    lab.repo("restore", &["one"], &["latest", "--to", to.to_str().expect("plain"), "--verify"]).exits(code);
    to.join(name)
}

fn snapshots(lab: &Lab) -> usize {
    let list = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    list["snapshots"].as_array().expect("a list").len()
}

fn pipe_at(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("made");
}

#[test]
fn standard_input_becomes_one_file_and_comes_back() {
    let lab = Lab::new();
    lab.init(&["one"]);
    let dump = noise(1, 9_000_000);
    let first = piped(&lab, &dump, &["--stdin", "shop.sql"]).exits(0).json()["outcome"].clone();
    assert_eq!(first["roots"][0]["view"], "stream", "{first:#}");
    assert_eq!((&first["stats"]["files"], &first["stats"]["source_bytes"]), (&1.into(), &9_000_000.into()));
    let back = restored(&lab, "shop.sql");
    assert!(std::fs::read(&back).expect("restored") == dump);
    let facts = back.metadata().expect("restored");
    assert_eq!(facts.mode() & 0o7777, 0o600);
    let age = facts.modified().expect("a time").elapsed().expect("past");
    assert!(age < Duration::from_secs(600), "the time of the backup, {age:?}");
    // The same again, and with some bytes put in: what is known is not stored twice.
    let again = piped(&lab, &dump, &["--stdin", "shop.sql"]).exits(0).json()["outcome"].clone();
    assert_eq!(again["kind"], "incremental");
    // A leaf of the manifest: the time is another one.
    assert!(again["stats"]["bytes_new"].as_u64() < Some(2000), "{again:#}");
    let mut longer = dump.clone();
    longer.splice(4_000_000..4_000_000, *b"a row more");
    let third = piped(&lab, &longer, &["--stdin", "shop.sql"]).exits(0).json()["outcome"].clone();
    assert!(third["stats"]["bytes_new"].as_u64() < Some(5_000_000), "{third:#}");
    assert!(std::fs::read(restored(&lab, "shop.sql")).expect("restored") == longer);
    // One byte, and a size that groups take otherwise.
    for len in [1, 1000, 128 * 1024] {
        piped(&lab, &dump[..len], &["--stdin", "small"]).exits(0);
        assert!(std::fs::read(restored(&lab, "small")).expect("restored") == dump[..len]);
    }
    lab.verify("one", &["--deep"], 0);
}

#[test]
fn a_stream_without_a_byte_is_a_failure_unless_it_may_be_empty() {
    let lab = Lab::new();
    lab.init(&["one"]);
    let said = piped(&lab, b"", &["--stdin", "shop.sql"]).exits(1);
    assert!(said.err.contains("E0645") || said.out.contains("E0645"), "{said:#?}");
    assert_eq!(snapshots(&lab), 0);
    piped(&lab, b"", &["--stdin", "shop.sql", "--allow-empty"]).exits(0);
    assert_eq!(std::fs::read(restored(&lab, "shop.sql")).expect("restored"), b"");
    assert_eq!(snapshots(&lab), 1);
    lab.verify("one", &["--deep"], 0);
}

#[test]
fn a_program_that_fails_leaves_no_snapshot() {
    let lab = Lab::new();
    lab.init(&["one"]);
    let program = |script: &str, code: i32| {
        let arguments = ["--stdin-command", "db.sql", "--", "/bin/sh", "-c", script];
        lab.repo("backup", &["one"], &arguments).exits(code)
    };
    let said = program("head -c 3000000 /dev/zero; echo lost the connection >&2; exit 3", 1);
    assert!(
        said.err.contains("E0645") && said.err.contains("exit status 3: lost the connection"),
        "{said:#?}"
    );
    program("exit 0", 1);
    program("kill -TERM $$", 1);
    lab.repo("backup", &["one"], &["--stdin-command", "db.sql", "--", "/no/such/program"]).exits(1);
    assert_eq!(snapshots(&lab), 0);
    program("echo '$HOME; all of it'", 0);
    assert_eq!(std::fs::read(restored(&lab, "db.sql")).expect("restored"), b"$HOME; all of it\n");
}

#[test]
fn a_stream_takes_a_plain_name_and_nothing_that_has_it() {
    let lab = Lab::new();
    lab.init(&["one"]);
    for name in ["", "a/b", "..", ".", "/etc/passwd", &"x".repeat(256)] {
        piped(&lab, b"bytes", &["--stdin", name]).exits(2);
    }
    piped(&lab, b"bytes", &["--stdin", "a", "--exclude", "b"]).exits(2);
    piped(&lab, b"bytes", &["--stdin", "a", "path"]).exits(2);
    piped(&lab, b"bytes", &["--stdin", "a", "--snapshot", "auto"]).exits(2);
    lab.repo("backup", &["one"], &["--stdin-command", "a"]).exits(2);
    lab.repo::<&str>("backup", &["one"], &[]).exits(2);
    // Nothing of the file system is opened by the name, least of all a pipe that nobody writes to.
    pipe_at(&lab.path("pipe"));
    let mut command =
        lab.command("backup", &["one"], &["--stdin-command", "pipe", "--", "/bin/echo", "from the program"]);
    Said::of(&command.current_dir(lab.path("")).output().expect("the binary starts")).exits(0);
    assert_eq!(std::fs::read(restored(&lab, "pipe")).expect("restored"), b"from the program\n");
    assert_eq!(snapshots(&lab), 1);
}

#[test]
fn a_stream_that_never_comes_can_be_stopped() {
    let lab = Lab::new();
    lab.init(&["one"]);
    for arguments in [&["--stdin", "a"][..], &["--stdin-command", "a", "--", "sleep", "600"]] {
        let mut child = lab
            .command("backup", &["one"], arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // Waiting would close it, and a stream that ends is another story.
        let stdin = child.stdin.take();
        let begun = Instant::now();
        // Whatever it does by then, it hears.
        std::thread::sleep(Duration::from_millis(1500));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("asked");
        assert_eq!(child.wait().expect("ended").code(), Some(130), "{arguments:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{arguments:?}");
        drop(stdin);
    }
    assert_eq!(snapshots(&lab), 0);
}

/// A block device over a file; gone when dropped.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
}

impl Loop {
    pub(crate) fn over(file: &Path) -> Self {
        let output =
            Command::new("losetup").args(["-f", "--show"]).arg(file).output().expect("losetup is there");
        assert!(output.status.success(), "{output:?}");
        Self { device: PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim()) }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("-d").arg(&self.device).status());
    }
}

#[test]
fn a_device_named_as_a_root_becomes_a_file_with_holes() {
    needs_root();
    let lab = Lab::new();
    lab.init(&["one"]);
    let disk = lab.path("disk");
    let size = 24 * 1024 * 1024 + 512;
    let file = std::fs::File::create(&disk).expect("made");
    file.set_len(size).expect("made long");
    file.write_all_at(&noise(1, 3_000_000), 5_000_000).expect("written");
    file.write_all_at(b"the end", size - 7).expect("written");
    let device = Loop::over(&disk);
    std::os::unix::fs::symlink(&device.device, lab.path("link")).expect("made");
    let link = lab.path("link");
    let path = link.to_str().expect("plain");
    let first = lab.backup(&["one"], &[path], 0);
    assert_eq!(first["roots"][0]["view"], "device", "{first:#}");
    assert_eq!(first["stats"]["source_bytes"], size);
    assert!(first["stats"]["bytes_read"].as_u64() < Some(3_300_000), "zeros are no data: {first:#}");
    let same = |lab: &Lab| {
        let back = restored(lab, "link");
        assert!(std::fs::read(&back).expect("restored") == std::fs::read(&disk).expect("read"));
        back.metadata().expect("restored").blocks() * 512
    };
    assert!(same(&lab) < 4_000_000, "holes stay holes");
    // Written in place: the times of the node say nothing, what is read does.
    file.write_all_at(b"changed", 6_000_000).expect("written");
    std::fs::File::open(&device.device).expect("opened").sync_all().expect("synced");
    let second = lab.backup(&["one"], &[path], 0);
    assert_eq!(second["kind"], "incremental");
    assert_eq!(second["stats"]["files_unchanged"], 0, "{second:#}");
    assert!(second["stats"]["bytes_new"].as_u64() < Some(2_500_000), "{second:#}");
    same(&lab);
    let third = lab.backup(&["one"], &[path], 0);
    assert!(third["stats"]["bytes_new"].as_u64() < Some(2000), "{third:#}");
    lab.verify("one", &["--deep"], 0);
    // In a folder it is what it is: an entry, never opened.
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    let number = std::fs::metadata(&device.device).expect("a device").rdev();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, source.join("dev"), rustix::fs::FileType::BlockDevice, mode, number)
        .expect("made");
    pipe_at(&source.join("pipe"));
    let met = lab.backup(&["one"], &[source.to_str().expect("plain")], 0);
    assert_eq!((&met["stats"]["files"], &met["stats"]["bytes_read"]), (&0.into(), &0.into()), "{met:#}");
}

#[test]
fn a_device_that_ends_before_its_size_is_unread_and_never_a_shorter_file() {
    needs_root();
    let lab = Lab::new();
    lab.init(&["one"]);
    let disk = lab.path("disk");
    std::fs::write(&disk, noise(5, 8 * 1024 * 1024)).expect("written");
    let device = Loop::over(&disk);
    let path = device.device.to_str().expect("plain").to_owned();
    lab.backup(&["one"], &[&path], 0);
    // Half of the medium is gone; the device doesn't know.
    std::fs::File::options()
        .write(true)
        .open(&disk)
        .and_then(|file| file.set_len(4 * 1024 * 1024))
        .expect("cut");
    let drop_caches =
        Command::new("blockdev").arg("--flushbufs").arg(&device.device).status().expect("blockdev is there");
    assert!(drop_caches.success());
    let outcome = lab.backup(&["one"], &[&path], 3);
    assert_eq!(outcome["unread"]["count"], 1, "{outcome:#}");
    // What the earlier snapshot had is kept in sight.
    let back = restored_with(&lab, path.rsplit('/').next().expect("a name"), 3);
    assert_eq!(back.metadata().expect("restored").len(), 8 * 1024 * 1024);
    let gone = run(&mut lab.command("backup", &["one"], &["/dev/lifeboat-none"]));
    gone.exits(1);
}

#[test]
fn what_a_program_leaves_behind_is_not_waited_for() {
    let lab = Lab::new();
    lab.init(&["one"]);
    let begun = Instant::now();
    for program in ["sleep 60 & exit 4", "sleep 60 & echo done"] {
        let mut command =
            lab.command("backup", &["one"], &["--stdin-command", "a", "--", "sh", "-c", program]);
        let said = Said::of(&command.output().expect("the binary starts")).exits(1);
        assert!(said.err.contains("E0645"), "{}", said.err);
    }
    assert!(begun.elapsed() < Duration::from_secs(45), "it waited for the children");
    assert_eq!(snapshots(&lab), 0);
}

#[test]
fn roots_without_a_byte_make_no_snapshot() {
    needs_root();
    let lab = Lab::new();
    lab.init(&["one"]);
    let disk = lab.path("disk");
    std::fs::File::create(&disk).expect("made").set_len(1 << 20).expect("made long");
    std::fs::create_dir(lab.path("tree")).expect("made");
    std::fs::write(lab.path("tree/file"), b"bytes").expect("written");
    let device = {
        let device = Loop::over(&disk);
        device.device.clone()
    };
    lab.repo("backup", &["one"], &[device.to_str().expect("plain")]).exits(1);
    let tree = lab.path("tree");
    lab.repo("backup", &["one"], &["--include", "nothing", tree.to_str().expect("plain")]).exits(1);
    assert_eq!(snapshots(&lab), 0);
}

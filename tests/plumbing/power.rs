//! Power cuts: a file system whose journal is dropped at one moment. What a backup promised by then
//! is there afterwards. On ext4 and on xfs; `LIFEBOAT_TORTURE_ROUNDS` is how often each cut is made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::{Lab, needs_root, noise, plain_source};

/// The file systems that are cut.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Ext4,
    Xfs,
}

/// A file system of its own on a loop device; unmounted in the end.
struct Disk {
    file: PathBuf,
    at: PathBuf,
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Disk {
    fn new(lab: &Lab, name: &str, kind: Kind) -> Self {
        needs_root();
        let disk = Self { file: lab.path(&format!("{name}.img")), at: lab.path(name) };
        std::fs::create_dir(&disk.at).expect("made");
        let file = std::fs::File::create(&disk.file).expect("made");
        // The least that xfs takes is 300 MiB.
        file.set_len(320 << 20).expect("set");
        let (program, force) = match kind {
            Kind::Ext4 => ("mkfs.ext4", "-F"),
            Kind::Xfs => ("mkfs.xfs", "-f"),
        };
        succeed(Command::new(program).arg("-q").arg(force).arg(&disk.file));
        disk.mount();
        disk
    }

    fn mount(&self) {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.at));
    }

    /// The power goes: nothing that was not made durable by now ever reaches the medium
    /// (EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN of the same number, without flushing the log:
    /// linux/fs/ext4/ext4.h, linux/fs/xfs/libxfs/xfs_fs.h). Then it comes back.
    fn cut(&self) {
        let script = "import fcntl, os, struct, sys\n\
                      fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                      fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))";
        succeed(Command::new("python3").args(["-c", script]).arg(&self.at));
        succeed(Command::new("umount").arg(&self.at));
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).status());
    }
}

/// Whether a file that nobody made durable is there after the cut: then the cut is none.
fn careless(at: &Path) -> PathBuf {
    let file = at.join("careless");
    std::fs::write(&file, noise(5, 100_000)).expect("written");
    file
}

/// How often each cut is made: as often as asked, else so often.
fn rounds(otherwise: u64) -> u64 {
    let asked = std::env::var("LIFEBOAT_TORTURE_ROUNDS").ok().and_then(|text| text.parse::<u64>().ok());
    asked.unwrap_or(0).max(otherwise)
}

fn cut_at_once(kind: Kind) {
    let lab = Lab::new();
    let disk = Disk::new(&lab, "disk", kind);
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["disk/one"]);
    for round in 0..rounds(4) {
        std::fs::write(source.join("changes"), noise(round, 400_000)).expect("written");
        let outcome = lab.backup_source(&["disk/one"]);
        let lost = careless(&disk.at);
        disk.cut();
        let whole = !lost.exists() || std::fs::read(&lost).is_ok_and(|bytes| bytes != noise(5, 100_000));
        assert!(whole, "nothing was lost: this was no power cut");
        let found = lab.verify("disk/one", &["--deep"], 0);
        let id = outcome["snapshot"].as_str().expect("an id");
        assert!(found["whole"].as_array().expect("a list").iter().any(|w| w == id), "{found:#}");
        assert_eq!(found["snapshots"], round + 1, "{found:#}");
        lab.restores_whole("disk/one", id, &source);
    }
}

fn cut_in_the_middle(kind: Kind) {
    let lab = Lab::new();
    let disk = Disk::new(&lab, "disk", kind);
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["disk/one"]);
    let first = lab.backup_source(&["disk/one"])["snapshot"].as_str().expect("an id").to_owned();
    let status = Command::new("cp").arg("-a").args([&source, &lab.path("first")]).status();
    assert!(status.expect("cp runs").success());
    for round in 0..rounds(6) {
        std::fs::write(source.join("big"), noise(900 + round, 9_000_000)).expect("written");
        let mut child = lab
            .command("backup", &["disk/one"], &[&source])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        // Spread over the run; the seed of a failure is its round.
        std::thread::sleep(std::time::Duration::from_millis(250 + round * 60 % 900));
        drop(child.kill());
        child.wait().expect("ended");
        disk.cut();
        let found = lab.verify("disk/one", &["--deep"], 0);
        assert!(found["whole"].as_array().expect("a list").iter().any(|w| w == &first), "{found:#}");
        lab.backup_source(&["disk/one"]);
    }
    lab.verify("disk/one", &["--deep"], 0);
    lab.restores_whole("disk/one", "latest", &source);
    lab.restores_whole("disk/one", &first, &lab.path("first"));
}

#[test]
fn a_backup_that_said_done_survives_a_power_cut_from_that_instant() {
    cut_at_once(Kind::Ext4);
}

#[test]
fn a_backup_that_said_done_survives_a_power_cut_of_xfs_from_that_instant() {
    cut_at_once(Kind::Xfs);
}

#[test]
fn a_power_cut_in_the_middle_of_a_backup_harms_nothing_earlier() {
    cut_in_the_middle(Kind::Ext4);
}

#[test]
fn a_power_cut_of_xfs_in_the_middle_of_a_backup_harms_nothing_earlier() {
    cut_in_the_middle(Kind::Xfs);
}

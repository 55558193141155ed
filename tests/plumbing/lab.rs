//! A folder with a passphrase, places and a source, and the binary to run on them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::odd_tree::{self, Folder};

/// Everything one test works in; gone when it ends.
pub(crate) struct Lab {
    pub(crate) folder: Folder,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The command ended with this code, and nobody panicked.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert!(!self.err.contains("panicked"), "{self:#?}");
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Its last line, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { folder: Folder::new() };
        std::fs::write(lab.path("password"), "correct horse battery staple\n").expect("written");
        set_mode(&lab.path("password"), 0o600);
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A repository at each of these folders.
    pub(crate) fn init(&self, places: &[&str]) -> &Self {
        self.repo("init", places, &["--pack-size", "8MiB"]).exits(0);
        self
    }

    /// `lifeboat repo VERB --repo ... ARGUMENTS` as a command that is not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, verb: &str, places: &[&str], arguments: &[S]) -> Command {
        let mut command = self.bare();
        command.args(["repo", verb]);
        for place in places {
            command.arg("--repo").arg(self.url(place));
        }
        command.arg("--password-file").arg(self.path("password")).args(arguments);
        command
    }

    /// The binary in this lab's surroundings.
    pub(crate) fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.env("LIFEBOAT_STATE_DIR", self.path("state")).args(["--quiet"]);
        command
    }

    fn url(&self, place: &str) -> PathBuf {
        if place.contains("://") { place.into() } else { self.path(place) }
    }

    pub(crate) fn repo<S: AsRef<OsStr>>(&self, verb: &str, places: &[&str], arguments: &[S]) -> Said {
        run(&mut self.command(verb, places, arguments))
    }

    /// A backup's outcome, which must end with this code.
    #[track_caller]
    pub(crate) fn backup(&self, places: &[&str], arguments: &[&str], code: i32) -> Value {
        let mut command = self.command("backup", places, &["--json"]);
        run(command.args(arguments)).exits(code).json()["outcome"].clone()
    }

    /// A backup of the lab's `source`.
    #[track_caller]
    pub(crate) fn backup_source(&self, places: &[&str]) -> Value {
        let source = self.path("source");
        self.backup(places, &[source.to_str().expect("a plain path")], 0)
    }

    /// The verification's findings, with the key.
    #[track_caller]
    pub(crate) fn verify(&self, place: &str, arguments: &[&str], code: i32) -> Value {
        let mut command = self.command("verify", &[place], &["--json"]);
        run(command.args(arguments)).exits(code).json()["verify"].clone()
    }

    /// Restores into a fresh folder of this name.
    pub(crate) fn restore(&self, place: &str, id: &str, to: &str) -> Said {
        let to = self.path(to);
        self.repo("restore", &[place], &[OsStr::new(id), OsStr::new("--to"), to.as_os_str()])
    }

    /// Restores the newest snapshot and finds nothing different from the source.
    #[track_caller]
    pub(crate) fn restores_whole(&self, place: &str, id: &str, source: &Path) {
        let to = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let to = to.path().join("back");
        self.repo("restore", &[place], &[OsStr::new(id), OsStr::new("--to"), to.as_os_str()]).exits(0);
        same(source, &to);
        odd_tree::unlock(&to);
    }
}

/// Two trees are the same, bit by bit and by metadata.
#[track_caller]
pub(crate) fn same(source: &Path, restored: &Path) {
    let differences = odd_tree::compare(source, restored);
    assert!(differences.is_empty(), "{differences:#?}");
}

pub(crate) fn run(command: &mut Command) -> Said {
    Said::of(&command.output().expect("the binary starts"))
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

/// Tests of devices, owners and mounts prove nothing without root's rights.
pub(crate) fn needs_root() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root: mounts, owners, devices");
}

/// Files changed within two seconds of a backup's start are read again, whatever their times say;
/// nothing but waiting makes a ctime older.
pub(crate) fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(3_100));
}

/// Every file below a folder, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).expect("listed") {
            let path = entry.expect("listed").path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Bytes that don't compress, always the same for a seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A folder with small files, a large one and a sub-folder.
pub(crate) fn plain_source(dir: &Path) {
    std::fs::create_dir_all(dir.join("below")).expect("made");
    for number in 0..20u64 {
        std::fs::write(dir.join(format!("small-{number}")), noise(number, 3000)).expect("written");
    }
    std::fs::write(dir.join("large"), noise(99, 3_000_000)).expect("written");
    std::fs::write(dir.join("below/file"), b"in the folder below").expect("written");
}

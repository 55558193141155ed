//! Running the binary.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lifeboat::base::clock::{Clock, SystemClock};
use tempfile::TempDir;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The exit code must be this.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Standard output as one JSON value: its last line.
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.out.lines().last().expect("a line of JSON");
        serde_json::from_str(last).expect("JSON")
    }
}

/// A folder with a passphrase, places for repositories and a state folder of its own.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = Self { folder };
        bench.private("pw", b"correct horse\n");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that only its owner can read.
    pub(crate) fn private(&self, name: &str, bytes: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        path
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command
            .env("LIFEBOAT_STATE_DIR", self.path("state"))
            .env("HOME", self.path("home"))
            .env_remove("LIFEBOAT_CONFIG")
            .env_remove("RUST_BACKTRACE")
            .current_dir(self.folder.path());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        of(self.command().args(arguments).output().expect("the binary starts"))
    }

    /// `lifeboat repo VERB --repo REPO... --password-file pw ARGUMENT...`
    pub(crate) fn repo(&self, verb: &str, repos: &[&Path], arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(["repo", verb]);
        for repo in repos {
            command.arg("--repo").arg(repo);
        }
        command.arg("--password-file").arg(self.path("pw")).args(arguments);
        of(command.output().expect("the binary starts"))
    }

    /// A tree of plain files, small and large, equal for equal seeds.
    pub(crate) fn tree(&self, name: &str, seed: u64) -> PathBuf {
        let root = self.path(name);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for number in 0..60u64 {
            let dir = root.join(format!("d{}", number % 7));
            std::fs::create_dir_all(&dir).expect("made");
            let len = if number % 20 == 0 { 900_000 } else { next() % 9_000 };
            let bytes: Vec<u8> = (0..len).map(|_| next().to_le_bytes()[0]).collect();
            std::fs::write(dir.join(format!("f{number}")), bytes).expect("written");
        }
        root
    }
}

pub(crate) fn of(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// That two trees of plain files hold the same bytes under the same names.
pub(crate) fn same(a: &Path, b: &Path) {
    let diff = Command::new("diff").args(["-r", "--no-dereference"]).arg(a).arg(b).output().expect("diff");
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

/// Every object of a repository below a folder of it.
pub(crate) fn objects(repo: &Path, below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repo.join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Gives a file or folder another name.
#[expect(clippy::disallowed_methods, reason = "a test plays the person who moves things")]
pub(crate) fn moved(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    std::fs::rename(from, to).expect("moved");
}

/// Waits until something is so; half a minute at most.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    let until = clock.monotonic() + Duration::from_secs(30);
    while !is_so() {
        assert!(clock.monotonic() < until, "waited in vain for {what}");
        clock.sleep(Duration::from_millis(100));
    }
}

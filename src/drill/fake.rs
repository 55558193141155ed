//! A snapshot in memory, for the tests of this floor.

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::checks::{Check, CheckOutcome, CheckResult, Scene, make};
use super::error::{DrillError, Fault};
use super::pick::Picked;
use super::plan::CheckSpec;
use super::restorer::{Entry, EntryFact, Problem, Reads, RestoreRequest, Restored, Restorer, SnapshotFacts};
use super::watch::Watch;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::base::display;
use crate::base::error::{Class, Classified};
use crate::base::metadata::{FileKind, FileTime};
use crate::base::progress::{Progress, Silent};
use crate::policy::model::OnFail;

pub(super) const CAPTURED_AT_SECONDS: i64 = 1_795_485_182;

/// Something that can go wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    TargetAway,
    SandboxFull,
    FirstFileDamaged,
}

#[derive(Debug, thiserror::Error)]
#[error("no route to host")]
struct Away;

impl Classified for Away {
    fn class(&self) -> Class {
        Class::Unreachable
    }
    fn code(&self) -> &'static str {
        "E0000"
    }
}

/// One entry with its bytes.
pub(super) struct FakeEntry {
    pub(super) fact: EntryFact,
    pub(super) bytes: Vec<u8>,
    pub(super) unreadable: bool,
}

impl Entry for FakeEntry {
    fn fact(&self) -> &EntryFact {
        &self.fact
    }

    fn content_matches(&self, restored: &mut File) -> io::Result<bool> {
        if self.unreadable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut bytes = Vec::new();
        restored.read_to_end(&mut bytes)?;
        Ok(bytes == self.bytes)
    }
}

/// A snapshot whose restore takes `seconds_each` of a manual clock for each file.
pub(super) struct Fake<'a> {
    pub(super) entries: Vec<FakeEntry>,
    pub(super) trouble: Trouble,
    pub(super) clock: Option<(&'a ManualClock, u64)>,
    pub(super) read: u64,
    /// The manifest can be read that often.
    pub(super) manifest_reads: u32,
}

impl Fake<'_> {
    pub(super) fn new() -> Self {
        let entries = vec![
            entry("data", FileKind::Directory, b""),
            entry("data/a.txt", FileKind::File, b"alpha"),
            entry("data/b.bin", FileKind::File, &[7; 5000]),
            entry("data/link", FileKind::Symlink, b""),
            entry("log", FileKind::Directory, b""),
            entry("log/today", FileKind::File, b""),
        ];
        Self { entries, trouble: Trouble::None, clock: None, read: 0, manifest_reads: u32::MAX }
    }
}

fn entry(path: &str, kind: FileKind, bytes: &[u8]) -> FakeEntry {
    let fact = EntryFact {
        path: path.into(),
        kind,
        size: bytes.len().try_into().expect("small"),
        mode: if kind == FileKind::Directory { 0o750 } else { 0o640 },
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: FileTime { seconds: CAPTURED_AT_SECONDS - 3600, nanos: 123_456_789 },
        link_target: if kind == FileKind::Symlink { b"a.txt".to_vec() } else { Vec::new() },
    };
    FakeEntry { fact, bytes: bytes.to_vec(), unreadable: false }
}

pub(super) fn snapshot() -> SnapshotFacts {
    SnapshotFacts {
        id: "7f3a21c4".to_owned(),
        kind: "full".to_owned(),
        captured_at: Timestamp::from_unix_ms(CAPTURED_AT_SECONDS * 1000),
        manifest_root: [9; 32],
    }
}

impl Restorer for Fake<'_> {
    fn unlock(&mut self) -> Result<(), DrillError> {
        if self.trouble == Trouble::TargetAway {
            return Err(DrillError::restore(Fault::Copy, "opening the repository", Away));
        }
        Ok(())
    }

    fn locate(&mut self) -> Result<SnapshotFacts, DrillError> {
        Ok(snapshot())
    }

    fn entries(&mut self, visit: &mut dyn FnMut(&dyn Entry) -> ControlFlow<()>) -> Result<(), DrillError> {
        self.manifest_reads = self
            .manifest_reads
            .checked_sub(1)
            .ok_or_else(|| DrillError::restore(Fault::Copy, "reading the manifest", Away))?;
        for entry in &self.entries {
            if visit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn restore(
        &mut self,
        request: &RestoreRequest<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Restored, DrillError> {
        if self.trouble == Trouble::SandboxFull {
            return Err(DrillError::restore(Fault::Sandbox, "writing data/a.txt", Away));
        }
        let mut done = Restored::default();
        for entry in self.entries.iter().filter(|entry| request.picked.contains(&entry.fact.path)) {
            progress.advance(1, entry.fact.size);
            if cancel.is_cancelled() {
                return Err(DrillError::Stopped("restoring"));
            }
            if let Some((clock, seconds)) = self.clock {
                clock.sleep(Duration::from_secs(seconds));
            }
            if entry.fact.kind == FileKind::File {
                self.read += entry.fact.size + 40;
                if self.trouble == Trouble::FirstFileDamaged && done.failed == 0 {
                    done.failed = 1;
                    done.problems.push(Problem {
                        path: display::path(&entry.fact.path),
                        problem: "its blob is damaged".to_owned(),
                    });
                    continue;
                }
                done.files += 1;
                done.bytes += entry.fact.size;
            }
            write(request.to, entry);
        }
        // Folders get their times last: writing into them changes these.
        for entry in self.entries.iter().rev().filter(|e| e.fact.kind == FileKind::Directory) {
            let path = request.to.join(text(&entry.fact.path));
            if path.is_dir() {
                set_time(&path, &entry.fact);
            }
        }
        Ok(done)
    }

    fn reads(&self) -> Reads {
        Reads { bytes_from_target: self.read, used_local_cache: false }
    }
}

fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).expect("the fake's paths are text")
}

fn write(root: &Path, entry: &FakeEntry) {
    let path = root.join(text(&entry.fact.path));
    std::fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
    match entry.fact.kind {
        FileKind::Directory => std::fs::create_dir_all(&path).expect("made"),
        FileKind::Symlink => symlink(text(&entry.fact.link_target), &path).expect("linked"),
        _ => std::fs::write(&path, &entry.bytes).expect("written"),
    }
    if entry.fact.kind != FileKind::Symlink {
        std::fs::set_permissions(&path, Permissions::from_mode(entry.fact.mode)).expect("mode set");
    }
    set_time(&path, &entry.fact);
}

pub(super) fn set_time(path: &Path, fact: &EntryFact) {
    let time = Timespec { tv_sec: fact.mtime.seconds, tv_nsec: fact.mtime.nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("time set");
}

/// Restores what is picked into a fresh folder, lets `spoil` loose on it, and makes one check.
pub(super) fn made(check: impl Check + 'static, picked: &Picked, spoil: impl FnOnce(&Path)) -> CheckOutcome {
    made_on(Fake::new(), check, picked, spoil)
}

/// [`made`] on a snapshot of the test's own.
pub(super) fn made_on(
    mut fake: Fake<'_>,
    check: impl Check + 'static,
    picked: &Picked,
    spoil: impl FnOnce(&Path),
) -> CheckOutcome {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (clock, cancel) = (SystemClock::new(), Cancel::new());
    let watch = Watch::start(&clock, &Silent, &cancel, Duration::from_secs(60));
    let request = RestoreRequest { to: dir.path(), picked };
    drop(fake.restore(&request, &Silent, &cancel).expect("restored"));
    spoil(dir.path());
    let spec = spec("it", check);
    let snapshot = snapshot();
    let mut scene = Scene::open(dir.path(), picked, &snapshot, &mut fake, &watch).expect("opened");
    make(&spec, &mut scene)
}

pub(super) fn spec(id: &str, check: impl Check + 'static) -> CheckSpec {
    CheckSpec { id: id.to_owned(), required: true, on_fail: OnFail::Fail, check: Box::new(check) }
}

/// Asserts the result and that the observation says why.
#[track_caller]
pub(super) fn says(outcome: &CheckOutcome, result: CheckResult, words: &str) {
    assert_eq!(outcome.result, result, "{outcome:?}");
    assert!(outcome.observed.contains(words), "{outcome:?} does not say {words:?}");
    assert!(!outcome.expected.is_empty());
}

/// The time of a file, for tests that touch one.
pub(super) fn touch(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).expect("opened");
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(seconds))).expect("set");
}

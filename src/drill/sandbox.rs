//! The private folder that a drill restores into: `<state>/sandbox/<drill id>`, mode 0700.
//!
//! While a drill runs it holds the lock `<id>.lock`; a folder without a held lock was left by a
//! crash, or was kept on purpose, which `<id>.keep` says together with the time until when.
//! [`sweep`] removes what is due. Nothing outside the folder is written or removed.

use std::ffi::{CString, OsString};
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::DrillError;
use super::remove::remove_tree;
use crate::base::clock::Timestamp;
use crate::base::durable::{self, Lock};
use crate::base::error::Chain;
use crate::policy::model::Leftover;

/// Free space beyond the bytes to restore: metadata, and room for everybody else.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// Longest drill id.
const ID_BYTES_MAX: usize = 64;

/// What became of the restored files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Nothing is left.
    Deleted,
    /// They are kept until then.
    KeptUntil(Timestamp),
    /// They could not be removed.
    Failed(String),
}

/// A sandbox in use.
#[derive(Debug)]
pub struct Sandbox {
    base: PathBuf,
    id: String,
    root: PathBuf,
    lock: Lock,
}

impl Sandbox {
    /// Makes an empty private folder for a drill.
    ///
    /// # Errors
    /// Refused, when this drill has a folder already; else what the file system says.
    pub fn create(state_dir: &Path, id: &str) -> Result<Self, DrillError> {
        check_id(id)?;
        let base = state_dir.join("sandbox");
        durable::create_dir_all(&base).map_err(DrillError::sandbox("create", &base))?;
        let lock_path = beside(&base, id, "lock");
        let lock = durable::try_lock(&lock_path)
            .map_err(DrillError::sandbox("lock", &lock_path))?
            .ok_or_else(|| DrillError::SandboxExists(id.to_owned()))?;
        let root = base.join(id);
        match DirBuilder::new().mode(0o700).create(&root) {
            Ok(()) => Ok(Self { base, id: id.to_owned(), root, lock }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(DrillError::SandboxExists(id.to_owned()))
            }
            Err(error) => Err(DrillError::sandbox("create", &root)(error)),
        }
    }

    /// The folder to restore into.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Asks the file system whether so many bytes, a twentieth and a reserve fit.
    ///
    /// # Errors
    /// [`DrillError::NoRoom`].
    pub fn require_free(&self, bytes: u64) -> Result<(), DrillError> {
        let stat = rustix::fs::statvfs(&self.root).map_err(DrillError::sandbox("look at", &self.root))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed_bytes = bytes.saturating_add(bytes / 20).saturating_add(RESERVE_BYTES);
        if free_bytes < needed_bytes {
            return Err(DrillError::NoRoom { path: self.root.clone(), needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// Ends the use of the folder: removes it, or notes until when it stays.
    pub fn clean_up(self, keep: Leftover, now: Timestamp) -> Cleanup {
        let done = match keep {
            Leftover::Delete => remove(&self.base, &self.id).map(|()| Cleanup::Deleted),
            Leftover::Keep(time) => {
                let until = now.plus(time);
                let path = beside(&self.base, &self.id, "keep");
                durable::replace(&path, until.rfc3339().as_bytes())
                    .map_err(DrillError::sandbox("write", &path))
                    .map(|()| Cleanup::KeptUntil(until))
            }
        };
        drop(self.lock);
        done.unwrap_or_else(|error| Cleanup::Failed(Chain(&error).to_string()))
    }
}

/// Removes the folders of drills that crashed and those whose time is over; leaves running ones
/// alone. For the start of the daemon and of each drill. Says what became of each.
///
/// # Errors
/// When the folder of all sandboxes cannot be read.
pub fn sweep(state_dir: &Path, now: Timestamp) -> Result<Vec<(String, Cleanup)>, DrillError> {
    let base = state_dir.join("sandbox");
    let entries = match std::fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DrillError::sandbox("list", &base)(error)),
    };
    let mut swept = Vec::new();
    for entry in entries {
        let name = entry.map_err(DrillError::sandbox("list", &base))?.file_name();
        let Some(id) = name.to_str().filter(|id| check_id(id).is_ok()) else { continue };
        if !base.join(id).is_dir() {
            continue;
        }
        let outcome = sweep_one(&base, id, now);
        swept.extend(outcome.transpose().map(|outcome| {
            (id.to_owned(), outcome.unwrap_or_else(|error| Cleanup::Failed(Chain(&error).to_string())))
        }));
    }
    swept.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(swept)
}

/// `None` for a drill that is running.
fn sweep_one(base: &Path, id: &str, now: Timestamp) -> Result<Option<Cleanup>, DrillError> {
    let lock_path = beside(base, id, "lock");
    let lock = durable::try_lock(&lock_path).map_err(DrillError::sandbox("lock", &lock_path))?;
    let Some(_held) = lock else { return Ok(None) };
    let keep = std::fs::read_to_string(beside(base, id, "keep")).ok();
    if let Some(until) = keep.and_then(|text| Timestamp::parse_rfc3339(&text)).filter(|until| *until > now) {
        return Ok(Some(Cleanup::KeptUntil(until)));
    }
    remove(base, id)?;
    Ok(Some(Cleanup::Deleted))
}

/// Removes folder, marker and lock file. The caller holds the lock.
fn remove(base: &Path, id: &str) -> Result<(), DrillError> {
    let parent: OwnedFd =
        rustix::fs::open(base, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(DrillError::sandbox("open", base))?;
    let name = CString::new(id).map_err(|_| DrillError::BadId(id.to_owned()))?;
    remove_tree(&parent, name).map_err(DrillError::sandbox("remove", &base.join(id)))?;
    for suffix in ["keep", "lock"] {
        let path = beside(base, id, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DrillError::sandbox("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn beside(base: &Path, id: &str, suffix: &str) -> PathBuf {
    let mut name = OsString::from(id);
    name.push(".");
    name.push(std::ffi::OsStr::from_bytes(suffix.as_bytes()));
    base.join(name)
}

/// Letters, digits and `-`: no id is a path, or the lock of another one.
fn check_id(id: &str) -> Result<(), DrillError> {
    let is_good = !id.is_empty()
        && id.len() <= ID_BYTES_MAX
        && !id.starts_with('-')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_good { Ok(()) } else { Err(DrillError::BadId(id.chars().take(ID_BYTES_MAX).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(1_795_485_182_123)
    }

    #[test]
    fn the_folder_is_private_and_gone_afterwards() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let sandbox = Sandbox::create(state.path(), "D-2026-000001").expect("made");
        let mode = sandbox.root().metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        std::fs::write(sandbox.root().join("f"), "x").expect("written");
        assert!(matches!(Sandbox::create(state.path(), "D-2026-000001"), Err(DrillError::SandboxExists(_))));
        assert_eq!(sandbox.clean_up(Leftover::Delete, now()), Cleanup::Deleted);
        assert_eq!(std::fs::read_dir(state.path().join("sandbox")).expect("readable").count(), 0);
    }

    #[test]
    fn a_running_drill_is_left_alone_and_a_crashed_one_is_cleaned() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let running = Sandbox::create(state.path(), "D-1").expect("made");
        let crashed = Sandbox::create(state.path(), "D-2").expect("made");
        std::fs::write(crashed.root().join("f"), "x").expect("written");
        let root = crashed.root().to_owned();
        drop(crashed);
        assert_eq!(sweep(state.path(), now()).expect("swept"), [("D-2".to_owned(), Cleanup::Deleted)]);
        assert!(!root.exists() && running.root().exists());
    }

    #[test]
    fn kept_folders_stay_until_their_time_is_over() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let sandbox = Sandbox::create(state.path(), "D-1").expect("made");
        let root = sandbox.root().to_owned();
        let until = now().plus(Duration::from_secs(3600));
        assert_eq!(
            sandbox.clean_up(Leftover::Keep(Duration::from_secs(3600)), now()),
            Cleanup::KeptUntil(until)
        );
        let kept = sweep(state.path(), now()).expect("swept");
        assert_eq!(kept, [("D-1".to_owned(), Cleanup::KeptUntil(until))]);
        assert!(root.exists());
        assert_eq!(sweep(state.path(), until).expect("swept"), [("D-1".to_owned(), Cleanup::Deleted)]);
        assert!(!root.exists());
    }

    #[test]
    fn ids_that_could_leave_the_folder_are_refused() {
        let state = tempfile::tempdir().expect("a temporary folder");
        for bad in ["", "..", "a/b", "/etc", "-rf", "D-1.lock", "a b", &"x".repeat(65)] {
            assert!(matches!(Sandbox::create(state.path(), bad), Err(DrillError::BadId(_))), "{bad}");
        }
    }

    #[test]
    fn a_drill_larger_than_the_medium_is_refused_before_it_starts() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let sandbox = Sandbox::create(state.path(), "D-1").expect("made");
        sandbox.require_free(0).expect("the machine has a little room");
        assert!(matches!(sandbox.require_free(u64::MAX / 2), Err(DrillError::NoRoom { .. })));
    }
}

//! Read-only snapshots of btrfs subvolumes.
//!
//! A view lies in the top folder of its subvolume, under a name that says whose it is. As long as
//! its process lives, the view is locked; the kernel gives the lock back however the process ends.
//! So a view that nobody has locked is what a killed run left behind, and the next run of the same
//! host takes it away. Nothing is ever taken away but a read-only subvolume of such a name.
//!
//! A snapshot ends where another subvolume or file system begins: there it has an empty folder.
//! Walks are told, and say so ([`crate::source::files::Walk::frozen`]).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RawDir, flock};
use rustix::io::Errno;

use super::tool;
use crate::base::clock::Clock;
use crate::base::entropy;
use crate::codec::hash;

/// What `statfs` says of btrfs.
const MAGIC: u64 = 0x9123_683E;
/// The inode number of the top folder of every subvolume.
const TOP_INO: u64 = 256;
/// How every view's name begins.
const PREFIX: &str = ".lifeboat-view-";
/// Another run that makes a view in the same subvolume is waited for.
const WAIT_MAX: Duration = Duration::from_secs(150);
const WAIT_TURN: Duration = Duration::from_millis(100);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A snapshot of one subvolume, there as long as this lives.
#[derive(Debug)]
pub struct View {
    tool: PathBuf,
    clock: Held,
    top: OwnedFd,
    name: String,
    /// Open and locked.
    folder: OwnedFd,
    devices: Devices,
    is_there: AtomicBool,
}

/// One subvolume under two device numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Devices {
    /// Of the view: another one each time.
    pub(crate) view: u64,
    /// Of the subvolume itself.
    pub(crate) live: u64,
}

struct Held(Arc<dyn Clock>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clock")
    }
}

/// A place in a subvolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The top folder of the subvolume.
    pub top: PathBuf,
    /// The way from there; empty for the top itself.
    pub below: PathBuf,
}

/// Whether this user can make views at all: root's rights and the program `btrfs`.
///
/// # Errors
/// What is missing.
pub fn check() -> Result<(), &'static str> {
    if !rustix::process::geteuid().is_root() {
        return Err("snapshots need root's rights");
    }
    if tool::find("btrfs").is_none() {
        return Err("the program `btrfs` is not installed (Debian: btrfs-progs)");
    }
    Ok(())
}

/// Where a path lies, when that is on btrfs. The path must have no links in it.
///
/// # Errors
/// When it can't be looked at.
pub fn place(real: &Path) -> io::Result<Option<Place>> {
    if rustix::fs::statfs(real).map(|facts| u64::try_from(facts.f_type).ok())? != Some(MAGIC) {
        return Ok(None);
    }
    for folder in real.ancestors() {
        let facts = rustix::fs::stat(folder)?;
        let is_folder = rustix::fs::FileType::from_raw_mode(facts.st_mode) == rustix::fs::FileType::Directory;
        if is_folder && facts.st_ino == TOP_INO {
            let below = real.strip_prefix(folder).map_err(io::Error::other)?.to_owned();
            return Ok(Some(Place { top: folder.to_owned(), below }));
        }
    }
    Err(io::Error::other("no subvolume holds it"))
}

/// Whether this is the name of a view: what a walk of anything else passes over.
pub fn is_view_name(name: &[u8]) -> bool {
    let is_hex = |digits: &[u8], len| digits.len() == len && digits.iter().all(u8::is_ascii_hexdigit);
    name.strip_prefix(PREFIX.as_bytes()).is_some_and(|rest| {
        rest.len() == 25 && is_hex(&rest[..8], 8) && rest[8] == b'-' && is_hex(&rest[9..], 16)
    })
}

impl View {
    /// Takes away what a killed run of this host left in the subvolume, and makes a view of it.
    ///
    /// # Errors
    /// When the program fails, or another run holds the subvolume for too long.
    pub fn make(top: &Path, host: &str, clock: &Arc<dyn Clock>) -> io::Result<Self> {
        let tool =
            tool::find("btrfs").ok_or_else(|| io::Error::other("the program `btrfs` is not installed"))?;
        let live = rustix::fs::openat(CWD, top, FOLDER, Mode::empty())?;
        let facts = rustix::fs::fstat(&live)?;
        if facts.st_ino != TOP_INO {
            return Err(io::Error::other("it is no subvolume any more"));
        }
        // A second descriptor for the lock, so that it can be given back while the first lives on.
        let guard = rustix::fs::openat(&live, ".", FOLDER, Mode::empty())?;
        lock_within(&guard, clock)?;
        let mine = format!("{PREFIX}{}-", hex::encode(&hash::plain(&[host.as_bytes()])[..4]));
        for name in left_behind(&live, &mine)? {
            remove_stale(&tool, &live, &name, clock)?;
        }
        let name = format!("{mine}{}", hex::encode(entropy::random::<8>()));
        // By our own descriptor, so that nobody can exchange the path under the program.
        let (from, to) = (by_descriptor(&live), by_descriptor(&live).join(&name));
        let words = ["subvolume", "snapshot", "-r", "--"].map(OsStr::new);
        tool::run(&tool, &[&words[..], &[from.as_os_str(), to.as_os_str()]].concat(), clock)?;
        let folder = match open_locked(&live, &name) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Err(io::Error::other("somebody else has locked the new snapshot")),
            Err(error) => {
                delete(&tool, &live, &name, clock).ok();
                return Err(error);
            }
        };
        let devices = Devices { view: rustix::fs::fstat(&folder)?.st_dev, live: facts.st_dev };
        Ok(Self {
            tool,
            clock: Held(Arc::clone(clock)),
            top: live,
            name,
            folder,
            devices,
            is_there: AtomicBool::new(true),
        })
    }

    /// The top folder of the view.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        use rustix::fd::AsFd;
        self.folder.as_fd()
    }

    pub(crate) fn devices(&self) -> Devices {
        self.devices
    }

    /// Takes the view away. What still reads from it reads on.
    ///
    /// # Errors
    /// What the program says; then the next run tries again.
    pub fn remove(&self) -> io::Result<()> {
        if self.is_there.swap(false, Ordering::Relaxed) {
            delete(&self.tool, &self.top, &self.name, &self.clock.0)
        } else {
            Ok(())
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.remove().ok();
    }
}

/// Waits for the lock of the subvolume. Held while views are looked for, made and locked, so that
/// no new one is ever seen without its lock.
fn lock_within(folder: &OwnedFd, clock: &Arc<dyn Clock>) -> io::Result<()> {
    let deadline = clock.monotonic().saturating_add(WAIT_MAX);
    loop {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::AGAIN | Errno::INTR) if clock.monotonic() < deadline => clock.sleep(WAIT_TURN),
            Err(Errno::AGAIN) => return Err(io::Error::other("another program keeps its top folder locked")),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Names of this host's views in the subvolume.
fn left_behind(top: &OwnedFd, mine: &str) -> io::Result<Vec<String>> {
    let list = rustix::fs::openat(top, ".", FOLDER, Mode::empty())?;
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut names = Vec::new();
    let mut entries = RawDir::new(&list, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if is_view_name(name) && name.starts_with(mine.as_bytes()) {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(names)
}

/// Takes a view away that nobody has locked; leaves alone what is no read-only subvolume.
fn remove_stale(tool: &Path, top: &OwnedFd, name: &str, clock: &Arc<dyn Clock>) -> io::Result<()> {
    let folder = match open_locked(top, name) {
        Ok(Some(folder)) => folder,
        // In use, or not a subvolume at all.
        Ok(None) | Err(_) => return Ok(()),
    };
    let at = by_descriptor(&folder);
    let words = ["property", "get", "-ts"].map(OsStr::new);
    let said = tool::run(tool, &[&words[..], &[at.as_os_str(), OsStr::new("ro")]].concat(), clock)?;
    if said.trim() == "ro=true" { delete(tool, top, name, clock) } else { Ok(()) }
}

/// The top folder of a subvolume by this name, locked; none when somebody else has the lock.
fn open_locked(top: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    let folder = rustix::fs::openat(top, name, FOLDER, Mode::empty())?;
    if rustix::fs::fstat(&folder)?.st_ino != TOP_INO {
        return Err(io::Error::other("it is no subvolume"));
    }
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn delete(tool: &Path, top: &OwnedFd, name: &str, clock: &Arc<dyn Clock>) -> io::Result<()> {
    let at = by_descriptor(top).join(name);
    let words = ["subvolume", "delete", "--"].map(OsStr::new);
    tool::run(tool, &[&words[..], &[at.as_os_str()]].concat(), clock).map(drop)
}

/// A path by which another program reaches what this process has open.
fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    let path = format!("/proc/{}/fd/{}", rustix::process::getpid().as_raw_nonzero(), fd.as_raw_fd());
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_form_are_views() {
        assert!(is_view_name(b".lifeboat-view-0123abcd-0123456789abcdef"));
        for other in [
            &b".lifeboat-view-"[..],
            b".lifeboat-view-0123abcd-0123456789abcde",
            b".lifeboat-view-0123abcd-0123456789abcdef0",
            b".lifeboat-view-0123abcd_0123456789abcdef",
            b".lifeboat-view-0123abcx-0123456789abcdef",
            b"lifeboat-view-0123abcd-0123456789abcdef",
        ] {
            assert!(!is_view_name(other));
        }
    }
}

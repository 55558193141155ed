//! Mounts, serves until told to stop, and unmounts.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::mount::UnmountFlags;

use super::answer::Desk;
use super::door::Door;
use super::view::{Shape, View};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::Snapshot;

/// Requests that are answered at once. Most wait for the place; each may hold a few blobs.
const THREADS: usize = 4;
/// Requests that wait for a thread; the kernel holds back the others.
const ASKS_WAITING: usize = 64;
const AHEAD_WAITING: usize = 4;
/// How soon a signal is seen.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is mounted where.
pub struct MountRequest {
    /// An empty folder.
    pub dir: PathBuf,
    /// What it shows.
    pub shape: Shape,
    /// Whether other users may enter, with the rights that files had.
    pub allow_other: bool,
}

/// Mounts snapshots (oldest first) and serves them until somebody asks to stop or unmounts it.
///
/// # Errors
/// `MountPoint` when the folder is no empty folder, `NotMounted` when the kernel or `fusermount3`
/// refuses; whatever the repository says to the first look.
pub fn mount(
    blobs: &BlobReader<'_>,
    snapshots: &[Snapshot],
    request: &MountRequest,
    cx: &Context,
) -> Result<(), EngineError> {
    check_folder(&request.dir)?;
    let (view, left_out) = View::new(blobs, snapshots, request.shape)?;
    for what in left_out {
        cx.progress.warn(format!("{what} has no place in the mount beside the other roots"));
    }
    let (asks, asked) = bounded(ASKS_WAITING);
    let (ahead, soon) = bounded(AHEAD_WAITING);
    let (going, stop) = bounded::<()>(0);
    let desk = Desk::new(&view, cx, ahead);
    thread::scope(|scope| {
        // Dropped on every way out, which ends the threads.
        let going = going;
        for _ in 0..THREADS {
            let (asked, soon, stop, desk) = (asked.clone(), soon.clone(), stop.clone(), &desk);
            scope.spawn(move || desk.serve(&asked, &soon, &stop));
        }
        drop(asked);
        let refused = |source| EngineError::NotMounted { dir: request.dir.clone(), source };
        let session = Session::new(Door { asks }, &request.dir, &config(request))
            .and_then(Session::spawn)
            .map_err(refused)?;
        cx.progress.note(format!("mounted at {}; Ctrl-C or `umount` ends it", request.dir.display()));
        while !cx.cancel.is_cancelled() && !session.guard.is_finished() {
            cx.clock.sleep(LOOK_EVERY);
        }
        let ended = end(session, &request.dir, cx);
        drop(going);
        ended.map_err(refused)
    })?;
    cx.progress.note(format!("{} is unmounted", request.dir.display()));
    Ok(())
}

/// Unmounts. What is in use is detached: it is gone for everybody who comes now, and ends with
/// this process for the others.
fn end(session: BackgroundSession, dir: &Path, cx: &Context) -> io::Result<()> {
    if session.guard.is_finished() {
        return session.join();
    }
    match session.umount_and_join() {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            cx.progress
                .warn(format!("{} is in use; it is taken away from under whoever uses it", dir.display()));
            Ok(rustix::mount::unmount(dir, UnmountFlags::DETACH)?)
        }
        ended => ended,
    }
}

fn config(request: &MountRequest) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::DefaultPermissions,
        MountOption::FSName("lifeboat".to_owned()),
        MountOption::Subtype("lifeboat".to_owned()),
    ];
    config.acl = if request.allow_other { SessionACL::All } else { SessionACL::Owner };
    config
}

/// A mount hides what is below it, so that nothing may be there.
fn check_folder(dir: &Path) -> Result<(), EngineError> {
    let wrong = |what| EngineError::MountPoint { dir: dir.to_owned(), what };
    let mut entries = std::fs::read_dir(dir).map_err(|error| {
        wrong(match error.kind() {
            io::ErrorKind::NotFound => "does not exist",
            io::ErrorKind::NotADirectory => "is no folder",
            io::ErrorKind::NotConnected => "is a mount whose process ended",
            _ => "cannot be opened",
        })
    })?;
    if entries.next().is_some() { Err(wrong("is not empty")) } else { Ok(()) }
}

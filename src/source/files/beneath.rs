//! Opening a path that must not leave its root, whatever is planted on the way.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The kernel takes paths below 4096 bytes; longer ones are opened in steps.
const STEP_BYTES_MAX: usize = 4000;

/// Opens `path`, plain names joined by `/`, below `root`; the root again for an empty path. No
/// symbolic link is followed, not even the last name; `..` is no way out.
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut reached: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > STEP_BYTES_MAX {
        let cut = rest[..STEP_BYTES_MAX].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let from = reached.as_ref().map_or(root, AsFd::as_fd);
        let next = step(from, &rest[..cut], OFlags::PATH | OFlags::DIRECTORY)?;
        reached = Some(next);
        rest = &rest[cut + 1..];
    }
    let last = if rest.is_empty() { b".".as_slice() } else { rest };
    step(reached.as_ref().map_or(root, AsFd::as_fd), last, flags)
}

fn step(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // EAGAIN: something was renamed on the way and the kernel could not be sure.
    for _ in 0..16 {
        match rustix::fs::openat2(from, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A kernel before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS) => return name_by_name(from, path, flags),
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

fn name_by_name(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = path.split(|b| *b == b'/').peekable();
    let mut reached: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        let flags = if names.peek().is_some() { through } else { flags };
        let dir = reached.as_ref().map_or(from, AsFd::as_fd);
        reached = Some(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    }
    reached.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn neither_links_nor_dots_lead_out() {
        let outside = tempfile::tempdir().expect("a folder");
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("a/b")).expect("made");
        symlink(outside.path(), root.path().join("a/out")).expect("made");
        let fd = std::fs::File::open(root.path()).expect("opened");
        for open_path in [step, name_by_name] {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            assert!(open_path(fd.as_fd(), b"a/b", flags).is_ok());
            assert!(open_path(fd.as_fd(), b"a/out/x", flags).is_err());
            assert!(open_path(fd.as_fd(), b"a/../..", flags).is_err());
            assert!(open_path(fd.as_fd(), b"a/out", flags | OFlags::DIRECTORY).is_err());
        }
    }
}

//! Paths of the manifest, opened below the restore root only.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest stretch of a path that is given to the system at once; PATH_MAX is 4096 with the zero.
const STRETCH_BYTES_MAX: usize = 3 * 1024;

/// Opens what a path names below a folder: never through a symbolic link, never outside.
///
/// # Errors
/// `INVAL` for a path that is empty, absolute or has `.` or `..`; else what the system says.
pub(super) fn open_beneath(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if path.is_empty() || path.split(|b| *b == b'/').any(|c| matches!(c, b"" | b"." | b"..")) {
        return Err(Errno::INVAL);
    }
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut rest = path;
    let mut folder: Option<OwnedFd> = None;
    while rest.len() > STRETCH_BYTES_MAX {
        let cut = rest[..STRETCH_BYTES_MAX].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder = Some(rustix::fs::openat2(at, &rest[..cut], steps, Mode::empty(), inside)?);
        rest = &rest[cut + 1..];
    }
    let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    // With O_PATH the link itself is opened, in spite of NO_SYMLINKS (openat2(2)).
    rustix::fs::openat2(at, rest, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_root_is_opened() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a")).expect("folders");
        std::fs::write(dir.path().join("secret"), "x").expect("written");
        std::fs::write(root.join("a/f"), "x").expect("written");
        std::os::unix::fs::symlink(dir.path(), root.join("out")).expect("linked");
        let fd = rustix::fs::open(&root, OFlags::DIRECTORY, Mode::empty()).expect("opened");
        for bad in [&b"../secret"[..], b"out/secret", b"/etc/passwd", b"", b"a//f", b"a/./f"] {
            assert!(open_beneath(&fd, bad, OFlags::RDONLY).is_err(), "{}", crate::base::display::path(bad));
        }
        assert!(open_beneath(&fd, b"a/f", OFlags::RDONLY).is_ok());
        assert!(open_beneath(&fd, b"out", OFlags::PATH).is_ok(), "a link itself can be looked at");
    }

    #[test]
    fn paths_longer_than_the_system_takes_are_opened() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let fd = rustix::fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).expect("opened");
        let name = "n".repeat(200);
        let mut folder = fd.try_clone().expect("cloned");
        for _ in 0..40 {
            rustix::fs::mkdirat(&folder, name.as_str(), Mode::RWXU).expect("made");
            folder =
                rustix::fs::openat(&folder, name.as_str(), OFlags::DIRECTORY, Mode::empty()).expect("opened");
        }
        let path = vec![name.as_bytes(); 40].join(&b'/');
        assert!(path.len() > 4096);
        assert!(open_beneath(&fd, &path, OFlags::PATH).is_ok());
    }
}

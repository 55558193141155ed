//! Removes a tree by directory descriptors: nothing outside of it is touched, whatever links and
//! modes stand in it, and at any depth with two open descriptors.
//!
//! `std::fs::remove_dir_all` keeps a descriptor for each level and stops at folders without
//! rights; a restored tree may be 4,096 levels deep and have folders of mode 0.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

struct Level {
    /// Name in the folder above.
    name: CString,
    /// Device and inode of the folder above, to see that `..` still leads there.
    above: (u64, u64),
    /// Folders in it that are still to be removed.
    folders: Vec<CString>,
}

/// Removes the folder `name` of `parent` with everything in it. One that isn't there is no error.
pub(super) fn remove_tree(parent: &OwnedFd, name: CString) -> Result<(), Errno> {
    let mut here = match open_folder(parent, &name) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        // A link or a file in place of the folder: it goes, what it points to stays.
        Err(Errno::NOTDIR | Errno::LOOP) => return rustix::fs::unlinkat(parent, &name, AtFlags::empty()),
        Err(errno) => return Err(errno),
    };
    let mut levels = vec![Level { name, above: identity(parent)?, folders: unlink_files(&here)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(folder) = level.folders.pop() {
            let below = open_folder(&here, &folder)?;
            levels.push(Level { name: folder, above: identity(&here)?, folders: unlink_files(&below)? });
            here = below;
            continue;
        }
        let above = if levels.len() == 1 {
            parent.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?
        } else {
            rustix::fs::openat(&here, c"..", folder_flags(), Mode::empty())?
        };
        let done = levels.pop().expect("the loop runs while there is a level");
        if identity(&above)? != done.above {
            // Somebody moves folders about while they are being removed.
            return Err(Errno::STALE);
        }
        rustix::fs::unlinkat(&above, &done.name, AtFlags::REMOVEDIR)?;
        here = above;
    }
    Ok(())
}

/// Removes everything but folders, and names those.
fn unlink_files(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            folders.push(name.to_owned());
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        }
    }
    Ok(folders)
}

/// Opens a folder with the right to empty it, giving that right first where it is missing.
fn open_folder(at: &OwnedFd, name: &CString) -> Result<OwnedFd, Errno> {
    let handle = rustix::fs::openat(at, name, folder_flags() | OFlags::PATH, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // chmod doesn't take an O_PATH descriptor; its name in /proc leads to the very inode.
        let path = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
        rustix::fs::chmod(path, Mode::RWXU)?;
    }
    rustix::fs::openat(at, name, folder_flags(), Mode::empty())
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn identity(folder: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, folder_flags(), Mode::empty()).expect("opened")
    }

    #[test]
    fn links_are_removed_and_what_they_point_to_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b")).expect("folders");
        std::fs::create_dir(&outside).expect("folder");
        std::fs::write(outside.join("keep"), "x").expect("written");
        symlink(&outside, tree.join("a/link")).expect("linked");
        symlink("..", tree.join("a/b/up")).expect("linked");
        remove_tree(&open(dir.path()), c"tree".to_owned()).expect("removed");
        assert!(!tree.exists());
        assert!(outside.join("keep").exists());

        symlink(&outside, &tree).expect("linked");
        remove_tree(&open(dir.path()), c"tree".to_owned()).expect("removed");
        assert!(tree.symlink_metadata().is_err());
        assert!(outside.join("keep").exists(), "a link in place of the tree is not followed");
        remove_tree(&open(dir.path()), c"tree".to_owned()).expect("absent is no error");
    }

    #[test]
    fn folders_without_rights_and_very_deep_ones_go_too() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(dir.path().join("tree/shut/in")).expect("folders");
        std::fs::write(dir.path().join("tree/shut/in/f"), "x").expect("written");
        let mut deep = open(&dir.path().join("tree"));
        for _ in 0..1200 {
            rustix::fs::mkdirat(&deep, c"d", Mode::RWXU).expect("made");
            deep = rustix::fs::openat(&deep, c"d", folder_flags(), Mode::empty()).expect("opened");
        }
        let shut = dir.path().join("tree/shut");
        std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o000)).expect("shut");
        remove_tree(&open(dir.path()), c"tree".to_owned()).expect("removed");
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}

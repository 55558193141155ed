//! Extended attributes: ACLs and capabilities among them.

use rustix::fd::{AsFd, RawFd};
use rustix::io::Errno;

use crate::base::metadata::Xattr;

/// Linux gives at most this many bytes of names and of one value.
const BYTES_MAX: usize = 64 * 1024;
/// Most files have none or one: this much is tried first.
const BYTES_FIRST: usize = 256;

/// Those of an open file or folder.
pub(super) fn of_fd(fd: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let fd = fd.as_fd();
    read(|into| rustix::fs::flistxattr(fd, into), |name, into| rustix::fs::fgetxattr(fd, name, into))
}

/// Those of a name in an open folder; a link's own, not its target's.
pub(super) fn of_name(folder: RawFd, name: &[u8]) -> Result<Vec<Xattr>, Errno> {
    let path = path_of(folder, name);
    read(
        |into| rustix::fs::llistxattr(&path[..], into),
        |name, into| rustix::fs::lgetxattr(&path[..], name, into),
    )
}

/// A path that leads through a descriptor, for the calls that take no descriptor of a folder.
pub(super) fn path_of(folder: RawFd, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{folder}/").as_bytes(), name].concat()
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    let names = match grown(&list) {
        Ok(names) => names,
        // File systems without attributes, and links where they cannot have any.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match grown(|into| get(name, into)) {
            Ok(value) => found.push(Xattr { name: name.to_vec(), value }),
            // Removed since it was listed, or not ours to read (trusted.* without rights).
            Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Calls with a small buffer first, then with the largest that there can be.
fn grown(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0u8; BYTES_FIRST];
    let len = match call(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(BYTES_MAX, 0);
            call(&mut buffer)?
        }
        other => other?,
    };
    buffer.truncate(len);
    Ok(buffer)
}

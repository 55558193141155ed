//! What is mounted where, from `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Device number of its file system.
    pub dev: u64,
    /// What is mounted: a device, or any word.
    pub source: PathBuf,
    /// Whether it can be written to.
    pub is_writable: bool,
}

/// All mounts that this process sees.
///
/// # Errors
/// When the list can't be read.
pub fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Mount points below a folder, relative to it, as bytes.
pub fn below(mounts: &[Mount], folder: &Path) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let relative = mounts.iter().filter_map(|mount| mount.point.strip_prefix(folder).ok());
    relative
        .filter(|path| !path.as_os_str().is_empty())
        .map(|path| path.as_os_str().as_bytes().to_vec())
        .collect()
}

/// The mount that holds a path, as far as its text shows: links are not followed, nothing is touched.
pub fn of<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    // Of several at one place the last hides the others.
    above.max_by_key(|mount| mount.point.components().count())
}

/// Lines of another form are passed over: the kernel may add some.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /in /point rw,noatime master:1 - ext4 /dev/sda1 rw`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let (before, after) = words.split_at(words.iter().position(|word| *word == b"-")?);
    let number = |text: &str| text.parse::<u32>().ok();
    let (major, minor) = std::str::from_utf8(before.get(2)?).ok()?.split_once(':')?;
    let is_writable = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"rw");
    Some(Mount {
        point: plain(before.get(4)?),
        dev: rustix::fs::makedev(number(major)?, number(minor)?),
        source: plain(after.get(2)?),
        is_writable: is_writable(before.get(5)?) && is_writable(after.get(3)?),
    })
}

/// Blanks, tabs, line feeds and backslashes are written as a backslash and three octal digits.
fn plain(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_mounts_is_understood() {
        let text = b"36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            43 27 0:39 / /mnt/a\\040b/c\\134d ro,relatime - btrfs /dev/loop0 rw,subvol=/\nnonsense\n\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/mnt/a b"));
        assert_eq!((mounts[0].dev, mounts[0].is_writable), (rustix::fs::makedev(98, 0), true));
        assert_eq!((mounts[1].source.as_path(), mounts[1].is_writable), (Path::new("/dev/loop0"), false));
        assert_eq!(below(&mounts, Path::new("/mnt/a b")), [b"c\\d".to_vec()]);
        assert!(below(&mounts, Path::new("/mnt/a")).is_empty());
        assert_eq!(of(&mounts, Path::new("/mnt/a b/c/x")).map(|mount| mount.dev), Some(mounts[0].dev));
        assert_eq!(of(&mounts, Path::new("/elsewhere")), None);
        assert!(all().expect("read").iter().any(|mount| mount.point == Path::new("/")));
    }
}

//! A tree with every odd thing that a Linux file system can hold, and a comparison of two trees
//! bit by bit and by metadata. Works without the library under test: by `rustix` and `std` alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Permissions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, IFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};

/// What the builder may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Also devices, other owners, trusted attributes, capabilities, immutable files.
    Root,
    /// What every user can make.
    User,
}

impl Rights {
    /// Those of this process.
    pub(crate) fn ours() -> Self {
        if rustix::process::geteuid().is_root() { Self::Root } else { Self::User }
    }
}

/// A folder of its own that is removed in the end, immutable files and 6,000-byte paths included.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one below the system's folder for temporary files.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder").keep())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        unlock(&self.0);
        std::process::Command::new("rm").arg("-rf").arg("--").arg(&self.0).status().expect("rm runs");
    }
}

/// Takes immutable and append-only away from everything below.
pub(crate) fn unlock(dir: &Path) {
    visit(dir, &mut |entry| {
        if entry.flags & 0x30 != 0 {
            let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let fd = rustix::fs::openat(entry.dir, entry.real_name(), open, Mode::empty()).expect("opened");
            rustix::fs::ioctl_setflags(&fd, IFlags::from_bits_retain(entry.flags & !0x30)).expect("unlocked");
        }
    });
}

/// Makes the tree in a folder, which is made when it isn't there.
pub(crate) fn make(dir: &Path, rights: Rights) {
    std::fs::create_dir_all(dir).expect("made");
    names(dir);
    sizes(dir);
    modes(dir);
    times(dir);
    links(dir);
    deep(dir);
    sparse(dir);
    attributes(dir);
    rustix::fs::mkfifoat(CWD, dir.join("fifo"), Mode::from_raw_mode(0o620)).expect("made");
    drop(std::os::unix::net::UnixListener::bind(dir.join("socket")));
    std::fs::create_dir_all(dir.join("empty/emptier")).expect("made");
    if rights == Rights::Root {
        privileged(dir);
    }
    stamp(&dir.join("empty"), -1, 999_999_999);
    stamp(dir, 1_000_000_000, 1);
}

fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
}

fn names(dir: &Path) {
    let dir = dir.join("names");
    std::fs::create_dir(&dir).expect("made");
    let long = [b'n'; 255];
    let names: [&[u8]; 16] = [
        b"\xff\xfe not UTF-8",
        b"new\nline",
        b"\x1b[31mred\x1b[0m",
        b"\x1b]8;;mailto:nobody\x07link",
        "gpj.\u{202e}exe".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        b"Case",
        b"case",
        b" leading and trailing ",
        b"=1+1",
        b"<b>&amp;",
        b"-rf",
        b"...",
        b"back\\slash",
        &long,
    ];
    for (index, name) in names.iter().enumerate() {
        write(dir.join(OsStr::from_bytes(name)), format!("file {index}").as_bytes());
    }
    std::fs::create_dir(dir.join(OsStr::from_bytes(b"dir\xff\n"))).expect("made");
    write(dir.join(OsStr::from_bytes(b"dir\xff\n/in it")), b"x");
    // Sorts between a folder and what is in it when paths are compared as plain bytes.
    for name in ["d", "d!", "d0"] {
        std::fs::create_dir(dir.join(name)).expect("made");
        write(dir.join(name).join("f"), name.as_bytes());
    }
}

fn sizes(dir: &Path) {
    let dir = dir.join("sizes");
    std::fs::create_dir(&dir).expect("made");
    for size in [0usize, 1, 4095, 4096, 4097, 131_072, 131_073, 3_000_000] {
        let bytes: Vec<u8> =
            (0..size).map(|i| u8::try_from((i * 31 + i / 251) % 256).expect("a byte")).collect();
        write(dir.join(format!("{size}")), &bytes);
    }
    write(dir.join("zeros"), &vec![0; 200_000]);
}

fn modes(dir: &Path) {
    let dir = dir.join("modes");
    std::fs::create_dir(&dir).expect("made");
    for mode in [0o000, 0o001, 0o200, 0o400, 0o444, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o7777] {
        let path = dir.join(format!("{mode:04o}"));
        write(&path, b"mode");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    }
    for mode in [0o500, 0o700, 0o1777, 0o2755] {
        let path = dir.join(format!("dir{mode:04o}"));
        std::fs::create_dir(&path).expect("made");
        write(path.join("f"), b"in it");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    }
}

/// Sets the time of the last change, also of a link itself.
pub(crate) fn stamp(path: &Path, seconds: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("set");
}

fn times(dir: &Path) {
    let dir = dir.join("times");
    std::fs::create_dir(&dir).expect("made");
    let last = 15_032_385_535;
    for seconds in [-(1i64 << 31), -1, 0, 1, (1 << 31) - 1, 1 << 31, 1 << 32, 8_589_934_592, last] {
        for nanos in [0, 1, 999_999_999] {
            let path = dir.join(format!("{seconds}.{nanos}"));
            write(&path, b"then");
            stamp(&path, seconds, nanos);
        }
    }
    stamp(&dir, 4_294_967_296, 5);
}

fn links(dir: &Path) {
    let dir = dir.join("links");
    std::fs::create_dir_all(dir.join("below")).expect("made");
    let long = "l".repeat(4095);
    let targets: [(&str, &[u8]); 6] = [
        ("dangling", b"no such thing"),
        ("absolute", b"/etc/hostname"),
        ("up", b"../.."),
        ("itself", b"itself"),
        ("odd", b"\xff\n\x1b[0m"),
        ("long", long.as_bytes()),
    ];
    for (name, target) in targets {
        symlink(OsStr::from_bytes(target), dir.join(name)).expect("made");
    }
    stamp(&dir.join("dangling"), -5, 7);
    write(dir.join("file"), b"one inode");
    rustix::fs::mkfifoat(CWD, dir.join("pipe"), Mode::from_raw_mode(0o600)).expect("made");
    for name in ["file", "pipe", "dangling"] {
        for copy in ["a", "z"] {
            hard_link(&dir.join(name), &dir.join(format!("{copy}-{name}")));
            hard_link(&dir.join(name), &dir.join("below").join(format!("{copy}-{name}")));
        }
    }
}

fn hard_link(from: &Path, to: &Path) {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()).expect("linked");
}

/// 800 folders deep, and a path of more than 6,000 bytes: beyond what one call takes.
fn deep(dir: &Path) {
    for (top, name, depth) in [("deep", "d".to_owned(), 800), ("long", "x".repeat(240), 26)] {
        std::fs::create_dir(dir.join(top)).expect("made");
        let mut fd = open_dir(CWD, dir.join(top).as_os_str().as_bytes());
        for _ in 0..depth {
            rustix::fs::mkdirat(&fd, name.as_str(), Mode::from_raw_mode(0o755)).expect("made");
            fd = open_dir(&fd, name.as_bytes());
        }
        let create = OFlags::WRONLY | OFlags::CREATE;
        let file = rustix::fs::openat(&fd, "at the end", create, Mode::from_raw_mode(0o644)).expect("made");
        File::from(file).write_all_at(b"here", 0).expect("written");
    }
}

fn sparse(dir: &Path) {
    let dir = dir.join("sparse");
    std::fs::create_dir(&dir).expect("made");
    let file = |name: &str, size: u64, data: &[(u64, usize)]| {
        let file = File::create(dir.join(name)).expect("made");
        file.set_len(size).expect("set");
        for (offset, len) in data {
            file.write_all_at(&vec![b'd'; *len], *offset).expect("written");
        }
    };
    file("all hole", 10 << 20, &[]);
    file("terabyte", 1 << 40, &[(0, 4096), (1 << 39, 100_000), ((1 << 40) - 3, 3)]);
    file("hole first", 1 << 20, &[(1 << 19, 1 << 19)]);
    file("hole last", 1 << 20, &[(0, 1 << 19)]);
    file("checkered", 1 << 20, &(0..16).map(|i| (i << 16, 5000)).collect::<Vec<_>>());
}

/// Sets an attribute without following a link.
pub(crate) fn set_xattr(path: &Path, name: &[u8], value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|errno| panic!("{} on {}: {errno}", name.escape_ascii(), path.display()));
}

/// An access list that lets one more user in, as the kernel stores it (linux/posix_acl_xattr.h).
pub(crate) fn acl(uid: u32) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, perm, id) in [(1u16, 6u16, none), (2, 4, uid), (4, 4, none), (0x10, 6, none), (0x20, 0, none)] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn attributes(dir: &Path) {
    let dir = dir.join("attributes");
    std::fs::create_dir(&dir).expect("made");
    for name in ["file", "read only", "with acl"] {
        write(dir.join(name), b"has attributes");
    }
    set_xattr(&dir.join("file"), b"user.empty", b"");
    set_xattr(&dir.join("file"), b"user.binary", b"\0\xff\n\0");
    set_xattr(&dir.join("file"), b"user.\xff\x1b", b"name is not text");
    set_xattr(&dir.join("file"), b"user.long", &[7; 2000]);
    set_xattr(&dir.join("read only"), b"user.comment", b"set before the mode");
    std::fs::set_permissions(dir.join("read only"), Permissions::from_mode(0o400)).expect("set");
    set_xattr(&dir.join("with acl"), b"system.posix_acl_access", &acl(12345));
    std::fs::create_dir(dir.join("gives acl")).expect("made");
    write(dir.join("gives acl/before"), b"has none");
    set_xattr(&dir.join("gives acl"), b"system.posix_acl_default", &acl(54321));
    write(dir.join("gives acl/after"), b"inherits it");
    set_xattr(&dir.join("gives acl"), b"user.on a folder", b"yes");
}

fn privileged(dir: &Path) {
    let dir = dir.join("root's");
    std::fs::create_dir(&dir).expect("made");
    let device = |name: &str, kind, major, minor| {
        let mode = Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(CWD, dir.join(name), kind, mode, rustix::fs::makedev(major, minor))
            .expect("made");
    };
    device("null", FileType::CharacterDevice, 1, 3);
    device("big", FileType::CharacterDevice, 4095, 1_048_575);
    device("disk", FileType::BlockDevice, 7, 200);
    hard_link(&dir.join("null"), &dir.join("null again"));
    let own = |name: &str, uid, gid| {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(CWD, dir.join(name), uid, gid, AtFlags::SYMLINK_NOFOLLOW).expect("set");
    };
    for (name, uid, gid) in
        [("nobody", 65534, 65534), ("last", u32::MAX - 1, u32::MAX - 1), ("mixed", 0, 1000)]
    {
        write(dir.join(name), b"owned");
        own(name, uid, gid);
    }
    std::fs::set_permissions(dir.join("nobody"), Permissions::from_mode(0o6755)).expect("set");
    symlink("target", dir.join("link")).expect("made");
    own("link", 1, 2);
    set_xattr(&dir.join("link"), b"trusted.on a link", b"yes");
    own("null", 3, 4);
    set_xattr(&dir.join("null"), b"trusted.on a device", b"");
    std::fs::create_dir(dir.join("folder")).expect("made");
    own("folder", 5, 6);
    write(dir.join("ping"), b"capable");
    own("ping", 7, 8);
    let net_raw = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    set_xattr(&dir.join("ping"), b"security.capability", net_raw);
    set_xattr(&dir.join("ping"), b"trusted.x", b"y");
    for (name, flags) in [("immutable", 0x10), ("append-only", 0x20), ("no dump", 0x40)] {
        write(dir.join(name), b"flagged");
        if name == "immutable" {
            hard_link(&dir.join(name), &dir.join("immutable too"));
        }
        set_flags(&dir.join(name), flags);
    }
    std::fs::create_dir(dir.join("fixed")).expect("made");
    write(dir.join("fixed/in it"), b"x");
    set_flags(&dir.join("fixed"), 0x10);
}

fn set_flags(path: &Path, flags: u32) {
    let file = File::open(path).expect("opened");
    let now = rustix::fs::ioctl_getflags(&file).expect("read").bits();
    rustix::fs::ioctl_setflags(&file, IFlags::from_bits_retain(now | flags)).expect("set");
}

/// One way in which two trees are not the same.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Below the roots.
    pub(crate) path: Vec<u8>,
    /// What.
    pub(crate) what: String,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.path[..self.path.len().min(200)];
        write!(f, "{}: {}", start.escape_ascii(), self.what)
    }
}

/// Everything that `b`, restored from `a`, has not as `a` has it: bytes, holes, names, types,
/// modes, owners, times to the nanosecond, links, attributes, inode flags. Sockets are not
/// restored and may be missing. Times of access, of inodes and of birth cannot be restored.
pub(crate) fn compare(a: &Path, b: &Path) -> Vec<Difference> {
    let (a, mut b) = (describe(a), describe(b));
    let mut differences = Vec::new();
    for (path, facts) in a {
        let difference = |what: String| Difference { path: path.clone(), what };
        match b.remove(&path) {
            None if facts["type"] == "Socket" => {}
            None => differences.push(difference("is missing".to_owned())),
            Some(other) => {
                for (key, value) in &facts {
                    let Some(other) = other.get(key) else {
                        differences.push(difference(format!("has no {key}")));
                        continue;
                    };
                    if *key == "allocated" {
                        let (value, other) = (number(value), number(other));
                        if other > value / 4 * 5 + (1 << 20) {
                            differences.push(difference(format!("takes {other} bytes, not {value}")));
                        }
                    } else if other != value {
                        differences.push(difference(format!("{key} is {other}, not {value}")));
                    }
                }
            }
        }
    }
    differences.extend(b.into_keys().map(|path| Difference { path, what: "should not be there".to_owned() }));
    differences
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

type Facts = BTreeMap<&'static str, String>;

/// Everything to be known of a tree, as text.
fn describe(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut all = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    visit(root, &mut |entry| {
        let s = &entry.stat;
        let kind = FileType::from_raw_mode(s.st_mode);
        let mut facts = Facts::new();
        facts.insert("type", format!("{kind:?}"));
        facts.insert("mode", format!("{:04o}", s.st_mode & 0o7777));
        facts.insert("owner", format!("{}:{}", s.st_uid, s.st_gid));
        facts.insert("mtime", format!("{}.{:09}", s.st_mtime, s.st_mtime_nsec));
        facts.insert("flags", format!("{:x}", entry.flags & 0x70));
        facts.insert("attributes", attributes_of(entry));
        if kind == FileType::RegularFile {
            facts.insert("size", s.st_size.to_string());
            facts.insert("content", content_of(entry));
            facts.insert("allocated", (s.st_blocks * 512).to_string());
        } else if kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(entry.dir, entry.real_name(), Vec::new()).expect("read");
            facts.insert("target", target.to_bytes().escape_ascii().to_string());
        } else if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            facts.insert("device", s.st_rdev.to_string());
        }
        if kind != FileType::Directory {
            inodes.entry((s.st_dev, s.st_ino)).or_default().push(entry.path.clone());
        }
        all.insert(entry.path.clone(), facts);
    });
    for mut paths in inodes.into_values() {
        paths.sort();
        let first = paths[0].escape_ascii().to_string();
        for path in paths {
            all.get_mut(&path).expect("inserted before").insert("first name", first.clone());
        }
    }
    all
}

fn attributes_of(entry: &Entry<'_>) -> String {
    let name = if entry.name.is_empty() { b"." } else { entry.name };
    let path = [format!("/proc/self/fd/{}/", entry.dir.as_fd().as_raw_fd()).as_bytes(), name].concat();
    let mut buffer = vec![0u8; 65536];
    let len = rustix::fs::llistxattr(&path[..], &mut buffer[..]).unwrap_or(0);
    let mut found: Vec<String> = Vec::new();
    for name in buffer[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 65536];
        let len = rustix::fs::lgetxattr(&path[..], name, &mut value[..]).expect("read");
        found.push(format!("{}={}", name.escape_ascii(), value[..len].escape_ascii()));
    }
    found.sort();
    found.join(" ")
}

/// A hash over all blocks that are not zeros, with their places: holes are zeros.
fn content_of(entry: &Entry<'_>) -> String {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(entry.dir, entry.real_name(), flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(errno) => return format!("unreadable: {errno}"),
    };
    let size = u64::try_from(entry.stat.st_size).expect("a size");
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0u8; 1 << 16];
    let mut from = 0;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(from)) {
        let end = rustix::fs::seek(&file, SeekFrom::Hole(data)).expect("asked");
        let mut at = data & !0xffff;
        while at < end.min(size) {
            let len = file.read_at(&mut block, at).expect("read");
            if block[..len].iter().any(|b| *b != 0) {
                hasher.update(&at.to_le_bytes()).update(&block[..len]);
            }
            at += 1 << 16;
        }
        from = at.max(end);
    }
    hasher.finalize().to_hex().to_string()
}

/// An entry on the way through a tree; the root has no name.
struct Entry<'a> {
    dir: &'a OwnedFd,
    name: &'a [u8],
    path: Vec<u8>,
    stat: rustix::fs::Stat,
    flags: u32,
}

impl Entry<'_> {
    fn real_name(&self) -> &[u8] {
        if self.name.is_empty() { b"." } else { self.name }
    }
}

/// Shows every entry. Folders are opened in steps from the root: depth and length know no bound.
fn visit(root: &Path, look: &mut dyn FnMut(&Entry<'_>)) {
    let root = open_dir(CWD, root.as_os_str().as_bytes());
    show(&root, b"", Vec::new(), look);
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let fd = open_below(&root, &path);
        for entry in Dir::read_from(&fd).expect("listed") {
            let entry = entry.expect("listed");
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let below = if path.is_empty() { name.to_vec() } else { [&path[..], b"/", name].concat() };
            if show(&fd, name, below.clone(), look) {
                waiting.push(below);
            }
        }
    }
}

/// Whether it is a folder.
fn show(dir: &OwnedFd, name: &[u8], path: Vec<u8>, look: &mut dyn FnMut(&Entry<'_>)) -> bool {
    let real = if name.is_empty() { b"." } else { name };
    let stat = rustix::fs::statat(dir, real, AtFlags::SYMLINK_NOFOLLOW).expect("looked at");
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut flags = 0;
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        if let Ok(fd) = rustix::fs::openat(dir, real, open, Mode::empty()) {
            flags = rustix::fs::ioctl_getflags(fd).map_or(0, |f| f.bits());
        }
    }
    look(&Entry { dir, name, path, stat, flags });
    kind == FileType::Directory
}

fn open_dir(dir: impl AsFd, name: &[u8]) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).expect("opened")
}

fn open_below(root: &OwnedFd, path: &[u8]) -> OwnedFd {
    let mut fd = open_dir(root, b".");
    let mut rest = path;
    while !rest.is_empty() {
        let cut = if rest.len() < 4000 {
            rest.len()
        } else {
            rest[..4000].iter().rposition(|b| *b == b'/').expect("a slash")
        };
        fd = open_dir(&fd, &rest[..cut]);
        rest = rest.get(cut + 1..).unwrap_or_default();
    }
    fd
}

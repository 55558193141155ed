//! What the odd tree has one of, in every variant that a Linux file system has: hard links of each
//! type, modes, flags, attributes, holes. And a restore onto a tree in which something of another
//! type stands everywhere. `docs/fidelity.md` says which row of faults each test holds.

use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Gid, IFlags, Mode, Uid};

use crate::lab::{Lab, needs_root, noise, run, same, set_mode, settle};
use crate::odd_tree::{self, acl, set_xattr};

fn mknod(path: &Path, kind: FileType) {
    let device = if kind == FileType::Fifo { 0 } else { rustix::fs::makedev(7, 250) };
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).expect("made");
}

fn link(from: &Path, to: &Path) {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()).expect("linked");
}

fn chown(path: &Path, uid: u32, gid: u32) {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).expect("given");
}

/// 111 names of 27 inodes of every type that can have several, in folders before and behind each
/// other; of some, one more name lies outside of the source.
fn linked(source: &Path, outside: &Path) -> usize {
    std::fs::create_dir_all(source.join("b/deep")).expect("made");
    std::fs::create_dir_all(source.join("z")).expect("made");
    std::fs::create_dir(outside).expect("made");
    let mut names = 0;
    for kind in ["empty", "small", "chunked", "sparse", "symlink", "fifo", "char", "block", "locked"] {
        for round in 0..3 {
            let name = format!("{kind}-{round}");
            let first = source.join("b").join(&name);
            match kind {
                "empty" => std::fs::write(&first, b"").expect("written"),
                "symlink" => symlink(format!("to {round}"), &first).expect("made"),
                "fifo" => mknod(&first, FileType::Fifo),
                "char" => mknod(&first, FileType::CharacterDevice),
                "block" => mknod(&first, FileType::BlockDevice),
                "sparse" => {
                    let file = std::fs::File::create(&first).expect("made");
                    file.set_len(1 << 30).expect("set");
                    file.write_all_at(&noise(round, 5000), 1 << 29).expect("written");
                }
                _ => {
                    let len = if kind == "chunked" { 1_500_000 } else { 3000 };
                    std::fs::write(&first, noise(names as u64, len)).expect("written");
                }
            }
            for (at, folder) in ["a", "z", "b/deep", "b"].iter().take(3).enumerate() {
                let folder = if *folder == "a" { source.to_owned() } else { source.join(folder) };
                link(&first, &folder.join(format!("{at}-{name}")));
                names += 1;
            }
            names += 1;
            if round == 0 {
                link(&first, &outside.join(&name));
            } else if round == 1 && kind.len() <= 4 {
                link(&first, &source.join("b").join(format!("again-{name}")));
                names += 1;
            }
            odd_tree::stamp(&first, 1_000_000_000 + i64::try_from(round).expect("small"), 7);
            if kind == "locked" {
                set_flags(&first, if round == 1 { 0x20 } else { 0x10 });
            }
        }
    }
    names
}

fn set_flags(path: &Path, flags: u32) {
    let file = std::fs::File::open(path).expect("opened");
    let now = rustix::fs::ioctl_getflags(&file).expect("read").bits();
    rustix::fs::ioctl_setflags(&file, IFlags::from_bits_retain(now | flags)).expect("set");
}

fn flags_of(path: &Path) -> u32 {
    rustix::fs::ioctl_getflags(std::fs::File::open(path).expect("opened")).expect("read").bits()
}

#[test]
fn hard_links_of_every_type_come_back_as_they_were_also_when_half_of_them_lie_outside() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    let names = linked(&source, &lab.path("outside"));
    assert_eq!(names, 110, "one more is a name of the root's own file");
    link(&source.join("0-small-1"), &source.join("the last"));
    lab.init(&["one"]);
    let outcome = lab.backup_source(&["one"]);
    // Each inode is read once, whatever the number of its names.
    assert_eq!(outcome["stats"]["files_read"], 15, "{outcome:#}");
    lab.restores_whole("one", "latest", &source);
    // A name that comes back alone has the content all the same.
    let to = lab.path("alone");
    let said = lab.repo(
        "restore",
        &["one"],
        &["latest", "--path", "z/1-chunked-2", "--to", to.to_str().expect("plain")],
    );
    said.exits(0);
    let (back, was) = (to.join("z/1-chunked-2"), source.join("z/1-chunked-2"));
    assert_eq!(std::fs::read(&back).expect("there"), std::fs::read(was).expect("there"));
    assert_eq!(std::fs::metadata(back).expect("there").nlink(), 1);
}

#[test]
fn every_mode_comes_back_with_its_owner() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    for mode in 0..=0o7777u32 {
        let path = source.join(format!("{mode:04o}"));
        if mode % 5 == 0 {
            std::fs::create_dir(&path).expect("made");
        } else {
            std::fs::write(&path, b"").expect("written");
        }
        // A change of owner takes set-uid away: the order is what is tried here.
        chown(&path, u32::MAX - 1 - mode, 1 + mode);
        set_mode(&path, mode);
    }
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn flags_of_files_and_folders_come_back_also_those_that_forbid_all_else() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    // S a i d A and, of folders, D T: what ext4 lets a person set.
    let bits = [0x8, 0x10, 0x20, 0x40, 0x80, 0x10 | 0x40 | 0x80, 0x1_0000, 0x2_0000];
    for bit in bits {
        if bit < 0x1_0000 {
            let file = source.join(format!("file-{bit:x}"));
            std::fs::write(&file, b"flagged").expect("written");
            set_xattr(&file, b"user.before", b"the flag");
            set_flags(&file, bit);
        }
        let dir = source.join(format!("dir-{bit:x}"));
        std::fs::create_dir(&dir).expect("made");
        std::fs::write(dir.join("in it"), b"x").expect("written");
        set_flags(&dir, bit);
    }
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let to = lab.path("back");
    lab.restore("one", "latest", "back").exits(0);
    same(&source, &to);
    let kept = 0x8 | 0x70 | 0x80 | 0x1_0000 | 0x2_0000;
    for bit in bits {
        let names = [format!("file-{bit:x}"), format!("dir-{bit:x}")];
        for name in names.iter().filter(|name| source.join(name).exists()) {
            let (was, is) = (flags_of(&source.join(name)) & kept, flags_of(&to.join(name)) & kept);
            assert_eq!(format!("{is:x}"), format!("{was:x}"), "{name}");
        }
    }
}

/// 75 attributes: three values on each of five types of entry, of every name space that the type
/// may have.
fn attributed(source: &Path) -> usize {
    let long = noise(3, 300);
    let values: [&[u8]; 3] = [b"", b"\0\xff=\n\x1b[0m\0", &long];
    let mut set = 0;
    for kind in ["file", "dir", "symlink", "fifo", "char"] {
        for (number, value) in values.iter().enumerate() {
            let path = source.join(format!("{kind}-{number}"));
            match kind {
                "file" => std::fs::write(&path, b"x").expect("written"),
                "dir" => std::fs::create_dir(&path).expect("made"),
                "symlink" => symlink("nowhere", &path).expect("made"),
                "fifo" => mknod(&path, FileType::Fifo),
                _ => mknod(&path, FileType::CharacterDevice),
            }
            let is_plain = kind == "file" || kind == "dir";
            let mut names: Vec<&[u8]> = vec![
                b"trusted.plain",
                b"trusted.\xff\xfe\x01",
                b"trusted.lifeboat.with.dots",
                b"security.own",
            ];
            if is_plain {
                names.extend([b"user.plain".as_slice(), b"user.\xc3\x28 \n"]);
            }
            if kind == "file" && number > 0 {
                names.push(b"user.many");
            }
            for name in &names {
                set_xattr(&path, name, value);
            }
            set += names.len();
            if kind != "symlink" && number == 0 {
                set_xattr(&path, b"system.posix_acl_access", &acl(4_000_000_000));
                set += 1;
            }
            if kind == "dir" && number == 1 {
                set_xattr(&path, b"system.posix_acl_default", &acl(4_000_000_001));
                set += 1;
            }
        }
    }
    set
}

#[test]
fn attributes_of_every_name_space_and_type_come_back_with_their_bytes() {
    needs_root();
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    assert!(attributed(&source) >= 75);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    lab.restores_whole("one", "latest", &source);
    // An attribute that changes alone moves the ctime and is found.
    settle();
    lab.backup_source(&["one"]);
    set_xattr(&source.join("symlink-0"), b"trusted.plain", b"another");
    set_xattr(&source.join("file-0"), b"user.plain", b"another");
    lab.backup_source(&["one"]);
    lab.restores_whole("one", "latest", &source);
}

#[test]
fn holes_cost_no_time_and_no_room() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    let file = std::fs::File::create(source.join("eight terabytes")).expect("made");
    file.set_len(8 << 40).expect("set");
    for at in 0..8u64 {
        file.write_all_at(&noise(at, 10_000), (at << 40) + 123_456_789).expect("written");
    }
    lab.init(&["one"]);
    let began = Instant::now();
    lab.backup_source(&["one"]);
    lab.restores_whole("one", "latest", &source);
    // At 10 GB/s reading the holes would take a quarter of an hour.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_file_replaced_by_another_of_the_same_size_and_time_is_found() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir(&source).expect("made");
    let name = |number: u64| source.join(format!("file-{number}"));
    for number in 0..20 {
        std::fs::write(name(number), noise(number, 3000)).expect("written");
        odd_tree::stamp(&name(number), 1_600_000_000, 5);
    }
    // The replacement has the same size and mtime, and was made before the first backup: its ctime
    // alone would not have to be new.
    std::fs::write(lab.path("other"), noise(77, 3000)).expect("written");
    odd_tree::stamp(&lab.path("other"), 1_600_000_000, 5);
    settle();
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    std::fs::rename(lab.path("other"), name(3)).expect("renamed");
    // Two files that change places.
    std::fs::rename(name(5), source.join("aside")).expect("renamed");
    std::fs::rename(name(6), name(5)).expect("renamed");
    std::fs::rename(source.join("aside"), name(6)).expect("renamed");
    let outcome = lab.backup_source(&["one"]);
    assert_eq!(outcome["stats"]["files_read"], 3, "{outcome:#}");
    lab.restores_whole("one", "latest", &source);
}

const KINDS: [&str; 8] =
    ["file", "empty folder", "folder", "symlink", "fifo", "socket", "char", "locked file"];

/// One entry of a type. What a link points to lies outside and must not be touched.
fn entry(path: &Path, kind: &str, outside: &Path) {
    match kind {
        "file" | "locked file" => std::fs::write(path, noise(path.as_os_str().len() as u64, 400)),
        "empty folder" => std::fs::create_dir(path),
        "folder" => std::fs::create_dir_all(path.join("below"))
            .and_then(|()| std::fs::write(path.join("below/f"), b"f")),
        "symlink" => symlink(outside, path),
        "socket" => std::os::unix::net::UnixListener::bind(path).map(drop),
        "fifo" => {
            mknod(path, FileType::Fifo);
            Ok(())
        }
        _ => {
            mknod(path, FileType::CharacterDevice);
            Ok(())
        }
    }
    .expect("made");
    if kind == "locked file" {
        set_flags(path, 0x10);
    }
}

/// A tree with an entry for each pair of types: `first` says which of the pair it has.
fn pairs(dir: &Path, outside: &Path, first: bool) {
    std::fs::create_dir(dir).expect("made");
    for a in KINDS {
        for b in KINDS {
            entry(&dir.join(format!("{a} onto {b}")), if first { a } else { b }, outside);
        }
    }
}

#[test]
fn a_restore_onto_every_pair_of_types_hangs_on_none_and_names_what_it_could_not() {
    needs_root();
    let lab = Lab::new();
    let (source, outside) = (lab.path("source"), lab.path("outside"));
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("canary"), b"untouched").expect("written");
    pairs(&source, &outside, true);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let restore = |to: &Path, more: &[&str]| {
        let restore =
            lab.command("restore", &["one"], &["latest", "--json", "--to", to.to_str().expect("plain")]);
        let mut limited = std::process::Command::new("timeout");
        limited.arg("60").arg(restore.get_program()).args(restore.get_args()).args(more);
        run(limited.env("LIFEBOAT_STATE_DIR", lab.path("state")))
    };
    for (case, more) in
        [("refused", &[][..]), ("over", &["--overwrite"]), ("mirror", &["--overwrite", "--delete"])]
    {
        let to = lab.path(case);
        pairs(&to, &outside, false);
        let said = restore(&to, more);
        if case == "refused" {
            said.exits(14);
            pairs(&lab.path("as it was"), &outside, false);
            continue;
        }
        let is_mirror = case == "mirror";
        let outcome = said.exits(if is_mirror { 0 } else { 3 }).json()["restore"].clone();
        // Only folders with something in them stay, where they are not to be removed.
        let failed = outcome["failed"]["named"].to_string();
        assert_eq!(outcome["failed"]["count"], if is_mirror { 0 } else { 5 }, "{failed}");
        for kind in KINDS.iter().filter(|_| !is_mirror) {
            let stays = !matches!(*kind, "folder" | "empty folder" | "socket");
            assert_eq!(failed.contains(&format!("{kind} onto folder\"")), stays, "{kind}: {failed}");
        }
        let differences = odd_tree::compare(&source, &to);
        let unexpected: Vec<_> = differences
            .iter()
            .filter(|difference| {
                let path = String::from_utf8_lossy(&difference.path).into_owned();
                let is_kept = !is_mirror && (path.contains(" onto folder") || path.is_empty());
                // A socket is made by nobody, so whatever had its name stays.
                !(is_kept || path.starts_with("socket onto"))
            })
            .collect();
        assert!(unexpected.is_empty(), "{case}: {unexpected:#?}");
        assert_eq!(std::fs::read(outside.join("canary")).expect("there"), b"untouched");
        assert_eq!(std::fs::read_dir(&outside).expect("listed").count(), 1);
    }
    // What was refused was not even touched.
    let (refused, before) = (lab.path("refused"), lab.path("as it was"));
    let names = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .expect("listed")
            .map(|e| e.expect("listed"))
            .map(|e| (e.file_name(), e.file_type().expect("known").is_dir()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&refused), names(&before));
}

//! The promises of `source::files`: an odd tree comes back as it was, nothing leaves its root,
//! nothing hangs.

mod support {
    pub(crate) mod odd_tree;
}

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use lifeboat::base::error::{Class, Classified};
use lifeboat::base::metadata::{Extent, FileKind, FileTime, Metadata};
use lifeboat::source::files::{
    Aspect, Destination, Existing, FilesError, Found, Issues, Item, Link, Owner, Owners, RestoreOptions,
    SafePath, Scope, Shape, Unreadable, Walk, WalkOptions, complete, open_regular,
};
use rustix::fs::{CWD, Gid, Mode, Uid};
use support::odd_tree::{self, Folder, Rights};

const NEW: RestoreOptions = RestoreOptions { existing: Existing::Refuse, owner: Owner::Restore };
const OVER: RestoreOptions = RestoreOptions { existing: Existing::Overwrite, owner: Owner::Restore };
const MIRROR: RestoreOptions = RestoreOptions { existing: Existing::Mirror, owner: Owner::Restore };

fn walk(root: &Path, options: WalkOptions) -> (Vec<Found>, Vec<Unreadable>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for item in Walk::open(root, options).expect("the root opens") {
        match item {
            Item::Found(entry) => found.push(entry),
            Item::Unreadable(entry) => unreadable.push(entry),
        }
    }
    (found, unreadable)
}

fn paths(root: &Path, options: WalkOptions) -> Vec<String> {
    walk(root, options).0.iter().map(|f| String::from_utf8_lossy(&f.path()).into_owned()).collect()
}

/// Backup and restore without a repository between: what the engine does, in its simplest form.
fn copy(from: &Path, to: &Path, options: RestoreOptions) -> Result<Issues, FilesError> {
    let (found, unreadable) = walk(from, WalkOptions::default());
    assert!(unreadable.is_empty(), "{unreadable:?}");
    let owners = Owners::load();
    let destination = Destination::open(to, options)?;
    let mut first_names: HashMap<u64, SafePath> = HashMap::new();
    let (mut folders, mut linked) = (Vec::new(), Vec::new());
    for entry in &found {
        let path = SafePath::new(&entry.dir.path())?.join(&entry.name)?;
        let mut opened = (entry.stat.kind == FileKind::File).then(|| open_regular(entry)).transpose()?;
        let completed = complete(entry, opened.as_ref(), &owners)?;
        assert!(completed.issues.is_empty(), "{:?}", completed.issues);
        let metadata = completed.metadata;
        assert!(metadata.xattrs.is_sorted_by(|a, b| a.name < b.name));
        if metadata.hard_link_group != 0 {
            if let Some(first) = first_names.get(&metadata.hard_link_group) {
                destination.create_link(Link { path: &path, first })?;
                continue;
            }
            first_names.insert(metadata.hard_link_group, path.clone());
        }
        match metadata.kind {
            FileKind::Directory => {
                destination.create_directory(&path)?;
                folders.push((path, metadata));
            }
            FileKind::Symlink => destination.create_symlink(&path, &metadata)?,
            FileKind::File => {
                let file = opened.as_mut().expect("opened above");
                copy_file(file, &destination, &path, &metadata)?;
                if metadata.hard_link_group != 0 {
                    linked.push((path, metadata));
                }
            }
            _ => drop(destination.create_node(&path, &metadata)?),
        }
    }
    for (path, metadata) in linked {
        destination.lock_flags(&path, &metadata)?;
    }
    for (path, metadata) in folders.iter().rev() {
        destination.apply_directory(path, metadata)?;
    }
    destination.sync()?;
    Ok(destination.issues())
}

fn copy_file(
    file: &mut lifeboat::source::files::OpenFile,
    destination: &Destination,
    path: &SafePath,
    metadata: &Metadata,
) -> Result<(), FilesError> {
    let extents = file.extents().map(<[Extent]>::to_vec);
    let shape = if extents.is_some() { Shape::Sparse } else { Shape::Dense };
    let mut writer = destination.create_file(path, metadata.size, shape)?;
    for extent in extents.unwrap_or_else(|| vec![Extent { offset: 0, len: metadata.size }]) {
        let mut done = 0;
        while done < extent.len {
            let mut buffer = vec![0; usize::try_from((extent.len - done).min(100_000)).expect("small")];
            let len = file.read(&mut buffer)?;
            writer.write_at(extent.offset + done, &buffer[..len])?;
            done += len as u64;
            assert!(len > 0, "the file ended before its extents");
        }
        writer = destination.resume(writer.park()?)?;
    }
    assert_eq!(file.read(&mut [0; 16])?, 0, "nothing is left behind the extents");
    let content = file.finish()?;
    assert!(!content.changed);
    assert_eq!(content.size, metadata.size);
    writer.finish(metadata)
}

/// Runs a test's body without root's rights. Credentials are a thread's own on Linux.
fn as_user<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    if Rights::ours() == Rights::User {
        return body();
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = nobody();
            rustix::thread::set_thread_groups(&[]).expect("no groups");
            rustix::thread::set_thread_res_gid(gid, gid, gid).expect("another group");
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("another user");
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn nobody() -> (Uid, Gid) {
    (Uid::from_raw(65534), Gid::from_raw(65534))
}

/// A folder that belongs to the user of [`as_user`].
fn users_folder() -> Folder {
    let folder = Folder::new();
    if Rights::ours() == Rights::Root {
        let (uid, gid) = nobody();
        rustix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("given");
    }
    folder
}

#[test]
fn an_odd_tree_comes_back_as_it_was() {
    let folder = Folder::new();
    let (from, to) = (folder.join("from"), folder.join("to"));
    odd_tree::make(&from, Rights::ours());
    let issues = copy(&from, &to, NEW).expect("copied");
    assert_eq!(issues.counts.keys().copied().collect::<Vec<_>>(), [Aspect::Socket], "{issues:?}");
    assert_eq!(odd_tree::compare(&from, &to), []);
}

#[test]
fn an_odd_tree_comes_back_to_a_normal_user() {
    let folder = users_folder();
    let (from, to) = (folder.join("from"), folder.join("to"));
    as_user(|| {
        odd_tree::make(&from, Rights::User);
        for mode in ["0000", "0001", "0200"] {
            std::fs::remove_file(from.join("modes").join(mode)).expect("removed");
        }
        let issues = copy(&from, &to, NEW).expect("copied");
        assert_eq!(issues.counts.keys().copied().collect::<Vec<_>>(), [Aspect::Socket], "{issues:?}");
        assert_eq!(odd_tree::compare(&from, &to), []);
        copy(&from, &to, OVER).expect("copied again, into folders that forbid writing");
        assert_eq!(odd_tree::compare(&from, &to), []);
    });
}

#[test]
fn a_second_restore_over_the_first_gives_the_same_tree() {
    let folder = Folder::new();
    let (from, to) = (folder.join("from"), folder.join("to"));
    odd_tree::make(&from, Rights::ours());
    copy(&from, &to, NEW).expect("copied");
    let refused = copy(&from, &to, NEW).expect_err("files are in the way");
    assert_eq!(refused.class(), Class::Refused, "{refused}");
    copy(&from, &to, OVER).expect("copied again");
    assert_eq!(odd_tree::compare(&from, &to), []);
}

#[test]
fn the_comparison_finds_each_change() {
    let folder = Folder::new();
    let (from, to) = (folder.join("from"), folder.join("to"));
    odd_tree::make(&from, Rights::User);
    copy(&from, &to, NEW).expect("copied");
    odd_tree::stamp(&to.join("sizes/0"), 1, 1);
    std::fs::set_permissions(to.join("sizes/1"), Permissions::from_mode(0o604)).expect("set");
    odd_tree::set_xattr(&to.join("sizes/4095"), b"user.new", b"");
    std::fs::remove_file(to.join("sizes/4096")).expect("removed");
    File::options()
        .write(true)
        .open(to.join("sparse/terabyte"))
        .expect("opened")
        .write_all_at(b"x", 1 << 30)
        .expect("written");
    let found: Vec<_> = odd_tree::compare(&from, &to).into_iter().map(|d| d.path).collect();
    for path in ["sizes", "sizes/0", "sizes/1", "sizes/4095", "sizes/4096", "sparse/terabyte"] {
        assert!(found.iter().any(|f| f == path.as_bytes()), "{path} is not among {found:?}");
    }
}

#[test]
fn the_walk_is_in_manifest_order() {
    let folder = Folder::new();
    odd_tree::make(folder.path(), Rights::User);
    let (found, _) = walk(folder.path(), WalkOptions::default());
    let key = |f: &Found| {
        let path = f.dir.path();
        let dir: Vec<Vec<u8>> =
            path.split(|b| *b == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect();
        (dir, f.name.clone())
    };
    assert!(found[0].path().is_empty() && found[0].stat.kind == FileKind::Directory);
    for pair in found.windows(2) {
        assert!(key(&pair[0]) < key(&pair[1]), "{:?} before {:?}", pair[0].path(), pair[1].path());
    }
}

#[test]
fn a_root_may_be_a_file_or_a_link_to_a_folder() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("real")).expect("made");
    std::fs::write(folder.join("real/f"), b"content").expect("written");
    symlink("real", folder.join("link")).expect("made");
    assert_eq!(paths(&folder.join("link"), WalkOptions::default()), ["", "f"]);
    let (found, _) = walk(&folder.join("real/f"), WalkOptions::default());
    assert_eq!((found.len(), found[0].name.len(), found[0].stat.size), (1, 0, 7));
    let mut file = open_regular(&found[0]).expect("opened");
    let mut bytes = [0; 16];
    assert_eq!(file.read(&mut bytes).expect("read"), 7);
    assert_eq!(complete(&found[0], Some(&file), &Owners::default()).expect("complete").metadata.size, 7);
    assert!(complete(&found[0], None, &Owners::default()).is_ok());
    assert_eq!(found[0].refresh().expect("still there").stat, found[0].stat);
    let missing = Walk::open(&folder.join("missing"), WalkOptions::default()).expect_err("nothing there");
    assert_eq!((missing.class(), missing.code()), (Class::NotFound, "E0401"));
}

#[test]
fn excluded_entries_and_caches_are_left_out_and_counted() {
    let folder = Folder::new();
    for dir in ["cache", "no cache", "target/debug", "src/target"] {
        std::fs::create_dir_all(folder.join(dir)).expect("made");
        std::fs::write(folder.join(dir).join("f.o"), b"x").expect("written");
        std::fs::write(folder.join(dir).join("f"), b"x").expect("written");
    }
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\nmore";
    std::fs::write(folder.join("cache/CACHEDIR.TAG"), tag).expect("written");
    std::fs::write(folder.join("no cache/CACHEDIR.TAG"), b"Signature: none").expect("written");
    std::fs::write(folder.join("CACHEDIR.TAG"), tag).expect("written");
    let excludes = vec!["*.o".to_owned(), "/target".to_owned()];
    let options = WalkOptions { excludes, exclude_caches: true, ..WalkOptions::default() };
    let mut walk = Walk::open(folder.path(), options).expect("opened");
    let mut seen = Vec::new();
    for item in walk.by_ref() {
        let Item::Found(found) = item else { panic!("{item:?}") };
        seen.push(String::from_utf8_lossy(&found.path()).into_owned());
    }
    let expected = [
        "",
        "CACHEDIR.TAG",
        "cache",
        "no cache",
        "src",
        "no cache/CACHEDIR.TAG",
        "no cache/f",
        "src/target",
        "src/target/f",
    ];
    assert_eq!(seen, expected);
    let counts = walk.counts();
    assert_eq!((counts.excluded, counts.caches, counts.mounts, counts.vanished), (3, 1, 0, 0));
}

#[test]
fn other_file_systems_are_recorded_as_empty_folders() {
    let dev = |one_file_system| {
        let options = WalkOptions { one_file_system, ..WalkOptions::default() };
        let mut walk = Walk::open(Path::new("/dev"), options).expect("opened");
        let paths: Vec<Vec<u8>> = walk
            .by_ref()
            .filter_map(|item| if let Item::Found(found) = item { Some(found.path()) } else { None })
            .collect();
        (paths, walk.counts().mounts)
    };
    let (all, one) = (dev(false), dev(true));
    let has = |paths: &[Vec<u8>], path: &[u8]| paths.iter().any(|p| p == path);
    assert!(has(&all.0, b"pts") && has(&all.0, b"pts/ptmx") && all.1 == 0);
    assert!(has(&one.0, b"pts") && !has(&one.0, b"pts/ptmx") && one.1 > 0);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_walked() {
    let folder = users_folder();
    as_user(|| {
        for dir in ["a", "closed", "z"] {
            std::fs::create_dir(folder.join(dir)).expect("made");
            std::fs::write(folder.join(dir).join("f"), b"x").expect("written");
        }
        std::fs::write(folder.join("secret"), b"x").expect("written");
        std::fs::set_permissions(folder.join("secret"), Permissions::from_mode(0o000)).expect("set");
        std::fs::set_permissions(folder.join("closed"), Permissions::from_mode(0o000)).expect("set");
        let (found, unreadable) = walk(folder.path(), WalkOptions::default());
        std::fs::set_permissions(folder.join("closed"), Permissions::from_mode(0o700)).expect("set");
        assert_eq!(found.len(), 7, "{found:?}");
        assert_eq!(unreadable.len(), 1, "{unreadable:?}");
        assert_eq!((&*unreadable[0].name, unreadable[0].scope), (&b"closed"[..], Scope::Contents));
        assert_eq!(unreadable[0].error.class(), Class::Denied);
        let secret = found.iter().find(|f| &*f.name == b"secret").expect("found");
        let error = open_regular(secret).expect_err("no right");
        assert_eq!((error.class(), error.code()), (Class::Denied, "E0403"));
        assert!(error.to_string().contains("secret"));
    });
}

#[test]
fn a_file_that_became_something_else_is_not_opened() {
    let folder = Folder::new();
    let victim = Folder::new();
    std::fs::write(victim.join("canary"), b"outside").expect("written");
    for name in ["link", "fifo", "other", "gone"] {
        std::fs::write(folder.join(name), b"x").expect("written");
    }
    let (found, _) = walk(folder.path(), WalkOptions::default());
    for name in ["link", "fifo", "gone"] {
        std::fs::remove_file(folder.join(name)).expect("removed");
    }
    symlink(victim.join("canary"), folder.join("link")).expect("made");
    rustix::fs::mkfifoat(CWD, folder.join("fifo"), Mode::RUSR | Mode::WUSR).expect("made");
    std::fs::write(folder.join("new"), b"y").expect("written");
    std::fs::hard_link(folder.join("new"), folder.join("other2")).expect("linked");
    rename(&folder.join("other2"), &folder.join("other"));
    let open = |name: &str| {
        let entry = found.iter().find(|f| *f.name == *name.as_bytes()).expect("found");
        (open_regular(entry), entry.refresh())
    };
    for name in ["link", "fifo", "other"] {
        let (opened, refreshed) = open(name);
        assert!(opened.expect_err(name).is_replaced(), "{name}");
        assert!(refreshed.is_ok(), "{name}");
    }
    let (opened, refreshed) = open("gone");
    assert!(opened.expect_err("gone").is_vanished() && refreshed.expect_err("gone").is_vanished());
    assert!(open_regular(&open("other").1.expect("there")).is_ok());
}

fn rename(from: &Path, to: &Path) {
    rustix::fs::renameat(CWD, from, CWD, to).expect("renamed");
}

#[test]
fn a_folder_swapped_for_a_link_is_not_entered() {
    let folder = Folder::new();
    let victim = Folder::new();
    std::fs::write(victim.join("canary"), b"outside").expect("written");
    for name in ["a", "b", "c", "d"] {
        std::fs::create_dir(folder.join(name)).expect("made");
        std::fs::write(folder.join(name).join("f"), b"x").expect("written");
    }
    // Made before the old one goes: it must not get the old one's inode number.
    let another = Folder::new();
    std::fs::create_dir(another.join("dir")).expect("made");
    std::fs::write(another.join("dir/another"), b"x").expect("written");
    let mut walk = Walk::open(folder.path(), WalkOptions::default()).expect("opened");
    let before: Vec<Item> = walk.by_ref().take(5).collect();
    assert_eq!(before.len(), 5, "the root and its folders");
    for name in ["a", "b", "c"] {
        std::fs::remove_dir_all(folder.join(name)).expect("removed");
    }
    symlink(victim.path(), folder.join("a")).expect("made");
    rename(&another.join("dir"), &folder.join("b"));
    let after: Vec<Vec<u8>> = walk
        .by_ref()
        .map(|item| if let Item::Found(found) = item { found.path() } else { panic!("{item:?}") })
        .collect();
    assert_eq!(after, [b"d/f".to_vec()]);
    assert_eq!(walk.counts().vanished, 3);
}

#[test]
fn a_closed_folder_is_opened_again_and_only_if_it_is_the_same() {
    let folder = Folder::new();
    let count = 400;
    for index in 0..count {
        std::fs::create_dir(folder.join(&format!("{index:03}"))).expect("made");
        std::fs::write(folder.join(&format!("{index:03}/f")), b"x").expect("written");
    }
    let (found, _) = walk(folder.path(), WalkOptions::default());
    let files: Vec<&Found> = found.iter().filter(|f| f.stat.kind == FileKind::File).collect();
    assert_eq!(files.len(), count);
    let open = open_below(folder.path());
    assert!((1..=256).contains(&open), "{open} descriptors");
    let victim = Folder::new();
    std::fs::write(victim.join("f"), b"outside").expect("written");
    std::fs::create_dir(victim.join("dir")).expect("made");
    std::fs::write(victim.join("dir/f"), b"outside").expect("written");
    std::fs::remove_dir_all(folder.join("000")).expect("removed");
    symlink(victim.path(), folder.join("000")).expect("made");
    // The file itself is the one that was walked over, but its folder is another.
    std::fs::remove_file(victim.join("dir/f")).expect("removed");
    std::fs::hard_link(folder.join("001/f"), victim.join("dir/f")).expect("linked");
    std::fs::remove_dir_all(folder.join("001")).expect("removed");
    rename(&victim.join("dir"), &folder.join("001"));
    for file in files {
        let is_gone = file.path().starts_with(b"000") || file.path().starts_with(b"001");
        assert_eq!(open_regular(file).is_err(), is_gone, "{:?}", file.path());
    }
}

/// Descriptors of this process that lead below a folder.
fn open_below(folder: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").expect("listed").flatten();
    links.filter_map(|l| std::fs::read_link(l.path()).ok()).filter(|t| t.starts_with(folder)).count()
}

#[test]
fn a_file_that_changes_while_it_is_read_is_flagged() {
    let folder = Folder::new();
    let path = folder.join("f");
    std::fs::write(&path, vec![1; 300_000]).expect("written");
    let (found, _) = walk(folder.path(), WalkOptions::default());
    let mut file = open_regular(&found[1]).expect("opened");
    let mut buffer = vec![0; 100_000];
    assert_eq!(file.read(&mut buffer).expect("read"), 100_000);
    let writer = File::options().append(true).open(&path).expect("opened");
    std::io::Write::write_all(&mut &writer, &[2; 50_000]).expect("written");
    assert_eq!(drain(&mut file), 250_000, "it is read to its end, not to its size before");
    let content = file.finish().expect("looked at");
    assert!(content.changed && content.size == 350_000 && content.extents.is_none());
    file.restart().expect("again");
    assert_eq!(drain(&mut file), 350_000);
    assert!(!file.finish().expect("looked at").changed);
    // As many bytes as before, but others.
    writer.write_all_at(&[3; 10], 0).expect("written");
    odd_tree::stamp(&path, 1, 0);
    assert!(file.finish().expect("looked at").changed);
}

#[test]
fn a_sparse_file_that_is_cut_while_it_is_read_says_what_was_read() {
    let folder = Folder::new();
    let path = folder.join("f");
    let writer = File::create(&path).expect("made");
    writer.set_len(40 << 20).expect("set");
    writer.write_all_at(&[1; 8192], 0).expect("written");
    writer.write_all_at(&[1; 8192], 20 << 20).expect("written");
    let (found, _) = walk(folder.path(), WalkOptions::default());
    let mut file = open_regular(&found[1]).expect("opened");
    let whole = [Extent { offset: 0, len: 8192 }, Extent { offset: 20 << 20, len: 8192 }];
    assert_eq!(file.extents(), Some(&whole[..]));
    writer.set_len((20 << 20) + 100).expect("cut");
    assert_eq!(drain(&mut file), 8292);
    let content = file.finish().expect("looked at");
    assert!(content.changed);
    assert_eq!(content.size, (20 << 20) + 100);
    assert_eq!(content.extents, Some(vec![whole[0], Extent { offset: 20 << 20, len: 100 }]));
}

fn drain(file: &mut lifeboat::source::files::OpenFile) -> usize {
    let mut buffer = vec![0; 70_000];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).expect("read") {
            0 => return total,
            count => total += count,
        }
    }
}

fn plain_metadata(kind: FileKind) -> Metadata {
    Metadata {
        kind,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        owner: Vec::new(),
        group: Vec::new(),
        size: 0,
        mtime: FileTime { seconds: 5, nanos: 6 },
        ctime: FileTime::default(),
        btime: None,
        dev: 1,
        ino: 1,
        rdev: 0,
        hard_link_group: 0,
        link_target: b"target".to_vec(),
        flags: 0,
        xattrs: Vec::new(),
    }
}

/// Tries everything that makes an entry at a path.
fn try_all(destination: &Destination, path: &SafePath) -> Vec<Result<(), FilesError>> {
    let first = SafePath::new(b"first").expect("plain");
    vec![
        destination.create_file(path, 1, Shape::Dense).and_then(|f| {
            f.write_at(0, b"x")?;
            f.finish(&plain_metadata(FileKind::File))
        }),
        destination.create_symlink(path, &plain_metadata(FileKind::Symlink)),
        destination.create_node(path, &plain_metadata(FileKind::Fifo)).map(drop),
        destination.create_link(Link { path, first: &first }),
        destination.create_directory(path).map(drop),
    ]
}

#[test]
fn nothing_is_written_through_a_planted_link() {
    for options in [NEW, OVER, MIRROR] {
        let (folder, victim) = (Folder::new(), Folder::new());
        std::fs::write(folder.join("first"), b"first").expect("written");
        std::fs::create_dir(victim.join("dir")).expect("made");
        std::fs::write(victim.join("file"), b"precious").expect("written");
        symlink(victim.path(), folder.join("out")).expect("made");
        // Leads to a place below the destination, but not to the one that the snapshot means.
        std::fs::create_dir_all(folder.join("inside/dir")).expect("made");
        std::fs::write(folder.join("inside/file"), b"precious").expect("written");
        symlink("inside", folder.join("in")).expect("made");
        let destination = Destination::open(folder.path(), options).expect("opened");
        for below in
            ["out/new", "out/file", "out/dir", "out/dir/new", "in/new", "in/file", "in/dir", "in/dir/new"]
        {
            let path = SafePath::new(below.as_bytes()).expect("plain");
            for tried in try_all(&destination, &path) {
                assert!(tried.is_err(), "{below} {options:?}");
            }
            assert!(destination.read_back(&path).is_err());
            assert!(destination.apply_directory(&path, &plain_metadata(FileKind::Directory)).is_err());
            assert!(destination.remove_others(&path, |_| false).is_err());
        }
        let out = SafePath::new(b"out").expect("plain");
        assert!(destination.apply_directory(&out, &plain_metadata(FileKind::Directory)).is_err());
        assert!(destination.remove_others(&out, |_| false).is_err());
        for dir in [victim.path(), &folder.join("inside")] {
            assert_eq!(std::fs::read(dir.join("file")).expect("there"), b"precious");
            assert_eq!(std::fs::read_dir(dir).expect("listed").count(), 2);
            assert_eq!(std::fs::read_dir(dir.join("dir")).expect("listed").count(), 0);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 4, "nothing is left over");
    }
}

/// One entry of each kind that can be in the way.
fn obstacle(path: &Path, kind: &str) {
    match kind {
        "file" => std::fs::write(path, b"old").expect("written"),
        "fifo" => rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("made"),
        "link" => symlink("/nowhere/at all", path).expect("made"),
        "empty folder" => std::fs::create_dir(path).expect("made"),
        "folder" => {
            std::fs::create_dir_all(path.join("deep/er")).expect("made");
            std::fs::write(path.join("deep/f"), b"old").expect("written");
        }
        other => unreachable!("{other}"),
    }
}

#[test]
fn what_is_in_the_way_is_refused_or_replaced_and_never_opened() {
    for options in [NEW, OVER, MIRROR] {
        for kind in ["file", "fifo", "link", "empty folder", "folder"] {
            for index in 0..5 {
                let folder = Folder::new();
                std::fs::write(folder.join("first"), b"first").expect("written");
                obstacle(&folder.join("x"), kind);
                let before = std::fs::symlink_metadata(folder.join("x")).expect("there").ino();
                let destination = Destination::open(folder.path(), options).expect("opened");
                let result = try_one(&destination, index);
                let after = std::fs::symlink_metadata(folder.join("x")).expect("there").ino();
                let is_folder = kind.ends_with("folder");
                let stays_folder = is_folder && index == 4;
                let allowed = match options.existing {
                    Existing::Refuse => false,
                    Existing::Overwrite => kind != "folder",
                    Existing::Mirror => true,
                };
                let case = format!("{kind} {index} {options:?} {result:?}");
                if stays_folder {
                    assert!(result.is_ok() && before == after, "{case}");
                } else if allowed {
                    assert!(result.is_ok(), "{case}");
                    assert_eq!(
                        std::fs::symlink_metadata(folder.join("x")).expect("there").is_dir(),
                        index == 4,
                        "{case}"
                    );
                } else {
                    assert_eq!(result.expect_err(&case).class(), Class::Refused, "{case}");
                    assert_eq!(before, after, "{case}");
                }
                assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 2, "{case}");
            }
        }
    }
}

fn try_one(destination: &Destination, index: usize) -> Result<(), FilesError> {
    let path = SafePath::new(b"x").expect("plain");
    let first = SafePath::new(b"first").expect("plain");
    match index {
        0 => destination.create_file(&path, 1, Shape::Dense).and_then(|f| {
            f.write_at(0, b"x")?;
            f.finish(&plain_metadata(FileKind::File))
        }),
        1 => destination.create_symlink(&path, &plain_metadata(FileKind::Symlink)),
        2 => destination.create_node(&path, &plain_metadata(FileKind::Fifo)).map(drop),
        3 => destination.create_link(Link { path: &path, first: &first }),
        _ => destination.create_directory(&path).map(drop),
    }
}

#[test]
fn a_link_over_itself_leaves_one_name_and_no_rest() {
    let folder = Folder::new();
    std::fs::write(folder.join("first"), b"first").expect("written");
    std::fs::hard_link(folder.join("first"), folder.join("x")).expect("linked");
    let destination = Destination::open(folder.path(), OVER).expect("opened");
    try_one(&destination, 3).expect("linked");
    assert_eq!(std::fs::metadata(folder.join("x")).expect("there").nlink(), 2);
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 2);
}

#[test]
fn what_is_being_restored_is_private_and_half_a_file_is_taken_away() {
    let folder = Folder::new();
    std::fs::write(folder.join("old"), b"old").expect("written");
    let destination = Destination::open(folder.path(), OVER).expect("opened");
    let path = SafePath::new(b"a/b/new").expect("plain");
    let writer = destination.create_file(&path, 10, Shape::Dense).expect("made");
    writer.write_at(0, b"secret").expect("written");
    for (name, mode) in [("a", 0o700), ("a/b", 0o700), ("a/b/new", 0o600)] {
        assert_eq!(std::fs::metadata(folder.join(name)).expect("there").mode() & 0o7777, mode, "{name}");
    }
    assert!(writer.write_at(8, b"xyz").is_err(), "behind the end");
    assert!(writer.write_at(u64::MAX, b"xyz").is_err(), "behind every end");
    drop(writer);
    assert!(!folder.join("a/b/new").exists());
    let old = SafePath::new(b"old").expect("plain");
    drop(destination.create_file(&old, 10, Shape::Dense).expect("made"));
    assert_eq!(std::fs::read(folder.join("old")).expect("there"), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 2, "no temporary file is left");
}

#[test]
fn another_file_under_an_unfinished_name_never_gets_the_final_one() {
    let folder = Folder::new();
    std::fs::write(folder.join("old"), b"old").expect("written");
    let destination = Destination::open(folder.path(), OVER).expect("opened");
    let path = SafePath::new(b"old").expect("plain");
    let writer = destination.create_file(&path, 3, Shape::Dense).expect("made");
    writer.write_at(0, b"new").expect("written");
    let temp = folder.join(&destination.unfinished_name(&path));
    std::fs::remove_file(&temp).expect("removed");
    std::fs::write(&temp, b"not").expect("written");
    let metadata = plain_metadata(FileKind::File);
    assert!(writer.finish(&metadata).is_err());
    assert_eq!(std::fs::read(folder.join("old")).expect("there"), b"old");
    assert_eq!(std::fs::read(&temp).expect("there"), b"not");
}

#[test]
fn others_are_removed_with_all_below_and_links_are_not_followed() {
    let (folder, victim) = (Folder::new(), Folder::new());
    std::fs::write(victim.join("canary"), b"outside").expect("written");
    odd_tree::make(&folder.join("sub/odd"), Rights::ours());
    symlink(victim.path(), folder.join("sub/out")).expect("made");
    symlink(victim.path(), folder.join("sub/odd/out")).expect("made");
    std::fs::write(folder.join("sub/kept"), b"x").expect("written");
    let destination = Destination::open(folder.path(), MIRROR).expect("opened");
    let sub = SafePath::new(b"sub").expect("plain");
    let removed = destination.remove_others(&sub, |name| name == b"kept").expect("removed");
    assert!(removed > 900, "{removed}");
    assert_eq!(destination.issues().counts.len(), 0, "{:?}", destination.issues());
    assert_eq!(std::fs::read_dir(folder.join("sub")).expect("listed").count(), 1);
    assert!(folder.join("sub/kept").exists() && victim.join("canary").exists());
}

#[test]
fn a_normal_user_hears_once_about_owners_and_lends_no_rights() {
    let folder = users_folder();
    as_user(|| {
        let destination = Destination::open(&folder.join("to"), NEW).expect("opened");
        for name in ["a", "b", "c"] {
            let path = SafePath::new(name.as_bytes()).expect("plain");
            let metadata = Metadata { uid: 4242, gid: 4343, mode: 0o6755, ..plain_metadata(FileKind::File) };
            destination.create_file(&path, 0, Shape::Dense).and_then(|f| f.finish(&metadata)).expect("made");
            assert_eq!(
                std::fs::metadata(folder.join("to").join(name)).expect("there").mode() & 0o7777,
                0o755
            );
        }
        let device = Metadata { rdev: 259, ..plain_metadata(FileKind::CharDevice) };
        destination.create_node(&SafePath::new(b"null").expect("plain"), &device).expect("an issue only");
        let issues = destination.issues();
        assert_eq!(issues.counts[&Aspect::Owner], 3);
        assert_eq!(issues.listed.iter().filter(|i| i.aspect == Aspect::Owner).count(), 1);
        assert_eq!((issues.counts[&Aspect::Mode], issues.counts[&Aspect::Device]), (3, 1));
    });
}

#[test]
fn recorded_nonsense_is_an_issue_and_no_panic() {
    let folder = Folder::new();
    let destination = Destination::open(folder.path(), NEW).expect("opened");
    let nonsense = Metadata {
        mode: u32::MAX,
        uid: u32::MAX,
        gid: u32::MAX,
        mtime: FileTime { seconds: i64::MIN, nanos: u32::MAX },
        flags: !0x30,
        link_target: b"a\0b".to_vec(),
        xattrs: vec![
            lifeboat::base::metadata::Xattr { name: b"no space".to_vec(), value: vec![0; 100_000] },
            lifeboat::base::metadata::Xattr { name: b"user.\0".to_vec(), value: vec![] },
        ],
        rdev: u64::MAX,
        ..plain_metadata(FileKind::File)
    };
    let path = |name: &str| SafePath::new(name.as_bytes()).expect("plain");
    destination.create_file(&path("f"), 0, Shape::Dense).and_then(|f| f.finish(&nonsense)).expect("made");
    assert!(destination.create_symlink(&path("l"), &nonsense).is_err());
    drop(destination.create_node(&path("n"), &Metadata { kind: FileKind::Fifo, ..nonsense.clone() }));
    drop(destination.create_node(&path("d"), &Metadata { kind: FileKind::BlockDevice, ..nonsense.clone() }));
    destination.apply_directory(&SafePath::root(), &nonsense).expect("applied as far as it goes");
    assert!(destination.create_file(&path("huge"), u64::MAX, Shape::Sparse).is_err());
    assert!(!folder.join("huge").exists());
    let counts = destination.issues().counts;
    for aspect in [Aspect::Owner, Aspect::Times, Aspect::Attribute] {
        assert!(counts.contains_key(&aspect), "{counts:?}");
    }
}

#[test]
fn names_come_back_to_bytes_when_read_back() {
    let folder = Folder::new();
    let destination = Destination::open(folder.path(), NEW).expect("opened");
    let path = SafePath::new(b"\xff\n").expect("plain");
    let writer = destination.create_file(&path, 5, Shape::Dense).expect("made");
    writer.write_at(3, b"lo").expect("written");
    writer.write_at(0, b"hel").expect("written");
    writer.finish(&plain_metadata(FileKind::File)).expect("finished");
    destination.sync().expect("durable");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut destination.read_back(&path).expect("there"), &mut bytes).expect("read");
    assert_eq!(bytes, b"hello");
    assert!(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff\n")).exists());
    assert_eq!(destination.stat(&path).expect("looked").expect("there").size, 5);
    assert!(destination.stat(&SafePath::new(b"none").expect("plain")).expect("looked").is_none());
}

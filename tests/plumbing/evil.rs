//! Snapshots by a hostile writer who holds the key: everything is sealed, signed, named and
//! confirmed as it must be, and only what is said is evil. The real binary reads them in 512 MiB.

mod bombs;
mod lies;
mod writer;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat::base::id::ObjectHash;
use lifeboat::base::metadata::FileKind;

use self::writer::{Evil, NAME, entry};
use crate::lab::{Lab, Said, noise, run};
use crate::small_disk::SmallDisk;

/// An evil snapshot.
struct Case {
    what: String,
    id: ObjectHash,
    expected: Expected,
}

/// What reading it must come to, beside no defect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It is not restored, and verification says so.
    Damage,
    /// It is not restored; verification reads no manifest for what is wrong with it.
    NoRestore,
    /// Only no defect.
    Any,
}

impl Case {
    fn refused(what: impl Into<String>, id: ObjectHash) -> Self {
        Self { what: what.into(), id, expected: Expected::Damage }
    }

    fn not_restored(what: impl Into<String>, id: ObjectHash) -> Self {
        Self { expected: Expected::NoRestore, ..Self::refused(what, id) }
    }

    fn told(what: impl Into<String>, id: ObjectHash) -> Self {
        Self { expected: Expected::Any, ..Self::refused(what, id) }
    }
}

/// A lab with a small file system to restore to, and an honest backup of its source.
struct Stand {
    small: SmallDisk,
    lab: Lab,
    evil: Evil,
    honest: String,
}

impl Stand {
    fn new() -> Self {
        let lab = Lab::new();
        lab.init(&["one"]);
        std::fs::create_dir(lab.path("source")).expect("made");
        std::fs::write(lab.path("source/victim"), noise(1, 200_000)).expect("written");
        std::fs::write(lab.path("source/small"), b"a small one").expect("written");
        let honest = lab.backup_source(&["one"])["snapshot"].as_str().expect("an id").to_owned();
        let evil = Evil::of(&lab, "one");
        add_key_file(&lab);
        let small = SmallDisk::mount(lab.path("small"), 24);
        Self { small, lab, evil, honest }
    }

    /// Reads a snapshot in every way; none may have a defect, write elsewhere or, where it lies,
    /// end well. An ordinary run looks in one way beside restoring and writing out, in turn;
    /// `LIFEBOAT_TORTURE_ROUNDS` in all of them.
    fn try_all(&self, case: &Case) {
        let lab = &self.lab;
        let id = case.id.to_string();
        let (id, at) = (OsStr::new(&id), OsStr::new("--snapshot"));
        let to = self.small.path().join("back");
        let _gone = std::fs::remove_dir_all(&to);
        let restore = limited(lab, "restore", &[id, OsStr::new("--to"), to.as_os_str()]);
        no_defect(&restore, &case.what);
        if case.expected != Expected::Any {
            assert_ne!(restore.code, Some(0), "{}: {restore:#?}", case.what);
        }
        let beside = std::fs::read_dir(self.small.path()).expect("listed").flatten().map(|at| at.path());
        let strays: Vec<_> = beside.filter(|at| *at != to).collect();
        assert!(strays.is_empty(), "{}: {strays:?}", case.what);
        let honest = OsStr::new(&self.honest);
        let looks: [(&str, &[&OsStr]); 4] = [
            ("ls", &[id, OsStr::new("--long")]),
            ("find", &[at, id, OsStr::new("*i*")]),
            ("diff", &[honest, id]),
            ("dump", &[id, OsStr::new("victim")]),
        ];
        let is_long = std::env::var_os("LIFEBOAT_TORTURE_ROUNDS").is_some();
        let turn = case.what.len() % 3;
        for (_, (verb, arguments)) in
            looks.into_iter().enumerate().filter(|(at, _)| is_long || *at == 3 || *at == turn)
        {
            no_defect(&limited(lab, verb, arguments), &format!("{verb}, {}", case.what));
        }
    }

    /// What reads everything, with all evil snapshots there: no defect, damage is named, and the
    /// honest snapshot is what it was.
    fn look_at_all(&self, cases: &[Case]) {
        let lab = &self.lab;
        let deep = limited(lab, "verify", &[OsStr::new("--deep"), OsStr::new("--json")]);
        no_defect(&deep, "verify --deep");
        assert_eq!(deep.code, Some(13), "{deep:#?}");
        let whole = deep.json()["verify"]["whole"].clone();
        let whole: Vec<&str> =
            whole.as_array().expect("a list").iter().filter_map(|id| id.as_str()).collect();
        assert!(whole.contains(&self.honest.as_str()), "{whole:?}");
        for case in cases.iter().filter(|case| case.expected == Expected::Damage) {
            assert!(!whole.contains(&case.id.to_string().as_str()), "{} is called whole", case.what);
        }
        let (one, two) = (lab.path("one"), lab.path("two"));
        let sync = [OsStr::new("--from"), one.as_os_str(), OsStr::new("--to"), two.as_os_str()];
        no_defect(&limited_at(lab, "sync", &[], &sync), "sync");
        no_defect(&limited(lab, "rebuild-index", &[]), "rebuild-index");
        no_defect(&limited(lab, "repair", &[OsStr::new("--dry-run")]), "repair --dry-run");
        no_defect(
            &limited(lab, "prune", &["--grace", "0", "--accept-more-than-half"].map(OsStr::new)),
            "prune",
        );
        lab.restores_whole("one", &self.honest, &lab.path("source"));
        no_defect(&limited(lab, "backup", &[lab.path("source").as_os_str()]), "backup");
        lab.restores_whole("one", &self.honest, &lab.path("source"));
    }
}

/// A second slot that opens at once: what is tried is not the cost of a passphrase.
fn add_key_file(lab: &Lab) {
    let mut add = lab.bare();
    add.args(["repo", "key", "add", "--repo"]).arg(lab.path("one"));
    add.arg("--password-file").arg(lab.path("password")).arg("--new-key-file").arg(lab.path("key"));
    run(&mut add).exits(0);
}

/// The binary in 512 MiB and 60 s.
fn limited(lab: &Lab, verb: &str, arguments: &[&OsStr]) -> Said {
    limited_at(lab, verb, &["one"], arguments)
}

fn limited_at(lab: &Lab, verb: &str, places: &[&str], arguments: &[&OsStr]) -> Said {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "60", "prlimit", "--data=536870912", env!("CARGO_BIN_EXE_lifeboat")]);
    command.args(["--quiet", "repo", verb]).env("LIFEBOAT_STATE_DIR", lab.path("state"));
    for place in places {
        command.arg("--repo").arg(lab.path(place));
    }
    let secret =
        if lab.path("key").exists() { ["--key-file", "key"] } else { ["--password-file", "password"] };
    command.arg(secret[0]).arg(lab.path(secret[1])).args(arguments);
    if verb == "dump" {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("there");
        command.stdout(Stdio::from(full));
    }
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped());
    if verb != "dump" {
        child.stdout(Stdio::piped());
    }
    Said::of(&child.spawn().expect("started").wait_with_output().expect("ended"))
}

fn restored(lab: &Lab, id: &ObjectHash) -> (Said, PathBuf) {
    let to = lab.path("cage/inner/back");
    let _gone = std::fs::remove_dir_all(lab.path("cage"));
    std::fs::create_dir_all(lab.path("cage/inner")).expect("made");
    std::fs::write(lab.path("cage/canary"), b"sings").expect("written");
    let text = id.to_string();
    (limited(lab, "restore", &[OsStr::new(&text), OsStr::new("--to"), to.as_os_str()]), to)
}

/// Nothing but the canary is outside of the place restored to.
fn nothing_escaped(lab: &Lab, to: &Path, what: &str) {
    let strays: Vec<PathBuf> = walk(&lab.path("cage")).into_iter().filter(|at| !at.starts_with(to)).collect();
    assert_eq!(strays, [lab.path("cage/canary"), lab.path("cage/inner")], "{what}");
    assert_eq!(std::fs::read(lab.path("cage/canary")).expect("there"), b"sings", "{what}");
}

/// Every name below a folder, links not followed, sorted.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for found in std::fs::read_dir(dir).expect("a folder").flatten() {
        if found.file_type().expect("known").is_dir() {
            all.extend(walk(&found.path()));
        }
        all.push(found.path());
    }
    all.sort();
    all
}

fn no_defect(said: &Said, what: &str) {
    let fine = said.code.is_some_and(|code| code != 124 && code != 101);
    assert!(fine && !said.err.contains("panicked") && !said.err.contains("E9999"), "{what}: {said:#?}");
}

#[test]
fn snapshots_of_a_hostile_key_holder_escape_nowhere() {
    let lab = Lab::new();
    lab.init(&["one"]);
    let evil = Evil::of(&lab, "one");
    add_key_file(&lab);
    let root = || entry("", FileKind::Directory, b"");
    let plain = [root(), entry("victim", FileKind::Directory, b"")];
    // The writer itself is sound: what it says honestly is read and restored.
    let honest = evil.commit(&plain, *NAME, 2);
    let (said, to) = restored(&lab, &honest);
    said.exits(0);
    assert!(to.join("victim").is_dir());
    nothing_escaped(&lab, &to, "an honest snapshot");
    let names: [&[u8; 6]; 10] = [
        b"../../",
        b"../esc",
        b"/tmp/x",
        b"a/../b",
        b"./././",
        b"..//..",
        b"a\0b\0cd",
        b"\0\0\0\0\0\0",
        b"//////",
        b"a/b/cd",
    ];
    let link = [root(), entry("victim", FileKind::Symlink, b"/etc")];
    let below =
        [root(), entry("folder", FileKind::Directory, b""), entry("folder/victim", FileKind::Fifo, b"")];
    for (entries, kind) in [(&plain[..], "folder"), (&link[..], "link"), (&below[..], "pipe below")] {
        for name in names {
            let what = format!("{kind} {}", name.escape_ascii());
            let id = evil.commit(entries, *name, entries.len() as u64);
            let (said, to) = restored(&lab, &id);
            no_defect(&said, &what);
            assert_ne!(said.code, Some(0), "{what}: {said:#?}");
            nothing_escaped(&lab, &to, &what);
            let text = id.to_string();
            let listed = limited(&lab, "ls", &[OsStr::new(&text)]);
            no_defect(&listed, &what);
            assert_ne!(listed.code, Some(0), "{what}: {listed:#?}");
        }
    }
    let through = [
        root(),
        entry("victim", FileKind::Symlink, b"../.."),
        entry("victim/escaped", FileKind::Directory, b""),
    ];
    let id = evil.commit(&through, *NAME, 3);
    let (said, to) = restored(&lab, &id);
    no_defect(&said, "below a link");
    assert_ne!(said.code, Some(0), "{said:#?}");
    nothing_escaped(&lab, &to, "below a link");
    for claimed in [0, 1, 1_000_000_000, 1 << 40, u64::MAX] {
        let id = evil.commit(&plain, *NAME, claimed);
        let (said, to) = restored(&lab, &id);
        no_defect(&said, "entries claimed");
        nothing_escaped(&lab, &to, "entries claimed");
    }
    let verify = limited(&lab, "verify", &[]);
    no_defect(&verify, "verify");
    assert_ne!(verify.code, Some(0), "{verify:#?}");
}

//! Marks of restores that have not ended: who may go on, what is believed, and what is left alone.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Lab, Said, files, needs_root, noise, plain_source, run, same, set_mode};

/// A backup of a plain source and a whole restore of it, as an interruption just before its end
/// leaves it.
struct Begun {
    lab: Lab,
    id: String,
}

/// Which start of the machine a mark tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Boot {
    This,
    Earlier,
}

impl Begun {
    fn new(more: impl FnOnce(&Path)) -> Self {
        let lab = Lab::new();
        plain_source(&lab.path("source"));
        more(&lab.path("source"));
        lab.init(&["one"]);
        let id = lab.backup_source(&["one"])["snapshot"].as_str().expect("an id").to_owned();
        let begun = Self { lab, id };
        begun.restore(&[]).exits(0);
        begun
    }

    fn back(&self, name: &str) -> PathBuf {
        self.lab.path("back").join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.lab.command("restore", &["one"], &["latest", "--json"]);
        command.arg("--to").arg(self.lab.path("back")).args(more);
        command
    }

    fn restore(&self, more: &[&str]) -> Said {
        run(&mut self.command(more))
    }

    fn mark(&self) -> PathBuf {
        self.back(&format!(".lifeboat-restore-{}", &self.id[..32]))
    }

    /// The mark of a restore of these paths.
    fn marked(&self, paths: &[&str], boot: Boot) -> &Self {
        let asked = blake3::hash(paths.join("\0").as_bytes()).to_hex();
        let this = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
        let boot = if boot == Boot::This { this.trim() } else { "another" };
        let text = format!("lifeboat restore 1\nasked {asked}\nboot {boot}\n");
        std::fs::write(self.mark(), text).expect("written");
        set_mode(&self.mark(), 0o600);
        self
    }

    /// Other bytes under the recorded size and time.
    fn lose(&self, name: &str) {
        let file = std::fs::File::options().read(true).write(true).open(self.back(name)).expect("opened");
        let found = file.metadata().expect("there");
        std::os::unix::fs::FileExt::write_all_at(&file, &noise(1, 512), 100).expect("written");
        file.set_modified(found.modified().expect("known")).expect("set");
    }

    fn unfinished(&self, path: &str) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&hex::decode(&self.id).expect("hex")).update(path.as_bytes());
        self.back(&format!(".tmp-{}", hex::encode(&hasher.finalize().as_bytes()[..16])))
    }

    #[track_caller]
    fn is_whole(&self) {
        same(&self.lab.path("source"), &self.lab.path("back"));
    }
}

fn inode(path: &Path) -> (u64, i64, i64) {
    let found = path.symlink_metadata().expect("there");
    (found.ino(), found.ctime(), found.ctime_nsec())
}

#[test]
fn a_second_restore_into_one_folder_at_once_is_refused_and_touches_nothing() {
    let begun = Begun::new(|_| {});
    let other = std::fs::File::open(begun.lab.path("back")).expect("opened");
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    std::fs::write(begun.unfinished("large"), b"of the other").expect("written");
    std::fs::write(begun.back("large"), b"in the making").expect("written");
    for more in [&["--overwrite"][..], &["--overwrite", "--path", "large"], &[]] {
        let said = begun.restore(more).exits(14);
        assert!(
            said.err.contains("E0425") && said.err.contains("another restore is running here"),
            "{said:#?}"
        );
    }
    assert_eq!(std::fs::read(begun.unfinished("large")).expect("there"), b"of the other");
    assert!(!begun.mark().exists());
    drop(other);
    begun.restore(&["--overwrite"]).exits(0);
    begun.is_whole();
}

#[test]
fn a_running_restore_holds_its_folder() {
    let begun = Begun::new(|source| {
        for number in 0..30 {
            std::fs::write(source.join(format!("more-{number}")), noise(200 + number, 3_000_000))
                .expect("written");
        }
    });
    let to = begun.lab.path("again");
    let mut command = begun.lab.command("restore", &["one"], &["latest", "--to"]);
    let mut first = command.arg(&to).spawn().expect("started");
    let mark = to.join(begun.mark().file_name().expect("a name"));
    while !mark.exists() {
        assert!(first.try_wait().expect("asked").is_none(), "it ended without a mark");
    }
    let opened = std::fs::File::open(&to).expect("opened");
    let locked = rustix::fs::flock(&opened, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert!(locked.is_err() || !mark.exists(), "nobody held the folder of a running restore");
    assert!(first.wait().expect("ended").success());
}

#[test]
fn going_on_is_refused_before_anything_is_touched() {
    let begun = Begun::new(|_| {});
    begun.marked(&[], Boot::This);
    // A beginning of what is recorded, and behind it somebody's own file.
    std::fs::write(begun.back("small-1"), &noise(1, 3000)[..700]).expect("written");
    std::fs::write(begun.back("small-9"), b"mine").expect("written");
    let names = ["small-1", "small-9", "large"].map(|name| begun.back(name));
    let before = names.each_ref().map(|name| inode(name));
    let said = begun.restore(&[]).exits(14);
    assert!(said.err.contains("E0423") && said.err.contains("small-9"), "{said:#?}");
    assert_eq!(names.each_ref().map(|name| inode(name)), before);
    std::fs::remove_file(begun.back("small-9")).expect("removed");
    begun.restore(&[]).exits(0);
    begun.is_whole();
    assert!(!begun.mark().exists());
}

#[test]
fn a_leftover_stays_until_a_whole_file_takes_its_place() {
    let begun = Begun::new(|_| {});
    begun.marked(&[], Boot::This);
    std::fs::write(begun.back("below/file"), b"").expect("written");
    // Nothing can be made of it: the packs are away.
    let packs = files(&begun.lab.path("one"));
    let packs: Vec<_> = packs.iter().filter(|file| file.metadata().is_ok_and(|m| m.len() > 30_000)).collect();
    for pack in &packs {
        std::fs::rename(pack, pack.with_extension("away")).expect("renamed");
    }
    let said = begun.restore(&[]);
    assert_ne!(said.code, Some(0), "{said:#?}");
    assert_eq!(std::fs::read(begun.back("below/file")).expect("there"), b"");
    for pack in &packs {
        std::fs::rename(pack.with_extension("away"), pack).expect("renamed");
    }
    begun.marked(&[], Boot::This).restore(&[]).exits(0);
    begun.is_whole();
}

#[test]
fn a_restore_of_other_paths_forgets_no_stop_of_the_machine() {
    let begun = Begun::new(|_| {});
    begun.marked(&[], Boot::Earlier);
    begun.lose("small-3");
    begun.restore(&["--overwrite", "--path", "below"]).exits(0);
    assert!(begun.mark().exists(), "the restore of everything has not ended");
    begun.restore(&["--overwrite"]).exits(0);
    begun.is_whole();
    assert!(!begun.mark().exists());
}

#[test]
fn a_mark_of_somebody_else_or_of_nonsense_proves_nothing() {
    needs_root();
    let begun = Begun::new(|_| {});
    for round in 0..3 {
        begun.marked(&[], Boot::This);
        let stranger = begun.back(&format!(".lifeboat-restore-{}", "0".repeat(32)));
        match round {
            0 => std::os::unix::fs::chown(begun.mark(), Some(65534), Some(65534)).expect("given"),
            1 => std::fs::write(begun.mark(), b"nonsense").expect("written"),
            _ => std::fs::write(&stranger, b"nonsense").expect("written"),
        }
        begun.lose("small-3");
        begun.restore(&["--overwrite", "--path", "below"]).exits(0);
        begun.restore(&["--overwrite"]).exits(0);
        std::fs::remove_file(stranger).ok();
        let names = ["small-3", "below/file"];
        for name in names {
            let recorded = std::fs::read(begun.lab.path("source").join(name)).expect("there");
            assert!(std::fs::read(begun.back(name)).expect("there") == recorded, "{round}: {name}");
        }
    }
}

#[test]
fn after_a_stop_of_the_machine_the_same_command_restores_what_was_lost() {
    let begun = Begun::new(|_| {});
    begun.marked(&[], Boot::Earlier);
    begun.lose("small-3");
    begun.lose("large");
    // Its size was written, its bytes and its time were not.
    std::fs::write(begun.back("small-4"), vec![0; 3000]).expect("written");
    begun.restore(&[]).exits(0);
    begun.is_whole();
    // What somebody wrote since then is nobody's leftover.
    begun.marked(&[], Boot::Earlier);
    std::fs::write(begun.back("small-4"), noise(5, 3000)).expect("written");
    begun.restore(&[]).exits(14);
    assert_eq!(std::fs::read(begun.back("small-4")).expect("there"), noise(5, 3000));
    // Nor does it explain anything when the machine ran on.
    std::fs::remove_file(begun.back("small-4")).expect("removed");
    begun.marked(&[], Boot::This).restore(&[]).exits(0);
    begun.is_whole();
}

#[test]
fn what_given_up_restores_of_other_snapshots_left_goes_with_leave_and_is_named_without() {
    let begun = Begun::new(|_| {});
    let other = "ab".repeat(32);
    let mark = begun.back(&format!(".lifeboat-restore-{}", &other[..32]));
    let left = Begun { lab: Lab::new(), id: other.clone() }.unfinished("large");
    let left = begun.back("").join(left.file_name().expect("a name"));
    let strange = begun.back(".tmp-00112233445566778899aabbccddeeff");
    let this = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let begin = |boot: &str| {
        std::fs::write(&mark, format!("lifeboat restore 1\nsnapshot {other}\nasked ab\nboot {boot}\n"))
            .expect("written");
        std::fs::write(&left, b"half").expect("written");
        std::fs::write(&strange, b"mine").expect("written");
    };
    let restored = |more: &[&str]| begun.restore(more).exits(0).json()["restore"].clone();
    // Where the machine stopped meanwhile it says that nothing is proved, and is named.
    begin("another");
    let done = restored(&["--overwrite"]);
    assert!(done["cleared"] == 0 && done["not_ended"].to_string().contains(&other[..32]), "{done:#}");
    begin(this.trim());
    begun.marked(&[], Boot::This);
    let done = restored(&[]);
    assert!(done["cleared"] == 0 && done["not_ended"].to_string().contains(&other[..32]), "{done:#}");
    assert!(mark.exists() && left.exists());
    let done = restored(&["--overwrite"]);
    assert!(done["cleared"] == 2 && done["not_ended"] == serde_json::json!([]), "{done:#}");
    assert!(!mark.exists() && !left.exists() && strange.exists());
}

#[test]
fn going_on_takes_links_within_the_folder_for_its_own() {
    let begun = Begun::new(|source| {
        std::os::unix::fs::symlink("large", source.join("link")).expect("made");
        std::fs::hard_link(source.join("link"), source.join("link-again")).expect("made");
        let pipe = source.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("made");
        std::fs::hard_link(&pipe, source.join("pipe-again")).expect("made");
        std::fs::hard_link(source.join("large"), source.join("large-again")).expect("made");
    });
    // What made the file incomplete, as an owner that could not be set does.
    std::fs::set_permissions(begun.back("large"), PermissionsExt::from_mode(0o600)).expect("set");
    begun.marked(&[], Boot::This).restore(&[]).exits(0);
    begun.is_whole();
    // A name outside is none of ours.
    for name in ["link", "pipe", "large"] {
        std::fs::set_permissions(begun.back("large"), PermissionsExt::from_mode(0o600)).expect("set");
        std::fs::hard_link(begun.back(name), begun.lab.path("outside")).expect("made");
        begun.marked(&[], Boot::This).restore(&[]).exits(14);
        std::fs::remove_file(begun.lab.path("outside")).expect("removed");
    }
}

#[test]
fn the_same_paths_spelled_otherwise_go_on() {
    let begun = Begun::new(|_| {});
    for (asked, paths) in [
        (&["below", "large"][..], &["--path", "large", "--path", "below/"][..]),
        (&["below"], &["--path", "below/", "--path", "below"]),
        (&[], &["--path", "/"]),
    ] {
        begun.marked(asked, Boot::This).restore(paths).exits(0);
        assert!(!begun.mark().exists());
    }
}

#[test]
fn a_folder_with_a_name_of_ours_is_told_and_left() {
    let begun = Begun::new(|_| {});
    std::fs::create_dir(begun.mark()).expect("made");
    let said = begun.restore(&["--overwrite"]).exits(14);
    assert!(said.err.contains("E0426") && said.err.contains(".lifeboat-restore-"), "{said:#?}");
    std::fs::remove_dir(begun.mark()).expect("removed");
    std::fs::remove_file(begun.back("large")).expect("removed");
    std::fs::create_dir(begun.unfinished("large")).expect("made");
    let said = begun.marked(&[], Boot::This).restore(&[]).exits(14);
    assert!(said.err.contains("E0426") && said.err.contains(".tmp-"), "{said:#?}");
    std::fs::remove_dir(begun.unfinished("large")).expect("removed");
    begun.restore(&[]).exits(0);
    begun.is_whole();
}

/// The same command by a user without rights, to whom the lab belongs by then.
fn as_nobody(begun: &Begun, more: &[&str]) -> Said {
    let command = begun.command(more);
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(command.get_program());
    other.args(command.get_args()).arg("--no-owner");
    other.env("LIFEBOAT_STATE_DIR", begun.lab.path("state"));
    run(&mut other)
}

fn give_to_nobody(begun: &Begun) {
    let given =
        Command::new("chown").args(["-R", "65534:65534"].map(OsStr::new)).arg(begun.lab.path("")).status();
    assert!(given.expect("started").success());
}

#[test]
fn what_its_user_may_not_read_stops_no_restore_that_goes_on() {
    needs_root();
    let begun = Begun::new(|source| {
        set_mode(&source.join("small-7"), 0o000);
        set_mode(&source.join("below"), 0o000);
    });
    for boot in [Boot::This, Boot::Earlier] {
        begun.marked(&[], boot);
        give_to_nobody(&begun);
        let before = begun.back("small-7").metadata().expect("there").ino();
        as_nobody(&begun, &[]).exits(0);
        assert_eq!(begun.back("small-7").metadata().expect("there").ino(), before);
        begun.is_whole();
    }
}

#[test]
fn a_top_folder_that_forbids_writing_is_opened_up_and_closed_again() {
    needs_root();
    let begun = Begun::new(|source| set_mode(source, 0o555));
    give_to_nobody(&begun);
    for more in [&["--overwrite"][..], &["--overwrite", "--path", "large"]] {
        std::fs::write(begun.back("large"), b"other").expect("written");
        give_to_nobody(&begun);
        as_nobody(&begun, more).exits(0);
        assert_eq!(std::fs::read(begun.back("large")).expect("there"), noise(99, 3_000_000));
        assert_eq!(begun.back("").metadata().expect("there").mode() & 0o7777, 0o555);
    }
}

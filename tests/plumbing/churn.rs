//! Backups of a tree that is changed all the time: nothing that is replaced as a whole is torn,
//! nothing from outside gets in, what vanishes is no fault. `LIFEBOAT_TEST_CHURN` asks for more
//! backups than a plain run makes.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::lab::Lab;

/// Backups in a plain run of the tests; a night's has 80.
const BACKUPS: usize = 12;
/// Of so many snapshots one is restored as a whole; of the others what is replaced as a whole.
const WHOLE_EVERY: usize = 10;
const CANARY: &[u8] = b"this lies outside of the source and must never be in a snapshot";
const LOG_RECORD: usize = 64;

/// Bytes that are all of one version: its number, over and over.
fn version(number: u64) -> Vec<u8> {
    let len = if number.is_multiple_of(3) { 700_000 } else { 24_000 };
    number.to_le_bytes().repeat(len / 8 + usize::try_from(number % 50).expect("small"))
}

fn is_one_version(bytes: &[u8]) -> bool {
    let number = bytes.first_chunk::<8>().copied().map(u64::from_le_bytes);
    number.is_some_and(|number| bytes == version(number))
}

/// What a place in the file that is cut and grown holds.
fn pattern(at: usize) -> u8 {
    u8::try_from(at % 251).expect("below 251")
}

fn exchange(a: &Path, b: &Path) {
    rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).expect("exchanged");
}

fn begin(source: &Path, outside: &Path) {
    std::fs::create_dir_all(source.join("comes and goes")).expect("made");
    std::fs::create_dir_all(outside.join("below")).expect("made");
    for name in ["canary", "below/canary", "in it"] {
        std::fs::write(outside.join(name), CANARY).expect("written");
    }
    std::fs::create_dir_all(source.join("folder or link/below")).expect("made");
    for name in ["in it", "below/canary"] {
        std::fs::write(source.join("folder or link").join(name), b"inside").expect("written");
    }
    symlink(outside, source.join("link or folder")).expect("made");
    std::fs::write(source.join("file or pipe"), b"inside").expect("written");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, source.join("pipe or file"), FileType::Fifo, mode, 0).expect("made");
    symlink(outside.join("canary"), source.join("link or file")).expect("made");
    std::fs::write(source.join("file or link"), b"inside").expect("written");
    for file in 0..4 {
        std::fs::write(source.join(format!("whole-{file}")), version(file)).expect("written");
    }
    File::create(source.join("log")).expect("made");
    std::fs::write(source.join("cut"), (0..500_000).map(pattern).collect::<Vec<_>>()).expect("written");
}

/// One round of everything that changes.
fn round(source: &Path, number: u64, log: &mut File) {
    let new = source.join("new");
    std::fs::write(&new, version(number)).expect("written");
    std::fs::rename(&new, source.join(format!("whole-{}", number % 4))).expect("renamed");
    writeln!(log, "{number:0width$}", width = LOG_RECORD - 1).expect("written");
    let cut = File::options().write(true).open(source.join("cut")).expect("opened");
    let len = usize::try_from(number * 7919 % 500_000).expect("small");
    cut.set_len(len as u64).expect("cut");
    cut.write_all_at(&(len..len + 9000).map(pattern).collect::<Vec<_>>(), len as u64).expect("written");
    for (a, b) in [
        ("folder or link", "link or folder"),
        ("file or pipe", "pipe or file"),
        ("link or file", "file or link"),
    ] {
        exchange(&source.join(a), &source.join(b));
    }
    let gone = source.join("comes and goes").join(format!("{}", number % 7));
    if gone.exists() {
        std::fs::remove_dir_all(&gone).expect("removed");
    } else {
        std::fs::create_dir_all(gone.join("deep/er")).expect("made");
        for file in 0..5 {
            std::fs::write(gone.join(format!("deep/{file}")), b"for a moment").expect("written");
        }
    }
}

/// Every regular file below a folder; no link is followed.
fn regular_files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).expect("listed") {
            let path = entry.expect("listed").path();
            let facts = std::fs::symlink_metadata(&path).expect("there");
            if facts.is_dir() {
                waiting.push(path);
            } else if facts.is_file() {
                found.push(path);
            }
        }
    }
    found
}

/// Nothing restored is from outside, half new and half old, or bytes that the file never had.
fn is_sound(back: &Path, case: &str) {
    for path in regular_files(back) {
        let bytes = std::fs::read(&path).expect("restored");
        let name = path.strip_prefix(back).expect("below").to_str().expect("plain");
        assert!(!bytes.starts_with(CANARY), "{case}: {name}");
        if name.starts_with("whole-") {
            assert!(is_one_version(&bytes), "{case}: {name} is torn");
        } else if name == "cut" {
            let wrong = bytes.iter().enumerate().position(|(at, byte)| *byte != pattern(at) && *byte != 0);
            assert_eq!(wrong, None, "{case}: the file that is cut holds what was never there");
        } else if name == "log" {
            let records = bytes.chunks_exact(LOG_RECORD).enumerate();
            for (at, record) in records {
                let text = std::str::from_utf8(record).expect("digits");
                assert_eq!(text.trim_end().parse::<usize>().ok(), Some(at), "{case}: the log has a gap");
            }
        }
    }
}

#[test]
fn backups_of_a_tree_in_change_hold_nothing_torn_and_nothing_from_outside() {
    let lab = Lab::new();
    let (source, outside) = (lab.path("source"), lab.path("outside"));
    begin(&source, &outside);
    lab.init(&["one"]);
    let wanted = std::env::var("LIFEBOAT_TEST_CHURN").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(BACKUPS).max(1);
    let is_over = AtomicBool::new(false);
    let mut made = Vec::new();
    let (mut vanished, mut changed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = File::options().append(true).open(source.join("log")).expect("opened");
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                round(&source, number, &mut log);
            }
        });
        // Whatever happens in here, the other thread must end.
        let backups = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // On a busy machine the other thread may not get its turn for a while.
            while made.len() < wanted || (made.len() < 10 * wanted && (vanished == 0 || changed == 0)) {
                let said = lab.repo("backup", &["one"], &["--json", source.to_str().expect("plain")]);
                assert!(matches!(said.code, Some(0 | 3)), "{said:#?}");
                let outcome = said.json()["outcome"].clone();
                for item in outcome["unread"]["named"].as_array().expect("a list") {
                    // A name that was two things in one moment is the only excuse.
                    assert!(item["path"].as_str().is_some_and(|path| path.contains(" or ")), "{item}");
                }
                vanished += outcome["vanished"].as_u64().unwrap_or(0);
                changed += outcome["changed"]["count"].as_u64().unwrap_or(0);
                made.push(outcome["snapshot"].as_str().expect("an id").to_owned());
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        backups.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for (number, id) in made.iter().enumerate() {
        let to = lab.path(&format!("back-{number}"));
        let to = to.to_str().expect("plain");
        let mut arguments = vec![id.as_str(), "--to", to];
        if number % WHOLE_EVERY != 0 {
            for path in ["whole-0", "whole-1", "whole-2", "whole-3", "log", "cut"] {
                arguments.extend(["--path", path]);
            }
        }
        // What never was the same twice while it was looked at is unread, and then it says so.
        let said = lab.repo("restore", &["one"], &arguments);
        let code = if said.out.contains("unread when the snapshot was taken") { 3 } else { 0 };
        said.exits(code);
        is_sound(Path::new(to), id);
        std::fs::remove_dir_all(to).expect("removed");
    }
    eprintln!("{} backups: {changed} files were changing, {vanished} entries vanished", made.len());
    assert!(vanished > 0 && changed > 0, "the tree held still: {vanished} vanished, {changed} changed");
    lab.verify("one", &["--deep"], 0);
}

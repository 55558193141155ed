//! Memory stays where it is, however many files there are and however wide a folder is: every
//! command runs under a hard limit of the kernel, and its peak is compared with that of a tenth of
//! the files. `scripts/scale-test` runs it with a million (`LIFEBOAT_TEST_SCALE`), in a release.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Lab;

/// Files in a plain run of the tests.
const FILES: u64 = 20_000;
/// What the kernel gives at most (docs/scaling.md). It counts what is reserved and never touched.
const BACKUP_BYTES_MAX: u64 = 300 << 20;
const WIDE_BACKUP_BYTES_MAX: u64 = 400 << 20;
const RESTORE_BYTES_MAX: u64 = 256 << 20;
/// What is really used at most: a third of it is the passphrase's.
const PEAK_MIB_MAX: u64 = 150;
/// What an entry of the widest folder may cost, its name of 20 bytes in it; the peaks of two runs
/// differ by a few MiB all the same.
const ENTRY_BYTES_MAX: u64 = 100;
const SCATTER_MIB: u64 = 12;

fn wanted() -> u64 {
    std::env::var("LIFEBOAT_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(FILES)
}

/// One command on two processors with so much memory; gives its peak in MiB and its time.
fn limited(lab: &Lab, bytes_max: u64, verb: &str, arguments: &[&str]) -> (u64, Duration) {
    let command = lab.command(verb, &["one"], arguments);
    let mut limited = Command::new("taskset");
    limited.args(["-c", "0,1", "prlimit", &format!("--data={bytes_max}")]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.env("LIFEBOAT_STATE_DIR", lab.path("state"));
    let listing = std::fs::File::create(lab.path("out")).expect("made");
    let errors = std::fs::File::create(lab.path("err")).expect("made");
    let began = Instant::now();
    let mut child = limited.stdout(listing).stderr(errors).stdin(Stdio::null()).spawn().expect("starts");
    // The peak only rises, so the last look before the end is close to it.
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(peak);
        if let Some(ended) = child.try_wait().expect("waited for") {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let errors = std::fs::read_to_string(lab.path("err")).expect("read");
    assert!(ended.success(), "{verb} within {} MiB: {ended}: {errors}", bytes_max >> 20);
    (peak / 1024, began.elapsed())
}

/// Everything that is done with a tree; gives the peaks.
fn live(source: &Path, lab: &Lab, backup_bytes_max: u64) -> Vec<(&'static str, (u64, Duration))> {
    let path = source.to_str().expect("plain");
    let to = lab.path("back");
    let to = to.to_str().expect("plain");
    lab.init(&["one"]);
    let mut peaks = vec![("first", limited(lab, backup_bytes_max, "backup", &[path]))];
    peaks.push(("again", limited(lab, backup_bytes_max, "backup", &[path])));
    peaks.push(("full", limited(lab, backup_bytes_max, "backup", &["--full", path])));
    peaks.push(("ls", limited(lab, RESTORE_BYTES_MAX, "ls", &["latest"])));
    peaks.push(("restore", limited(lab, RESTORE_BYTES_MAX, "restore", &["latest", "--to", to])));
    peaks.push(("verify", limited(lab, RESTORE_BYTES_MAX, "verify", &["--deep"])));
    peaks
}

/// At this size and at a tenth of it: under the limits, and nothing grows with the entries that
/// is not allowed to. Gives the figures.
fn stays_within(make: impl Fn(&Path, u64), backup_bytes_max: u64, entry_bytes_max: u64) -> String {
    let files = wanted();
    let mut peaks = Vec::new();
    for files in [files / 10, files] {
        let lab = Lab::new();
        let source = lab.path("source");
        make(&source, files);
        peaks.push(live(&source, &lab, backup_bytes_max));
        assert_eq!(std::fs::read_dir(lab.path("back")).expect("restored").count(), count(&source));
    }
    let mut figures = format!("{} and {files} files", files / 10);
    for ((step, (few, _)), (_, (many, time))) in peaks[0].iter().zip(&peaks[1]) {
        assert!(*many <= PEAK_MIB_MAX, "{step}: {many} MiB");
        let grown = SCATTER_MIB + ((files * entry_bytes_max) >> 20);
        assert!(*many <= few + grown, "{step}: {few} MiB with {} files, {many} MiB with {files}", files / 10);
        figures += &format!("\n{step:8} peak {few:3} and {many:3} MiB, {:.1} s", time.as_secs_f64());
    }
    figures
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("listed").count()
}

#[test]
fn many_files_are_backed_up_listed_verified_and_restored_in_fixed_memory() {
    let make = |source: &Path, files: u64| {
        for folder in 0..files / 500 {
            let folder = source.join(format!("folder-{folder:05}"));
            std::fs::create_dir_all(&folder).expect("made");
            for file in 0..500u64 {
                // One in ten has something in it.
                let bytes = if file.is_multiple_of(10) { file.to_string().repeat(40) } else { String::new() };
                std::fs::write(folder.join(format!("file-{file:05}.txt")), bytes).expect("written");
            }
        }
    };
    eprintln!("{}", stays_within(make, BACKUP_BYTES_MAX, 0));
}

#[test]
fn a_wide_folder_is_backed_up_listed_verified_and_restored_in_little_memory() {
    let make = |source: &Path, files: u64| {
        std::fs::create_dir(source).expect("made");
        for file in 0..files {
            // Not in the order of their names.
            let number = file * 7919 % files;
            std::fs::write(source.join(format!("entry-{number:09}.dat")), b"").expect("written");
        }
    };
    eprintln!("{}", stays_within(make, WIDE_BACKUP_BYTES_MAX, ENTRY_BYTES_MAX));
}

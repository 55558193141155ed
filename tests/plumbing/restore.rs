//! Restores as a plan: many reads at once from far away, little fetched for one path, only what
//! differs over another tree, and going on after an interruption.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fault_proxy::FaultProxy;
use crate::lab::{Lab, Said, files, noise, run, same};
use crate::s3;

/// Three large files, one of them with a hole, and many small ones.
fn source(lab: &Lab) {
    let source = lab.path("source");
    for dir in 0..10u64 {
        let below = source.join(format!("dir-{dir}"));
        std::fs::create_dir_all(&below).expect("made");
        for number in 0..60 {
            let bytes = noise(dir * 100 + number, 20_000);
            std::fs::write(below.join(format!("small-{number}")), bytes).expect("written");
        }
    }
    for number in 0..2 {
        std::fs::write(source.join(format!("large-{number}")), noise(700 + number, 15_000_000))
            .expect("written");
    }
    let sparse = std::fs::File::create(source.join("sparse")).expect("made");
    sparse.write_all_at(&noise(720, 6_000_000), 0).expect("written");
    sparse.write_all_at(&noise(721, 6_000_000), 40_000_000).expect("written");
    std::os::unix::fs::symlink("large-0", source.join("link")).expect("made");
    std::fs::hard_link(source.join("large-1"), source.join("dir-3/again")).expect("made");
}

fn backed_up() -> Lab {
    let lab = Lab::new();
    source(&lab);
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    lab
}

fn command(lab: &Lab, place: &str, to: &str, more: &[&str]) -> Command {
    let mut command = lab.command("restore", &[place], &["latest", "--json"]);
    command.arg("--to").arg(lab.path(to)).args(more);
    command
}

fn restore(lab: &Lab, to: &str, more: &[&str]) -> Said {
    run(&mut command(lab, "one", to, more))
}

fn outcome(said: Said) -> Value {
    said.exits(0).json()["restore"].clone()
}

fn figure(outcome: &Value, name: &str) -> u64 {
    outcome[name].as_u64().unwrap_or_else(|| panic!("{name} in {outcome:#}"))
}

/// A place on the S3 server, with a copy of the lab's source, as seen through a proxy far away.
fn far_away(lab: &Lab, delay: Duration) -> (FaultProxy, String, Vec<String>) {
    let options = s3::options();
    let place = format!("s3://{}/{}", options.bucket, options.prefix);
    let credentials = s3::credentials_file();
    let credentials = ["--credentials-file", credentials.to_str().expect("plain")];
    let endpoint = s3::endpoint();
    for (verb, more) in [("init", vec!["--pack-size", "8MiB"]), ("backup", vec!["SOURCE"])] {
        let mut command = lab.command(verb, &[&place], &["--endpoint", &endpoint]);
        let source = lab.path("source");
        let source = source.to_str().expect("plain");
        command.args(credentials).args(more.iter().map(|word| if *word == "SOURCE" { source } else { word }));
        run(&mut command).exits(0);
    }
    let proxy = FaultProxy::far(&endpoint, delay, |_| None);
    let access = vec!["--endpoint".to_owned(), proxy.endpoint()];
    (proxy, place, access.into_iter().chain(credentials.map(str::to_owned)).collect())
}

#[test]
fn from_far_away_at_least_eight_ranges_are_on_their_way_at_once() {
    let lab = Lab::new();
    source(&lab);
    let (proxy, place, access) = far_away(&lab, Duration::from_millis(50));
    run(command(&lab, &place, "back", &[]).args(&access)).exits(0);
    same(&lab.path("source"), &lab.path("back"));
    let most = proxy.most_at_once();
    assert!(most >= 8, "at most {most} requests were on their way at once");
}

#[test]
fn one_path_costs_few_requests_and_little_more_than_its_bytes() {
    let lab = Lab::new();
    source(&lab);
    let (proxy, place, access) = far_away(&lab, Duration::ZERO);
    // What it costs to open a repository and to find the snapshot.
    let before = proxy.requests();
    run(lab.command("snapshots", &[&place], &["--json"]).args(&access)).exits(0);
    let opening = proxy.requests() - before;
    let before = proxy.requests();
    let more = ["--path", "dir-7/small-9"];
    let done = outcome(run(command(&lab, &place, "back", &more).args(&access)));
    let requests = proxy.requests() - before;
    assert_eq!(figure(&done, "files"), 1, "{done:#}");
    assert!(figure(&done, "bytes_fetched") < 3_000_000, "{done:#}");
    // The index run, footer and nodes of the manifest, footer and range of the one pack.
    assert!(requests <= opening + 8, "{requests} requests, {opening} of them to open");
}

#[test]
fn over_the_same_tree_nothing_is_fetched_and_nothing_is_touched() {
    let lab = backed_up();
    restore(&lab, "back", &[]).exits(0);
    let changed = |name: &str| {
        let found = lab.path("back").join(name).symlink_metadata().expect("there");
        (found.ino(), found.ctime(), found.ctime_nsec())
    };
    let names = ["large-0", "dir-3/again", "dir-0/small-0", "sparse", "link"];
    let before = names.map(changed);
    let done = outcome(restore(&lab, "back", &["--overwrite"]));
    assert_eq!((figure(&done, "kept"), figure(&done, "replaced")), (603, 0), "{done:#}");
    assert!(figure(&done, "bytes_fetched") < 200_000, "{done:#}");
    assert_eq!(names.map(changed), before, "no inode was changed");
    same(&lab.path("source"), &lab.path("back"));
}

#[test]
fn over_another_tree_only_what_differs_is_fetched() {
    let lab = backed_up();
    restore(&lab, "back", &[]).exits(0);
    let back = lab.path("back");
    // Some bytes of a large file, a small file, a hole filled, a mode alone, a time alone.
    let large = std::fs::File::options().write(true).open(back.join("large-0")).expect("opened");
    large.write_all_at(b"other bytes", 7_000_000).expect("written");
    std::fs::write(back.join("dir-0/small-0"), b"shorter").expect("written");
    let sparse = std::fs::File::options().write(true).open(back.join("sparse")).expect("opened");
    sparse.write_all_at(b"no hole", 20_000_000).expect("written");
    std::fs::set_permissions(back.join("dir-1/small-1"), PermissionsExt::from_mode(0o600)).expect("set");
    let touched = std::fs::File::options().write(true).open(back.join("dir-2/small-2")).expect("opened");
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
    let inode = |name: &str| back.join(name).metadata().expect("there").ino();
    let kept = [inode("dir-1/small-1"), inode("dir-2/small-2")];
    let done = outcome(restore(&lab, "back", &["--overwrite"]));
    same(&lab.path("source"), &back);
    assert_eq!((figure(&done, "kept"), figure(&done, "replaced")), (600, 3), "{done:#}");
    assert_eq!([inode("dir-1/small-1"), inode("dir-2/small-2")], kept, "metadata alone was set");
    // A chunk of the large file, a group of small ones, and the manifest.
    assert!(figure(&done, "bytes_fetched") < 5_000_000, "{done:#}");
    assert!(figure(&done, "bytes_reused") > 50_000_000, "{done:#}");
}

#[test]
fn bytes_changed_behind_an_old_time_are_found_when_it_is_verified() {
    let lab = backed_up();
    restore(&lab, "back", &[]).exits(0);
    let back = lab.path("back");
    let file = std::fs::File::options().write(true).open(back.join("large-1")).expect("opened");
    let time = file.metadata().expect("there").modified().expect("known");
    file.write_all_at(b"rotten", 100).expect("written");
    file.set_modified(time).expect("set");
    let done = outcome(restore(&lab, "back", &["--overwrite", "--verify"]));
    assert_eq!((figure(&done, "replaced"), &done["differing"]["count"]), (1, &0.into()), "{done:#}");
    same(&lab.path("source"), &back);
}

/// Bytes that lie in a folder.
fn lying(dir: &Path) -> u64 {
    files(dir).iter().map(|file| file.symlink_metadata().map_or(0, |found| found.blocks() * 512)).sum()
}

/// Begins a restore and kills it when so many bytes lie there.
fn killed_at(lab: &Lab, to: &str, bytes: u64, more: &[&str]) {
    let mut child = command(lab, "one", to, more).stdout(Stdio::null()).spawn().expect("started");
    let started = Instant::now();
    while !lab.path(to).exists() || lying(&lab.path(to)) < bytes {
        assert!(started.elapsed() < Duration::from_secs(100), "nothing was restored");
        assert!(child.try_wait().expect("asked").is_none(), "it ended before it was killed");
    }
    child.kill().expect("it was still at work");
    child.wait().expect("ended");
}

/// Bytes of files that are there as they should be; of one with several names once.
fn finished(source: &Path, restored: &Path) -> u64 {
    let is_same = |file: &&std::path::PathBuf| {
        let twin = source.join(file.strip_prefix(restored).expect("below"));
        file.is_file() && std::fs::read(twin).is_ok_and(|bytes| std::fs::read(file).ok() == Some(bytes))
    };
    let data = |file: &std::path::PathBuf| file.metadata().map_or(0, |found| found.len());
    let mut seen = std::collections::HashSet::new();
    let mut is_new = |file: &&std::path::PathBuf| {
        file.metadata().is_ok_and(|found| seen.insert((found.dev(), found.ino())))
    };
    let whole = files(restored);
    let whole = whole.iter().filter(is_same).filter(|file| !file.ends_with("sparse"));
    whole.filter(|file| is_new(file)).map(data).sum()
}

/// What an unfinished file is called: by the snapshot's id and the path.
fn unfinished(id: &str, path: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&hex::decode(id).expect("hex")).update(path.as_bytes());
    format!(".tmp-{}", hex::encode(&hasher.finalize().as_bytes()[..16]))
}

#[test]
fn of_an_unfinished_file_only_what_is_missing_is_fetched() {
    let lab = backed_up();
    let first = outcome(restore(&lab, "back", &[]));
    let back = lab.path("back");
    let name = unfinished(first["snapshot"].as_str().expect("an id"), "large-0");
    let file = std::fs::File::options().write(true).open(back.join("large-0")).expect("opened");
    file.write_all_at(&vec![0; 5_000_000], 10_000_000).expect("written");
    std::fs::rename(back.join("large-0"), back.join(&name)).expect("renamed");
    let done = outcome(restore(&lab, "back", &["--overwrite"]));
    let fetched = figure(&done, "bytes_fetched");
    assert!((5_000_000..8_000_000).contains(&fetched), "{done:#}");
    assert!(!back.join(&name).exists());
    same(&lab.path("source"), &back);
}

#[test]
fn what_is_planted_under_an_unfinished_name_is_never_written_through() {
    let lab = backed_up();
    let first = outcome(restore(&lab, "back", &[]));
    let back = lab.path("back");
    let name = back.join(unfinished(first["snapshot"].as_str().expect("an id"), "large-0"));
    let outside = lab.path("outside");
    let plants: [&dyn Fn(); 3] = [
        &|| std::os::unix::fs::symlink(&outside, &name).expect("made"),
        &|| std::fs::hard_link(&outside, &name).expect("made"),
        &|| {
            rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .expect("made")
        },
    ];
    for plant in plants {
        std::fs::write(&outside, b"outside").expect("written");
        std::fs::remove_file(back.join("large-0")).expect("removed");
        plant();
        outcome(restore(&lab, "back", &["--overwrite"]));
        assert_eq!(std::fs::read(&outside).expect("there"), b"outside");
        same(&lab.path("source"), &back);
    }
}

fn marks(dir: &Path) -> usize {
    files(dir).iter().filter(|file| file.to_string_lossy().contains("/.lifeboat-restore-")).count()
}

#[test]
fn a_killed_restore_goes_on_and_fetches_nothing_twice() {
    let lab = backed_up();
    let whole = figure(&outcome(restore(&lab, "whole", &[])), "bytes_fetched");
    for (round, share) in [1, 3, 5].into_iter().enumerate() {
        let to = format!("back-{round}");
        killed_at(&lab, &to, 54_000_000 * share / 8, &[]);
        assert_eq!(marks(&lab.path(&to)), 1);
        let finished = finished(&lab.path("source"), &lab.path(&to));
        let done = outcome(restore(&lab, &to, &[]));
        let (fetched, reused) = (figure(&done, "bytes_fetched"), figure(&done, "bytes_reused"));
        assert!(done["resumed"] == true && reused >= finished, "{finished} bytes were there: {done:#}");
        assert!(fetched + reused <= whole * 11 / 10, "what was there was fetched again: {done:#}");
        same(&lab.path("source"), &lab.path(&to));
        assert_eq!(marks(&lab.path(&to)), 0, "it has ended");
    }
}

#[test]
fn going_on_never_overwrites_what_a_stranger_put_there() {
    let lab = backed_up();
    killed_at(&lab, "back", 20_000_000, &[]);
    let back = lab.path("back");
    // Shorter than what belongs there, and no beginning of it.
    std::fs::remove_file(back.join("dir-9/small-59")).ok();
    std::fs::create_dir_all(back.join("dir-9")).expect("made");
    std::fs::write(back.join("dir-9/small-59"), b"mine").expect("written");
    std::fs::set_permissions(back.join("dir-9/small-59"), PermissionsExt::from_mode(0o600)).expect("set");
    let said = restore(&lab, "back", &[]);
    assert!(said.err.contains("E0423") && said.err.contains("small-59"), "{said:#?}");
    assert_eq!(std::fs::read(back.join("dir-9/small-59")).expect("there"), b"mine");
    // A beginning of it, as an interruption leaves it, is nobody's loss.
    std::fs::write(back.join("dir-9/small-59"), &noise(959, 20_000)[..4096]).expect("written");
    outcome(restore(&lab, "back", &[]));
    same(&lab.path("source"), &back);
}

#[test]
fn without_a_mark_or_for_other_paths_a_second_restore_is_refused() {
    let lab = backed_up();
    // Which packs are read first is drawn: until some folder has a file.
    let stopped = [20, 30, 40, 48].into_iter().find_map(|megabytes| {
        let to = format!("back-{megabytes}");
        killed_at(&lab, &to, megabytes * 1_000_000, &[]);
        let has_files = |number: &u32| {
            let dir = lab.path(&to).join(format!("dir-{number}"));
            dir.exists() && !files(&dir).is_empty()
        };
        (0..10).find(has_files).map(|number| (to.clone(), format!("dir-{number}")))
    });
    let (to, dir) = stopped.expect("nearly all of it has a small file");
    restore(&lab, &to, &["--path", &dir]).exits(14);
    for file in files(&lab.path(&to)) {
        if file.to_string_lossy().contains("/.lifeboat-restore-") {
            std::fs::remove_file(file).expect("removed");
        }
    }
    let said = restore(&lab, &to, &[]);
    assert!(said.err.contains("E0423"), "{said:#?}");
}

#[test]
fn after_the_machine_stopped_sizes_and_times_prove_nothing() {
    let lab = backed_up();
    killed_at(&lab, "back", 45_000_000, &[]);
    let back = lab.path("back");
    let mark = files(&back).into_iter().find(|file| file.to_string_lossy().contains("/.lifeboat-restore-"));
    let mark = mark.expect("a mark");
    let text = std::fs::read_to_string(&mark).expect("text");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    std::fs::write(&mark, text.replace(boot.trim(), "another")).expect("written");
    // What a file system may keep of a file whose bytes were never written out.
    let lost = files(&back).into_iter().find(|file| file.to_string_lossy().contains("small-"));
    let lost = lost.expect("a finished file");
    let time = lost.metadata().expect("there").modified().expect("known");
    std::fs::write(&lost, vec![0; 20_000]).expect("written");
    let file = std::fs::File::options().write(true).open(&lost).expect("opened");
    file.set_modified(time).expect("set");
    drop(file);
    // They are no beginning of the recorded bytes, but the stop explains them.
    outcome(restore(&lab, "back", &[]));
    same(&lab.path("source"), &back);
}

#[test]
fn few_descriptors_are_enough() {
    let lab = backed_up();
    let restore = command(&lab, "one", "back", &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh"]);
    limited.arg(restore.get_program()).args(restore.get_args());
    limited.env("LIFEBOAT_STATE_DIR", lab.path("state"));
    run(&mut limited).exits(0);
    same(&lab.path("source"), &lab.path("back"));
}

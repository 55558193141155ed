//! `repo repair` and `repo rebuild-index` by the real binary: what is printed, what is planned and
//! not done, and what becomes of that which nobody can give.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::{Lab, Said, files, noise, plain_source, run, set_mode};

/// A place and its twin with two snapshots.
fn twins() -> Lab {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    lab.init(&["hurt", "twin"]);
    lab.backup_source(&["hurt", "twin"]);
    std::fs::write(source.join("second"), noise(7, 400_000)).expect("written");
    lab.backup_source(&["hurt", "twin"]);
    lab
}

fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 4;
    set_mode(path, 0o600);
    std::fs::write(path, bytes).expect("written");
}

fn repair(lab: &Lab, arguments: &[&str]) -> Said {
    lab.repo("repair", &["hurt"], arguments)
}

fn twin(lab: &Lab) -> String {
    lab.path("twin").to_str().expect("plain").to_owned()
}

/// The largest pack, which holds chunks of the large file.
fn largest(place: &Path) -> PathBuf {
    let size = |path: &PathBuf| std::fs::metadata(path).expect("there").len();
    files(&place.join("p")).into_iter().max_by_key(size).expect("a pack")
}

#[test]
fn a_repair_says_what_it_will_do_does_it_and_says_which_files_were_hurt() {
    let lab = twins();
    let (pack, twin) = (largest(&lab.path("hurt")), twin(&lab));
    let good = std::fs::read(&pack).expect("read");
    damage(&pack, 500);
    for run in files(&lab.path("hurt/i")) {
        std::fs::remove_file(run).expect("removed");
    }
    let name = pack.file_name().expect("a name").to_str().expect("plain").to_owned();
    let planned = repair(&lab, &["--from", &twin, "--dry-run"]).exits(13);
    assert!(planned.out.contains(&name) && planned.out.contains("copy from"), "{planned:#?}");
    assert!(planned.out.contains("nothing was changed"), "{planned:#?}");
    assert_ne!(std::fs::read(&pack).expect("read"), good);
    assert!(files_or_none(&lab.path("hurt/i")).is_empty());
    let done = repair(&lab, &["--from", &twin]).exits(0);
    assert!(done.out.contains(": mended") && done.out.contains("whole again"), "{done:#?}");
    assert_eq!(std::fs::read(&pack).expect("read"), good);
    lab.verify("hurt", &["--deep"], 0);
    lab.restores_whole("hurt", "latest", &lab.path("source"));
    let again = repair(&lab, &["--from", &twin, "--json"]).exits(0).json();
    assert_eq!(again["repair"]["steps"], Value::Array(Vec::new()));
}

fn files_or_none(dir: &Path) -> Vec<PathBuf> {
    if dir.exists() { files(dir) } else { Vec::new() }
}

#[test]
fn paths_that_were_hurt_are_named_with_their_snapshots() {
    let lab = twins();
    damage(&largest(&lab.path("hurt")), 500);
    let outcome = repair(&lab, &["--from", &twin(&lab), "--json"]).exits(0).json()["repair"].clone();
    let hurt = outcome["hurt"].as_array().expect("a list");
    assert!(hurt.iter().any(|h| h["named"].to_string().contains("/large")), "{outcome:#}");
    let again = outcome["whole_again"].as_array().expect("a list");
    assert_eq!(again.len(), hurt.len(), "{outcome:#}");
}

/// The files that a restore brings back, of a snapshot that is hurt.
fn readable(lab: &Lab, id: &str, to: &str) -> Vec<PathBuf> {
    let said = lab.restore("hurt", id, to);
    assert_eq!(said.code, Some(13), "{said:#?}");
    let all = files(&lab.path(to)).into_iter();
    let whole = all.filter(|path| !path.to_string_lossy().contains(".lifeboat"));
    whole.map(|path| path.strip_prefix(lab.path(to)).expect("below").to_owned()).collect()
}

#[test]
fn what_nobody_has_is_set_aside_after_its_sound_blobs_were_saved_and_the_next_full_stores_it_anew() {
    let lab = twins();
    // Files with a blob of their own each, some of them in the pack that will be hurt.
    for number in 0..12u64 {
        let path = lab.path("source").join(format!("part-{number}"));
        std::fs::write(path, noise(200 + number, 200_000)).expect("written");
    }
    let before = lab.backup_source(&["hurt"])["snapshot"].as_str().expect("an id").to_owned();
    let size = |path: &PathBuf| std::fs::metadata(path).expect("there").len();
    // The newest snapshot's packs hold parts alone; the larger has six or more.
    let newest = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).expect("there");
    let mut packs = files(&lab.path("hurt/p"));
    packs.sort_by_key(|path| std::cmp::Reverse(newest(path)));
    let pack = packs.into_iter().take(2).max_by_key(size).expect("a pack");
    damage(&pack, 500);
    let could_be_read = readable(&lab, &before, "then");
    let said = repair(&lab, &["--json"]).exits(13);
    let outcome = said.json()["repair"].clone();
    let step = &outcome["steps"][0];
    assert_eq!((&step["by"], &step["end"]), (&"set_aside".into(), &"aside".into()), "{outcome:#}");
    assert!(step["saved"].as_u64() > Some(0), "{outcome:#}");
    assert_eq!(step["lost"], 1, "one flipped bit is one blob: {outcome:#}");
    assert!(!pack.exists() && files(&lab.path("hurt/aside")).len() == 1);
    // What could be read before can be read now, and it is more than the other packs have.
    let can_be_read = readable(&lab, &before, "now");
    assert_eq!(can_be_read, could_be_read);
    assert!(!can_be_read.is_empty() && can_be_read.len() < files(&lab.path("source")).len());
    let full = lab.backup(&["hurt"], &["--full", lab.path("source").to_str().expect("plain")], 0);
    let newest = full["snapshot"].as_str().expect("an id");
    // The blob has a home again, so every snapshot is whole, and nobody misses the old pack.
    let found = lab.verify("hurt", &["--deep"], 0);
    let whole = found["whole"].as_array().expect("a list");
    assert!(whole.iter().any(|id| id == newest) && whole.iter().any(|id| *id == *before), "{found:#}");
    lab.restores_whole("hurt", newest, &lab.path("source"));
}

#[test]
fn a_repair_that_is_interrupted_goes_on_and_two_at_once_do_no_harm() {
    let lab = twins();
    for pack in files(&lab.path("hurt/p")).iter().chain(&files(&lab.path("hurt/m"))) {
        damage(pack, 500);
    }
    let from = twin(&lab);
    let mut children: Vec<_> = (0..3)
        .map(|_| {
            let mut command = lab.command("repair", &["hurt"], &["--from", &from]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            command.spawn().expect("started")
        })
        .collect();
    // One of them does not live to its end.
    drop(children[0].kill());
    for child in &mut children {
        drop(child.wait());
    }
    repair(&lab, &["--from", &from]).exits(0);
    lab.verify("hurt", &["--deep"], 0);
    lab.verify("twin", &["--deep"], 0);
    assert!(files_or_none(&lab.path("hurt/aside")).is_empty());
}

#[test]
fn a_lost_index_is_made_anew_from_packs_alone() {
    let lab = twins();
    let runs = files(&lab.path("hurt/i"));
    // Partly: what is left stays as it is.
    std::fs::remove_file(&runs[0]).expect("removed");
    lab.verify("hurt", &[], 13);
    let made = lab.repo("rebuild-index", &["hurt"], &["--json"]).exits(0).json()["rebuilt"].clone();
    assert!(made["packs"].as_u64() > Some(0), "{made:#}");
    assert!(runs[1].exists());
    lab.verify("hurt", &["--deep"], 0);
    // Wholly, and the local cache with it.
    for run in files(&lab.path("hurt/i")) {
        std::fs::remove_file(run).expect("removed");
    }
    std::fs::remove_dir_all(lab.path("state")).expect("removed");
    lab.repo("rebuild-index", &["hurt"], &[] as &[&str]).exits(0);
    lab.verify("hurt", &["--deep"], 0);
    lab.restores_whole("hurt", "latest", &lab.path("source"));
    let again = lab.repo("rebuild-index", &["hurt"], &["--json"]).exits(0).json();
    assert_eq!(again["rebuilt"]["packs"], 0, "nothing was left to do: {again:#}");
    // The next backup finds everything, and a place is filled from what was made anew.
    let next = lab.backup_source(&["hurt"]);
    assert_eq!(next["stats"]["packs_new"], 0, "{next:#}");
    let mut sync = lab.bare();
    sync.args(["repo", "sync", "--from"]).arg(lab.path("hurt")).arg("--to").arg(lab.path("third"));
    run(sync.arg("--password-file").arg(lab.path("password"))).exits(0);
    lab.verify("third", &["--deep"], 0);
    lab.restores_whole("third", "latest", &lab.path("source"));
}

#[test]
fn a_repair_takes_nothing_from_another_repository() {
    let lab = twins();
    lab.init(&["other"]);
    damage(&largest(&lab.path("hurt")), 500);
    let other = lab.path("other").to_str().expect("plain").to_owned();
    let said = repair(&lab, &["--from", &other]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.err.contains("different repositories"), "{said:#?}");
}

#[test]
fn a_twin_that_is_damaged_too_mends_nothing() {
    let lab = twins();
    damage(&largest(&lab.path("hurt")), 500);
    damage(&largest(&lab.path("twin")), 900);
    let outcome = repair(&lab, &["--from", &twin(&lab), "--json"]).exits(13).json()["repair"].clone();
    assert_eq!(outcome["steps"][0]["by"], "set_aside", "{outcome:#}");
    assert!(outcome["remaining_count"].as_u64() > Some(0), "{outcome:#}");
}

#[test]
fn a_policys_targets_are_mended_from_each_other_and_the_evidence_says_so() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    std::fs::create_dir_all(lab.path("config/policies")).expect("made");
    let policy = format!(
        "source = [{:?}]\n[targets.nas]\nurl = {:?}\n[targets.disk]\nurl = {:?}\n",
        lab.path("source"),
        lab.path("nas"),
        lab.path("disk"),
    );
    std::fs::write(lab.path("config/policies/web.toml"), policy).expect("written");
    let top = |arguments: &[&str]| {
        let mut command = lab.bare();
        run(command.arg("--config").arg(lab.path("config")).args(arguments))
    };
    let said = top(&["run", "web"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    damage(&largest(&lab.path("nas")), 500);
    let said = top(&["repair", "web", "--dry-run"]).exits(13);
    assert!(said.out.contains("copy from disk"), "{said:#?}");
    let said = top(&["repair", "web"]).exits(0);
    assert!(said.out.contains(": mended") && said.out.contains("/large"), "{said:#?}");
    let mut log = String::new();
    for path in files(&lab.path("state")).iter().filter(|path| path.to_string_lossy().contains("evidence")) {
        log += &String::from_utf8_lossy(&std::fs::read(path).expect("read"));
    }
    assert!(log.contains("repair.ended"), "nothing of it is in the evidence");
    top(&["verify", "web"]).exits(0);
    top(&["evidence", "verify"]).exits(0);
}

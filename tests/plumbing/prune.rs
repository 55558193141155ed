//! `repo prune` by the real binary.

use std::path::Path;
use std::sync::Arc;

use lifeboat::repository::access::{Repository, Target};
use lifeboat::repository::format::forget::ForgetRequest;
use lifeboat::repository::format::slot::SlotSecret;
use lifeboat::storage::contract::Storage;
use serde_json::Value;

use crate::lab::{Lab, run};
use crate::s3;
use crate::small_disk::SmallDisk;

/// Forgets a snapshot at one place.
fn forget(lab: &Lab, place: &str, id: &str) {
    lab.repo("forget", &[place], &[id]).exits(0);
}

/// Asks to forget a snapshot, in the administrator's name.
fn request(storage: Arc<dyn Storage>, id: &str) {
    let place = Target { name: "s3".to_owned(), storage: storage.clone(), in_flight: 1 };
    let secret = SlotSecret::passphrase("correct horse battery staple");
    let repository = Repository::open(vec![place], &secret).expect("opened");
    let request = ForgetRequest { snapshot: id.parse().expect("an id") };
    let admin = repository.admin().expect("granted");
    let bytes = request.encode(&repository.id(), &admin).expect("encoded");
    let name = format!("f/{id}").parse().expect("a name");
    storage.put_new(&name, bytes.into()).expect("put");
}

fn count(folder: &Path) -> usize {
    let Ok(read) = std::fs::read_dir(folder) else { return 0 };
    read.map(|entry| {
        let path = entry.expect("read").path();
        if path.is_dir() { count(&path) } else { 1 }
    })
    .sum()
}

/// Files of noise: `names` numbered from 0, as `seed` says.
fn fill(lab: &Lab, names: u64, seed: u64) {
    std::fs::create_dir_all(lab.path("source")).expect("made");
    for number in 0..names {
        let mut state = (seed * 1000 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = vec![0u8; 400_000];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        }
        std::fs::write(lab.path(&format!("source/file-{number}")), bytes).expect("written");
    }
}

fn prune(lab: &Lab, places: &[&str], arguments: &[&str], code: i32) -> Value {
    let arguments = [&["--json"], arguments].concat();
    lab.repo("prune", places, &arguments).exits(code).json()["prune"].clone()
}

#[test]
fn a_prune_by_hand_frees_a_forgotten_backup_and_everything_else_comes_back() {
    let lab = Lab::new();
    lab.init(&["a"]);
    fill(&lab, 8, 1);
    let first = lab.backup_source(&["a"])["snapshot"].as_str().expect("an id").to_owned();
    fill(&lab, 6, 2);
    lab.backup_source(&["a"]);
    forget(&lab, "a", &first);
    let text = lab.repo("prune", &["a"], &["--grace", "0", "--dry-run"]).exits(0);
    assert!(text.out.contains("hold nothing") || text.out.contains("mostly unused"), "{text:#?}");
    let before = count(&lab.path("a"));
    let dry = prune(&lab, &["a"], &["--grace", "0", "--dry-run"], 0);
    assert_eq!(count(&lab.path("a")), before, "a dry run leaves no trace");
    let real = prune(&lab, &["a"], &["--grace", "0"], 0);
    assert_eq!(dry["targets"][0]["plan"], real["targets"][0]["plan"]);
    let done = &real["targets"][0]["done"];
    assert!(done["bytes_deleted"].as_u64().expect("a number") > 2_000_000, "{real:#}");
    lab.verify("a", &["--deep"], 0);
    lab.restore("a", "latest", "back").exits(0);
    // Nothing of it is stored again, and nothing else is to be done.
    let again = lab.backup_source(&["a"]);
    assert_eq!(again["stats"]["blobs_new"], 0, "{again:#}");
    let calm = prune(&lab, &["a"], &["--grace", "0"], 0);
    assert_eq!(calm["targets"][0]["plan"]["condemned"].as_array().expect("a list").len(), 0, "{calm:#}");
}

#[test]
fn grace_is_kept_and_guards_speak_with_exit_codes() {
    let lab = Lab::new();
    lab.init(&["a"]);
    fill(&lab, 3, 3);
    let first = lab.backup_source(&["a"])["snapshot"].as_str().expect("an id").to_owned();
    fill(&lab, 3, 4);
    let second = lab.backup_source(&["a"])["snapshot"].as_str().expect("an id").to_owned();
    forget(&lab, "a", &first);
    let young = prune(&lab, &["a"], &[], 0);
    assert_eq!(young["targets"][0]["plan"]["condemned"].as_array().expect("a list").len(), 0, "{young:#}");
    fill(&lab, 1, 5);
    forget(&lab, "a", &second);
    let said = lab.repo("prune", &["a"], &["--grace", "0"]).exits(14);
    assert!(said.err.contains("E0332") && said.err.contains("--accept-more-than-half"), "{said:#?}");
    lab.repo("prune", &["a"], &["--grace", "0", "--accept-more-than-half"]).exits(0);
    assert_eq!(count(&lab.path("a/p")), 0);
}

#[test]
fn a_disk_without_a_byte_free_is_pruned_dead_packs_first() {
    let lab = Lab::new();
    let disk = SmallDisk::mount(lab.path("disk"), 24);
    lab.init(&["disk/one"]);
    fill(&lab, 8, 6);
    let first = lab.backup_source(&["disk/one"])["snapshot"].as_str().expect("an id").to_owned();
    fill(&lab, 7, 7);
    lab.backup_source(&["disk/one"]);
    forget(&lab, "disk/one", &first);
    disk.fill();
    let done = prune(&lab, &["disk/one"], &["--grace", "0"], 0)["targets"][0]["done"].clone();
    assert!(done["bytes_deleted"].as_u64().expect("a number") > 2_000_000, "{done:#}");
    lab.verify("disk/one", &["--deep"], 0);
    lab.restores_whole("disk/one", "latest", &lab.path("source"));
    disk.free();
}

#[test]
fn a_move_that_finds_no_room_leaves_packs_and_plan_and_goes_on_later() {
    let lab = Lab::new();
    let disk = SmallDisk::mount(lab.path("disk"), 24);
    lab.init(&["disk/one"]);
    fill(&lab, 14, 8);
    let first = lab.backup_source(&["disk/one"])["snapshot"].as_str().expect("an id").to_owned();
    // One file of each pack, at least, and most of each pack stays.
    for number in 0..14 {
        if number % 4 == 0 {
            std::fs::write(lab.path(&format!("source/file-{number}")), b"short").expect("written");
        }
    }
    lab.backup_source(&["disk/one"]);
    forget(&lab, "disk/one", &first);
    disk.fill();
    let packs = count(&lab.path("disk/one/p"));
    let said = lab.repo("prune", &["disk/one"], &["--grace", "0", "--max-unused", "1"]).exits(1);
    assert!(said.err.contains("E0337"), "{said:#?}");
    assert!(count(&lab.path("disk/one/p")) <= packs && count(&lab.path("disk/one/g")) == 1);
    lab.verify("disk/one", &["--deep"], 0);
    disk.free();
    let done =
        prune(&lab, &["disk/one"], &["--grace", "0", "--max-unused", "1"], 0)["targets"][0]["done"].clone();
    assert_eq!(done["plans_done"], 1, "{done:#}");
    lab.verify("disk/one", &["--deep"], 0);
}

#[test]
fn a_disk_and_s3_are_pruned_together_and_each_comes_back_alone() {
    let lab = Lab::new();
    let options = s3::options();
    let bucket = format!("s3://{}/{}", options.bucket, options.prefix);
    let credentials = s3::credentials_file();
    let places = ["disk", bucket.as_str()];
    let endpoint = s3::endpoint();
    let access = ["--endpoint", &endpoint, "--credentials-file", credentials.to_str().expect("plain")];
    let source = lab.path("source");
    let command = |verb: &str, places: &[&str], more: &[&str]| {
        run(&mut lab.command(verb, places, &[&access[..], more].concat())).exits(0)
    };
    command("init", &places, &["--pack-size", "8MiB"]);
    fill(&lab, 8, 9);
    let backup = ["--json", source.to_str().expect("plain")];
    command("backup", &places, &backup);
    fill(&lab, 5, 10);
    let newest = command("backup", &places, &backup).json()["outcome"]["snapshot"].clone();
    // Requests to forget count everywhere, and need no right to delete.
    for place in places {
        let listed = command("snapshots", &[place], &["--json"]).json();
        let old = listed["snapshots"].as_array().expect("a list").iter().find(|s| s["id"] != newest).cloned();
        let old = old.expect("two")["id"].as_str().expect("an id").to_owned();
        if place == "disk" {
            forget(&lab, "disk", &old);
        } else {
            let storage = lifeboat::storage::s3::S3Storage::open(options.clone()).expect("opened");
            request(Arc::new(storage), &old);
        }
    }
    let said = command("prune", &places, &["--json", "--grace", "0", "--accept-more-than-half"]).json();
    let targets = said["prune"]["targets"].as_array().expect("a list").clone();
    assert_eq!(targets.len(), 2, "{said:#}");
    for target in &targets {
        assert!(target["done"]["bytes_deleted"].as_u64().expect("a number") > 1_000_000, "{said:#}");
    }
    // What was moved was sealed once.
    assert_eq!(targets[1]["done"]["blobs_moved"], 0, "{said:#}");
    for place in places {
        command("verify", &[place], &["--deep"]);
        let to = lab.path(if place == "disk" { "back-disk" } else { "back-s3" });
        command("restore", &[place], &["latest", "--to", to.to_str().expect("plain")]);
        crate::lab::same(&source, &to);
    }
    let calm = command("prune", &places, &["--json", "--grace", "0"]).json();
    assert_eq!(
        calm["prune"]["targets"][1]["plan"]["condemned"].as_array().expect("a list").len(),
        0,
        "{calm:#}"
    );
}

#[test]
fn checkpoints_of_a_run_that_ended_are_forgotten() {
    let lab = Lab::new();
    lab.init(&["a"]);
    fill(&lab, 60, 11);
    let source = lab.path("source");
    lab.backup(&["a"], &["--checkpoint-every", "0s", source.to_str().expect("plain")], 0);
    let confirmed = || std::fs::read_dir(lab.path("a/s")).expect("listed").count() / 2;
    assert!(confirmed() > 1, "no checkpoint was made");
    let plan = prune(&lab, &["a"], &["--grace", "0", "--dry-run"], 0)["targets"][0]["plan"].clone();
    assert_eq!(plan["checkpoints"], confirmed() - 1, "{plan:#}");
    let real = prune(&lab, &["a"], &["--grace", "0"], 0)["targets"][0]["plan"].clone();
    assert_eq!(real, plan);
    assert_eq!(confirmed(), 1);
    lab.verify("a", &["--deep"], 0);
    lab.restores_whole("a", "latest", &source);
}

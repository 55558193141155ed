//! `repo prune` by the real binary.

use std::path::Path;

use serde_json::Value;

use crate::lab::Lab;

/// Forgets a snapshot as its owner does: the confirmation, then the object.
fn forget(place: &Path, id: &str) {
    let names: Vec<_> =
        std::fs::read_dir(place.join("s")).expect("listed").map(|e| e.expect("read").path()).collect();
    let is = |path: &&std::path::PathBuf| path.to_str().expect("plain").contains(id);
    let (confirmed, objects): (Vec<_>, Vec<_>) =
        names.iter().filter(is).partition(|path| path.extension().is_some_and(|end| end == "ok"));
    for path in confirmed.into_iter().chain(objects) {
        std::fs::remove_file(path).expect("removed");
    }
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
    forget(&lab.path("a"), &first);
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
    lab.backup_source(&["a"]);
    forget(&lab.path("a"), &first);
    let young = prune(&lab, &["a"], &[], 0);
    assert_eq!(young["targets"][0]["plan"]["condemned"].as_array().expect("a list").len(), 0, "{young:#}");
    fill(&lab, 1, 5);
    for entry in std::fs::read_dir(lab.path("a/s")).expect("listed") {
        std::fs::remove_file(entry.expect("read").path()).expect("removed");
    }
    let said = lab.repo("prune", &["a"], &["--grace", "0"]).exits(14);
    assert!(said.err.contains("E0332") && said.err.contains("--accept-more-than-half"), "{said:#?}");
    lab.repo("prune", &["a"], &["--grace", "0", "--accept-more-than-half"]).exits(0);
    assert_eq!(count(&lab.path("a/p")), 0);
}

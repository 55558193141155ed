//! Restores over another tree that take strangers away, and never what they restored.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::lab::{Lab, Said, noise, run, same};

fn restore(lab: &Lab, to: &Path, more: &[&str]) -> Said {
    let mut command = lab.command("restore", &["one"], &["latest", "--json"]);
    run(command.arg("--to").arg(to).args(more))
}

/// Snapshots these below `sources`, each by its path.
fn backed_up(roots: &[&str]) -> Lab {
    let lab = Lab::new();
    let sources = lab.path("sources");
    std::fs::create_dir_all(sources.join("first/below")).expect("made");
    std::fs::create_dir_all(sources.join("second")).expect("made");
    for name in ["first/one", "first/below/two", "second/three", "alone"] {
        std::fs::write(sources.join(name), name).expect("written");
    }
    std::fs::write(sources.join("large"), noise(1, 3_000_000)).expect("written");
    let pipe = sources.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
    lab.init(&["one"]);
    let roots: Vec<_> = roots.iter().map(|root| sources.join(root)).collect();
    let roots: Vec<_> = roots.iter().map(|root| root.to_str().expect("plain")).collect();
    lab.backup(&["one"], &roots, 0);
    lab
}

const MIRROR: [&str; 2] = ["--overwrite", "--delete"];

#[test]
fn of_several_roots_all_stay_and_strangers_alone_go() {
    let roots = ["first", "second", "alone", "large", "pipe"];
    let lab = backed_up(&roots);
    let back = lab.path("back");
    restore(&lab, &back, &[]).exits(0);
    let sources = lab.path("sources");
    let below = back.join(sources.strip_prefix("/").expect("absolute"));
    let strangers = [back.join("stranger"), below.join("stranger"), below.join("first/below/stranger")];
    for round in 0..2 {
        for stranger in &strangers {
            std::fs::write(stranger, b"not in the snapshot").expect("written");
        }
        let done = restore(&lab, &back, &MIRROR).exits(0).json();
        assert_eq!(done["restore"]["removed"], 3, "{round}: {done:#}");
        assert!(strangers.iter().all(|stranger| !stranger.exists()));
        for root in ["first", "second"] {
            same(&sources.join(root), &below.join(root));
        }
        for root in &roots[2..4] {
            assert!(
                std::fs::read(below.join(root)).expect("there")
                    == std::fs::read(sources.join(root)).expect("there")
            );
        }
        assert!(below.join("pipe").symlink_metadata().is_ok());
        // Now into nothing.
        if round == 0 {
            std::fs::remove_dir_all(below.join("second")).expect("removed");
            std::fs::remove_file(below.join("large")).expect("removed");
        }
    }
}

#[test]
fn a_single_root_that_is_no_folder_stays() {
    for root in ["alone", "large", "pipe"] {
        let lab = backed_up(&[root]);
        let back = lab.path("back");
        std::fs::create_dir(&back).expect("made");
        for _ in 0..2 {
            std::fs::write(back.join("stranger"), b"not in the snapshot").expect("written");
            let done = restore(&lab, &back, &MIRROR).exits(0).json();
            assert_eq!(done["restore"]["removed"], 1, "{root}: {done:#}");
            let is_same = back.join(root).symlink_metadata().expect("there").len()
                == lab.path("sources").join(root).symlink_metadata().expect("there").size();
            assert!(is_same && !back.join("stranger").exists(), "{root}");
        }
    }
}

#[test]
fn a_repository_and_the_state_folder_are_never_restored_into_nor_removed() {
    let lab = backed_up(&["first"]);
    let link = lab.path("link");
    std::os::unix::fs::symlink(lab.path("one"), &link).expect("made");
    std::fs::create_dir_all(lab.path("state")).expect("made");
    let listed = || crate::lab::files(&lab.path("one"));
    let before = listed();
    let to = ["one", "one/new/below", "link", "link/new", "state", "state/new"];
    for (place, more) in
        to.iter().flat_map(|to| [(*to, &[][..]), (*to, &MIRROR[..]), (*to, &["--dry-run"][..])])
    {
        let said = restore(&lab, &lab.path(place), more).exits(14);
        assert!(said.err.contains("E0609"), "{place}: {said:#?}");
    }
    let said = restore(&lab, lab.folder.path(), &MIRROR).exits(14);
    assert!(said.err.contains("E0609") && said.err.contains("contains"), "{said:#?}");
    assert_eq!(listed(), before);
    assert!(!lab.path("state/new").exists());
    // Over a tree that only contains one, without a word of removing: nothing of it is touched.
    // The snapshot has a file of the repository's name.
    restore(&lab, lab.folder.path(), &["--overwrite"]).exits(3);
    assert_eq!(listed(), before);
    lab.verify("one", &[], 0);
}

#[test]
fn further_names_of_a_file_that_could_not_be_restored_stay_and_are_named() {
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir_all(source.join("below")).expect("made");
    for (seed, (first, second)) in [("a-large", "below/large"), ("a-small", "below/small")].iter().enumerate()
    {
        let len = if seed == 0 { 3_000_000 } else { 3_000 };
        std::fs::write(source.join(first), noise(seed as u64, len)).expect("written");
        std::fs::hard_link(source.join(first), source.join(second)).expect("made");
    }
    std::fs::write(source.join("other"), b"other").expect("written");
    lab.init(&["one"]);
    lab.backup_source(&["one"]);
    let back = lab.path("back");
    restore(&lab, &back, &[]).exits(0);
    for first in ["a-large", "a-small"] {
        std::fs::remove_file(back.join(first)).expect("removed");
        std::fs::create_dir(back.join(first)).expect("made");
        std::fs::write(back.join(first).join("in the way"), b"mine").expect("written");
    }
    // With --verify, what was not restored is no damage.
    let done = restore(&lab, &back, &["--overwrite", "--verify"]).exits(3).json()["restore"].clone();
    for (first, second) in [("a-large", "below/large"), ("a-small", "below/small")] {
        let is_right = std::fs::read(back.join(second)).expect("there")
            == std::fs::read(source.join(first)).expect("there");
        assert!(is_right, "{second} stays as it was");
        let named = done["failed"].to_string();
        assert!(named.contains(first) && named.contains(second), "{done:#}");
    }
    assert_eq!((&done["failed"]["count"], &done["differing"]["count"]), (&4.into(), &0.into()), "{done:#}");
    assert_eq!(
        (&done["files"], &done["bytes"], &done["checked"]),
        (&1.into(), &5.into(), &1.into()),
        "{done:#}"
    );
}

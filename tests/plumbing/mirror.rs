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

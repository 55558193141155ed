//! What was hurt is named, and wrong bytes are never given out in silence.

use std::path::Path;

use crate::run::{Bench, moved, objects, same};

/// A way to hurt an object.
type Hurt = (&'static str, fn(&Path));

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("readable");
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).expect("written");
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).expect("readable");
    std::fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn each_hurt_object_is_named_and_the_other_target_restores_whole() {
    let hurts: [Hurt; 3] = [("flip", flip), ("cut", cut), ("remove", remove)];
    let bench = Bench::new();
    let (good, tree) = (bench.path("good"), bench.tree("tree", 6));
    let text = tree.to_str().expect("text");
    let first = bench.path("first");
    bench.repo("init", &[&good, &first], &[]).exits(0);
    bench.repo("backup", &[&good, &first], &[text]).exits(0);
    for below in ["p", "m", "i", "s"] {
        for (word, hurt) in hurts {
            let place = bench.path(&format!("{below}-{word}"));
            let copied = std::process::Command::new("cp").arg("-a").arg(&first).arg(&place).status();
            assert!(copied.expect("cp").success());
            // Of a snapshot's two objects the first is the snapshot, the second its confirmation.
            let object = objects(&place, below).into_iter().next().expect("there is one");
            hurt(&object);
            std::fs::remove_dir_all(bench.path("state")).ok();
            let verified = bench.repo("verify", &[&place], &[]);
            let name = object.strip_prefix(&place).expect("below").to_str().expect("text");
            if below == "s" && word == "remove" {
                // A confirmation without its snapshot confirms nothing: there is no backup here.
                assert!(verified.out.contains("0 snapshots"), "{}", verified.out);
            } else {
                assert_eq!(verified.code, 13, "{below} {word}: {} {}", verified.out, verified.err);
                let hash = name.rsplit('/').next().expect("a name");
                let seen = hash.split(['.', '-']).any(|part| part.len() == 64 && verified.out.contains(part));
                assert!(seen, "{below} {word} is not named: {}", verified.out);
            }
            let out = bench.path(&format!("out-{below}-{word}"));
            let to = out.to_str().expect("text");
            let restored = bench.repo("restore", &[&place], &["latest", "--to", to]);
            assert_ne!(restored.code, 0, "{below} {word}: {}", restored.out);
            for file in objects(&out, "") {
                let original = tree.join(file.strip_prefix(&out).expect("below"));
                assert!(
                    std::fs::read(&file).ok() == std::fs::read(&original).ok(),
                    "{} is wrong",
                    file.display()
                );
            }
        }
    }
    let out = bench.path("out-good");
    bench.repo("restore", &[&good], &["latest", "--to", out.to_str().expect("text"), "--verify"]).exits(0);
    same(&tree, &out);
}

#[test]
fn verify_without_the_key_finds_a_flipped_byte() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 7));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text")]).exits(0);
    let verify = || bench.run(["repo", "verify", "--repo", repo.to_str().expect("text")]);
    verify().exits(0);
    flip(&objects(&repo, "p")[0]);
    verify().exits(13);
}

#[test]
fn exchanged_packs_are_found() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 8));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text")]).exits(0);
    let packs = objects(&repo, "p");
    assert!(packs.len() >= 2, "two packs are open at once");
    let aside = bench.path("aside");
    moved(&packs[0], &aside);
    moved(&packs[1], &packs[0]);
    moved(&aside, &packs[1]);
    let verified = bench.repo("verify", &[&repo], &[]).exits(13);
    assert!(verified.out.contains("hurt: snapshot"), "{}", verified.out);
}

//! Bad input: the right exit code, a clear word, nothing lost.

use crate::run::{Bench, moved, objects, same};

#[test]
fn every_refusal_has_its_exit_code() {
    let bench = Bench::new();
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 9));
    let text = tree.to_str().expect("text");
    bench.repo("snapshots", &[&repo], &[]).exits(10);
    bench.repo("init", &[&repo], &["--pack-size", "1 KiB"]).exits(2);
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("init", &[&repo], &[]).exits(1);
    bench.repo("backup", &[&repo], &["/nowhere/at/all"]).exits(1);
    std::fs::create_dir(bench.path("empty")).expect("made");
    bench.repo("backup", &[&repo], &[bench.path("empty").to_str().expect("text")]).exits(1);
    assert!(objects(&repo, "s").is_empty(), "no failed run leaves a snapshot");
    bench.repo("backup", &[&repo], &[text]).exits(0);
    bench.repo("restore", &[&repo], &["deadbeef", "--to", "/dev/null/x"]).exits(1);
    bench.repo("restore", &[&repo], &["latest", "--to", "out", "--path", "no/such"]).exits(1);
    bench.private("pw", b"another passphrase\n");
    bench.repo("snapshots", &[&repo], &[]).exits(12);
    bench.private("pw", b"\n");
    bench.repo("snapshots", &[&repo], &[]).exits(2);
    bench.run(["no-such-command"]).exits(2);
    bench.run(["--help"]).exits(0);
}

#[test]
fn a_limit_that_would_have_no_effect_is_refused() {
    let bench = Bench::new();
    for arguments in [
        &["plan", "--upload-limit", "5MB/s"][..],
        &["daemon", "--upload-limit", "5MB/s"],
        &["daemon", "--workers", "2"],
        &["check", "--download-limit", "5MB/s"],
        &["run", "web", "--upload-limit", "5 parsecs"],
        &["run", "web", "--upload-limit", "5MB/s weekdays"],
        &["run", "web", "--nice", "20"],
        &["run", "web", "--workers", "0"],
        &["run", "web", "--ionice", "realtime"],
    ] {
        bench.run(arguments.iter().copied()).exits(2);
    }
    let (repo, tree) = (bench.path("repo"), bench.tree("tree", 12));
    let text = tree.to_str().expect("text");
    bench.repo("init", &[&repo], &[]).exits(0);
    for wrong in ["0", "20", "best"] {
        bench.repo("backup", &[&repo], &[text, "--compression", wrong]).exits(2);
    }
    let limits = ["--upload-limit", "50MB/s", "--workers", "1", "--nice", "3", "--ionice", "best-effort 7"];
    for level in ["none", "fast", "-3", "7"] {
        let arguments = [&[text, "--full", "--compression", level][..], &limits[..]].concat();
        bench.repo("backup", &[&repo], &arguments).exits(0);
    }
    let out = bench.path("out");
    bench.repo("restore", &[&repo], &["latest", "--to", out.to_str().expect("text")]).exits(0);
    same(&tree, &out);
}

#[test]
fn a_restore_overwrites_only_when_told_to() {
    let bench = Bench::new();
    let (repo, tree, out) = (bench.path("repo"), bench.tree("tree", 10), bench.path("out"));
    bench.repo("init", &[&repo], &[]).exits(0);
    bench.repo("backup", &[&repo], &[tree.to_str().expect("text")]).exits(0);
    std::fs::create_dir_all(out.join("d1")).expect("made");
    std::fs::write(out.join("d1/f1"), b"mine").expect("written");
    std::fs::write(out.join("d1/stray"), b"mine too").expect("written");
    let to = out.to_str().expect("text");
    // Who only plans is told the same, and everything is as it was.
    let dry = bench.repo("restore", &[&repo], &["latest", "--to", to, "--dry-run"]);
    let real = bench.repo("restore", &[&repo], &["latest", "--to", to]);
    assert_eq!((dry.code, real.code, &dry.err), (14, 14, &real.err));
    let file = out.join("d1/f1");
    let at = ["latest", "--to", file.to_str().expect("text")];
    let dry = bench.repo("restore", &[&repo], &[&at[..], &["--dry-run"]].concat());
    let real = bench.repo("restore", &[&repo], &at);
    assert_eq!((dry.code, &dry.err), (real.code, &real.err));
    assert_ne!(dry.code, 0);
    bench.repo("restore", &[&repo], &["latest", "--to", to, "--overwrite", "--dry-run"]).exits(0);
    assert_eq!(std::fs::read(out.join("d1/f1")).expect("there"), b"mine", "it was not touched");
    bench.repo("restore", &[&repo], &["latest", "--to", to, "--overwrite"]).exits(0);
    assert!(out.join("d1/stray").exists());
    bench.repo("restore", &[&repo], &["latest", "--to", to, "--overwrite", "--delete", "--verify"]).exits(0);
    same(&tree, &out);
    let dry = bench.path("dry");
    bench.repo("restore", &[&repo], &["latest", "--to", dry.to_str().expect("text"), "--dry-run"]).exits(0);
    assert!(!dry.exists(), "a dry run writes nothing");
}

#[test]
fn an_unreachable_target_lags_and_the_next_run_completes_it() {
    let bench = Bench::new();
    let (one, two, tree) = (bench.path("one"), bench.path("two"), bench.tree("tree", 11));
    let text = tree.to_str().expect("text");
    bench.repo("init", &[&one, &two], &[]).exits(0);
    let aside = bench.path("aside");
    moved(&two, &aside);
    let ran = bench.repo("backup", &[&one, &two], &[text, "--json"]);
    assert_ne!(ran.code, 0, "a missing target is never a success: {}", ran.out);
    moved(&aside, &two);
    bench.repo("backup", &[&one, &two], &[text]).exits(0);
    std::fs::remove_dir_all(&one).expect("lost");
    let out = bench.path("out");
    bench.repo("restore", &[&two], &["latest", "--to", out.to_str().expect("text")]).exits(0);
    same(&tree, &out);
}

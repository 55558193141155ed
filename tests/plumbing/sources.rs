//! What a backup takes and what it leaves out, from the command line.

use std::path::Path;

use serde_json::{Value, json};

use crate::lab::Lab;

fn tree(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, *name).expect("written");
    }
}

/// Everything below a folder, sorted, folders with a slash at their end.
fn listed(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").display().to_string();
            if path.is_dir() && !path.is_symlink() {
                names.push(name + "/");
                folders.push(path);
            } else {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}

fn restored(lab: &Lab) -> Vec<String> {
    let to = lab.path("restored");
    if to.exists() {
        std::fs::remove_dir_all(&to).expect("removed");
    }
    lab.repo("restore", &["one"], &["latest", "--to", to.to_str().expect("plain"), "--verify"]).exits(0);
    listed(&to)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

#[test]
fn rules_leave_out_what_they_say_and_the_outcome_declares_it() {
    let lab = Lab::new();
    let source = lab.path("source");
    tree(
        &source,
        &["docs/a.pdf", "docs/a.tmp", "docs/old/b.pdf", "big.pdf", "cache/x.pdf", "no/.nobackup", "no/y"],
    );
    std::fs::write(source.join("big.pdf"), vec![1; 5000]).expect("written");
    let tag = "Signature: 8a477f597d28d172789f06886806bc55";
    std::fs::write(source.join("cache/CACHEDIR.TAG"), tag).expect("written");
    std::fs::write(lab.path("rules"), "# temporary files\n*.tmp\n\n*.typo\n").expect("written");
    lab.init(&["one"]);
    let rules = lab.path("rules");
    let arguments = [
        "--exclude-file",
        text(&rules),
        "--exclude",
        "old/",
        "--exclude-larger-than",
        "4KiB",
        "--exclude-if-present",
        ".nobackup",
        text(&source),
    ];
    let outcome = lab.backup(&["one"], &arguments, 0);
    let out = &outcome["left_out"];
    let count = |key: &str| out[key].as_u64();
    assert_eq!(
        (count("by_pattern"), count("folders"), count("larger")),
        (Some(2), Some(1), Some(1)),
        "{out:#}"
    );
    assert_eq!((count("caches"), count("marked"), count("mounts")), (Some(1), Some(1), Some(0)), "{out:#}");
    assert_eq!(count("bytes"), Some(5000 + 10));
    assert_eq!(outcome["stats"]["excluded"], 5);
    assert_eq!(out["idle_patterns"], json!([{ "list": "exclude", "pattern": "*.typo" }]));
    assert_eq!(restored(&lab), ["cache/", "docs/", "docs/a.pdf", "no/"]);
    // The same source with other rules: the parent's rules are no rules of this run.
    let all = lab.backup(&["one"], &["--with-caches", text(&source)], 0);
    assert_eq!(all["kind"], "incremental");
    assert_eq!(all["left_out"]["by_pattern"], 0);
    assert_eq!(restored(&lab).len(), 12);
    let said =
        lab.repo("backup", &["one"], &["--exclude", "*.typo", "--exclude", "*.tmp", text(&source)]).exits(0);
    assert!(
        said.out.contains("left out by rules: 1 entries by patterns, 1 caches (at least 10 B)"),
        "{said:#?}"
    );
}

#[test]
fn includes_take_only_what_they_match_and_the_way_to_it() {
    let lab = Lab::new();
    let source = lab.path("source");
    tree(&source, &["docs/a.pdf", "docs/a.txt", "src/main.rs", "src/deep/er/b.pdf", "none/at/all.txt"]);
    lab.init(&["one"]);
    lab.backup(&["one"], &["--include", "*.pdf", "--exclude", "a.*", text(&source)], 0);
    assert_eq!(restored(&lab), ["src/", "src/deep/", "src/deep/er/", "src/deep/er/b.pdf"]);
    lab.backup(&["one"], &["--include", "/src", "--include", "!*.rs", text(&source)], 0);
    assert_eq!(restored(&lab), ["src/", "src/deep/", "src/deep/er/", "src/deep/er/b.pdf"]);
    // Ten thousand lines, most of them for nothing.
    let many: String = (0..10_000)
        .map(|n| format!("/docs/file-{n}{}.pdf\n", if n % 50 == 0 { "-*" } else { "" }))
        .chain(["/docs/a.pdf\n".to_owned()])
        .collect();
    std::fs::write(lab.path("list"), many).expect("written");
    let outcome = lab.backup(&["one"], &["--include-file", text(&lab.path("list")), text(&source)], 0);
    assert_eq!(restored(&lab), ["docs/", "docs/a.pdf"]);
    let idle = outcome["left_out"]["idle_patterns"].as_array().map(Vec::len);
    assert_eq!(idle, Some(1000), "named up to the bound");
}

#[test]
fn bad_rules_are_refused_before_anything_is_done() {
    let lab = Lab::new();
    let source = lab.path("source");
    tree(&source, &["a"]);
    lab.init(&["one"]);
    let pipe = lab.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("made");
    let huge = lab.path("huge");
    std::fs::write(&huge, vec![b'x'; 100_000_000]).expect("written");
    let garbage = lab.path("garbage");
    std::fs::write(&garbage, b"\xff\xfe\0\x01").expect("written");
    for file in [&pipe, &huge, &garbage, &lab.path("missing"), &source] {
        for flag in ["--exclude-file", "--include-file"] {
            let said = lab.repo("backup", &["one"], &[flag, text(file), text(&source)]).exits(2);
            assert!(said.err.contains("E0445"), "{said:#?}");
        }
    }
    let said = lab.repo("backup", &["one"], &["--exclude", "[z-a]", text(&source)]).exits(2);
    assert!(said.err.contains("E0402"), "{said:#?}");
    lab.repo("backup", &["one"], &["--exclude-larger-than", "much", text(&source)]).exits(2);
    let list = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
    assert_eq!(list["snapshots"], Value::Array(Vec::new()), "nothing was backed up");
}

#[test]
fn roots_inside_roots_and_roots_named_twice_are_taken_once() {
    let lab = Lab::new();
    let source = lab.path("source");
    tree(&source, &["outer/inner/deep/file", "outer/inner/x", "outer/y", "outer/single", "other/z"]);
    std::os::unix::fs::symlink("other", source.join("link")).expect("made");
    lab.init(&["one"]);
    let at = |name: &str| text(&source.join(name)).to_owned();
    let roots = [at("outer"), at("outer/inner"), at("outer/single"), at("link"), at("outer")];
    let outcome = lab.backup(&["one"], &roots.each_ref().map(String::as_str), 0);
    assert_eq!(outcome["stats"]["files"], 5, "each file once: {outcome:#}");
    assert_eq!(outcome["roots"].as_array().map(Vec::len), Some(4));
    assert_eq!(outcome["roots"][3]["real"], at("other"), "{outcome:#}");
    let prefix = at("").trim_matches('/').to_owned();
    let names: Vec<String> = restored(&lab)
        .iter()
        .filter_map(|name| name.strip_prefix(&format!("{prefix}/")).map(str::to_owned))
        .collect();
    let expected = [
        "",
        "link/",
        "link/z",
        "outer/",
        "outer/inner/",
        "outer/inner/deep/",
        "outer/inner/deep/file",
        "outer/inner/x",
        "outer/single",
        "outer/y",
    ];
    assert_eq!(names, expected);
    let again = lab.backup(&["one"], &roots.each_ref().map(String::as_str), 0);
    assert_eq!(again["kind"], "incremental");
    assert_eq!(again["stats"]["blobs_new"], 0, "{again:#}");
    let said = lab.repo("backup", &["one"], &[&at("other"), &at("gone")]).exits(1);
    assert!(said.err.contains("gone") && said.err.contains("E0601"), "{said:#?}");
}

#[test]
fn a_root_that_goes_up_again_is_the_folder_it_leads_to() {
    let lab = Lab::new();
    lab.init(&["one"]);
    tree(&lab.path("a"), &["one"]);
    tree(&lab.path("b"), &["two"]);
    let up = lab.path("a/../b");
    let roots = [lab.path("a"), lab.path("b"), up.clone()];
    let done = lab.backup(&["one"], &roots.each_ref().map(|root| root.to_str().expect("plain")), 0);
    let found: Vec<&str> =
        done["roots"].as_array().expect("roots").iter().filter_map(|root| root["path"].as_str()).collect();
    assert_eq!(found, [&lab.path("a"), &lab.path("b")].map(|root| root.to_str().expect("plain")));
    lab.restore("one", "latest", "back").exits(0);
    lab.repo("backup", &["one"], &[lab.path("none/../b").to_str().expect("plain")]).exits(2);
}

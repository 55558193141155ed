//! The house holds: floors, nevers and words of `ARCHITECTURE.md`, read from the text of `src`,
//! and `docs/invariants.md`, whose tests must exist.
//!
//! Each rule has a planted violation that it must find, so that a rule can't fall silent.

#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rules::violations;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the package: its path from the top, and its text.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![top().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the package can be read") {
            let path = entry.expect("a folder of the package can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let name = path
                    .strip_prefix(top())
                    .expect("found below the top")
                    .to_str()
                    .expect("ASCII")
                    .to_owned();
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_tree_keeps_every_rule() {
    let files = rust_files("src");
    assert!(files.iter().any(|(path, _)| path == "src/base/mod.rs"), "the tree wasn't found");
    let borrowed: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let found = violations(&borrowed);
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

/// Names in backticks in the last column of the table rows of a page.
fn tests_named_in(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter(|line| line.starts_with("| ") && line.ends_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

fn functions_of(files: &[(String, String)]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in files {
        for pair in source::tokens(text).windows(2) {
            if pair[0].text == "fn" {
                names.insert(pair[1].text.clone());
            }
        }
    }
    names
}

#[test]
fn every_test_that_an_invariant_names_exists() {
    let page = fs::read_to_string(top().join("docs/invariants.md")).expect("docs/invariants.md can be read");
    let named = tests_named_in(&page);
    assert!(!named.is_empty(), "docs/invariants.md names no test");
    let functions = functions_of(&[rust_files("src"), rust_files("tests")].concat());
    let missing: Vec<_> = named.into_iter().filter(|name| !functions.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/invariants.md names tests that don't exist: {missing:#?}");
}

#[test]
fn a_test_that_does_not_exist_is_missed() {
    let page = "| what | held by |\n|---|---|\n| I1 `not_this` | `real`, `gone` |\n";
    assert_eq!(tests_named_in(page), BTreeSet::from(["real", "gone"]));
    let text = "fn real() {} // fn gone()\nconst S: &str = \"fn gone()\";";
    let functions = functions_of(&[("tests/x.rs".to_owned(), text.to_owned())]);
    assert!(functions.contains("real") && !functions.contains("gone"));
}

/// One violation, at this line, whose message has these words.
#[track_caller]
fn finds(path: &str, text: &str, line: usize, words: &str) {
    let found = violations(&[(path, text)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("{path}:{line}: ")), "{found:?}");
    assert!(found[0].contains(words), "{found:?}");
}

#[track_caller]
fn allows(path: &str, text: &str) {
    assert_eq!(violations(&[(path, text)]), Vec::<String>::new());
}

#[test]
fn an_import_of_a_floor_above_is_found() {
    finds("src/codec/hash.rs", "\nuse crate::engine::backup;", 2, "`codec` imports `engine`, a floor above");
    finds("src/codec/hash.rs", "fn f() {\n    crate::app::run();\n}", 2, "`app`");
    finds("src/codec/hash.rs", "use crate::{base::id, engine::{backup, restore}};", 1, "`engine`")
}

#[test]
fn an_import_of_a_neighbour_is_found() {
    finds("src/codec/hash.rs", "use crate::storage::contract::Storage;", 1, "its neighbour");
    finds("src/cli/commands/run.rs", "use crate::daemon;", 1, "its neighbour");
}

#[test]
fn an_import_in_a_test_module_is_found_too() {
    finds("src/codec/hash.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine::x;\n}", 3, "`engine`");
}

#[test]
fn a_climb_by_super_is_found() {
    finds("src/codec/hash.rs", "use super::super::engine::x;", 1, "`engine`");
    finds("src/codec/mod.rs", "pub use super::engine::x;", 1, "`engine`");
    finds("src/codec/hash.rs", "mod inner {\n    use super::super::super::engine::x;\n}", 2, "`engine`");
    allows("src/codec/hash.rs", "mod inner {\n    use super::super::engine::x;\n}");
}

#[test]
fn imports_that_go_down_are_allowed() {
    allows("src/evidence/head.rs", "use crate::codec::sign;\nuse crate::base::{id, clock};");
    allows("src/main.rs", "use lifeboat::{cli, daemon};");
    allows(
        "src/engine/backup.rs",
        "// use crate::cli\n/* crate::cli:: /* nested */ crate::app:: */\nconst A: &str = \"crate::cli::x\";\nconst B: &str = r#\"crate::\"app::x\"#;\nfn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }\nuse crate::codec::hash;",
    );
}

#[test]
fn an_unknown_folder_is_found() {
    finds("src/cellar/wine.rs", "", 1, "`cellar` is not a floor");
}

#[test]
fn a_report_that_opens_a_repository_is_found() {
    finds("src/report/status.rs", "use crate::repository::index;", 1, "never imports `repository`");
    finds("src/report/status.rs", "use crate::engine::verify;", 1, "never imports `engine`");
    allows("src/report/status.rs", "use crate::catalog::copies;");
}

#[test]
fn code_in_a_mod_rs_is_found() {
    finds("src/codec/mod.rs", "//! Head.\n\npub mod hash;\n\nfn f() {}", 5, "`mod.rs` holds");
    finds("src/codec/mod.rs", "mod inner {}", 1, "`mod.rs` holds");
    allows(
        "src/codec/mod.rs",
        "//! Head.\n#![warn(x)]\n#[cfg(any(test, feature = \"testing\"))]\npub(in crate::codec) mod hash;\npub use hash::{A, B as C};",
    );
}

#[test]
fn a_file_that_is_too_long_is_found() {
    finds("src/codec/hash.rs", &"// line\n".repeat(601), 601, "601 lines of production code");
    let tests_do_not_count =
        format!("{}#[cfg(test)]\nmod tests {{\n{}}}", "// line\n".repeat(600), "\n".repeat(500));
    allows("src/codec/hash.rs", &tests_do_not_count);
}

#[test]
fn a_crate_outside_its_room_is_found() {
    finds("src/engine/backup.rs", "use clap::Parser;", 1, "`clap` stays in");
    finds("src/app/run.rs", "use axum::Router;", 1, "`axum` stays in");
    finds("src/engine/backup.rs", "fn f() { tokio::spawn(x); }", 1, "`tokio` stays in");
    finds("src/app/status.rs", "use sqlx;", 1, "`sqlx` stays in");
    allows("src/storage/s3/driver.rs", "use tokio::time;\nuse aws_sdk_s3::Client;");
    allows("src/catalog/sql.rs", "use tokio::runtime::Runtime;");
}

#[test]
fn async_outside_its_rooms_is_found() {
    finds("src/engine/backup.rs", "pub async fn f() {}", 1, "`async` outside");
    allows("src/storage/s3/driver.rs", "async fn f() { g().await }");
}

#[test]
fn a_rename_or_fsync_outside_base_durable_is_found() {
    finds("src/engine/backup.rs", "fn f() { std::fs::rename(a, b) }", 1, "`fs::rename`");
    finds("src/engine/backup.rs", "use std::fs::{self, rename};", 1, "`fs::rename`");
    finds("src/storage/local.rs", "fn f() { file.sync_all() }", 1, "`sync_all`");
    finds("src/storage/local.rs", "fn f() { rustix::fs::fsync(file) }", 1, "`fsync`");
    allows("src/base/durable.rs", "fn f() { std::fs::rename(a, b); file.sync_all() }");
    allows("src/storage/local.rs", "#[cfg(test)]\nmod tests { fn f() { std::fs::rename(a, b); } }");
}

#[test]
fn storage_that_knows_what_it_stores_is_found() {
    finds("src/storage/local.rs", "fn put(last_snapshot: u8) {}", 1, "`snapshot`");
    finds("src/storage/local.rs", "struct PackName;", 1, "`pack`");
    finds("src/storage/local.rs", "fn repositories() {}", 1, "`repositories`");
    allows("src/storage/local.rs", "// a pack\nfn f(unpacked: u8) -> usize { PACK_BYTES_MAX }");
}

#[test]
fn a_codec_or_policy_that_acts_is_found() {
    finds("src/codec/hash.rs", "use std::fs::File;", 1, "`codec` never acts");
    finds("src/codec/hash.rs", "use std::{fmt, net};", 1, "std::net");
    finds("src/policy/due.rs", "fn f() { std::fs::read(x) }", 1, "`policy` never acts");
    allows("src/policy/load.rs", "use std::fs::File;");
    allows("src/policy/load/file.rs", "use std::fs::File;");
}

#[test]
fn an_unwrap_in_production_is_found() {
    finds("src/engine/backup.rs", "fn f() {\n    g().unwrap()\n}", 2, "`unwrap`");
    allows(
        "src/engine/backup.rs",
        "fn f() { g().unwrap_or(0) }\n#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }",
    );
    allows("src/repository/manifest/tests.rs", "fn f() { g().unwrap() }");
}

#[test]
fn a_word_that_is_not_ours_is_found() {
    finds("src/engine/backup.rs", "struct RunManager;", 1, "`manager`");
    finds("src/engine/backup.rs", "mod test_helpers;", 1, "`helpers`");
    finds("src/engine/utils.rs", "", 1, "`utils` names a file");
    allows("src/engine/backup.rs", "struct Imagination;\nfn uncommon(archived: u8) {}");
}

#[test]
fn a_delete_outside_the_sweep_is_found() {
    finds("src/engine/backup.rs", "fn f() { target.delete(name) }", 1, "deleted only in");
    finds("src/repository/index.rs", "fn f() { Storage::delete(target, name) }", 1, "deleted only in");
    allows("src/repository/sweep.rs", "fn f() { target.delete(name) }");
    allows("src/storage/retry.rs", "fn f() { target.delete(name) }");
}

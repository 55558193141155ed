//! Configurations that nobody would write on purpose: each is refused with a word, none hangs,
//! none is passed over in silence.

use std::path::Path;
use std::process::Command;

use crate::run::{Bench, Ran};

const GOOD: &str = "source = [\"/srv/web\"]\n[targets.disk]\nurl = \"file:///mnt/backup\"\n";

/// `check` on a configuration with a good policy, after something was done to its folder.
fn check(spoil: impl FnOnce(&Path)) -> Ran {
    let bench = Bench::new();
    let config = bench.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    std::fs::write(config.join("policies/web.toml"), GOOD).expect("written");
    spoil(&config);
    let ran = bench.run(["--config", config.to_str().expect("text"), "check"]);
    assert!(!bench.path("state").exists(), "a check makes nothing");
    assert!(!ran.err.contains("E9999"), "{}", ran.err);
    ran
}

fn policy(text: impl AsRef<[u8]>) -> Ran {
    check(|config| std::fs::write(config.join("policies/web.toml"), text).expect("written")).exits(2)
}

fn linked(name: &str, to: &str) -> Ran {
    check(|config| std::os::unix::fs::symlink(to, config.join(name)).expect("linked")).exits(2)
}

#[test]
fn text_that_is_no_configuration_is_refused_at_its_place() {
    check(|_| ()).exits(0);
    for (text, word) in [
        (b"source = [\"/a\0b\"]\n".to_vec(), "web.toml:1:"),
        (b"source = [\"/a\\u0000b\"]\n".to_vec(), "control character"),
        (b"source = [\"/a\xff\"]\n".to_vec(), "not UTF-8"),
        (format!("{GOOD}[targets.disk]\nurl = \"file:///x\"\n").into_bytes(), "duplicate key"),
        (format!("a = {}\n", "[".repeat(400_000)).into_bytes(), "error[E"),
        (format!("a = {}\n", "{a=".repeat(300_000)).into_bytes(), "error[E"),
        (vec![b'a'; 2_000_000], "larger than 1 MiB"),
    ] {
        let ran = policy(text);
        assert!(ran.err.contains(word), "{word} is missing: {}", &ran.err[..ran.err.len().min(2000)]);
    }
}

#[test]
fn many_unknown_keys_are_all_refused() {
    let keys: String = (0..5_000).map(|n| format!("key{n} = 1\n")).collect();
    let ran = policy(keys + GOOD);
    assert!(ran.err.contains("key0") && ran.err.contains("key4999"));
}

#[test]
fn control_characters_of_a_configuration_never_reach_the_terminal() {
    let ran = policy(format!("\"\\u001b[31mevil\" = 3\nrpo = \"\x1b[2J\"\n{GOOD}"));
    assert!(!ran.err.contains('\x1b') && !ran.out.contains('\x1b'), "{:?}", ran.err);
}

#[test]
fn a_name_that_is_no_regular_file_is_a_problem_and_no_wait() {
    for name in ["lifeboat.toml", "policies/more.toml"] {
        for to in ["/dev/zero", "more.toml", "lifeboat.toml", "/"] {
            let ran = linked(name, to);
            assert!(ran.err.contains("cannot be read"), "{name} to {to}: {}", ran.err);
        }
        let pipe = check(|config| {
            let made = Command::new("mkfifo").arg(config.join(name)).status();
            assert!(made.is_ok_and(|status| status.success()));
        });
        assert!(pipe.exits(2).err.contains("not a regular file"));
    }
    // A policy that is a link to nothing would otherwise be a backup that never runs.
    assert!(linked("policies/more.toml", "nowhere").err.contains("policies/more.toml"));
}

//! Keys: what opens a repository, from the command line.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::run::{Bench, Ran, objects, of, same};

/// `lifeboat repo VERB --repo REPO ARGUMENT...`, without a secret.
fn repo(bench: &Bench, verb: &str, place: &Path, arguments: &[&str]) -> Ran {
    let mut command = bench.command();
    command.args(["repo", verb, "--repo"]).arg(place).args(arguments);
    of(command.output().expect("the binary starts"))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_key_file_is_made_by_init_and_opens_everything_that_a_passphrase_does() {
    let bench = Bench::new();
    let (place, tree) = (bench.path("repo"), bench.tree("tree", 3));
    let key = ["--key-file", "key"];
    let made = repo(&bench, "init", &place, &[&key[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(made["key_file_made"], true);
    assert_eq!(mode(&bench.path("key")), 0o600);
    let text = std::fs::read_to_string(bench.path("key")).expect("text");
    assert!(text.starts_with("lifeboat-key-1") && text.lines().count() == 1, "{} bytes", text.len());
    repo(&bench, "backup", &place, &[&key[..], &[tree.to_str().expect("text")]].concat()).exits(0);
    for (verb, arguments) in [
        ("snapshots", &[][..]),
        ("ls", &["latest"]),
        ("find", &["f1*"]),
        ("diff", &["latest", "latest"]),
        ("dump", &["latest", "d1/f1"]),
        ("stats", &[]),
        ("verify", &["--deep"]),
        ("restore", &["latest", "--to", "out", "--verify"]),
    ] {
        for flag in ["--key-file", "--password-file"] {
            let out = bench.path("out");
            if out.exists() {
                std::fs::remove_dir_all(out).expect("removed");
            }
            repo(&bench, verb, &place, &[&[flag, "key"], arguments].concat()).exits(0);
        }
    }
    same(&tree, &bench.path("out"));
    let to = bench.path("second");
    let sync = |arguments: &[&str]| {
        let mut command = bench.command();
        command.args(["repo", "sync", "--from"]).arg(&place).arg("--to").arg(&to).args(arguments);
        of(command.output().expect("the binary starts"))
    };
    sync(&key).exits(0);
    repo(&bench, "verify", &to, &[&key[..], &["--deep"]].concat()).exits(0);
}

#[test]
fn a_secret_is_named_once_and_a_wrong_one_says_which_kind() {
    let bench = Bench::new();
    let place = bench.path("repo");
    repo(&bench, "init", &place, &["--key-file", "key"]).exits(0);
    let both = ["--key-file", "key", "--password-file", "pw"];
    repo(&bench, "snapshots", &place, &both).exits(2);
    repo(&bench, "stats", &place, &both).exits(2);
    repo(&bench, "snapshots", &place, &[]).exits(2);
    repo(&bench, "verify", &place, &["--deep"]).exits(2);
    let said = repo(&bench, "snapshots", &place, &["--password-file", "pw"]).exits(12).err;
    assert!(said.contains("the passphrase opens none of the 1 key slots"), "{said}");
    // A key file is made by init alone, and never over a file that is there.
    repo(&bench, "snapshots", &place, &["--key-file", "typo"]).exits(2);
    assert!(!bench.path("typo").exists());
    repo(&bench, "init", &bench.path("other"), &["--key-file", "key2"]).exits(0);
    let said = repo(&bench, "snapshots", &place, &["--key-file", "key2"]).exits(12).err;
    assert!(said.contains("the key file opens none of the 1 key slots"), "{said}");
    repo(&bench, "init", &bench.path("third"), &["--key-file", "pw"]).exits(12);
    assert!(objects(&bench.path("third"), "").is_empty(), "nothing was made");
    std::fs::set_permissions(bench.path("key"), std::fs::Permissions::from_mode(0o644)).expect("set");
    let said = repo(&bench, "snapshots", &place, &["--key-file", "key"]).exits(2).err;
    assert!(said.contains("E0810") && said.contains("chmod 600"), "{said}");
}

#[test]
fn a_site_that_has_a_passphrase_for_its_key_goes_on_with_it() {
    let bench = Bench::new();
    let (config, tree) = (bench.path("config"), bench.tree("tree", 5));
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let policy = format!(
        "source = [{tree:?}]\nrpo = \"2h\"\nrto = \"4h\"\n[targets.disk]\nurl = \"file://{}\"\n",
        bench.path("disk").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let lifeboat =
        |arguments: &[&str]| bench.run([&["--config", config.to_str().expect("text")], arguments].concat());
    // As versions before key files made it.
    std::fs::create_dir_all(bench.path("state/keys")).expect("made");
    bench.private("state/keys/repository.key", format!("{}\n", "ab".repeat(32)).as_bytes());
    lifeboat(&["run", "web"]).exits(0);
    let at = bench.path("state/keys/repository.key");
    let at = at.to_str().expect("text");
    repo(&bench, "snapshots", &bench.path("disk"), &["--password-file", at]).exits(0);
    // A site that begins now gets a key file.
    std::fs::remove_dir_all(bench.path("state")).expect("removed");
    std::fs::remove_dir_all(bench.path("disk")).expect("removed");
    lifeboat(&["run", "web"]).exits(0);
    assert!(std::fs::read_to_string(at).expect("text").starts_with("lifeboat-key-1"));
    for flag in ["--key-file", "--password-file"] {
        repo(&bench, "snapshots", &bench.path("disk"), &[flag, at]).exits(0);
    }
}

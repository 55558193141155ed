//! Keys: what opens a repository, from the command line.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::run::{Bench, Ran, moved, objects, of, same};
use crate::s3;

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
    let made = repo(&bench, "init", &place, &[&key[..], &["--json"]].concat()).exits(0);
    assert_eq!(made.out.lines().count(), 1, "with --json there is the result alone: {}", made.out);
    let made = made.json();
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
    repo(&bench, "init", &place, &["--key-file", "key3"]).exits(1);
    assert!(!bench.path("key3").exists(), "no key is made beside a repository that it would not open");
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

/// The slots of a repository, as `key list --json` tells.
fn slots(bench: &Bench, arguments: &[&str], code: i32) -> Vec<serde_json::Value> {
    let mut command = bench.command();
    command.args(["repo", "key", "list", "--json"]).args(arguments);
    let listed = of(command.output().expect("the binary starts")).exits(code).json();
    listed["keys"]["slots"].as_array().expect("a list").clone()
}

fn key(bench: &Bench, verb: &str, arguments: &[&str]) -> Ran {
    let mut command = bench.command();
    of(command.args(["repo", "key", verb]).args(arguments).output().expect("the binary starts"))
}

#[test]
fn slots_are_added_replaced_and_removed_and_one_that_opens_is_always_left() {
    let bench = Bench::new();
    let tree = bench.tree("tree", 4);
    let place = bench.path("repo");
    repo(&bench, "init", &place, &["--key-file", "one"]).exits(0);
    repo(&bench, "backup", &place, &["--key-file", "one", tree.to_str().expect("text")]).exits(0);
    let opens = |arguments: &[&str]| repo(&bench, "snapshots", &place, arguments).code;
    // A passphrase beside the key file; adding it again adds nothing.
    for _ in 0..2 {
        key(&bench, "add", &["--repo", "repo", "--key-file", "one", "--new-password-file", "pw"]).exits(0);
        assert_eq!(slots(&bench, &["--repo", "repo"], 0).len(), 2);
    }
    assert_eq!((opens(&["--key-file", "one"]), opens(&["--password-file", "pw"])), (0, 0));
    // The slot that the given secret opens stays.
    let listed = slots(&bench, &["--repo", "repo", "--key-file", "one"], 0);
    let own = listed.iter().find(|slot| slot["opened"] == true).expect("one is opened");
    assert_eq!(own["kind"], "key file");
    let own = own["id"].as_str().expect("an id");
    let said = key(&bench, "remove", &["--repo", "repo", "--key-file", "one", own]).exits(14).err;
    assert!(said.contains("E0308") && said.contains("next:"), "{said}");
    for (wanted, code) in [("ffffffff0", 1), (&own[..6], 1), ("", 1)] {
        let said =
            key(&bench, "remove", &["--repo", "repo", "--password-file", "pw", wanted]).exits(code).err;
        assert!(said.contains("E0812"), "{wanted}: {said}");
    }
    // Another secret takes it away, and it opens nothing any more.
    key(&bench, "remove", &["--repo", "repo", "--password-file", "pw", &own[..8]]).exits(0);
    assert_eq!((opens(&["--key-file", "one"]), opens(&["--password-file", "pw"])), (12, 0));
    // A new secret in the place of the last one.
    let old = ["--repo", "repo", "--password-file", "pw"];
    key(&bench, "replace", &[&old[..], &["--new-password-file", "pw"]].concat()).exits(2);
    assert_eq!(opens(&["--password-file", "pw"]), 0);
    key(&bench, "passwd", &[&old[..], &["--new-key-file", "two"]].concat()).exits(0);
    assert_eq!((opens(&["--key-file", "two"]), opens(&["--password-file", "pw"])), (0, 12));
    assert_eq!(slots(&bench, &["--repo", "repo"], 0).len(), 1);
    // A wrong secret changes nothing.
    key(&bench, "add", &["--repo", "repo", "--key-file", "one", "--new-password-file", "pw"]).exits(12);
    assert_eq!(slots(&bench, &["--repo", "repo"], 0).len(), 1);
    repo(&bench, "restore", &place, &["--key-file", "two", "latest", "--to", "out", "--verify"]).exits(0);
    same(&tree, &bench.path("out"));
}

#[test]
fn a_place_that_is_away_when_a_slot_is_added_is_named_and_sync_brings_it_there() {
    let bench = Bench::new();
    let both = ["--repo", "disk", "--repo", "nas"];
    let mut init = bench.command();
    init.args(["repo", "init"]).args(both).args(["--key-file", "one"]);
    of(init.output().expect("the binary starts")).exits(0);
    moved(bench.path("nas"), bench.path("unplugged"));
    let added = key(
        &bench,
        "add",
        &[&both[..], &["--key-file", "one", "--new-password-file", "pw", "--json"]].concat(),
    );
    let added = added.exits(3).json();
    assert_eq!(added["added"]["away"][0]["target"], "nas");
    let listed = key(&bench, "list", &both).exits(3).err;
    assert!(listed.contains("away: nas"), "{listed}");
    moved(bench.path("unplugged"), bench.path("nas"));
    let missing: Vec<_> = slots(&bench, &both, 0).iter().map(|slot| slot["missing"].clone()).collect();
    assert!(missing.contains(&serde_json::json!(["nas"])), "{missing:?}");
    assert_eq!(repo(&bench, "snapshots", &bench.path("nas"), &["--password-file", "pw"]).code, 12);
    // The new secret opens one of the two, which is enough to complete the other, with or without a key.
    bench.run(["repo", "sync", "--from", "disk", "--to", "nas"]).exits(0);
    assert_eq!(repo(&bench, "snapshots", &bench.path("nas"), &["--password-file", "pw"]).code, 0);
    assert!(slots(&bench, &both, 0).iter().all(|slot| slot["missing"] == serde_json::json!([])));
    // Taken away at both.
    let id = slots(&bench, &[&both[..], &["--password-file", "pw"]].concat(), 0)
        .iter()
        .find(|slot| slot["opened"] == false)
        .and_then(|slot| slot["id"].as_str().map(str::to_owned))
        .expect("the other one");
    key(&bench, "remove", &[&both[..], &["--password-file", "pw", &id]].concat()).exits(0);
    for place in ["disk", "nas"] {
        assert_eq!(repo(&bench, "snapshots", &bench.path(place), &["--key-file", "one"]).code, 12, "{place}");
    }
}

#[test]
fn the_slot_that_stays_is_put_where_it_is_missing_before_another_goes() {
    let bench = Bench::new();
    let both = ["--repo", "disk", "--repo", "nas"];
    let mut init = bench.command();
    init.args(["repo", "init"]).args(both).args(["--key-file", "one"]);
    of(init.output().expect("the binary starts")).exits(0);
    let old = slots(&bench, &both, 0)[0]["id"].as_str().expect("an id").to_owned();
    // Only one of the places has the new slot.
    key(&bench, "add", &["--repo", "disk", "--key-file", "one", "--new-password-file", "pw"]).exits(0);
    key(&bench, "remove", &[&both[..], &["--password-file", "pw", &old]].concat()).exits(0);
    for place in ["disk", "nas"] {
        assert_eq!(
            repo(&bench, "snapshots", &bench.path(place), &["--password-file", "pw"]).code,
            0,
            "{place}"
        );
    }
}

#[test]
fn a_damaged_slot_is_named_and_can_be_taken_away() {
    let bench = Bench::new();
    let place = bench.path("repo");
    repo(&bench, "init", &place, &["--key-file", "one"]).exits(0);
    key(&bench, "add", &["--repo", "repo", "--key-file", "one", "--new-password-file", "pw"]).exits(0);
    let listed = slots(&bench, &["--repo", "repo"], 0);
    let id = listed.iter().find(|slot| slot["kind"] == "passphrase").expect("there")["id"]
        .as_str()
        .expect("an id");
    let path = place.join(format!("keys/slot-{id}"));
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let said = key(&bench, "list", &["--repo", "repo"]).exits(13).err;
    assert!(said.contains("damaged: slot"), "{said}");
    assert_eq!(repo(&bench, "snapshots", &place, &["--key-file", "one"]).code, 0);
    key(&bench, "remove", &["--repo", "repo", "--key-file", "one", id]).exits(0);
    assert_eq!(slots(&bench, &["--repo", "repo"], 0).len(), 1);
}

#[test]
fn a_program_gives_the_secret_and_no_shell_reads_its_words() {
    let bench = Bench::new();
    let place = bench.path("repo");
    repo(&bench, "init", &place, &["--secret-command", "cat pw"]).exits(0);
    assert_eq!(repo(&bench, "snapshots", &place, &["--password-file", "pw"]).code, 0);
    assert_eq!(repo(&bench, "snapshots", &place, &["--secret-command", "cat   pw"]).code, 0);
    let said = repo(&bench, "snapshots", &place, &["--secret-command", "cat pw; touch made"]).exits(1).err;
    assert!(said.contains("E0813") && !bench.path("made").exists(), "{said}");
    repo(&bench, "snapshots", &place, &["--secret-command", "false"]).exits(1);
    repo(&bench, "snapshots", &place, &["--secret-command", ""]).exits(1);
}

#[test]
fn a_site_whose_key_a_program_prints_makes_none_and_fails_when_the_program_does() {
    let bench = Bench::new();
    let (config, tree) = (bench.path("config"), bench.tree("tree", 5));
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let policy = format!(
        "source = [{tree:?}]\nrpo = \"2h\"\nrto = \"4h\"\n[targets.disk]\nurl = \"file://{}\"\n",
        bench.path("disk").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let site = |text: &str| std::fs::write(config.join("lifeboat.toml"), text).expect("written");
    let run = |arguments: &[&str]| bench.run([&["--config", "config"], arguments].concat());
    let program = format!("key_command = [\"cat\", {:?}]\n", bench.path("pw"));
    site(&program);
    run(&["run", "web"]).exits(0);
    assert!(!bench.path("state/keys/repository.key").exists(), "no key is made");
    repo(&bench, "snapshots", &bench.path("disk"), &["--password-file", "pw"]).exits(0);
    site("key_command = [\"false\"]\n");
    let said = run(&["run", "web"]).exits(1).err;
    assert!(said.contains("E0813"), "{said}");
    assert!(!bench.path("state/keys/repository.key").exists(), "no other key is made beside it");
    site(&format!("{program}key_file = {:?}\n", bench.path("pw")));
    let said = run(&["check"]).exits(2).err;
    assert!(said.contains("lifeboat.toml:2:") && said.contains("both give the site key"), "{said}");
    for wrong in ["key_command = []\n", "key_command = \"cat\"\n", "key_command = [1]\n"] {
        site(wrong);
        run(&["check"]).exits(2);
    }
}

#[test]
fn slots_and_a_kit_are_put_on_a_store_and_taken_away_there() {
    let bench = Bench::new();
    let bucket =
        std::env::var("LIFEBOAT_TEST_S3_BUCKET").expect("run scripts/test, which starts an S3 server");
    let url = format!("s3://{bucket}/keys-{}", std::process::id());
    let (endpoint, credentials) = (s3::endpoint(), s3::credentials_file());
    let with = |words: &[&str], rest: &[&str]| {
        let mut command = bench.command();
        command.arg("repo").args(words).args(["--repo", "disk", "--repo", &url, "--endpoint", &endpoint]);
        command.arg("--credentials-file").arg(&credentials).args(rest);
        of(command.output().expect("starts"))
    };
    with(&["init"], &["--key-file", "key", "--recovery-kit-out", "kit"]).exits(0);
    let kit = std::fs::read_to_string(bench.path("kit.txt")).expect("text");
    assert!(kit.contains(&url) && kit.contains(&endpoint), "{kit}");
    with(&["key", "add"], &["--key-file", "key", "--new-password-file", "pw"]).exits(0);
    let listed = with(&["key", "list"], &["--password-file", "pw"]).exits(0).out;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let slot = listed.lines().find(|line| line.contains("key file")).expect("its slot")[..8].to_owned();
    with(&["key", "remove"], &["--password-file", "pw", &slot]).exits(0);
    let one = |secret: [&str; 2]| {
        let mut command = bench.command();
        command.args(["repo", "snapshots", "--repo", &url, "--endpoint", &endpoint]).args(secret);
        of(command.arg("--credentials-file").arg(&credentials).output().expect("starts")).code
    };
    let secrets = [["--key-file", "key"], ["--password-file", "pw"], ["--recovery-kit", "kit.html"]];
    assert_eq!(secrets.map(one), [12, 0, 0]);
}

#[test]
fn a_recipient_whose_private_file_is_elsewhere_can_open_what_was_made_for_its_line() {
    let bench = Bench::new();
    let (place, tree) = (bench.path("repo"), bench.tree("tree", 3));
    let key = ["--key-file", "key"];
    repo(&bench, "init", &place, &key).exits(0);
    repo(&bench, "backup", &place, &[&key[..], &[tree.to_str().expect("text")]].concat()).exits(0);
    let keys = |arguments: &[&str]| {
        let mut command = bench.command();
        command.args(["repo", "key"]).args(arguments);
        of(command.output().expect("the binary starts"))
    };
    let made = keys(&["new-recipient", "escrow"]).exits(0);
    let line = made.out.trim().to_owned();
    assert!(line.starts_with("lifeboat-recipient-1") && line.lines().count() == 1, "{line}");
    assert_eq!(mode(&bench.path("escrow")), 0o600);
    let private = std::fs::read_to_string(bench.path("escrow")).expect("text");
    assert!(
        private.starts_with("lifeboat-private-1") && !made.out.contains(private.trim()),
        "a secret is shown"
    );
    keys(&["new-recipient", "escrow"]).exits(1);
    assert_eq!(std::fs::read_to_string(bench.path("escrow")).expect("text"), private, "left as it is");
    // The private file is not here when the slot is made.
    moved(bench.path("escrow"), bench.path("elsewhere"));
    let at = place.to_str().expect("text");
    keys(&["add", "--repo", at, "--key-file", "key", "--new-recipient", &line]).exits(0);
    let list = keys(&["list", "--repo", at, "--json"]).exits(0).json();
    let kinds: Vec<&str> = list["keys"]["slots"]
        .as_array()
        .expect("slots")
        .iter()
        .filter_map(|slot| slot["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"recipient"), "{kinds:?}");
    for flag in ["--key-file", "--password-file"] {
        repo(&bench, "restore", &place, &[flag, "elsewhere", "latest", "--to", &format!("out{flag}")])
            .exits(0);
    }
    same(&tree, &bench.path("out--key-file"));
    // A changed letter, a private line, and a file that others may read are refused.
    let wrong = format!("{}x", &line[..line.len() - 1]);
    keys(&["add", "--repo", at, "--key-file", "key", "--new-recipient", &wrong]).exits(2);
    keys(&["add", "--repo", at, "--key-file", "key", "--new-recipient", private.trim()]).exits(2);
    std::fs::set_permissions(bench.path("elsewhere"), std::fs::Permissions::from_mode(0o644)).expect("set");
    repo(&bench, "snapshots", &place, &["--key-file", "elsewhere"]).exits(2);
}

//! The demo, and a site with a policy: the whole main job.

use std::path::Path;
use std::time::Duration;

use lifeboat::base::clock::{Clock, SystemClock};

use crate::run::{Bench, objects, same};
use crate::s3;

#[test]
fn the_demo_ends_with_two_verified_copies_two_passed_drills_and_evidence_that_notices_any_change() {
    let bench = Bench::new();
    let tree = bench.tree("tree", 30);
    let url = format!(
        "s3://{}/demo-{}",
        std::env::var("LIFEBOAT_TEST_S3_BUCKET").expect("run scripts/test, which starts an S3 server"),
        std::process::id()
    );
    let (endpoint, credentials) = (s3::endpoint(), s3::credentials_file());
    let ran = bench
        .run([
            "demo",
            tree.to_str().expect("text"),
            "--json",
            "--s3",
            &url,
            "--endpoint",
            &endpoint,
            "--credentials-file",
            credentials.to_str().expect("text"),
        ])
        .exits(0);
    let json = ran.json();
    assert_eq!(json["verified"], true);
    assert_eq!(json["drills"], serde_json::json!(["pass", "pass"]));
    assert_eq!(json["status"]["rule_holds"], false, "one machine is not three places");
    let rule = json["status"]["rule"].as_str().expect("a sentence");
    assert!(rule.contains("off-site refuted (loopback)"), "{rule}");
    assert!(rule.contains("on the source's device"), "{rule}");
    let evidence = Path::new(json["place"].as_str().expect("a path")).join("state/evidence");
    let verify = |code: i32| bench.run(["evidence", "verify", evidence.to_str().expect("text")]).exits(code);
    verify(0);
    for below in ["log", "heads", "reports"] {
        for file in objects(&evidence, below) {
            let whole = std::fs::read(&file).expect("readable");
            let mut hurt = whole.clone();
            let at = hurt.len() / 2;
            hurt[at] ^= 1;
            std::fs::write(&file, &hurt).expect("written");
            verify(13);
            std::fs::write(&file, &whole).expect("written");
        }
    }
    verify(0);
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/drill-report.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).expect("published")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    for report in json["reports"].as_array().expect("reports") {
        let path = Path::new(report.as_str().expect("a path")).with_extension("json");
        let real = serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON");
        let faults: Vec<String> = schema.iter_errors(&real).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
    let report = json["reports"][0].as_str().expect("a path");
    let html = std::fs::read_to_string(report).expect("a page");
    assert!(html.contains("D-20") && !html.contains("<script"), "a page of its own");
}

#[test]
fn a_policy_runs_is_restored_and_survives_the_loss_of_its_catalogue() {
    let bench = Bench::new();
    let tree = bench.tree("tree", 31);
    let config = bench.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let policy = format!(
        "source = [{:?}]\nrpo = \"2h\"\n\n[targets.disk]\nurl = \"file://{}\"\n\n[targets.other]\nurl = \"file://{}\"\n",
        tree,
        bench.path("disk").display(),
        bench.path("other").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let lifeboat = |arguments: &[&str]| {
        let mut all = vec!["--config", config.to_str().expect("text")];
        all.extend(arguments);
        bench.run(all)
    };
    lifeboat(&["check"]).exits(0);
    lifeboat(&["status"]).exits(15);
    lifeboat(&["run", "web"]).exits(0);
    lifeboat(&["verify", "web"]).exits(0);
    lifeboat(&["drill", "run", "web-weekly"]).exits(0);
    let before = lifeboat(&["snapshots", "--json"]).exits(0).json();
    assert_eq!(before["snapshots"][0]["copies"].as_array().expect("copies").len(), 2);
    let out = bench.path("out");
    lifeboat(&["restore", "web", "--to", out.to_str().expect("text"), "--verify"]).exits(0);
    same(&tree, &out);
    for file in objects(&bench.path("state"), "") {
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("catalogue")) {
            std::fs::remove_file(file).expect("lost");
        }
    }
    // A state folder in which nothing can be opened is no obstacle to a restore.
    std::fs::create_dir(bench.path("state/catalogue.db")).expect("made");
    let id = before["snapshots"][0]["snapshot"]["id"].as_str().expect("an id");
    for (number, what) in ["web", id].into_iter().enumerate() {
        let out = bench.path(&format!("hard{number}"));
        let ran = lifeboat(&["restore", what, "--to", out.to_str().expect("text"), "--verify"]).exits(0);
        assert!(ran.err.contains("going by what the targets have"), "{}", ran.err);
        same(&tree, &out);
    }
    std::fs::remove_dir(bench.path("state/catalogue.db")).expect("removed");
    lifeboat(&["rebuild-catalogue"]).exits(0);
    let after = lifeboat(&["snapshots", "--json"]).exits(0).json();
    assert_eq!(after["snapshots"][0]["snapshot"]["id"], before["snapshots"][0]["snapshot"]["id"]);
    // A target that is emptied is not begun anew: it lags, and says so.
    std::fs::remove_dir_all(bench.path("disk")).expect("lost");
    lifeboat(&["run", "web"]).exits(3);
    // Without the site key nobody can go on, and is told so; no other key is made beside it.
    let key = bench.path("state/keys/repository.key");
    std::fs::remove_file(&key).expect("lost");
    let ran = lifeboat(&["run", "web"]).exits(2);
    assert!(
        ran.err.contains("opens with nothing else") && ran.err.contains("put back the copy"),
        "{}",
        ran.err
    );
    assert!(!key.exists());
}

#[test]
fn a_policy_with_problems_shows_all_of_them_and_runs_nothing() {
    let bench = Bench::new();
    let config = bench.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let text = "source = [\"relative\"]\nrpo = \"soon\"\nretenton = 3\n[targets.a]\nurl = \"file:///b\"\nnetwork = \"x\"\n";
    std::fs::write(config.join("policies/web.toml"), text).expect("written");
    let ran = bench.run(["--config", config.to_str().expect("text"), "check"]).exits(2);
    for part in ["web.toml:1:", "web.toml:2:", "web.toml:3:", "not yet supported"] {
        assert!(ran.err.contains(part), "{part} is missing: {}", ran.err);
    }
    assert!(!bench.path("state").exists(), "a check makes nothing");
}

#[test]
fn a_download_limit_of_a_policy_holds_for_verify_and_not_for_a_restore() {
    let bench = Bench::new();
    let clock = SystemClock::new();
    let source = bench.path("source");
    std::fs::create_dir(&source).expect("made");
    let noise: Vec<u8> = (0..100_000u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    std::fs::write(source.join("noise"), noise).expect("written");
    let config = bench.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    // 3.2 MB at 10 KB/s are five minutes.
    let policy = format!(
        "source = [{:?}]\nverify.after_run = \"ack\"\n[targets.disk]\nurl = \"file://{}\"\ndownload_limit = \"10KB/s\"\n",
        source,
        bench.path("disk").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let lifeboat = |arguments: &[&str]| {
        let mut command = bench.command();
        command.arg("--config").arg(&config).args(arguments);
        command
    };
    assert!(lifeboat(&["run", "web"]).status().expect("ran").success());
    let began = clock.monotonic();
    let out = bench.path("out");
    let restore = ["restore", "web", "--to", out.to_str().expect("text")];
    assert!(lifeboat(&restore).status().expect("ran").success());
    same(&source, &out);
    assert!(clock.monotonic() - began < Duration::from_secs(100), "the policy's limit held for a restore");
    for arguments in
        [&["verify", "web"][..], &["restore", "web", "--to", "slow", "--download-limit", "10KB/s"]]
    {
        let mut slow = lifeboat(arguments).spawn().expect("started");
        clock.sleep(Duration::from_secs(4));
        assert!(slow.try_wait().expect("asked").is_none(), "{arguments:?} was not held back");
        let pid = rustix::process::Pid::from_child(&slow);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told to stop");
        assert_eq!(slow.wait().expect("ended").code(), Some(130), "{arguments:?}");
    }
}

//! First steps and help: init, check --online, doctor, support-bundle, policy show, metrics, man pages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::retention::{back_up, ran, site};
use crate::run::{Bench, eventually, moved};

#[test]
fn a_newcomer_goes_from_nothing_to_a_verified_backup_by_the_words_that_are_printed() {
    let bench = Bench::new();
    let source = bench.tree("source", 1);
    let config = bench.path("config");
    let config = config.to_str().expect("plain");
    let disk = bench.path("disk");
    let init = [
        "--config",
        config,
        "init",
        "--name",
        "web",
        "--source",
        source.to_str().expect("plain"),
        "--disk",
        disk.to_str().expect("plain"),
    ];
    let written = bench.run(init).exits(0);
    assert!(written.out.contains("policies/web.toml") && written.err.contains("run web"), "{written:?}");
    assert!(bench.run(init).exits(2).err.contains("is there already"));
    assert!(bench.run(["--config", config, "init"]).exits(2).err.contains("--source DIR"));
    let checked = ran(&bench, &["check", "--online"]).exits(0);
    assert!(checked.out.contains("web/disk: writes, reads, lists"), "{checked:?}");
    let left = std::process::Command::new("find").arg(&disk).args(["-type", "f"]).output().expect("find");
    assert!(left.stdout.is_empty(), "the probe leaves nothing behind: {left:?}");
    ran(&bench, &["run", "web"]).exits(0);
    let kit = bench.path("kit");
    ran(&bench, &["key", "kit", "web", "--out", kit.to_str().expect("plain")]).exits(0);
    let listed = ran(&bench, &["policy", "list"]).exits(0);
    assert!(listed.out.starts_with("web ") && listed.out.contains("rpo 2h"), "{listed:?}");
    let written = ran(&bench, &["policy", "show", "web"]).exits(0);
    assert!(written.out.contains("# policies/web.toml:1") && !written.out.contains("default"), "{written:?}");
    let all = ran(&bench, &["policy", "show", "web", "--effective"]).exits(0);
    assert!(all.out.contains("schedule.full") && all.out.contains("# default"), "{all:?}");
    let schema = bench.run(["policy", "schema", "--of", "site"]).exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.out).expect("JSON");
    assert_eq!(schema["properties"]["site"]["type"], "string");
}

#[test]
fn the_schema_takes_the_examples_and_refuses_a_typing_error() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.join("docs/schema/policy.schema.json")).expect("there"))
            .expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let python = root.join("target/tools/bin/python");
    let json = |path: &std::path::Path| -> serde_json::Value {
        let program = "import json,sys,tomllib; print(json.dumps(tomllib.load(open(sys.argv[1],'rb'))))";
        let output =
            std::process::Command::new(&python).args(["-c", program]).arg(path).output().expect("python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let mut examples = 0;
    for entry in std::fs::read_dir(root.join("policies")).expect("there") {
        let path = entry.expect("an entry").path();
        let policy = json(&path);
        let errors: Vec<String> = validator.iter_errors(&policy).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        let mut wrong = policy.clone();
        wrong["retenton"] = serde_json::json!({ "daily": 3 });
        assert!(!validator.is_valid(&wrong));
        examples += 1;
    }
    assert!(examples >= 5);
}

#[test]
fn the_doctor_names_what_is_wrong_in_order_and_what_to_do() {
    let bench = site("");
    back_up(&bench, 1);
    moved(bench.path("source"), bench.path("gone"));
    ran(&bench, &["run", "web"]).exits(1);
    moved(bench.path("two"), bench.path("away"));
    ran(&bench, &["watch"]).exits(0);
    let found = ran(&bench, &["doctor", "--json"]).exits(1).json();
    let about: Vec<&str> = found["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["about"].as_str())
        .collect();
    assert_eq!(about[..5], ["failures", "incidents", "daemon", "configuration", "machine"]);
    let of = |name: &str| {
        found["findings"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["about"] == name)
            .expect(name)
            .clone()
    };
    assert!(of("failures")["next"].as_str().expect("text").contains("lifeboat explain E"), "{found:#}");
    assert_eq!((&of("daemon")["health"], &of("machine")["health"]), (&"bad".into(), &"good".into()));
    assert_eq!(of("target web/one")["health"], "good");
    assert_eq!(of("target web/two")["health"], "bad", "{found:#}");
    std::fs::write(bench.path("config/policies/web.toml"), "source = 7\n").expect("written");
    let broken = ran(&bench, &["doctor"]).exits(1);
    assert!(broken.out.contains("BAD   configuration"), "{broken:?}");
}

#[test]
fn a_support_bundle_holds_what_helps_and_no_names_unless_asked_for() {
    let bench = site("");
    back_up(&bench, 1);
    moved(bench.path("source"), bench.path("gone"));
    ran(&bench, &["run", "web"]).exits(1);
    let file = bench.path("support.txt");
    let to = file.to_str().expect("plain");
    ran(&bench, &["support-bundle", "--to", to]).exits(0);
    let text = std::fs::read_to_string(&file).expect("read");
    let folder = bench.path("source");
    assert!(!text.contains(folder.to_str().expect("plain")), "{text}");
    for part in ["== program", "== examination", "rpo = \"2h\"", "incremental", "failed"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(ran(&bench, &["support-bundle", "--to", to]).exits(2).err.contains("is there already"));
    let named = bench.path("named.txt");
    ran(&bench, &["support-bundle", "--with-names", "--to", named.to_str().expect("plain")]).exits(0);
    let text = std::fs::read_to_string(&named).expect("read");
    assert!(text.contains(folder.to_str().expect("plain")));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("there").permissions());
    assert_eq!(mode & 0o077, 0, "nobody else reads it");
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn the_numbers_are_what_the_facts_say_and_are_served_to_whoever_scrapes() {
    let bench = site("");
    back_up(&bench, 1);
    let printed = ran(&bench, &["metrics"]).exits(0).out;
    for line in [
        "lifeboat_rule_ok{policy=\"web\",part=\"rpo\"} 1",
        "lifeboat_rule_ok{policy=\"web\",part=\"offsite\"} 0",
        "lifeboat_runs_total{policy=\"web\",kind=\"incremental\",result=\"succeeded\"} 1",
        "lifeboat_daemon_up 0",
        "lifeboat_findings_open{severity=\"critical\"} 0",
        "# TYPE lifeboat_runs_total counter",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line}: {printed}");
    }
    assert!(printed.contains("lifeboat_target_free_bytes{policy=\"web\",target=\"one\"} "), "{printed}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    let mut command = bench.command();
    let config = bench.path("config");
    command.args([
        "--config",
        config.to_str().expect("plain"),
        "metrics",
        "--listen",
        &format!("127.0.0.1:{port}"),
    ]);
    let mut server = command.stderr(Stdio::null()).spawn().expect("started");
    eventually("a server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let answer = get(port, "/metrics");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("lifeboat_rpo_seconds{policy=\"web\"} 7200")
    );
    assert!(get(port, "/").starts_with("HTTP/1.1 404"));
    // Who asks nothing keeps nobody else from an answer for long.
    let silent = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    assert!(get(port, "/metrics").starts_with("HTTP/1.1 200"));
    drop(silent);
    server.kill().expect("ended");
    server.wait().expect("gone");
}

#[test]
fn every_command_has_a_manual_page_and_each_shell_its_completions() {
    let bench = Bench::new();
    let to = bench.path("man");
    bench.run(["man", "--to", to.to_str().expect("plain")]).exits(0);
    let pages = std::fs::read_dir(&to).expect("made").count();
    assert!(pages > 60, "{pages}");
    let page = std::fs::read_to_string(to.join("lifeboat-restore.1")).expect("a page");
    assert!(page.contains("Exit codes"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.run(["completions", shell]).exits(0).out.contains("restore"), "{shell}");
    }
}

fn promtool(arguments: &[&str], input: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut promtool = std::process::Command::new(root.join("target/tools/bin/promtool"))
        .args(arguments)
        .current_dir(root.join("packaging"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run scripts/setup: it brings promtool");
    promtool.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn prometheus_takes_the_numbers_and_the_alert_rules_do_what_they_say() {
    let bench = site("");
    back_up(&bench, 1);
    let numbers = ran(&bench, &["metrics"]).exits(0).out;
    promtool(&["check", "metrics"], &numbers);
    promtool(&["check", "rules", "lifeboat.rules.yml"], "");
    promtool(&["test", "rules", "lifeboat.rules.test.yml"], "");
    // Every number that a rule asks for is one that is given.
    let rules = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/lifeboat.rules.yml"),
    )
    .expect("there");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in words.filter(|word| word.starts_with("lifeboat_")) {
        assert!(numbers.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn the_units_leave_little_to_whoever_breaks_in() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for unit in ["lifeboat.service", "lifeboat-metrics.service"] {
        let output = std::process::Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
            .arg(root.join("packaging").join(unit))
            .output()
            .expect("run scripts/setup: it brings systemd-analyze");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{unit}: {}", said.lines().last().unwrap_or_default());
    }
}

#[test]
fn a_daemon_tells_its_manager_that_it_is_ready_and_lives_and_cron_whether_it_does() {
    let bench = site("");
    let silent = ran(&bench, &["status", "--check-daemon"]).exits(1);
    assert!(silent.err.contains("no daemon runs") && silent.out.is_empty(), "{silent:?}");
    let path = bench.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("set");
    let mut command = bench.command();
    let config = bench.path("config");
    command.env("NOTIFY_SOCKET", &path).args(["--config", config.to_str().expect("plain"), "daemon"]);
    let mut daemon = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("started");
    let mut heard = || {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1");
    ran(&bench, &["status", "--check-daemon"]).exits(0);
    let pid = i32::try_from(daemon.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    daemon.wait().expect("ended");
    let last = std::iter::repeat_with(&mut heard).take(10).find(|text| text == "STOPPING=1");
    assert!(last.is_some());
    // One that hangs is noticed, too.
    let hung = bench.path("state/ticked");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(hung).expect("there").set_modified(old).expect("set");
    let claim = lifeboat::catalog::state::StateFolder::new(bench.path("state"));
    let _claim = claim.claim_daemon().expect("free");
    let hangs = ran(&bench, &["status", "--check-daemon"]).exits(1);
    assert!(hangs.err.contains("has not looked at the clock"), "{hangs:?}");
}

#[test]
fn a_lost_backup_host_is_made_again_from_one_target_and_the_kit() {
    let bench = site("[retention]\nlast = 2\nmin_keep = 1\ngrace = \"0\"\n");
    std::fs::write(bench.path("config/lifeboat.toml"), "site = \"hq\"\nself_backup = \"web\"\n")
        .expect("written");
    (1..=4).for_each(|number| back_up(&bench, number));
    let kit = bench.path("kit");
    ran(&bench, &["key", "kit", "web", "--out", kit.to_str().expect("plain")]).exits(0);
    back_up(&bench, 5);
    assert_eq!(crate::retention::evidence(&bench, "self.kept").len(), 5);
    // Old records go by the policy's rules, and nobody takes that for a theft.
    ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(0);
    assert_eq!(crate::retention::stored(&bench, "one"), 4, "two of the source and two of the records");
    let known = ran(&bench, &["snapshots", "web", "--json"]).exits(0).json();
    back_up(&bench, 6);
    // Everything of the host is gone but one target and the kit.
    let two = bench.path("two");
    for lost in ["state", "config", "one"] {
        std::fs::remove_dir_all(bench.path(lost)).expect("lost");
    }
    let text = bench.path("kit.txt");
    let to = bench.path("again");
    let (kit, target, again) =
        (text.to_str().expect("plain"), two.to_str().expect("plain"), to.to_str().expect("plain"));
    bench.run(["recover", "--from", target, "--kit", kit, "--to", again]).exits(0);
    assert!(
        bench
            .run(["recover", "--from", target, "--kit", kit, "--to", again])
            .exits(2)
            .err
            .contains("not empty")
    );
    let (config, state) = (to.join("config"), to.join("state"));
    let place = ["--config", config.to_str().expect("plain"), "--state-dir", state.to_str().expect("plain")];
    let run = |arguments: &[&str]| bench.run(place.iter().copied().chain(arguments.iter().copied()));
    assert_eq!(run(&["policy", "list"]).exits(0).out.lines().count(), 1);
    // What was known then is known again, and the evidence goes on.
    let listed = run(&["snapshots", "web", "--json"]).exits(0).json();
    for snapshot in known["snapshots"].as_array().expect("a list") {
        let id = &snapshot["snapshot"]["id"];
        let found =
            listed["snapshots"].as_array().expect("a list").iter().any(|one| one["snapshot"]["id"] == *id);
        assert!(found, "{id} of {listed:#}");
    }
    run(&["evidence", "verify"]).exits(0);
    let out = bench.path("back");
    run(&["restore", "web", "--from", "two", "--to", out.to_str().expect("plain")]).exits(0);
    assert_eq!(std::fs::read(out.join("file")).expect("restored"), vec![6; 100_000]);
    std::fs::create_dir(bench.path("one")).expect("a new disk");
    run(&["target", "replace", "web", "one"]).exits(0);
    run(&["run", "web"]).exits(0);
    run(&["verify", "web"]).exits(0);
    // A target without records says so.
    let other = site("");
    back_up(&other, 1);
    let kit = other.path("kit");
    ran(&other, &["key", "kit", "web", "--out", kit.to_str().expect("plain")]).exits(0);
    let (from, kit) = (other.path("one"), other.path("kit.txt"));
    let none = other.run([
        "recover",
        "--from",
        from.to_str().expect("plain"),
        "--kit",
        kit.to_str().expect("plain"),
        "--to",
        "new",
    ]);
    assert!(none.exits(1).err.contains("no records of a backup host"));
}

#[test]
fn a_daemon_asked_for_json_tells_one_object_a_line() {
    let bench = site("");
    let told = ran(&bench, &["--json", "daemon", "--once"]).exits(0);
    let lines: Vec<serde_json::Value> =
        told.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() >= 3, "{told:?}");
    assert!(lines.iter().all(|line| line["event"] == "log" && line["at"].is_string()), "{told:?}");
    assert!(told.out.contains("1 policies and 1 drills are in force"), "{told:?}");
    let plain = ran(&bench, &["daemon", "--once"]).exits(0);
    assert!(plain.out.is_empty() && plain.err.contains("looks at the clock"), "{plain:?}");
}

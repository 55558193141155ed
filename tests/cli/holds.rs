//! What stops removal: freezes, odd runs, legal holds; media that are kept apart; applying a changed file.

use std::process::{Child, Stdio};

use lifeboat::base::clock::Timestamp;
use lifeboat::catalog::Catalog;
use lifeboat::catalog::outbox::OutboxLine;
use lifeboat::catalog::process::Holder;
use lifeboat::catalog::runs::{NewRun, RunEnd};
use lifeboat::catalog::words::{Cause, Job, RunState};
use serde_json::json;

use crate::retention::{back_up, evidence, ran, site, stored};
use crate::run::{Bench, eventually, moved};

const RULES: &str = "[retention]\nlast = 1\nmin_keep = 1\ngrace = \"0\"\n";

/// Ends what it holds, by its own process id.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_freeze_stops_removal_until_it_is_lifted_and_says_who_and_why() {
    let bench = site(RULES);
    (1..=3).for_each(|number| back_up(&bench, number));
    ran(&bench, &["freeze", "web", "--reason", "a ransom note", "--by", "li.na"]).exits(0);
    let refused = ran(&bench, &["prune", "web"]).exits(14);
    assert!(refused.err.contains("E0816") && refused.err.contains("a ransom note"), "{refused:?}");
    assert!(refused.err.contains("lifeboat unfreeze web"), "{refused:?}");
    assert_eq!(stored(&bench, "one"), 3);
    back_up(&bench, 4);
    let status = ran(&bench, &["status", "--json"]).json();
    assert_eq!(status["policies"][0]["state"], "FROZEN", "{status:#}");
    // A freeze doesn't end because the catalogue is lost.
    for file in ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm"] {
        drop(std::fs::remove_file(bench.path("state").join(file)));
    }
    ran(&bench, &["rebuild-catalogue"]).exits(0);
    assert!(ran(&bench, &["prune", "web"]).exits(14).err.contains("a ransom note"));
    ran(&bench, &["unfreeze", "--reason", "it was a joke"]).exits(0);
    assert!(ran(&bench, &["unfreeze", "--reason", "again"]).exits(1).err.contains("nothing is frozen"));
    ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(0);
    assert_eq!(stored(&bench, "one"), 1);
    let placed = evidence(&bench, "hold.placed");
    assert_eq!(
        (&placed[0]["data"]["placed_by"], &placed[0]["data"]["kind"]),
        (&"li.na".into(), &"freeze".into())
    );
    assert_eq!(evidence(&bench, "hold.released")[0]["data"]["released_because"], "it was a joke");
    let all = ran(&bench, &["hold", "list", "--all"]).exits(0);
    assert!(all.out.contains("released") && all.out.contains("it was a joke"), "{all:?}");
    assert_eq!(ran(&bench, &["hold", "list"]).exits(0).out.trim(), "nothing is held");
}

#[test]
fn a_source_that_lost_most_of_its_bytes_is_backed_up_and_what_was_before_stays() {
    let bench = site(RULES);
    (1..=2).for_each(|number| back_up(&bench, number));
    std::fs::remove_file(bench.path("source/large")).expect("lost");
    let odd = ran(&bench, &["run", "web"]).exits(0);
    assert!(odd.err.contains("this run is odd: the source shrank from"), "{odd:?}");
    let refused = ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(14);
    assert!(refused.err.contains("E0816") && refused.err.contains("lifeboat hold release"), "{refused:?}");
    assert_eq!(evidence(&bench, "run.odd").len(), 1);
    // The next run is held against this one, and nothing is said twice.
    ran(&bench, &["run", "web"]).exits(0);
    assert_eq!(evidence(&bench, "run.odd").len(), 1);
    let holds = ran(&bench, &["hold", "list", "--json"]).exits(0).json();
    assert_eq!(holds["holds"].as_array().map(Vec::len), Some(1), "{holds:#}");
    let status = ran(&bench, &["status"]);
    assert!(status.out.contains("source-suspicious"), "{status:?}");
    let id = holds["holds"][0]["id"].as_str().expect("an id");
    ran(&bench, &["hold", "release", id, "--reason", "moved away on purpose"]).exits(0);
    assert!(ran(&bench, &["hold", "release", id, "--reason", "again"]).exits(14).err.contains("is released"));
    ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(0);
    assert_eq!(stored(&bench, "one"), 1);
}

#[test]
fn what_a_policy_holds_by_law_no_rule_removes() {
    let bench = site(RULES);
    (1..=3).for_each(|number| back_up(&bench, number));
    let listed = ran(&bench, &["snapshots", "web", "--json"]).exits(0).json();
    let first = listed["snapshots"][0]["snapshot"]["id"].as_str().expect("an id").to_owned();
    let file = bench.path("config/policies/web.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("legal_hold = [{:?}]\n{text}", &first[..10])).expect("written");
    let shown = ran(&bench, &["prune", "web", "--dry-run"]).exits(0);
    assert!(shown.out.contains(&format!("legal hold {}", &first[..10])), "{shown:?}");
    ran(&bench, &["prune", "web"]).exits(0);
    let left = ran(&bench, &["snapshots", "web", "--json"]).exits(0).json();
    assert_eq!(left["snapshots"][0]["snapshot"]["id"], first.as_str());
    assert_eq!(left["snapshots"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_medium_that_is_kept_apart_fails_nothing_when_it_is_away_and_is_filled_when_it_comes() {
    let bench = site("offline = true\n");
    back_up(&bench, 1);
    moved(bench.path("two"), bench.path("safe"));
    back_up(&bench, 2);
    assert_eq!(evidence(&bench, "run.ended")[1]["data"]["away"][0], "two");
    assert_eq!(evidence(&bench, "run.ended")[1]["data"]["state"], "succeeded");
    // No failure, but no success either where nothing was asked.
    ran(&bench, &["target", "probe", "web", "--target", "two"]).exits(3);
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    let probe = catalogue.last_run("web", &Job::Probe).expect("read").expect("one");
    assert_eq!(probe.state, RunState::Partial);
    // What is here is verified and scrubbed as ever.
    ran(&bench, &["verify", "web"]).exits(0);
    ran(&bench, &["scrub", "web"]).exits(0);
    for job in [Job::Verify, Job::Scrub] {
        let run = catalogue.last_run("web", &job).expect("read").expect("one");
        assert_eq!(run.state, RunState::Succeeded, "{job}");
    }
    ran(&bench, &["verify", "web", "--target", "two"]).exits(3);
    let verify = catalogue.last_run("web", &Job::Verify).expect("read").expect("one");
    assert_eq!(verify.state, RunState::Partial);
    drop(catalogue);
    // An empty folder where it is usually mounted is the same.
    std::fs::create_dir(bench.path("two")).expect("made");
    back_up(&bench, 3);
    ran(&bench, &["target", "probe", "web"]);
    std::fs::remove_dir_all(bench.path("two")).expect("gone");
    moved(bench.path("safe"), bench.path("two"));
    back_up(&bench, 4);
    assert_eq!(stored(&bench, "two"), 2, "the first, and what was new when it came");
    let out = bench.path("back");
    let to = out.to_str().expect("plain");
    ran(&bench, &["restore", "web", "--from", "two", "--to", to]).exits(0);
    assert_eq!(std::fs::read(out.join("file")).expect("restored"), vec![4; 100_000]);
}

fn daemon(bench: &Bench) -> Ended {
    let mut command = bench.command();
    let config = bench.path("config");
    command.args(["--config", config.to_str().expect("plain"), "daemon", "--tick-seconds", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = Ended(command.spawn().expect("a daemon"));
    eventually("a daemon", || evidence_or_none(bench, "daemon.started") > 0);
    child
}

fn evidence_or_none(bench: &Bench, kind: &str) -> usize {
    if bench.path("state/evidence/log").exists() { evidence(bench, kind).len() } else { 0 }
}

#[test]
fn a_running_daemon_takes_a_good_file_over_and_refuses_a_bad_one() {
    let bench = site("");
    let idle = ran(&bench, &["apply"]).exits(0);
    assert!(idle.out.contains("no daemon runs"), "{idle:?}");
    let daemon = daemon(&bench);
    let file = bench.path("config/policies/web.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("rpo = \"3h\"\n{text}")).expect("written");
    let applied = ran(&bench, &["apply"]).exits(0);
    assert!(applied.out.contains(&format!("process {}", daemon.0.id())), "{applied:?}");
    let loaded = evidence(&bench, "config.loaded");
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[1]["data"]["files"][0]["file"], "policies/web.toml");
    assert_ne!(loaded[0]["data"]["sha256"], loaded[1]["data"]["sha256"]);
    std::fs::write(&file, "source = 7\n").expect("written");
    assert!(ran(&bench, &["apply"]).exits(2).err.contains("E0206"));
    let pid = i32::try_from(daemon.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("told");
    eventually("a refusal", || !evidence(&bench, "config.refused").is_empty());
}

#[test]
fn a_new_disk_in_an_old_ones_place_is_filled_from_the_best_copy_and_counts_when_it_was_read() {
    let bench = site("");
    (1..=3).for_each(|number| back_up(&bench, number));
    moved(bench.path("two"), bench.path("broken"));
    let file = bench.path("config/policies/web.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, text.replace("/two\"", "/three\"")).expect("written");
    let filled = ran(&bench, &["target", "replace", "web", "two", "--json"]).exits(0).json();
    assert_eq!((&filled["from"], &filled["new"]), (&"one".into(), &true.into()), "{filled:#}");
    assert_eq!(filled["filled"]["snapshots_copied"], 3);
    assert_eq!(stored(&bench, "three"), 3);
    let listed = ran(&bench, &["snapshots", "web"]).exits(0);
    assert_eq!(listed.out.matches("two written").count(), 3, "not yet read back: {listed:?}");
    ran(&bench, &["verify", "web", "--target", "two"]).exits(0);
    let listed = ran(&bench, &["snapshots", "web"]).exits(0);
    assert_eq!(listed.out.matches("two read-back").count(), 3, "{listed:?}");
    let again = ran(&bench, &["target", "replace", "web", "two", "--json"]).exits(0).json();
    assert_eq!((&again["new"], &again["filled"]["snapshots_present"]), (&false.into(), &3.into()));
    let listed = ran(&bench, &["snapshots", "web"]).exits(0);
    assert_eq!(listed.out.matches("two read-back").count(), 3, "what was read stays read: {listed:?}");
    assert!(
        ran(&bench, &["target", "replace", "web", "two", "--from", "two"])
            .exits(1)
            .err
            .contains("no other target")
    );
    let out = bench.path("back");
    ran(&bench, &["restore", "web", "--from", "two", "--to", out.to_str().expect("plain")]).exits(0);
    assert_eq!(evidence(&bench, "target.filled").len(), 2);
}

#[test]
fn the_exposure_of_the_past_is_told_with_its_causes_and_outlives_what_was_forgotten() {
    let bench = site(RULES);
    ran(&bench, &["exposure", "web"]).exits(0);
    (1..=3).for_each(|number| back_up(&bench, number));
    ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(0);
    let told = ran(&bench, &["exposure", "web", "--json"]).exits(15).json();
    let any = &told["exposures"][0]["any"];
    assert_eq!(any["breaches"], 1, "before the first snapshot alone: {told:#}");
    let cause = any["named"][0]["cause"].as_str().expect("text");
    assert!(cause.contains("no usable snapshot was there yet"), "{cause}");
    assert_eq!(told["exposures"][0]["offsite"], serde_json::Value::Null, "no target is elsewhere");
}

#[test]
fn what_a_killed_process_could_not_put_into_the_log_the_next_one_does() {
    let bench = site("");
    back_up(&bench, 1);
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    let new = NewRun {
        policy: "web".to_owned(),
        job: Job::Verify,
        scheduled_at: None,
        cause: Cause::Person,
        holder: Holder::this_process(),
    };
    let now = Timestamp::from_unix_ms(1_793_487_600_000);
    let run = catalogue.start_run(&new, now).expect("started");
    let huge = "x".repeat(2 << 20);
    let line = |kind: &str, policy: &str| OutboxLine::new(kind, json!({ "policy": policy }));
    let end = RunEnd {
        state: RunState::Failed,
        at: now,
        job_done: None,
        snapshot: None,
        stats: json!({}),
        failure: None,
        // The log takes no line of that length, and must not stand still over it.
        lines: vec![line("history.differs", &huge), line("verify.failed", "web")],
    };
    catalogue.end_run(&run, &end).expect("ended");
    drop(catalogue);
    assert_eq!(evidence(&bench, "verify.failed").len(), 0);

    back_up(&bench, 2);
    assert_eq!(evidence(&bench, "verify.failed").len(), 1);
    assert_eq!(evidence(&bench, "line.refused")[0]["data"]["kind"], "history.differs");
    assert_eq!(evidence(&bench, "run.ended").len(), 2);
    ran(&bench, &["evidence", "verify", bench.path("state/evidence").to_str().expect("plain")]).exits(0);
}

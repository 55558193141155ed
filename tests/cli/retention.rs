//! A policy's `[retention]`: what it removes, what stays whatever it says, and how that is recorded.

use std::path::PathBuf;

use serde_json::Value;

use crate::run::{Bench, Ran};

/// A policy `web` with two folders as targets; `more` is the rest of its file.
pub(crate) fn site(more: &str) -> Bench {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("config/policies")).expect("made");
    std::fs::create_dir_all(bench.path("source")).expect("made");
    let url = |name: &str| {
        std::fs::create_dir_all(bench.path(name)).expect("made");
        format!("file://{}", bench.path(name).display())
    };
    let text = format!(
        "source = [{:?}]\n[targets.one]\nurl = {:?}\n[targets.two]\nurl = {:?}\n{more}",
        bench.path("source"),
        url("one"),
        url("two"),
    );
    std::fs::write(bench.path("config/policies/web.toml"), text).expect("written");
    // What stays the same is most of it, as it is anywhere.
    let noise: Vec<u8> = (0..2_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    std::fs::write(bench.path("source/large"), noise).expect("written");
    bench
}

pub(crate) fn ran(bench: &Bench, arguments: &[&str]) -> Ran {
    let config = bench.path("config");
    let mut all = vec!["--config", config.to_str().expect("plain")];
    all.extend(arguments);
    bench.run(all)
}

/// One more snapshot, of a source that changed.
pub(crate) fn back_up(bench: &Bench, number: u8) {
    std::fs::write(bench.path("source/file"), vec![number; 100_000]).expect("written");
    ran(bench, &["run", "web"]).exits(0);
}

/// The snapshots that a folder holds, with their targets by the catalogue.
pub(crate) fn stored(bench: &Bench, target: &str) -> usize {
    let all = std::fs::read_dir(bench.path(target).join("s")).expect("listed");
    all.filter(|entry| entry.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|ok| ok == "ok")))
        .count()
}

pub(crate) fn evidence(bench: &Bench, kind: &str) -> Vec<Value> {
    let folder = bench.path("state/evidence/log");
    let files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    let lines = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).expect("read");
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>()
    });
    lines.filter(|line| line["kind"] == kind).collect()
}

#[test]
fn old_snapshots_go_at_every_target_and_what_is_kept_comes_back() {
    let bench = site("[retention]\nlast = 2\nmin_keep = 1\ngrace = \"0\"\n");
    for number in 1..=4 {
        back_up(&bench, number);
    }
    let shown = ran(&bench, &["prune", "web", "--dry-run"]).exits(0);
    assert!(shown.out.contains("2 to remove, 2 to keep"), "{shown:?}");
    assert_eq!((stored(&bench, "one"), stored(&bench, "two")), (4, 4));
    let dry = ran(&bench, &["prune", "web", "--dry-run", "--json"]).exits(0).json();
    let would_free = dry["retain"]["prune"]["targets"][0]["plan"]["freed_bytes"].clone();
    assert!(would_free.as_u64().is_some_and(|bytes| bytes > 0), "{dry:#}");
    let plan = ran(&bench, &["plan"]).exits(0);
    assert!(plan.out.contains("web: keeps 2 last") && plan.out.contains("prune"), "{plan:?}");
    let done = ran(&bench, &["prune", "--json"]).exits(0).json();
    assert_eq!(done["policy"], "web");
    let freed = &done["retain"]["prune"]["targets"][0]["plan"]["freed_bytes"];
    assert_eq!(*freed, would_free, "a dry run says what the prune then frees");
    for target in done["retain"]["forget"]["targets"].as_array().expect("targets") {
        assert_eq!(target["gone"].as_array().expect("a list").len(), 2, "{done:#}");
    }
    assert_eq!((stored(&bench, "one"), stored(&bench, "two")), (2, 2));
    let said = evidence(&bench, "prune.ended");
    assert_eq!(said.len(), 1);
    let text = said[0].to_string();
    assert!(text.contains("no rule keeps it") && text.contains("removed_sha256"), "{text}");
    let listed = ran(&bench, &["snapshots", "web", "--json"]).exits(0).json();
    assert_eq!(listed["snapshots"].as_array().expect("a list").len(), 2, "{listed:#}");
    // Nobody calls that a theft, and everything else goes on.
    ran(&bench, &["verify", "web"]).exits(0);
    let out = bench.path("back");
    ran(&bench, &["restore", "web", "--to", out.to_str().expect("plain")]).exits(0);
    assert_eq!(std::fs::read(out.join("file")).expect("restored"), vec![4; 100_000]);
    back_up(&bench, 5);
    let again = ran(&bench, &["prune", "web", "--json"]).exits(0).json();
    assert_eq!(again["retain"]["forget"]["targets"][0]["gone"].as_array().expect("a list").len(), 1);
}

#[test]
fn the_last_that_was_read_back_stays_whatever_the_rules_say() {
    let bench = site("[verify]\nafter_run = \"ack\"\n[retention]\nlast = 2\nmin_keep = 1\ngrace = \"0\"\n");
    back_up(&bench, 1);
    ran(&bench, &["verify", "web"]).exits(0);
    for number in 2..=4 {
        back_up(&bench, number);
    }
    let done = ran(&bench, &["prune", "web", "--json"]).exits(0).json();
    let plan = done["retain"]["forget"]["plan"].as_array().expect("a plan");
    assert_eq!(plan[0]["keep"], true, "nothing newer is known to be right: {done:#}");
    assert_eq!(plan[0]["reasons"][0], "last that was read back");
    assert_eq!(plan.iter().filter(|one| one["keep"] == false).count(), 1);
    // Once something newer is, it may go.
    ran(&bench, &["verify", "web"]).exits(0);
    ran(&bench, &["prune", "web"]).exits(0);
    assert_eq!(stored(&bench, "one"), 2);
}

#[test]
fn guards_stop_it_and_a_policy_without_rules_removes_nothing() {
    let bench = site("[retention]\nlast = 1\nmin_keep = 1\n");
    for number in 1..=4 {
        back_up(&bench, number);
    }
    let refused = ran(&bench, &["prune", "web"]).exits(14);
    assert!(refused.err.contains("accept-more-than-half"), "{refused:?}");
    assert_eq!(stored(&bench, "one"), 4);
    // A snapshot that somebody took away.
    let victim =
        std::fs::read_dir(bench.path("one/s")).expect("listed").next().expect("one").expect("one").path();
    let shown = victim.to_string_lossy().trim_end_matches(".ok").to_owned();
    for name in [shown.clone(), format!("{shown}.ok")] {
        std::fs::remove_file(name).expect("removed");
    }
    let stolen = ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(13);
    assert!(stolen.err.contains("E0470"), "{stolen:?}");
    assert_eq!(stored(&bench, "two"), 4);
    assert_eq!(evidence(&bench, "prune.failed").len(), 2);
    let keeps_all = site("");
    back_up(&keeps_all, 1);
    let said = ran(&keeps_all, &["prune", "web"]);
    assert!(said.code != 0 && said.err.contains("[retention]"), "{said:?}");
    ran(&keeps_all, &["prune"]).exits(0);
    assert!(ran(&keeps_all, &["plan"]).exits(0).out.contains("web: nothing is removed"));
    for (rules, problem) in [("", "keeps nothing"), ("daily = -1\n", "daily"), ("dayly = 3\n", "dayly")] {
        let wrong = site(&format!("[retention]\n{rules}"));
        let said = ran(&wrong, &["check"]).exits(2);
        assert!(format!("{}{}", said.out, said.err).contains(problem), "{said:?}");
    }
}

#[test]
fn a_target_that_is_away_is_named_and_keeps_what_it_has_until_it_is_back() {
    let bench = site("[retention]\nlast = 2\nmin_keep = 1\ngrace = \"0\"\n");
    for number in 1..=4 {
        back_up(&bench, number);
    }
    let away = bench.path("away");
    crate::run::moved(bench.path("two"), &away);
    let said = ran(&bench, &["prune", "web"]).exits(3);
    assert!(said.err.contains("two takes no part"), "{said:?}");
    assert_eq!(stored(&bench, "one"), 2);
    crate::run::moved(&away, bench.path("two"));
    assert_eq!(stored(&bench, "two"), 4);
    ran(&bench, &["prune", "web"]).exits(0);
    assert_eq!(stored(&bench, "two"), 2);
    ran(&bench, &["verify", "web"]).exits(0);
}

#[test]
fn a_scrub_by_policy_is_a_run_with_the_policys_period() {
    let bench = site("[verify]\nscrub = \"daily 03:00\"\nscrub_period = \"1s\"\n");
    back_up(&bench, 1);
    assert!(ran(&bench, &["plan"]).exits(0).out.contains("scrub"));
    let done = ran(&bench, &["scrub", "web", "--json"]).exits(0).json();
    assert_eq!(done["scrub"]["read"], done["scrub"]["objects"], "all of it is due within a second: {done:#}");
    assert_eq!(evidence(&bench, "scrub.ended").len(), 2);
}

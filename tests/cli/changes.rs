//! Changes of the configuration that make a promise weaker.

use lifeboat::catalog::Catalog;
use lifeboat::catalog::holds::NewHold;

use crate::retention::{back_up, evidence, ran, site, stored};
use crate::run::{Bench, moved};

const RULES: &str = "[retention]\nlast = 3\nmin_keep = 1\n";

fn rewrite(bench: &Bench, from: &str, to: &str) {
    let file = bench.path("config/policies/web.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).expect("written");
}

fn standing(bench: &Bench) -> Vec<String> {
    let holds = ran(bench, &["hold", "list", "--json"]).exits(0).json();
    let holds = holds["holds"].as_array().expect("a list").clone();
    holds.iter().map(|hold| hold["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn a_retention_that_was_made_shorter_removes_nothing_before_somebody_agrees() {
    let bench = site(RULES);
    (1..=3).for_each(|number| back_up(&bench, number));
    rewrite(&bench, "last = 3", "last = 1");
    let refused = ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(14);
    assert!(refused.err.contains("retention.last: 3, now 1"), "{refused:?}");
    assert_eq!(stored(&bench, "one"), 3);
    let id = standing(&bench).remove(0);
    assert!(refused.err.contains(&id) && refused.err.contains("hold release"), "{refused:?}");
    let status = ran(&bench, &["status", "--json"]).json();
    let reasons = status["policies"][0]["reasons"].to_string();
    assert!(reasons.contains("promise-weakened"), "{status:#}");
    ran(&bench, &["watch"]).exits(0);
    let incidents = ran(&bench, &["incident", "list", "--json"]).json();
    assert!(incidents.to_string().contains("promise.weakened"), "{incidents:#}");

    // As two processes that looked at the same time would leave it.
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    let first = catalogue.standing_holds(Some("web")).expect("read").remove(0);
    let twin = NewHold { policy: "web", kind: first.kind, reason: &first.reason, by: &first.placed_by };
    catalogue.place_hold(&twin, first.placed_at).expect("placed");
    drop(catalogue);

    ran(&bench, &["hold", "release", &id, "--reason", "the disk is small"]).exits(0);
    ran(&bench, &["prune", "web", "--accept-more-than-half"]).exits(0);
    assert_eq!(stored(&bench, "one"), 1);
    let released = &evidence(&bench, "hold.released")[0]["data"];
    assert_eq!(
        (&released["kind"], &released["released_because"]),
        (&"weakened".into(), &"the disk is small".into())
    );
    // That was agreed once; the next change is another.
    rewrite(&bench, "min_keep = 1", "");
    ran(&bench, &["prune", "web"]).exits(0);
    rewrite(&bench, "last = 1", "daily = 1");
    ran(&bench, &["prune", "web"]).exits(14);
}

#[test]
fn a_change_that_is_taken_back_is_forgotten() {
    let bench = site(RULES);
    back_up(&bench, 1);
    rewrite(&bench, "last = 3", "last = 2");
    let applied = ran(&bench, &["apply"]).exits(0);
    assert!(applied.err.contains("retention.last: 3, now 2"), "{applied:?}");
    rewrite(&bench, "last = 2", "last = 1");
    back_up(&bench, 2);
    assert_eq!(standing(&bench).len(), 1, "the newer change has taken the place of the older");
    rewrite(&bench, "last = 1", "last = 3");
    let applied = ran(&bench, &["apply"]).exits(0);
    assert_eq!(applied.err, "", "{applied:?}");
    assert_eq!(standing(&bench).len(), 0);
    ran(&bench, &["prune", "web"]).exits(0);
    // And is noticed again, also when it was taken back once.
    rewrite(&bench, "last = 3", "last = 2");
    ran(&bench, &["prune", "web"]).exits(14);
}

#[test]
fn a_policy_whose_file_is_gone_is_missed_until_somebody_agrees() {
    let bench = site("");
    let other = std::fs::read_to_string(bench.path("config/policies/web.toml")).expect("read");
    let elsewhere = other.replace("/one", "/three").replace("/two", "/four");
    std::fs::write(bench.path("config/policies/mail.toml"), elsewhere).expect("written");
    back_up(&bench, 1);
    ran(&bench, &["run", "mail"]).exits(0);
    let opened = ran(&bench, &["incident", "open", "the shop is slow", "--policy", "web"]);
    opened.exits(0);
    moved(bench.path("config/policies/web.toml"), bench.path("web.toml"));
    ran(&bench, &["watch"]).exits(0);

    let status = ran(&bench, &["status"]).exits(15);
    assert!(status.out.contains("web: no longer configured, and nobody has agreed"), "{status:?}");
    assert!(ran(&bench, &["status", "--nagios"]).exits(2).out.contains("web GONE"));
    let incidents = ran(&bench, &["incident", "list", "--json"]).json();
    assert!(incidents.to_string().contains("promise.gone"), "{incidents:#}");
    let id = standing(&bench).remove(0);

    // Its file comes back: nothing was lost.
    moved(bench.path("web.toml"), bench.path("config/policies/web.toml"));
    ran(&bench, &["watch"]).exits(0);
    assert_eq!(standing(&bench).len(), 0);
    assert!(!ran(&bench, &["status"]).out.contains("no longer configured"));

    moved(bench.path("config/policies/web.toml"), bench.path("web.toml"));
    let applied = ran(&bench, &["apply"]).exits(0);
    assert!(applied.err.contains("web: the policy is no longer configured"), "{applied:?}");
    let again = standing(&bench).remove(0);
    assert_ne!(id, again);
    ran(&bench, &["hold", "release", &again, "--reason", "the server was sold"]).exits(0);
    ran(&bench, &["watch"]).exits(0);
    assert!(!ran(&bench, &["status"]).out.contains("no longer configured"));
    assert_eq!(standing(&bench).len(), 0);
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    assert_eq!(catalogue.promised().expect("read"), ["mail"]);
    let gone = catalogue.open_incidents().expect("read");
    assert!(gone.iter().all(|one| one.cause != "promise.gone" || one.passed_at.is_some()), "{gone:?}");
}

#[test]
fn who_agrees_that_a_policy_is_gone_agrees_to_all_that_made_it_weaker_before() {
    let bench = site(RULES);
    back_up(&bench, 1);
    rewrite(&bench, "last = 3", "last = 2");
    ran(&bench, &["apply"]).exits(0);
    let other = std::fs::read_to_string(bench.path("config/policies/web.toml")).expect("read");
    let elsewhere = other.replace("/one", "/three").replace("/two", "/four");
    std::fs::write(bench.path("config/policies/mail.toml"), elsewhere).expect("written");
    std::fs::remove_file(bench.path("config/policies/web.toml")).expect("removed");
    ran(&bench, &["apply"]).exits(0);
    let holds = standing(&bench);
    assert_eq!(holds.len(), 2);
    ran(&bench, &["hold", "release", &holds[1], "--reason", "the server was sold"]).exits(0);
    assert_eq!(standing(&bench).len(), 0);
}

//! Room: what is refused where there is too little, what goes on, and how it is told.

use std::time::Duration;

use lifeboat::base::clock::{Clock, SystemClock, Timestamp};
use lifeboat::base::room::Room;
use lifeboat::catalog::Catalog;
use lifeboat::catalog::copies::Snapshot;
use lifeboat::catalog::process::Holder;
use lifeboat::catalog::runs::{NewRun, RunEnd};
use lifeboat::catalog::space::SpaceOf;
use lifeboat::catalog::words::{BackupKind, Cause, Job, RunState};
use serde_json::json;

use crate::retention::{back_up, ran, site, stored};
use crate::run::Bench;
use crate::small_disk::SmallDisk;

/// The causes that go on.
fn open_causes(bench: &Bench) -> Vec<String> {
    ran(bench, &["watch"]).exits(0);
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    let open = catalogue.open_incidents().expect("read");
    open.into_iter().filter(|one| one.passed_at.is_none()).map(|one| one.cause).collect()
}

#[test]
fn no_backup_starts_where_its_records_would_find_no_room_and_a_restore_goes_on() {
    let bench = site("");
    let disk = SmallDisk::mount(bench.path("state"), 40);
    std::fs::write(bench.path("config/lifeboat.toml"), "[space]\nstate_min_free = \"50%\"\n")
        .expect("written");
    back_up(&bench, 1);

    disk.take(24);
    let refused = ran(&bench, &["run", "web"]);
    assert!(refused.err.contains("E0820") && refused.err.contains("state_min_free"), "{refused:?}");
    assert_ne!(refused.code, 0);
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    let last = catalogue.last_run("web", &Job::Backup(BackupKind::Full)).expect("read").expect("one");
    assert_eq!((last.state, last.failure.expect("why").code.as_str()), (RunState::Failed, "E0820"));
    drop(catalogue);
    assert_eq!((stored(&bench, "one"), stored(&bench, "two")), (1, 1));
    let status = ran(&bench, &["status"]);
    assert!(status.out.contains("no-headroom"), "{status:?}");
    assert!(open_causes(&bench).contains(&"headroom".to_owned()));
    let out = bench.path("out");
    ran(&bench, &["restore", "web", "--to", out.to_str().expect("plain")]).exits(0);
    ran(&bench, &["verify", "web"]).exits(0);

    disk.free();
    back_up(&bench, 2);
    assert!(!open_causes(&bench).contains(&"headroom".to_owned()));
}

#[test]
fn a_target_with_too_little_room_counts_as_full_and_the_other_goes_on() {
    let bench = site("min_free = \"50%\"\n");
    let disk = SmallDisk::mount(bench.path("two"), 40);
    back_up(&bench, 1);
    disk.take(24);
    std::fs::write(bench.path("source/file"), vec![9; 100_000]).expect("written");
    let partial = ran(&bench, &["run", "web"]).exits(3);
    let told = format!("{}{}", partial.out, partial.err);
    assert!(told.contains("two") && told.contains("have to stay free"), "{partial:?}");
    assert_eq!((stored(&bench, "one"), stored(&bench, "two")), (2, 1));
    assert!(open_causes(&bench).contains(&"headroom.two".to_owned()));
    ran(&bench, &["verify", "web", "--target", "two"]).exits(0);

    disk.free();
    back_up(&bench, 3);
    // What it lacks of the past stays lacking; the newest is there.
    assert_eq!((stored(&bench, "one"), stored(&bench, "two")), (3, 2));
    assert!(!open_causes(&bench).contains(&"headroom.two".to_owned()));
}

/// Days before now, the oldest first.
fn days_before(now: Timestamp, count: u32) -> impl Iterator<Item = (u32, Timestamp)> {
    (0..count).map(move |day| (day, now.minus(Duration::from_secs(86_400) * (count - 1 - day))))
}

#[test]
fn what_was_recorded_to_grow_is_foretold_with_its_day() {
    let bench = site("");
    back_up(&bench, 1);
    let now = SystemClock::new().now();
    let catalogue = Catalog::open(&bench.path("state/catalogue.db")).expect("opened");
    let made = catalogue.snapshots("web").expect("read").remove(0);
    for (day, at) in days_before(now.minus(Duration::from_secs(3600)), 8) {
        // 100 GiB fill by 8 a day; runs take 200 s more each day, and are confirmed as much later.
        let room = Room { free_bytes: (100 - 8 * u64::from(day)) << 30, total_bytes: 1000 << 30 };
        catalogue.record_space(&[(SpaceOf::target("web", "one"), room)], at).expect("recorded");
        for hour in 0..24u32 {
            let began = at.minus(Duration::from_secs(3600) * (24 - hour));
            let took = Duration::from_secs(600 + 200 * u64::from(day));
            let new = NewRun {
                policy: "web".to_owned(),
                job: Job::Backup(BackupKind::Incremental),
                scheduled_at: Some(began),
                cause: Cause::Schedule,
                holder: Holder::this_process(),
            };
            let run = catalogue.start_run(&new, began).expect("started");
            let end = RunEnd {
                state: RunState::Succeeded,
                at: began.plus(took),
                job_done: None,
                snapshot: None,
                stats: json!({}),
                failure: None,
                lines: Vec::new(),
            };
            catalogue.end_run(&run, &end).expect("ended");
            let id = format!("{:064x}", u64::from(day * 24 + hour + 1));
            catalogue
                .import_snapshot(&Snapshot { id: id.clone(), captured_at: began, ..made.clone() })
                .expect("recorded");
            catalogue.record_point(&id, began.plus(took), false).expect("recorded");
        }
    }
    drop(catalogue);
    let status = ran(&bench, &["status", "--json"]).json();
    let of = |kind: &str| {
        let all = status["policies"][0]["forecasts"].as_array().expect("a list").clone();
        let found = all.into_iter().find(|one| one["kind"] == kind);
        let at =
            found.unwrap_or_else(|| panic!("{kind}: {status:#}"))["at"].as_str().expect("a time").to_owned();
        Timestamp::parse_rfc3339(&at).expect("a time").since(now).as_secs() / 86_400
    };
    // 44 GiB are left and 1 has to stay; 2000 s are taken of an hour between runs, 5600 of two.
    assert!((4..=6).contains(&of("full")), "{status:#}");
    assert!((7..=8).contains(&of("window")), "{status:#}");
    assert!((7..=8).contains(&of("rpo")), "{status:#}");
    let reasons = status["policies"][0]["reasons"].to_string();
    for code in ["full-soon", "window-soon", "rpo-soon"] {
        assert!(reasons.contains(code), "{reasons}");
    }
    let metrics = ran(&bench, &["metrics"]).exits(0);
    assert!(
        metrics.out.contains("lifeboat_forecast_timestamp_seconds{policy=\"web\",kind=\"full\",of=\"one\"}")
    );
    assert!(open_causes(&bench).contains(&"target.space.one".to_owned()));
}

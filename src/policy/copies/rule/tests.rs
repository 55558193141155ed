//! Rules over small worlds of targets, snapshots and drills.

use super::*;
use crate::policy::copies::{CopyFacts, DrillFacts, SourceFacts, drill_valid_until};
use crate::policy::model::Rule;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A policy with a disk and a locked cloud copy, both read back and drilled.
struct World {
    now: Timestamp,
    rule: Rule,
    after_run: AfterRun,
    source: Option<SourceFacts>,
    targets: Vec<TargetFacts>,
    snapshots: Vec<SnapshotFacts>,
    copies: Vec<CopyFacts>,
    drills: Vec<DrillFacts>,
    findings: Vec<String>,
}

fn name(text: &str) -> TargetName {
    TargetName::new(text).unwrap()
}

impl World {
    fn good() -> Self {
        let now = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let disk = TargetFacts {
            name: name("disk"),
            location: Some("hq/room-b".to_owned()),
            media: "disk".to_owned(),
            provider: None,
            device: Some(7),
            on_source_device: false,
            network: Network::Folder,
            lock_until: None,
            offline: false,
        };
        let cloud = TargetFacts {
            name: name("cloud"),
            location: Some("beijing".to_owned()),
            media: "object".to_owned(),
            provider: Some("acme".to_owned()),
            device: None,
            network: Network::Public,
            lock_until: Some(now.plus(DAY * 34)),
            ..disk.clone()
        };
        let mut world = Self {
            now,
            rule: Rule {
                copies: 3,
                media: 2,
                offsite: 1,
                immutable_or_offline: 1,
                max_verify_age: DAY * 35,
                count_source: true,
                zero_errors: true,
            },
            after_run: AfterRun::New,
            source: Some(SourceFacts { read_at: now.minus(HOUR), media: "disk".to_owned() }),
            targets: vec![disk, cloud],
            snapshots: vec![SnapshotFacts {
                id: "s1".to_owned(),
                kind: BackupKind::Full,
                captured_at: now.minus(HOUR * 21),
            }],
            copies: vec![],
            drills: vec![],
            findings: vec![],
        };
        world.copy("disk", Some(HOUR * 3));
        world.copy("cloud", Some(HOUR * 20));
        world.drill("disk", true);
        world.drill("cloud", true);
        world
    }

    fn copy(&mut self, target: &str, verified_ago: Option<Duration>) {
        self.copies.retain(|c| c.target.as_str() != target);
        let acked = self.now.minus(HOUR * 21);
        let mut levels = BTreeMap::from([(Assurance::Written, acked), (Assurance::Acked, acked)]);
        let oldest_verified = verified_ago.map(|ago| self.now.minus(ago));
        levels.extend(oldest_verified.map(|at| (Assurance::ReadBack, at)));
        self.copies.push(CopyFacts {
            snapshot: "s1".to_owned(),
            target: name(target),
            levels,
            oldest_verified,
        });
    }

    fn drill(&mut self, target: &str, passed: bool) {
        let at = self.now.minus(DAY);
        let valid_until = drill_valid_until(at, DAY * 7);
        self.drills.push(DrillFacts { target: name(target), passed, at, valid_until });
    }

    fn target(&mut self, target: &str) -> &mut TargetFacts {
        self.targets.iter_mut().find(|t| t.name.as_str() == target).unwrap()
    }

    fn verdict(&self) -> Verdict {
        self.verdict_of(Choice::Newest)
    }

    fn verdict_of(&self, choice: Choice) -> Verdict {
        let facts = Facts {
            now: self.now,
            site: "hq",
            rule: &self.rule,
            after_run: self.after_run,
            source: self.source.as_ref(),
            targets: &self.targets,
            snapshots: &self.snapshots,
            copies: &self.copies,
            drills: &self.drills,
            open_findings: &self.findings,
        };
        evaluate(&facts, choice)
    }
}

type Case = (&'static str, fn(&mut World), [u32; 4], bool, &'static str);

/// The nine cases of the design, with the sentence that each gives.
const CASES: [Case; 9] = [
    ("both read back and drilled", |_| {}, [3, 2, 1, 1], true, "3-2-1 holds until 2026-12-02 06:00:00 UTC"),
    (
        "uploaded, never read back",
        |w| w.copy("cloud", None),
        [2, 1, 0, 0],
        false,
        "3-2-1 does not hold: the cloud copy was never read back",
    ),
    (
        "cloud read back 40 d ago",
        |w| w.copy("cloud", Some(DAY * 40)),
        [2, 1, 0, 0],
        false,
        "3-2-1 does not hold: the cloud copy was read back 40d ago (limit 35d)",
    ),
    (
        "disk is a folder on the source's disk",
        |w| w.target("disk").on_source_device = true,
        [2, 2, 1, 1],
        false,
        "3-2-1 does not hold: the disk copy is on the source's device",
    ),
    (
        "two buckets in one region",
        |w| {
            let twin = TargetFacts { name: name("twin"), ..w.target("cloud").clone() };
            w.targets = vec![w.targets[1].clone(), twin];
            w.copy("twin", Some(HOUR));
        },
        [2, 2, 1, 1],
        false,
        "3-2-1 does not hold: twin and cloud are in one failure domain: counted once",
    ),
    (
        "the source not counted",
        |w| w.rule.count_source = false,
        [2, 2, 1, 1],
        false,
        "3-2-1 does not hold: 2 of 3 copies",
    ),
    (
        "cloud never drilled",
        |w| w.drills.truncate(1),
        [3, 2, 1, 1],
        false,
        "3-2-1 does not hold: no drill restored from the off-site copy yet",
    ),
    (
        "one open finding",
        |w| w.findings.push("F-1".to_owned()),
        [3, 2, 1, 1],
        false,
        "3-2-1 does not hold: finding F-1 is open",
    ),
    (
        "no run yet",
        |w| {
            w.source = None;
            w.snapshots.clear();
            w.copies.clear();
        },
        [0, 0, 0, 0],
        false,
        "3-2-1 does not hold: no target holds a confirmed snapshot",
    ),
];

#[test]
fn the_nine_cases_of_the_design_come_out_as_designed() {
    for (case, change, numbers, holds, sentence) in CASES {
        let mut world = World::good();
        change(&mut world);
        let verdict = world.verdict();
        let found = [verdict.copies, verdict.media, verdict.offsite, verdict.immutable_or_offline];
        assert_eq!(found, numbers, "{case}: {verdict}");
        assert_eq!(verdict.holds, holds, "{case}");
        assert_eq!(verdict.reasons.is_empty(), holds, "{case}");
        assert_eq!(verdict.valid_until.is_some(), holds, "{case}");
        assert_eq!(verdict.to_string(), sentence, "{case}");
    }
}

#[test]
fn one_machine_says_rightly_that_it_does_not_hold() {
    let mut world = World::good();
    world.rule.immutable_or_offline = 0;
    world.target("disk").on_source_device = true;
    world.target("cloud").network = Network::Loopback;
    for location in [None, Some("elsewhere".to_owned())] {
        world.target("cloud").location = location;
        assert_eq!(
            world.verdict().to_string(),
            "3-2-1 does not hold: the disk copy is on the source's device; off-site refuted (loopback)"
        );
    }
}

#[test]
fn off_site_is_a_declaration_that_the_address_can_refute() {
    let offsite = |location: Option<&str>, network: Network| {
        let mut world = World::good();
        world.target("cloud").location = location.map(str::to_owned);
        world.target("cloud").network = network;
        (world.verdict().offsite, world.verdict().reasons.iter().map(|r| r.code).collect::<Vec<_>>())
    };
    assert_eq!(offsite(Some("beijing"), Network::Private).0, 1);
    assert_eq!(offsite(Some("beijing"), Network::Own), (0, vec!["offsite-refuted"]));
    assert_eq!(offsite(Some("hq/room-c"), Network::Public).0, 0);
    let undeclared = offsite(None, Network::Public);
    assert!(undeclared.0 == 0 && undeclared.1.contains(&"location-not-declared"), "{undeclared:?}");
    assert!(!offsite(None, Network::Private).1.contains(&"location-not-declared"));
}

#[test]
fn every_fact_expires() {
    let mut world = World::good();
    let holds = |world: &World| world.verdict().holds;
    let until = world.verdict().valid_until.unwrap();
    assert_eq!(world.verdict().expires_next.unwrap().at, until);
    world.now = until.minus(Duration::from_millis(1));
    assert!(holds(&world));
    world.now = until;
    assert_eq!(world.verdict().reasons[0].code, "drill-stale");
    // With drills out of the way the lock is next, then the read-backs.
    world.rule.zero_errors = false;
    let lock = world.verdict().expires_next.unwrap();
    assert_eq!(lock.what, "the lock of cloud");
    world.now = lock.at;
    assert!(!holds(&world));
    world.rule.immutable_or_offline = 0;
    assert!(holds(&world));
    let read_back = world.verdict().expires_next.unwrap();
    assert_eq!(read_back.what, "the read-back of cloud");
    world.now = read_back.at;
    assert!(!holds(&world));
}

#[test]
fn a_failed_drill_counts_until_a_later_one_passes() {
    let mut world = World::good();
    world.drill("cloud", false);
    world.drills.last_mut().unwrap().at = world.now.minus(HOUR);
    assert_eq!(world.verdict().reasons[0].code, "drill-failed");
    world.drill("cloud", true);
    world.drills.last_mut().unwrap().at = world.now;
    assert!(world.verdict().holds);
}

#[test]
fn an_acknowledged_copy_stands_for_a_day_when_the_policy_says_so() {
    let mut world = World::good();
    world.copy("cloud", None);
    assert!(!world.verdict().holds);
    world.after_run = AfterRun::Ack;
    assert!(world.verdict().holds);
    world.now = world.now.plus(HOUR * 4);
    assert!(!world.verdict().holds);
}

#[test]
fn the_newest_full_is_asked_separately() {
    let mut world = World::good();
    world.snapshots.push(SnapshotFacts {
        id: "s2".to_owned(),
        kind: BackupKind::Incremental,
        captured_at: world.now.minus(HOUR),
    });
    assert!(world.verdict().holds, "a snapshot that nobody confirmed is not looked at");
    let mut copy = world.copies[0].clone();
    copy.snapshot = "s2".to_owned();
    world.copies.push(copy);
    assert!(!world.verdict().holds);
    assert!(world.verdict_of(Choice::NewestFull).holds);
}

#[test]
fn folders_on_one_device_are_one_copy() {
    let mut world = World::good();
    let twin =
        TargetFacts { name: name("twin"), location: Some("x".to_owned()), ..world.target("disk").clone() };
    world.targets = vec![world.targets[0].clone(), twin];
    world.copy("twin", Some(HOUR));
    assert_eq!(world.verdict().copies, 2);
}

//! The rule itself: what stands, what counts once, what is short and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::facts::{Assurance, Facts, Network, SnapshotFacts, TargetFacts};
use super::verdict::{Choice, Expiry, Reason, Verdict};
use crate::base::clock::Timestamp;
use crate::base::size::format_duration;
use crate::policy::model::{AfterRun, BackupKind, CopyClass, TargetName};
use crate::policy::state::Word;

/// With `after_run = "ack"` a snapshot younger than this stands on the target's own checksum.
const ACK_STANDS_SECONDS: u64 = 24 * 3600;

/// Answers the rule for one snapshot.
pub fn evaluate(facts: &Facts<'_>, choice: Choice) -> Verdict {
    let snapshot = newest_held(facts, choice);
    let source = facts.source.filter(|s| alive(facts, s.read_at));
    let mut tally = Tally::default();
    if let Some(snapshot) = snapshot {
        facts.targets.iter().for_each(|target| tally.count(facts, target, snapshot));
    }
    let rule = facts.rule;
    if let Some(source) = source.filter(|_| snapshot.is_some()) {
        let until = source.read_at.plus(rule.max_verify_age);
        tally.expiries.push(Expiry { what: "the last reading of the source".to_owned(), at: until });
        tally.media.insert(source.media.clone());
    }
    let from_source = u32::from(rule.count_source && snapshot.is_some() && source.is_some());
    let (media, offsite) = (counted(tally.media.len()), counted(tally.offsite.len()));
    let immutable_or_offline = counted(tally.immutable.len());
    let errors = tally.errors(facts);
    let stored = counted(tally.domains.len());
    let copies = stored + from_source;
    let mut reasons = Vec::new();
    if snapshot.is_none() {
        let what = if choice == Choice::NewestFull { "full snapshot" } else { "snapshot" };
        let text = format!("no target holds a confirmed {what}");
        reasons.push(Reason::new("no-snapshot", Word::Unproven, text));
    } else {
        let parts = [
            Part { name: "copies", wanted: rule.copies, found: copies, causes: &tally.standing },
            Part { name: "media", wanted: rule.media, found: media, causes: &tally.standing },
            Part { name: "off-site", wanted: rule.offsite, found: offsite, causes: &tally.elsewhere },
            Part {
                name: "immutable or offline",
                wanted: rule.immutable_or_offline,
                found: immutable_or_offline,
                causes: &tally.unchangeable,
            },
        ];
        reasons = shortfalls(&parts);
        if rule.count_source && source.is_none() {
            let text = "the source was not read by the last run";
            reasons.push(Reason::new("source-unread", Word::Unproven, text));
        }
    }
    let zero_errors = errors.is_empty() && snapshot.is_some();
    let enough = copies >= rule.copies
        && media >= rule.media
        && offsite >= rule.offsite
        && immutable_or_offline >= rule.immutable_or_offline;
    let holds = snapshot.is_some() && enough && (zero_errors || !rule.zero_errors);
    if rule.zero_errors && snapshot.is_some() {
        reasons.extend(errors);
    }
    if holds {
        reasons.clear();
    }
    let expires_next = tally.expiries.into_iter().min_by_key(|expiry| expiry.at);
    Verdict {
        rule: format!("{}-{}-{}", rule.copies, rule.media, rule.offsite),
        holds,
        snapshot: snapshot.map(|s| s.id.clone()),
        copies,
        stored,
        media,
        offsite,
        immutable_or_offline,
        zero_errors,
        reasons,
        valid_until: expires_next.as_ref().filter(|_| holds).map(|expiry| expiry.at),
        expires_next,
    }
}

fn newest_held<'a>(facts: &Facts<'a>, choice: Choice) -> Option<&'a SnapshotFacts> {
    let confirmed = |snapshot: &&SnapshotFacts| {
        facts.copies.iter().any(|c| c.snapshot == snapshot.id && c.level() >= Some(Assurance::Acked))
    };
    let wanted = |snapshot: &&SnapshotFacts| choice == Choice::Newest || snapshot.kind == BackupKind::Full;
    facts.snapshots.iter().filter(wanted).filter(confirmed).max_by_key(|snapshot| snapshot.captured_at)
}

fn alive(facts: &Facts<'_>, since: Timestamp) -> bool {
    since.plus(facts.rule.max_verify_age) > facts.now
}

fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// One number of the rule.
struct Part<'a> {
    name: &'static str,
    wanted: u32,
    found: u32,
    causes: &'a [Reason],
}

/// The causes of what is short, each once; the bare count where there is no better one.
fn shortfalls(parts: &[Part<'_>]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for part in parts.iter().filter(|part| part.found < part.wanted) {
        if part.causes.is_empty() {
            let text = format!("{} of {} {}", part.found, part.wanted, part.name);
            reasons.push(Reason::new("too-few", Word::Broken, text));
        }
        for cause in part.causes {
            if !reasons.iter().any(|r| r.text == cause.text) {
                reasons.push(cause.clone());
            }
        }
    }
    reasons
}

/// What was counted so far, and what stood against counting more.
#[derive(Default)]
struct Tally<'a> {
    /// The first standing target of each failure domain.
    domains: BTreeMap<String, &'a TargetFacts>,
    media: BTreeSet<String>,
    offsite: BTreeSet<String>,
    immutable: BTreeSet<String>,
    classes: BTreeSet<CopyClass>,
    standing: Vec<Reason>,
    elsewhere: Vec<Reason>,
    unchangeable: Vec<Reason>,
    expiries: Vec<Expiry>,
}

impl<'a> Tally<'a> {
    fn count(&mut self, facts: &Facts<'a>, target: &'a TargetFacts, snapshot: &SnapshotFacts) {
        let class = target.class(facts.site);
        let until = match stands_until(facts, target, snapshot) {
            Ok(until) => until,
            Err(reason) => {
                if class == CopyClass::Offsite {
                    self.elsewhere.push(reason.clone());
                }
                if target.lock_until.is_some() || target.offline {
                    self.unchangeable.push(reason.clone());
                }
                self.standing.push(reason);
                return;
            }
        };
        let name = &target.name;
        self.expiries.push(Expiry { what: format!("the read-back of {name}"), at: until });
        self.classes.insert(class);
        self.media.insert(target.media.clone());
        let domain = target.domain(facts.site);
        if let Some(other) = self.domains.get(&domain) {
            let text = format!("{name} and {} are in one failure domain: counted once", other.name);
            self.standing.push(Reason::new("same-domain", Word::Broken, text.clone()));
            self.elsewhere.push(Reason::new("same-domain", Word::Broken, text));
        } else {
            self.domains.insert(domain.clone(), target);
        }
        let locked = target.lock_until.filter(|until| *until > facts.now);
        if let Some(until) = locked {
            self.expiries.push(Expiry { what: format!("the lock of {name}"), at: until });
        }
        if locked.is_some() || target.offline {
            self.immutable.insert(domain.clone());
        }
        match off_site(target, class) {
            Ok(()) => drop(self.offsite.insert(domain)),
            Err(reason) => self.elsewhere.extend(reason),
        }
    }

    /// What stands against "zero errors".
    fn errors(&mut self, facts: &Facts<'_>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for class in &self.classes {
            let of_class = |name: &TargetName| {
                facts.targets.iter().any(|t| t.name == *name && t.class(facts.site) == *class)
            };
            let newest = facts.drills.iter().filter(|d| of_class(&d.target)).max_by_key(|d| d.at);
            let word = match class {
                CopyClass::Local => "local",
                CopyClass::Offsite => "off-site",
            };
            match newest {
                None => {
                    let text = format!("no drill restored from the {word} copy yet");
                    reasons.push(Reason::new("never-drilled", Word::Unproven, text));
                }
                Some(drill) if !drill.passed => {
                    let text = format!("the newest drill from the {word} copy ({}) failed", drill.target);
                    reasons.push(Reason::new("drill-failed", Word::Broken, text));
                }
                Some(drill) if drill.valid_until <= facts.now => {
                    let text = format!("the newest drill from the {word} copy is too old");
                    reasons.push(Reason::new("drill-stale", Word::Unproven, text));
                }
                Some(drill) if facts.rule.zero_errors => {
                    let what = format!("the drill from the {word} copy");
                    self.expiries.push(Expiry { what, at: drill.valid_until });
                }
                Some(_) => {}
            }
        }
        match facts.open_findings {
            [] => {}
            [one] => {
                reasons.push(Reason::new("open-finding", Word::Broken, format!("finding {one} is open")))
            }
            many => {
                let text = format!("{} findings are open", many.len());
                reasons.push(Reason::new("open-finding", Word::Broken, text));
            }
        }
        reasons
    }
}

/// Until when a target's copy of the snapshot stands, or why it doesn't.
fn stands_until(
    facts: &Facts<'_>,
    target: &TargetFacts,
    snapshot: &SnapshotFacts,
) -> Result<Timestamp, Reason> {
    let name = &target.name;
    if target.on_source_device {
        let text = format!("the {name} copy is on the source's device");
        return Err(Reason::new("on-source-device", Word::Broken, text));
    }
    let copy = facts.copies.iter().find(|c| c.snapshot == snapshot.id && c.target == *name);
    let Some(copy) = copy else {
        let text = format!("{name} has no copy of the newest snapshot");
        return Err(Reason::new("no-copy", Word::Unproven, text));
    };
    let age = facts.rule.max_verify_age;
    if let Some(verified) = copy.oldest_verified.filter(|at| alive(facts, *at)) {
        return Ok(verified.plus(age));
    }
    let on_ack = snapshot.captured_at.plus(Duration::from_secs(ACK_STANDS_SECONDS));
    if facts.after_run == AfterRun::Ack && copy.level() >= Some(Assurance::Acked) && on_ack > facts.now {
        return Ok(on_ack);
    }
    Err(match copy.oldest_verified {
        None => {
            Reason::new("never-read-back", Word::Unproven, format!("the {name} copy was never read back"))
        }
        Some(verified) => {
            let (ago, limit) = (format_duration(facts.now.since(verified)), format_duration(age));
            let text = format!("the {name} copy was read back {ago} ago (limit {limit})");
            Reason::new("read-back-stale", Word::Unproven, text)
        }
    })
}

/// Whether a standing copy is elsewhere; the reason why not, unless it never claimed to be.
fn off_site(target: &TargetFacts, class: CopyClass) -> Result<(), Option<Reason>> {
    let refuted =
        |by: &str| Some(Reason::new("offsite-refuted", Word::Broken, format!("off-site refuted ({by})")));
    match (target.network, class) {
        (Network::Loopback, _) => Err(refuted("loopback")),
        (Network::Own, _) => Err(refuted("own address")),
        (_, CopyClass::Offsite) => Ok(()),
        (Network::Public, CopyClass::Local) if target.location.is_none() => {
            let text = format!("{}: location not declared", target.name);
            Err(Some(Reason::new("location-not-declared", Word::Unproven, text)))
        }
        _ => Err(None),
    }
}

#[cfg(test)]
mod tests {
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
        (
            "both read back and drilled",
            |_| {},
            [3, 2, 1, 1],
            true,
            "3-2-1 holds until 2026-12-02 06:00:00 UTC",
        ),
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
        let twin = TargetFacts {
            name: name("twin"),
            location: Some("x".to_owned()),
            ..world.target("disk").clone()
        };
        world.targets = vec![world.targets[0].clone(), twin];
        world.copy("twin", Some(HOUR));
        assert_eq!(world.verdict().copies, 2);
    }
}

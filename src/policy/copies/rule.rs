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
mod tests;

//! Which snapshots to keep: rules over the snapshots of a target, and for each the reasons.
//!
//! Snapshots are compared within a *set* only: the same host, policy and roots. Within a set they
//! are counted by *lane*: one signer, whole ones apart from those with unread items. So nobody who
//! may only add snapshots can push out those of another signer, and a snapshot that lacks something
//! displaces none that lacks nothing. In each calendar slot at most one counts.
//!
//! A snapshot that nobody vouches for, that lies in the future, or whose times contradict the
//! writer's own numbers counts for nothing and is never removed by a rule: a person removes it by
//! its id. Each snapshot is whole by itself, an incremental too, so none is kept for the sake of
//! another. Pure: `now` and the snapshots are arguments, and their order does not matter.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use chrono::{Datelike, Timelike};
use chrono_tz::Tz;
pub use chrono_tz::Tz as Zone;

use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, WriterId};

/// A checkpoint of this age is not gone on from any more.
const CHECKPOINT_AGE: Duration = Duration::from_hours(14 * 24);
/// Times of one writer may contradict its numbers by this much: clocks are set now and then.
const CLOCK_SLACK: Duration = Duration::from_hours(1);
/// A run that claims to have lasted longer claims a slot of a past it may never have seen.
const RUN_MAX: Duration = Duration::from_hours(14 * 24);
/// A clock may be behind the newest snapshot by this much: hosts' clocks differ.
const BEHIND_MAX: Duration = Duration::from_hours(1);
/// And ahead of it by this much: longer without any backup is more likely a wrong clock.
const AHEAD_MAX: Duration = Duration::from_hours(400 * 24);

/// What shall be kept. Zero and none keep nothing; a snapshot that any rule keeps is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest, so many.
    pub last: u32,
    /// All that are younger than this.
    pub within: Option<Duration>,
    /// One for each of the newest hours that have any.
    pub hourly: u32,
    /// As `hourly`, for days.
    pub daily: u32,
    /// For ISO weeks, which begin on Monday.
    pub weekly: u32,
    /// For months.
    pub monthly: u32,
    /// For years.
    pub yearly: u32,
    /// Always the newest so many, whatever the other rules say; it is no rule by itself.
    pub min_keep: u32,
    /// Those with one of these tags.
    pub tags: BTreeSet<String>,
    /// What a law, or a person, forbids to remove; no rule by itself.
    pub holds: Vec<Hold>,
}

/// Snapshots that nothing may remove as long as this stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// As it was written; shown as the reason.
    pub written: String,
    /// Which.
    pub what: Held,
}

/// What a hold is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The snapshots whose ids begin with these digits.
    Id(String),
    /// Those taken from the first of these moments on and before the second.
    Between(Timestamp, Timestamp),
}

impl Hold {
    fn covers(&self, snapshot: &Candidate) -> bool {
        match &self.what {
            Held::Id(digits) => snapshot.id.to_hex().starts_with(digits),
            Held::Between(from, to) => (*from..*to).contains(&snapshot.captured_at),
        }
    }
}

impl Rules {
    /// Whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        counts.iter().all(|count| *count == 0) && self.within.is_none() && self.tags.is_empty()
    }
}

/// What is compared with each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Set {
    /// The machine.
    pub host: String,
    /// The policy that asked.
    pub policy: Option<String>,
    /// What was backed up, sorted.
    #[serde(skip)]
    pub roots: Vec<Vec<u8>>,
}

impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        if let Some(policy) = &self.policy {
            write!(f, " ({policy})")?;
        }
        self.roots.iter().try_for_each(|root| write!(f, " {}", crate::base::display::path(root)))
    }
}

/// A zone by its name in the tz database.
///
/// # Errors
/// In words, when there is none of this name.
pub fn parse_zone(name: &str) -> Result<Zone, String> {
    name.parse().map_err(|_| "no such zone; one is named like Europe/Berlin, or UTC".to_owned())
}

/// A snapshot as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: ObjectHash,
    /// What it is compared with.
    pub set: Set,
    /// Who signed it.
    pub signer: WriterId,
    /// Whether a certificate vouches for the signer and the signature verifies.
    pub signed: bool,
    /// Its number in the signer's chain.
    pub number: u64,
    /// Start of the walk: the moment it shows.
    pub captured_at: Timestamp,
    /// End of the run.
    pub ended_at: Timestamp,
    /// A stage of a run rather than a recovery point.
    pub is_checkpoint: bool,
    /// Every byte was read for it.
    pub is_full: bool,
    /// Nothing was left unread.
    pub is_whole: bool,
    /// Words of the person.
    pub tags: Vec<String>,
    /// Which places hold it, by number.
    pub places: Vec<usize>,
}

/// Why a snapshot is kept or removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Kept: the newest of its set, at a place at least.
    Newest,
    /// Kept: among the newest so many.
    Last,
    /// Kept: younger than asked for.
    Within,
    /// Kept: stands for this slot of the calendar.
    Slot(&'static str, String),
    /// Kept: among the newest so many that always stay.
    MinKeep,
    /// Kept: among the last at some place that were read back and right.
    ReadBack,
    /// Kept: has a tag that is kept.
    Tag(String),
    /// Kept: a legal hold covers it.
    Held(String),
    /// Kept, counts for nothing: from the future.
    Future,
    /// Kept, counts for nothing: its times contradict its number, or each other.
    ClockSuspect,
    /// Kept, counts for nothing: no certificate vouches for who signed it.
    Unsigned,
    /// Kept: a run may go on from this checkpoint.
    Resumable,
    /// Removed: no rule keeps it.
    NoRule,
    /// Removed: the run of this checkpoint went on.
    CheckpointPassed,
    /// Removed: nobody goes on from a checkpoint that old.
    CheckpointOld,
    /// Removed: a person named it.
    Named,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::Last => f.write_str("last"),
            Self::Within => f.write_str("within"),
            Self::Slot(rule, slot) => write!(f, "{rule} {slot}"),
            Self::MinKeep => f.write_str("least number"),
            Self::ReadBack => f.write_str("last that was read back"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Held(hold) => write!(f, "legal hold {hold}"),
            Self::Future => f.write_str("from the future: not counted"),
            Self::ClockSuspect => f.write_str("its clock is doubtful: not counted"),
            Self::Unsigned => f.write_str("no known writer signed it: not counted"),
            Self::Resumable => f.write_str("checkpoint a run may go on from"),
            Self::NoRule => f.write_str("no rule keeps it"),
            Self::CheckpointPassed => f.write_str("checkpoint of a run that went on"),
            Self::CheckpointOld => f.write_str("checkpoint older than 14 days"),
            Self::Named => f.write_str("named"),
        }
    }
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which.
    pub id: ObjectHash,
    /// Whether it stays.
    pub keep: bool,
    /// Why, at least one reason.
    pub reasons: Vec<Reason>,
}

/// What becomes of every snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By time, the oldest first.
    pub decisions: Vec<Decision>,
    /// Sets that would lose more than half of their snapshots; checkpoints don't count.
    pub halved: Vec<Set>,
}

/// Whether a clock can be right beside the newest snapshot.
pub fn clock_fits(now: Timestamp, newest: Timestamp) -> bool {
    now >= newest.minus(BEHIND_MAX) && now <= newest.plus(AHEAD_MAX)
}

/// Decides. Each id stands once in `snapshots`.
pub fn plan(now: Timestamp, zone: Tz, rules: &Rules, snapshots: &[Candidate]) -> Plan {
    let mut all: Vec<&Candidate> = snapshots.iter().collect();
    all.sort_by_key(|snapshot| (snapshot.captured_at, snapshot.number, snapshot.id));
    let suspects = suspects(now, &all);
    let mut sets: BTreeMap<&Set, Vec<&Candidate>> = BTreeMap::new();
    for snapshot in &all {
        sets.entry(&snapshot.set).or_default().push(snapshot);
    }
    let mut kept = Kept::default();
    for hold in &rules.holds {
        for snapshot in all.iter().filter(|snapshot| hold.covers(snapshot)) {
            kept.add(snapshot, Reason::Held(hold.written.clone()));
        }
    }
    let mut removed: HashMap<ObjectHash, Reason> = HashMap::new();
    let mut halved = Vec::new();
    for (set, members) in sets {
        let (checkpoints, points): (Vec<&Candidate>, Vec<&Candidate>) =
            members.into_iter().partition(|snapshot| snapshot.is_checkpoint);
        for checkpoint in checkpoints {
            match over(now, checkpoint, &all) {
                Some(reason) => drop(removed.insert(checkpoint.id, reason)),
                None => kept.add(checkpoint, Reason::Resumable),
            }
        }
        let mut lanes: BTreeMap<(WriterId, bool), Vec<&Candidate>> = BTreeMap::new();
        for &point in &points {
            match uncounted(now, point, &suspects) {
                Some(reason) => kept.add(point, reason),
                None => lanes.entry((point.signer, point.is_whole)).or_default().push(point),
            }
        }
        keep_newest(&points, &lanes, &mut kept);
        for lane in lanes.values() {
            keep_by_rules(now, zone, rules, lane, &mut kept);
        }
        let gone = points.iter().filter(|point| !kept.has(point)).count();
        if gone * 2 > points.len() {
            halved.push(set.clone());
        }
    }
    let decisions = all.iter().map(|snapshot| match kept.reasons.remove(&snapshot.id) {
        Some(reasons) => Decision { id: snapshot.id, keep: true, reasons: reasons.into_iter().collect() },
        None => {
            let reason = removed.remove(&snapshot.id).unwrap_or(Reason::NoRule);
            Decision { id: snapshot.id, keep: false, reasons: vec![reason] }
        }
    });
    Plan { decisions: decisions.collect(), halved }
}

#[derive(Default)]
struct Kept {
    reasons: HashMap<ObjectHash, BTreeSet<Reason>>,
}

impl Kept {
    fn add(&mut self, snapshot: &Candidate, reason: Reason) {
        self.reasons.entry(snapshot.id).or_default().insert(reason);
    }

    fn has(&self, snapshot: &Candidate) -> bool {
        self.reasons.contains_key(&snapshot.id)
    }
}

/// Why a snapshot counts for nothing.
fn uncounted(now: Timestamp, snapshot: &Candidate, suspects: &HashSet<ObjectHash>) -> Option<Reason> {
    if !snapshot.signed {
        Some(Reason::Unsigned)
    } else if snapshot.captured_at > now {
        Some(Reason::Future)
    } else {
        suspects.contains(&snapshot.id).then_some(Reason::ClockSuspect)
    }
}

/// Those that ended before one of the same signer with a lower number, or that claim to have lasted
/// very long, or to have ended before they began. A later snapshot only ever adds suspicion, and
/// suspicion only keeps.
fn suspects(now: Timestamp, all: &[&Candidate]) -> HashSet<ObjectHash> {
    let mut found = HashSet::new();
    let mut chain: Vec<&&Candidate> = all.iter().filter(|s| s.signed && s.captured_at <= now).collect();
    chain.sort_by_key(|snapshot| (snapshot.signer, snapshot.number));
    let mut latest: Option<(WriterId, Timestamp)> = None;
    for numbered in chain.chunk_by(|a, b| (a.signer, a.number) == (b.signer, b.number)) {
        let before = latest.filter(|(signer, _)| *signer == numbered[0].signer).map(|(_, at)| at);
        for snapshot in numbered {
            let (began, ended) = (snapshot.captured_at, snapshot.ended_at);
            let contradicts = before.is_some_and(|before| ended < before.minus(CLOCK_SLACK));
            if contradicts || ended < began || ended.since(began) > RUN_MAX {
                found.insert(snapshot.id);
            }
        }
        // What ended in the future says nothing about the past.
        let ends = numbered.iter().map(|snapshot| snapshot.ended_at).filter(|at| *at <= now);
        latest = ends.chain(before).max().map(|at| (numbered[0].signer, at)).or(latest);
    }
    found
}

/// Why nobody goes on from a checkpoint.
fn over(now: Timestamp, checkpoint: &Candidate, all: &[&Candidate]) -> Option<Reason> {
    // Who claims a checkpoint's place must be who made it.
    let passed = |later: &&&Candidate| {
        later.signed == checkpoint.signed
            && later.signer == checkpoint.signer
            && later.set == checkpoint.set
            && later.number > checkpoint.number
            && later.captured_at <= now
            && (!later.is_checkpoint || later.captured_at == checkpoint.captured_at)
            // A place that has the later one only has nothing to go on from without this.
            && checkpoint.places.iter().all(|place| later.places.contains(place))
    };
    if all.iter().any(|later| passed(&later)) {
        Some(Reason::CheckpointPassed)
    } else {
        (checkpoint.captured_at.plus(CHECKPOINT_AGE) <= now).then_some(Reason::CheckpointOld)
    }
}

/// The newest of a set at each place, whatever it is, and the newest of each lane there.
fn keep_newest(points: &[&Candidate], lanes: &BTreeMap<(WriterId, bool), Vec<&Candidate>>, kept: &mut Kept) {
    let places: BTreeSet<usize> = points.iter().flat_map(|point| point.places.iter().copied()).collect();
    for members in lanes.values().map(Vec::as_slice).chain([points]) {
        for place in &places {
            if let Some(newest) = members.iter().rev().find(|point| point.places.contains(place)) {
                kept.add(newest, Reason::Newest);
            }
        }
    }
}

/// All rules over one lane, the oldest first.
fn keep_by_rules(now: Timestamp, zone: Tz, rules: &Rules, lane: &[&Candidate], kept: &mut Kept) {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    for snapshot in lane.iter().rev().take(count(rules.last)) {
        kept.add(snapshot, Reason::Last);
    }
    for snapshot in lane {
        if rules.within.is_some_and(|within| snapshot.captured_at >= now.minus(within)) {
            kept.add(snapshot, Reason::Within);
        }
        if let Some(tag) = snapshot.tags.iter().find(|tag| rules.tags.contains(*tag)) {
            kept.add(snapshot, Reason::Tag(tag.clone()));
        }
    }
    for (rule, slots, name) in [
        ("hourly", rules.hourly, hour as fn(Timestamp, Tz) -> String),
        ("daily", rules.daily, day),
        ("weekly", rules.weekly, week),
        ("monthly", rules.monthly, month),
        ("yearly", rules.yearly, year),
    ] {
        if slots == 0 {
            continue;
        }
        for (slot, snapshot) in newest_slots(lane, zone, name).into_iter().take(count(slots)) {
            kept.add(snapshot, Reason::Slot(rule, slot));
        }
    }
    // Not "as many as are missing": then one more old snapshot could cost a newer one its place.
    for snapshot in lane.iter().rev().take(count(rules.min_keep)) {
        if !kept.has(snapshot) {
            kept.add(snapshot, Reason::MinKeep);
        }
    }
}

/// The slots that have any, the newest first, each with the snapshot that stands for it: the last
/// full, else the last. Where clocks go back over midnight a day comes twice: it is one slot.
fn newest_slots<'c>(
    lane: &[&'c Candidate],
    zone: Tz,
    name: fn(Timestamp, Tz) -> String,
) -> Vec<(String, &'c Candidate)> {
    let mut slots: Vec<(String, &Candidate)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for &snapshot in lane.iter().rev() {
        let slot = name(snapshot.captured_at, zone);
        match places.get(&slot) {
            None => {
                places.insert(slot.clone(), slots.len());
                slots.push((slot, snapshot));
            }
            Some(at) => {
                let best = &mut slots[*at].1;
                if snapshot.is_full && !best.is_full {
                    *best = snapshot;
                }
            }
        }
    }
    slots
}

/// With the offset: the hour that comes twice in autumn is two.
fn hour(at: Timestamp, zone: Tz) -> String {
    let local = at.to_utc().with_timezone(&zone);
    format!("{} {:02}h{}", local.date_naive(), local.hour(), local.format("%z"))
}

fn day(at: Timestamp, zone: Tz) -> String {
    at.to_utc().with_timezone(&zone).date_naive().to_string()
}

fn week(at: Timestamp, zone: Tz) -> String {
    let week = at.to_utc().with_timezone(&zone).iso_week();
    format!("{}-W{:02}", week.year(), week.week())
}

fn month(at: Timestamp, zone: Tz) -> String {
    let local = at.to_utc().with_timezone(&zone);
    format!("{}-{:02}", local.year(), local.month())
}

fn year(at: Timestamp, zone: Tz) -> String {
    at.to_utc().with_timezone(&zone).year().to_string()
}

#[cfg(test)]
mod tests;

//! What a change of a policy's file makes weaker: less backed up, kept, checked or promised than before.
//!
//! A promise is a list of parts. Each has a strength, and one that is not there has none: so whatever is
//! added to what protects is never weaker, and whatever is added to what is left out is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::{AfterRun, CatchUp, Policy, SnapshotOfSource, Target, Tier};
use super::schedule::{Schedule, longest_gap};
use crate::base::lock::LockMode;
use crate::base::size::format_duration;

/// Stronger than any number that a file can hold.
const ALL: i64 = 1 << 60;
/// Parts that a sentence names; more are counted.
const NAMED_MAX: usize = 20;

/// One part of a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// More is better.
    strength: i64,
    /// As people say it.
    text: String,
}

/// What a policy promises, so that two versions can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    parts: BTreeMap<String, Part>,
}

impl Promise {
    /// That of a policy as it is.
    pub fn of(policy: &Policy) -> Self {
        let mut promise = Self::default();
        promise.objectives(policy);
        promise.source(policy);
        promise.schedules(policy);
        policy.targets.iter().for_each(|target| promise.target(target));
        promise.rule(policy);
        promise.kept(policy);
        promise
    }

    /// What of this is weaker than it was, in words; empty when nothing is.
    pub fn weaker_than(&self, before: &Self) -> Vec<String> {
        // Patterns say what is backed up only where there are some.
        let counts = |key: &String| self.parts.contains_key(INCLUDES) || !key.starts_with(INCLUDE);
        let keys = before.parts.keys().filter(|key| counts(key));
        let new = self.parts.keys().filter(|key| !before.parts.contains_key(*key));
        let weaker = keys.chain(new).filter_map(|key| {
            let (was, is) = (before.parts.get(key), self.parts.get(key));
            let strength = |part: Option<&Part>| part.map_or(0, |part| part.strength);
            if strength(is) >= strength(was) {
                return None;
            }
            Some(match (was, is) {
                (Some(was), Some(is)) => format!("{key}: {}, now {}", was.text, is.text),
                (Some(_), None) => format!("{key} is gone"),
                (None, _) => format!("{key} is new"),
            })
        });
        weaker.collect()
    }

    fn put(&mut self, key: &str, strength: i64, text: impl ToString) {
        self.parts.insert(key.to_owned(), Part { strength, text: text.to_string() });
    }

    /// Something that is there.
    fn has(&mut self, key: &str, name: &str) {
        self.put(&format!("{key} {name}"), 1, "there");
    }

    /// Something that is left out.
    fn lacks(&mut self, key: &str, name: &str) {
        self.put(&format!("{key} {name}"), -1, "left out");
    }

    fn at_least(&mut self, key: &str, number: impl Into<i64>) {
        let number = number.into();
        self.put(key, number, number);
    }

    fn at_most(&mut self, key: &str, time: Duration) {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(ALL).min(ALL - 1);
        self.put(key, ALL - seconds, format_duration(time));
    }

    fn yes(&mut self, key: &str, is: bool) {
        self.put(key, i64::from(is), if is { "yes" } else { "no" });
    }

    /// How often at least; a schedule that is off promises nothing.
    fn often(&mut self, key: &str, schedules: &[&Schedule]) {
        match longest_gap(schedules) {
            Some(gap) if !schedules.is_empty() => self.at_most(key, gap),
            _ => {}
        }
    }

    fn objectives(&mut self, policy: &Policy) {
        let tier = match policy.tier {
            Tier::Standard => 1,
            Tier::Important => 2,
            Tier::Critical => 3,
        };
        self.put("tier", tier, policy.tier.word());
        self.at_most("rpo", policy.objective.rpo);
        if let Some(rto) = policy.objective.rto {
            self.at_most("rto", rto);
        }
        if policy.residency.is_empty() {
            return;
        }
        let countries = i64::try_from(policy.residency.len()).unwrap_or(ALL - 1);
        self.put("residency", ALL - countries, policy.residency.join(", "));
    }

    fn source(&mut self, policy: &Policy) {
        let source = &policy.source;
        for path in &source.paths {
            self.has("source.paths", &path.display().to_string());
        }
        for pattern in &source.exclude {
            self.lacks("source.exclude", pattern);
        }
        for name in &source.exclude_if_present {
            self.lacks("source.exclude_if_present", name);
        }
        if !source.include.is_empty() {
            self.put(INCLUDES, -1, "only what is named");
        }
        for pattern in &source.include {
            self.put(&format!("{INCLUDE}{pattern}"), 1, "there");
        }
        if let Some(bytes) = source.exclude_larger_than {
            let bytes = i64::try_from(bytes).unwrap_or(ALL).min(ALL - 1);
            self.put("source.exclude_larger_than", bytes - ALL, format!("{bytes} bytes"));
        }
        self.yes("source.must_exist", source.must_exist);
        self.yes("source.with_caches", source.with_caches);
        self.put("source.one_file_system", -i64::from(source.one_file_system), source.one_file_system);
        self.at_least("source.min_files", i64::try_from(source.min_files).unwrap_or(ALL));
        self.put("source.max_shrink", ALL - i64::from(source.max_shrink), format!("{} %", source.max_shrink));
        let (strength, word) = match source.snapshot {
            SnapshotOfSource::None => (0, "none"),
            SnapshotOfSource::Auto => (1, "auto"),
            SnapshotOfSource::Btrfs => (2, "btrfs"),
            SnapshotOfSource::Hook => (2, "hook"),
        };
        self.put("source.snapshot", strength, word);
    }

    fn schedules(&mut self, policy: &Policy) {
        let plan = &policy.schedule;
        let some = |schedule: &Option<Schedule>| schedule.clone().into_iter().collect::<Vec<_>>();
        let mut all = vec![plan.full.clone()];
        all.extend(some(&plan.incremental));
        all.extend(some(&plan.differential));
        self.often("schedule: a backup at least each", &all.iter().collect::<Vec<_>>());
        self.often("schedule.full", &[&plan.full]);
        self.yes("schedule.catch_up", plan.catch_up == CatchUp::Once);
        let verify = &policy.verify;
        self.often("verify.deep", &[&verify.deep]);
        for (key, schedule) in [
            ("verify.scrub", &verify.scrub),
            ("verify.probe", &verify.probe),
            ("verify.extend_locks", &verify.extend_locks),
        ] {
            if let Some(schedule) = schedule {
                self.often(key, &[schedule]);
            }
        }
        if verify.scrub.is_some() {
            self.at_most("verify.scrub_period", verify.scrub_period);
        }
        let (strength, text) = match verify.after_run {
            AfterRun::Ack => (0, "ack".to_owned()),
            AfterRun::Sample(percent) => (i64::from(percent), format!("sample {percent}%")),
            AfterRun::New => (101, "new".to_owned()),
        };
        self.put("verify.after_run", strength, text);
    }

    fn target(&mut self, target: &Target) {
        let name = target.name.as_str();
        self.has("targets", &format!("{name} at {}", target.url));
        let Some(lock) = target.immutable else { return };
        let (strength, word) = match lock.mode {
            LockMode::Governance => (1, "governance"),
            LockMode::Compliance => (2, "compliance"),
        };
        self.put(&format!("targets.{name}.immutable.mode"), strength, word);
        self.at_least(&format!("targets.{name}.immutable.days"), lock.days);
    }

    fn rule(&mut self, policy: &Policy) {
        let rule = &policy.rule;
        self.at_least("rule.copies", rule.copies);
        self.at_least("rule.media", rule.media);
        self.at_least("rule.offsite", rule.offsite);
        self.at_least("rule.immutable_or_offline", rule.immutable_or_offline);
        self.at_most("rule.max_verify_age", rule.max_verify_age);
        self.put("rule.count_source", -i64::from(rule.count_source), rule.count_source);
        self.yes("rule.zero_errors", rule.zero_errors);
    }

    /// What is removed, and what never is.
    fn kept(&mut self, policy: &Policy) {
        for hold in &policy.legal_hold {
            self.has("legal_hold", &hold.written);
        }
        let rules = policy.retention.as_ref().map(|retention| &retention.rules);
        let counts = [
            ("retention.last", rules.map(|rules| rules.last)),
            ("retention.hourly", rules.map(|rules| rules.hourly)),
            ("retention.daily", rules.map(|rules| rules.daily)),
            ("retention.weekly", rules.map(|rules| rules.weekly)),
            ("retention.monthly", rules.map(|rules| rules.monthly)),
            ("retention.yearly", rules.map(|rules| rules.yearly)),
            ("retention.min_keep", rules.map(|rules| rules.min_keep)),
        ];
        for (key, count) in counts {
            match count {
                Some(count) => self.at_least(key, count),
                None => self.put(key, ALL, "everything"),
            }
        }
        match rules.map(|rules| rules.within) {
            None => self.put("retention.within", ALL, "everything"),
            Some(Some(within)) => {
                let seconds = i64::try_from(within.as_secs()).unwrap_or(ALL).min(ALL - 1);
                self.put("retention.within", seconds, format_duration(within));
            }
            Some(None) => self.put("retention.within", 0, "nothing"),
        }
    }
}

/// Whether there are patterns of what is backed up.
const INCLUDES: &str = "source.include";
/// Begins the part of each.
const INCLUDE: &str = "source.include ";

/// What is weaker, as one sentence of bounded length.
pub fn sentence(weaker: &[String]) -> String {
    let mut named: Vec<String> = weaker.iter().take(NAMED_MAX).map(|part| short(part)).collect();
    if weaker.len() > NAMED_MAX {
        named.push(format!("and {} more", weaker.len() - NAMED_MAX));
    }
    named.join("; ")
}

fn short(part: &str) -> String {
    let mut text: String = part.chars().take(200).collect();
    if text.len() < part.len() {
        text.push('…');
    }
    text
}

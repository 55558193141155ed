//! `status`: every policy's state from recorded facts, in one view for all faces.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::facts::{Networks, found_locks, is_offsite, target_facts};
use super::forecasts::{ForecastView, Outlook};
use super::promise;
use super::site::Site;
use super::space::Rooms;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::size::format_duration;
use crate::catalog::Catalog;
use crate::catalog::copies::Copy;
use crate::catalog::occurrences::Period as Occurred;
use crate::catalog::words::{BackupKind as RecordedKind, HoldKind, Level, OccurrenceState};
use crate::evidence::verify::{Trust, verify as verify_evidence};
use crate::policy::copies::{
    Assurance, Choice, CopyFacts, DrillFacts, Facts, Reason, SnapshotFacts, SourceFacts, drill_valid_until,
    evaluate,
};
use crate::policy::forecast::Kind;
use crate::policy::model::{BackupKind, Policy, Target};
use crate::policy::objective::{Point, exposure};
use crate::policy::state::{Answer, Facts as StateFacts, Word, state};

/// How far back a promise is looked at by default.
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// The newest snapshots that are looked at one by one.
const SNAPSHOTS_MAX: u32 = 16;

/// One policy's state.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyStatus {
    /// The policy.
    pub policy: String,
    /// PROVEN, UNPROVEN, AT RISK, BROKEN or FROZEN.
    pub state: String,
    /// Why it is not better.
    pub reasons: Vec<ReasonView>,
    /// Until when the state stands if nothing else happens.
    pub until: Option<Timestamp>,
    /// The rule's verdict, as a sentence.
    pub rule: String,
    /// Whether the rule holds.
    pub rule_holds: bool,
    /// Each part of what was promised, and whether it holds.
    pub parts: Vec<(&'static str, bool)>,
    /// Copies that stand in different failure domains, the source not counted.
    pub stored_copies: u32,
    /// Age of the newest usable snapshot, in seconds.
    pub exposure_seconds: Option<u64>,
    /// Age of the newest one that a target elsewhere has: what would be lost with the site.
    pub offsite_exposure_seconds: Option<u64>,
    /// The promise, in seconds.
    pub rpo_seconds: u64,
    /// Whether it is kept now.
    pub rpo_met: bool,
    /// Each target's newest copy.
    pub targets: Vec<TargetView>,
    /// Findings that are open.
    pub open_findings: Vec<String>,
    /// What keeps old snapshots from being removed.
    pub holds: Vec<String>,
    /// What is to be expected if things go on as they have, the nearest first.
    pub forecasts: Vec<ForecastView>,
    /// Occurrences that were missed in the last seven days.
    pub missed_last_week: u64,
}

/// A reason.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonView {
    /// Stable, for machines.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

/// What a target holds of the newest snapshot that it has.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// Its name.
    pub target: String,
    /// The snapshot.
    pub snapshot: Option<String>,
    /// When that was taken.
    pub captured_at: Option<Timestamp>,
    /// What is known of the copy: a word of the ladder.
    pub level: Option<String>,
    /// When that was shown.
    pub level_at: Option<Timestamp>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Whether the target confirmed it, or it was read back.
    pub is_usable: bool,
    /// Free bytes there when that was last looked at; only of folders.
    pub free_bytes: Option<u64>,
    /// What has to stay free there.
    pub min_free_bytes: Option<u64>,
    /// At the pace of the last weeks it reaches that in so many days.
    pub full_in_days: Option<u64>,
    /// A medium that is kept apart and should have come by.
    pub is_overdue: bool,
}

impl TargetView {
    /// Whether less is free there than has to be.
    pub fn lacks_room(&self) -> bool {
        self.free_bytes.zip(self.min_free_bytes).is_some_and(|(free, limit)| free < limit)
    }

    fn none(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            snapshot: None,
            captured_at: None,
            level: None,
            level_at: None,
            problem: None,
            is_usable: false,
            free_bytes: None,
            min_free_bytes: None,
            full_in_days: None,
            is_overdue: false,
        }
    }
}

impl PolicyStatus {
    /// Whether rule and RPO hold now: else `status` exits with 15.
    pub fn is_met(&self) -> bool {
        self.rule_holds && self.rpo_met
    }
}

/// The state of a policy, or of all, now.
///
/// # Errors
/// When there is no such policy, or the catalogue cannot be read.
pub fn statuses(site: &Site, policy: Option<&str>) -> Result<Vec<PolicyStatus>, Failure> {
    Ok(statuses_and_head(site, policy)?.0)
}

/// The same, and the number of the evidence log's newest line.
///
/// # Errors
/// As [`statuses`].
pub fn statuses_and_head(site: &Site, policy: Option<&str>) -> Result<(Vec<PolicyStatus>, u64), Failure> {
    let (evidence, head) = evidence_intact(site);
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    let mut look = Look {
        site,
        catalogue: &catalogue,
        now,
        evidence,
        networks: Networks::default(),
        outlook: Outlook::new(site, &catalogue, now)?,
    };
    let views = site.policies(policy)?.into_iter().map(|policy| look.at(policy)).collect::<Result<_, _>>()?;
    Ok((views, head))
}

/// One look at everything: what is the same for all policies is found out once.
struct Look<'a> {
    site: &'a Site,
    catalogue: &'a Catalog,
    now: Timestamp,
    evidence: Answer,
    networks: Networks,
    outlook: Outlook<'a>,
}

impl Look<'_> {
    fn at(&mut self, policy: &Policy) -> Result<PolicyStatus, Failure> {
        let (now, catalogue, id) = (self.now, self.catalogue, policy.id.as_str());
        let gathered = Gathered::read(self.site, policy, catalogue, now)?;
        let mut targets = target_facts(policy, &mut self.networks);
        found_locks(catalogue, policy, &mut targets)?;
        let holds = catalogue.standing_holds(Some(id))?;
        let verdict = evaluate(
            &Facts {
                now,
                site: &self.site.configuration.site.name,
                rule: &policy.rule,
                after_run: policy.verify.after_run,
                source: gathered.source.as_ref(),
                targets: &targets,
                snapshots: &gathered.snapshots,
                copies: &gathered.copies,
                drills: &gathered.drills,
                open_findings: &gathered.findings,
            },
            Choice::Newest,
        );
        let exposed = gathered.exposed;
        let rpo_met = exposed.is_some_and(|age| age <= policy.objective.rpo);
        let changed = promise::changed_at(catalogue, policy, now)?;
        let forecasts = self.outlook.of_policy(policy, &gathered.rooms)?;
        let ahead = self.outlook.worries(policy, &gathered.rooms, &forecasts);
        let state = state(&StateFacts {
            ahead: &ahead,
            verdict: &verdict,
            rpo_met: match exposed {
                None => Answer::Unknown,
                Some(_) if rpo_met => Answer::Yes,
                Some(_) => Answer::No,
            },
            evidence_intact: self.evidence,
            // A kit may exist; that it opens a copy no drill has shown yet.
            recovery_kit: Answer::Unknown,
            frozen: holds.iter().any(|hold| hold.kind == HoldKind::Freeze),
            suspicious: holds.iter().any(|hold| hold.kind == HoldKind::Suspicious),
            weakened: holds.iter().any(|hold| hold.kind == HoldKind::Weakened),
            changed_since_drill: changed
                .is_some_and(|at| !gathered.drills.iter().any(|drill| drill.passed && drill.at > at)),
            next_check: policy.verify.deep.next(now).map(|next| next.at),
        });
        let week = Occurred { from: now.minus(WEEK), to: now };
        let reason = |reason: &Reason| ReasonView { code: reason.code, text: reason.text.clone() };
        Ok(PolicyStatus {
            policy: id.to_owned(),
            state: word(state.word),
            reasons: state.reasons.iter().map(reason).collect(),
            until: state.until,
            rule: verdict.to_string(),
            rule_holds: verdict.holds,
            stored_copies: verdict.stored,
            parts: vec![
                ("copies", verdict.copies >= policy.rule.copies),
                ("media", verdict.media >= policy.rule.media),
                ("offsite", verdict.offsite >= policy.rule.offsite),
                ("immutable_or_offline", verdict.immutable_or_offline >= policy.rule.immutable_or_offline),
                ("zero_errors", verdict.zero_errors || !policy.rule.zero_errors),
                ("rpo", rpo_met),
            ],
            exposure_seconds: exposed.map(|age| age.as_secs()),
            offsite_exposure_seconds: gathered.exposed_offsite.map(|age| age.as_secs()),
            rpo_seconds: policy.objective.rpo.as_secs(),
            rpo_met,
            targets: filled(gathered.views, &forecasts, now),
            forecasts,
            open_findings: gathered.findings,
            holds: holds.iter().map(|h| format!("{}: {} ({})", h.id, h.reason, h.kind)).collect(),
            missed_last_week: catalogue.count_occurrences(id, OccurrenceState::Missed, week)?,
        })
    }
}

/// Each target with the day on which it is full.
fn filled(mut views: Vec<TargetView>, forecasts: &[ForecastView], now: Timestamp) -> Vec<TargetView> {
    for view in &mut views {
        let full = forecasts.iter().find(|one| one.kind == Kind::Full && one.of == view.target);
        view.full_in_days = full.map(|one| one.days(now));
    }
    views
}

fn word(word: Word) -> String {
    word.to_string()
}

/// The recorded facts of a policy.
struct Gathered {
    source: Option<SourceFacts>,
    snapshots: Vec<SnapshotFacts>,
    copies: Vec<CopyFacts>,
    drills: Vec<DrillFacts>,
    findings: Vec<String>,
    rooms: Rooms,
    views: Vec<TargetView>,
    exposed: Option<Duration>,
    exposed_offsite: Option<Duration>,
}

impl Gathered {
    /// The newest snapshots say all that is asked for, however many there are: of older ones only the
    /// newest that anybody confirmed counts, and the newest that each target has.
    fn read(site: &Site, policy: &Policy, catalogue: &Catalog, now: Timestamp) -> Result<Self, Failure> {
        let id = policy.id.as_str();
        let mut recorded = catalogue.recent_snapshots(id, SNAPSHOTS_MAX)?;
        let confirmed = catalogue.newest_confirmed(id)?;
        recorded.extend(confirmed.filter(|one| recorded.iter().all(|known| known.id != one.id)));
        let findings = catalogue.open_findings(Some(id))?;
        let rooms = Rooms::of(catalogue, policy, now)?;
        let mut gathered = Self {
            source: recorded
                .first()
                .map(|s| SourceFacts { read_at: s.captured_at, media: "disk".to_owned() }),
            snapshots: Vec::new(),
            copies: Vec::new(),
            drills: drill_facts(site, policy, catalogue)?,
            findings: findings.iter().map(|f| format!("{}: {}", f.id, f.title)).collect(),
            views: views(policy, catalogue, &rooms, now)?,
            rooms,
            exposed: None,
            exposed_offsite: None,
        };
        let mut points = Vec::new();
        for snapshot in &recorded {
            gathered.snapshots.push(SnapshotFacts {
                id: snapshot.id.clone(),
                kind: match snapshot.kind {
                    RecordedKind::Full => BackupKind::Full,
                    RecordedKind::Differential => BackupKind::Differential,
                    RecordedKind::Incremental => BackupKind::Incremental,
                },
                captured_at: snapshot.captured_at,
            });
            for copy in catalogue.copies(&snapshot.id)? {
                let usable_from = copy.acked_at.or(copy.read_back_at).filter(|_| copy.problem.is_none());
                points.extend(usable_from.map(|at| Point {
                    captured_at: snapshot.captured_at,
                    usable_from: at.max(snapshot.captured_at),
                }));
                gathered.copies.extend(copy_facts(policy, copy));
            }
        }
        gathered.exposed = exposure(&points, now);
        let name = &site.configuration.site.name;
        let offsite =
            policy.targets.iter().zip(&gathered.views).filter(|(target, _)| is_offsite(target, name));
        gathered.exposed_offsite = offsite
            .filter(|(_, view)| view.is_usable && view.problem.is_none())
            .filter_map(|(_, view)| view.captured_at)
            .max()
            .map(|captured_at| now.since(captured_at));
        Ok(gathered)
    }
}

/// What each target holds of the newest snapshot that it has, and how long it has room.
fn views(
    policy: &Policy,
    catalogue: &Catalog,
    rooms: &Rooms,
    now: Timestamp,
) -> Result<Vec<TargetView>, Failure> {
    let view = |target: &Target| {
        let name = target.name.as_str();
        let newest = catalogue.newest_copy(policy.id.as_str(), name)?;
        let room = rooms.newest(target);
        let mut view = newest.map_or_else(|| TargetView::none(name), |(at, copy)| view(&copy, at));
        view.free_bytes = room.map(|(room, _)| room.free_bytes);
        view.min_free_bytes = room.map(|(_, limit)| limit);
        view.is_overdue = target.offline
            && view
                .captured_at
                .is_none_or(|at| now.since(at) > target.accept_every + target.accept_every / 4);
        Ok(view)
    };
    policy.targets.iter().map(view).collect()
}

fn view(copy: &Copy, captured_at: Timestamp) -> TargetView {
    let level = copy.level();
    let at = match level {
        Level::Written => Some(copy.written_at),
        Level::Acked => copy.acked_at,
        Level::ReadBack => copy.read_back_at,
        Level::Restored => copy.restored_at,
        Level::Usable => copy.usable_at,
    };
    TargetView {
        snapshot: Some(copy.snapshot.clone()),
        captured_at: Some(captured_at),
        level: Some(level.as_str().replace('_', "-")),
        level_at: at,
        problem: copy.problem.clone(),
        is_usable: copy.acked_at.or(copy.read_back_at).is_some(),
        ..TargetView::none(&copy.target)
    }
}

fn copy_facts(policy: &Policy, copy: Copy) -> Option<CopyFacts> {
    let target = policy.targets.iter().find(|t| t.name.as_str() == copy.target)?.name.clone();
    // A copy that was found damaged and not read back since is worth no more than its writing.
    let whole = copy.problem.is_none();
    let levels = [
        (Assurance::Written, Some(copy.written_at)),
        (Assurance::Acked, copy.acked_at.filter(|_| whole)),
        (Assurance::ReadBack, copy.read_back_at.filter(|_| whole)),
        (Assurance::Restored, copy.restored_at.filter(|_| whole)),
        (Assurance::Usable, copy.usable_at.filter(|_| whole)),
    ];
    Some(CopyFacts {
        snapshot: copy.snapshot,
        target,
        levels: levels.into_iter().filter_map(|(level, at)| Some((level, at?))).collect(),
        oldest_verified: copy.read_back_at.filter(|_| whole),
    })
}

fn drill_facts(site: &Site, policy: &Policy, catalogue: &Catalog) -> Result<Vec<DrillFacts>, Failure> {
    let mut facts = Vec::new();
    let mut newest: BTreeMap<String, crate::catalog::drills::Drill> = BTreeMap::new();
    for drill in catalogue.drills(policy.id.as_str(), 200)? {
        if drill.ended_at.is_some() {
            newest.entry(drill.target.clone()).or_insert(drill);
        }
    }
    for (name, drill) in newest {
        let Some(target) = policy.targets.iter().find(|t| t.name.as_str() == name) else { continue };
        let (Some(at), Some(verdict)) = (drill.ended_at, drill.verdict) else { continue };
        let period = site
            .configuration
            .drills_of(&policy.id)
            .filter_map(|plan| crate::policy::schedule::longest_gap(&[&plan.when]))
            .min()
            .unwrap_or(WEEK);
        facts.push(DrillFacts {
            target: target.name.clone(),
            passed: verdict.is_pass(),
            at,
            valid_until: drill_valid_until(at, period),
        });
    }
    Ok(facts)
}

/// Whether the evidence log verifies, unknown while there is none; and its newest line's number.
fn evidence_intact(site: &Site) -> (Answer, u64) {
    let dir = site.state.evidence();
    if !dir.join("log").exists() {
        return (Answer::Unknown, 0);
    }
    match verify_evidence(&dir, &Trust::default()) {
        Ok(report) if report.ok => (Answer::Yes, report.last_seq),
        Ok(report) => (Answer::No, report.last_seq),
        Err(_) => (Answer::Unknown, 0),
    }
}

/// An age for people: `4m 10s old`.
pub fn age(seconds: u64) -> String {
    format_duration(Duration::from_secs(seconds))
}

//! `status`: every policy's state from recorded facts, in one view for all faces.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::promise;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::size::format_duration;
use crate::catalog::Catalog;
use crate::catalog::copies::Copy;
use crate::catalog::occurrences::Period as Occurred;
use crate::catalog::words::{BackupKind as RecordedKind, HoldKind, Level};
use crate::evidence::verify::{Trust, verify as verify_evidence};
use crate::policy::copies::{
    Assurance, Choice, CopyFacts, DrillFacts, Facts, Network, SnapshotFacts, SourceFacts, TargetFacts,
    drill_valid_until, evaluate,
};
use crate::policy::model::{BackupKind, Place, Policy};
use crate::policy::objective::{Point, exposure};
use crate::policy::state::{Answer, Facts as StateFacts, Word, state};

/// How far back a promise is looked at by default.
const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

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
    /// Age of the newest usable snapshot, in seconds.
    pub exposure_seconds: Option<u64>,
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
}

impl PolicyStatus {
    /// Whether rule and RPO hold now: else `status` exits with 15.
    pub fn is_met(&self) -> bool {
        self.rule_holds && self.rpo_met
    }
}

/// The state of a policy now.
///
/// # Errors
/// When the catalogue cannot be read.
pub fn policy_status(site: &Site, policy: &Policy) -> Result<PolicyStatus, Failure> {
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    let gathered = Gathered::read(site, policy, &catalogue)?;
    let mut targets = target_facts(policy);
    found_locks(&catalogue, policy, &mut targets)?;
    let holds = catalogue.standing_holds(Some(policy.id.as_str()))?;
    let facts = Facts {
        now,
        site: &site.configuration.site.name,
        rule: &policy.rule,
        after_run: policy.verify.after_run,
        source: gathered.source.as_ref(),
        targets: &targets,
        snapshots: &gathered.snapshots,
        copies: &gathered.copies,
        drills: &gathered.drills,
        open_findings: &gathered.findings,
    };
    let verdict = evaluate(&facts, Choice::Newest);
    let points = gathered.points();
    let exposed = exposure(&points, now);
    let rpo_met = exposed.is_some_and(|age| age <= policy.objective.rpo);
    let state = state(&StateFacts {
        verdict: &verdict,
        rpo_met: if exposed.is_none() {
            Answer::Unknown
        } else if rpo_met {
            Answer::Yes
        } else {
            Answer::No
        },
        evidence_intact: evidence_intact(site),
        // Kits come with a later version: none exists, and none is claimed.
        recovery_kit: Answer::Unknown,
        frozen: holds.iter().any(|hold| hold.kind == HoldKind::Freeze),
        changed_since_drill: promise::changed_at(&catalogue, policy, now)?
            .is_some_and(|changed| !gathered.drills.iter().any(|drill| drill.passed && drill.at > changed)),
        suspicious: holds.iter().any(|hold| hold.kind == HoldKind::Suspicious),
        next_check: policy.verify.deep.next(now).map(|next| next.at),
    });
    let period = Occurred { from: now.minus(WEEK), to: now };
    let missed = catalogue
        .occurrences_in(period)?
        .iter()
        .filter(|o| o.key.policy == policy.id.as_str())
        .filter(|o| o.state == crate::catalog::words::OccurrenceState::Missed)
        .count();
    Ok(PolicyStatus {
        policy: policy.id.as_str().to_owned(),
        state: word(state.word),
        reasons: state.reasons.iter().map(|r| ReasonView { code: r.code, text: r.text.clone() }).collect(),
        until: state.until,
        rule: verdict.to_string(),
        rule_holds: verdict.holds,
        exposure_seconds: exposed.map(|age| age.as_secs()),
        rpo_seconds: policy.objective.rpo.as_secs(),
        rpo_met,
        targets: gathered.views,
        open_findings: gathered.findings,
        holds: holds.iter().map(|h| format!("{}: {} ({})", h.id, h.reason, h.kind)).collect(),
        missed_last_week: u64::try_from(missed).unwrap_or(u64::MAX),
    })
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
    views: Vec<TargetView>,
    usable: Vec<Point>,
}

impl Gathered {
    fn read(site: &Site, policy: &Policy, catalogue: &Catalog) -> Result<Self, Failure> {
        let id = policy.id.as_str();
        let mut recorded = catalogue.snapshots(id)?;
        recorded.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.captured_at));
        let mut gathered = Self {
            source: recorded
                .first()
                .map(|s| SourceFacts { read_at: s.captured_at, media: "disk".to_owned() }),
            snapshots: Vec::new(),
            copies: Vec::new(),
            drills: drill_facts(site, policy, catalogue)?,
            findings: catalogue
                .open_findings(Some(id))?
                .iter()
                .map(|f| format!("{}: {}", f.id, f.title))
                .collect(),
            views: Vec::new(),
            usable: Vec::new(),
        };
        let mut newest: BTreeMap<String, TargetView> = BTreeMap::new();
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
            let mut usable_from = None;
            for copy in catalogue.copies(&snapshot.id)? {
                let acked = copy.acked_at.or(copy.read_back_at);
                usable_from = usable_from.into_iter().chain(acked).min();
                newest.entry(copy.target.clone()).or_insert_with(|| view(&copy, snapshot.captured_at));
                gathered.copies.extend(copy_facts(policy, copy));
            }
            gathered.usable.extend(usable_from.map(|at| Point {
                captured_at: snapshot.captured_at,
                usable_from: at.max(snapshot.captured_at),
            }));
        }
        gathered.views = policy
            .targets
            .iter()
            .map(|target| {
                newest.remove(target.name.as_str()).unwrap_or_else(|| TargetView {
                    target: target.name.as_str().to_owned(),
                    snapshot: None,
                    captured_at: None,
                    level: None,
                    level_at: None,
                    problem: None,
                })
            })
            .collect();
        Ok(gathered)
    }

    fn points(&self) -> Vec<Point> {
        let mut points = self.usable.clone();
        points.sort_by_key(|point| point.usable_from);
        points
    }
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
        target: copy.target.clone(),
        snapshot: Some(copy.snapshot.clone()),
        captured_at: Some(captured_at),
        level: Some(level.as_str().replace('_', "-")),
        level_at: at,
        problem: copy.problem.clone(),
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

/// What is declared of the targets, and what can be found out about them here and now.
pub(super) fn target_facts(policy: &Policy) -> Vec<TargetFacts> {
    let source_devices: Vec<u64> = policy.source.paths.iter().filter_map(|path| device_of(path)).collect();
    policy
        .targets
        .iter()
        .map(|target| {
            let mut facts = TargetFacts::declared(target);
            match &target.place {
                Place::Folder(path) => {
                    facts.device = device_of(path);
                    facts.on_source_device =
                        facts.device.is_some_and(|device| source_devices.contains(&device));
                }
                Place::Bucket { .. } => {
                    if let Some(endpoint) = &target.endpoint {
                        facts.network = network_of(endpoint);
                    }
                }
            }
            facts
        })
        .collect()
}

/// When the locks of targets end, where a probe has shown that locks hold there.
fn found_locks(catalogue: &Catalog, policy: &Policy, targets: &mut [TargetFacts]) -> Result<(), Failure> {
    for record in catalogue.targets(policy.id.as_str())? {
        let holds = record.capabilities.get("lock_holds").and_then(serde_json::Value::as_bool);
        let until = record.facts.get("locked_until").and_then(serde_json::Value::as_str);
        let until = until.and_then(Timestamp::parse_rfc3339);
        if let Some(facts) = targets.iter_mut().find(|facts| facts.name.as_str() == record.name) {
            facts.lock_until = until.filter(|_| holds == Some(true));
        }
    }
    Ok(())
}

/// The device of a path, or of the nearest folder above it that exists.
fn device_of(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.dev())
}

/// Where an endpoint's addresses lie. A name that does not resolve now is taken for what it says.
fn network_of(endpoint: &str) -> Network {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:443")
    };
    let addresses: Vec<IpAddr> =
        with_port.to_socket_addrs().map(|found| found.map(|a| a.ip()).collect()).unwrap_or_default();
    let is_private = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if addresses.iter().any(IpAddr::is_loopback) {
        Network::Loopback
    } else if addresses.iter().any(is_private) {
        Network::Private
    } else {
        Network::Public
    }
}

/// Whether the evidence log verifies; unknown while there is none.
fn evidence_intact(site: &Site) -> Answer {
    let dir = site.state.evidence();
    if !dir.join("log").exists() {
        return Answer::Unknown;
    }
    match verify_evidence(&dir, &Trust::default()) {
        Ok(report) if report.ok => Answer::Yes,
        Ok(_) => Answer::No,
        Err(_) => Answer::Unknown,
    }
}

/// An age for people: `4m 10s old`.
pub fn age(seconds: u64) -> String {
    format_duration(std::time::Duration::from_secs(seconds))
}

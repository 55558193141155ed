//! Incidents: what of the facts is one, who is told, and what people did about it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::change;
use super::error::AppError;
use super::site::Site;
use super::space::StateRoom;
use super::status::PolicyStatus;
use crate::alert::{Notice, Person};
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::size::{format_bytes, format_duration};
use crate::catalog::Catalog;
use crate::catalog::incidents::{Incident, NewIncident, Seen, Step};
use crate::catalog::messages::NewMessage;
use crate::catalog::runs::Run;
use crate::catalog::words::{BackupKind, IncidentState, Job, RunState, Severity};
use crate::policy::incident::{Cause, ESCALATIONS_MAX, Escalation, FULL_WITHIN_DAYS, Unanswered, escalate};
use crate::policy::model::{Notifier, Policy, Recipient, Tier, Way};

/// What is back within this time is the same incident.
const REOPEN_WITHIN: Duration = Duration::from_secs(30 * 86_400);
/// A clock that was set back is an incident for so long.
const CLOCK_FOR: Duration = Duration::from_secs(86_400);
/// Events that are looked at.
const EVENTS_MAX: u32 = 200;
/// Begins the causes that people gave: no look at the facts finds them, or finds them gone.
const PERSON: &str = "person.";
/// What the report of an incident has to say before it is closed.
const REPORT: [&str; 4] = ["cause", "process", "impact", "prevention"];

/// Something that is an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// For which policy; empty for the whole site.
    policy: String,
    /// The stable word, and of what: `run.failed.backup`, `target.space.disk`.
    cause: String,
    severity: Severity,
    title: String,
}

/// An incident with its story and whom to call.
#[derive(Clone, Debug, Serialize)]
pub struct IncidentView {
    /// The incident.
    pub incident: Incident,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// Whom to call now, in order.
    pub people: Vec<Person>,
}

/// All that is an incident now.
pub(super) fn conditions(
    site: &Site,
    catalogue: &Catalog,
    statuses: &[PolicyStatus],
    now: Timestamp,
) -> Result<Vec<Condition>, Failure> {
    let mut found = Vec::new();
    for status in statuses {
        let Some(policy) = site.configuration.policy(&status.policy) else { continue };
        of_policy(catalogue, policy, status, now, &mut found)?;
    }
    let mut add = |policy: &str, cause: Cause, title: String| {
        let severity = cause.severity(Tier::Standard);
        let (policy, cause) = (policy.to_owned(), cause.word().to_owned());
        found.extend(severity.map(|severity| Condition { policy, cause, severity, title }));
    };
    for gone in change::gone(catalogue, &site.configuration)? {
        let title = format!("{gone} is no longer configured: nothing of it is backed up, checked or removed");
        add(&gone, Cause::Gone, title);
    }
    let mut of_site = |cause: Cause, title: String| add("", cause, title);
    if statuses.iter().any(|status| status.reasons.iter().any(|reason| reason.code == "evidence-broken")) {
        of_site(Cause::Evidence, "the evidence log does not verify".to_owned());
    }
    if let Some(state) = StateRoom::of(site).filter(|state| state.is_short()) {
        let (free, limit) = (format_bytes(state.room.free_bytes), format_bytes(state.limit_bytes));
        of_site(Cause::Headroom, format!("the state folder has {free} free, and {limit} have to stay free"));
    }
    let events = catalogue.events(EVENTS_MAX)?;
    let is_recent = |at: Timestamp| now.since(at) < CLOCK_FOR;
    if let Some(event) = events.iter().find(|event| event.kind == "clock.stepped_back" && is_recent(event.at))
    {
        of_site(Cause::Clock, event.message.clone());
    }
    Ok(found)
}

fn of_policy(
    catalogue: &Catalog,
    policy: &Policy,
    status: &PolicyStatus,
    now: Timestamp,
    found: &mut Vec<Condition>,
) -> Result<(), Failure> {
    let id = policy.id.as_str();
    let mut add = |cause: Cause, of: &str, title: String| {
        let cause_word =
            if of.is_empty() { cause.word().to_owned() } else { format!("{}.{of}", cause.word()) };
        let new = |severity| Condition { policy: id.to_owned(), cause: cause_word, severity, title };
        found.extend(cause.severity(policy.tier).map(new));
    };
    let age = catalogue.policy_seen(id)?.map_or(Duration::ZERO, |seen| now.since(seen.first_seen_at));
    let rpo = policy.objective.rpo;
    // A policy that is new owes nothing before its first RPO has passed.
    if age > rpo {
        let promised = policy.rule.copies.saturating_sub(u32::from(policy.rule.count_source));
        let wanted = promised.min(2);
        if status.stored_copies < wanted {
            let title = format!("{} of {wanted} copies are known to be whole", status.stored_copies);
            add(Cause::Copies, "", title);
        }
        let exposed = status.exposure_seconds.map_or(age, Duration::from_secs);
        let times = exposed.as_secs() / rpo.as_secs().max(1);
        let title = format!(
            "{} of work would be lost now, promised are {}",
            format_duration(exposed),
            format_duration(rpo)
        );
        add(Cause::Rpo(times), "", title);
    }
    if let Some(reason) = status.reasons.iter().find(|reason| reason.code == "drill-failed") {
        add(Cause::Drill, "", reason.text.clone());
    }
    for target in &status.targets {
        let name = &target.target;
        if let Some(problem) = &target.problem {
            add(Cause::Damage, name, format!("{name}: {problem}"));
        }
        if let Some(days) = target.full_in_days.filter(|days| *days < FULL_WITHIN_DAYS) {
            add(Cause::Space, name, format!("{name} is at its limit in about {days} days at this pace"));
        }
        if target.lacks_room() {
            let free = format_bytes(target.free_bytes.unwrap_or_default());
            let limit = format_bytes(target.min_free_bytes.unwrap_or_default());
            add(Cause::Headroom, name, format!("{name} has {free} free, and {limit} have to stay free"));
        }
        if target.is_overdue {
            add(Cause::Absent, name, format!("{name} has not come by in time"));
        }
    }
    for record in catalogue.targets(id)? {
        if record.capabilities.get("lock_holds").and_then(Value::as_bool) == Some(false) {
            let title = format!("a locked object on {} could be destroyed", record.name);
            add(Cause::Lock, &record.name, title);
        }
    }
    if let Some(hold) = status.holds.iter().find(|hold| hold.ends_with("(weakened)")) {
        add(Cause::Weakened, "", format!("a change made the promise weaker: {hold}"));
    }
    if let Some(hold) = status.holds.iter().find(|hold| hold.ends_with("(suspicious)")) {
        add(Cause::Odd, "", format!("a run looked like an accident or an attack: {hold}"));
    }
    for job in [Job::Backup(BackupKind::Full), Job::Verify, Job::Scrub, Job::Prune, Job::Locks, Job::Probe] {
        let failed = |run: &Run| matches!(run.state, RunState::Failed | RunState::TimedOut);
        let Some(run) = catalogue.recent_runs(id, &job, 1)?.into_iter().find(failed) else { continue };
        let why =
            run.failure.map_or_else(String::new, |failure| format!(": {} {}", failure.code, failure.message));
        let cause = if job == Job::Probe { Cause::Probe } else { Cause::Run };
        let of = if job == Job::Probe { "" } else { job.lane() };
        add(cause, of, format!("the last {} {}{why}", job.lane(), run.state.as_str().replace('_', " ")));
    }
    Ok(())
}

/// Opens, raises, passes and escalates incidents, and queues what is to be told of it.
pub(super) fn follow(
    site: &Site,
    catalogue: &Catalog,
    conditions: &[Condition],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut seen_now = BTreeSet::new();
    for condition in conditions {
        let response = site.configuration.site.people.responses.of(condition.severity);
        let new = NewIncident {
            policy: &condition.policy,
            cause: &condition.cause,
            severity: condition.severity,
            title: &condition.title,
            respond_by: now.plus(response.start_within),
        };
        let (topic, incident) = match catalogue.see_incident(&new, now.minus(REOPEN_WITHIN), now)? {
            Seen::Opened(incident) => (Some("opened"), incident),
            Seen::Reopened(incident) => (Some("reopened"), incident),
            Seen::Worse(incident) => (Some("worse"), incident),
            // Found, but its news was lost with the process that found it.
            Seen::Known(incident) if incident.state == IncidentState::Detected => (Some("opened"), incident),
            Seen::Known(incident) => (None, incident),
        };
        seen_now.insert(incident.id.clone());
        if let Some(topic) = topic {
            tell(site, catalogue, &incident, topic, &response.notify, now)?;
            let respond_by = incident.respond_by;
            catalogue.tell_of_incident(&incident.id, incident.escalations, respond_by, &told(topic), now)?;
            prove(site, &format!("incident.{topic}"), &incident)?;
        }
    }
    // Nobody looks at what is no longer configured: that proves nothing about it.
    let gone = change::gone(catalogue, &site.configuration)?;
    for incident in catalogue.open_incidents()? {
        let is_so =
            seen_now.contains(&incident.id) || is_of_a_person(&incident) || gone.contains(&incident.policy);
        if !is_so && catalogue.pass_incident(&incident.id, now)? {
            passed(site, catalogue, &incident, now)?;
        } else if is_so && incident.acknowledged_at.is_none() {
            remind(site, catalogue, &incident, now)?;
        }
    }
    Ok(())
}

fn is_of_a_person(incident: &Incident) -> bool {
    incident.cause.starts_with(PERSON)
}

fn told(topic: &str) -> String {
    format!("told: {topic}")
}

/// Its cause is gone. A minor one is over with that; of others a person says what it was.
fn passed(site: &Site, catalogue: &Catalog, incident: &Incident, now: Timestamp) -> Result<(), Failure> {
    let response = site.configuration.site.people.responses.of(incident.severity);
    tell(site, catalogue, incident, "passed", &response.notify, now)?;
    prove(site, "incident.passed", incident)?;
    if incident.severity == Severity::Minor {
        let step = Step { at: now, who: "lifeboat".to_owned(), what: "over by itself: resolved".to_owned() };
        catalogue.move_incident(&incident.id, IncidentState::Resolved, &step, None)?;
        let report = json!({ "cause": incident.title, "process": "passed by itself", "automatic": true });
        let step = Step { what: "reported by itself: it was minor".to_owned(), ..step };
        let closed = catalogue.move_incident(&incident.id, IncidentState::Reported, &step, Some(&report))?;
        prove(site, "incident.reported", &closed)?;
    }
    Ok(())
}

/// Nobody has answered in time: the next one is told.
fn remind(site: &Site, catalogue: &Catalog, incident: &Incident, now: Timestamp) -> Result<(), Failure> {
    let response = site.configuration.site.people.responses.of(incident.severity);
    let escalations = u32::try_from(incident.escalations).unwrap_or(ESCALATIONS_MAX);
    let unanswered = Unanswered {
        respond_by: incident.respond_by,
        escalations,
        start_within: response.start_within,
        chain: response.escalate.len(),
    };
    let Escalation::Tell { link, respond_by } = escalate(&unanswered, now) else { return Ok(()) };
    let next = link.and_then(|link| response.escalate.get(link));
    let recipients: Vec<Recipient> = match next {
        Some(next) => vec![next.clone()],
        None => response.notify.iter().chain(&response.escalate).cloned().collect(),
    };
    let count = incident.escalations + 1;
    let news = Incident { escalations: count, respond_by, ..incident.clone() };
    tell(site, catalogue, &news, "escalated", &recipients, now)?;
    let what = format!("nobody has answered in time: told the next ({count})");
    catalogue.tell_of_incident(&incident.id, count, respond_by, &what, now)?;
    prove(site, "incident.escalated", &news)
}

/// Queues a message for each notifier that cares.
fn tell(
    site: &Site,
    catalogue: &Catalog,
    incident: &Incident,
    topic: &str,
    recipients: &[Recipient],
    now: Timestamp,
) -> Result<(), Failure> {
    let notice = notice(site, incident, topic, recipients, now);
    let body = serde_json::to_string(&notice).unwrap_or_default();
    for notifier in site.configuration.site.people.notifiers.iter().filter(|one| cares(one, incident)) {
        let waits = notifier.quiet.as_ref().filter(|_| incident.severity < Severity::Critical);
        let key = format!(
            "{}:{topic}:{}:{}:{}:{}",
            incident.id,
            incident.severity.as_str(),
            incident.escalations,
            incident.opened_at.max(incident.resolved_at.unwrap_or(incident.opened_at)).unix_ms(),
            notifier.name
        );
        // What is back, or over, may be so several times.
        let key =
            if matches!(topic, "reopened" | "passed") { format!("{key}:{}", now.unix_ms()) } else { key };
        let new = NewMessage {
            subject_key: &key,
            notifier: &notifier.name,
            incident: Some(&incident.id),
            severity: incident.severity,
            topic,
            body: &body,
            next_at: waits.and_then(|quiet| quiet.end(now)).unwrap_or(now),
        };
        catalogue.queue_message(&new, now)?;
    }
    Ok(())
}

fn cares(notifier: &Notifier, incident: &Incident) -> bool {
    let is_about = |topic: &String| topic == "incident" || incident.cause.starts_with(topic.as_str());
    !matches!(notifier.way, Way::Heartbeat { .. })
        && incident.severity >= notifier.from
        && notifier.on.iter().any(is_about)
}

pub(super) fn notice(
    site: &Site,
    incident: &Incident,
    topic: &str,
    recipients: &[Recipient],
    now: Timestamp,
) -> Notice {
    Notice {
        version: 1,
        site: site.configuration.site.name.clone(),
        at: incident.opened_at,
        topic: topic.to_owned(),
        severity: incident.severity.as_str().to_owned(),
        incident: incident.id.clone(),
        policy: incident.policy.clone(),
        cause: incident.cause.clone(),
        title: incident.title.clone(),
        people: people(site, incident, recipients, now),
        respond_by: Some(incident.respond_by),
    }
}

/// Who is meant, then the provider whose target it is about.
fn people(site: &Site, incident: &Incident, recipients: &[Recipient], now: Timestamp) -> Vec<Person> {
    let known = &site.configuration.site.people;
    let policy = site.configuration.policy(&incident.policy);
    let owner = policy.and_then(|policy| policy.owner.as_deref());
    let mut people: Vec<Person> = Vec::new();
    for contact in known.contacts_of(recipients, owner, now) {
        people.push(Person {
            name: contact.name.clone(),
            phone: contact.phone.clone(),
            mail: contact.mail.clone(),
            give_them: Vec::new(),
        });
    }
    let about = policy.into_iter().flat_map(|policy| &policy.targets).filter(|target| {
        incident.cause.ends_with(&format!(".{}", target.name))
            || incident.title.contains(target.name.as_str())
    });
    let providers = about.filter_map(|target| known.vendor(target.provider.as_deref()?));
    for vendor in known.vendors_of(recipients).chain(providers) {
        if people.iter().all(|person| person.name != vendor.name) {
            let contract = vendor.contract.iter().map(|contract| format!("contract {contract}"));
            people.push(Person {
                name: vendor.name.clone(),
                phone: vendor.phone.clone(),
                mail: None,
                give_them: contract.chain(vendor.give_them.iter().cloned()).collect(),
            });
        }
    }
    people
}

fn prove(site: &Site, kind: &str, incident: &Incident) -> Result<(), Failure> {
    site.evidence()?.append(
        kind,
        json!({
            "incident": incident.id, "policy": incident.policy, "cause": incident.cause,
            "severity": incident.severity, "state": incident.state, "escalations": incident.escalations,
        }),
    )?;
    Ok(())
}

/// Incidents that go on, or the newest of all.
///
/// # Errors
/// Of the catalogue.
pub fn list(site: &Site, all: bool) -> Result<Vec<Incident>, Failure> {
    let catalogue = site.catalogue()?;
    Ok(if all { catalogue.incidents(EVENTS_MAX)? } else { catalogue.open_incidents()? })
}

/// One incident with its story and whom to call.
///
/// # Errors
/// Not found.
pub fn show(site: &Site, id: &str) -> Result<IncidentView, Failure> {
    let catalogue = site.catalogue()?;
    let incident = catalogue.incident(id)?;
    let response = site.configuration.site.people.responses.of(incident.severity);
    let recipients: Vec<Recipient> = response.notify.iter().chain(&response.escalate).cloned().collect();
    let people = people(site, &incident, &recipients, site.cx.clock.now());
    Ok(IncidentView { steps: catalogue.incident_steps(id)?, incident, people })
}

/// A person opens an incident that Lifeboat can't see.
///
/// # Errors
/// When the policy does not exist, or the state cannot be written.
pub fn open(
    site: &Site,
    policy: Option<&str>,
    severity: Severity,
    title: &str,
    by: &str,
) -> Result<Incident, Failure> {
    if let Some(policy) = policy {
        site.policy(policy)?;
    }
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    let response = site.configuration.site.people.responses.of(severity);
    // A person's are never the same.
    let cause = format!("{PERSON}{}", now.compact());
    let new = NewIncident {
        policy: policy.unwrap_or_default(),
        cause: &cause,
        severity,
        title,
        respond_by: now.plus(response.start_within),
    };
    let (Seen::Opened(incident) | Seen::Reopened(incident) | Seen::Worse(incident) | Seen::Known(incident)) =
        catalogue.see_incident(&new, now, now)?;
    let step = Step { at: now, who: by.to_owned(), what: "opened it".to_owned() };
    catalogue.note_incident(&incident.id, &step)?;
    tell(site, &catalogue, &incident, "opened", &response.notify, now)?;
    catalogue.tell_of_incident(&incident.id, 0, incident.respond_by, &told("opened"), now)?;
    prove(site, "incident.opened", &incident)?;
    Ok(catalogue.incident(&incident.id)?)
}

/// Somebody takes it.
///
/// # Errors
/// Not found; refused, when it is over.
pub fn acknowledge(site: &Site, id: &str, by: &str) -> Result<Incident, Failure> {
    let moved = advance(site, id, IncidentState::Responding, "answered", by, None)?;
    let now = site.cx.clock.now();
    tell(site, &site.catalogue()?, &moved, "answered", &[], now)?;
    Ok(moved)
}

/// A line for the story.
///
/// # Errors
/// Not found.
pub fn note(site: &Site, id: &str, what: &str, by: &str) -> Result<(), Failure> {
    let step = Step { at: site.cx.clock.now(), who: by.to_owned(), what: what.to_owned() };
    site.catalogue()?.note_incident(id, &step)?;
    let data = json!({ "incident": id, "by": by });
    site.evidence()?.append("incident.noted", data)?;
    Ok(())
}

/// It stands somewhere else now.
///
/// # Errors
/// Not found; refused, when it is further already.
pub fn advance(
    site: &Site,
    id: &str,
    to: IncidentState,
    what: &str,
    by: &str,
    report: Option<&Value>,
) -> Result<Incident, Failure> {
    let step = Step { at: site.cx.clock.now(), who: by.to_owned(), what: what.to_owned() };
    let moved = site.catalogue()?.move_incident(id, to, &step, report)?;
    prove(site, &format!("incident.{}", to.as_str()), &moved)?;
    Ok(moved)
}

/// It is over, and this shows it.
///
/// # Errors
/// Refused while its cause is still seen; not found.
pub fn resolve(site: &Site, id: &str, verification: &str, by: &str) -> Result<Incident, Failure> {
    let known = site.catalogue()?.incident(id)?;
    if known.passed_at.is_none() && !is_of_a_person(&known) {
        return Err(AppError::StillSo { id: id.to_owned(), title: known.title }.into());
    }
    advance(site, id, IncidentState::Resolved, &format!("verified: {verification}"), by, None)
}

/// Its report: cause, process, impact and prevention, all of them.
///
/// # Errors
/// Usage, when one is empty; refused, when it is not resolved.
pub fn report(site: &Site, id: &str, report: &[(&str, &str)], by: &str) -> Result<Incident, Failure> {
    let said = |part: &str| report.iter().find(|(name, _)| *name == part).map_or("", |(_, text)| text.trim());
    if let Some(missing) = REPORT.iter().find(|part| said(part).is_empty()) {
        return Err(AppError::Usage {
            what: format!("the report says nothing of the {missing}"),
            hint: "a report has a cause, the process, the impact on the business, and what prevents it"
                .to_owned(),
        }
        .into());
    }
    let known = site.catalogue()?.incident(id)?;
    if known.state != IncidentState::Resolved {
        return Err(AppError::StillSo { id: id.to_owned(), title: known.title }.into());
    }
    let texts: serde_json::Map<String, Value> =
        report.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    advance(site, id, IncidentState::Reported, "reported", by, Some(&Value::Object(texts)))
}

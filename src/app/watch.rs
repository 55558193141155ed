//! One look at all promises: what is broken becomes an incident, who has to know is told, and hearts
//! beat. The daemon does this every few minutes in a process of its own; a person or cron may, too.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::change;
use super::error::AppError;
use super::incidents::{conditions, follow, notice};
use super::outbox::tell;
use super::site::Site;
use super::space;
use super::status::statuses;
use crate::alert::{self, AlertError, Notice};
use crate::base::clock::Timestamp;
use crate::base::durable;
use crate::base::error::{Classified, Failure};
use crate::catalog::Catalog;
use crate::catalog::incidents::Incident;
use crate::catalog::messages::{Message, NewMessage};
use crate::catalog::words::{IncidentState, MessageState, Severity};
use crate::policy::model::{Notifier, Recipient, Way};

/// Messages that one look tries: each may take a quarter of a minute.
const MESSAGES_MAX: u32 = 40;
/// Between attempts, at first; each wait is twice the one before.
const WAIT_FIRST: Duration = Duration::from_secs(60);
/// And at last.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// After so many attempts the other notifier is used, too.
const OTHERWISE_AFTER: u64 = 3;
/// What nobody took for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);

/// What a look found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// Another one was looking already: nothing was done.
    pub is_taken: bool,
    /// Incidents that go on.
    pub incidents: usize,
    /// Messages sent.
    pub sent: usize,
    /// Messages that could not be sent now.
    pub waiting: usize,
}

/// Looks, tells, beats.
///
/// # Errors
/// When the configuration or the state cannot be read or written. What could not be told waits.
pub fn watch(site: &Site) -> Result<Watched, Failure> {
    let path = site.state.watching();
    let locked = durable::try_lock(&path).map_err(|source| AppError::Unwritable { path, source })?;
    let Some(_one_at_a_time) = locked else { return Ok(Watched { is_taken: true, ..Watched::default() }) };
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    change::follow(&catalogue, &site.configuration, now)?;
    tell(&catalogue, &site.evidence()?)??;
    space::note_all(site, &catalogue, now)?;
    let found = conditions(site, &catalogue, &statuses(site, None)?, now)?;
    follow(site, &catalogue, &found, now)?;
    let mut watched = Watched { incidents: catalogue.open_incidents()?.len(), ..Watched::default() };
    deliver(site, &catalogue, &mut watched)?;
    beat(site, &catalogue)?;
    Ok(watched)
}

/// Sends what waits.
fn deliver(site: &Site, catalogue: &Catalog, watched: &mut Watched) -> Result<(), Failure> {
    for message in catalogue.due_messages(site.cx.clock.now(), MESSAGES_MAX)? {
        if site.cx.cancel.is_cancelled() {
            break;
        }
        let notifier = site.configuration.site.people.notifier(&message.notifier);
        let sent = notifier.map(|notifier| send(site, notifier, &message));
        let now = site.cx.clock.now();
        let id = &message.id;
        match sent {
            Some(Ok(())) => {
                catalogue.end_attempt(id, MessageState::Sent, None, now, now)?;
                prove(site, "message.sent", &message, None)?;
                watched.sent += 1;
            }
            None => {
                let error = "the configuration has no such notifier any more";
                catalogue.end_attempt(id, MessageState::Failed, Some(error), now, now)?;
                prove(site, "message.failed", &message, Some("unknown"))?;
            }
            Some(Err(error)) => {
                watched.waiting += 1;
                put_off(site, catalogue, &message, notifier, &error, now)?;
            }
        }
    }
    Ok(())
}

/// It is tried again later, by another way too, or given up.
fn put_off(
    site: &Site,
    catalogue: &Catalog,
    message: &Message,
    notifier: Option<&Notifier>,
    error: &AlertError,
    now: Timestamp,
) -> Result<(), Failure> {
    let text = error.to_string();
    site.cx.progress.warn(format!("{} was not told ({}): {text}", message.notifier, error.code()));
    if now.since(message.queued_at) >= GIVE_UP_AFTER {
        catalogue.end_attempt(&message.id, MessageState::Failed, Some(&text), now, now)?;
        return prove(site, "message.failed", message, Some(error.code()));
    }
    let steps = u32::try_from(message.attempts).unwrap_or(u32::MAX).min(16);
    let wait = WAIT_FIRST.saturating_mul(1 << steps).min(WAIT_MAX);
    catalogue.end_attempt(&message.id, MessageState::Queued, Some(&text), now.plus(wait), now)?;
    let other = notifier.and_then(|notifier| notifier.otherwise.as_ref());
    if let Some(other) = other.filter(|_| message.attempts + 1 >= OTHERWISE_AFTER) {
        let new = NewMessage {
            subject_key: &format!("{}:otherwise", message.id),
            notifier: other,
            incident: message.incident.as_deref(),
            severity: message.severity,
            topic: &message.topic,
            body: &message.body,
            next_at: now,
        };
        catalogue.queue_message(&new, now)?;
    }
    Ok(())
}

fn send(site: &Site, notifier: &Notifier, message: &Message) -> Result<(), AlertError> {
    let notice: Notice = serde_json::from_str(&message.body)
        .map_err(|error| AlertError::Refused { cause: format!("its text is damaged: {error}") })?;
    match &notifier.way {
        Way::Mail(mail) => alert::mail(mail, &notice),
        Way::Hook(hook) => alert::post(hook, &notice, site.cx.clock.now()),
        Way::Heartbeat { url_file, .. } => alert::beat(url_file),
    }
}

fn prove(site: &Site, kind: &str, message: &Message, error: Option<&str>) -> Result<(), Failure> {
    site.evidence()?.append(
        kind,
        json!({
            "message": message.id, "notifier": message.notifier, "incident": message.incident,
            "topic": message.topic, "attempts": message.attempts + 1, "error_code": error,
        }),
    )?;
    Ok(())
}

/// Hearts beat only when this look went well: their silence is the alarm.
fn beat(site: &Site, catalogue: &Catalog) -> Result<(), Failure> {
    for notifier in &site.configuration.site.people.notifiers {
        let Way::Heartbeat { url_file, every } = &notifier.way else { continue };
        let now = site.cx.clock.now();
        // A clock that was set back must not still a heart.
        if catalogue.last_beat(&notifier.name)?.is_some_and(|last| last <= now && now.since(last) < *every) {
            continue;
        }
        let did = alert::beat(url_file);
        if let Err(error) = &did {
            site.cx.progress.warn(format!("{} did not beat ({}): {error}", notifier.name, error.code()));
        }
        catalogue.record_heartbeat(&notifier.name, did.is_ok(), now)?;
    }
    Ok(())
}

/// A notifier's name, and whether it could tell.
pub type Tried = (String, Result<(), AlertError>);

/// Tells one notifier, or each, that this is a test.
///
/// # Errors
/// When there is no such notifier; the first failure, after all were tried.
pub fn test(site: &Site, name: Option<&str>) -> Result<Vec<Tried>, Failure> {
    let people = &site.configuration.site.people;
    let meant: Vec<&Notifier> =
        people.notifiers.iter().filter(|one| name.is_none_or(|name| one.name == name)).collect();
    if meant.is_empty() {
        let known: Vec<&str> = people.notifiers.iter().map(|one| one.name.as_str()).collect();
        return Err(AppError::Unknown {
            what: "notifier",
            name: name.unwrap_or("at all").to_owned(),
            known: known.join(", "),
        }
        .into());
    }
    let now = site.cx.clock.now();
    let incident = Incident {
        id: String::new(),
        policy: String::new(),
        cause: "test".to_owned(),
        severity: Severity::Minor,
        title: "this is a test; nothing has happened".to_owned(),
        state: IncidentState::Detected,
        opened_at: now,
        seen_at: now,
        passed_at: None,
        respond_by: now,
        escalations: 0,
        acknowledged_by: None,
        acknowledged_at: None,
        resolved_at: None,
        reported_at: None,
        report: json!({}),
    };
    let mut results = Vec::new();
    for notifier in meant {
        let notice =
            Notice { respond_by: None, ..notice(site, &incident, "test", &[Recipient::OnCall], now) };
        let message = Message {
            id: "test".to_owned(),
            notifier: notifier.name.clone(),
            incident: None,
            severity: Severity::Minor,
            topic: "test".to_owned(),
            body: serde_json::to_string(&notice).unwrap_or_default(),
            state: MessageState::Queued,
            queued_at: now,
            next_at: now,
            attempts: 0,
            ended_at: None,
            error: None,
        };
        let sent = send(site, notifier, &message);
        let (kind, code) = match &sent {
            Ok(()) => ("message.sent", None),
            Err(error) => ("message.failed", Some(error.code())),
        };
        prove(site, kind, &message, code)?;
        results.push((notifier.name.clone(), sent));
    }
    Ok(results)
}

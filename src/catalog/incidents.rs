//! Incidents and what was done about each. Nothing of it is ever deleted or changed but forwards.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CatalogError;
use super::open::{Catalog, new_id};
use super::sql::{Row, Session, args};
use super::words::{IncidentState, Severity};
use crate::base::clock::Timestamp;

/// The columns that [`read`] reads, before a `WHERE`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, policy, cause, severity, title, state, opened_at, seen_at, passed_at, respond_by, ",
            "escalations, acknowledged_by, acknowledged_at, resolved_at, reported_at, report FROM incidents ",
            $rest
        )
    };
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// For which policy; empty for the whole site.
    pub policy: String,
    /// What happened, as a stable word.
    pub cause: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
    /// Where it stands.
    pub state: IncidentState,
    /// When it was noticed.
    pub opened_at: Timestamp,
    /// When its cause was last seen.
    pub seen_at: Timestamp,
    /// Since when its cause is gone.
    pub passed_at: Option<Timestamp>,
    /// When somebody has to have answered.
    pub respond_by: Timestamp,
    /// How often somebody else was told because nobody answered.
    pub escalations: u64,
    /// Who answered.
    pub acknowledged_by: Option<String>,
    /// When.
    pub acknowledged_at: Option<Timestamp>,
    /// When it was seen to be over.
    pub resolved_at: Option<Timestamp>,
    /// When its report was written.
    pub reported_at: Option<Timestamp>,
    /// The report: an object of texts.
    pub report: Value,
}

/// An incident that is about to be opened.
#[derive(Clone, Debug)]
pub struct NewIncident<'a> {
    /// For which policy; empty for the whole site.
    pub policy: &'a str,
    /// What happened.
    pub cause: &'a str,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: &'a str,
    /// When somebody has to have answered.
    pub respond_by: Timestamp,
}

/// What a person, or Lifeboat, did about an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
}

/// What became of a cause that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is a new incident.
    Opened(Incident),
    /// An incident that was over goes on.
    Reopened(Incident),
    /// It became worse than it was.
    Worse(Incident),
    /// It is known.
    Known(Incident),
}

impl Catalog {
    /// A cause was seen: opens an incident, or goes on with the one that there is. One that was resolved
    /// after `reopen_since` is the same one again.
    ///
    /// # Errors
    /// Of the database.
    pub fn see_incident(
        &self,
        new: &NewIncident<'_>,
        reopen_since: Timestamp,
        now: Timestamp,
    ) -> Result<Seen, CatalogError> {
        self.database.transaction(|session| {
            let known = session.row(
                "read an incident",
                select!("WHERE policy = $1 AND cause = $2 ORDER BY opened_at DESC, id DESC LIMIT 1"),
                args![new.policy, new.cause],
                read,
            )?;
            match known {
                Some(known) if known.state.is_open() => {
                    let is_worse = new.severity > known.severity;
                    let severity = known.severity.max(new.severity);
                    // Who answered is not waited for again, unless it got worse.
                    let respond_by = if is_worse { new.respond_by } else { known.respond_by };
                    session.execute(
                        "see an incident again",
                        "UPDATE incidents SET seen_at = $2, passed_at = NULL, severity = $3, respond_by = $4,
                         title = $5 WHERE id = $1",
                        args![&known.id, now, &severity, respond_by, new.title],
                    )?;
                    let incident = get(session, &known.id)?;
                    Ok(if is_worse { Seen::Worse(incident) } else { Seen::Known(incident) })
                }
                Some(known) if known.resolved_at.is_some_and(|at| at >= reopen_since) => {
                    session.execute(
                        "reopen an incident",
                        "UPDATE incidents SET seen_at = $2, passed_at = NULL, severity = $3, respond_by = $4,
                         title = $5, state = 'detected', escalations = 0, acknowledged_by = NULL,
                         acknowledged_at = NULL, resolved_at = NULL, reported_at = NULL WHERE id = $1",
                        args![&known.id, now, &new.severity, new.respond_by, new.title],
                    )?;
                    add_step(session, &known.id, now, "lifeboat", "the cause is back: reopened")?;
                    Ok(Seen::Reopened(get(session, &known.id)?))
                }
                _ => {
                    let id = format!("I-{}", new_id(now));
                    session.execute(
                        "open an incident",
                        "INSERT INTO incidents (id, policy, cause, severity, title, state, opened_at, seen_at,
                         respond_by, escalations, report)
                         VALUES ($1, $2, $3, $4, $5, 'detected', $6, $6, $7, 0, '{}')",
                        args![&id, new.policy, new.cause, &new.severity, new.title, now, new.respond_by],
                    )?;
                    add_step(session, &id, now, "lifeboat", &format!("detected: {}", new.title))?;
                    Ok(Seen::Opened(get(session, &id)?))
                }
            }
        })
    }

    /// The cause of an open incident is gone. Answers whether that is news.
    ///
    /// # Errors
    /// Of the database.
    pub fn pass_incident(&self, id: &str, now: Timestamp) -> Result<bool, CatalogError> {
        self.database.transaction(|session| {
            let touched = session.execute(
                "record that a cause is gone",
                "UPDATE incidents SET passed_at = $2 WHERE id = $1 AND passed_at IS NULL",
                args![id, now],
            )?;
            if touched == 1 {
                add_step(session, id, now, "lifeboat", "the cause is gone")?;
            }
            Ok(touched == 1)
        })
    }

    /// Records that somebody was told, or told again.
    ///
    /// # Errors
    /// Of the database.
    pub fn tell_of_incident(
        &self,
        id: &str,
        escalations: u64,
        respond_by: Timestamp,
        what: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.database.transaction(|session| {
            session.execute(
                "record that somebody was told",
                "UPDATE incidents SET escalations = $2, respond_by = $3,
                 state = CASE WHEN state = 'detected' THEN 'notified' ELSE state END WHERE id = $1",
                args![id, escalations, respond_by],
            )?;
            add_step(session, id, now, "lifeboat", what)
        })
    }

    /// Moves an incident forwards, with a line in its story.
    ///
    /// # Errors
    /// Not found; refused, when it is further already.
    pub fn move_incident(
        &self,
        id: &str,
        to: IncidentState,
        step: &Step,
        report: Option<&Value>,
    ) -> Result<Incident, CatalogError> {
        self.database.transaction(|session| {
            let known = get(session, id)?;
            // What is restored and checked may have to be restored again; nothing goes back to unanswered.
            let goes_back = known.state > to && !(known.state.is_open() && to > IncidentState::Notified);
            if goes_back || known.state == IncidentState::Reported {
                return Err(CatalogError::State {
                    what: format!("incident {id}"),
                    state: known.state.as_str().to_owned(),
                    wanted: to.as_str(),
                });
            }
            let answered =
                (to >= IncidentState::Responding && known.acknowledged_at.is_none()).then_some(step);
            let resolved = (to == IncidentState::Resolved).then_some(step.at).or(known.resolved_at);
            let reported = (to == IncidentState::Reported).then_some(step.at);
            session.execute(
                "move an incident",
                "UPDATE incidents SET state = $2, acknowledged_by = COALESCE($3, acknowledged_by),
                 acknowledged_at = COALESCE($4, acknowledged_at), resolved_at = $5, reported_at = $6,
                 report = COALESCE($7, report) WHERE id = $1",
                args![
                    id,
                    &to,
                    &answered.map(|step| step.who.clone()),
                    answered.map(|step| step.at),
                    resolved,
                    reported,
                    &report.map(ToString::to_string),
                ],
            )?;
            add_step(session, id, step.at, &step.who, &step.what)?;
            get(session, id)
        })
    }

    /// Adds a line to an incident's story.
    ///
    /// # Errors
    /// Not found.
    pub fn note_incident(&self, id: &str, step: &Step) -> Result<(), CatalogError> {
        self.database.transaction(|session| {
            get(session, id)?;
            add_step(session, id, step.at, &step.who, &step.what)
        })
    }

    /// Incidents that go on, worst and oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub fn open_incidents(&self) -> Result<Vec<Incident>, CatalogError> {
        self.database.with(|session| {
            let mut found = session.rows(
                "list open incidents",
                select!("WHERE state NOT IN ('resolved', 'reported') ORDER BY opened_at, id"),
                args![],
                read,
            )?;
            found.sort_by_key(|one| std::cmp::Reverse(one.severity));
            Ok(found)
        })
    }

    /// The newest incidents, over ones among them, at most `count`.
    ///
    /// # Errors
    /// Of the database.
    pub fn incidents(&self, count: u32) -> Result<Vec<Incident>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list incidents",
                select!("WHERE 1 = 1 ORDER BY opened_at DESC, id DESC LIMIT $1"),
                args![i64::from(count)],
                read,
            )
        })
    }

    /// An incident, by its id.
    ///
    /// # Errors
    /// Not found.
    pub fn incident(&self, id: &str) -> Result<Incident, CatalogError> {
        self.database.with(|session| get(session, id))
    }

    /// What was done about an incident, in order.
    ///
    /// # Errors
    /// Of the database.
    pub fn incident_steps(&self, id: &str) -> Result<Vec<Step>, CatalogError> {
        self.database.with(|session| {
            session.rows(
                "list an incident's steps",
                "SELECT at, who, what FROM incident_steps WHERE incident = $1 ORDER BY number",
                args![id],
                |row| Ok(Step { at: row.time(0)?, who: row.text(1)?, what: row.text(2)? }),
            )
        })
    }
}

fn get(session: &mut Session<'_>, id: &str) -> Result<Incident, CatalogError> {
    session
        .row("read an incident", select!("WHERE id = $1"), args![id], read)?
        .ok_or_else(|| CatalogError::NotFound { what: format!("incident {id}") })
}

fn add_step(
    session: &mut Session<'_>,
    id: &str,
    at: Timestamp,
    who: &str,
    what: &str,
) -> Result<(), CatalogError> {
    session.execute(
        "add to an incident's story",
        "INSERT INTO incident_steps (incident, number, at, who, what)
         SELECT $1, 1 + COUNT(*), $2, $3, $4 FROM incident_steps WHERE incident = $1",
        args![id, at, who, what],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Incident, CatalogError> {
    Ok(Incident {
        id: row.text(0)?,
        policy: row.text(1)?,
        cause: row.text(2)?,
        severity: row.word(3)?,
        title: row.text(4)?,
        state: row.word(5)?,
        opened_at: row.time(6)?,
        seen_at: row.time(7)?,
        passed_at: row.opt_time(8)?,
        respond_by: row.time(9)?,
        escalations: row.count(10)?,
        acknowledged_by: row.opt_text(11)?,
        acknowledged_at: row.opt_time(12)?,
        resolved_at: row.opt_time(13)?,
        reported_at: row.opt_time(14)?,
        report: row.json(15)?,
    })
}

//! `watch`, `incident`, `notify`: what is wrong, who has to know, and what was done.

use serde_json::json;

use super::policy::site;
use crate::alert::Person;
use crate::app::incidents::{self, IncidentView};
use crate::app::watch::{test, watch};
use crate::base::error::{Class, Classified, Failure};
use crate::catalog::incidents::Incident;
use crate::catalog::words::IncidentState;
use crate::cli::args::{ByArgs, IncidentCommand, NotifyCommand, StageArg};
use crate::cli::output::{JSON_VERSION, escape};
use crate::cli::run::Session;

/// Messages shown.
const MESSAGES_SHOWN: u32 = 50;

/// `watch`.
pub(in crate::cli) fn look(session: &Session) -> Result<u8, Failure> {
    let done = watch(&site(session)?)?;
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "watched": done }));
    } else if done.is_taken {
        out.line("another look goes on; nothing was done");
    } else {
        out.line(&format!(
            "{} incidents go on; {} messages sent, {} wait",
            done.incidents, done.sent, done.waiting
        ));
    }
    Ok(0)
}

/// `incident`.
pub(in crate::cli) fn run(session: &Session, command: &IncidentCommand) -> Result<u8, Failure> {
    let site = site(session)?;
    let who = |by: &ByArgs| by.by.clone().unwrap_or_else(|| session.place.environment.user());
    let done = match command {
        IncidentCommand::List { all } => return Ok(print_all(session, &incidents::list(&site, *all)?)),
        IncidentCommand::Show { id } => return Ok(print_one(session, &incidents::show(&site, id)?)),
        IncidentCommand::Open { title, policy, severity, by } => {
            incidents::open(&site, policy.as_deref(), severity.severity(), title, &who(by))?
        }
        IncidentCommand::Ack { id, by } => incidents::acknowledge(&site, id, &who(by))?,
        IncidentCommand::Note { id, text, by } => {
            incidents::note(&site, id, text, &who(by))?;
            incidents::show(&site, id)?.incident
        }
        IncidentCommand::Stage { id, stage, by } => {
            let to = match stage {
                StageArg::Contained => IncidentState::Contained,
                StageArg::Restoring => IncidentState::Restoring,
                StageArg::Verifying => IncidentState::Verifying,
            };
            incidents::advance(&site, id, to, to.as_str(), &who(by), None)?
        }
        IncidentCommand::Resolve { id, verification, by } => {
            incidents::resolve(&site, id, verification, &who(by))?
        }
        IncidentCommand::Report { id, cause, process, impact, prevention, by } => {
            let parts = [
                ("cause", cause.as_str()),
                ("process", process.as_str()),
                ("impact", impact.as_str()),
                ("prevention", prevention.as_str()),
            ];
            incidents::report(&site, id, &parts, &who(by))?
        }
    };
    Ok(print_all(session, &[done]))
}

fn print_all(session: &Session, all: &[Incident]) -> u8 {
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "incidents": all }));
        return 0;
    }
    if all.is_empty() {
        out.line("no incident goes on");
    }
    all.iter().for_each(|one| out.line(&headline(one)));
    0
}

fn headline(one: &Incident) -> String {
    let about = if one.policy.is_empty() { "site" } else { &one.policy };
    let gone = if one.passed_at.is_some() && one.state.is_open() { " (its cause is gone)" } else { "" };
    format!(
        "{}  {:<8} {:<10} {:<12} since {}: {}{gone}",
        one.id,
        one.severity,
        one.state,
        escape(about),
        one.opened_at.readable(),
        escape(&one.title)
    )
}

fn print_one(session: &Session, view: &IncidentView) -> u8 {
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "incident": view }));
        return 0;
    }
    let one = &view.incident;
    out.line(&headline(one));
    match (&one.acknowledged_by, one.acknowledged_at) {
        (Some(by), Some(at)) => {
            let late = if at > one.respond_by { ", too late" } else { "" };
            out.line(&format!("  answered by {} {}{late}", escape(by), at.readable()));
        }
        _ => out.line(&format!("  NOT ANSWERED; to be answered by {}", one.respond_by.readable())),
    }
    for person in &view.people {
        print_person(session, person);
    }
    for step in &view.steps {
        out.line(&format!("  {}  {}: {}", step.at.readable(), escape(&step.who), escape(&step.what)));
    }
    for part in ["cause", "process", "impact", "prevention"] {
        if let Some(text) = one.report.get(part).and_then(serde_json::Value::as_str) {
            out.line(&format!("  {part}: {}", escape(text)));
        }
    }
    0
}

fn print_person(session: &Session, person: &Person) {
    let out = session.output;
    let ways: Vec<&str> = [&person.phone, &person.mail].into_iter().flatten().map(String::as_str).collect();
    out.line(&format!("  call {} {}", escape(&person.name), escape(&ways.join(" "))));
    if !person.give_them.is_empty() {
        out.line(&format!("    give them: {}", escape(&person.give_them.join(", "))));
    }
}

/// `notify`.
pub(in crate::cli) fn notify(session: &Session, command: &NotifyCommand) -> Result<u8, Failure> {
    let site = site(session)?;
    let out = session.output;
    match command {
        NotifyCommand::List => {
            let messages = site.catalogue()?.messages(MESSAGES_SHOWN)?;
            if out.is_json() {
                out.json(&json!({ "version": JSON_VERSION, "messages": messages }));
                return Ok(0);
            }
            for one in messages {
                let error =
                    one.error.as_deref().map_or_else(String::new, |error| format!(": {}", escape(error)));
                out.line(&format!(
                    "{}  {:<12} {:<10} {:<7} {} attempts  {}{error}",
                    one.queued_at.readable(),
                    escape(&one.notifier),
                    one.topic,
                    one.state,
                    one.attempts,
                    one.incident.as_deref().unwrap_or("-"),
                ));
            }
            Ok(0)
        }
        NotifyCommand::Test { name } => {
            let results = test(&site, name.as_deref())?;
            let failed = results.iter().filter(|(_, sent)| sent.is_err()).count();
            let code = if failed > 0 { Class::Failed.exit_code() } else { 0 };
            if out.is_json() {
                let told: Vec<_> = results
                    .iter()
                    .map(|(name, sent)| {
                        let error = sent.as_ref().err();
                        json!({
                            "notifier": name, "sent": error.is_none(),
                            "code": error.map(Classified::code), "error": error.map(ToString::to_string),
                        })
                    })
                    .collect();
                out.json(&json!({ "version": JSON_VERSION, "exit": code, "told": told }));
                return Ok(code);
            }
            for (name, sent) in &results {
                match sent {
                    Ok(()) => out.line(&format!("{}: told", escape(name))),
                    Err(error) => {
                        out.line(&format!("{}: NOT told", escape(name)));
                        let hint = error.hint().unwrap_or_default();
                        out.talk(&format!(
                            "error[{}]: {}\n  next: {hint}",
                            error.code(),
                            escape(&error.to_string())
                        ));
                    }
                }
            }
            Ok(code)
        }
    }
}

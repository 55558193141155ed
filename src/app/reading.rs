//! A job that asks every target of a policy: how each fared, and how the run of it ends.

use serde_json::json;

use super::outbox::tell;
use super::run::end_failed;
use super::site::Site;
use crate::base::error::{Class, Failure};
use crate::catalog::Catalog;
use crate::catalog::outbox::OutboxLine;
use crate::catalog::runs::{Failure as RunFailure, RunEnd, RunId};
use crate::catalog::words::{Job, RunState};
use crate::policy::model::Target as Planned;

/// What the targets of a policy said.
pub(super) struct Asked<T> {
    /// What was found at each that answered.
    pub(super) found: Vec<(String, T)>,
    /// Those that are kept apart, and are not here now.
    pub(super) away: Vec<String>,
    /// Those that should have answered, and why they did not.
    pub(super) unreached: Vec<(String, Failure)>,
}

impl<T> Asked<T> {
    /// Asks one after the other.
    pub(super) fn each<'p>(
        site: &Site,
        planned: impl IntoIterator<Item = &'p Planned>,
        mut ask: impl FnMut(&Planned) -> Result<T, Failure>,
    ) -> Self {
        let mut asked = Self { found: Vec::new(), away: Vec::new(), unreached: Vec::new() };
        for planned in planned {
            let name = planned.name.as_str().to_owned();
            match ask(planned) {
                Ok(answer) => asked.found.push((name, answer)),
                Err(failure) if is_away(planned, &failure) => {
                    site.cx.progress.note(format!("{name}: kept apart, and not here now"));
                    asked.away.push(name);
                }
                Err(failure) => asked.unreached.push((name, failure)),
            }
        }
        asked
    }

    /// Their lines for the evidence log.
    pub(super) fn unreached_lines<'s>(
        &'s self,
        kind: &'s str,
        policy: &'s str,
    ) -> impl Iterator<Item = OutboxLine> + 's {
        self.unreached.iter().map(move |(target, failure)| {
            OutboxLine::new(kind, json!({ "policy": policy, "target": target, "error_code": failure.code() }))
        })
    }
}

/// Whether a target that is kept apart is simply not here.
pub(super) fn is_away(planned: &Planned, failure: &Failure) -> bool {
    let gone = [Class::NotFound, Class::NoRepository];
    planned.offline && (gone.contains(&failure.class()) || failure.class().is_transient())
}

/// How a reading of a policy's targets ended.
pub(super) struct Read<'a> {
    /// What it was.
    pub(super) job: Job,
    /// Targets that were read.
    pub(super) targets: usize,
    /// Whether any target was read, now or by an earlier attempt.
    pub(super) answered: bool,
    /// Whether nothing was wrong.
    pub(super) is_clean: bool,
    /// Targets that did not answer, and why.
    pub(super) unreached: &'a [(String, Failure)],
    /// What the evidence log is to have of it.
    pub(super) lines: Vec<OutboxLine>,
}

impl<'a> Read<'a> {
    /// Of targets that were asked and read.
    pub(super) fn of<T>(job: Job, asked: &'a Asked<T>, lines: Vec<OutboxLine>) -> Self {
        Self {
            job,
            targets: asked.found.len(),
            answered: !asked.found.is_empty() || asked.unreached.is_empty(),
            // Where nothing was asked, nothing is known.
            is_clean: !asked.found.is_empty(),
            unreached: &asked.unreached,
            lines,
        }
    }
}

/// Records it. One that lacks a target whose reason passes is tried again when the schedule asked: until
/// the next one, a month later, that copy would expire.
///
/// # Errors
/// When the catalogue or the evidence log cannot be written.
pub(super) fn record_end(
    site: &Site,
    catalogue: &Catalog,
    run: &RunId,
    read: Read<'_>,
) -> Result<(), Failure> {
    let mut lines = read.lines;
    for line in &mut lines {
        line.data["run"] = json!(run.as_str());
    }
    let unreached = read.unreached.iter().map(|(_, failure)| failure);
    let worst = unreached.clone().find(|failure| failure.class().is_transient());
    let failure = worst.or_else(|| unreached.clone().next());
    let state = match failure {
        _ if site.cx.cancel.is_cancelled() => RunState::Cancelled,
        Some(_) if !read.answered => RunState::Failed,
        None if read.is_clean => RunState::Succeeded,
        _ => RunState::Partial,
    };
    let end = RunEnd {
        state,
        at: site.cx.clock.now(),
        job_done: Some(read.job.clone()),
        snapshot: None,
        stats: json!({ "targets": read.targets, "unreached": read.unreached.len() }),
        failure: failure.map(|f| RunFailure { code: f.code().to_owned(), message: f.message() }),
        lines,
    };
    match failure {
        Some(failure) => drop(end_failed(site, catalogue, run, failure, end)?),
        None => catalogue.end_run(run, &end)?,
    }
    Ok(tell(catalogue, &site.evidence()?)??)
}

//! The order of a prune: look everywhere, write every plan, carry out what is ripe.

use std::collections::HashSet;

use super::outcome::{PlanView, PruneOutcome, TargetPrune};
use super::request::PruneRequest;
use crate::base::clock::Timestamp;
use crate::base::error::{Chain, Class, Classified};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::history::{self, Sight};
use crate::repository::access::{Repository, Target};
use crate::repository::sweep::{
    Draft, Mark, NoSteps, Report, Rules, Steps, SweepError, SweepRules, Sweeping, compact, draft,
    retire_damaged_plans, sweep, write,
};

/// Plans, and carries out what is ripe, on every target of the repository.
///
/// # Errors
/// When no target could be pruned: why the first could not. Of several that fail in part, the
/// outcome says why.
pub fn prune(
    repository: &Repository,
    request: &PruneRequest,
    cx: &Context,
) -> Result<PruneOutcome, EngineError> {
    prune_stepwise(repository, request, cx, &NoSteps)
}

/// As [`prune`]; `steps` is told of every step and may stop it.
///
/// # Errors
/// As [`prune`].
pub fn prune_stepwise(
    repository: &Repository,
    request: &PruneRequest,
    cx: &Context,
    steps: &dyn Steps,
) -> Result<PruneOutcome, EngineError> {
    if !request.dry_run && repository.admin().is_err() {
        return Err(SweepError::NotAdmin.into());
    }
    // What is left when something was taken away must not be thinned out as if it were all.
    history::look(repository, Sight::Part, cx)?.refuse()?;
    let targets = repository.targets();
    let mut works: Vec<Work<'_>> =
        targets.iter().enumerate().map(|(at, target)| Work::new(target, at)).collect();
    let others = |at: usize| -> Vec<Target> {
        let rest = targets.iter().enumerate().filter(|(other, _)| *other != at);
        rest.map(|(_, target)| target.clone()).collect()
    };
    let phases: [Phase; 3] = [
        |work, sweeping, request| work.plan(sweeping, request),
        |work, sweeping, _| work.write(sweeping),
        |work, sweeping, request| work.carry_out(sweeping, request),
    ];
    for phase in phases.iter().take(if request.dry_run { 1 } else { 3 }) {
        for work in works.iter_mut().filter(|work| work.error.is_none()) {
            let others = others(work.place);
            let sweeping = Sweeping {
                repository,
                target: work.target,
                others: &others,
                host: &request.host,
                clock: cx.clock.as_ref(),
                progress: cx.progress.as_ref(),
                cancel: &cx.cancel,
                steps,
            };
            if let Err(error) = phase(work, &sweeping, request) {
                if error.class() == Class::Cancelled {
                    return Err(EngineError::Cancelled);
                }
                work.error = Some(error);
            }
        }
    }
    let has_failed_everywhere = works.iter().all(|work| work.error.is_some());
    if has_failed_everywhere && let Some(error) = works.iter_mut().find_map(|work| work.error.take()) {
        return Err(error.into());
    }
    let targets = works.into_iter().map(Work::outcome).collect();
    Ok(PruneOutcome { dry_run: request.dry_run, targets })
}

type Phase = fn(&mut Work<'_>, &Sweeping<'_>, &PruneRequest) -> Result<(), SweepError>;

/// One target on its way.
struct Work<'t> {
    target: &'t Target,
    place: usize,
    now: Timestamp,
    draft: Option<Draft>,
    ready: Option<Mark>,
    plan: Option<PlanView>,
    report: Report,
    error: Option<SweepError>,
}

impl<'t> Work<'t> {
    fn new(target: &'t Target, place: usize) -> Self {
        Self {
            target,
            place,
            now: Timestamp::default(),
            draft: None,
            ready: None,
            plan: None,
            report: Report::default(),
            error: None,
        }
    }

    fn plan(&mut self, cx: &Sweeping<'_>, request: &PruneRequest) -> Result<(), SweepError> {
        let rules = Rules {
            // Who carries it out counts what is there.
            without: if request.dry_run { request.without.clone() } else { HashSet::new() },
            grace: request.grace,
            stale: request.stale,
            max_unused_percent: request.max_unused_percent,
            max_move_bytes: request.max_move_bytes,
            accept_more_than_half: request.accept_more_than_half,
            accept_clock: request.accept_clock,
        };
        // Who only looks leaves no trace, not even to ask for the time.
        self.now = if request.dry_run { cx.clock.now() } else { cx.target_now() };
        cx.progress.phase(&format!("look at {}", self.target.name), None, None);
        if !request.dry_run {
            retire_damaged_plans(cx, request.grace, self.now)?;
        }
        let draft = draft(cx, &rules, self.now)?;
        cx.progress.phase_finished("look");
        self.plan = Some(PlanView::of(&draft));
        self.draft = Some(draft);
        Ok(())
    }

    fn write(&mut self, cx: &Sweeping<'_>) -> Result<(), SweepError> {
        if let Some(draft) = self.draft.take() {
            write(cx, &draft)?;
            self.ready = Some(draft.mark);
        }
        Ok(())
    }

    fn carry_out(&mut self, cx: &Sweeping<'_>, request: &PruneRequest) -> Result<(), SweepError> {
        let rules = SweepRules {
            grace: request.grace,
            max_move_bytes: request.max_move_bytes,
            accept_clock: request.accept_clock,
        };
        sweep(cx, &rules, self.now, self.ready.take(), &mut self.report)?;
        compact(cx, request.join_runs_at, &mut self.report)?;
        // For the day when the disk is full. One that is full now has its room back at the next prune.
        drop(self.target.storage.keep_room());
        Ok(())
    }

    fn outcome(self) -> TargetPrune {
        TargetPrune {
            target: self.target.name.clone(),
            plan: self.plan,
            done: self.report,
            failed: self.error.as_ref().map(|error| Chain(error).to_string()),
        }
    }
}

//! `lifeboat prune`, `lifeboat repo prune`: what is condemned and why, what was freed.

use std::time::Duration;

use serde_json::json;

use super::policy::{occasion, site};
use crate::app::plumbing::host_name;
use crate::app::retain::{RetainRequest, retain_policy};
use crate::base::error::{Class, Failure};
use crate::base::size::{format_bytes, format_duration};
use crate::cli::args::{PruneArgs, RepoPruneArgs};
use crate::cli::commands::repo::plumbing;
use crate::cli::limits::limited;
use crate::cli::output::{JSON_VERSION, Output, escape, more};
use crate::cli::run::Session;
use crate::engine::prune::{PlanView, PruneOutcome, PruneRequest, TargetPrune};
use crate::repository::sweep::Reason;

/// At most this many packs are named to a person.
const PACKS_NAMED_MAX: usize = 100;

/// Forgets by the rules of policies, and prunes.
pub(in crate::cli) fn run_policy(session: &Session, args: &PruneArgs) -> Result<u8, Failure> {
    let site = limited(session, site(session)?, args.policy.as_deref())?;
    let occasion = occasion(session, args.occurrence.as_deref())?;
    let request = RetainRequest {
        dry_run: args.dry_run,
        accept_more_than_half: args.accept_more_than_half,
        accept_clock: args.accept_clock,
    };
    let out = session.output;
    let mut code = 0;
    for policy in site.policies(args.policy.as_deref())? {
        if args.policy.is_none() && policy.retention.is_none() {
            continue;
        }
        let done = retain_policy(&site, policy, request, occasion)?;
        code = code.max(done.class.map_or(0, |class| class.exit_code()));
        if out.is_json() {
            let exit = done.class.map_or(0, |class| class.exit_code());
            out.json(&json!({
                "version": JSON_VERSION, "exit": exit, "policy": policy.id.as_str(), "retain": done,
            }));
            continue;
        }
        super::forget::print(out, &done.forget);
        for target in done.prune.iter().flat_map(|pruned| &pruned.targets) {
            let grace = policy.retention.as_ref().map_or(PruneRequest::GRACE, |retention| retention.grace);
            print_target(out, target, request.dry_run, grace);
        }
        if let Some(failed) = &done.failed {
            out.talk(&format!("failed: {}", escape(failed)));
        }
    }
    Ok(code)
}

/// Runs it.
pub(super) fn run(session: &Session, args: &RepoPruneArgs) -> Result<u8, Failure> {
    let secret = args.at.secret.source().read(&session.cx)?;
    let request = args.request(args.host.clone().unwrap_or_else(host_name));
    let outcome = plumbing(session, &args.at.access).prune(&args.at.repos, &secret, &request)?;
    Ok(print(session.output, &outcome, &request))
}

fn print(out: Output, outcome: &PruneOutcome, request: &PruneRequest) -> u8 {
    let refused = outcome.targets.iter().any(|target| !target.done.refused.is_empty());
    let failed = outcome.targets.iter().any(|target| target.failed.is_some());
    let code = match (failed, refused) {
        (true, _) => Class::Partial.exit_code(),
        (false, true) => Class::Refused.exit_code(),
        (false, false) => 0,
    };
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "prune": outcome }));
        return code;
    }
    for target in &outcome.targets {
        print_target(out, target, outcome.dry_run, request.grace);
    }
    code
}

fn print_target(out: Output, target: &TargetPrune, dry_run: bool, grace: Duration) {
    let name = escape(&target.target);
    if let Some(failed) = &target.failed {
        out.talk(&format!("failed: {name}: {}", escape(failed)));
    }
    if let Some(plan) = &target.plan {
        out.line(&format!(
            "{name}: {} snapshots, {} in {} packs",
            plan.snapshots,
            format_bytes(plan.bytes),
            plan.packs
        ));
        print_plan(out, plan, dry_run);
        if !dry_run && !plan.condemned.is_empty() && !grace.is_zero() {
            let grace = format_duration(grace);
            out.line(&format!("  planned; a prune in {grace} or later carries it out"));
        }
    }
    let done = &target.done;
    if done.packs_deleted + done.packs_written + done.snapshots_deleted > 0 {
        out.line(&format!(
            "  deleted {} packs ({}), wrote {} ({}) with {} moved blobs",
            done.packs_deleted,
            format_bytes(done.bytes_deleted),
            done.packs_written,
            format_bytes(done.bytes_written),
            done.blobs_moved
        ));
    }
    if done.runs_joined > 0 {
        out.line(&format!("  joined {} index runs into {}", done.runs_joined, done.runs_written));
    }
    if done.packs_left > 0 {
        out.line(&format!("  {} packs are left for the next prune: --max-move was reached", done.packs_left));
    }
    if done.plans_waiting > 0 {
        out.line(&format!("  {} plans wait for their grace", done.plans_waiting));
    }
    for refused in done.refused.iter().take(10) {
        out.talk(&format!("refused: {}", escape(refused)));
    }
    if let Some(more) =
        more(u64::try_from(done.refused.len()).unwrap_or(u64::MAX), done.refused.len().min(10))
    {
        out.talk(&format!("refused: {more}"));
    }
}

fn print_plan(out: Output, plan: &PlanView, dry_run: bool) {
    for (reason, words) in [
        (Reason::Dead, "hold nothing that a snapshot needs"),
        (Reason::Unlisted, "are in no index: an interrupted run left them"),
        (Reason::Sparse, "are mostly unused; what is used is moved"),
        (Reason::Small, "are small and are joined"),
    ] {
        let chosen = || plan.condemned.iter().filter(|choice| choice.reason == reason);
        let count = chosen().count();
        if count > 0 {
            let bytes = format_bytes(chosen().map(|choice| choice.bytes).sum());
            let moved: u64 = chosen().map(|choice| choice.moved_bytes).sum();
            let moved = if moved > 0 { format!(", {} to move", format_bytes(moved)) } else { String::new() };
            out.line(&format!("  {count} packs ({bytes}{moved}) {words}"));
        }
    }
    if dry_run {
        for choice in plan.condemned.iter().take(PACKS_NAMED_MAX) {
            let reason = match choice.reason {
                Reason::Dead => "dead",
                Reason::Unlisted => "unlisted",
                Reason::Sparse => "sparse",
                Reason::Small => "small",
            };
            out.line(&format!("    {} {:>10}  {reason}", choice.pack.short(), format_bytes(choice.bytes)));
        }
        if let Some(more) = more(
            u64::try_from(plan.condemned.len()).unwrap_or(u64::MAX),
            plan.condemned.len().min(PACKS_NAMED_MAX),
        ) {
            out.line(&format!("    {more}"));
        }
    }
    if !plan.proposals.is_empty() {
        out.line(&format!("  {} proposals that nobody confirmed", plan.proposals.len()));
    }
    if plan.checkpoints > 0 {
        out.line(&format!("  {} checkpoints of runs that ended since", plan.checkpoints));
    }
    let kept = &plan.kept;
    out.line(&format!(
        "  kept: {} packs ({}, {} of it unused), {} younger than the grace, {} in earlier plans",
        kept.used,
        format_bytes(kept.used_bytes),
        format_bytes(kept.unused_bytes),
        kept.young,
        kept.condemned
    ));
    if kept.over_budget > 0 {
        let bytes = format_bytes(kept.over_budget_bytes);
        out.line(&format!("  {} packs wait: {bytes} to move would be over --max-move", kept.over_budget));
    }
    out.line(&format!("  frees {}", format_bytes(plan.freed_bytes)));
}

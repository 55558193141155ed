//! `lifeboat repo forget`: what is kept, what goes, and why.

use serde_json::json;

use crate::app::error::AppError;
use crate::base::display;
use crate::base::error::Failure;
use crate::cli::args::RepoForgetArgs;
use crate::cli::commands::repo::plumbing;
use crate::cli::output::{JSON_VERSION, Output, escape};
use crate::cli::run::Session;
use crate::engine::forget::{ForgetOutcome, Planned};

/// Runs it.
pub(super) fn run(session: &Session, args: &RepoForgetArgs) -> Result<u8, Failure> {
    let Some(request) = args.request() else {
        return Err(AppError::Usage {
            what: "neither a rule nor a snapshot was named: that would forget all but the newest".to_owned(),
            hint: "say what to keep, with --keep-last or --keep-daily, or name snapshots by their ids"
                .to_owned(),
        }
        .into());
    };
    let secret = args.at.secret.source().read(&session.cx)?;
    let outcome = plumbing(session, &args.at.access).forget(&args.at.repos, &secret, &request)?;
    let code = outcome.class().map_or(0, |class| class.exit_code());
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "forget": outcome }));
    } else {
        print(out, &outcome);
    }
    Ok(code)
}

pub(super) fn print(out: Output, outcome: &ForgetOutcome) {
    let mut plan: Vec<&Planned> = outcome.plan.iter().collect();
    // Sets one after the other, each the oldest first.
    plan.sort_by(|a, b| a.set.cmp(&b.set));
    for group in plan.chunk_by(|a, b| a.set == b.set) {
        if let Some(set) = group.first().and_then(|planned| planned.set.as_ref()) {
            let roots: Vec<String> = set.roots.iter().map(|root| display::path(root)).collect();
            let policy =
                set.policy.as_deref().map_or(String::new(), |policy| format!(" ({})", escape(policy)));
            out.line(&format!("{}{policy} {}", escape(&set.host), roots.join(" ")));
        }
        for planned in group {
            let when = planned.captured_at.map_or("unreadable".to_owned(), |at| at.readable());
            let kind = planned.kind.map_or("", |kind| kind.word());
            out.line(&format!(
                "  {}  {}  {when:<23}  {kind:<12}  {}",
                if planned.keep { "keep  " } else { "remove" },
                planned.id.short(),
                escape(&planned.reasons.join(", ")),
            ));
        }
    }
    let removed = outcome.plan.iter().filter(|planned| !planned.keep).count();
    let kept = outcome.plan.len() - removed;
    if outcome.dry_run {
        out.line(&format!("{removed} to remove, {kept} to keep; nothing was removed"));
    } else if removed == 0 {
        out.line(&format!("nothing to remove, {kept} kept"));
    }
    for target in &outcome.targets {
        let name = escape(&target.target);
        out.line(&format!("{name}: {} removed; prune frees what only they held", target.gone.len()));
        for refused in &target.refused {
            out.talk(&format!("refused: {name}: {}", escape(refused)));
        }
        if let Some(failed) = &target.failed {
            out.talk(&format!("failed: {name}: {}", escape(failed)));
        }
    }
    for damaged in &outcome.damaged {
        out.talk(&format!("damaged: snapshot {}", escape(damaged)));
    }
}

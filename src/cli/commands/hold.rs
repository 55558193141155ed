//! `freeze`, `unfreeze`, `hold`: what keeps old snapshots from being removed.

use serde_json::json;

use super::policy::site;
use crate::app::holds;
use crate::base::error::Failure;
use crate::catalog::holds::Hold;
use crate::cli::args::{BecauseArgs, FreezeArgs, HoldCommand};
use crate::cli::output::{JSON_VERSION, escape};
use crate::cli::run::Session;

/// `freeze`.
pub(in crate::cli) fn freeze(session: &Session, args: &FreezeArgs) -> Result<u8, Failure> {
    let (reason, by) = because(session, &args.because);
    Ok(print(session, &holds::freeze(&site(session)?, args.policy.as_deref(), reason, &by)?))
}

/// `unfreeze`.
pub(in crate::cli) fn unfreeze(session: &Session, args: &FreezeArgs) -> Result<u8, Failure> {
    let (reason, by) = because(session, &args.because);
    Ok(print(session, &holds::unfreeze(&site(session)?, args.policy.as_deref(), reason, &by)?))
}

/// `hold`.
pub(in crate::cli) fn run(session: &Session, command: &HoldCommand) -> Result<u8, Failure> {
    let site = site(session)?;
    match command {
        HoldCommand::List { policy, all } => {
            let found = holds::list(&site, policy.as_deref(), *all)?;
            if found.is_empty() && !session.output.is_json() {
                session.output.line("nothing is held");
            }
            Ok(print(session, &found))
        }
        HoldCommand::Release { id, because: why } => {
            let (reason, by) = because(session, why);
            Ok(print(session, &[holds::release_one(&site, id, reason, &by)?]))
        }
    }
}

/// The reason, and who gives it.
pub(super) fn because<'a>(session: &Session, args: &'a BecauseArgs) -> (&'a str, String) {
    (&args.reason, args.by.clone().unwrap_or_else(|| session.place.environment.user()))
}

fn print(session: &Session, holds: &[Hold]) -> u8 {
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "holds": holds }));
        return 0;
    }
    for hold in holds {
        out.line(&format!(
            "{}  {:<12} {:<10} since {} by {}: {}",
            hold.id,
            escape(&hold.policy),
            hold.kind,
            hold.placed_at.readable(),
            escape(&hold.placed_by),
            escape(&hold.reason)
        ));
        if let (Some(by), Some(at)) = (&hold.released_by, hold.released_at) {
            let because = hold.released_because.as_deref().unwrap_or_default();
            out.line(&format!("  released {} by {}: {}", at.readable(), escape(by), escape(because)));
        }
    }
    0
}

//! `lifeboat daemon`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::json;

use super::policy::site;
use crate::app::change::unagreed;
use crate::app::daemon::{Applied, DaemonStart, Reload, RunDaemon};
use crate::app::error::AppError;
use crate::app::site::{Where, configuration};
use crate::base::error::Failure;
use crate::cli::args::DaemonArgs;
use crate::cli::output::{JSON_VERSION, escape};
use crate::cli::run::Session;

/// Reads the configuration, shows all its problems, and runs the schedule.
pub(in crate::cli) fn run(session: &Session, args: &DaemonArgs, daemon: RunDaemon) -> Result<u8, Failure> {
    if let Err(problems) = configuration(&session.place) {
        for problem in &problems.0 {
            session.output.talk(&problem.to_string());
        }
        return Err(problems.into());
    }
    let executable = std::env::current_exe().map_err(|source| AppError::Unreadable {
        what: "this program",
        path: PathBuf::from("lifeboat"),
        source,
    })?;
    daemon(DaemonStart {
        site: site(session)?,
        tick: Duration::from_secs(args.tick_seconds),
        once: args.once,
        executable,
        reload: reload(session.place.clone()),
        reload_asked: reload_flag(),
        overseer: session.place.environment.overseer.clone(),
    })?;
    Ok(0)
}

/// `apply`: the daemon goes by the files as they are now.
pub(in crate::cli) fn apply(session: &Session) -> Result<u8, Failure> {
    if let Err(problems) = configuration(&session.place) {
        for problem in &problems.0 {
            session.output.talk(&problem.to_string());
        }
        return Err(problems.into());
    }
    let out = session.output;
    let site = site(session)?;
    let applied = crate::app::daemon::apply(&site)?;
    let unagreed = unagreed(&site)?;
    let pid = match applied {
        Applied::By(pid) => Some(pid),
        Applied::AtNextStart => None,
    };
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": 0, "daemon": pid, "weaker": unagreed }));
    } else {
        out.line(&match pid {
            Some(pid) => format!("the daemon (process {pid}) goes by it now; nothing runs because of it"),
            None => {
                "the configuration is good; no daemon runs, the next one reads it at its start".to_owned()
            }
        });
    }
    if !unagreed.is_empty() {
        out.talk("weaker than what was promised; until somebody agrees with `lifeboat hold release`, nothing is removed:");
        for hold in &unagreed {
            out.talk(&format!("  {}: {} (hold {})", escape(&hold.policy), escape(&hold.reason), hold.id));
        }
    }
    Ok(0)
}

fn reload(place: Where) -> Reload {
    Box::new(move || configuration(&place))
}

/// Raised by SIGHUP, which ends any other program.
fn reload_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    // Only a signal that may not be caught could fail here.
    drop(signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&flag)));
    flag
}

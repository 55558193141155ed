//! `lifeboat daemon`.

use std::path::PathBuf;
use std::time::Duration;

use super::policy::site;
use crate::app::daemon::{DaemonStart, RunDaemon};
use crate::app::error::AppError;
use crate::app::site::configuration;
use crate::base::error::Failure;
use crate::cli::args::DaemonArgs;
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
    })?;
    Ok(0)
}

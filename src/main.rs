//! The process: arguments to the terminal face, its answer to the exit code. The one place that
//! knows both faces, the terminal and the scheduler.

use std::process::ExitCode;
use std::sync::Arc;

use lifeboat::app::daemon::DaemonStart;
use lifeboat::base::error::Failure;
use lifeboat::daemon::{self, DaemonOptions, Life};

fn main() -> ExitCode {
    ExitCode::from(lifeboat::cli::run(std::env::args_os(), run_daemon))
}

fn run_daemon(start: DaemonStart) -> Result<(), Failure> {
    daemon::run(DaemonOptions {
        configuration: start.site.configuration,
        state: start.site.state,
        clock: start.site.cx.clock,
        progress: Arc::clone(&start.site.cx.progress),
        cancel: start.site.cx.cancel,
        tick: start.tick,
        life: if start.once { Life::Once } else { Life::UntilStopped },
        executable: start.executable,
        reload: start.reload,
        reload_asked: start.reload_asked,
        overseer: start.overseer,
    })?;
    Ok(())
}

//! From the process's arguments to its exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::ErrorKind;

use super::args::{Cli, Command};
use super::commands;
use super::output::{Output, Style};
use crate::app::places::Environment;
use crate::base::cancel::Cancel;
use crate::engine::context::Context;

/// What every command is given.
pub(super) struct Session {
    pub(super) output: Output,
    pub(super) cx: Context,
    pub(super) environment: Environment,
    pub(super) config: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
}

/// Runs one command line. The answer is the process's exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error; a closed pipe isn't either.
            drop(error.print());
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => 2,
            };
        }
    };
    let style = if cli.global.json { Style::Json } else { Style::Text };
    let output = Output { style, quiet: cli.global.quiet };
    let mut cx = Context::quiet();
    cx.cancel = Cancel::from_flag(stop_flag());
    cx.progress = Arc::from(super::bars::printer(output));
    let session = Session {
        output,
        cx,
        environment: environment(),
        config: cli.global.config,
        state_dir: cli.global.state_dir,
    };
    let result = match cli.command {
        Command::Repo(command) => commands::repo::run(&session, command),
    };
    match result {
        Ok(code) => code,
        Err(failure) => output.failure(&failure),
    }
}

/// Raised by the first SIGINT or SIGTERM; a second one ends the process at once.
fn stop_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Only a signal that may not be caught could fail here.
        drop(signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag)));
        drop(signal_hook::flag::register(signal, Arc::clone(&flag)));
    }
    flag
}

/// The one place that reads the environment.
fn environment() -> Environment {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Environment {
        state_dir: path("LIFEBOAT_STATE_DIR"),
        config: path("LIFEBOAT_CONFIG"),
        home: path("HOME"),
        is_root: rustix::process::geteuid().is_root(),
    }
}

//! From the process's arguments to its exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::ErrorKind;

use super::args::{Cli, Command};
use super::commands;
use super::limits;
use super::output::{Output, Style, settled};
use crate::app::daemon::RunDaemon;
use crate::app::limits::{Traffic, step_back};
use crate::app::places::{Environment, state_dir};
use crate::app::site::Where;
use crate::base::cancel::Cancel;
use crate::base::core_dump;
use crate::base::error::Failure;
use crate::base::service::Overseer;
use crate::engine::context::Context;
use crate::policy::model::Limits;

/// What every command is given.
pub(super) struct Session {
    pub(super) output: Output,
    pub(super) cx: Context,
    pub(super) place: Where,
    /// What the command line says of the machine.
    pub(super) limits: Limits,
    /// And of the targets.
    pub(super) traffic: Traffic,
}

impl Session {
    /// The state folder as flags and environment name it, without a configuration.
    pub(super) fn state_folder(&self) -> PathBuf {
        state_dir(self.place.state_dir.clone(), self.place.environment.clone())
    }
}

/// Runs one command line. The answer is the process's exit code. A defect of ours ends it with one
/// line and exit code 1, never with a backtrace.
pub fn run(arguments: impl IntoIterator<Item = OsString>, daemon: RunDaemon) -> u8 {
    // Before there is a secret. Where the system doesn't let us, the work goes on all the same.
    drop(core_dump::forbid());
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    std::panic::set_hook(Box::new(|defect| {
        let place = defect.location().map(ToString::to_string).unwrap_or_default();
        let what = defect.payload_as_str().unwrap_or("no message");
        let output = Output { style: Style::Text, quiet: true };
        output
            .talk(&format!("error[E9999]: a defect of lifeboat at {place}: {}", super::output::escape(what)));
        output.talk("  next: please report this line; what was stored so far is kept");
    }));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_guarded(arguments, daemon))).unwrap_or(1)
}

fn run_guarded(arguments: Vec<OsString>, daemon: RunDaemon) -> u8 {
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
    cx.progress = super::bars::printer(output);
    let traffic = match limits::traffic(&cli.global.limits, &cli.command) {
        Ok(traffic) => traffic,
        Err(failure) => return output.failure(&failure),
    };
    let limits = limits::of(&cli.global.limits);
    // Before there are threads: each takes its starter's place.
    step_back(limits, &mut cx);
    let session = Session {
        output,
        cx,
        limits,
        traffic,
        place: Where {
            config: cli.global.config,
            state_dir: cli.global.state_dir,
            environment: environment(),
        },
    };
    let result = dispatch(&session, cli.command, daemon);
    // Nothing is told of the work behind its result.
    drop(session);
    match result {
        Ok(code) => settled(output, code),
        Err(failure) => output.failure(&failure),
    }
}

fn dispatch(session: &Session, command: Command, daemon: RunDaemon) -> Result<u8, Failure> {
    match command {
        Command::Init(args) => commands::operate::init(session, &args),
        Command::Policy(command) => commands::operate::policy(session, &command),
        Command::Check(args) => commands::policy::check(session, &args),
        Command::Plan(args) => commands::policy::show_plan(session, &args),
        Command::Run(args) => commands::policy::run(session, &args),
        Command::Status(args) => commands::policy::status(session, &args),
        Command::Exposure(args) => commands::policy::exposure(session, &args),
        Command::Snapshots(args) => commands::policy::list_snapshots(session, &args),
        Command::Ls(args) => commands::ls::run(session, &args),
        Command::Find(args) => commands::find::run(session, &args),
        Command::Diff(args) => commands::diff::run(session, &args),
        Command::Mount(args) => commands::mount::run(session, &args),
        Command::Dump(args) => commands::dump::run(session, &args),
        Command::Restore(args) => commands::policy::restore(session, &args),
        Command::Verify(args) => commands::policy::verify(session, &args),
        Command::Scrub(args) => commands::scrub::run_policy(session, &args),
        Command::Prune(args) => commands::prune::run_policy(session, &args),
        Command::Freeze(args) => commands::hold::freeze(session, &args),
        Command::Unfreeze(args) => commands::hold::unfreeze(session, &args),
        Command::Watch => commands::incident::look(session),
        Command::Incident(command) => commands::incident::run(session, &command),
        Command::Notify(command) => commands::incident::notify(session, &command),
        Command::Hold(command) => commands::hold::run(session, &command),
        Command::Repair(args) => commands::repair::run_policy(session, &args),
        Command::RebuildCatalogue(args) => commands::policy::rebuild(session, args.policy.as_deref()),
        Command::Recover(args) => commands::operate::recover(session, &args),
        Command::Doctor(args) => commands::operate::doctor(session, &args),
        Command::SupportBundle(args) => commands::operate::support(session, &args),
        Command::Metrics(args) => commands::operate::numbers(session, &args),
        Command::Completions(args) => Ok(commands::operate::completions(session, &args)),
        Command::Man(args) => commands::operate::man(session, &args),
        Command::Explain(args) => commands::explain::run(session, &args),
        Command::Target(command) => commands::target::run(session, &command),
        Command::Key(command) => commands::key::run(session, &command),
        Command::Repo(command) => commands::repo::run(session, command.into_inner()),
        Command::Demo(args) => commands::demo::run(session, &args),
        Command::Drill(command) => commands::proof::drill(session, &command),
        Command::Evidence(command) => commands::proof::evidence(session, &command),
        Command::Report(args) => commands::proof::report(session, &args),
        Command::Apply => commands::daemon::apply(session),
        Command::Daemon(args) => commands::daemon::run(session, &args, daemon),
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
        overseer: Overseer { socket: std::env::var_os("NOTIFY_SOCKET") },
        user: ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| {
            let name = std::env::var(name).ok()?;
            (!name.is_empty()).then_some(name)
        }),
    }
}

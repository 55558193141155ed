//! From the claim on the state folder to the last line: start, turn after turn, orderly stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::error::DaemonError;
use super::journal::Journal;
use super::lane::Lane;
use super::ledger::{Going, Records};
use super::lookout::Lookout;
use super::runner::Runner;
use super::starter::{SameBinary, Starter};
use super::tick::Watch;
use crate::app::daemon::Reload;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::Chain;
use crate::base::progress::Progress;
use crate::base::service::{Overseer, Sign};
use crate::catalog::Catalog;
use crate::catalog::state::StateFolder;
use crate::evidence::EvidenceLog;
use crate::policy::model::Configuration;

/// The clock is looked at this often at least, whatever was asked for.
const TICK_MAX: Duration = Duration::from_secs(30);
/// Between looks at children and at the wish to stop.
const STEP: Duration = Duration::from_millis(500);
/// So often the overseer is told that it lives.
const SIGN_EVERY: Duration = Duration::from_secs(10);
/// A clock that goes back further than this is told.
const STEP_BACK: Duration = Duration::from_secs(5 * 60);
/// Children get this long to end in order when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// And this long to be gone once killed.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How long the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until it is asked to stop.
    UntilStopped,
    /// Until what is due at its start is done.
    Once,
}

/// What the daemon is given.
pub struct DaemonOptions {
    /// What was promised, as read at the start. Children read it again from its folder.
    pub configuration: Configuration,
    /// Where catalogue and evidence are.
    pub state: StateFolder,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Hears what a person should know.
    pub progress: Arc<dyn Progress>,
    /// Raised by SIGTERM and SIGINT.
    pub cancel: Cancel,
    /// How often the clock is looked at; 30 s at most.
    pub tick: Duration,
    /// How long it lives.
    pub life: Life,
    /// This program, for the children.
    pub executable: PathBuf,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Raised by SIGHUP: that is to be done.
    pub reload_asked: Arc<AtomicBool>,
    /// Who looks after this service.
    pub overseer: Overseer,
}

/// Lives until asked to stop.
///
/// # Errors
/// State in use, when the folder has a daemon; a catalogue or an evidence log that cannot be
/// used; usage, when there is no policy. Later failures of these are told to `progress` and tried
/// again at the next tick; with [`Life::Once`] they are returned.
pub fn run(options: DaemonOptions) -> Result<(), DaemonError> {
    let starter = SameBinary {
        executable: options.executable.clone(),
        config_dir: options.configuration.dir.clone(),
        state_dir: options.state.root().to_owned(),
    };
    run_with(options, Box::new(starter))
}

/// As [`run`], with another way to start processes.
pub(super) fn run_with(options: DaemonOptions, starter: Box<dyn Starter>) -> Result<(), DaemonError> {
    if options.configuration.policies.is_empty() {
        return Err(DaemonError::NoPolicy { dir: options.configuration.dir });
    }
    options.state.create()?;
    let claim = options.state.claim_daemon()?;
    let sign_key = options.configuration.site.sign_key_file.as_deref();
    let records = Records {
        catalogue: Catalog::open(&options.state.catalogue())?,
        evidence: EvidenceLog::open(&options.state.evidence(), sign_key, Arc::clone(&options.clock))?,
        clock: Arc::clone(&options.clock),
        journal: Journal::new(Arc::clone(&options.progress)),
    };
    let lanes = Lane::all(&options.configuration);
    records.configured(&options.configuration, "start")?;
    records.evidence.append(
        "daemon.started",
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "policies": options.configuration.policies.len(),
            "drills": options.configuration.drills.len(),
        }),
    )?;
    let runner = Runner::resume(starter, options.configuration.site.concurrency, &lanes, &records)?;
    let watches = watches(lanes, &records)?;
    let daemon = Daemon {
        records,
        watches,
        runner,
        lookout: Lookout::default(),
        configuration: options.configuration,
        state: options.state,
        reload: options.reload,
        reload_asked: options.reload_asked,
        overseer: options.overseer,
        told_at: None,
        progress: options.progress,
        cancel: options.cancel,
        tick: options.tick.min(TICK_MAX),
        life: options.life,
        trouble: None,
    };
    let result = daemon.live();
    drop(claim);
    result
}

fn watches(lanes: Vec<Lane>, records: &Records) -> Result<Vec<Watch>, DaemonError> {
    lanes.into_iter().map(|lane| Watch::resume(lane, records)).collect()
}

struct Daemon {
    records: Records,
    watches: Vec<Watch>,
    runner: Runner,
    lookout: Lookout,
    configuration: Configuration,
    state: StateFolder,
    reload: Reload,
    reload_asked: Arc<AtomicBool>,
    overseer: Overseer,
    /// When the overseer was last told that it lives.
    told_at: Option<Duration>,
    progress: Arc<dyn Progress>,
    cancel: Cancel,
    tick: Duration,
    life: Life,
    /// What failed at the last turn, so that a failure that lasts is told once.
    trouble: Option<String>,
}

impl Daemon {
    fn live(mut self) -> Result<(), DaemonError> {
        self.overseer.tell(Sign::Ready);
        self.records.journal.tell(format!("version {} looks at the clock", env!("CARGO_PKG_VERSION")));
        let mut last_look: Option<Timestamp> = None;
        let mut result = Ok(());
        while !self.cancel.is_cancelled() {
            let now = self.records.clock.now();
            if let Some(last) = last_look.filter(|last| last.since(now) > STEP_BACK) {
                let recorded = self.records.stepped_back(last, now);
                self.tell(recorded, false);
            }
            // The wall clock: it goes on while the machine sleeps, and may be set back.
            let is_time = last_look.is_none_or(|last| now < last || now.since(last) >= self.tick);
            let turn = self.turn(is_time, last_look.is_none());
            self.show_life(is_time);
            if is_time {
                last_look = Some(now);
            }
            if self.life == Life::Once && (turn.is_err() || self.runner.is_idle()) {
                result = turn;
                break;
            }
            self.tell(turn, is_time);
            self.records.clock.sleep(STEP);
        }
        result.and(self.stop())
    }

    /// Looks after the children and, when it is time, at the clock.
    fn turn(&mut self, is_time: bool, is_first: bool) -> Result<(), DaemonError> {
        if self.reload_asked.swap(false, Ordering::Relaxed) {
            self.read_again()?;
        }
        let has_changed = self.runner.make_way(self.state.is_restoring());
        let has_ended = self.runner.reap(&self.records)?;
        if has_ended {
            self.lookout.stir();
        }
        if is_time && self.life == Life::UntilStopped {
            self.lookout.turn(self.runner.starter(), &self.records)?;
        }
        if !is_time && !has_ended && !has_changed {
            return Ok(());
        }
        self.runner.settle(&self.records)?;
        if is_time && (is_first || self.life == Life::UntilStopped) {
            self.look()?;
        }
        self.runner.dispatch(&self.records)
    }

    /// Goes by the files as they are now, if they are good. What goes on, goes on; what waits and is not
    /// promised any more is recorded as missed; nothing starts because of it.
    fn read_again(&mut self) -> Result<(), DaemonError> {
        let configuration = match (self.reload)() {
            Ok(configuration) if configuration.policies.is_empty() => {
                let error = DaemonError::NoPolicy { dir: configuration.dir };
                self.progress.warn(Chain(&error).to_string());
                return self.records.refused(&[error.to_string()]);
            }
            Ok(configuration) => configuration,
            Err(problems) => {
                self.progress.warn(format!("the configuration stays as it was:\n{problems}"));
                let lines: Vec<String> =
                    problems.0.iter().map(|p| format!("{} {}:{}", p.code, p.file, p.line)).collect();
                return self.records.refused(&lines);
            }
        };
        let lanes = Lane::all(&configuration);
        self.runner.reconfigure(configuration.site.concurrency, &lanes, &self.records)?;
        self.watches = watches(lanes, &self.records)?;
        self.records.configured(&configuration, "signal")?;
        self.configuration = configuration;
        Ok(())
    }

    fn look(&mut self) -> Result<(), DaemonError> {
        let now = self.records.clock.now();
        // Asked for once, when the first is due; what is added below is added to it.
        let mut going: Option<Vec<Going>> = None;
        for watch in self.watches.iter_mut().filter(|watch| watch.is_due(now)) {
            let going = match &mut going {
                Some(going) => going,
                none => none.insert(self.runner.going(&self.records)?),
            };
            if let Some(key) = watch.look(&self.records, now, going)? {
                going.push(Going { key: key.clone(), since: now });
                self.runner.enqueue(key, now);
            }
        }
        Ok(())
    }

    /// For the overseer, and for whoever asks whether the clock is looked at.
    fn show_life(&mut self, is_time: bool) {
        let now = self.records.clock.monotonic();
        if self.told_at.is_none_or(|at| now.saturating_sub(at) >= SIGN_EVERY) {
            self.told_at = Some(now);
            self.overseer.tell(Sign::Alive);
        }
        if is_time {
            // On a full disk it may fail; then whoever asks is told that something is wrong, and rightly.
            drop(std::fs::write(self.state.ticked(), b"."));
        }
    }

    fn tell(&mut self, turn: Result<(), DaemonError>, is_time: bool) {
        match turn {
            Ok(()) if is_time => self.trouble = None,
            Ok(()) => {}
            Err(error) => {
                let text = Chain(&error).to_string();
                if self.trouble.as_ref() != Some(&text) {
                    self.progress.warn(text.clone());
                    self.trouble = Some(text);
                }
            }
        }
    }

    /// No new children; those there are get their time to end in order.
    fn stop(mut self) -> Result<(), DaemonError> {
        self.overseer.tell(Sign::Stopping);
        self.records.journal.tell("stopping".to_owned());
        let ended_early = self.runner.running();
        self.runner.terminate_all();
        self.lookout.terminate();
        if !self.wait_for_children(STOP_GRACE) {
            self.runner.kill_all();
            self.lookout.kill();
            self.wait_for_children(KILL_GRACE);
        }
        let settled = self.runner.settle(&self.records);
        let data = json!({ "version": env!("CARGO_PKG_VERSION"), "ended_early": ended_early });
        let proven = self.records.evidence.append("daemon.stopped", data);
        settled.and(proven.map(drop).map_err(DaemonError::from))
    }

    /// Answers whether all are gone in time.
    fn wait_for_children(&mut self, grace: Duration) -> bool {
        let clock = Arc::clone(&self.records.clock);
        let until = clock.monotonic().saturating_add(grace);
        while self.runner.await_end() {
            if clock.monotonic() >= until {
                return false;
            }
            clock.sleep(STEP);
        }
        true
    }
}

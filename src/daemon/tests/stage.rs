//! What the plays need: a clock that brings events, and processes that live in its time.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono_tz::Tz;

use crate::app::daemon::Reload;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::base::durable::Lock;
use crate::base::progress::Silent;
use crate::catalog::Catalog;
use crate::catalog::occurrences::{Occurrence, OccurrenceKey, Period};
use crate::catalog::process::Holder;
use crate::catalog::runs::{Failure, NewRun, Run, RunEnd, RunId};
use crate::catalog::state::StateFolder;
use crate::catalog::words::{Cause, RunState};
use crate::daemon::error::DaemonError;
use crate::daemon::lifecycle::{DaemonOptions, Life, run_with};
use crate::daemon::starter::{Child, Exit, Starter};
use crate::evidence::line::Line;
use crate::policy::load::{Machine, Observed, load};
use crate::policy::model::Configuration;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

/// What happens at a moment of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// SIGTERM.
    Stop,
    /// Somebody sets the wall clock.
    StepTo(Timestamp),
    /// Somebody writes a file of the configuration, and sends SIGHUP.
    Edit(&'static str, &'static str),
    /// A restore goes on for so long.
    Restore(Duration),
    /// SIGKILL, once the daemon has asked for the time so often again.
    Kill(u32),
}

/// What unwinds a daemon that was killed.
struct Killed;

/// A process that the played children pass for; they are dead as soon as it is.
#[derive(Debug)]
struct Host(std::process::Child);

impl Host {
    fn new() -> Self {
        let mut command = std::process::Command::new("cat");
        let command = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        Self(command.spawn().expect("cat starts"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How a played process behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How long it works.
    pub(super) lasts: Duration,
    /// How its end looks.
    pub(super) end: Finale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finale {
    /// Its run succeeds.
    Success,
    /// It dies in the middle of its run.
    Crash,
    /// The same, and it begins every attempt as a new run.
    CrashAnew,
    /// Its attempt fails for a reason that passes.
    Unreached,
    /// It ends with this code and records nothing.
    Mute(i32),
    /// It never ends and doesn't listen.
    Deaf,
    /// It can't be started.
    Absent,
}

/// One state folder, one clock, any number of daemons one after the other.
pub(super) struct Stage {
    dir: tempfile::TempDir,
    pub(super) catalogue: Arc<Catalog>,
    pub(super) clock: Arc<EventClock>,
    pub(super) play: Arc<Mutex<Play>>,
}

/// What the processes do and did.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) manner: Manner,
    /// Manners of the next processes, before `manner` holds.
    pub(super) next: VecDeque<Manner>,
    pub(super) started: Vec<OccurrenceKey>,
    pub(super) alive: Vec<OccurrenceKey>,
    pub(super) most_alive: usize,
    /// How often all promises were looked at.
    pub(super) looks: u32,
    /// Whose number the processes have, when it is not ours.
    host: Option<Host>,
    /// Whether the machine goes with its daemon. Else its processes notice, and end in order.
    is_power_lost: bool,
}

/// A look that is over at once.
struct Look;

impl Child for Look {
    fn poll(&mut self) -> io::Result<Option<Exit>> {
        Ok(Some(Exit::Code(0)))
    }

    fn terminate(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage {
    pub(super) fn new(now: &str, zone: Tz, schedule: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let files = [
            ("lifeboat.toml", format!("site = \"hq\"\ntimezone = \"{zone}\"\n")),
            (
                "policies/web.toml",
                format!(
                    "source = [\"/srv/web\"]\n[schedule]\n{schedule}\n[targets.disk]\nurl = \"file:///mnt/b\"\n"
                ),
            ),
        ];
        for (name, text) in files {
            let path = dir.path().join("config").join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let state = StateFolder::new(dir.path().join("state"));
        state.create().expect("made");
        let catalogue = Arc::new(Catalog::open(&state.catalogue()).expect("opened"));
        let clock = Arc::new(EventClock {
            clock: ManualClock::new(at(now)),
            events: Mutex::new(VecDeque::new()),
            cancel: Mutex::new(Cancel::new()),
            config: dir.path().join("config"),
            state: state.clone(),
            reload_asked: Arc::default(),
            restore: Mutex::new(None),
            kill: Mutex::new(None),
            strides: AtomicU32::new(1),
            turn: Mutex::new((SystemClock::new(), None, Duration::ZERO)),
        });
        let manner = Manner { lasts: 5 * MINUTE, end: Finale::Success };
        let play = Play {
            manner,
            next: VecDeque::new(),
            started: Vec::new(),
            alive: Vec::new(),
            most_alive: 0,
            looks: 0,
            host: None,
            is_power_lost: false,
        };
        Self { dir, catalogue, clock, play: Arc::new(Mutex::new(play)) }
    }

    pub(super) fn state(&self) -> StateFolder {
        StateFolder::new(self.dir.path().join("state"))
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    pub(super) fn add_file(&self, name: &str, text: &str) {
        let path = self.dir.path().join("config").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub(super) fn configuration(&self) -> Configuration {
        self.reload()().expect("a good configuration")
    }

    fn reload(&self) -> Reload {
        let dir = self.dir.path().join("config");
        let machine = Machine { host: "hq".to_owned(), timezone: Tz::UTC };
        Box::new(move || load(&dir, &machine, &Observed::default()))
    }

    /// A daemon's life, until it is stopped after so much time.
    pub(super) fn live(&self, time: Duration) {
        self.live_with(&[(time, Event::Stop)]).expect("an orderly life");
    }

    /// A daemon's life with events, each so long after its start.
    pub(super) fn live_with(&self, events: &[(Duration, Event)]) -> Result<(), DaemonError> {
        let start = self.clock.monotonic();
        let mut events: Vec<_> = events.iter().map(|(after, event)| (start + *after, *event)).collect();
        events.sort_by_key(|(at, _)| *at);
        *lock(&self.clock.events) = events.into();
        self.start(Life::UntilStopped)
    }

    /// A daemon's life that ends in the middle of something, after so much time and so many more looks
    /// at the clock. Its processes are lost with it, or end in order because it is gone.
    pub(super) fn be_killed(&self, time: Duration, looks: u32, is_power_lost: bool) {
        let mut play = self.play();
        play.host = Some(Host::new());
        play.is_power_lost = is_power_lost;
        drop(play);
        let events = [(time, Event::Kill(looks))];
        let events = if time.is_zero() {
            *lock(&self.clock.kill) = Some(looks);
            &[]
        } else {
            &events[..]
        };
        let life = AssertUnwindSafe(|| self.live_with(events));
        let end = catch_unwind(life).expect_err("killed");
        if !end.is::<Killed>() {
            resume_unwind(end);
        }
        self.play().host = None;
    }

    pub(super) fn start(&self, life: Life) -> Result<(), DaemonError> {
        let cancel = Cancel::new();
        *lock(&self.clock.cancel) = cancel.clone();
        let options = DaemonOptions {
            configuration: self.configuration(),
            state: self.state(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            progress: Arc::new(Silent),
            cancel,
            tick: Duration::from_secs(20),
            life,
            executable: "unused".into(),
            reload: self.reload(),
            reload_asked: Arc::clone(&self.clock.reload_asked),
            overseer: crate::base::service::Overseer::default(),
        };
        let starter = PlayedStarter {
            play: Arc::clone(&self.play),
            catalogue: Arc::clone(&self.catalogue),
            clock: Arc::clone(&self.clock),
        };
        run_with(options, Box::new(starter))
    }

    pub(super) fn play(&self) -> MutexGuard<'_, Play> {
        lock(&self.play)
    }

    pub(super) fn occurrences(&self) -> Vec<Occurrence> {
        self.catalogue.occurrences_in(always()).expect("read")
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        self.catalogue.runs_in(always()).expect("read")
    }

    /// The kinds of the evidence lines, and their data.
    pub(super) fn evidence(&self) -> Vec<(String, serde_json::Value)> {
        let folder = std::fs::read_dir(self.state().evidence().join("log")).expect("a log");
        let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        let texts = files.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect::<String>();
        let lines = texts.lines().map(|line| Line::decode(line.as_bytes()).expect("a line"));
        lines.map(|line| (line.kind, line.data)).collect()
    }
}

fn always() -> Period {
    Period { from: at("1990-01-01T00:00:00Z"), to: at("2200-01-01T00:00:00Z") }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A manual clock whose sleeps bring the events of the play.
pub(super) struct EventClock {
    pub(super) clock: ManualClock,
    events: Mutex<VecDeque<(Duration, Event)>>,
    cancel: Mutex<Cancel>,
    config: PathBuf,
    state: StateFolder,
    reload_asked: Arc<AtomicBool>,
    /// Until when, and what says so.
    restore: Mutex<Option<(Duration, Lock)>>,
    /// After so many looks the daemon is no more.
    kill: Mutex<Option<u32>>,
    /// So many sleeps are taken at once.
    strides: AtomicU32,
    /// The real clock, when the daemon last slept, and the longest that it took from then to the next sleep.
    turn: Mutex<(SystemClock, Option<Duration>, Duration)>,
}

impl EventClock {
    /// Takes so many sleeps at once: a year is long.
    pub(super) fn hurry(&self, strides: u32) {
        self.strides.store(strides, Ordering::Relaxed);
    }

    /// The longest that the daemon took between two sleeps, by the real clock.
    pub(super) fn longest_turn(&self) -> Duration {
        lock(&self.turn).2
    }

    fn measure(&self) {
        let mut turn = lock(&self.turn);
        let now = turn.0.monotonic();
        if let Some(last) = turn.1 {
            turn.2 = turn.2.max(now.saturating_sub(last));
        }
        turn.1 = Some(now);
    }

    fn count(&self) {
        let mut kill = lock(&self.kill);
        if *kill == Some(0) {
            *kill = None;
            drop(kill);
            resume_unwind(Box::new(Killed));
        }
        *kill = kill.map(|looks| looks - 1);
    }
}

impl Clock for EventClock {
    fn now(&self) -> Timestamp {
        self.count();
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.count();
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.measure();
        self.clock.advance(duration * self.strides.load(Ordering::Relaxed));
        let monotonic = self.clock.monotonic();
        let mut restore = lock(&self.restore);
        restore.take_if(|(until, _)| *until <= monotonic);
        let mut events = lock(&self.events);
        while events.front().is_some_and(|(at, _)| *at <= self.clock.monotonic()) {
            match events.pop_front() {
                Some((_, Event::Kill(looks))) => *lock(&self.kill) = Some(looks),
                Some((_, Event::Stop)) => lock(&self.cancel).cancel(),
                Some((_, Event::StepTo(now))) => self.clock.step_to(now),
                Some((_, Event::Edit(name, text))) => {
                    std::fs::write(self.config.join(name), text).expect("written");
                    self.reload_asked.store(true, Ordering::Relaxed);
                }
                Some((_, Event::Restore(lasts))) => {
                    *restore = Some((monotonic + lasts, self.state.claim_restore().expect("claimed")));
                }
                None => {}
            }
        }
    }
}

struct PlayedStarter {
    play: Arc<Mutex<Play>>,
    catalogue: Arc<Catalog>,
    clock: Arc<EventClock>,
}

impl Starter for PlayedStarter {
    fn watch(&mut self) -> io::Result<Box<dyn Child>> {
        lock(&self.play).looks += 1;
        Ok(Box::new(Look))
    }

    fn start(&mut self, key: &OccurrenceKey) -> io::Result<Box<dyn Child>> {
        let mut play = lock(&self.play);
        let manner = play.next.pop_front().unwrap_or(play.manner);
        assert!(
            !play.alive.iter().any(|other| other.policy == key.policy && other.job.lane() == key.job.lane()),
            "{key:?} starts beside {:?}",
            play.alive
        );
        play.started.push(key.clone());
        if manner.end == Finale::Absent {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        play.alive.push(key.clone());
        play.most_alive = play.most_alive.max(play.alive.len());
        let run = match manner.end {
            Finale::Mute(_) => None,
            end => {
                let host = play.host.as_ref().map(|host| Holder::of(host.0.id()));
                Some(begin(&self.catalogue, key, end, host, self.clock.clock.now()))
            }
        };
        Ok(Box::new(PlayedChild {
            key: key.clone(),
            run,
            ends_at: self.clock.clock.monotonic() + manner.lasts,
            end: manner.end,
            ended: None,
            play: Arc::clone(&self.play),
            catalogue: Arc::clone(&self.catalogue),
            clock: Arc::clone(&self.clock),
        }))
    }
}

/// What `lifeboat run --occurrence` does first.
fn begin(
    catalogue: &Catalog,
    key: &OccurrenceKey,
    end: Finale,
    host: Option<Holder>,
    now: Timestamp,
) -> RunId {
    let this = host.unwrap_or_else(Holder::this_process);
    // A process that will have died: nobody has this start time.
    let holder = match end {
        Finale::Crash | Finale::CrashAnew => Holder { started_ticks: this.started_ticks + 1, ..this },
        _ => this,
    };
    catalogue.mark_interrupted(now).expect("marked");
    let last = catalogue.last_run(&key.policy, &key.job).expect("read");
    let again = last.filter(|run| {
        let may_again = matches!(run.state, RunState::Interrupted | RunState::Waiting);
        may_again && run.scheduled_at == Some(key.scheduled_at) && run.job == key.job
    });
    if let Some(run) = again {
        catalogue.next_attempt(&run.id, None, &holder, now).expect("the next attempt");
        return run.id;
    }
    let new = NewRun {
        policy: key.policy.clone(),
        job: key.job.clone(),
        scheduled_at: Some(key.scheduled_at),
        cause: Cause::Schedule,
        holder,
    };
    catalogue.start_run(&new, now).expect("no other run of the lane")
}

struct PlayedChild {
    key: OccurrenceKey,
    run: Option<RunId>,
    ends_at: Duration,
    end: Finale,
    ended: Option<Exit>,
    play: Arc<Mutex<Play>>,
    catalogue: Arc<Catalog>,
    clock: Arc<EventClock>,
}

impl PlayedChild {
    /// What `lifeboat run --occurrence` does when no target answers.
    fn lose(&mut self) {
        let failure = Failure { code: "E0301".to_owned(), message: "unreachable".to_owned() };
        let run = self.run.as_ref().filter(|_| self.ended.is_none());
        if let Some(id) = run.filter(|id| self.catalogue.run(id).expect("read").attempt < 3) {
            self.catalogue.await_next_attempt(id, &failure, &[], self.clock.clock.now()).expect("it waits");
            return self.end(Exit::Code(1), None);
        }
        self.end(Exit::Code(1), Some(RunState::Failed));
    }

    fn end(&mut self, exit: Exit, state: Option<RunState>) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(exit);
        lock(&self.play).alive.retain(|key| *key != self.key);
        if let (Some(id), Some(state)) = (&self.run, state) {
            let end = RunEnd {
                state,
                at: self.clock.clock.now(),
                job_done: None,
                snapshot: None,
                stats: serde_json::json!({}),
                failure: None,
                lines: Vec::new(),
            };
            // Refused when the daemon had the first word.
            self.catalogue.end_run(id, &end).ok();
        }
    }
}

impl Child for PlayedChild {
    fn poll(&mut self) -> io::Result<Option<Exit>> {
        if self.clock.clock.monotonic() >= self.ends_at {
            match self.end {
                Finale::Success => self.end(Exit::Code(0), Some(RunState::Succeeded)),
                Finale::Crash | Finale::CrashAnew => self.end(Exit::Signal(11), None),
                Finale::Unreached => self.lose(),
                Finale::Mute(code) => self.end(Exit::Code(code), None),
                Finale::Deaf | Finale::Absent => {}
            }
        }
        Ok(self.ended)
    }

    fn terminate(&mut self) -> io::Result<()> {
        if self.end != Finale::Deaf {
            self.end(Exit::Code(130), Some(RunState::Cancelled));
        }
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        self.end(Exit::Signal(9), None);
        Ok(())
    }
}

impl Drop for PlayedChild {
    /// Its daemon is gone.
    fn drop(&mut self) {
        if lock(&self.play).is_power_lost {
            self.end(Exit::Signal(9), None);
        } else {
            self.end(Exit::Code(130), Some(RunState::Cancelled));
        }
    }
}

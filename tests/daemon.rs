//! The daemon with real processes: the program itself, on folders of a test.

#![expect(clippy::unwrap_used, reason = "a test that can't prepare its files has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use lifeboat::base::cancel::Cancel;
use lifeboat::base::clock::{Clock, SystemClock, Timestamp};
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::progress::Silent;
use lifeboat::catalog::Catalog;
use lifeboat::catalog::occurrences::{Occurrence, OccurrenceKey, Period};
use lifeboat::catalog::process::Holder;
use lifeboat::catalog::runs::{Failure, NewRun, Run};
use lifeboat::catalog::state::StateFolder;
use lifeboat::catalog::words::{BackupKind, Cause, Job, OccurrenceState, RunState};
use lifeboat::daemon::{DaemonError, DaemonOptions, Life, run};
use lifeboat::policy::load::{Machine, Observed, load};

/// A source with a file, a policy of it, and an incremental occurrence that is due.
struct Site {
    dir: tempfile::TempDir,
    key: OccurrenceKey,
}

impl Site {
    fn new(source_is_there: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("config/policies")).unwrap();
        if source_is_there {
            fs::create_dir_all(path("source")).unwrap();
            fs::write(path("source/letter.txt"), "dear reader").unwrap();
        }
        let policy = format!(
            "source = [\"{}\"]\n[targets.disk]\nurl = \"file://{}\"\n",
            path("source").display(),
            path("copy").display()
        );
        fs::write(path("config/policies/letters.toml"), policy).unwrap();
        fs::write(path("config/lifeboat.toml"), "site = \"hq\"\ntimezone = \"UTC\"\n").unwrap();
        let state = StateFolder::new(path("state"));
        state.create().unwrap();
        let now = SystemClock::new().now();
        let key = OccurrenceKey {
            policy: "letters".to_owned(),
            job: Job::Backup(BackupKind::Incremental),
            scheduled_at: now.minus(Duration::from_secs(60)),
        };
        let due = Occurrence {
            key: key.clone(),
            state: OccurrenceState::Due,
            reason: String::new(),
            changed_at: now,
        };
        assert!(Catalog::open(&state.catalogue()).unwrap().record_occurrence(&due).unwrap());
        Self { dir, key }
    }

    fn state(&self) -> StateFolder {
        StateFolder::new(self.dir.path().join("state"))
    }

    fn live_once(&self, executable: &Path) -> Result<(), DaemonError> {
        let machine = Machine { host: "hq".to_owned(), timezone: Tz::UTC };
        run(DaemonOptions {
            configuration: load(&self.dir.path().join("config"), &machine, &Observed::default()).unwrap(),
            state: self.state(),
            clock: Arc::new(SystemClock::new()),
            progress: Arc::new(Silent),
            cancel: Cancel::new(),
            tick: Duration::from_secs(1),
            life: Life::Once,
            reload: Box::new(|| unreachable!("nobody asks for it")),
            reload_asked: Arc::default(),
            overseer: lifeboat::base::service::Overseer::default(),
            executable: executable.to_owned(),
        })
    }

    /// The occurrence's state, and the runs made for it.
    fn outcome(&self) -> (OccurrenceState, Vec<Run>) {
        let catalogue = Catalog::open(&self.state().catalogue()).unwrap();
        let always = Period {
            from: Timestamp::from_unix_ms(0),
            to: SystemClock::new().now().plus(Duration::from_secs(3600)),
        };
        let runs = catalogue.runs_in(always).unwrap().into_iter();
        let runs = runs.filter(|run| run.scheduled_at == Some(self.key.scheduled_at)).collect();
        (catalogue.occurrence(&self.key).unwrap().unwrap().state, runs)
    }
}

#[test]
fn what_is_due_is_backed_up_by_a_process_of_the_same_program() {
    let site = Site::new(true);
    site.live_once(Path::new(env!("CARGO_BIN_EXE_lifeboat"))).unwrap();
    let (state, runs) = site.outcome();
    assert_eq!(state, OccurrenceState::Done);
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Succeeded]);
    assert!(runs[0].snapshot.is_some());
    assert!(site.dir.path().join("copy/repo.fmt").exists());
}

#[test]
fn a_backup_that_fails_is_a_failed_run_and_is_not_repeated() {
    let site = Site::new(false);
    site.live_once(Path::new(env!("CARGO_BIN_EXE_lifeboat"))).unwrap();
    let (state, runs) = site.outcome();
    assert_eq!(state, OccurrenceState::Done);
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Failed]);
}

#[test]
fn a_program_that_is_gone_is_a_failed_run_that_says_so() {
    let site = Site::new(true);
    site.live_once(&site.dir.path().join("no-such-program")).unwrap();
    let (state, runs) = site.outcome();
    assert_eq!(state, OccurrenceState::Done);
    let failure = runs[0].failure.as_ref().unwrap();
    assert_eq!(failure.code, "E0902");
    assert!(failure.message.contains("incremental of letters"), "{}", failure.message);
}

#[test]
fn two_daemons_on_one_state_folder_are_one_too_many() {
    let site = Site::new(true);
    let claim = site.state().claim_daemon().unwrap();
    let error = site.live_once(Path::new(env!("CARGO_BIN_EXE_lifeboat"))).unwrap_err();
    assert_eq!((error.class(), error.class().exit_code()), (Class::StateInUse, 11));
    assert_eq!(site.outcome().0, OccurrenceState::Due);
    drop(claim);
}

/// How a run stands after an attempt at a target where nobody listens, the one after so many.
fn attempt_at_nobody(credentials_mode: u32, before: u64) -> (RunState, u64) {
    let site = Site::new(true);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let credentials = site.dir.path().join("credentials");
    fs::write(&credentials, "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n").unwrap();
    fs::set_permissions(&credentials, fs::Permissions::from_mode(credentials_mode)).unwrap();
    let policy = format!(
        "source = [{:?}]\n[targets.cloud]\nurl = \"s3://bucket/letters\"\nendpoint = \"http://127.0.0.1:{port}\"\ncredentials_file = {credentials:?}\n",
        site.dir.path().join("source"),
    );
    fs::write(site.dir.path().join("config/policies/letters.toml"), policy).unwrap();
    play_attempts(&site, before);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--config").arg(site.dir.path().join("config")).arg("--state-dir");
    command.arg(site.dir.path().join("state")).args(["--quiet", "run", "letters", "--incremental"]);
    command.args(["--occurrence", &site.key.scheduled_at.rfc3339()]);
    // Our end of the lifeline is held until it has ended.
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let lifeline = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(lifeline);
    let runs = site.outcome().1;
    assert_eq!(runs.len(), 1, "each attempt is one of the same run");
    (runs[0].state, runs[0].attempt)
}

/// A run of the occurrence that waits after so many attempts.
fn play_attempts(site: &Site, count: u64) {
    let catalogue = Catalog::open(&site.state().catalogue()).unwrap();
    let (now, holder) = (SystemClock::new().now(), Holder::this_process());
    let failure = Failure { code: "E0103".to_owned(), message: "unreachable".to_owned() };
    let mut run = None;
    for _ in 0..count {
        let id = match run.take() {
            Some(id) => {
                catalogue.next_attempt(&id, None, &holder, now).unwrap();
                id
            }
            None => {
                let new = NewRun {
                    policy: site.key.policy.clone(),
                    job: site.key.job.clone(),
                    scheduled_at: Some(site.key.scheduled_at),
                    cause: Cause::Schedule,
                    holder: holder.clone(),
                };
                catalogue.start_run(&new, now).unwrap()
            }
        };
        catalogue.await_next_attempt(&id, &failure, &[], now).unwrap();
        run = Some(id);
    }
}

#[test]
fn a_target_that_does_not_answer_is_waited_for() {
    assert_eq!(attempt_at_nobody(0o600, 0), (RunState::Waiting, 1));
}

#[test]
fn a_target_that_never_answers_is_a_failed_run_after_three_attempts() {
    assert_eq!(attempt_at_nobody(0o600, 2), (RunState::Failed, 3));
}

#[test]
fn a_target_that_is_set_up_wrongly_is_not_waited_for() {
    assert_eq!(attempt_at_nobody(0o644, 0), (RunState::Failed, 1));
}

/// Niceness, and the words of `ionice`, of each thread of a process.
fn priorities(pid: u32) -> Vec<(i64, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            // The 19th field; the name before may hold blanks.
            let nice = stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()?;
            let name = thread.file_name();
            let told = Command::new("ionice").arg("-p").arg(&name).output().ok()?;
            Some((nice, String::from_utf8_lossy(&told.stdout).trim().to_owned()))
        })
        .collect()
}

#[test]
fn a_child_of_the_daemon_steps_back_as_its_policy_says_and_stops_when_told() {
    let site = Site::new(true);
    let path = |name: &str| site.dir.path().join(name);
    let noise: Vec<u8> = (0..60_000u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    fs::write(path("source/noise"), noise).unwrap();
    let file = path("config/policies/letters.toml");
    let policy = fs::read_to_string(&file).unwrap();
    // 2 MB at 10 KB/s go on for three minutes.
    let limits = "upload_limit = \"10KB/s\"\n[limits]\nnice = 7\nionice = \"idle\"\nworkers = 3\n";
    fs::write(&file, format!("{policy}{limits}")).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
        .args(["daemon", "--tick-seconds", "1", "--quiet", "--config"])
        .arg(path("config"))
        .arg("--state-dir")
        .arg(path("state"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let clock = SystemClock::new();
    let children = format!("/proc/{0}/task/{0}/children", daemon.id());
    let seen = loop {
        let child = fs::read_to_string(&children).unwrap_or_default();
        let child = child.split_whitespace().next().and_then(|pid| pid.parse().ok());
        // The packs are there and wait: main, lifeline, catalogue, upload ...
        let is_waiting = path("copy").join("repo.fmt").exists();
        let seen = child.map(priorities).unwrap_or_default();
        // A thread that ended since it was listed has none.
        let are_alive = seen.iter().all(|(_, io)| !io.is_empty());
        if is_waiting && seen.len() >= 4 && are_alive || clock.monotonic() > Duration::from_secs(60) {
            break seen;
        }
        clock.sleep(Duration::from_millis(100));
    };
    assert!(seen.len() >= 4, "{seen:?}");
    assert!(seen.iter().all(|(nice, io)| (*nice, io.as_str()) == (7, "idle")), "{seen:?}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon), rustix::process::Signal::TERM)
        .unwrap();
    daemon.wait().unwrap();
    assert!(clock.monotonic() < Duration::from_secs(90), "a limit held a process that was told to stop");
}

//! The daemon with real processes: the program itself, on folders of a test.

#![expect(clippy::unwrap_used, reason = "a test that can't prepare its files has failed")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use lifeboat::base::cancel::Cancel;
use lifeboat::base::clock::{Clock, SystemClock, Timestamp};
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::progress::Silent;
use lifeboat::catalog::Catalog;
use lifeboat::catalog::occurrences::{Occurrence, OccurrenceKey, Period};
use lifeboat::catalog::runs::Run;
use lifeboat::catalog::state::StateFolder;
use lifeboat::catalog::words::{BackupKind, Job, OccurrenceState, RunState};
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
            concurrency: 2,
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

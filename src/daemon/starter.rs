//! Starting the process that does a job, and what the daemon can do with it.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::catalog::occurrences::OccurrenceKey;
use crate::catalog::words::{BackupKind, Job};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A job's process.
pub(super) trait Child {
    /// How it ended; `None` while it goes on.
    fn poll(&mut self) -> io::Result<Option<Exit>>;
    /// Asks it to end.
    fn terminate(&mut self) -> io::Result<()>;
    /// Ends it and whatever it started.
    fn kill(&mut self) -> io::Result<()>;
}

/// Makes processes for jobs.
pub(super) trait Starter {
    /// Starts the process that does this occurrence.
    fn start(&mut self, key: &OccurrenceKey) -> io::Result<Box<dyn Child>>;
    /// Starts the process that looks at all promises and tells people.
    fn watch(&mut self) -> io::Result<Box<dyn Child>>;
}

/// Starts `lifeboat` itself. Each child leads a process group of its own, so that a terminal's
/// Ctrl-C reaches only the daemon; its standard input is the lifeline (`base::lifeline`).
#[derive(Debug)]
pub(super) struct SameBinary {
    /// This program.
    pub(super) executable: PathBuf,
    /// `--config`.
    pub(super) config_dir: PathBuf,
    /// `--state-dir`.
    pub(super) state_dir: PathBuf,
}

impl SameBinary {
    fn command(&self, key: &OccurrenceKey) -> Command {
        let mut command = self.bare();
        match &key.job {
            Job::Backup(kind) => command.args(["run", &key.policy]).arg(match kind {
                BackupKind::Full => "--full",
                BackupKind::Incremental => "--incremental",
                BackupKind::Differential => "--differential",
            }),
            Job::Verify => command.args(["verify", &key.policy]),
            Job::Scrub => command.args(["scrub", &key.policy]),
            Job::Prune => command.args(["prune", &key.policy]),
            Job::Probe => command.args(["target", "probe", &key.policy]),
            Job::Locks => command.args(["target", "extend-locks", &key.policy]),
            Job::Drill(plan) => command.args(["drill", "run", plan]),
        };
        command.arg("--occurrence").arg(key.scheduled_at.rfc3339());
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg("--config").arg(&self.config_dir).arg("--state-dir").arg(&self.state_dir).arg("--quiet");
        // Its words of failure go where the daemon's go.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).process_group(0);
        command
    }
}

impl Starter for SameBinary {
    fn start(&mut self, key: &OccurrenceKey) -> io::Result<Box<dyn Child>> {
        Ok(Box::new(Process(self.command(key).spawn()?)))
    }

    fn watch(&mut self) -> io::Result<Box<dyn Child>> {
        Ok(Box::new(Process(self.bare().arg("watch").spawn()?)))
    }
}

/// Holds the other end of the child's standard input for as long as it lives.
struct Process(std::process::Child);

impl Child for Process {
    fn poll(&mut self) -> io::Result<Option<Exit>> {
        // `wait` would close the lifeline; `try_wait` doesn't.
        Ok(self.0.try_wait()?.map(|status| match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        }))
    }

    fn terminate(&mut self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), Signal::TERM)?)
    }

    fn kill(&mut self) -> io::Result<()> {
        Ok(kill_process_group(Pid::from_child(&self.0), Signal::KILL)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn line(job: Job) -> String {
        let starter = SameBinary {
            executable: "lifeboat".into(),
            config_dir: "/etc/lifeboat".into(),
            state_dir: "/var/lib/lifeboat".into(),
        };
        let scheduled_at = Timestamp::from_unix_ms(0);
        let command = starter.command(&OccurrenceKey { policy: "web".to_owned(), job, scheduled_at });
        let words: Vec<_> = command.get_args().map(|word| word.to_str().expect("text")).collect();
        words.join(" ")
    }

    #[test]
    fn a_child_is_told_its_job_and_its_occurrence() {
        let start = "--config /etc/lifeboat --state-dir /var/lib/lifeboat --quiet";
        let end = "--occurrence 1970-01-01T00:00:00.000Z";
        assert_eq!(line(Job::Backup(BackupKind::Full)), format!("{start} run web --full {end}"));
        assert_eq!(
            line(Job::Backup(BackupKind::Incremental)),
            format!("{start} run web --incremental {end}")
        );
        assert_eq!(line(Job::Verify), format!("{start} verify web {end}"));
        assert_eq!(line(Job::Scrub), format!("{start} scrub web {end}"));
        assert_eq!(line(Job::Prune), format!("{start} prune web {end}"));
        assert_eq!(line(Job::Probe), format!("{start} target probe web {end}"));
        assert_eq!(line(Job::Locks), format!("{start} target extend-locks web {end}"));
        assert_eq!(line(Job::Drill("weekly".to_owned())), format!("{start} drill run weekly {end}"));
    }

    #[test]
    fn a_process_ends_when_asked_and_its_like_when_killed() {
        let cat = || {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
            Process(command.spawn().expect("cat starts"))
        };
        let ending = |mut process: Process| {
            // A wait that keeps the lifeline: only the signal ends it.
            let stdin = process.0.stdin.take();
            process.0.wait().expect("ended");
            drop(stdin);
            process.poll().expect("polled")
        };
        let mut asked = cat();
        assert_eq!(asked.poll().expect("polled"), None);
        asked.terminate().expect("asked");
        assert_eq!(ending(asked), Some(Exit::Signal(15)));
        let mut killed = cat();
        killed.kill().expect("killed");
        assert_eq!(ending(killed), Some(Exit::Signal(9)));
    }
}

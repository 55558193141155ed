//! `command`: runs a program over the restored tree and looks at its exit code.
//!
//! No shell, a cleaned environment, the restore root as working folder, a process group of its
//! own. When its time is over, or the drill must stop, the group gets TERM and a little later
//! KILL. Its output is bounded; what is kept has been redacted. The program runs as the same
//! user with the same network: it is the operator's own program, not a stranger's.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::check::{Check, Observation, Output, Unobserved};
use super::redact::redact;
use super::scene::Scene;
use crate::base::clock::Clock;
use crate::base::size::format_duration;
use crate::drill::digest::Sha256;
use crate::drill::error::DrillError;

/// Output beyond this is hashed and dropped; the end is kept, where programs say what was wrong.
const OUTPUT_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long output is waited for after the end: a process that left the group may hold the pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// Replaced in arguments by the folder that was restored into.
const RESTORE_ROOT: &str = "{restore_root}";

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Command {
    argv: Vec<String>,
    timeout: Duration,
    exit: i32,
}

/// How the program ended.
enum End {
    Exit,
    TimedOut,
    Stopped,
}

impl Command {
    /// `argv[0]` is looked up in the standard path unless it has a slash; a relative one is
    /// relative to the restore root. Passes when the exit code is `exit`.
    ///
    /// # Errors
    /// Usage, when there is no program or an argument has a zero byte.
    pub fn new(argv: Vec<String>, timeout: Duration, exit: i32) -> Result<Self, DrillError> {
        let bad =
            |reason: &str| DrillError::BadCheck { check: "command".to_owned(), reason: reason.to_owned() };
        if argv.first().is_none_or(String::is_empty) {
            return Err(bad("it needs a program"));
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(bad("an argument has a zero byte"));
        }
        Ok(Self { argv, timeout, exit })
    }

    fn spawn(&self, scene: &Scene<'_>) -> Result<(Child, Receiver<Vec<u8>>), Unobserved> {
        let failed = |error: std::io::Error| Unobserved(format!("cannot run `{}`: {error}", self.argv[0]));
        let root = scene.root.to_str().ok_or_else(|| {
            Unobserved(format!("the restore root {} is not valid UTF-8", scene.root.display()))
        })?;
        let mut argv = self.argv.iter().map(|argument| argument.replace(RESTORE_ROOT, root));
        let program = argv.next().expect("`new` takes no empty list");
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let child = std::process::Command::new(&program)
            .args(argv)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", root)
            .env("LIFEBOAT_RESTORE_ROOT", root)
            .current_dir(scene.root)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .spawn()
            .map_err(failed)?;
        let (send, receive) = bounded(4);
        // Not joined: a process that left the group may keep the pipe open for as long as it likes.
        std::thread::spawn(move || read_all(reader, |piece| send.send(piece).is_ok()));
        Ok((child, receive))
    }
}

fn read_all(mut from: impl Read, mut take: impl FnMut(Vec<u8>) -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) if take(buffer[..count].to_vec()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

impl Check for Command {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn expected(&self) -> String {
        let within = format_duration(self.timeout);
        format!("`{}` exits with {} within {within}", self.argv.join(" "), self.exit)
    }

    fn observe(&self, scene: &mut Scene<'_>) -> Result<Observation, Unobserved> {
        let (mut child, receive) = self.spawn(scene)?;
        let clock = scene.watch.clock();
        let limit = self.timeout.min(scene.watch.remaining());
        let mut collector = Collector::new();
        let end = wait(&child, &receive, &mut collector, clock, limit, &|| scene.watch.must_stop());
        // The leader is still unreaped, so its number cannot belong to another group yet.
        let group = Pid::from_child(&child);
        if matches!(end, Ok(End::Exit)) {
            signal(group, Signal::KILL);
        } else {
            signal(group, Signal::TERM);
            drop(wait(&child, &receive, &mut collector, clock, GRACE, &|| false));
            signal(group, Signal::KILL);
        }
        // It may have moved to a group of its own making; a dead one makes this fail, which is fine.
        drop(child.kill());
        let status = child.wait().map_err(|error| Unobserved(format!("cannot wait for it: {error}")))?;
        collector.drain(&receive, clock);

        let (passed, observed) = match end? {
            End::Exit => match status.code() {
                Some(code) => (code == self.exit, format!("it exited with {code}")),
                None => (false, format!("it was ended by a signal ({status})")),
            },
            End::TimedOut => (false, format!("it ran longer than {} and was ended", format_duration(limit))),
            End::Stopped => return Err(Unobserved("the drill was stopped while it ran".to_owned())),
        };
        let mut seen = Observation::new(passed, observed);
        seen.output = Some(collector.finish());
        Ok(seen)
    }
}

/// Waits without reaping, taking output meanwhile.
fn wait(
    child: &Child,
    receive: &Receiver<Vec<u8>>,
    collector: &mut Collector,
    clock: &dyn Clock,
    limit: Duration,
    must_stop: &dyn Fn() -> bool,
) -> Result<End, Unobserved> {
    let deadline = clock.monotonic().saturating_add(limit);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    loop {
        match waitid(WaitId::Pid(Pid::from_child(child)), options) {
            Ok(Some(_)) => return Ok(End::Exit),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Unobserved(format!("cannot wait for it: {errno}"))),
        }
        if must_stop() {
            return Ok(End::Stopped);
        }
        if clock.monotonic() > deadline {
            return Ok(End::TimedOut);
        }
        match receive.recv_timeout(LOOK_EVERY) {
            Ok(piece) => collector.take(&piece),
            Err(RecvTimeoutError::Timeout) => {}
            // It closed its output and goes on.
            Err(RecvTimeoutError::Disconnected) => clock.sleep(LOOK_EVERY),
        }
    }
}

fn signal(group: Pid, signal: Signal) {
    // It fails only when the group is empty, which is what we want.
    let _ = kill_process_group(group, signal);
}

/// The end of an output, and the hash of all of it.
struct Collector {
    kept: Vec<u8>,
    bytes: u64,
    hash: Sha256,
}

impl Collector {
    fn new() -> Self {
        Self { kept: Vec::new(), bytes: 0, hash: Sha256::new() }
    }

    fn take(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(0));
        self.kept.extend_from_slice(piece);
        // Cut in large steps only, so that each byte moves about once.
        if self.kept.len() > 2 * OUTPUT_KEPT_BYTES_MAX {
            drop(self.kept.drain(..self.kept.len() - OUTPUT_KEPT_BYTES_MAX));
        }
    }

    fn drain(&mut self, receive: &Receiver<Vec<u8>>, clock: &dyn Clock) {
        let deadline = clock.monotonic().saturating_add(DRAIN);
        while clock.monotonic() <= deadline {
            match receive.recv_timeout(DRAIN) {
                Ok(piece) => self.take(&piece),
                Err(_) => return,
            }
        }
    }

    fn finish(mut self) -> Output {
        if self.kept.len() > OUTPUT_KEPT_BYTES_MAX {
            drop(self.kept.drain(..self.kept.len() - OUTPUT_KEPT_BYTES_MAX));
        }
        let is_cut = u64::try_from(self.kept.len()).unwrap_or(0) < self.bytes;
        let mut kept = self.kept.as_slice();
        if is_cut {
            // A line that lost its beginning may have lost the name of a secret with it.
            let line = kept.iter().position(|b| *b == b'\n').map_or(kept.len(), |at| at + 1);
            kept = &kept[line..];
        }
        let mut text = redact(&String::from_utf8_lossy(kept));
        if is_cut {
            text.insert_str(0, "[the beginning was cut]\n");
        }
        Output { text, bytes: self.bytes, sha256: hex::encode(self.hash.finish()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::checks::{CheckOutcome, CheckResult};
    use crate::drill::fake::{made, says};
    use crate::drill::pick::Picked;
    use crate::evidence::sha256;

    fn run(argv: &[&str], timeout: Duration) -> CheckOutcome {
        let argv = argv.iter().map(|&argument| argument.to_owned()).collect();
        made(Command::new(argv, timeout, 0).expect("a program"), &Picked::All, |_| {})
    }

    fn shell(script: &str) -> CheckOutcome {
        run(&["/bin/sh", "-c", script, "sh", "{restore_root}"], Duration::from_secs(30))
    }

    #[test]
    fn it_runs_in_the_restored_tree_with_a_clean_environment() {
        let outcome = shell(r#"test "$1" = "$PWD" && cat data/a.txt && env | grep -c ^CARGO"#);
        says(&outcome, CheckResult::Fail, "it exited with 1");
        let output = outcome.output.expect("it printed");
        assert_eq!(output.text, "alpha0\n");
        assert_eq!(output.sha256, sha256::hex(b"alpha0\n"));
        says(&shell("exit 0"), CheckResult::Pass, "exited with 0");
    }

    #[test]
    fn no_shell_looks_at_its_arguments() {
        let outcome = run(&["/bin/echo", "$HOME; `id` {restore_root}x"], Duration::from_secs(30));
        let text = outcome.output.expect("it printed").text;
        assert!(text.starts_with("$HOME; `id` /") && text.ends_with("x\n"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let outcome = run(&["/no/such/program"], Duration::from_secs(30));
        says(&outcome, CheckResult::Error, "cannot run `/no/such/program`");
    }

    #[test]
    fn the_whole_group_is_ended_when_its_time_is_over() {
        let script = "echo begun; (trap '' TERM; sleep 600) & sleep 600";
        let outcome = run(&["/bin/sh", "-c", script], Duration::from_millis(300));
        says(&outcome, CheckResult::Fail, "it ran longer than");
        assert!(outcome.seconds < 60.0);
        assert_eq!(outcome.output.expect("it printed").text, "begun\n");
    }

    #[test]
    fn a_child_left_behind_does_not_outlive_the_check() {
        let outcome = shell("sleep 600 & echo $!");
        says(&outcome, CheckResult::Pass, "exited with 0");
        assert!(outcome.seconds < 60.0, "the pipe of the child was not waited for");
        let pid: i32 = outcome.output.expect("it printed").text.trim().parse().expect("a number");
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "still alive: {state}");
    }

    #[test]
    fn a_signal_is_a_failure_with_its_name() {
        says(&shell("kill -SEGV $$"), CheckResult::Fail, "ended by a signal");
    }

    #[test]
    fn long_output_is_cut_at_its_beginning_and_hashed_whole() {
        let outcome = shell("seq 1 100000; echo password=hunter2; echo the end");
        let output = outcome.output.expect("it printed");
        let mut all: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
        all.push_str("password=hunter2\nthe end\n");
        assert_eq!(output.sha256, sha256::hex(all.as_bytes()));
        assert_eq!(output.bytes, u64::try_from(all.len()).expect("small"));
        assert!(output.text.len() <= OUTPUT_KEPT_BYTES_MAX + 64);
        assert!(output.text.starts_with("[the beginning was cut]\n"));
        assert!(output.text.ends_with("100000\npassword=[redacted]\nthe end\n"));
    }

    #[test]
    fn commands_that_cannot_be_run_are_refused() {
        for argv in [vec![], vec![String::new()], vec!["a\0b".to_owned()]] {
            assert!(Command::new(argv, Duration::from_secs(1), 0).is_err());
        }
    }
}

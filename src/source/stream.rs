//! Bytes that come once: standard input, or what a program prints.
//!
//! A stream that ends says nothing about whether all of it came. Of a program the exit status
//! does, so its end is an end only when the program ended well; anything else is an error of the
//! last read. Reads wait in short turns, so that a request to stop is heard while nothing comes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;

/// A request to stop is heard within this time.
const TURN: Duration = Duration::from_millis(100);
/// So long nothing may come from what a program that has ended left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(10);
/// And so long its last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A program that was asked to end gets this long before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// The end of what a program says on standard error is kept, up to this many bytes.
const SAID_BYTES_MAX: usize = 4096;

/// Where the bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSource {
    /// Standard input.
    StandardInput,
    /// What a program prints; the program and its arguments, no shell.
    Command(Vec<OsString>),
}

/// An open stream.
pub struct Stream {
    input: Input,
    cancel: Cancel,
    clock: Arc<dyn Clock>,
    /// By then (monotonic) it must have ended.
    deadline: Option<Duration>,
}

/// What a program finds around it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Surroundings<'a> {
    /// All that this process has, and all the time it takes.
    Ours,
    /// The root folder, and no environment but this and a path to the system's programs.
    Clean {
        /// It is ended when it takes longer.
        limit: Duration,
        /// Names and values.
        environment: &'a [(&'static str, &'a OsStr)],
        /// What it reads from, and keeps open while it runs.
        stdin: Option<&'a File>,
    },
}

enum Input {
    Standard(File),
    Program(Box<Program>),
}

struct Program {
    name: String,
    child: Child,
    output: ChildStdout,
    said: Option<JoinHandle<String>>,
    ended: Option<ExitStatus>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    /// Opens standard input, or starts the program.
    ///
    /// # Errors
    /// When standard input is a terminal, or the program can't be started.
    pub fn open(source: &StreamSource, cancel: Cancel, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let input = match source {
            StreamSource::StandardInput => {
                let fd = rustix::stdio::stdin().try_clone_to_owned()?;
                if rustix::termios::isatty(&fd) {
                    return Err(io::Error::other("standard input is a terminal: pipe something into it"));
                }
                Input::Standard(File::from(fd))
            }
            StreamSource::Command(words) => return Self::program(words, Surroundings::Ours, cancel, clock),
        };
        Ok(Self { input, cancel, clock, deadline: None })
    }

    /// Starts a program.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn program(
        words: &[OsString],
        surroundings: Surroundings<'_>,
        cancel: Cancel,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let deadline = match surroundings {
            Surroundings::Ours => None,
            Surroundings::Clean { limit, .. } => Some(clock.monotonic().saturating_add(limit)),
        };
        let input = Input::Program(Box::new(Program::start(words, surroundings)?));
        Ok(Self { input, cancel, clock, deadline })
    }

    /// Whether to wait any longer.
    fn check(&self) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("it was stopped"));
        }
        if self.deadline.is_some_and(|deadline| self.clock.monotonic() > deadline) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long and was ended"));
        }
        Ok(())
    }

    /// Waits until something can be read, or the stream has ended.
    ///
    /// A program that has ended badly is not waited for, whoever still holds its output: what it
    /// started in the background may never let go. Nor is that, for long, after it has ended well.
    fn wait(&mut self) -> io::Result<()> {
        let turn = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TURN.as_nanos()).unwrap_or(i64::MAX) };
        let mut since_end = Duration::ZERO;
        loop {
            self.check()?;
            if let Input::Program(program) = &mut self.input
                && program.has_ended_well(self.clock.as_ref())?
            {
                if since_end > LEFT_BEHIND {
                    let what = format!(
                        "`{}` has ended and left a process behind that holds its output",
                        program.name
                    );
                    return Err(io::Error::other(what));
                }
                since_end += TURN;
            }
            let fd = match &self.input {
                Input::Standard(file) => file.as_fd(),
                Input::Program(program) => program.output.as_fd(),
            };
            let mut waited = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            match poll(&mut waited, Some(&turn)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            let got = match &mut self.input {
                Input::Standard(file) => file.read(buffer),
                Input::Program(program) => program.output.read(buffer),
            };
            match got {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Ok(0) if !buffer.is_empty() => {
                    // It may have closed its output and go on for a while.
                    while let Input::Program(program) = &mut self.input {
                        if program.has_ended_well(self.clock.as_ref())? {
                            break;
                        }
                        self.check()?;
                        self.clock.sleep(TURN);
                    }
                    return Ok(0);
                }
                got => return got,
            }
        }
    }
}

impl Program {
    fn start(words: &[OsString], surroundings: Surroundings<'_>) -> io::Result<Self> {
        let (program, arguments) =
            words.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
        let name = crate::base::display::path(program.as_encoded_bytes());
        let mut command = Command::new(program);
        let mut stdin = Stdio::null();
        if let Surroundings::Clean { environment, stdin: from, .. } = surroundings {
            let path = "/usr/sbin:/usr/bin:/sbin:/bin";
            command.env_clear().env("PATH", path).env("LC_ALL", "C").current_dir("/");
            command.envs(environment.iter().copied());
            stdin = from.map(File::try_clone).transpose()?.map_or(stdin, Stdio::from);
        }
        let mut child = command
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("`{name}` cannot be started: {error}")))?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        let said = child.stderr.take().map(|stderr| std::thread::spawn(move || end_of(stderr)));
        Ok(Self { name, child, output, said, ended: None })
    }

    /// Whether it ended, and well; not yet when it goes on.
    fn has_ended_well(&mut self, clock: &dyn Clock) -> io::Result<bool> {
        let Some(status) = self.child.try_wait()? else { return Ok(false) };
        self.ended = Some(status);
        if status.success() {
            return Ok(true);
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit status".to_owned(),
        };
        // Who still holds its error output may hold it for ever.
        let deadline = clock.monotonic().saturating_add(LAST_WORDS);
        while self.said.as_ref().is_some_and(|said| !said.is_finished()) && clock.monotonic() < deadline {
            clock.sleep(Duration::from_millis(10));
        }
        let said = self.said.take().filter(|said| said.is_finished());
        let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
        let said = said.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        Err(io::Error::other(format!("`{}` ended with {how}{said}", self.name)))
    }

    /// Ends it and what it started, when it still runs.
    fn end(&mut self, clock: &dyn Clock) {
        if self.ended.is_some() {
            return;
        }
        let group = Pid::from_child(&self.child);
        // These fail only when nothing is left, which is what is wanted.
        kill_process_group(group, Signal::TERM).ok();
        let deadline = clock.monotonic().saturating_add(GRACE);
        while clock.monotonic() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            clock.sleep(Duration::from_millis(20));
        }
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Input::Program(program) = &mut self.input {
            program.end(self.clock.as_ref());
        }
    }
}

/// Reads to the end and keeps the last bytes.
fn end_of(mut from: impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut piece = [0; SAID_BYTES_MAX];
    while let Ok(got @ 1..) = from.read(&mut piece) {
        kept.extend_from_slice(&piece[..got]);
        let excess = kept.len().saturating_sub(SAID_BYTES_MAX);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

    fn program(script: &str, cancel: &Cancel) -> Stream {
        let words = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
        let source = StreamSource::Command(words);
        Stream::open(&source, cancel.clone(), Arc::new(SystemClock::new())).expect("started")
    }

    fn read(script: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        program(script, &Cancel::new()).read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn a_program_that_ends_badly_is_an_error_whatever_it_printed() {
        assert_eq!(read("printf all").expect("read"), b"all");
        let error = read("printf half; echo connection lost >&2; exit 3").expect_err("cut");
        assert_eq!(error.to_string(), "`/bin/sh` ended with exit status 3: connection lost");
        let error = read("printf half; kill -KILL $$").expect_err("cut");
        assert_eq!(error.to_string(), "`/bin/sh` ended with signal 9");
        // A program that says much on standard error neither blocks nor fills memory.
        let error = read("yes words | head -c 5000000 >&2; exit 1").expect_err("cut");
        assert!(error.to_string().len() < 2 * SAID_BYTES_MAX);
        let missing = StreamSource::Command(vec!["/no/such/program".into()]);
        let error = Stream::open(&missing, Cancel::new(), Arc::new(SystemClock::new())).expect_err("missing");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }

    #[test]
    fn a_request_to_stop_is_heard_while_nothing_comes_and_ends_the_program() {
        let cancel = Cancel::new();
        let mut stream = program("echo $$; exec sleep 600", &cancel);
        let mut pid = [0; 32];
        let got = stream.read(&mut pid).expect("its number");
        cancel.cancel();
        assert!(stream.read(&mut pid[got..]).is_err());
        drop(stream);
        let pid: i32 = std::str::from_utf8(&pid[..got]).expect("a number").trim().parse().expect("a number");
        let pid = Pid::from_raw(pid).expect("a number");
        assert!(rustix::process::test_kill_process(pid).is_err(), "it is gone");
    }
}
